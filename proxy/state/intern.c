#include "proxy/state/intern.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/hash.h"
#include "lib/base/mem.h"

#define TIDY_MIN 4096

enum kind { KIND_ATOM, KIND_PLACE, KIND_GATEWAY, KIND_IDENTITY };

struct identity_cell { /* identities have no node of their own */
    struct interned in;
    struct identity *id;
};

struct intern {
    struct htab all;
    size_t tidy_at; /* entries */
};

#define OF(in_ptr, type) container_of(in_ptr, type, in)

struct intern *intern_new(void)
{
    struct intern *t = mem_new(struct intern);
    htab_init(&t->all);
    t->tidy_at = TIDY_MIN;
    return t;
}

size_t intern_len(const struct intern *t)
{
    return t->all.len;
}

/* -- references -- */

static void put(struct interned *i, void *object)
{
    if (ref_put(&i->ref))
        free(object);
}

struct atom *atom_ref(struct atom *a)
{
    ref_get(&a->in.ref);
    return a;
}

void atom_unref(struct atom *a)
{
    if (a)
        put(&a->in, a);
}

struct place *place_ref(struct place *p)
{
    ref_get(&p->in.ref);
    return p;
}

void place_unref(struct place *p)
{
    if (p)
        put(&p->in, p);
}

struct gateway_addr *gateway_ref(struct gateway_addr *g)
{
    ref_get(&g->in.ref);
    return g;
}

void gateway_unref(struct gateway_addr *g)
{
    if (g)
        put(&g->in, g);
}

/* -- the table -- */

struct wanted {
    enum kind kind;
    const void *like;
};

static bool place_same(const struct place *a, const struct place *b)
{
    return str_eq(a->network, b->network) && str_eq(a->cluster, b->cluster) &&
           str_eq(a->node, b->node) && str_eq(a->region, b->region) && str_eq(a->zone, b->zone) &&
           str_eq(a->subzone, b->subzone);
}

static bool gateway_same(const struct gateway_addr *a, const struct gateway_addr *b)
{
    return a->port == b->port && str_eq(a->key, b->key) && str_eq(a->network, b->network) &&
           addr_eq_ip(&a->ip, &b->ip);
}

static bool is_wanted(const struct hnode *n, const void *key)
{
    const struct interned *i = container_of(n, const struct interned, node);
    const struct wanted *w = key;
    if (i->kind != w->kind)
        return false;
    switch (w->kind) {
    case KIND_ATOM:     return str_eq(atom_str(OF(i, const struct atom)), *(const struct str *)w->like);
    case KIND_PLACE:    return place_same(OF(i, const struct place), w->like);
    case KIND_GATEWAY:  return gateway_same(OF(i, const struct gateway_addr), w->like);
    case KIND_IDENTITY: return identity_eq(OF(i, const struct identity_cell)->id, w->like);
    }
    return false;
}

static struct interned *find(const struct intern *t, enum kind kind, uint64_t hash,
                             const void *like)
{
    struct wanted w = {kind, like};
    struct hnode *n = htab_find(&t->all, hash, is_wanted, &w);
    return n ? container_of(n, struct interned, node) : NULL;
}

static void add(struct intern *t, struct interned *i, enum kind kind, uint64_t hash)
{
    ref_init(&i->ref); /* the table's */
    i->kind = (uint8_t)kind;
    htab_insert(&t->all, &i->node, hash);
}

static struct str copy(char **at, struct str s)
{
    struct str c = {*at, s.n};
    if (s.n)
        memcpy(*at, s.p, s.n);
    *at += s.n;
    return c;
}

struct atom *intern_atom(struct intern *t, struct str text)
{
    uint64_t hash = hash_str(text);
    struct interned *i = find(t, KIND_ATOM, hash, &text);
    if (!i) {
        struct atom *a = mem_zalloc(sizeof(*a) + text.n);
        char *at = a->text;
        a->n = (uint32_t)copy(&at, text).n;
        add(t, &a->in, KIND_ATOM, hash);
        i = &a->in;
    }
    return atom_ref(OF(i, struct atom));
}

