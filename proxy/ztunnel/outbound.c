/* What an application of the pod dials (15001): where it really goes, and how. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/net/sock.h"
#include "proxy/state/balance.h"
#include "proxy/ztunnel/conn.h"

#define IDENTITIES_MAX 260 /* a service's extra names and the workload's own */

/* The decision for one connection. Pointers are borrowed from the snapshot. */
struct route {
    bool tunnel;
    struct addr to;      /* next hop, with port */
    struct workload *wl; /* it belongs to; NULL: unknown */
    struct service *svc;
    struct addr authority; /* of the CONNECT, or family 0 and */
    struct str authority_host;
    struct identity *any_of[IDENTITIES_MAX];
    size_t n_any_of;
};

static enum rc expect(struct route *r, const struct service *s, struct workload *wl)
{
    if ((s ? s->n_sans : 0) + 1 > IDENTITIES_MAX)
        return RC_LIMIT;
    if (!workload_identity(wl))
        return RC_IDENTITY;
    r->n_any_of = 0;
    for (size_t i = 0; s && i < s->n_sans; i++)
        r->any_of[r->n_any_of++] = s->sans[i];
    r->any_of[r->n_any_of++] = workload_identity(wl);
    return RC_OK;
}

/* Traffic goes to a waypoint first: its service's endpoint, or a workload named by address. */
static enum rc via_waypoint(const struct proxy_state *st, struct conn *c,
                            const struct gateway_addr *g, struct route *r)
{
    struct pod *p = c->pod;
    struct balance_choice choice;
    struct service *s = NULL;
    enum rc rc;
    if (g->ip.family) {
        s = state_service_by_vip(st, g->network, &g->ip, g->ns);
        if (!s) {
            struct workload *wl = state_workload_by_ip(st, g->network, &g->ip);
            rc = wl ? balance_workload(wl, NULL, g->port, &choice) : RC_NO_UPSTREAM;
            if (rc != RC_OK || choice.addr.family == 0)
                return RC_NO_WAYPOINT;
        }
    } else {
        s = state_service(st, g->ns, g->host);
        if (!s)
            return RC_NO_WAYPOINT;
    }
    if (s) {
        struct balance_request req = {.client = p->wl,
                                      .service = s,
                                      .port = g->port,
                                      .asked = {.family = c->orig_dst.family},
                                      .waypoint = true};
        rc = balance_pick(st, &req, &choice);
        if (rc != RC_OK || choice.addr.family == 0)
            return RC_NO_WAYPOINT;
    }
    r->tunnel = true;
    r->wl = choice.wl;
    r->to = choice.addr;
    r->authority = c->orig_dst;
    return expect(r, s, choice.wl);
}

/* Straight to a workload, in a tunnel if it has one. */
static enum rc direct(const struct balance_choice *choice, const struct service *s, struct route *r)
{
    if (choice->addr.family == 0)
        return RC_NO_UPSTREAM; /* by name or through a network gateway: not routed by this version */
    r->wl = choice->wl;
    r->to = choice->addr;
    if (!workload_hbone(choice->wl))
        return RC_OK;
    r->tunnel = true;
    r->authority = choice->addr;
    r->to.port = HBONE_PORT;
    return expect(r, s, choice->wl);
}

static enum rc route_service(const struct proxy_state *st, struct conn *c, struct service *s,
                             struct route *r)
{
    const struct gateway_addr *wp = balance_waypoint(s);
    r->svc = s;
    if (wp)
        return via_waypoint(st, c, wp, r);
    struct balance_choice choice;
    struct balance_request req = {
        .client = c->pod->wl, .service = s, .port = c->orig_dst.port, .asked = c->orig_dst};
    enum rc rc = balance_pick(st, &req, &choice);
    return rc == RC_OK ? direct(&choice, s, r) : rc;
}

static enum rc route(const struct proxy_state *st, struct conn *c, struct route *r)
{
    struct pod *p = c->pod;
    struct str network = p->zw->cfg->network;
    struct workload *wl = state_workload_by_ip(st, network, &c->orig_dst);
    struct service *s = state_service_by_vip(st, network, &c->orig_dst, str_of(p->ns));
    *r = (struct route){.to = c->orig_dst};
    if (s && !service_passthrough(s))
        return route_service(st, c, s, r);
    if (!wl)
        return RC_OK; /* not of the mesh: as it was dialled */
    if (workload_waypoint(wl) && workload_identity(wl) != workload_identity(p->wl))
        return via_waypoint(st, c, workload_waypoint(wl), r);
    struct balance_choice choice;
    enum rc rc = balance_workload(wl, &c->orig_dst, c->orig_dst.port, &choice);
    r->svc = balance_guess_service(st, wl, (struct str){"", 0}, c->orig_dst.port);
    return rc == RC_OK ? direct(&choice, NULL, r) : rc;
}

