/* Between the files of this folder. */
#pragma once

#include "control/model/model.h"

enum mix {
    IX_KIND,             /* kind */
    IX_POD_NS,           /* namespace */
    IX_POD_LABEL,        /* namespace, label key, value */
    IX_POD_NODE,         /* node */
    IX_POD_ADDR,         /* address */
    IX_SERVICE_NS,       /* namespace */
    IX_SERVICE_SELECTOR, /* namespace, the first pair of its selector */
    IX_SERVICE_ADDR,     /* address */
    IX_SLICE_SERVICE,    /* namespace, service */
    IX_SLICE_TARGET,     /* namespace, pod */
    IX_AUTHZ_SELECTOR,   /* namespace, the first pair of its selector */
    IX_PEER_NS,          /* namespace */
    IX_COUNT
};

struct model {
    char *root_ns, *system_ns;
    void (*on_change)(void *owner);
    void *owner;
    struct list clusters;
    struct htab objects;
    struct mindex ix[IX_COUNT];
    struct list touched;
    struct mobject *last; /* what model_next() gave out last */
    uint64_t generation;
    uint64_t roster; /* changes of Nodes and ServiceAccounts */
};

#define MODEL_NETWORK_LABEL "topology.istio.io/network"

/* NULL when absent or gone. */
struct mobject *model_object(const struct model *m, const struct mcluster *c, enum kobj_kind kind,
                             struct str ns, struct str name);

static inline struct str mobject_ns(const struct mobject *o)
{
    return o->obj->meta.ns;
}

/* -- index.c -- */
/* Files the object as it is now; takes it out before. */
void model_index(struct model *m, struct mobject *o);
void model_unindex(struct mobject *o);
/* Calls fn for each pod of the namespace (of every one when ns.p is NULL) whose labels include the
 * selector. c: of this cluster only; NULL: of any. An empty selector selects nothing. */
void model_each_selected(const struct model *m, const struct mcluster *c, struct str ns,
                         const struct kmap *selector, model_fn *fn, void *arg);
struct str model_slice_service(const struct kendpoint_slice *s); /* its label, "" when absent */

/* -- depend.c -- */
void model_touch(struct model *m, struct mobject *o);
/* Touches what is translated differently now. before and after: NULL when it was or is not there. Called
 * when the indices know after. */
void model_touch_dependents(struct model *m, const struct mcluster *c, const struct kobj *before,
                            const struct kobj *after);
