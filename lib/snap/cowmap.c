#include "lib/snap/cowmap.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/must.h"
#include "lib/base/ref.h"

#define FANOUT 32 /* pages of a directory and shards of a page: 1,024 shards; a power of two */

/* Entries sorted by hash. Immutable once another directory shares it. */
struct shard {
    struct ref ref;
    uint32_t len, cap;
    struct entry {
        uint64_t hash;
        void *value;
    } e[];
};

struct page {
    struct ref ref;
    struct shard *shard[FANOUT]; /* NULL: empty */
};

struct cowmap_dir {
    struct ref ref;
    struct page *page[FANOUT]; /* NULL: empty */
};

static void shard_unref(struct shard *s, const struct cowmap_ops *ops)
{
    if (!s || !ref_put(&s->ref))
        return;
    for (uint32_t i = 0; i < s->len; i++)
        ops->unref(s->e[i].value);
    free(s);
}

static void page_unref(struct page *p, const struct cowmap_ops *ops)
{
    if (!p || !ref_put(&p->ref))
        return;
    for (int i = 0; i < FANOUT; i++)
        shard_unref(p->shard[i], ops);
    free(p);
}

static void dir_unref(struct cowmap_dir *d, const struct cowmap_ops *ops)
{
    if (!d || !ref_put(&d->ref))
        return;
    for (int i = 0; i < FANOUT; i++)
        page_unref(d->page[i], ops);
    free(d);
}

void cowmap_init(struct cowmap *m, const struct cowmap_ops *ops)
{
    *m = (struct cowmap){.ops = ops}; /* the directory comes with the first entry */
}

void cowmap_fini(struct cowmap *m)
{
    dir_unref(m->dir, m->ops);
    *m = (struct cowmap){.ops = m->ops};
}

void cowmap_copy(struct cowmap *dst, const struct cowmap *src)
{
    *dst = *src;
    if (dst->dir)
        ref_get(&dst->dir->ref);
}

/* The top bits choose: shards are sorted by all of it. */
static size_t page_of(uint64_t hash)
{
    return (size_t)(hash >> 59);
}

static size_t slot_of(uint64_t hash)
{
    return (size_t)(hash >> 54) % FANOUT;
}

static const struct shard *shard_at(const struct cowmap *m, uint64_t hash)
{
    const struct page *p = m->dir ? m->dir->page[page_of(hash)] : NULL;
    return p ? p->shard[slot_of(hash)] : NULL;
}

/* First entry whose hash is not below. */
static uint32_t lower_bound(const struct shard *s, uint64_t hash)
{
    uint32_t lo = 0, hi = s ? s->len : 0;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (s->e[mid].hash < hash)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool shard_find(const struct cowmap *m, const struct shard *s, uint64_t hash,
                       const void *key, uint32_t *ret)
{
    for (uint32_t i = lower_bound(s, hash); s && i < s->len && s->e[i].hash == hash; i++) {
        if (m->ops->has_key(s->e[i].value, key)) {
            *ret = i;
            return true;
        }
    }
    return false;
}

void *cowmap_find(const struct cowmap *m, uint64_t hash, const void *key)
{
    uint32_t i;
    const struct shard *s = shard_at(m, hash);
    return shard_find(m, s, hash, key, &i) ? s->e[i].value : NULL;
}

void *cowmap_next(const struct cowmap *m, uint64_t hash, const void *key, uint32_t *pos)
{
    const struct shard *s = shard_at(m, hash);
    if (!s)
        return NULL;
    uint32_t first = lower_bound(s, hash);
    while (first + *pos < s->len && s->e[first + *pos].hash == hash) {
        void *value = s->e[first + (*pos)++].value;
        if (m->ops->has_key(value, key))
            return value;
    }
    return NULL;
}

/* -- editing -- */

static bool shared(struct ref *r)
{
    return atomic_load_explicit(&r->n, memory_order_acquire) > 1;
}

static struct cowmap_dir *dir_own(struct cowmap *m)
{
    struct cowmap_dir *old = m->dir;
    if (old && !shared(&old->ref))
        return old;
    struct cowmap_dir *d = mem_new(struct cowmap_dir);
    ref_init(&d->ref);
    for (int i = 0; old && i < FANOUT; i++)
        if ((d->page[i] = old->page[i]))
            ref_get(&d->page[i]->ref);
    dir_unref(old, m->ops);
    return m->dir = d;
}

static struct page *page_own(struct cowmap *m, uint64_t hash)
{
    struct page **slot = &dir_own(m)->page[page_of(hash)], *old = *slot;
    if (old && !shared(&old->ref))
        return old;
    struct page *p = mem_new(struct page);
    ref_init(&p->ref);
    for (int i = 0; old && i < FANOUT; i++)
        if ((p->shard[i] = old->shard[i]))
            ref_get(&p->shard[i]->ref);
    page_unref(old, m->ops);
    return *slot = p;
}

static struct shard *shard_new(uint32_t cap)
{
    struct shard *s = mem_alloc(sizeof(*s) + cap * sizeof(s->e[0]));
    ref_init(&s->ref);
    s->len = 0;
    s->cap = cap;
    return s;
}

/* The slot's shard, ours alone, with room for one entry more. */
static struct shard *shard_own(struct cowmap *m, struct shard **slot)
{
    struct shard *old = *slot;
    uint32_t len = old ? old->len : 0;
    if (old && !shared(&old->ref) && len < old->cap)
        return old;
    struct shard *s = shard_new(len < 4 ? 4 : len + len / 4 + 1);
    s->len = len;
    if (len)
        memcpy(s->e, old->e, len * sizeof(s->e[0]));
    if (old && !shared(&old->ref)) {
        free(old); /* its references moved */
    } else {
        for (uint32_t i = 0; i < len; i++)
            m->ops->ref(s->e[i].value);
        shard_unref(old, m->ops);
    }
    return *slot = s;
}

void cowmap_set(struct cowmap *m, uint64_t hash, const void *key, void *value)
{
    struct shard *s = shard_own(m, &page_own(m, hash)->shard[slot_of(hash)]);
    uint32_t i;
    m->ops->ref(value);
    if (shard_find(m, s, hash, key, &i)) {
        m->ops->unref(s->e[i].value);
        s->e[i].value = value;
        return;
    }
    i = lower_bound(s, hash);
    memmove(&s->e[i + 1], &s->e[i], (s->len - i) * sizeof(s->e[0]));
    s->e[i].hash = hash;
    s->e[i].value = value;
    s->len++;
    m->len++;
}

bool cowmap_del(struct cowmap *m, uint64_t hash, const void *key)
{
    uint32_t i;
    if (!shard_find(m, shard_at(m, hash), hash, key, &i))
        return false;
    struct shard **slot = &page_own(m, hash)->shard[slot_of(hash)];
    struct shard *s = shard_own(m, slot);
    m->ops->unref(s->e[i].value);
    memmove(&s->e[i], &s->e[i + 1], (s->len - i - 1) * sizeof(s->e[0]));
    s->len--;
    m->len--;
    if (s->len == 0) {
        free(s);
        *slot = NULL;
    }
    return true;
}

void cowmap_each(const struct cowmap *m, bool (*fn)(void *value, void *arg), void *arg)
{
    for (size_t i = 0; m->dir && i < (size_t)FANOUT * FANOUT; i++) {
        const struct shard *s = shard_at(m, (uint64_t)i << 54);
        for (uint32_t k = 0; s && k < s->len; k++)
            if (!fn(s->e[k].value, arg))
                return;
    }
}
