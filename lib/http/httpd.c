#include "lib/http/httpd.h"

#include <stdlib.h>
#include <unistd.h>

#include "lib/base/list.h"
#include "lib/base/mem.h"
#include "lib/http/h1_request.h"
#include "lib/net/io_tcp.h"
#include "lib/net/sock.h"

#define HEAD_MAX       ((size_t)8192)
#define BODY_MAX       ((size_t)65536)
#define ANSWER_MAX     ((size_t)256 << 20)
#define CONNS_MAX      64
#define ACCEPT_BATCH   16
#define HEAD_MS        2000
#define BODY_MS        10000
#define IDLE_MS        90000 /* longer than the usual scrape interval */
#define WRITE_MS       10000 /* without any progress */
#define LINGER_MS      1000  /* so that an answer to half a request is read before the reset */
#define ACCEPT_WAIT_MS 100   /* when descriptors have run out */
#define STEPS_MAX      32    /* of one connection in one turn */

enum hconn_state {
    HC_IDLE,   /* the first byte of a request */
    HC_READ,   /* the rest of it */
    HC_WRITE,  /* the answer to be taken */
    HC_LINGER, /* the client to notice our end */
};

struct route {
    const char *path, *methods;
    httpd_fn *fn;
    void *owner;
};

struct httpd {
    struct loop *loop;
    struct loop_fd listen;
    struct loop_timer accept_again;
    int fd;
    struct route *routes;
    size_t routes_n, routes_cap;
    struct list conns; /* the longest unused first */
    unsigned conns_n;
};

struct hconn {
    struct list node;
    struct httpd *h;
    struct io *io;
    struct loop_timer timer;
    enum hconn_state state;
    bool eof, keep_alive;
    char *in; /* HEAD_MAX + 1 bytes, more for a body */
    size_t in_n, in_cap, head_n, body_n;
    bool body_waits; /* the head is whole, the body is not */
    bool head_only;  /* the answer to HEAD */
    struct strbuf out;
    size_t out_at;
    struct loop_task again; /* more to do, in the next turn */
};

static void conn_close(struct hconn *c)
{
    list_del(&c->node);
    c->h->conns_n--;
    loop_timer_clear(&c->timer);
    io_close(c->io, RC_CLOSED);
    strbuf_fini(&c->out);
    loop_task_cancel(&c->again);
    free(c->in);
    free(c);
}

static void conn_enter(struct hconn *c, enum hconn_state state, int64_t deadline_ms)
{
    c->state = state;
    loop_timer_set(&c->timer, deadline_ms);
}

/* -- answers -- */

