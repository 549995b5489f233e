#include "lib/kube/kube.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/file.h"
#include "lib/base/hash.h"
#include "lib/base/must.h"
#include "lib/codec/node.h"

#define SECRET_MAX     (1u << 20)
#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 30000
#define RETRY_AFTER_S  300 /* no server makes us wait longer */
#define ERROR_BODY_MAX (64u << 10)

struct kube {
    struct loop *loop;
    struct kube_config *config;
    char *agent, *url, *connect_to;
    struct fetcher *fetcher;
    struct fetch_tls *tls;
    uint64_t tls_hash;
    struct list calls, streams;
};

/* A GET in pieces; a call is one whose pieces are collected. */
struct kube_stream {
    struct list node;
    struct kube *k;
    char *method, *path, *accept, *content_type, *body;
    size_t body_n;
    int64_t total_ms;
    bool again; /* 401: credentials were read anew once */
    struct fetch *fetch;
    int status;
    struct strbuf error; /* body of an answer that is not 2xx */
    const struct kube_stream_ops *ops;
    void *owner;
};

struct kube_call {
    struct list node;
    struct kube_stream *stream;
    struct kube *k;
    struct loop_timer retry;
    unsigned left;
    bool once;
    struct kube_backoff backoff;
    struct strbuf body;
    kube_reply_fn *fn;
    void *owner;
};

/* -- credentials -- */

/* Empty when there is none. A file that can't be read right now is reported by whom it concerns: the server
 * refuses us, or we the server. */
static void read_secret(const struct kube_secret *s, struct strbuf *out)
{
    if (s->path && file_read(s->path, SECRET_MAX, out, NULL) == RC_OK)
        return;
    strbuf_reset(out);
    if (s->text)
        strbuf_addz(out, s->text);
}

static void forget(struct strbuf *b)
{
    if (b->p)
        explicit_bzero(b->p, b->cap);
    strbuf_fini(b);
}
#define AUTO_SECRET __attribute__((cleanup(forget)))

static void refresh_tls(struct kube *k)
{
    struct strbuf ca AUTO_SECRET, cert AUTO_SECRET, key AUTO_SECRET;
    strbuf_init(&ca, SECRET_MAX);
    strbuf_init(&cert, SECRET_MAX);
    strbuf_init(&key, SECRET_MAX);
    read_secret(&k->config->ca, &ca);
    read_secret(&k->config->cert, &cert);
    read_secret(&k->config->key, &key);
    uint64_t h = hash_mix(hash_str(strbuf_str(&ca)), hash_str(strbuf_str(&cert)));
    h = hash_mix(h, hash_str(strbuf_str(&key)));
    /* half of a rotation: the old pair still serves */
    bool torn = (cert.n == 0) != (key.n == 0) || (k->config->ca.path && ca.n == 0);
    if (k->tls && (h == k->tls_hash || torn))
        return;
    fetch_tls_unref(k->tls);
    k->tls_hash = h;
    k->tls = fetch_tls_new(&(struct fetch_tls_opts){.roots = strbuf_str(&ca),
                                                    .cert = strbuf_str(&cert),
                                                    .key = strbuf_str(&key),
                                                    .insecure = k->config->insecure});
}

/* -- paths -- */

void kube_escape(struct strbuf *out, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            (c && strchr("-._~", c)))
            strbuf_addc(out, c);
        else
            strbuf_printf(out, "%%%02X", (unsigned char)c);
    }
}

