#include "proxy/ztunnel/pod.h"

#include <stdlib.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/log/log.h"
#include "lib/net/sock.h"
#include "proxy/ztunnel/conn.h"

#define ACCEPT_BUDGET   64 /* connections of one listener in one turn */
#define ACCEPT_RETRY_MS 100

const uint16_t pod_ports[POD_PORTS] = {
    [POD_OUTBOUND] = 15001, [POD_INBOUND] = 15006, [POD_HBONE] = 15008};

bool pod_port_is_ours(uint16_t port)
{
    for (int i = 0; i < POD_PORTS; i++)
        if (port == pod_ports[i])
            return true;
    return false;
}

/* -- listeners -- */

static void listener_close(struct pod_listener *l)
{
    loop_timer_clear(&l->retry);
    loop_fd_close(&l->watch);
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
}

static void hand_over(struct pod_listener *l, int fd, const struct addr *peer)
{
    switch (l->port) {
    case POD_OUTBOUND: outbound_accept(l->pod, fd, peer); break;
    case POD_INBOUND:  passthrough_accept(l->pod, fd, peer); break;
    case POD_HBONE:    inbound_accept(l->pod, fd, peer); break;
    case POD_PORTS:    break;
    }
}

static void on_accept(void *owner, unsigned ready)
{
    (void)ready;
    struct pod_listener *l = owner;
    struct zworker *zw = l->pod->zw;
    for (int i = 0; i < ACCEPT_BUDGET && l->fd >= 0; i++) {
        int fd;
        struct addr peer;
        enum rc rc = zw->conns < zw->cfg->max_conns ? sock_accept(l->fd, &fd, &peer) : RC_LIMIT;
        if (rc == RC_OK) {
            hand_over(l, fd, &peer);
            continue;
        }
        if (rc == RC_AGAIN)
            return;
        /* descriptors or the budget are used up: new work waits in the kernel's queue, which
         * refuses when it is full; open connections go on */
        loop_fd_close(&l->watch);
        loop_timer_set(&l->retry, ACCEPT_RETRY_MS);
        return;
    }
}

static void listener_watch(void *owner)
{
    struct pod_listener *l = owner;
    if (loop_fd_open(&l->watch, l->pod->zw->w->loop, l->fd, LOOP_READ | LOOP_LEVEL, on_accept, l) !=
        RC_OK)
        loop_timer_set(&l->retry, ACCEPT_RETRY_MS);
}

void pod_stop_accepting(struct pod *p)
{
    for (int i = 0; i < POD_PORTS; i++)
        listener_close(&p->listener[i]);
}

/* -- waiting for what the snapshot lacks -- */

static void waits_arm(struct pod *p)
{
    struct pod_wait *first = LIST_FIRST(&p->waits, struct pod_wait, node);
    if (first)
        loop_timer_set(&p->wait_timer, first->until_ms - loop_now(p->zw->w->loop));
    else
        loop_timer_clear(&p->wait_timer);
}

static void on_wait_timer(void *owner)
{
    struct pod *p = owner;
    int64_t now = loop_now(p->zw->w->loop);
    struct pod_wait *w;
    while ((w = LIST_FIRST(&p->waits, struct pod_wait, node)) && w->until_ms <= now) {
        list_del(&w->node);
        w->give_up(w->owner, w->why);
    }
    waits_arm(p);
}

void pod_wait_start(struct pod *p, struct pod_wait *w, enum rc why)
{
    if (w->until_ms == 0) /* a retry that waits again keeps its first deadline */
        w->until_ms = loop_now(p->zw->w->loop) + p->zw->cfg->wait_ms;
    w->why = why;
    /* ordered by deadline: from the end, where a new one belongs */
    struct list *at = p->waits.prev;
    while (at != &p->waits && container_of(at, struct pod_wait, node)->until_ms > w->until_ms)
        at = at->prev;
    list_insert_(&w->node, at, at->next);
    waits_arm(p);
}