/* -- tunnel -- */

static enum rc on_headers(void *owner, const struct h2_headers *hs)
{
    struct conn *c = owner;
    int status = h2_status(hs);
    if (status != 200) {
        conn_detail(c, "HTTP status %d%s", status,
                    status == 401 ? " (policy of the destination)" : "");
        return RC_STATUS;
    }
    c->state = CONN_OPEN;
    return RC_OK;
}

static void on_relay_done(void *owner, enum rc why)
{
    struct conn *c = owner;
    conn_finish(c, why);
}

static const struct relay_ops relay_ops = {.on_headers = on_headers, .on_done = on_relay_done};

static enum rc open_tunnel(struct conn *c, const struct route *r)
{
    struct pod *p = c->pod;
    char authority[ADDR_TEXT], traceparent[56];
    size_t n = addr_format(&r->authority, authority);
    struct strbuf forwarded AUTO_STRBUF;
    strbuf_init(&forwarded, 1024);
    forwarded_format(&c->info.src_addr, r->svc ? r->svc->host : (struct str){"", 0}, &forwarded);
    traceparent_make(traceparent);
    struct h2_header h[] = {
        {STR(":method"), STR("CONNECT")},          {STR(":authority"), {authority, n}},
        {STR("baggage"), strbuf_str(&p->baggage)}, {STR("forwarded"), strbuf_str(&forwarded)},
        {STR("traceparent"), {traceparent, 55}},
    };
    enum rc rc = io_tcp_open(&c->relay.app, p->zw->w->loop, TAKE_FD(c->fd), false);
    if (rc != RC_OK)
        return rc;
    relay_init(&c->relay, &relay_ops, c);
    c->relaying = true;
    c->state = CONN_DIAL;
    struct pool_key key = {r->to, r->any_of, r->n_any_of};
    c->relay.stream = pool_open(p->pool, &key, h, 5, &relay_stream_ops, &c->relay, &rc);
    if (!c->relay.stream) {
        relay_close(&c->relay, rc);
        return RC_OK; /* it is finished */
    }
    relay_app_opened(&c->relay);
    return RC_OK;
}

/* -- one connection -- */

static void give_up(void *owner, enum rc why)
{
    struct conn *c = owner;
    if (why == RC_NO_WORKLOAD)
        conn_detail(c, "pod %s/%s is not known to the controller (yet)", c->pod->ns, c->pod->name);
    conn_finish(c, why);
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
    struct route r;
    enum rc rc = route(st, c, &r);
    if (rc == RC_OK && r.tunnel && !p->ctx) {
        pod_wait_start(p, &c->wait, RC_NO_CERT);
        return;
    }
    conn_set_src(c, p->wl);
    conn_set_dst(c, r.wl, r.svc);
    c->info.dst_addr = r.to;
    if (r.tunnel) {
        c->info.mtls = true;
        c->info.hbone_addr = r.authority;
        c->info.src_id = identity_ref(workload_identity(p->wl));
    }
    conn_opened(c);
    if (rc == RC_OK)
        rc = r.tunnel ? open_tunnel(c, &r) : conn_open_plain(c, &r.to, false);
    if (rc != RC_OK)
        conn_finish(c, rc);
}

void outbound_accept(struct pod *p, int fd, const struct addr *peer)
{
    struct conn *c = conn_new(p, CONN_TUNNEL_OUT, fd);
    c->info.src_addr = *peer;
    c->wait.retry = decide;
    c->wait.give_up = give_up;
    sock_original_dst(fd, &c->orig_dst);
    c->info.dst_addr = c->orig_dst;
    bool self = addr_is_loopback(&c->orig_dst) || addr_eq_ip(&c->orig_dst, peer);
    if (self && pod_port_is_ours(c->orig_dst.port)) {
        conn_finish(c, RC_LOOP);
        return;
    }
    decide(c);
}
