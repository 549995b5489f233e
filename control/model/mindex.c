#include "control/model/mindex.h"

#include <string.h>

#include "lib/base/hash.h"
#include "lib/base/must.h"

static void key_add(struct mkey *k, struct str s)
{
    MUST(k->n + s.n + 1 <= sizeof(k->text));
    memcpy(k->text + k->n, s.p, s.n);
    k->n += s.n;
    k->text[k->n++] = '\0';
}

struct mkey mkey3(struct str a, struct str b, struct str c)
{
    struct mkey k;
    k.n = 0;
    key_add(&k, a);
    key_add(&k, b);
    key_add(&k, c);
    return k;
}

struct mkey mkey2(struct str a, struct str b)
{
    return mkey3(a, b, STR(""));
}

struct mkey mkey1(struct str a)
{
    return mkey3(a, STR(""), STR(""));
}

void mindex_init(struct mindex *x)
{
    htab_init(&x->buckets);
}

void mindex_fini(struct mindex *x)
{
    MUST(x->buckets.len == 0);
    htab_fini(&x->buckets);
}

static bool bucket_eq(const struct hnode *n, const void *key)
{
    const struct mbucket *b = container_of(n, struct mbucket, by_key);
    const struct mkey *k = key;
    return b->key_len == k->n && memcmp(b->key, k->text, k->n) == 0;
}

static struct mbucket *find(const struct mindex *x, const struct mkey *k, uint64_t hash)
{
    struct hnode *h = htab_find(&x->buckets, hash, bucket_eq, k);
    return h ? container_of(h, struct mbucket, by_key) : NULL;
}

const struct mbucket *mindex_find(const struct mindex *x, const struct mkey *k)
{
    return find(x, k, hash_bytes(k->text, k->n));
}

void mindex_add(struct mindex *x, const struct mkey *k, struct mentry *e, struct mobject *o)
{
    uint64_t hash = hash_bytes(k->text, k->n);
    struct mbucket *b = find(x, k, hash);
    if (!b) {
        b = mem_alloc(sizeof(*b) + k->n);
        *b = (struct mbucket){.index = x, .key_len = k->n};
        memcpy(b->key, k->text, k->n);
        list_init(&b->entries);
        htab_insert(&x->buckets, &b->by_key, hash);
        x->shape++;
    }
    *e = (struct mentry){.bucket = b, .object = o};
    list_push_back(&b->entries, &e->node);
    b->n++;
}

void mindex_del(struct mentry *e)
{
    struct mbucket *b = e->bucket;
    if (!b)
        return;
    list_del(&e->node);
    e->bucket = NULL;
    if (--b->n)
        return;
    htab_del(&b->index->buckets, &b->by_key);
    b->index->shape++;
    mem_free(b);
}
