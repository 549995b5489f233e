#include "lib/http/channel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/must.h"
#include "lib/net/dns.h"
#include "lib/net/io_tcp.h"
#include "lib/net/sock.h"

#define HANDSHAKE_MS    5000  /* TCP and TLS, for each address */
#define SETTINGS_MS     7000  /* and the first frame of HTTP/2 */
#define PING_MS         30000 /* as Istio's clients; istiod refuses more than one in 15 s */
#define PING_TIMEOUT_MS 10000
#define DEBOUNCE_MS     2000 /* between a change in the roots' folder and the look at it */
#define DRAIN_MS        10000
#define TOKEN_MAX       (16 * 1024)

/* What the channel does to get a session. */
enum channel_state {
    CHANNEL_IDLE,    /* nothing: nobody asked, or the last session ended */
    CHANNEL_RESOLVE, /* waits for the addresses of the name */
    CHANNEL_HELLO,   /* waits for TCP, TLS and the server's SETTINGS */
    CHANNEL_READY,
};

/* A session and its way back to us; outlives the channel until the session is gone. */
struct channel_link {
    struct channel *ch; /* NULL: nobody cares any more */
    struct h2_session *session;
    struct list node;
};

struct channel {
    struct loop *loop;
    char *url, *authority, *host, *roots, *token, *cluster_id;
    bool roots_inline;
    struct grpc_header headers[CHANNEL_HEADERS];
    size_t n_headers;
    uint16_t port;
    enum channel_state state;
    struct list waits;
    struct loop_task deliver;
    struct dns_query *query;
    struct addr addrs[DNS_ADDRS_MAX];
    size_t n_addrs, at;
    struct mtls_ctx *ctx; /* with the roots as last read */
    struct list links;
    struct channel_link *current; /* of HELLO and READY */
    int notify_fd;
    struct loop_fd notify;
    struct loop_timer debounce;
};

static void dial(struct channel *ch);

/* -- waits -- */

static void fail_waits(struct channel *ch, const char *error)
{
    struct list todo;
    list_init(&todo);
    list_splice(&todo, &ch->waits);
    ch->state = CHANNEL_IDLE;
    struct channel_wait *w;
    while ((w = LIST_FIRST(&todo, struct channel_wait, node))) {
        list_del(&w->node);
        w->fn(w->owner, NULL, error); /* may free the channel: it is not touched any more */
    }
}

static void deliver(void *owner)
{
    struct channel *ch = owner;
    struct channel_wait *w;
    while (ch->state == CHANNEL_READY && (w = LIST_FIRST(&ch->waits, struct channel_wait, node))) {
        struct channel_link *link = ch->current;
        list_del(&w->node);
        if (!list_empty(&ch->waits))
            loop_defer(ch->loop, &ch->deliver, LOOP_WORK);
        w->fn(w->owner, link->session, NULL);
        return; /* one at a time: the callback may have done anything */
    }
    if (ch->state == CHANNEL_IDLE && !list_empty(&ch->waits))
        dial(ch); /* the session ended while they waited for their turn */
}

static void deliver_later(struct channel *ch)
{
    loop_defer(ch->loop, &ch->deliver, LOOP_WORK);
}

/* -- sessions -- */

static void leave(struct channel_link *link) /* no longer the one for new calls */
{
    struct channel *ch = link->ch;
    if (!ch || ch->current != link)
        return;
    ch->current = NULL;
    ch->state = CHANNEL_IDLE;
}

static void on_settings(void *owner)
{
    struct channel_link *link = owner;
    struct channel *ch = link->ch;
    if (!ch || ch->current != link)
        return;
    ch->state = CHANNEL_READY;
    deliver_later(ch);
}

static void on_goaway(void *owner)
{
    struct channel_link *link = owner;
    leave(link);
    h2_session_drain(link->session, 0);
    if (link->ch && !list_empty(&link->ch->waits))
        deliver_later(link->ch);
}

static void try_next(struct channel *ch, const char *error);

