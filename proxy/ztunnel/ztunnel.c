#include "proxy/ztunnel/ztunnel.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/ca/certs.h"
#include "lib/log/log.h"
#include "lib/metric/metric.h"
#include "proxy/state/apply.h"
#include "proxy/state/versions.h"
#include "proxy/ztunnel/inpod.h"

enum { TYPE_ADDRESS, TYPE_POLICY, TYPES };
static const char *const type_urls[TYPES] = {XDS_ADDRESS, XDS_AUTHORIZATION};

struct ztunnel {
    struct loop *loop;
    struct zconfig cfg;
    char *network, *trust_domain, *cluster;
    struct workers ws;
    struct apply *apply;
    struct versions versions[TYPES];
    struct ads_client *ads;
    struct ca_client *ca;
    struct certs *certs;
    struct inpod *inpod;
    struct loop_task publish; /* once at the end of a turn, whatever it changed */
    struct loop_timer drained;
    bool pods_started, synced;
    void (*on_task)(void *owner, enum ztunnel_task t, bool done, const char *why_not);
    void *owner;
    void (*on_drained)(void *owner);
    void *drained_owner;
    int64_t drain_until;
};

/* -- snapshots -- */

static void publish(void *owner)
{
    struct ztunnel *z = owner;
    if (apply_changed(z->apply))
        workers_publish(&z->ws, &apply_commit(z->apply)->base);
}

static void publish_later(struct ztunnel *z)
{
    loop_defer(z->loop, &z->publish, LOOP_FLUSH);
}

/* -- certificates: for the workloads of this node that a pod was handed over for, or that have tunnels -- */

static bool wants_cert(const struct ztunnel *z, const struct workload *w)
{
    return workload_hbone(w) || w->t->native_tunnel ||
           inpod_has(z->inpod, workload_text(w, WL_NS), workload_text(w, WL_NAME));
}

static void want_cert(struct ztunnel *z, struct workload *w, enum certs_prio prio)
{
    struct mtls_ctx *ctx;
    struct errmsg msg = {""};
    struct identity *id = workload_identity(w);
    if (!id)
        return;
    if (certs_want(z->certs, id, prio, &ctx, &msg) == RC_OK &&
        state_cert(apply_look(z->apply), id) != ctx) {
        apply_cert(z->apply, id, ctx);
        publish_later(z);
    }
}

static void on_cert(void *owner, struct identity *id, struct mtls_ctx *ctx, const char *error)
{
    struct ztunnel *z = owner;
    if (error && error[0])
        log_warn("ca", "certificate of %.*s: %s", STR_ARG(id->uri), error);
    else
        log_info("ca", "certificate of %.*s is ready", STR_ARG(id->uri));
    if (!ctx && state_cert(apply_look(z->apply), id))
        return; /* what is in use stays till it ends: the proxy refuses by its date */
    apply_cert(z->apply, id, ctx);
    publish_later(z);
}

struct need {
    const struct ztunnel *z;
    const struct identity *id;
    bool yes;
};

static bool needs(void *value, void *arg)
{
    struct need *n = arg;
    struct workload *w = value;
    n->yes =
        workload_identity(w) && identity_eq(workload_identity(w), n->id) && wants_cert(n->z, w);
    return !n->yes;
}

static void on_local(void *owner, struct workload *gone, struct workload *come)
{
    struct ztunnel *z = owner;
    if (come && wants_cert(z, come))
        want_cert(z, come, CERTS_WARM_UP);
    struct identity *old = gone ? workload_identity(gone) : NULL,
                    *now = come ? workload_identity(come) : NULL;
    if (!old || (now && identity_eq(old, now)))
        return;
    struct need n = {z, old, false};
    cowmap_each(&apply_look(z->apply)->local, needs, &n);
    if (n.yes)
        return;
    certs_forget(z->certs, old);
    apply_cert(z->apply, old, NULL);
}

static void on_pod(void *owner, struct str ns, struct str name, struct str sa, bool come)
{
    struct ztunnel *z = owner;
    struct workload *w = state_local_workload(apply_look(z->apply), ns, name, sa);
    if (w && come)
        want_cert(z, w, CERTS_WAITING);
}

/* -- xDS -- */

