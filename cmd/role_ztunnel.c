/* `mesh ztunnel`: settings, and the proxy's main thread wired to the process. */
#include <stdio.h>
#include <string.h>

#include "cmd/runtime.h"
#include "lib/log/log.h"
#include "lib/metric/metric.h"
#include "lib/net/netns.h"
#include "lib/zds/zds.h"
#include "proxy/ztunnel/ztunnel.h"

struct ztunnel_config {
    struct runtime_config runtime;
    const char *node, *xds_address, *ca_address, *xds_root, *ca_root, *token;
    const char *network, *cluster, *trust_domain, *inpod_uds;
    const char *pod_name, *pod_namespace, *instance_ip;
    uint32_t workers, mark, max_streams, max_connections;
    int64_t secret_ttl_ms, drain_ms, wait_ms, connect_ms, pool_idle_ms, ping_ms, ping_timeout_ms;
    uint64_t stream_window, connection_window, frame_size;
    bool policy_info;
};

#define AT(field) .offset = offsetof(struct ztunnel_config, field)

static const struct config_setting settings[] = {
    {.name = "node",
     .type = CONFIG_STRING,
     AT(node),
     .env = "NODE_NAME",
     .unit = "NAME",
     .required = true,
     .doc = "Name of this node, as its pods' nodeName says it."},
    {.name = "xds-address",
     .type = CONFIG_STRING,
     AT(xds_address),
     .env = "XDS_ADDRESS",
     .unit = "URL",
     .text = "https://istiod.istio-system.svc:15012",
     .doc = "The controller's xDS."},
    {.name = "ca-address",
     .type = CONFIG_STRING,
     AT(ca_address),
     .env = "CA_ADDRESS",
     .unit = "URL",
     .doc = "The certificate authority. Default: --xds-address."},
    {.name = "root-ca",
     .type = CONFIG_STRING,
     AT(xds_root),
     .env = "XDS_ROOT_CA",
     .unit = "FILE",
     .text = "./var/run/secrets/istio/root-cert.pem",
     .doc = "Trust roots for the controller: a PEM file, watched, or the PEM text."},
    {.name = "ca-root-ca",
     .type = CONFIG_STRING,
     AT(ca_root),
     .env = "CA_ROOT_CA",
     .unit = "FILE",
     .doc = "Trust roots for the certificate authority. Default: --root-ca."},
    {.name = "token",
     .type = CONFIG_STRING,
     AT(token),
     .env = "AUTH_TOKEN",
     .unit = "FILE",
     .secret = true,
     .text = "./var/run/secrets/tokens/istio-token",
     .doc = "File of the token that proves this node to the controller, read for each call."},
    {.name = "network",
     .type = CONFIG_STRING,
     AT(network),
     .env = "NETWORK",
     .text = "",
     .doc = "Network of this node; empty is the default network."},
    {.name = "cluster-id",
     .type = CONFIG_STRING,
     AT(cluster),
     .env = "ISTIO_META_CLUSTER_ID|CLUSTER_ID",
     .text = "Kubernetes",
     .doc = "Cluster of this node."},
    {.name = "trust-domain",
     .type = CONFIG_STRING,
     AT(trust_domain),
     .env = "TRUST_DOMAIN",
     .text = "cluster.local",
     .doc = "Trust domain of this proxy itself."},
    {.name = "inpod-uds",
     .type = CONFIG_STRING,
     AT(inpod_uds),
     .env = "INPOD_UDS",
     .unit = "PATH",
     .text = ZDS_SOCKET,
     .doc = "Socket of the node agent (ZDS)."},
    {.name = "pod-name",
     .type = CONFIG_STRING,
     AT(pod_name),
     .env = "POD_NAME",
     .text = "ztunnel",
     .doc = "Name of this proxy's own pod."},
    {.name = "pod-namespace",
     .type = CONFIG_STRING,
     AT(pod_namespace),
     .env = "POD_NAMESPACE",
     .text = "istio-system",
     .doc = "Namespace of this proxy's own pod."},
    {.name = "instance-ip",
     .type = CONFIG_STRING,
     AT(instance_ip),
     .env = "INSTANCE_IP",
     .text = "1.1.1.1",
     .doc = "Address of this proxy's own pod, told to the controller."},
    {.name = "workers",
     .type = CONFIG_U32,
     AT(workers),
     .env = "ZTUNNEL_WORKER_THREADS",
     .text = "0",
     .max = 256,
     .doc = "Worker threads. 0: one for each four processors, at least one."},
    {.name = "packet-mark",
     .type = CONFIG_U32,
     AT(mark),
     .env = "PACKET_MARK",
     .text = "1337",
     .max = UINT32_MAX,
     .doc = "Mark of the packets that the proxy itself sends inside pods."},
    {.name = "max-streams",
     .type = CONFIG_U32,
     AT(max_streams),
     .env = "POOL_MAX_STREAMS_PER_CONNECTION",
     .text = "100",
     .min = 1,
     .max = 10000,
     .doc = "Connections that share a tunnel."},
    {.name = "max-connections",
     .type = CONFIG_U32,
     AT(max_connections),
     .text = "100000",
     .min = 1,
     .max = 10000000,
     .doc = "Connections and tunnels of a worker; beyond it new ones wait in the kernel."},
    {.name = "secret-ttl",
     .type = CONFIG_DURATION_MS,
     AT(secret_ttl_ms),
     .env = "SECRET_TTL",
     .text = "24h",
     .doc = "Life of certificates to ask for."},
    {.name = "drain",
     .type = CONFIG_DURATION_MS,
     AT(drain_ms),
     .env = "CONNECTION_TERMINATION_DEADLINE",
     .text = "5s",
     .doc = "How long connections may finish at the end."},
    {.name = "wait",
     .type = CONFIG_DURATION_MS,
     AT(wait_ms),
     .text = "5s",
     .doc = "How long a new connection waits for a workload, certificate or policy that has not "
            "arrived."},
    {.name = "connect-timeout",
     .type = CONFIG_DURATION_MS,
     AT(connect_ms),
     .text = "10s",
     .doc = "Deadline of connecting to another pod."},
    {.name = "pool-idle",
     .type = CONFIG_DURATION_MS,
     AT(pool_idle_ms),
     .env = "POOL_UNUSED_RELEASE_TIMEOUT",
     .text = "5m",
     .doc = "Unused tunnels are closed after this."},
    {.name = "ping",
     .type = CONFIG_DURATION_MS,
     AT(ping_ms),
     .text = "10s",
     .doc = "A tunnel that was silent for this long is asked for life."},
    {.name = "ping-timeout",
     .type = CONFIG_DURATION_MS,
     AT(ping_timeout_ms),
     .text = "20s",
     .doc = "A tunnel that does not answer for this long is closed."},
    {.name = "stream-window",
     .type = CONFIG_BYTES,
     AT(stream_window),
     .env = "HTTP2_STREAM_WINDOW_SIZE",
     .text = "4MiB",
     .min = 65535,
     .max = INT32_MAX,
     .doc = "Bytes in flight of one connection in a tunnel."},
    {.name = "connection-window",
     .type = CONFIG_BYTES,
     AT(connection_window),
     .env = "HTTP2_CONNECTION_WINDOW_SIZE",
     .text = "16MiB",
     .min = 65535,
     .max = INT32_MAX,
     .doc = "Bytes in flight of a whole tunnel."},
    {.name = "frame-size",
     .type = CONFIG_BYTES,
     AT(frame_size),
     .env = "HTTP2_FRAME_SIZE",
     .text = "1MiB",
     .min = 16384,
     .max = 16777215,
     .doc = "Largest frame that is taken."},
    {.name = "policy-info",
     .type = CONFIG_BOOL,
     AT(policy_info),
     .env = "AUTHZ_POLICY_INFO_LOGGING",
     .text = "false",
     .doc = "Log every policy decision."},
    RUNTIME_SETTINGS(struct ztunnel_config, runtime, "127.0.0.1:15000", "0.0.0.0:15020",
                     "0.0.0.0:15021"),
    CONFIG_END,
};

