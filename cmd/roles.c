#include "cmd/roles.h"

#include <stdio.h>

const struct role *const roles[] = {
    &role_controller, &role_ztunnel, &role_cni_agent, &role_cni, &role_demo, NULL,
};

const struct role *role_find(struct str name)
{
    for (const struct role *const *r = roles; *r; r++)
        if (str_eqz(name, (*r)->name))
            return *r;
    return NULL;
}

bool role_settings(const struct role *r, void *cfg, int argc, const char *const argv[])
{
    struct errmsg e;
    if (config_parse(r->settings, cfg, argc, argv, &e) == RC_OK)
        return true;
    fprintf(stderr, "mesh %s: %s\n", r->name, e.text);
    return false;
}
