/* Tunnels that end at the pod (15008): who comes, for what, and is it allowed. */
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/log/log.h"
#include "lib/net/sock.h"
#include "proxy/state/balance.h"
#include "proxy/ztunnel/conn.h"

/* -- one stream: a CONNECT. Until it is answered the relay keeps what comes, bounded by its window -- */

static void status_header(int status, char text[4], struct h2_header *h)
{
    snprintf(text, 4, "%03d", status);
    *h = (struct h2_header){STR(":status"), {text, 3}};
}

static void on_relay_done(void *owner, enum rc why)
{
    conn_finish(owner, why);
}

static const struct relay_ops relay_ops = {.on_done = on_relay_done};

static void refuse(void *owner, enum rc why)
{
    struct conn *c = owner;
    char text[4];
    struct h2_header h;
    status_header(rc_status(why) ? rc_status(why) : 503, text, &h);
    relay_refuse(&c->relay, &h, 1, why);
}

static void on_connected(void *owner, unsigned ready)
{
    (void)ready;
    struct conn *c = owner;
    int err = 0;
    socklen_t n = sizeof(err);
    loop_timer_clear(&c->deadline);
    if (getsockopt(c->relay.app.fd, SOL_SOCKET, SO_ERROR, &err, &n) == 0 && err) {
        refuse(c, rc_from_errno(err));
        return;
    }
    char text[4];
    struct h2_header h[2] = {{{0}}};
    status_header(200, text, &h[0]);
    h[1] = (struct h2_header){STR("baggage"), strbuf_str(&c->pod->baggage)};
    c->state = CONN_OPEN;
    if (c->relay.stream)
        h2_stream_respond(c->relay.stream, h, h[1].value.n ? 2 : 1, false);
    relay_app_opened(&c->relay);
    relay_answered(&c->relay);
}

static void on_deadline(void *owner)
{
    refuse(owner, RC_TIMEOUT);
}

/* The pod's own port that the authority means. RC_INVALID: not for this pod (400). */
static enum rc target_of(const struct proxy_state *st, struct conn *c, struct addr *ret,
                         struct service **ret_svc)
{
    struct pod *p = c->pod;
    struct addr to = c->orig_dst; /* the tunnel's local address */
    bool has;
    if (c->info.hbone_addr.family) {
        if (!addr_eq_ip(&c->info.hbone_addr, &to) &&
            !workload_has_addr(p->wl, &c->info.hbone_addr) && !p->wl->t->app_tunnel_port)
            return RC_INVALID;
        to.port = c->info.hbone_addr.port;
        *ret_svc = balance_guess_service(st, p->wl, (struct str){"", 0}, to.port);
    } else {
        struct service *s = state_service_by_host(st, c->info.hbone_host, str_of(p->ns));
        const struct wl_service *m = s ? workload_service(p->wl, s->key) : NULL;
        if (!m) /* a pod serves only what it backs */
            return RC_NO_UPSTREAM;
        to.port = service_port(s, c->info.hbone_addr.port, &has);
        for (size_t i = 0; i < m->n_ports; i++)
            if (wl_service_ports(m)[i].service == c->info.hbone_addr.port)
                to.port = wl_service_ports(m)[i].target;
        *ret_svc = s;
    }
    if (p->wl->t->app_tunnel_port)
        to.port = p->wl->t->app_tunnel_port;
    if (to.port == 0)
        return RC_NO_UPSTREAM;
    *ret = to;
    return pod_port_is_ours(to.port) ? RC_LOOP : RC_OK;
}

static enum rc open_app(struct conn *c)
{
    struct loop *l = c->pod->zw->w->loop;
    enum rc rc = conn_dial(c, &c->orig_dst, true, &c->relay.app);
    if (rc != RC_OK)
        return rc;
    c->state = CONN_DIAL;
    c->relay.app.io.on_ready = on_connected;
    c->relay.app.io.owner = c;
    loop_timer_init(&c->deadline, l, on_deadline, c);
    loop_timer_set(&c->deadline, c->pod->zw->cfg->connect_ms);
    return RC_OK;
}

static void decide(void *owner)
{
    struct conn *c = owner;
    struct pod *p = c->pod;
    const struct proxy_state *st = zworker_state(p->zw);
    if (!st || !p->wl) {
        pod_wait_start(p, &c->wait, RC_NO_WORKLOAD);
        return;
    }
    struct addr to;
    struct service *svc = NULL;
    enum rc rc = p->wl->t->app_tunnel_proxy ? RC_UNSUPPORTED : target_of(st, c, &to, &svc);
    if (rc == RC_OK) {
        rc = conn_authorize(c, &to);
        if (rc == RC_NO_POLICY) {
            pod_wait_start(p, &c->wait, RC_NO_POLICY);
            return;
        }
        c->orig_dst = to;
        conn_set_src(c, state_workload_by_ip(st, p->zw->cfg->network, &c->info.src_addr));
        conn_set_dst(c, p->wl, svc);
        conn_opened(c);
    }
    if (rc == RC_OK)
        rc = open_app(c);
    if (rc != RC_OK)
        refuse(c, rc);
}

