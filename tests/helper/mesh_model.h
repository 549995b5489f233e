/* A model filled from YAML, for tests. */
#pragma once

#include "control/model/model.h"
#include "tests/helper/kobj.h"

static inline void mesh_batch(void *owner)
{
    (void)owner;
}

/* Every document of the text, as one batch. */
static inline void mesh_apply(struct object_sink s, const char *yaml)
{
    struct arena a AUTO_ARENA;
    struct node *docs = NULL;
    struct errmsg e = {""};
    arena_init(&a, 256u << 20);
    ck_assert_msg(yaml_parse(&a, str_of(yaml), &docs, NULL, &e) == RC_OK, "%s", e.text);
    for (const struct node *doc = docs; doc; doc = doc->next) {
        struct kobj *o AUTO(kobj_unref) = NULL;
        ck_assert_msg(kobj_decode(doc, &o, NULL, &e) == RC_OK, "%s", e.text);
        s.ops->set(s.owner, o);
    }
    s.ops->batch(s.owner);
}

static inline void mesh_remove(struct object_sink s, const char *yaml)
{
    struct kobj *o AUTO(kobj_unref) = kobj_of(yaml);
    s.ops->remove(s.owner, o);
    s.ops->batch(s.owner);
}

static inline struct model *mesh_model(struct object_sink *ret)
{
    struct model_opts o = {
        .root_ns = "istio-system", .system_ns = "istio-system", .on_change = mesh_batch};
    struct model *m = model_new(&o);
    *ret = model_cluster(m, "Kubernetes");
    return m;
}