struct wiring {
    struct runtime *rt;
    struct runtime_task *task[ZTUNNEL_TASKS];
    struct ztunnel *z;
    bool done[ZTUNNEL_TASKS];
};

static void on_task(void *owner, enum ztunnel_task t, bool done, const char *why_not)
{
    static const char *const names[ZTUNNEL_TASKS] = {"state manager", "workload proxy manager"};
    struct wiring *w = owner;
    if (done)
        runtime_task_done(w->task[t]);
    else
        runtime_task_undone(w->task[t]);
    if (done != w->done[t])
        log_info("readiness", "%s: %s%s", names[t],
                 done ? "ready" : "not ready: ", done ? "" : why_not);
    w->done[t] = done;
}

static void on_drained(void *owner)
{
    runtime_stop(((struct wiring *)owner)->rt, 0);
}

static void on_drain(void *owner)
{
    struct wiring *w = owner;
    if (w->z)
        ztunnel_drain(w->z, on_drained, w);
    else
        runtime_stop(w->rt, 0);
}

static enum rc build(struct wiring *w, const struct ztunnel_config *c, struct errmsg *msg)
{
    char id[1024], pod_ns[300];
    snprintf(pod_ns, sizeof(pod_ns), "%.253s", c->pod_namespace);
    snprintf(id, sizeof(id), "ztunnel~%.60s~%.253s.%s~%s.svc.cluster.local", c->instance_ip,
             c->pod_name, pod_ns, pod_ns);
    const struct ads_meta meta[] = {{"NAME", c->pod_name},
                                    {"NAMESPACE", pod_ns},
                                    {"INSTANCE_IPS", c->instance_ip},
                                    {"NODE_NAME", c->node},
                                    {"CLUSTER_ID", c->cluster}};
    struct ztunnel_opts o = {
        .z = {.network = str_of(c->network),
              .trust_domain = str_of(c->trust_domain),
              .cluster = str_of(c->cluster),
              .mark = c->mark,
              .wait_ms = c->wait_ms,
              .connect_ms = c->connect_ms,
              .drain_ms = c->drain_ms,
              .max_streams = c->max_streams,
              .max_conns = c->max_connections,
              .pool_idle_ms = c->pool_idle_ms,
              .h2 = {.stream_window = (uint32_t)c->stream_window,
                     .connection_window = (uint32_t)c->connection_window,
                     .max_frame = (uint32_t)c->frame_size,
                     .ping_ms = c->ping_ms,
                     .ping_timeout_ms = c->ping_timeout_ms},
              .policy_info = c->policy_info},
        .workers = c->workers,
        .node = c->node,
        .zds_path = c->inpod_uds,
        .node_id = id,
        .meta = meta,
        .n_meta = 5,
        .xds = {.url = c->xds_address,
                .roots = c->xds_root,
                .token = c->token,
                .cluster_id = c->cluster},
        .ca = {.url = c->ca_address ? c->ca_address : c->xds_address,
               .roots = c->ca_root ? c->ca_root : c->xds_root,
               .token = c->token,
               .cluster_id = c->cluster},
        .cert_valid_s = c->secret_ttl_ms / 1000,
        .on_task = on_task,
        .owner = w,
    };
    return ztunnel_new(runtime_loop(w->rt), &o, &w->z, msg);
}

