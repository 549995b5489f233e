/* What sources deliver and the model takes in: objects of one cluster, one by one. A source (a folder,
 * later the Kubernetes API) knows nothing of what becomes of them. Thread: main. */
#pragma once

#include "lib/kobj/kobj.h"

struct object_sink_ops {
    uint64_t kinds; /* KOBJ_BIT() of each kind that it takes; others must not be delivered */
    /* Exists, new or changed. Borrowed. */
    void (*set)(void *owner, struct kobj *obj);
    /* Exists no more; obj is any state of it: kind, namespace and name count. */
    void (*remove)(void *owner, const struct kobj *obj);
    /* What was told so far is consistent in itself; the first time: it is all there is. */
    void (*batch)(void *owner);
};
struct object_sink { /* passed by value */
    const struct object_sink_ops *ops;
    void *owner;
};
