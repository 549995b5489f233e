#include "proxy/ztunnel/inpod.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/hash.h"
#include "lib/base/htab.h"
#include "lib/base/mem.h"
#include "lib/log/log.h"
#include "lib/metric/metric.h"
#include "lib/net/netns.h"
#include "lib/net/sock.h"
#include "proxy/ztunnel/pod.h"

#define RETRY_MS 5000 /* pods whose listeners could not be made */
#define PODS_MAX 4096

/* What the main thread knows of a pod. Its sockets and connections are the worker's. */
struct mpod {
    struct hnode node;
    char *uid, *name, *ns, *sa;
    int netns;
    struct netns_id id;
    struct worker *w; /* NULL: not served (yet) */
    bool announced;   /* since the link came up */
    char error[128];  /* why it is not served */
};

struct inpod {
    struct loop *loop;
    struct workers *ws;
    const struct zconfig *cfg;
    const struct inpod_ops *ops;
    void *owner;
    struct zds_client *zds;
    struct htab pods;
    struct loop_timer retry;
    unsigned next_worker;
    bool connected, snapshot;
    struct metric_series *active, *pending, *started, *stopped;
};

static const struct metric_family family_active = {.name = "workload_manager_active_proxy_count",
                                                   .help =
                                                       "The total number of pods that are served.",
                                                   .type = METRIC_GAUGE};
static const struct metric_family family_pending = {
    .name = "workload_manager_pending_proxy_count",
    .help = "The total number of pods that could not be served yet.",
    .type = METRIC_GAUGE};
static const struct metric_family family_started = {
    .name = "workload_manager_proxies_started",
    .help = "The total number of pods that were taken on.",
    .type = METRIC_COUNTER};
static const struct metric_family family_stopped = {
    .name = "workload_manager_proxies_stopped",
    .help = "The total number of pods that were let go.",
    .type = METRIC_COUNTER};

static bool mpod_is(const struct hnode *n, const void *key)
{
    return str_eqz(*(const struct str *)key, container_of(n, struct mpod, node)->uid);
}

static struct mpod *mpod_find(const struct inpod *ip, struct str uid)
{
    struct hnode *n = htab_find(&ip->pods, hash_str(uid), mpod_is, &uid);
    return n ? container_of(n, struct mpod, node) : NULL;
}

static void tell_ready(struct inpod *ip)
{
    size_t active = 0, pending = 0;
    const struct mpod *first = NULL;
    struct htab_iter it;
    HTAB_FOREACH (n, &ip->pods, &it) {
        const struct mpod *p = container_of(n, struct mpod, node);
        active += p->w != NULL;
        pending += p->w == NULL;
        if (!p->w && !first)
            first = p;
    }
    metric_set(ip->active, (int64_t)active);
    metric_set(ip->pending, (int64_t)pending);
    char why[300];
    if (first)
        snprintf(why, sizeof(why), "pod %s/%s is not served: %s", first->ns, first->name,
                 first->error);
    else
        snprintf(why, sizeof(why), "%s",
                 !ip->connected  ? "the agent is not connected"
                 : !ip->snapshot ? "the agent has not announced all pods"
                                 : "");
    ip->ops->on_ready(ip->owner, ip->connected && ip->snapshot && !pending, why);
}

/* -- worker side -- */

static void call_add(struct worker *w, void *arg)
{
    struct pod_spec *spec = arg;
    zworker_pod_add(w->owner, spec);
    free(spec);
}

static void call_del(struct worker *w, void *arg)
{
    zworker_pod_del(w->owner, arg);
    free(arg);
}

/* -- pods -- */

static enum rc listen_in(struct inpod *ip, const struct mpod *p, enum pod_port port,
                         bool *transparent, int *ret_fd)
{
    struct addr any = {.port = pod_ports[port]};
    struct sock_opts so = SOCK_OPTS_DEFAULT;
    so.netns = p->netns;
    so.mark = ip->cfg->mark;
    so.reuse_port = true; /* the overlap of two processes during an upgrade */
    so.transparent = *transparent;
    /* tunnels have HTTP/2's own keepalive */
    so.keepalive = port != POD_HBONE;
    so.congestion = port == POD_OUTBOUND ? SOCK_CONGESTION_LOCAL : NULL;
    enum rc rc = sock_listen_tcp(&any, &so, ret_fd);
    if (rc != RC_OK && *transparent && (errno == EPERM || errno == EACCES)) {
        *transparent = so.transparent = false; /* works without, but for the client's address */
        rc = sock_listen_tcp(&any, &so, ret_fd);
    }
    return rc;
}

