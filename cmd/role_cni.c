/* `mesh cni`: the plug-in. It has no flags: a container runtime gives it environment and standard input. */
#include "cmd/roles.h"
#include "cni/plugin.h"

static const struct config_setting settings[] = {CONFIG_END};

static int cni_main(int argc, const char *const argv[])
{
    char nothing;
    if (argc && !role_settings(&role_cni, &nothing, argc, argv))
        return 2;
    return plugin_run();
}

const struct role role_cni = {
    .name = "cni",
    .help = "CNI plug-in, executed by the container runtime; also as mesh-cni",
    .about = "Environment and standard input are those of the CNI specification (0.3.1 to 1.1.0). "
             "Own keys "
             "of the network configuration: socket (of the agent), state (its folder), "
             "system_namespace.",
    .settings = settings,
    .main = cni_main,
};