static const char *reason(int status)
{
    static const struct {
        int status;
        const char *text;
    } rows[] = {
        {200, "OK"},
        {400, "Bad Request"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {413, "Content Too Large"},
        {417, "Expectation Failed"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].status == status)
            return rows[i].text;
    return "";
}

static void answer(struct hconn *c, const struct httpd_response *resp, const char *allow)
{
    struct str body = strbuf_str(&resp->body);
    strbuf_printf(&c->out, "HTTP/1.1 %d %s\r\ncontent-type: %s\r\ncontent-length: %zu\r\n",
                  resp->status, reason(resp->status), resp->content_type, body.n);
    if (allow)
        strbuf_printf(&c->out, "allow: %s\r\n", allow);
    if (!c->keep_alive)
        strbuf_addz(&c->out, "connection: close\r\n");
    strbuf_addz(&c->out, "\r\n");
    if (!c->head_only)
        strbuf_adds(&c->out, body);
    conn_enter(c, HC_WRITE, WRITE_MS);
}

static void answer_text(struct hconn *c, int status, const char *text, const char *allow)
{
    struct httpd_response resp = {.status = status, .content_type = "text/plain; charset=utf-8"};
    strbuf_init(&resp.body, 512);
    strbuf_printf(&resp.body, "%s\n", text);
    answer(c, &resp, allow);
    strbuf_fini(&resp.body);
}

/* The request can't be answered as asked, and what follows it can't be told from it. */
static void answer_error(struct hconn *c, int status)
{
    c->keep_alive = c->head_only = false;
    c->in_n = 0;
    answer_text(c, status, reason(status), NULL);
}

/* -- requests -- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool percent_decode(struct str s, bool plus, struct strbuf *out)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '%') {
            int hi = i + 2 < s.n ? hex_digit(s.p[i + 1]) : -1;
            int lo = i + 2 < s.n ? hex_digit(s.p[i + 2]) : -1;
            if (hi < 0 || lo < 0 || (hi == 0 && lo == 0))
                return false;
            c = (char)(hi << 4 | lo);
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        strbuf_addc(out, c);
    }
    return !out->truncated;
}

bool httpd_query(struct str query, const char *key, struct strbuf *out)
{
    while (query.n) {
        struct str value, name = str_split(str_split(query, '&', &query), '=', &value);
        if (str_eqz(name, key))
            return percent_decode(value, true, out);
    }
    return false;
}

static const struct route *route_find(const struct httpd *h, struct str path)
{
    const struct route *best = NULL;
    size_t best_n = 0;
    for (size_t i = 0; i < h->routes_n; i++) {
        struct str p = str_of(h->routes[i].path);
        if (str_eq(p, path))
            return &h->routes[i];
        if (p.n > 1 && p.p[p.n - 1] == '/' && p.n > best_n && str_starts(path, p)) {
            best = &h->routes[i];
            best_n = p.n;
        }
    }
    return best;
}

static bool method_in(struct str methods, struct str method)
{
    while (methods.n)
        if (str_eq(str_split(methods, ',', &methods), method))
            return true;
    return false;
}

static void request_serve(struct hconn *c, const struct h1_request *r)
{
    struct strbuf path AUTO_STRBUF;
    strbuf_init(&path, HEAD_MAX);
    c->keep_alive = r->keep_alive;
    c->head_only = str_eqz(r->method, "HEAD");
    if (!percent_decode(r->path, false, &path)) {
        answer_error(c, 400);
        return;
    }
    const struct route *route = route_find(c->h, strbuf_str(&path));
    if (!route) {
        answer_text(c, 404, "Not Found", NULL);
        return;
    }
    if (!method_in(str_of(route->methods), c->head_only ? STR("GET") : r->method)) {
        answer_text(c, 405, "Method Not Allowed", route->methods);
        return;
    }
    struct httpd_request req = {r->method, strbuf_str(&path), r->query,
                                h1_request_header(r, "accept"),
                                (struct str){c->in + c->head_n, c->body_n}};
    struct httpd_response resp = {.status = 200, .content_type = "text/plain; charset=utf-8"};
    strbuf_init(&resp.body, ANSWER_MAX);
    route->fn(route->owner, &req, &resp);
    if (resp.body.truncated)
        answer_error(c, 500);
    else
        answer(c, &resp, NULL);
    strbuf_fini(&resp.body);
}

static int status_of(enum rc rc, struct str in)
{
    if (rc == RC_LIMIT)
        return 431;
    if (rc != RC_UNSUPPORTED)
        return 400;
    ptrdiff_t line = str_find(in, '\n');
    return line > 0 && memmem(in.p, (size_t)line, " HTTP/1.", 8) ? 501 : 505;
}

/* Looks at what was read: RC_AGAIN wants more, RC_OK: there is an answer. The head is parsed again
 * when more came: it is small, and its views would not survive the growth of the buffer. */
static enum rc request_take(struct hconn *c)
{
    struct h1_request r;
    struct str in = {c->in, c->in_n};
    enum rc rc = h1_request_parse(in, &r, &c->head_n);
    if (rc == RC_AGAIN && c->in_n < HEAD_MAX)
        return RC_AGAIN;
    if (rc == RC_AGAIN || (rc == RC_OK && c->head_n > HEAD_MAX)) {
        answer_error(c, 431);
    } else if (rc != RC_OK) {
        answer_error(c, status_of(rc, in));
    } else if (r.expects) {
        answer_error(c, 417);
    } else if (r.body_len > BODY_MAX) {
        answer_error(c, 413);
    } else if (c->head_n + r.body_len > c->in_n) {
        mem_grow(c->in, c->in_cap, c->head_n + (size_t)r.body_len);
        if (!c->body_waits)
            loop_timer_set(&c->timer, BODY_MS);
        c->body_waits = true;
        return RC_AGAIN;
    } else {
        c->body_n = (size_t)r.body_len;
        request_serve(c, &r);
    }
    return RC_OK;
}

/* -- the connection -- */

static enum rc conn_read(struct hconn *c)
{
    for (;;) {
        if (c->in_n) {
            if (c->state == HC_IDLE)
                conn_enter(c, HC_READ, HEAD_MS);
            if (request_take(c) == RC_OK)
                return RC_OK;
        }
        if (c->eof)
            return RC_EOF;
        mem_grow(c->in, c->in_cap, HEAD_MAX);
        struct io_result r = io_read(c->io, c->in + c->in_n, c->in_cap - c->in_n);
        if (r.rc == RC_EOF)
            c->eof = true; /* it may still read: half a close is legal */
        else if (r.rc != RC_OK)
            return r.rc;
        c->in_n += r.n;
    }
}

/* The answer is out: the next request may have come along with this one. */
static void conn_next(struct hconn *c)
{
    size_t used = MIN(c->head_n + c->body_n, c->in_n);
    c->in_n -= used;
    memmove(c->in, c->in + used, c->in_n);
    c->head_n = c->body_n = 0;
    c->body_waits = false;
    strbuf_fini(&c->out); /* a large one is not kept for an idle client */
    c->out_at = 0;
    if (c->keep_alive) {
        conn_enter(c, HC_IDLE, IDLE_MS);
        list_del(&c->node);
        list_push_back(&c->h->conns, &c->node);
    } else {
        (void)io_shut_write(c->io); /* a failure shows in the read that follows */
        c->in_n = 0;
        conn_enter(c, HC_LINGER, LINGER_MS);
    }
}

static enum rc conn_write(struct hconn *c)
{
    while (c->out_at < c->out.n) {
        struct io_result r = io_write(c->io, c->out.p + c->out_at, c->out.n - c->out_at);
        if (r.rc != RC_OK)
            return r.rc;
        c->out_at += r.n;
        loop_timer_set(&c->timer, WRITE_MS);
    }
    conn_next(c);
    return RC_OK;
}

/* What the client still sends is thrown away, but not for ever. */
static enum rc conn_linger(struct hconn *c)
{
    struct io_result r = io_read(c->io, c->in, c->in_cap);
    c->in_n += r.n;
    return c->in_n > BODY_MAX ? RC_LIMIT : r.rc;
}

static void conn_drive(struct hconn *c)
{
    enum rc rc = RC_OK;
    for (int steps = 0; rc == RC_OK; steps++) {
        if (steps == STEPS_MAX) { /* one that sends without pause must not hold up the rest */
            loop_defer(c->h->loop, &c->again, LOOP_WORK);
            return;
        }
        switch (c->state) {
        case HC_IDLE:
        case HC_READ:   rc = conn_read(c); break;
        case HC_WRITE:  rc = conn_write(c); break;
        case HC_LINGER: rc = conn_linger(c); break;
        }
    }
    if (rc != RC_AGAIN)
        conn_close(c);
}

static void on_again(void *owner)
{
    conn_drive(owner);
}

static void on_ready(void *owner, unsigned ready)
{
    (void)ready;
    conn_drive(owner);
}

static void on_deadline(void *owner)
{
    conn_close(owner);
}

/* -- the server -- */

static void conn_new(struct httpd *h, int fd)
{
    if (h->conns_n == CONNS_MAX) {
        struct hconn *c = LIST_FIRST(&h->conns, struct hconn, node);
        if (c->state != HC_IDLE) {
            close(fd);
            return;
        }
        conn_close(c);
    }
    struct io *io = io_tcp_new(h->loop, fd, false);
    if (!io)
        return;
    struct hconn *c = mem_new(struct hconn);
    c->h = h;
    c->io = io;
    io->on_ready = on_ready;
    io->owner = c;
    loop_timer_init(&c->timer, h->loop, on_deadline, c);
    loop_task_init(&c->again, on_again, c);
    strbuf_init(&c->out, ANSWER_MAX + HEAD_MAX);
    list_push_back(&h->conns, &c->node);
    h->conns_n++;
    conn_enter(c, HC_READ, HEAD_MS); /* the first request has no time to be idle */
}

static void on_listen(void *owner, unsigned ready);

static void listen_open(void *owner)
{
    struct httpd *h = owner;
    if (loop_fd_open(&h->listen, h->loop, h->fd, LOOP_READ | LOOP_LEVEL, on_listen, h) != RC_OK)
        loop_timer_set(&h->accept_again, ACCEPT_WAIT_MS);
}

static void on_listen(void *owner, unsigned ready)
{
    (void)ready;
    struct httpd *h = owner;
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        int fd;
        struct addr peer;
        enum rc rc = sock_accept(h->fd, &fd, &peer);
        if (rc == RC_LIMIT) { /* the listener stays ready: don't spin on it */
            loop_fd_close(&h->listen);
            loop_timer_set(&h->accept_again, ACCEPT_WAIT_MS);
        }
        if (rc != RC_OK)
            return;
        conn_new(h, fd);
    }
}

struct httpd *httpd_new(struct loop *l, int fd)
{
    struct httpd *h = mem_new(struct httpd);
    h->loop = l;
    h->fd = fd;
    list_init(&h->conns);
    loop_timer_init(&h->accept_again, l, listen_open, h);
    if (loop_fd_open(&h->listen, l, fd, LOOP_READ | LOOP_LEVEL, on_listen, h) == RC_OK)
        return h;
    close(fd);
    free(h);
    return NULL;
}

void httpd_handle(struct httpd *h, const char *path, const char *methods, httpd_fn *fn, void *owner)
{
    mem_grow(h->routes, h->routes_cap, h->routes_n + 1);
    h->routes[h->routes_n++] = (struct route){path, methods, fn, owner};
}

void httpd_free(struct httpd *h)
{
    if (!h)
        return;
    while (!list_empty(&h->conns))
        conn_close(LIST_FIRST(&h->conns, struct hconn, node));
    loop_timer_clear(&h->accept_again);
    loop_fd_close(&h->listen);
    close(h->fd);
    free(h->routes);
    free(h);
}
