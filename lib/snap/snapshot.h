/* What all snapshots share: an atomic count of holders and a destructor. A snapshot is immutable
 * once published. */
#pragma once

#include "lib/base/ref.h"

struct snapshot {
    struct ref ref;
    void (*free)(struct snapshot *s); /* any thread */
};

static inline void snapshot_init(struct snapshot *s, void (*free_fn)(struct snapshot *))
{
    ref_init(&s->ref);
    s->free = free_fn;
}
static inline struct snapshot *snapshot_ref(struct snapshot *s)
{
    ref_get(&s->ref);
    return s;
}
static inline void snapshot_unref(struct snapshot *s) /* NULL is legal */
{
    if (s && ref_put(&s->ref))
        s->free(s);
}
