/* Where a policy is enforced. */
#include "control/model/model.h"

bool model_authz_is_dry_run(const struct kauthz *p)
{
    static const char *const yes[] = {"1", "t", "T", "TRUE", "true", "True"};
    struct str v = kmap_get(&p->obj.meta.annotations, "istio.io/dry-run");
    for (size_t i = 0; i < ARRAY_LEN(yes); i++)
        if (v.p && str_eqz(v, yes[i]))
            return true;
    return false; /* a value that says neither is no reason not to enforce */
}

bool model_authz_at_node(const struct kauthz *p)
{
    return p->targets.n == 0 && p->action != KAUTHZ_AUDIT && !model_authz_is_dry_run(p);
}

bool model_authz_is_listed(const struct kauthz *p)
{
    return model_authz_at_node(p) && p->selector && p->selector->labels.n;
}
