/* Hash table of nodes embedded in their objects: no allocation per insert, the table owns nothing
 * but its buckets and grows (doubles) when it is full. Not for sharing between threads. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/mem.h"

struct hnode {
    struct hnode *next;
    uint64_t hash;
};

struct htab {
    struct hnode **bucket;
    size_t cap, len; /* cap is a power of two, 0 before the first insert */
};

/* Does the node hold the key? Called only for nodes whose hash is equal. */
typedef bool htab_eq_fn(const struct hnode *node, const void *key);

void htab_init(struct htab *t);
void htab_fini(struct htab *t); /* the nodes are the caller's */
/* NULL when absent. */
struct hnode *htab_find(const struct htab *t, uint64_t hash, htab_eq_fn *eq, const void *key);
void htab_insert(struct htab *t, struct hnode *n, uint64_t hash);
/* The node must be in the table. */
void htab_del(struct htab *t, struct hnode *n);
/* Iteration in no order. Deleting the node just returned is legal; inserting is not. */
struct htab_iter {
    size_t i;
    struct hnode *next;
};
struct hnode *htab_first(const struct htab *t, struct htab_iter *it);
struct hnode *htab_next(const struct htab *t, struct htab_iter *it);
#define HTAB_FOREACH(node, t, it) \
    for (struct hnode *node = htab_first((t), (it)); node; node = htab_next((t), (it)))