static void on_close(void *owner, enum rc why)
{
    struct channel_link *link = owner;
    struct channel *ch = link->ch;
    char text[512], peer[ADDR_TEXT] = "";
    const char *detail = mtls_error(h2_session_io(link->session));
    bool hello = ch && ch->current == link && ch->state == CHANNEL_HELLO;
    list_del(&link->node);
    leave(link);
    free(link);
    if (!hello) {
        if (ch && !list_empty(&ch->waits))
            deliver_later(ch);
        return;
    }
    addr_format(&ch->addrs[ch->at], peer);
    snprintf(text, sizeof(text), "%s (%s): %s%s%s", ch->url, peer, rc_text(why),
             *detail ? ": " : "", detail);
    ch->at++;
    try_next(ch, text);
}

static const struct h2_session_ops session_ops = {
    .on_settings = on_settings, .on_goaway = on_goaway, .on_close = on_close};

/* -- dialling -- */

static enum rc start_session(struct channel *ch, const struct addr *to)
{
    struct sock_opts so = SOCK_OPTS_DEFAULT;
    so.keepalive = true;
    int fd = -1;
    bool connecting = false;
    enum rc rc = sock_connect_tcp(to, NULL, &so, &fd, &connecting);
    if (rc != RC_OK)
        return rc;
    struct io *tcp = io_tcp_new(ch->loop, fd, connecting);
    if (!tcp)
        return RC_LIMIT;
    struct mtls_opts mo = {.handshake_ms = HANDSHAKE_MS, .check.dns_name = ch->host};
    struct h2_opts ho = {
        .ping_ms = PING_MS, .ping_timeout_ms = PING_TIMEOUT_MS, .settings_ms = SETTINGS_MS};
    struct channel_link *link = mem_new(struct channel_link);
    link->ch = ch;
    list_push_back(&ch->links, &link->node);
    ch->current = link;
    ch->state = CHANNEL_HELLO;
    link->session =
        h2_session_new(ch->loop, mtls_start(ch->loop, ch->ctx, tcp, &mo), &ho, &session_ops, link);
    return RC_OK;
}

static void try_next(struct channel *ch, const char *error)
{
    char text[512];
    for (; ch->at < ch->n_addrs; ch->at++) {
        enum rc rc = start_session(ch, &ch->addrs[ch->at]);
        if (rc == RC_OK)
            return;
        char peer[ADDR_TEXT];
        addr_format(&ch->addrs[ch->at], peer);
        snprintf(text, sizeof(text), "%s (%s): %s", ch->url, peer, rc_text(rc));
        error = text;
    }
    fail_waits(ch, error);
}

static void on_resolved(void *owner, enum rc rc, const struct addr *addrs, size_t n)
{
    struct channel *ch = owner;
    char text[512];
    ch->query = NULL;
    ch->at = 0;
    ch->n_addrs = rc == RC_OK ? n : 0;
    for (size_t i = 0; i < ch->n_addrs; i++) {
        ch->addrs[i] = addrs[i];
        ch->addrs[i].port = ch->port;
    }
    snprintf(text, sizeof(text), "%s: the name %s can't be resolved: %s", ch->url, ch->host,
             rc_text(rc));
    try_next(ch, text);
}

/* -- roots -- */

static void watch_roots(struct channel *ch)
{
    if (ch->notify_fd < 0 || ch->roots_inline)
        return;
    const char *slash = strrchr(ch->roots, '/');
    char *folder AUTO_FREE =
        slash ? mem_strndup(ch->roots, slash == ch->roots ? 1 : (size_t)(slash - ch->roots))
              : mem_strdup(".");
    /* the folder: files are replaced by renaming, projected volumes by a link beside them. Absent or
     * out of watches: every connect reads the file all the same. */
    (void)inotify_add_watch(ch->notify_fd, folder,
                            IN_CLOSE_WRITE | IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_ONLYDIR);
}

/* A bundle that can't be read leaves the last good one in force. */
static enum rc read_roots(struct channel *ch, bool *ret_changed, struct errmsg *ret_msg)
{
    struct trust *t AUTO(trust_unref) = NULL;
    enum rc rc = ch->roots_inline ? trust_parse(str_of(ch->roots), &t, ret_msg)
                                  : trust_load(ch->roots, &t, ret_msg);
    *ret_changed = false;
    if (rc != RC_OK || (ch->ctx && mtls_ctx_trust(ch->ctx)->hash == t->hash))
        return ch->ctx ? RC_OK : rc;
    struct mtls_ctx *ctx = NULL;
    rc = mtls_ctx_new(MTLS_CLIENT_DNS, NULL, t, &ctx, ret_msg);
    if (rc != RC_OK)
        return rc;
    mtls_ctx_unref(ch->ctx);
    ch->ctx = ctx;
    *ret_changed = true;
    return RC_OK;
}

