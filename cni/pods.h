/* What the source says about this node's pods and about namespaces, as the agent sees it. The source is a folder
 * (lib/kdir); later the Kubernetes API through the same calls. Thread: one loop. */
#pragma once

#include "lib/event/loop.h"
#include "lib/kobj/core.h"

struct pods;

struct pods_opts {
    const char *folder, *keep;      /* of lib/kdir */
    const char *node;               /* pods of other nodes are not kept */
    void (*on_change)(void *owner); /* the first time: all there is has been told */
    void *owner;
};

struct pods *pods_new(struct loop *l, const struct pods_opts *o); /* texts are copied */
void pods_free(struct pods *p);                                   /* NULL is legal */
bool pods_synced(const struct pods *p);
/* Borrowed until the next turn; NULL when absent. */
const struct kpod *pods_find(const struct pods *p, struct str ns, struct str name);
const struct kobj *pods_namespace(const struct pods *p, struct str name);
void pods_each_namespace(const struct pods *p, void (*fn)(void *arg, const struct kobj *ns),
                         void *arg);
