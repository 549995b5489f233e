/* Istio's kinds that this mesh knows but does not enforce: read so far that a status can say so, and of what. */
#pragma once

#include "lib/kobj/policy.h"

struct kknown {
    struct kobj obj;
    struct kmap selector; /* labels of the workloads it was meant for; empty: the namespace */
    KLIST(struct ktarget_ref) targets;
};

static inline bool kobj_is_known(const struct kobj *o)
{
    return o->kind >= KOBJ_ISTIO_GATEWAY && o->kind <= KOBJ_TRAFFIC_EXTENSION;
}
static inline const struct kknown *kobj_known(const struct kobj *o)
{
    MUST(kobj_is_known(o));
    return container_of(o, struct kknown, obj);
}