static void on_debounce(void *owner)
{
    struct channel *ch = owner;
    bool changed = false;
    if (read_roots(ch, &changed, NULL) != RC_OK || !changed || !ch->current)
        return;
    struct channel_link *old = ch->current;
    leave(old); /* the next call goes by the new roots, the running ones have a while to end */
    h2_session_drain(old->session, DRAIN_MS);
    if (!list_empty(&ch->waits))
        deliver_later(ch);
}

static void on_notify(void *owner, unsigned ready)
{
    (void)ready;
    struct channel *ch = owner;
    char events[4096];
    while (read(ch->notify_fd, events, sizeof(events)) > 0)
        continue; /* which one does not matter: the content decides */
    if (!loop_timer_armed(&ch->debounce))
        loop_timer_set(&ch->debounce, DEBOUNCE_MS);
}

static void dial(struct channel *ch)
{
    struct errmsg msg = {""};
    bool changed;
    watch_roots(ch);
    if (read_roots(ch, &changed, &msg) != RC_OK) {
        char text[700];
        snprintf(text, sizeof(text), "%s: trust roots: %s", ch->url, msg.text);
        fail_waits(ch, text);
        return;
    }
    ch->state = CHANNEL_RESOLVE;
    ch->query = dns_resolve(ch->loop, str_of(ch->host), on_resolved, ch);
}

/* -- the channel -- */

static enum rc parse_url(struct channel *ch, const char *url, struct errmsg *ret_msg)
{
    struct str s = str_of(url), rest = {0}, host;
    uint64_t port = CHANNEL_PORT;
    if (str_starts(s, STR("https://")))
        s = (struct str){s.p + 8, s.n - 8};
    if (str_ends(s, STR("/")))
        s.n--;
    if (s.n && s.p[0] == '[') {
        host = str_split((struct str){s.p + 1, s.n - 1}, ']', &rest);
        if (rest.n && rest.p[0] == ':')
            rest = (struct str){rest.p + 1, rest.n - 1};
        else if (rest.n)
            host.n = 0;
    } else {
        host = str_split(s, ':', &rest);
    }
    if (host.n == 0 || host.n > 255 || memchr(host.p, '/', host.n) ||
        (rest.n && (!str_to_u64(rest, 65535, &port) || port == 0))) {
        errmsg_set(ret_msg, "\"%s\" is not of the form https://HOST:PORT", url ? url : "");
        return RC_INVALID;
    }
    bool v6 = memchr(host.p, ':', host.n) != NULL;
    ch->host = str_dup(host);
    ch->port = (uint16_t)port;
    ch->authority = mem_printf(v6 ? "[%s]:%u" : "%s:%u", ch->host, (unsigned)ch->port);
    ch->url = mem_printf("https://%s", ch->authority);
    return RC_OK;
}

enum rc channel_new(struct loop *l, const struct channel_opts *o, struct channel **ret,
                    struct errmsg *ret_msg)
{
    MUST(o->n_headers <= CHANNEL_HEADERS);
    struct channel *ch = mem_new(struct channel);
    ch->loop = l;
    ch->notify_fd = -1;
    list_init(&ch->waits);
    list_init(&ch->links);
    loop_task_init(&ch->deliver, deliver, ch);
    loop_timer_init(&ch->debounce, l, on_debounce, ch);
    enum rc rc = parse_url(ch, o->url, ret_msg);
    if (rc != RC_OK) {
        channel_free(ch);
        return rc;
    }
    ch->roots = mem_strdup(o->roots);
    ch->roots_inline = strstr(o->roots, "-----BEGIN ") != NULL;
    ch->token = mem_strdup(o->token);
    ch->cluster_id = mem_strdup(o->cluster_id);
    for (size_t i = 0; i < o->n_headers; i++) {
        struct grpc_header *h = &ch->headers[ch->n_headers++];
        h->name = mem_strdup(o->headers[i].name);
        h->value = (struct str){str_dup(o->headers[i].value), o->headers[i].value.n};
    }
    ch->notify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (ch->notify_fd >= 0 && loop_fd_open(&ch->notify, l, ch->notify_fd, LOOP_READ | LOOP_LEVEL,
                                           on_notify, ch) != RC_OK) {
        close(ch->notify_fd);
        ch->notify_fd = -1;
    }
    *ret = ch;
    return RC_OK;
}

