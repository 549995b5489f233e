#include "proxy/ztunnel/conn.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/must.h"
#include "lib/log/log.h"
#include "lib/net/sock.h"

static void conn_free(void *owner)
{
    struct conn *c = owner;
    struct pod *p = c->pod;
    workload_unref(c->info.src);
    workload_unref(c->info.dst);
    service_unref(c->info.svc);
    identity_unref(c->info.src_id);
    identity_unref(c->info.dst_id);
    free((void *)(uintptr_t)c->info.src_baggage.p);
    free((void *)(uintptr_t)c->info.hbone_host.p);
    free(c);
    pod_unref(p);
}

struct conn *conn_new(struct pod *p, enum conn_kind kind, int fd)
{
    struct conn *c = mem_new(struct conn);
    c->pod = p;
    c->kind = kind;
    c->state = CONN_WAIT;
    c->fd = fd;
    c->info.start_us = clock_mono_us();
    c->wait.owner = c;
    loop_task_init(&c->free, conn_free, c);
    list_push_back(&p->conns, &c->node);
    p->refs++;
    p->zw->conns++;
    return c;
}

void conn_detail(struct conn *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(c->detail, sizeof(c->detail), fmt, ap);
    va_end(ap);
}

void conn_set_src(struct conn *c, struct workload *w)
{
    if (w)
        workload_ref(w);
    workload_unref(c->info.src);
    c->info.src = w;
}

void conn_set_dst(struct conn *c, struct workload *w, struct service *s)
{
    if (w)
        workload_ref(w);
    if (s)
        service_ref(s);
    workload_unref(c->info.dst);
    service_unref(c->info.svc);
    c->info.dst = w;
    c->info.svc = s;
}

void conn_opened(struct conn *c)
{
    if (c->series)
        return;
    c->series = telemetry_open(c->pod->zw->telemetry, &c->info);
    accesslog_opened(&c->info);
}

static void take_counts(struct conn *c)
{
    switch (c->kind) {
    case CONN_TUNNEL_OUT:
        c->info.up = c->relay.up;
        c->info.down = c->relay.down;
        break;
    case CONN_TUNNEL_IN: /* the relay's application is the server */
        c->info.up = c->relay.down;
        c->info.down = c->relay.up;
        break;
    case CONN_PLAIN:
        c->info.up = c->plain.side[0].read;
        c->info.down = c->plain.side[1].read;
        break;
    }
}

/* Adds to the metrics what was carried since the last time. */
static void tell_bytes(struct conn *c)
{
    take_counts(c);
    if (!c->series)
        return;
    telemetry_bytes(c->series, c->info.up - c->told_up, c->info.down - c->told_down);
    c->told_up = c->info.up;
    c->told_down = c->info.down;
}

void conns_tell_bytes(struct pod *p)
{
    struct conn *c;
    LIST_FOREACH (c, &p->conns, node)
        tell_bytes(c);
}

void conn_finish(struct conn *c, enum rc why)
{
    if (c->state == CONN_CLOSED)
        return;
    struct zworker *zw = c->pod->zw;
    tell_bytes(c);
    c->state = CONN_CLOSED;
    pod_wait_stop(&c->wait);
    if (c->deadline.loop)
        loop_timer_clear(&c->deadline);
    if (c->fd >= 0) {
        if (why != RC_OK)
            sock_reset_on_close(c->fd);
        close(c->fd);
    }
    const char *detail = c->detail[0] ? c->detail : NULL;
    if (c->series) {
        telemetry_close(zw->telemetry, c->series, why);
        accesslog_line(&c->info, why, detail);
    } else {
        accesslog_refused(c->info.inbound, &c->info.src_addr, &c->orig_dst, why, detail);
    }
    list_del(&c->node);
    zw->conns--;
    loop_defer(zw->w->loop, &c->free, LOOP_FREE);
}

void conn_close(struct conn *c, enum rc why)
{
    if (c->state == CONN_CLOSED)
        return;
    if (!c->relaying)
        conn_finish(c, why);
    else if (c->kind == CONN_PLAIN)
        relay_tcp_close(&c->plain, why);
    else
        relay_close(&c->relay, why);
}

void conns_close(struct pod *p, enum rc why)
{
    struct conn *c, *tmp;
    LIST_FOREACH_SAFE (c, tmp, &p->conns, node)
        conn_close(c, why);
    struct tunnel_in *t, *next;
    LIST_FOREACH_SAFE (t, next, &p->tunnels_in, node)
        tunnel_in_close(t, why);
}

enum rc conn_authorize(struct conn *c, const struct addr *dst)
{
    const struct proxy_state *st = zworker_state(c->pod->zw);
    struct authz_conn a = {.peer = c->info.src_id, .src = c->info.src_addr, .dst = *dst};
    struct authz_result r;
    if (!c->info.mtls)
        a.peer = NULL;
    enum rc rc = authz_check(st, c->pod->wl, &a, &r);
    c->policy_generation = st->policy_generation;
    if (rc == RC_DENIED && r.policy[0])
        conn_detail(c, "%s by %s", r.why, r.policy);
    else if (rc == RC_NO_POLICY)
        conn_detail(c, "policy %s was not received", r.policy);
    else if (rc != RC_OK)
        conn_detail(c, "%s", r.why);
    enum log_level level = c->pod->zw->cfg->policy_info ? LOG_INFO : LOG_DEBUG;
    if (log_enabled(level, "rbac")) {
        char src[ADDR_TEXT], to[ADDR_TEXT];
        addr_format(&a.src, src);
        addr_format(&a.dst, to);
        log_write(level, "rbac", "%s: %s -> %s: %s %s", rc == RC_OK ? "allowed" : "refused", src,
                  to, r.why, r.policy);
    }
    return rc;
}

void conns_recheck(struct pod *p)
{
    const struct proxy_state *st = zworker_state(p->zw);
    struct conn *c, *tmp;
    LIST_FOREACH_SAFE (c, tmp, &p->conns, node) {
        if (!c->info.inbound || c->state == CONN_WAIT ||
            c->policy_generation == st->policy_generation)
            continue;
        if (conn_authorize(c, &c->orig_dst) == RC_DENIED)
            conn_close(c, RC_DENIED);
    }
}

enum rc conn_dial(struct conn *c, const struct addr *to, bool spoof, struct io_tcp *t)
{
    struct sock_opts so = SOCK_OPTS_DEFAULT;
    struct pod *p = c->pod;
    int fd;
    bool connecting;
    so.netns = p->netns;
    so.mark = p->zw->cfg->mark;
    /* an application in the pod's own namespace can't vanish without a word */
    so.keepalive = !c->info.inbound;
    so.congestion = c->info.inbound ? SOCK_CONGESTION_LOCAL : NULL;
    /* to itself there is no foreign source to keep */
    bool keep = spoof && p->transparent && !addr_eq_ip(to, &c->info.src_addr) &&
                to->family == c->info.src_addr.family;
    so.transparent = keep;
    enum rc rc = sock_connect_tcp(to, keep ? &c->info.src_addr : NULL, &so, &fd, &connecting);
    if (rc != RC_OK)
        return rc;
    return io_tcp_open(t, p->zw->w->loop, fd, connecting);
}