struct place *intern_place(struct intern *t, const struct place *like)
{
    uint64_t hash = hash_str(like->network);
    hash = hash_mix(hash, hash_str(like->cluster));
    hash = hash_mix(hash, hash_str(like->node));
    hash = hash_mix(hash, hash_str(like->region));
    hash = hash_mix(hash, hash_str(like->zone));
    hash = hash_mix(hash, hash_str(like->subzone));
    struct interned *i = find(t, KIND_PLACE, hash, like);
    if (!i) {
        struct place *p = mem_zalloc(sizeof(*p) + like->network.n + like->cluster.n + like->node.n +
                                     like->region.n + like->zone.n + like->subzone.n);
        char *at = p->bytes;
        p->network = copy(&at, like->network);
        p->cluster = copy(&at, like->cluster);
        p->node = copy(&at, like->node);
        p->region = copy(&at, like->region);
        p->zone = copy(&at, like->zone);
        p->subzone = copy(&at, like->subzone);
        add(t, &p->in, KIND_PLACE, hash);
        i = &p->in;
    }
    return place_ref(OF(i, struct place));
}

struct gateway_addr *intern_gateway(struct intern *t, const struct gateway_addr *like)
{
    uint64_t hash = hash_mix(hash_str(like->key), hash_str(like->network));
    hash = hash_mix(hash, hash_mix(addr_hash_ip(&like->ip), like->port));
    struct interned *i = find(t, KIND_GATEWAY, hash, like);
    if (!i) {
        struct gateway_addr *g = mem_zalloc(sizeof(*g) + like->key.n + like->network.n);
        char *at = g->bytes;
        g->port = like->port;
        g->ip = like->ip;
        g->key = copy(&at, like->key);
        g->network = copy(&at, like->network);
        g->ns = str_split(g->key, '/', &g->host);
        add(t, &g->in, KIND_GATEWAY, hash);
        i = &g->in;
    }
    return gateway_ref(OF(i, struct gateway_addr));
}

/* Takes id. */
static struct identity *intern_made(struct intern *t, struct identity *id)
{
    struct interned *i = find(t, KIND_IDENTITY, id->hash, id);
    if (i) {
        identity_unref(id);
        return identity_ref(OF(i, struct identity_cell)->id);
    }
    struct identity_cell *c = mem_new(struct identity_cell);
    c->id = id;
    add(t, &c->in, KIND_IDENTITY, id->hash);
    return identity_ref(id);
}

struct identity *intern_identity(struct intern *t, struct str trust_domain, struct str ns,
                                 struct str sa)
{
    struct identity *id;
    return identity_make(trust_domain, ns, sa, &id) == RC_OK ? intern_made(t, id) : NULL;
}

struct identity *intern_identity_uri(struct intern *t, struct str uri)
{
    struct identity *id;
    return identity_parse(uri, &id) == RC_OK ? intern_made(t, id) : NULL;
}

/* -- sweeping -- */

/* Only this thread takes new references out of the table: what only the table holds stays so. */
static bool unused(const struct interned *i)
{
    const struct ref *r =
        i->kind == KIND_IDENTITY ? &OF(i, const struct identity_cell)->id->ref : &i->ref;
    return atomic_load_explicit(&r->n, memory_order_acquire) == 1;
}

static void drop(struct intern *t, struct interned *i)
{
    htab_del(&t->all, &i->node);
    switch ((enum kind)i->kind) {
    case KIND_ATOM:    atom_unref(OF(i, struct atom)); break;
    case KIND_PLACE:   place_unref(OF(i, struct place)); break;
    case KIND_GATEWAY: gateway_unref(OF(i, struct gateway_addr)); break;
    case KIND_IDENTITY:
        identity_unref(OF(i, struct identity_cell)->id);
        free(OF(i, struct identity_cell));
        break;
    }
}

void intern_sweep(struct intern *t)
{
    struct htab_iter it;
    HTAB_FOREACH (n, &t->all, &it) {
        struct interned *i = container_of(n, struct interned, node);
        if (unused(i))
            drop(t, i);
    }
    t->tidy_at = MAX(t->all.len * 2, (size_t)TIDY_MIN);
}

void intern_tidy(struct intern *t)
{
    if (t->all.len >= t->tidy_at)
        intern_sweep(t);
}

void intern_free(struct intern *t)
{
    if (!t)
        return;
    struct htab_iter it;
    HTAB_FOREACH (n, &t->all, &it)
        drop(t, container_of(n, struct interned, node));
    htab_fini(&t->all);
    free(t);
}
