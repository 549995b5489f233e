/* What one worker thread of the ztunnel has: the pods that were given to it, their listeners, tunnels
 * and connections. The main thread reaches it only through worker_call() and snapshots. */
#pragma once

#include <stdbool.h>

#include "lib/event/worker.h"
#include "lib/hbone/hbone.h"
#include "lib/http/h2_session.h"
#include "lib/mtls/mtls.h"
#include "lib/net/addr.h"
#include "proxy/core/pool.h"
#include "proxy/state/state.h"

/* Of the process; written before the workers start, then only read. */
struct zconfig {
    struct str network; /* "" = default */
    struct str trust_domain;
    struct str cluster;
    uint32_t mark;        /* SO_MARK of everything the proxy dials */
    int64_t wait_ms;      /* for a workload, certificate or policy to arrive: 5,000 */
    int64_t connect_ms;   /* TCP connect: 10,000 */
    int64_t drain_ms;     /* connections may finish: 5,000 */
    unsigned max_streams; /* per tunnel */
    unsigned max_conns;   /* per worker */
    int64_t pool_idle_ms;
    struct h2_opts h2; /* windows, frame, ping */
    bool policy_info;  /* log policy decisions at info */
};

enum pod_port { POD_OUTBOUND, POD_INBOUND, POD_HBONE, POD_PORTS };
extern const uint16_t pod_ports[POD_PORTS]; /* 15001, 15006, 15008 */

struct pod;

struct zworker {
    struct worker *w;
    const struct zconfig *cfg;
    struct list pods;
    unsigned conns; /* open, all kinds */
    bool draining;
    struct telemetry *telemetry;
    struct loop_timer tick;
};

static inline const struct proxy_state *zworker_state(const struct zworker *zw)
{
    return zw->w->snap ? container_of(zw->w->snap, struct proxy_state, base) : NULL;
}

struct zworker *zworker_new(struct worker *w, const struct zconfig *cfg);
void zworker_free(struct zworker *zw);

/* -- calls from the main thread, run on the worker -- */

struct pod_spec { /* owned by the call */
    char *uid, *name, *ns, *sa;
    int netns;                /* taken */
    int listeners[POD_PORTS]; /* taken */
    bool transparent;         /* the source address can be kept */
};
void zworker_pod_add(struct zworker *zw, struct pod_spec *spec);
/* The pod is gone: listeners, tunnels and connections end now. */
void zworker_pod_del(struct zworker *zw, const char *uid);
/* Stop accepting; connections may finish, tunnels that end here get GOAWAY. */
void zworker_drain(struct zworker *zw);
/* Ends all pods. The loop has to turn once more before zworker_free(). */
void zworker_close(struct zworker *zw, enum rc why);