void channel_free(struct channel *ch)
{
    if (!ch)
        return;
    struct channel_link *link, *next;
    LIST_FOREACH_SAFE (link, next, &ch->links, node) {
        list_del(&link->node);
        link->ch = NULL;
        h2_session_close(link->session, RC_CLOSED);
    }
    struct channel_wait *w, *after;
    LIST_FOREACH_SAFE (w, after, &ch->waits, node)
        list_del(&w->node);
    if (ch->query)
        dns_cancel(ch->query);
    if (ch->notify_fd >= 0) {
        loop_fd_close(&ch->notify);
        close(ch->notify_fd);
    }
    loop_timer_clear(&ch->debounce);
    loop_task_cancel(&ch->deliver);
    mtls_ctx_unref(ch->ctx);
    for (size_t i = 0; i < ch->n_headers; i++) {
        mem_free((char *)(uintptr_t)ch->headers[i].name);
        mem_free((char *)(uintptr_t)ch->headers[i].value.p);
    }
    mem_free(ch->url);
    mem_free(ch->authority);
    mem_free(ch->host);
    mem_free(ch->roots);
    mem_free(ch->token);
    mem_free(ch->cluster_id);
    mem_free(ch);
}

const char *channel_url(const struct channel *ch)
{
    return ch->url;
}

void channel_get(struct channel *ch, struct channel_wait *w, channel_ready_fn *fn, void *owner)
{
    w->fn = fn;
    w->owner = owner;
    list_push_back(&ch->waits, &w->node);
    if (ch->state == CHANNEL_READY && !h2_session_usable(ch->current->session)) {
        struct channel_link *full = ch->current;
        leave(full);
        h2_session_drain(full->session, 0);
    }
    if (ch->state == CHANNEL_READY || ch->state == CHANNEL_IDLE)
        deliver_later(ch);
}

void channel_wait_cancel(struct channel_wait *w)
{
    list_del(&w->node);
}

/* -- calls -- */

/* "Bearer …" into out. */
static enum rc read_token(const struct channel *ch, struct strbuf *out, struct errmsg *ret_msg)
{
    struct strbuf file AUTO_STRBUF;
    strbuf_init(&file, TOKEN_MAX);
    enum rc rc = file_read(ch->token, TOKEN_MAX, &file, ret_msg);
    if (rc == RC_NOT_FOUND && !strchr(ch->token, '/')) {
        strbuf_addz(&file, ch->token); /* no path: the token itself */
        rc = RC_OK;
    }
    struct str token = str_trim(strbuf_str(&file));
    if (rc == RC_OK && token.n == 0) {
        errmsg_set(ret_msg, "the token file %s is empty", ch->token);
        rc = RC_UNAUTHENTICATED;
    }
    strbuf_addz(out, "Bearer ");
    strbuf_adds(out, token);
    if (file.p)
        explicit_bzero(file.p, file.cap);
    return rc;
}

struct grpc_call *channel_call(struct channel *ch, struct h2_session *s, const char *path,
                               size_t max_message, const struct grpc_ops *ops, void *owner,
                               struct errmsg *ret_msg)
{
    struct grpc_header hs[CHANNEL_HEADERS + 2];
    size_t n = 0;
    struct strbuf bearer AUTO_STRBUF;
    strbuf_init(&bearer, TOKEN_MAX + 8);
    if (ch->token) {
        if (read_token(ch, &bearer, ret_msg) != RC_OK)
            return NULL;
        hs[n++] = (struct grpc_header){"authorization", strbuf_str(&bearer)};
    }
    if (ch->cluster_id)
        hs[n++] = (struct grpc_header){"clusterid", str_of(ch->cluster_id)};
    for (size_t i = 0; i < ch->n_headers; i++)
        hs[n++] = ch->headers[i];
    struct grpc_call *c = grpc_open(s, str_of(ch->authority), path, hs, n, max_message, ops, owner);
    if (!c)
        errmsg_set(ret_msg, "%s takes no more calls at the moment", ch->url);
    if (bearer.p)
        explicit_bzero(bearer.p, bearer.cap);
    return c;
}