/* tls-server-name: the URL has that name, the connection goes to the server. */
static void set_url(struct kube *k)
{
    const struct kube_config *c = k->config;
    struct str rest = str_of(c->server), path, at;
    bool https = str_starts(rest, STR("https://"));
    if (!c->tls_server_name) {
        k->url = mem_strdup(c->server);
        return;
    }
    rest = (struct str){rest.p + (https ? 8 : 7), rest.n - (https ? 8 : 7)};
    at = str_split(rest, '/', &path);
    struct str port = https ? STR("443") : STR("80");
    ptrdiff_t colon = -1;
    for (size_t i = 0; i < at.n; i++)
        if (at.p[i] == ':')
            colon = (ptrdiff_t)i;
    if (colon >= 0 && at.p[at.n - 1] != ']') {
        port = (struct str){at.p + colon + 1, at.n - (size_t)colon - 1};
        at.n = (size_t)colon;
    }
    k->connect_to = mem_printf("%.*s:%.*s", STR_ARG(at), STR_ARG(port));
    k->url = mem_printf("%s%s:%.*s%s%.*s", https ? "https://" : "http://", c->tls_server_name,
                        STR_ARG(port), path.n ? "/" : "", STR_ARG(path));
}

/* -- answers -- */

static enum rc rc_of_status(int status)
{
    if (status >= 200 && status < 300)
        return RC_OK;
    switch (status) {
    case 401: return RC_UNAUTHENTICATED;
    case 403: return RC_DENIED;
    case 404: return RC_NOT_FOUND;
    case 409: return RC_EXISTS;
    case 429: return RC_AGAIN;
    default:  return status >= 500 || status < 400 ? RC_IO : RC_INVALID;
    }
}

static int64_t retry_after(struct fetch *t)
{
    uint64_t s;
    struct str h = fetch_header(t, "retry-after");
    return h.n && str_to_u64(h, RETRY_AFTER_S, &s) ? (int64_t)s * 1000 : 0;
}

/* A reply from what came, with the parsed body in arena. */
static void reply_of(const struct kube_stream *s, const struct fetch_end *end, struct str body,
                     struct arena *arena, char *text, size_t cap, struct kube_reply *ret)
{
    struct node *root = NULL;
    *ret = (struct kube_reply){.rc = end->rc, .status = end->status, .error = text};
    text[0] = '\0';
    if (end->rc == RC_OK)
        ret->rc = rc_of_status(end->status);
    if (body.n && json_parse(arena, body, &root, NULL) == RC_OK)
        ret->body = root;
    if (ret->rc == RC_OK)
        return;
    int path_n = (int)MIN(strcspn(s->path, "?"), 300u);
    if (end->rc != RC_OK) {
        snprintf(text, cap, "%s %.*s: %s", s->method, path_n, s->path, end->error);
        return;
    }
    struct str message = node_str(node_get(root, "message"));
    ret->reason = node_str(node_get(root, "reason"));
    snprintf(text, cap, "%s %.*s: status %d%s%.*s%s%.*s", s->method, path_n, s->path, end->status,
             ret->reason.n ? " " : "", (int)MIN(ret->reason.n, 60u),
             ret->reason.p ? ret->reason.p : "", message.n ? ": " : "", (int)MIN(message.n, 600u),
             message.p ? message.p : "");
}

/* -- streams -- */

static void stream_free(struct kube_stream *s)
{
    list_del(&s->node);
    strbuf_fini(&s->error);
    if (s->body)
        explicit_bzero(s->body, s->body_n);
    free(s->method);
    free(s->path);
    free(s->accept);
    free(s->content_type);
    free(s->body);
    free(s);
}

static void send_stream(struct kube_stream *s);

static void on_head(void *owner, struct fetch *t, int status)
{
    (void)t;
    struct kube_stream *s = owner;
    s->status = status;
    if (status >= 200 && status < 300 && s->ops->on_open)
        s->ops->on_open(s->owner);
}

static enum rc on_body(void *owner, struct fetch *t, struct str part)
{
    (void)t;
    struct kube_stream *s = owner;
    if (s->status >= 200 && s->status < 300)
        return s->ops->on_body(s->owner, part);
    strbuf_adds(&s->error, part);
    return RC_OK;
}

