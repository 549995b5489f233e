/* From a text to the objects filed under it: one structure for every index of the model. An object's
 * entries live in one array of its own. Private to control/model. */
#pragma once

#include "lib/base/htab.h"
#include "lib/base/list.h"
#include "lib/base/str.h"

struct mobject;

struct mentry {
    struct list node;
    struct mbucket *bucket;
    struct mobject *object;
};

struct mbucket {
    struct hnode by_key;
    struct mindex *index;
    struct list entries;
    size_t n, key_len;
    char key[];
};

struct mindex {
    struct htab buckets;
    uint64_t shape; /* changes whenever a key comes or goes */
};

#define MKEY_MAX 700 /* of namespace, label key and value together */
struct mkey {        /* built from parts, with a separator that occurs in none */
    size_t n;
    char text[MKEY_MAX];
};

void mindex_init(struct mindex *x);
void mindex_fini(struct mindex *x); /* all entries are out */
void mindex_add(struct mindex *x, const struct mkey *k, struct mentry *e, struct mobject *o);
void mindex_del(struct mentry *e); /* legal when not in */
/* NULL when nothing is filed under it. */
const struct mbucket *mindex_find(const struct mindex *x, const struct mkey *k);
#define MBUCKET_FOREACH(e, b)                                                                  \
    for (struct mentry *e = (b) ? container_of((b)->entries.next, struct mentry, node) : NULL; \
         e && &e->node != &(b)->entries; e = container_of(e->node.next, struct mentry, node))

struct mkey mkey1(struct str a);
struct mkey mkey2(struct str a, struct str b);
struct mkey mkey3(struct str a, struct str b, struct str c);
