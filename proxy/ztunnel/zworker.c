#include "proxy/ztunnel/zworker.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "proxy/core/telemetry.h"
#include "proxy/ztunnel/conn.h"
#include "proxy/ztunnel/pod.h"

#define TICK_MS 5000 /* between looks at the bytes of open connections */

static void on_snapshot(struct worker *w)
{
    struct zworker *zw = w->owner;
    struct pod *p, *tmp;
    LIST_FOREACH_SAFE (p, tmp, &zw->pods, node) {
        pod_refresh(p);
        conns_recheck(p);
    }
}

static void on_tick(void *owner)
{
    struct zworker *zw = owner;
    struct pod *p;
    LIST_FOREACH (p, &zw->pods, node)
        conns_tell_bytes(p);
    if (!list_empty(&zw->pods))
        loop_timer_set(&zw->tick, TICK_MS);
}

struct zworker *zworker_new(struct worker *w, const struct zconfig *cfg)
{
    struct zworker *zw = mem_new(struct zworker);
    zw->w = w;
    zw->cfg = cfg;
    list_init(&zw->pods);
    loop_timer_init(&zw->tick, w->loop, on_tick, zw);
    w->owner = zw;
    w->on_snapshot = on_snapshot;
    return zw;
}

static struct pod *pod_find(struct zworker *zw, const char *uid)
{
    struct pod *p;
    LIST_FOREACH (p, &zw->pods, node)
        if (strcmp(p->uid, uid) == 0)
            return p;
    return NULL;
}

void zworker_pod_add(struct zworker *zw, struct pod_spec *spec)
{
    if (!zw->telemetry)
        zw->telemetry = telemetry_new(); /* here: it belongs to the worker's thread */
    if (!loop_timer_armed(&zw->tick))
        loop_timer_set(&zw->tick, TICK_MS);
    struct pod *p = pod_new(zw, spec);
    if (zw->draining)
        pod_stop_accepting(p);
}

void zworker_pod_del(struct zworker *zw, const char *uid)
{
    struct pod *p = pod_find(zw, uid);
    if (p)
        pod_close(p, RC_CLOSED);
}

void zworker_drain(struct zworker *zw)
{
    zw->draining = true;
    struct pod *p, *tmp;
    LIST_FOREACH_SAFE (p, tmp, &zw->pods, node) {
        pod_stop_accepting(p);
        tunnels_in_drain(p, zw->cfg->drain_ms);
    }
}

void zworker_close(struct zworker *zw, enum rc why)
{
    struct pod *p, *tmp;
    loop_timer_clear(&zw->tick);
    LIST_FOREACH_SAFE (p, tmp, &zw->pods, node)
        pod_close(p, why);
}

void zworker_free(struct zworker *zw)
{
    telemetry_free(zw->telemetry);
    free(zw);
}