void pod_wait_stop(struct pod_wait *w)
{
    list_del(&w->node);
}

static void waits_retry(struct pod *p)
{
    struct list now;
    list_init(&now);
    list_splice(&now, &p->waits);
    while (!list_empty(&now)) {
        struct pod_wait *w = container_of(now.next, struct pod_wait, node);
        list_del(&w->node);
        w->retry(w->owner);
    }
    waits_arm(p);
}

/* -- the snapshot -- */

void pod_refresh(struct pod *p)
{
    const struct proxy_state *st = zworker_state(p->zw);
    if (!st || p->closing)
        return;
    struct workload *wl = state_local_workload(st, str_of(p->ns), str_of(p->name), str_of(p->sa));
    if (wl != p->wl) {
        workload_unref(p->wl);
        p->wl = wl ? workload_ref(wl) : NULL;
        strbuf_reset(&p->baggage);
        if (wl)
            workload_baggage(wl, &p->baggage);
    }
    struct identity *id = wl ? workload_identity(wl) : NULL;
    struct mtls_ctx *ctx = id ? state_cert(st, id) : NULL;
    if (ctx && ctx != p->ctx) { /* one that is gone is kept till a newer one comes */
        mtls_ctx_unref(p->ctx);
        p->ctx = mtls_ctx_ref(ctx);
        pool_use_ctx(p->pool, ctx);
    }
    waits_retry(p);
}

/* -- life -- */

struct pod *pod_new(struct zworker *zw, struct pod_spec *spec)
{
    struct loop *l = zw->w->loop;
    struct pod *p = mem_new(struct pod);
    p->zw = zw;
    p->refs = 1;
    p->uid = TAKE(spec->uid);
    p->name = TAKE(spec->name);
    p->ns = TAKE(spec->ns);
    p->sa = TAKE(spec->sa);
    p->netns = spec->netns;
    p->transparent = spec->transparent;
    list_init(&p->conns);
    list_init(&p->tunnels_in);
    list_init(&p->waits);
    strbuf_init(&p->baggage, 2048);
    loop_timer_init(&p->wait_timer, l, on_wait_timer, p);
    struct pool_opts po = {
        .netns = p->netns,
        .mark = zw->cfg->mark,
        .max_streams = zw->cfg->max_streams,
        .idle_ms = zw->cfg->pool_idle_ms,
        .connect_ms = zw->cfg->connect_ms,
        .h2 = zw->cfg->h2,
    };
    p->pool = pool_new(l, &po);
    list_push_back(&zw->pods, &p->node);
    for (int i = 0; i < POD_PORTS; i++) {
        struct pod_listener *li = &p->listener[i];
        *li = (struct pod_listener){.pod = p, .port = (enum pod_port)i, .fd = spec->listeners[i]};
        loop_timer_init(&li->retry, l, listener_watch, li);
    }
    pod_refresh(p);
    for (int i = 0; i < POD_PORTS; i++)
        listener_watch(&p->listener[i]);
    return p;
}

void pod_unref(struct pod *p)
{
    if (--p->refs)
        return;
    close(p->netns);
    workload_unref(p->wl);
    mtls_ctx_unref(p->ctx);
    strbuf_fini(&p->baggage);
    free(p->uid);
    free(p->name);
    free(p->ns);
    free(p->sa);
    free(p);
}

void pod_close(struct pod *p, enum rc why)
{
    if (p->closing)
        return;
    p->closing = true;
    pod_stop_accepting(p);
    list_del(&p->node);
    struct pod_wait *w;
    while ((w = LIST_FIRST(&p->waits, struct pod_wait, node))) {
        list_del(&w->node);
        w->give_up(w->owner, why);
    }
    loop_timer_clear(&p->wait_timer);
    conns_close(p, why);
    pool_free(TAKE(p->pool), why);
    pod_unref(p);
}