static void dumps(struct wiring *w)
{
    runtime_on_dump(w->rt, "workloads", ztunnel_dump_workloads, w->z);
    runtime_on_dump(w->rt, "services", ztunnel_dump_services, w->z);
    runtime_on_dump(w->rt, "policies", ztunnel_dump_policies, w->z);
    runtime_on_dump(w->rt, "certificates", ztunnel_dump_certs, w->z);
    runtime_on_dump(w->rt, "workloadState", ztunnel_dump_pods, w->z);
}

static void build_metric(void)
{
    static const struct metric_family family = {
        .name = "istio_build", .help = "Istio component build info.", .type = METRIC_GAUGE};
    metric_set(metric_series(&family, STR("component=\"ztunnel\",tag=\"mesh-" MESH_VERSION "\"")),
               1);
}

static int ztunnel_main(int argc, const char *const argv[])
{
    struct ztunnel_config c;
    struct wiring w = {0};
    struct errmsg msg = {""};
    if (!role_settings(&role_ztunnel, &c, argc, argv))
        return 2;
    w.rt = runtime_new(&role_ztunnel, &c.runtime, &c);
    int status = 1;
    if (w.rt) {
        w.task[ZTUNNEL_STATE] = runtime_task_new(w.rt, "state manager");
        w.task[ZTUNNEL_PODS] = runtime_task_new(w.rt, "workload proxy manager");
        runtime_on_drain(w.rt, on_drain, &w);
        build_metric();
        if (netns_init() != RC_OK) {
            log_error("ztunnel",
                      "the own network namespace can't be found: is CAP_NET_ADMIN missing?");
        } else if (build(&w, &c, &msg) != RC_OK) {
            log_error("ztunnel", "%s", msg.text);
        } else {
            dumps(&w);
            status = runtime_run(w.rt);
        }
    }
    ztunnel_free(w.z);
    runtime_free(w.rt);
    config_fini(settings, &c);
    return status;
}

const struct role role_ztunnel = {
    .name = "ztunnel",
    .help = "layer-4 node proxy: carries the traffic of this node's pods in mTLS tunnels",
    .about = "Runs once on each node. Pods are handed over by the node agent (mesh cni agent, or "
             "Istio's).",
    .settings = settings,
    .main = ztunnel_main,
};