static void on_request(void *owner, struct h2_stream *s, const struct h2_headers *hs)
{
    struct tunnel_in *t = owner;
    struct pod *p = t->pod;
    struct hbone_request req;
    char text[4];
    struct h2_header h;
    enum rc rc = hbone_request_parse(hs, &req);
    if (rc == RC_OK && p->zw->conns >= p->zw->cfg->max_conns)
        rc = RC_LIMIT;
    if (rc != RC_OK) {
        status_header(rc_status(rc), text, &h);
        h2_stream_respond(s, &h, 1, true);
        accesslog_refused(true, &t->peer, &t->local, rc,
                          "malformed CONNECT, or too many connections");
        return;
    }
    struct conn *c = conn_new(p, CONN_TUNNEL_IN, -1);
    c->info.inbound = c->info.mtls = true;
    c->info.src_addr = t->peer;
    c->info.dst_addr = c->orig_dst = t->local;
    c->info.src_id = identity_ref(mtls_peer(t->tls));
    c->info.hbone_addr = req.addr;
    c->info.hbone_addr.port = req.port;
    if (req.host.n)
        c->info.hbone_host = (struct str){str_dup(req.host), req.host.n};
    if (req.baggage.n)
        c->info.src_baggage = (struct str){str_dup(req.baggage), req.baggage.n};
    c->wait.retry = decide;
    c->wait.give_up = refuse;
    c->relaying = true;
    relay_init(&c->relay, &relay_ops, c);
    c->relay.stream = s;
    h2_stream_accept(s, &relay_stream_ops, &c->relay);
    decide(c);
}

/* -- tunnels -- */

static void tunnel_free(void *owner)
{
    struct tunnel_in *t = owner;
    struct pod *p = t->pod;
    free(t);
    pod_unref(p);
}

static void tunnel_gone(struct tunnel_in *t)
{
    list_del(&t->node);
    pod_wait_stop(&t->wait);
    t->pod->zw->conns--;
    telemetry_socket(t->pod->zw->telemetry, true, -1);
    loop_defer(t->pod->zw->w->loop, &t->free, LOOP_FREE);
}

static void on_close(void *owner, enum rc why)
{
    struct tunnel_in *t = owner;
    const char *error = mtls_error(t->tls);
    if (!mtls_peer(t->tls)) /* it never was a tunnel */
        accesslog_refused(true, &t->peer, &t->local, why, error[0] ? error : NULL);
    tunnel_gone(t);
}

static const struct h2_session_ops session_ops = {.on_request = on_request, .on_close = on_close};

static void tunnel_start(void *owner)
{
    struct tunnel_in *t = owner;
    struct pod *p = t->pod;
    struct loop *l = p->zw->w->loop;
    if (!p->ctx || !p->wl || !workload_identity(p->wl)) {
        pod_wait_start(p, &t->wait, p->wl ? RC_NO_CERT : RC_NO_WORKLOAD);
        return;
    }
    struct io *tcp = io_tcp_new(l, TAKE_FD(t->fd), false);
    if (!tcp) {
        accesslog_refused(true, &t->peer, &t->local, RC_LIMIT, NULL);
        tunnel_gone(t);
        return;
    }
    struct mtls_opts mo = {.server = true,
                           .check = {.trust_domain = workload_identity(p->wl)->trust_domain}};
    t->tls = mtls_start(l, p->ctx, tcp, &mo);
    struct h2_opts ho = p->zw->cfg->h2;
    ho.server = true;
    ho.connect_only = true;
    t->session = h2_session_new(l, t->tls, &ho, &session_ops, t);
}

static void tunnel_give_up(void *owner, enum rc why)
{
    tunnel_in_close(owner, why);
}

void tunnel_in_close(struct tunnel_in *t, enum rc why)
{
    if (t->session) {
        h2_session_close(t->session, why);
        return;
    }
    accesslog_refused(true, &t->peer, &t->local, why, NULL);
    close(t->fd);
    tunnel_gone(t);
}

void tunnels_in_drain(struct pod *p, int64_t deadline_ms)
{
    struct tunnel_in *t, *tmp;
    LIST_FOREACH_SAFE (t, tmp, &p->tunnels_in, node) {
        if (t->session)
            h2_session_drain(t->session, deadline_ms);
        else
            tunnel_in_close(t, RC_DRAIN);
    }
}

void inbound_accept(struct pod *p, int fd, const struct addr *peer)
{
    struct tunnel_in *t = mem_new(struct tunnel_in);
    t->pod = p;
    t->peer = *peer;
    t->fd = fd;
    sock_local(fd, &t->local);
    t->wait.owner = t;
    t->wait.retry = tunnel_start;
    t->wait.give_up = tunnel_give_up;
    loop_task_init(&t->free, tunnel_free, t);
    list_push_back(&p->tunnels_in, &t->node);
    p->refs++;
    p->zw->conns++;
    telemetry_socket(p->zw->telemetry, true, 1);
    tunnel_start(t);
}