static enum rc on_resource(void *owner, size_t type, struct str name, struct str version,
                           struct str bytes, struct errmsg *ret_msg)
{
    struct ztunnel *z = owner;
    enum rc rc = type == TYPE_ADDRESS ? apply_address(z->apply, name, bytes, ret_msg)
                                      : apply_authorization(z->apply, name, bytes, ret_msg);
    if (rc == RC_OK)
        versions_set(&z->versions[type], name, version);
    else
        log_error("xds", "refused: %s", ret_msg->text);
    return rc;
}

static void on_removed(void *owner, size_t type, struct str name)
{
    struct ztunnel *z = owner;
    versions_del(&z->versions[type], name);
    if (type == TYPE_ADDRESS)
        apply_remove_address(z->apply, name);
    else
        apply_remove_authorization(z->apply, name);
}

static void on_response(void *owner, size_t type, bool first)
{
    struct ztunnel *z = owner;
    static const struct metric_family messages = {.name = "istio_xds_message",
                                                  .help = "Total number of messages received.",
                                                  .type = METRIC_COUNTER};
    struct strbuf labels AUTO_STRBUF;
    strbuf_init(&labels, 256);
    metric_label(&labels, "url", str_of(type_urls[type]));
    metric_add(metric_series(&messages, strbuf_str(&labels)), 1);
    publish_later(z);
    if (first)
        log_info("xds", "%s: first state received", type_urls[type]);
    if (z->synced || !ads_client_synced(z->ads, TYPE_ADDRESS) ||
        !ads_client_synced(z->ads, TYPE_POLICY))
        return;
    z->synced = true;
    z->on_task(z->owner, ZTUNNEL_STATE, true, "");
    if (!z->pods_started) { /* pods are taken on when the state to serve them is there */
        z->pods_started = true;
        inpod_start(z->inpod);
    }
}

struct each {
    struct ztunnel *z;
    size_t type;
    void (*add)(void *arg, struct str name, struct str version);
    void *arg;
};

static void each_name(struct each *e, struct str name)
{
    e->add(e->arg, name, versions_get(&e->z->versions[e->type], name));
}

static bool each_workload(void *v, void *arg)
{
    each_name(arg, workload_text(v, WL_UID));
    return true;
}

static bool each_service(void *v, void *arg)
{
    each_name(arg, ((struct service *)v)->key);
    return true;
}

static bool each_policy(void *v, void *arg)
{
    each_name(arg, ((struct policy *)v)->key);
    return true;
}

static void each_held(void *owner, size_t type,
                      void (*add)(void *arg, struct str name, struct str version), void *arg)
{
    struct ztunnel *z = owner;
    const struct proxy_state *st = apply_look(z->apply);
    struct each e = {z, type, add, arg};
    if (type == TYPE_ADDRESS) {
        cowmap_each(&st->workloads, each_workload, &e);
        cowmap_each(&st->services, each_service, &e);
    } else {
        cowmap_each(&st->policies, each_policy, &e);
    }
}

static void on_xds_state(void *owner, bool up, const char *error)
{
    struct ztunnel *z = owner;
    if (up) {
        log_info("xds", "stream to the controller is open");
        return;
    }
    log_warn("xds", "no stream to the controller: %s%s", error,
             z->synced ? " (the last state stays in force)" : "");
    if (!z->synced)
        z->on_task(z->owner, ZTUNNEL_STATE, false, error);
}

static const struct ads_client_ops ads_ops = {on_resource, on_removed, on_response, each_held,
                                              on_xds_state};

static void on_pods_ready(void *owner, bool ready, const char *why_not)
{
    struct ztunnel *z = owner;
    z->on_task(z->owner, ZTUNNEL_PODS, ready, why_not);
}

static const struct inpod_ops inpod_ops = {on_pods_ready, on_pod};

/* -- drain -- */

static void call_drain(struct worker *w, void *arg)
{
    (void)arg;
    zworker_drain(w->owner);
}

static void check_drained(void *owner)
{
    struct ztunnel *z = owner;
    int64_t open = metric_sum("istio_tcp_connections_opened", "") -
                   metric_sum("istio_tcp_connections_closed", "");
    if (open <= 0 || loop_now(z->loop) >= z->drain_until) {
        z->on_drained(z->drained_owner);
        return;
    }
    loop_timer_set(&z->drained, 50);
}

void ztunnel_drain(struct ztunnel *z, void (*on_drained)(void *owner), void *owner)
{
    z->on_drained = on_drained;
    z->drained_owner = owner;
    z->drain_until = loop_now(z->loop) + z->cfg.drain_ms;
    for (unsigned i = 0; i < z->ws.n; i++)
        worker_call(&z->ws.w[i], call_drain, NULL);
    loop_timer_set(&z->drained, 50);
}