static enum rc serve(struct inpod *ip, struct mpod *p)
{
    struct pod_spec *spec = mem_new(struct pod_spec);
    bool transparent = true;
    int i = 0;
    enum rc rc = RC_OK;
    for (; i < POD_PORTS; i++) {
        rc = listen_in(ip, p, (enum pod_port)i, &transparent, &spec->listeners[i]);
        if (rc != RC_OK)
            break;
    }
    int netns = rc == RC_OK ? fcntl(p->netns, F_DUPFD_CLOEXEC, 3) : -1;
    if (rc == RC_OK && netns < 0)
        rc = RC_LIMIT;
    if (rc != RC_OK) {
        snprintf(p->error, sizeof(p->error), "its listeners can't be made: %s", strerror(errno));
        while (i-- > 0)
            close(spec->listeners[i]);
        free(spec);
        return rc;
    }
    spec->uid = mem_strdup(p->uid);
    spec->name = mem_strdup(p->name);
    spec->ns = mem_strdup(p->ns);
    spec->sa = mem_strdup(p->sa);
    spec->netns = netns;
    spec->transparent = transparent;
    p->w = &ip->ws->w[ip->next_worker++ % ip->ws->n];
    p->error[0] = '\0';
    worker_call(p->w, call_add, spec);
    metric_add(ip->started, 1);
    ip->ops->on_pod(ip->owner, str_of(p->ns), str_of(p->name), str_of(p->sa), true);
    log_info("inpod", "serving pod %s/%s", p->ns, p->name);
    return RC_OK;
}

static void stop(struct inpod *ip, struct mpod *p)
{
    if (!p->w)
        return;
    worker_call(p->w, call_del, mem_strdup(p->uid));
    p->w = NULL;
    metric_add(ip->stopped, 1);
    ip->ops->on_pod(ip->owner, str_of(p->ns), str_of(p->name), str_of(p->sa), false);
    log_info("inpod", "pod %s/%s is gone", p->ns, p->name);
}

static void forget(struct inpod *ip, struct mpod *p)
{
    stop(ip, p);
    htab_del(&ip->pods, &p->node);
    if (p->netns >= 0)
        close(p->netns);
    free(p->uid);
    free(p->name);
    free(p->ns);
    free(p->sa);
    free(p);
}

static void on_retry(void *owner)
{
    struct inpod *ip = owner;
    struct htab_iter it;
    bool again = false;
    HTAB_FOREACH (n, &ip->pods, &it) {
        struct mpod *p = container_of(n, struct mpod, node);
        if (!p->w && p->netns >= 0 && serve(ip, p) != RC_OK)
            again = true;
    }
    if (again)
        loop_timer_set(&ip->retry, RETRY_MS);
    tell_ready(ip);
}

/* -- ZDS -- */

static void on_add(void *owner, struct zds_client *c, const struct zds_request *r, int netns)
{
    struct inpod *ip = owner;
    struct netns_id id;
    const char *error = NULL;
    struct mpod *p = mpod_find(ip, r->uid);
    if (!r->has_info)
        error = "workload_info is missing";
    else if (netns_id(netns, &id) != RC_OK)
        error = "the descriptor is not a network namespace";
    else if (!p && ip->pods.len >= PODS_MAX)
        error = "too many pods";
    if (error) {
        close(netns);
        zds_client_ack(c, error);
        return;
    }
    if (p && p->w && p->id.ino == id.ino && p->id.dev == id.dev) {
        close(netns); /* known: nothing changes */
    } else {
        if (p)
            forget(ip, p); /* the same pod in a new namespace */
        p = mem_new(struct mpod);
        p->uid = str_dup(r->uid);
        p->name = str_dup(r->name);
        p->ns = str_dup(r->ns);
        p->sa = str_dup(r->sa);
        p->netns = netns;
        p->id = id;
        htab_insert(&ip->pods, &p->node, hash_str(r->uid));
        if (serve(ip, p) != RC_OK)
            loop_timer_set(&ip->retry, RETRY_MS);
    }
    p->announced = true;
    zds_client_ack(c, p->w ? NULL : p->error);
    tell_ready(ip);
}

