/* What a container runtime gives the plug-in: environment and standard input, checked as the CNI specification
 * (1.1.0) and its reference library do. Pure: no system call but what the caller made. */
#pragma once

#include "cni/attachment.h"

enum plugin_verb {
    PLUGIN_NONE, /* CNI_COMMAND is empty: somebody ran it by hand */
    PLUGIN_ADD,
    PLUGIN_DEL,
    PLUGIN_CHECK,
    PLUGIN_VERSION,
    PLUGIN_STATUS,
    PLUGIN_GC,
};

struct plugin_env { /* NULL: not set */
    const char *command, *container, *netns, *ifname, *args, *path, *netns_override;
};

struct plugin_error {
    unsigned code; /* enum cni_code; 0: none */
    char msg[400], details[200];
};

struct plugin_in { /* views into environment, input and tree */
    enum plugin_verb verb;
    struct str version; /* of the configuration; "1.1.0" until it is known */
    struct attachment a;
    bool foreign_netns; /* CNI_NETNS_OVERRIDE: the namespace may be the runtime's own */
    bool has_prev;
    struct str prev; /* prevResult, byte for byte as it came */
    bool has_valid;
    const struct node *valid;            /* GC: list of {containerID, ifname} */
    struct str socket, state, system_ns; /* the plug-in's own keys; empty: not given */
};

extern const char *const plugin_versions[]; /* supported, oldest first, NULL-ended */

/* False: err says why; ret->verb and ret->version are good for the answer. */
NODISCARD bool plugin_in_parse(struct arena *arena, const struct plugin_env *env, struct str input,
                               struct plugin_in *ret, struct plugin_error *err);

/* The text of a member's value in a JSON object that json_parse() accepted; p NULL when absent. */
struct str plugin_raw_member(struct str json, const char *key);

void plugin_fail(struct plugin_error *err, unsigned code, const char *fmt, ...) PRINTF_LIKE(3, 4);
