/* `mesh demo`: settings; the demo itself is cmd/demo. */
#include <stdio.h>

#include "cmd/demo/demo.h"
#include "cmd/roles.h"

static const struct config_setting settings[] = {
    {.name = "nodes",
     .type = CONFIG_U32,
     .offset = offsetof(struct demo, n_nodes),
     .text = "2",
     .min = 2,
     .max = DEMO_NODES_MAX,
     .doc = "Nodes, each with a ztunnel and an agent."},
    {.name = "pods",
     .type = CONFIG_U32,
     .offset = offsetof(struct demo, want_pods),
     .text = "5",
     .min = 5,
     .max = DEMO_PODS_MAX,
     .doc = "Pods, of all nodes together."},
    {.name = "keep",
     .type = CONFIG_BOOL,
     .offset = offsetof(struct demo, keep),
     .text = "false",
     .doc = "Leave the mesh running at the end, and say how to enter its pods."},
    CONFIG_END,
};

static int demo_main(int argc, const char *const argv[])
{
    static struct demo d;
    if (!role_settings(&role_demo, &d, argc, argv))
        return 2;
    d.self = "/proc/self/exe";
    int status = sandbox_run(demo_run, &d);
    config_fini(settings, &d);
    return status;
}

const struct role role_demo = {
    .name = "demo",
    .help = "a mesh of two nodes on this machine, carrying traffic",
    .about =
        "Makes nodes and pods in network namespaces, starts every role, sends traffic through the "
        "mesh and shows what happened. Everything vanishes at the end.",
    .settings = settings,
    .main = demo_main,
};
