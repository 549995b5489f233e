/* Reference counts of immutable objects that several threads share. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

struct ref {
    atomic_uint n;
};

static inline void ref_init(struct ref *r)
{
    atomic_init(&r->n, 1);
}

static inline void ref_get(struct ref *r)
{
    atomic_fetch_add_explicit(&r->n, 1, memory_order_relaxed);
}

/* True when this was the last reference: the caller destroys the object. */
static inline bool ref_put(struct ref *r)
{
    if (atomic_fetch_sub_explicit(&r->n, 1, memory_order_release) != 1)
        return false;
    (void)atomic_load_explicit(
        &r->n, memory_order_acquire); /* an acquire load, not a fence: TSan knows it */
    return true;
}