static void on_done(void *owner, const struct fetch_end *end)
{
    struct kube_stream *s = owner;
    int64_t wait_ms = retry_after(s->fetch);
    s->fetch = NULL;
    if (end->status == 401 && !s->again) {
        s->again = true;
        strbuf_reset(&s->error);
        send_stream(s);
        return;
    }
    char text[1200];
    struct arena arena AUTO_ARENA;
    struct kube_reply r;
    arena_init(&arena, 64 * ERROR_BODY_MAX);
    reply_of(s, end, strbuf_str(&s->error), &arena, text, sizeof(text), &r);
    const struct kube_stream_ops *ops = s->ops;
    list_del(&s->node);
    ops->on_done(s->owner, &r, wait_ms);
    stream_free(s);
}

static const struct fetch_ops fetch_stream_ops = {
    .on_head = on_head, .on_body = on_body, .on_done = on_done};

static void send_stream(struct kube_stream *s)
{
    struct kube *k = s->k;
    const char *headers[4];
    size_t n = 0;
    struct strbuf auth AUTO_SECRET, token AUTO_SECRET;
    char *url AUTO_FREE = mem_printf("%s%s", k->url, s->path);
    char *agent AUTO_FREE = mem_printf("user-agent: %s", k->agent);
    char *accept AUTO_FREE = mem_printf("accept: %s", s->accept ? s->accept : "application/json");
    char *type AUTO_FREE = s->body ? mem_printf("content-type: %s", s->content_type) : NULL;
    strbuf_init(&token, SECRET_MAX);
    strbuf_init(&auth, SECRET_MAX + 64);
    read_secret(&k->config->token, &token);
    struct str t = str_trim(strbuf_str(&token));
    refresh_tls(k);
    s->status = 0;
    headers[n++] = agent;
    headers[n++] = accept;
    if (s->body)
        headers[n++] = type;
    if (t.n && !memchr(t.p, '\n', t.n) && !memchr(t.p, '\r', t.n)) {
        strbuf_addz(&auth, "authorization: Bearer ");
        strbuf_adds(&auth, t);
        headers[n++] = auth.p;
    }
    struct fetch_request r = {.method = s->method,
                              .url = url,
                              .connect_to = k->connect_to,
                              .headers = headers,
                              .n_headers = n,
                              .body = {s->body, s->body_n},
                              .tls = k->tls,
                              .total_ms = s->total_ms};
    s->fetch = fetch_start(k->fetcher, &r, &fetch_stream_ops, s);
}

static struct kube_stream *stream_new(struct kube *k, const char *method, const char *path,
                                      int64_t total_ms, const struct kube_stream_ops *ops,
                                      void *owner)
{
    struct kube_stream *s = mem_new(struct kube_stream);
    s->k = k;
    s->method = mem_strdup(method);
    s->path = mem_strdup(path);
    s->total_ms = total_ms;
    s->ops = ops;
    s->owner = owner;
    strbuf_init(&s->error, ERROR_BODY_MAX);
    list_push_back(&k->streams, &s->node);
    return s;
}

struct kube_stream *kube_stream(struct kube *k, const char *path, const char *accept,
                                int64_t total_ms, const struct kube_stream_ops *ops, void *owner)
{
    struct kube_stream *s = stream_new(k, "GET", path, total_ms, ops, owner);
    s->accept = mem_strdup(accept);
    send_stream(s);
    return s;
}

void kube_stream_cancel(struct kube_stream *s)
{
    if (s->fetch)
        fetch_cancel(s->fetch);
    stream_free(s);
}

/* -- calls -- */

int64_t kube_backoff_next(struct kube_backoff *b)
{
    b->ms = b->ms ? MIN(b->ms * 2, (int64_t)BACKOFF_MAX_MS) : BACKOFF_MIN_MS;
    return b->ms + (int64_t)rand_below((uint64_t)b->ms);
}

static void call_free(struct kube_call *c)
{
    list_del(&c->node);
    loop_timer_clear(&c->retry);
    if (c->stream)
        kube_stream_cancel(c->stream);
    strbuf_fini(&c->body);
    free(c);
}

static enum rc on_call_body(void *owner, struct str part)
{
    struct kube_call *c = owner;
    strbuf_adds(&c->body, part);
    return c->body.truncated ? RC_LIMIT : RC_OK;
}

