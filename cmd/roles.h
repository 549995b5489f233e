/* The words that `mesh` knows. A role is one file (cmd/role_NAME.c) with a `const struct role`, a
 * line in roles.c and one in meson.build. */
#pragma once

#include "lib/config/config.h"

struct role {
    const char *name;                      /* one or two words: "ztunnel", "cni agent" */
    const char *help;                      /* one line for `mesh help`, no full stop */
    const char *about;                     /* what --help says before the flags */
    const struct config_setting *settings; /* ends in CONFIG_END */
    /* argv: what follows the role's words. Returns the exit status. */
    int (*main)(int argc, const char *const argv[]);
};

extern const struct role role_cni;
extern const struct role role_cni_agent;
extern const struct role role_controller;
extern const struct role role_demo;
extern const struct role role_ztunnel;
extern const struct role *const roles[]; /* NULL-ended */

/* NULL when there is none of that name. */
const struct role *role_find(struct str name);
/* For a role's main: the settings into cfg, or a line on standard error and false (exit 2). */
NODISCARD bool role_settings(const struct role *r, void *cfg, int argc, const char *const argv[]);
