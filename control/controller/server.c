#include "control/controller/server.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "lib/ca/ca_msg.h"
#include "lib/log/log.h"
#include "lib/metric/metric.h"
#include "lib/net/io_tcp.h"
#include "lib/net/sock.h"

#define SCOPE         "server"
#define RETRY_MS      100
#define ACCEPT_BUDGET 64

static const struct metric_family m_connections = {
    "mesh_controller_connections", "Connections to port 15012.", METRIC_GAUGE, false};
static const struct metric_family m_evicted = {
    "mesh_controller_connections_evicted",
    "Connections closed to make room before they had shown a token.", METRIC_COUNTER, false};

struct session {
    struct list node;
    struct server *server;
    struct h2_session *h2;
    struct loop_timer idle;
    struct addr peer;
    bool stranger; /* no call of it has been authenticated yet */
};

struct server {
    struct loop *loop;
    struct server_opts o;
    int fd;
    struct loop_fd watch;
    struct loop_timer retry;
    struct list sessions, strangers; /* these in the order of coming */
    size_t n, n_strangers;
};

/* -- strangers -- */

static void not_strange(struct session *x)
{
    if (!x->stranger)
        return;
    x->stranger = false;
    x->server->n_strangers--;
    list_del(&x->node);
    list_push_back(&x->server->sessions, &x->node);
}

/* Whoever has a token shows it within milliseconds: who waits longest is the least loss, first of all
 * among many of one address. */
static void make_room(struct server *s, const struct addr *peer)
{
    struct session *x, *oldest = NULL;
    size_t same = 0;
    LIST_FOREACH (x, &s->strangers, node)
        if (addr_eq_ip(&x->peer, peer) && same++ == 0)
            oldest = x;
    if (same < SERVER_STRANGERS_OF_IP)
        oldest = s->n_strangers < SERVER_STRANGERS_MAX
                     ? NULL
                     : LIST_FIRST(&s->strangers, struct session, node);
    if (!oldest)
        return;
    char ip[ADDR_TEXT];
    addr_format_ip(&oldest->peer, ip);
    log_warn(SCOPE, "too many connections without a token: the oldest of %s is closed", ip);
    metric_add(metric_series(&m_evicted, STR("")), 1);
    not_strange(oldest);
    h2_session_close(oldest->h2, RC_LIMIT);
}

/* -- calls -- */

/* True when the caller showed a token. */
static bool on_xds(struct session *x, struct h2_stream *st, const struct h2_headers *hs)
{
    struct caller who;
    struct errmsg why = {""};
    char peer[800], ip[ADDR_TEXT];
    addr_format(&x->peer, ip);
    if (tokens_authenticate(x->server->o.tokens, h2_header_get(hs, "authorization"), &who, &why) !=
        RC_OK) {
        log_warn(SCOPE, "ADS for %s refused: %s", ip, why.text);
        grpc_refuse(st, GRPC_UNAUTHENTICATED, "request authenticate failure");
        return false;
    }
    if (who.kind == CALLER_NODE)
        snprintf(peer, sizeof(peer), "node %.*s at %s", STR_ARG(who.node), ip);
    else
        snprintf(peer, sizeof(peer), "workload %.*s/%.*s at %s", STR_ARG(who.ns), STR_ARG(who.sa),
                 ip);
    ads_server_accept(x->server->o.ads, st, hs, str_of(peer));
    return true;
}

static void on_request(void *owner, struct h2_stream *st, const struct h2_headers *hs)
{
    struct session *x = owner;
    struct str path = h2_header_get(hs, ":path");
    bool authenticated = false;
    loop_timer_clear(&x->idle);
    if (str_eqz(path, XDS_DELTA_PATH))
        authenticated = on_xds(x, st, hs);
    else if (str_eqz(path, CA_PATH))
        authenticated = ca_service_request(x->server->o.ca_service, st, hs, &x->peer);
    else
        grpc_refuse(st, GRPC_UNIMPLEMENTED, "there is no such method");
    if (authenticated)
        not_strange(x);
    if (h2_session_streams(x->h2) == 0) /* refused at once */
        loop_timer_set(&x->idle, SERVER_IDLE_MS);
}

static void on_idle(void *owner)
{
    struct session *x = owner;
    loop_timer_set(&x->idle, SERVER_IDLE_MS);
}

static void on_idle_too_long(void *owner)
{
    struct session *x = owner;
    h2_session_drain(x->h2, 1000);
}

static void on_close(void *owner, enum rc why)
{
    struct session *x = owner;
    char ip[ADDR_TEXT];
    addr_format(&x->peer, ip);
    if (why != RC_OK && why != RC_EOF)
        log_debug(SCOPE, "connection of %s: %s %s", ip, rc_text(why),
                  mtls_error(h2_session_io(x->h2)));
    loop_timer_clear(&x->idle);
    not_strange(x);
    list_del(&x->node);
    metric_set(metric_series(&m_connections, STR("")), (int64_t)--x->server->n);
    mem_free(x);
}