/* Worth another try: the server is busy, away or restarting. */
static bool passing(const struct kube_reply *r, bool once)
{
    if (once)
        return r->status == 429;
    if (r->status >= 300)
        return r->status == 429 || r->status == 500 || r->status >= 502;
    return r->rc != RC_OK && r->rc != RC_INVALID && r->rc != RC_CERT && r->rc != RC_LIMIT;
}

static void on_call_done(void *owner, const struct kube_reply *r, int64_t retry_after_ms)
{
    struct kube_call *c = owner;
    struct kube_stream *s = c->stream;
    if (passing(r, c->once) && c->left) {
        struct kube_stream *next = stream_new(c->k, s->method, s->path, s->total_ms, s->ops, c);
        next->content_type = TAKE(s->content_type);
        next->body = TAKE(s->body);
        next->body_n = s->body_n;
        c->stream = next;
        c->left--;
        strbuf_reset(&c->body);
        int64_t wait_ms = kube_backoff_next(&c->backoff);
        loop_timer_set(&c->retry, MAX(wait_ms, retry_after_ms));
        return;
    }
    struct arena arena AUTO_ARENA;
    struct kube_reply whole = *r;
    struct node *root = NULL;
    arena_init(&arena, 16 * (size_t)KUBE_ANSWER_MAX);
    if (r->rc == RC_OK && c->body.n &&
        json_parse(&arena, strbuf_str(&c->body), &root, NULL) == RC_OK)
        whole.body = root;
    c->stream = NULL;
    list_del(&c->node);
    c->fn(c->owner, &whole);
    call_free(c);
}

static const struct kube_stream_ops call_ops = {.on_body = on_call_body, .on_done = on_call_done};

static void on_retry(void *owner)
{
    struct kube_call *c = owner;
    send_stream(c->stream);
}

struct kube_call *kube_call(struct kube *k, const struct kube_request *r, kube_reply_fn *fn,
                            void *owner)
{
    struct kube_call *c = mem_new(struct kube_call);
    c->k = k;
    c->left = r->retries;
    c->once = r->once;
    c->fn = fn;
    c->owner = owner;
    strbuf_init(&c->body, KUBE_ANSWER_MAX);
    loop_timer_init(&c->retry, k->loop, on_retry, c);
    list_push_back(&k->calls, &c->node);
    c->stream = stream_new(k, r->method, r->path, r->timeout_ms ? r->timeout_ms : KUBE_CALL_MS,
                           &call_ops, c);
    if (r->body.p) {
        c->stream->content_type =
            mem_strdup(r->content_type ? r->content_type : "application/json");
        c->stream->body = mem_strndup(r->body.p, r->body.n);
        c->stream->body_n = r->body.n;
    }
    send_stream(c->stream);
    return c;
}

void kube_call_cancel(struct kube_call *c)
{
    call_free(c);
}

/* -- the client -- */

struct kube *kube_new(struct loop *l, struct kube_config *config, const char *agent)
{
    struct kube *k = mem_new(struct kube);
    k->loop = l;
    k->config = config;
    k->agent = mem_strdup(agent);
    k->fetcher = fetcher_new(l);
    list_init(&k->calls);
    list_init(&k->streams);
    set_url(k);
    return k;
}

void kube_free(struct kube *k)
{
    if (!k)
        return;
    struct kube_call *c, *c_next;
    LIST_FOREACH_SAFE (c, c_next, &k->calls, node)
        call_free(c);
    struct kube_stream *s, *s_next;
    LIST_FOREACH_SAFE (s, s_next, &k->streams, node)
        kube_stream_cancel(s);
    fetcher_free(k->fetcher);
    fetch_tls_unref(k->tls);
    kube_config_free(k->config);
    free(k->agent);
    free(k->url);
    free(k->connect_to);
    free(k);
}

const struct kube_config *kube_config(const struct kube *k)
{
    return k->config;
}

struct loop *kube_loop(const struct kube *k)
{
    return k->loop;
}
