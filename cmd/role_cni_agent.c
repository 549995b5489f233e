/* `mesh cni agent`: settings, and the agent wired to the process. */
#include "cmd/runtime.h"
#include "cni/agent.h"
#include "lib/log/log.h"
#include "lib/zds/zds.h"

struct agent_config {
    struct runtime_config runtime;
    const char *source, *node, *state, *cni_socket, *zds_socket, *excluded, *system_ns;
    int64_t verify_ms;
};

#define AT(field) .offset = offsetof(struct agent_config, field)

static const struct config_setting settings[] = {
    {.name = "source",
     .type = CONFIG_STRING,
     AT(source),
     .unit = "DIR",
     .required = true,
     .doc = "Folder of Kubernetes YAML, the controller's. It is read, never written."},
    {.name = "node",
     .type = CONFIG_STRING,
     AT(node),
     .env = "NODE_NAME",
     .unit = "NAME",
     .required = true,
     .doc = "Name of this node, as its pods' nodeName says it."},
    {.name = "state",
     .type = CONFIG_STRING,
     AT(state),
     .unit = "DIR",
     .text = WIRE_STATE,
     .doc = "Folder of what outlives the agent: attachments, the plug-in's list of namespaces."},
    {.name = "cni-socket",
     .type = CONFIG_STRING,
     AT(cni_socket),
     .unit = "PATH",
     .text = WIRE_SOCKET,
     .doc = "Socket for the plug-in."},
    {.name = "zds-socket",
     .type = CONFIG_STRING,
     AT(zds_socket),
     .env = "ZDS_SERVER_SOCKET|INPOD_UDS",
     .unit = "PATH",
     .text = ZDS_SOCKET,
     .doc = "Socket for the ztunnel."},
    {.name = "exclude-namespaces",
     .type = CONFIG_STRING,
     AT(excluded),
     .env = "EXCLUDE_NAMESPACES",
     .unit = "LIST",
     .text = "kube-system",
     .doc = "Namespaces that are left alone whatever their labels, separated by commas."},
    {.name = "system-namespace",
     .type = CONFIG_STRING,
     AT(system_ns),
     .env = "SYSTEM_NAMESPACE|POD_NAMESPACE",
     .text = "istio-system",
     .doc = "The mesh's own namespace; it is left alone, too."},
    {.name = "verify",
     .type = CONFIG_DURATION_MS,
     AT(verify_ms),
     .text = "10s",
     .min = 100,
     .doc = "How often the rules of every pod are compared with what is intended."},
    RUNTIME_SETTINGS(struct agent_config, runtime, "127.0.0.1:15100", "0.0.0.0:15014",
                     "0.0.0.0:8000"),
    CONFIG_END,
};

struct wiring {
    struct runtime *rt;
    struct runtime_task *task;
    struct agent *agent;
};

static void on_ready(void *owner, const char *error)
{
    struct wiring *w = owner;
    if (!error) {
        runtime_task_done(w->task);
        return;
    }
    log_error("agent", "%s", error);
    runtime_stop(w->rt, 1);
}

static int agent_main(int argc, const char *const argv[])
{
    struct agent_config c;
    struct wiring w = {0};
    struct errmsg msg = {""};
    if (!role_settings(&role_cni_agent, &c, argc, argv))
        return 2;
    w.rt = runtime_new(&role_cni_agent, &c.runtime, &c);
    int status = 1;
    if (w.rt) {
        struct agent_opts o = {.source = c.source,
                               .node = c.node,
                               .state = c.state,
                               .cni_socket = c.cni_socket,
                               .zds_socket = c.zds_socket,
                               .system_ns = c.system_ns,
                               .excluded = str_of(c.excluded),
                               .verify_ms = c.verify_ms,
                               .on_ready = on_ready,
                               .owner = &w};
        w.task = runtime_task_new(w.rt, "pods of the source");
        if (agent_new(runtime_loop(w.rt), &o, &w.agent, &msg) != RC_OK) {
            log_error("agent", "%s", msg.text);
        } else {
            runtime_on_dump(w.rt, "pods", agent_dump_pods, w.agent);
            status = runtime_run(w.rt);
        }
    }
    agent_free(w.agent);
    runtime_free(w.rt);
    config_fini(settings, &c);
    return status;
}

const struct role role_cni_agent = {
    .name = "cni agent",
    .help = "node agent: captures the pods of its node and hands them to the ztunnel",
    .about =
        "Runs once on each node, beside the ztunnel. The plug-in (mesh cni) asks it for each pod.",
    .settings = settings,
    .main = agent_main,
};