/* -- connections -- */

static void session_new(struct server *s, int fd, const struct addr *peer)
{
    static const struct h2_session_ops ops = {
        .on_request = on_request, .on_idle = on_idle, .on_close = on_close};
    struct errmsg why = {""};
    struct mtls_ctx *ctx = ca_serving(s->o.ca, &why);
    struct io *tcp = io_tcp_new(s->loop, fd, false); /* takes fd in any case */
    if (!tcp)
        return;
    if (!ctx) {
        log_error(SCOPE, "the serving certificate can't be made: %s", why.text);
        io_close(tcp, RC_CERT);
        return;
    }
    struct session *x = mem_new(struct session);
    struct mtls_opts mo = {.server = true};
    struct h2_opts ho = {.server = true,
                         .stream_window = 1u << 20,
                         .connection_window = 4u << 20,
                         .max_frame = 16384,
                         .max_streams = 200,
                         .ping_ms = 30000};
    make_room(s, peer);
    x->server = s;
    x->peer = *peer;
    x->stranger = true;
    loop_timer_init(&x->idle, s->loop, on_idle_too_long, x);
    loop_timer_set(&x->idle, SERVER_IDLE_MS);
    list_push_back(&s->strangers, &x->node);
    s->n_strangers++;
    metric_set(metric_series(&m_connections, STR("")), (int64_t)++s->n);
    x->h2 = h2_session_new(s->loop, mtls_start(s->loop, ctx, tcp, &mo), &ho, &ops, x);
}

static void on_accept(void *owner, unsigned ready)
{
    struct server *s = owner;
    (void)ready;
    for (int i = 0; i < ACCEPT_BUDGET; i++) {
        int fd;
        struct addr peer;
        enum rc rc = s->n < SERVER_CONNECTIONS_MAX ? sock_accept(s->fd, &fd, &peer) : RC_LIMIT;
        if (rc == RC_AGAIN)
            return;
        if (rc == RC_OK) {
            sock_keepalive(fd);
            session_new(s, fd, &peer);
            continue;
        }
        loop_fd_close(&s->watch); /* others wait in the kernel's queue */
        loop_timer_set(&s->retry, RETRY_MS);
        return;
    }
}

static void listen_again(void *owner)
{
    struct server *s = owner;
    if (s->fd >= 0 &&
        loop_fd_open(&s->watch, s->loop, s->fd, LOOP_READ | LOOP_LEVEL, on_accept, s) != RC_OK)
        loop_timer_set(&s->retry, RETRY_MS);
}

/* -- life -- */

enum rc server_new(struct loop *l, const struct server_opts *o, struct server **ret,
                   struct errmsg *msg)
{
    struct sock_opts so = SOCK_OPTS_DEFAULT;
    char at[ADDR_TEXT];
    int fd;
    enum rc rc = sock_listen_tcp(&o->at, &so, &fd);
    if (rc != RC_OK) {
        addr_format(&o->at, at);
        errmsg_set(msg, "--listen-grpc %s: %s", at, strerror(errno));
        return rc;
    }
    struct server *s = mem_new(struct server);
    s->loop = l;
    s->o = *o;
    s->fd = fd;
    list_init(&s->sessions);
    list_init(&s->strangers);
    loop_timer_init(&s->retry, l, listen_again, s);
    *ret = s;
    return RC_OK;
}

void server_open(struct server *s)
{
    listen_again(s);
}

static void stop_listening(struct server *s)
{
    loop_timer_clear(&s->retry);
    loop_fd_close(&s->watch);
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}

void server_drain(struct server *s, int64_t ms)
{
    struct session *x, *next;
    stop_listening(s);
    LIST_FOREACH_SAFE (x, next, &s->sessions, node)
        h2_session_drain(x->h2, ms);
    LIST_FOREACH_SAFE (x, next, &s->strangers, node)
        h2_session_drain(x->h2, ms);
}

void server_free(struct server *s)
{
    struct session *x, *next;
    if (!s)
        return;
    stop_listening(s);
    LIST_FOREACH_SAFE (x, next, &s->sessions, node)
        h2_session_close(x->h2, RC_CLOSED);
    LIST_FOREACH_SAFE (x, next, &s->strangers, node)
        h2_session_close(x->h2, RC_CLOSED);
    loop_turn(s->loop, 0); /* on_close of each */
    mem_free(s);
}

void server_local(const struct server *s, struct addr *ret)
{
    sock_local(s->fd, ret);
}
