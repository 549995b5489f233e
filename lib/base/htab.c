#include "lib/base/htab.h"

#include <stdlib.h>

#include "lib/base/must.h"

void htab_init(struct htab *t)
{
    *t = (struct htab){0};
}

void htab_fini(struct htab *t)
{
    free(t->bucket);
    htab_init(t);
}

struct hnode *htab_find(const struct htab *t, uint64_t hash, htab_eq_fn *eq, const void *key)
{
    if (t->cap == 0)
        return NULL;
    for (struct hnode *n = t->bucket[hash & (t->cap - 1)]; n; n = n->next)
        if (n->hash == hash && eq(n, key))
            return n;
    return NULL;
}

static void htab_resize(struct htab *t, size_t cap)
{
    struct hnode **bucket = mem_calloc(cap, sizeof(*bucket));
    for (size_t i = 0; i < t->cap; i++) {
        for (struct hnode *n = t->bucket[i], *next; n; n = next) {
            next = n->next;
            struct hnode **slot = &bucket[n->hash & (cap - 1)];
            n->next = *slot;
            *slot = n;
        }
    }
    free(t->bucket);
    t->bucket = bucket;
    t->cap = cap;
}

void htab_insert(struct htab *t, struct hnode *n, uint64_t hash)
{
    if (t->len >= t->cap)
        htab_resize(t, t->cap ? t->cap * 2 : 8);
    struct hnode **slot = &t->bucket[hash & (t->cap - 1)];
    n->hash = hash;
    n->next = *slot;
    *slot = n;
    t->len++;
}

void htab_del(struct htab *t, struct hnode *n)
{
    MUST(t->cap);
    struct hnode **slot = &t->bucket[n->hash & (t->cap - 1)];
    while (*slot != n) {
        MUST(*slot);
        slot = &(*slot)->next;
    }
    *slot = n->next;
    n->next = NULL;
    t->len--; /* buckets never shrink: an iteration may be under way */
}

struct hnode *htab_first(const struct htab *t, struct htab_iter *it)
{
    *it = (struct htab_iter){0};
    return htab_next(t, it);
}

struct hnode *htab_next(const struct htab *t, struct htab_iter *it)
{
    struct hnode *n = it->next;
    while (!n && it->i < t->cap)
        n = t->bucket[it->i++];
    it->next = n ? n->next : NULL;
    return n;
}