static void on_del(void *owner, struct zds_client *c, struct str uid)
{
    struct inpod *ip = owner;
    struct mpod *p = mpod_find(ip, uid);
    if (p)
        forget(ip, p);
    zds_client_ack(c, NULL);
    tell_ready(ip);
}

static void on_keep(void *owner, struct zds_client *c, struct str uid)
{
    struct inpod *ip = owner;
    struct mpod *p = mpod_find(ip, uid);
    if (p)
        p->announced = true;
    zds_client_ack(c, ip->snapshot ? "keep after the snapshot" : NULL);
}

static void on_snapshot(void *owner, struct zds_client *c)
{
    struct inpod *ip = owner;
    struct htab_iter it;
    bool second = ip->snapshot;
    HTAB_FOREACH (n, &ip->pods, &it) {
        struct mpod *p = container_of(n, struct mpod, node);
        if (!p->announced && !second)
            forget(ip, p);
    }
    ip->snapshot = true;
    zds_client_ack(c, second ? "a second snapshot" : NULL);
    tell_ready(ip);
}

static void on_state(void *owner, bool connected, const char *error)
{
    struct inpod *ip = owner;
    struct htab_iter it;
    if (connected)
        log_info("inpod", "connected to the agent");
    else if (ip->connected)
        log_warn("inpod", "the agent's link is down: %s; pods stay served", error);
    else
        log_debug("inpod", "the agent can't be reached: %s", error);
    ip->connected = connected;
    ip->snapshot = false;
    HTAB_FOREACH (n, &ip->pods, &it)
        container_of(n, struct mpod, node)->announced = false;
    tell_ready(ip);
}

static const struct zds_client_ops zds_ops = {on_add, on_del, on_keep, on_snapshot, on_state};

/* -- life -- */

struct inpod *inpod_new(struct loop *l, struct workers *ws, const struct zconfig *cfg,
                        const char *zds_path, const struct inpod_ops *ops, void *owner)
{
    struct inpod *ip = mem_new(struct inpod);
    *ip = (struct inpod){.loop = l, .ws = ws, .cfg = cfg, .ops = ops, .owner = owner};
    htab_init(&ip->pods);
    loop_timer_init(&ip->retry, l, on_retry, ip);
    struct str none = {"", 0};
    ip->active = metric_series(&family_active, none);
    ip->pending = metric_series(&family_pending, none);
    ip->started = metric_series(&family_started, none);
    ip->stopped = metric_series(&family_stopped, none);
    ip->zds = zds_client_new(l, zds_path, &zds_ops, ip);
    return ip;
}

void inpod_start(struct inpod *ip)
{
    zds_client_start(ip->zds);
}

void inpod_free(struct inpod *ip)
{
    if (!ip)
        return;
    zds_client_free(ip->zds);
    loop_timer_clear(&ip->retry);
    struct htab_iter it;
    HTAB_FOREACH (n, &ip->pods, &it) {
        struct mpod *p = container_of(n, struct mpod, node);
        p->w = NULL;
        forget(ip, p);
    }
    htab_fini(&ip->pods);
    free(ip);
}

bool inpod_has(const struct inpod *ip, struct str ns, struct str name)
{
    struct htab_iter it;
    HTAB_FOREACH (n, &ip->pods, &it) {
        const struct mpod *p = container_of(n, struct mpod, node);
        if (str_eqz(ns, p->ns) && str_eqz(name, p->name))
            return true;
    }
    return false;
}

void inpod_dump(const struct inpod *ip, struct strbuf *out)
{
    struct htab_iter it;
    const char *sep = "";
    strbuf_addc(out, '{');
    HTAB_FOREACH (n, &ip->pods, &it) {
        const struct mpod *p = container_of(n, struct mpod, node);
        strbuf_printf(out, "%s\"", sep);
        sep = ",";
        strbuf_add_json(out, str_of(p->uid));
        strbuf_printf(out, "\":{\"state\":\"%s\",\"info\":{\"name\":\"", p->w ? "Up" : "Pending");
        strbuf_add_json(out, str_of(p->name));
        strbuf_addz(out, "\",\"namespace\":\"");
        strbuf_add_json(out, str_of(p->ns));
        strbuf_addz(out, "\",\"serviceAccount\":\"");
        strbuf_add_json(out, str_of(p->sa));
        strbuf_addz(out, "\"},\"error\":\"");
        strbuf_add_json(out, str_of(p->error));
        strbuf_addz(out, "\"}");
    }
    strbuf_addc(out, '}');
}