/* -- life -- */

static unsigned worker_count(unsigned wanted)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (wanted)
        return MIN(wanted, 256u);
    /* few: workers split the batches that make tunnels cheap */
    return (unsigned)MAX(cores / 4, 1L);
}

static enum rc start_clients(struct ztunnel *z, const struct ztunnel_opts *o, struct errmsg *msg)
{
    struct ca_client_opts co = {.channel = o->ca, .valid_s = o->cert_valid_s, .impersonate = true};
    enum rc rc = ca_client_new(z->loop, &co, &z->ca, msg);
    if (rc != RC_OK)
        return rc;
    struct certs_opts so = {.issuer = ca_client_issuer(z->ca), .on_change = on_cert, .owner = z};
    z->certs = certs_new(z->loop, &so);
    struct ads_client_type types[TYPES] = {{type_urls[TYPE_ADDRESS], false},
                                           {type_urls[TYPE_POLICY], false}};
    struct ads_client_opts ao = {.channel = o->xds,
                                 .node_id = o->node_id,
                                 .meta = o->meta,
                                 .n_meta = o->n_meta,
                                 .types = types,
                                 .n_types = TYPES};
    return ads_client_new(z->loop, &ao, &ads_ops, z, &z->ads, msg);
}

enum rc ztunnel_new(struct loop *l, const struct ztunnel_opts *o, struct ztunnel **ret,
                    struct errmsg *ret_msg)
{
    struct ztunnel *z = mem_new(struct ztunnel);
    z->loop = l;
    z->cfg = o->z;
    z->cfg.network = str_of(z->network = str_dup(o->z.network));
    z->cfg.cluster = str_of(z->cluster = str_dup(o->z.cluster));
    z->cfg.trust_domain = str_of(z->trust_domain = str_dup(o->z.trust_domain));
    z->on_task = o->on_task;
    z->owner = o->owner;
    loop_task_init(&z->publish, publish, z);
    loop_timer_init(&z->drained, l, check_drained, z);
    for (int i = 0; i < TYPES; i++)
        versions_init(&z->versions[i]);
    z->apply = apply_new(str_of(o->node));
    apply_on_local(z->apply, on_local, z);
    workers_init(&z->ws, worker_count(o->workers), "worker");
    for (unsigned i = 0; i < z->ws.n; i++)
        zworker_new(&z->ws.w[i], &z->cfg);
    z->inpod = inpod_new(l, &z->ws, &z->cfg, o->zds_path, &inpod_ops, z);
    enum rc rc = start_clients(z, o, ret_msg);
    if (rc != RC_OK) {
        ztunnel_free(z);
        return rc;
    }
    workers_start(&z->ws);
    ads_client_start(z->ads);
    *ret = z;
    return RC_OK;
}

static void call_close(struct worker *w, void *arg)
{
    (void)arg;
    zworker_close(w->owner, RC_DRAIN);
}

void ztunnel_free(struct ztunnel *z)
{
    if (!z)
        return;
    loop_timer_clear(&z->drained);
    loop_task_cancel(&z->publish);
    inpod_free(z->inpod);
    for (unsigned i = 0; i < z->ws.n; i++)
        if (z->ws.w[i].thread)
            worker_call(&z->ws.w[i], call_close, NULL);
    struct zworker *zw[256];
    unsigned n = z->ws.n;
    for (unsigned i = 0; i < n; i++)
        zw[i] = z->ws.w[i].owner;
    workers_fini(&z->ws);
    for (unsigned i = 0; i < n; i++)
        zworker_free(zw[i]);
    ads_client_free(z->ads);
    if (z->certs)
        certs_free(z->certs);
    ca_client_free(z->ca);
    for (int i = 0; i < TYPES; i++)
        versions_fini(&z->versions[i]);
    apply_free(z->apply);
    free(z->network);
    free(z->cluster);
    free(z->trust_domain);
    free(z);
}

void ztunnel_dump_certs(void *owner, struct strbuf *out)
{
    certs_dump(((struct ztunnel *)owner)->certs, out);
}

void ztunnel_dump_pods(void *owner, struct strbuf *out)
{
    inpod_dump(((struct ztunnel *)owner)->inpod, out);
}

const struct proxy_state *ztunnel_state(const struct ztunnel *z)
{
    return apply_look(z->apply);
}
