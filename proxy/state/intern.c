#include "proxy/state/intern.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/hash.h"
#include "lib/base/mem.h"

#define TIDY_MIN 4096

struct identity_cell { /* identities have no node of their own */
    struct interned in;
    struct identity *id;
};

struct intern {
    struct htab all;
    size_t tidy_at; /* entries */
};

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

void interned_unref(struct interned *i)
{
    if (ref_put(&i->ref))
        i->ops->free(i);
}

struct atom *atom_ref(struct atom *a)
{
    ref_get(&a->in.ref);
    return a;
}

void atom_unref(struct atom *a)
{
    if (a)
        interned_unref(&a->in);
}

struct place *place_ref(struct place *p)
{
    ref_get(&p->in.ref);
    return p;
}

void place_unref(struct place *p)
{
    if (p)
        interned_unref(&p->in);
}

struct gateway_addr *gateway_ref(struct gateway_addr *g)
{
    ref_get(&g->in.ref);
    return g;
}

void gateway_unref(struct gateway_addr *g)
{
    if (g)
        interned_unref(&g->in);
}

/* -- the table -- */

struct wanted {
    const struct interned_ops *ops;
    const void *like;
};

static bool is_wanted(const struct hnode *n, const void *key)
{
    const struct interned *i = container_of(n, const struct interned, node);
    const struct wanted *w = key;
    return i->ops == w->ops && i->ops->same(i, w->like);
}

struct interned *intern_find(const struct intern *t, const struct interned_ops *ops, uint64_t hash,
                             const void *like)
{
    struct wanted w = {ops, like};
    struct hnode *n = htab_find(&t->all, hash, is_wanted, &w);
    if (!n)
        return NULL;
    struct interned *i = container_of(n, struct interned, node);
    ref_get(&i->ref);
    return i;
}

void intern_add(struct intern *t, struct interned *i, const struct interned_ops *ops, uint64_t hash)
{
    ref_init(&i->ref);
    ref_get(&i->ref); /* the table's */
    i->ops = ops;
    htab_insert(&t->all, &i->node, hash);
}

/* -- kinds -- */

#define OF(in_ptr, type) container_of(in_ptr, type, in)

static bool atom_same(const struct interned *i, const void *like)
{
    return str_eq(atom_str(OF(i, const struct atom)), *(const struct str *)like);
}

static void atom_free(struct interned *i)
{
    free(OF(i, struct atom));
}

static bool place_same(const struct interned *i, const void *like)
{
    const struct place *a = OF(i, const struct place), *b = like;
    return str_eq(a->network, b->network) && str_eq(a->cluster, b->cluster) &&
           str_eq(a->node, b->node) && str_eq(a->region, b->region) && str_eq(a->zone, b->zone) &&
           str_eq(a->subzone, b->subzone);
}

static void place_free(struct interned *i)
{
    free(OF(i, struct place));
}

static bool gateway_same(const struct interned *i, const void *like)
{
    const struct gateway_addr *a = OF(i, const struct gateway_addr), *b = like;
    return a->port == b->port && str_eq(a->key, b->key) && str_eq(a->network, b->network) &&
           addr_eq_ip(&a->ip, &b->ip);
}

static void gateway_free(struct interned *i)
{
    free(OF(i, struct gateway_addr));
}

static bool cell_same(const struct interned *i, const void *like)
{
    return identity_eq(OF(i, const struct identity_cell)->id, like);
}

static void cell_free(struct interned *i)
{
    struct identity_cell *c = OF(i, struct identity_cell);
    identity_unref(c->id);
    free(c);
}

/* Only the main thread takes new references out of the table: what only the table holds stays so. */
static bool more_than_one(const struct ref *r)
{
    return atomic_load_explicit(&r->n, memory_order_acquire) > 1;
}

static bool cell_held(const struct interned *i)
{
    return more_than_one(&OF(i, const struct identity_cell)->id->ref);
}

static const struct interned_ops atoms = {atom_same, atom_free, NULL};
static const struct interned_ops places = {place_same, place_free, NULL};
static const struct interned_ops gateways = {gateway_same, gateway_free, NULL};
static const struct interned_ops cells = {cell_same, cell_free, cell_held};

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
    struct interned *i = intern_find(t, &atoms, hash, &text);
    if (i)
        return OF(i, struct atom);
    struct atom *a = mem_zalloc(sizeof(*a) + text.n);
    char *at = a->text;
    a->in.n = (uint32_t)copy(&at, text).n;
    intern_add(t, &a->in, &atoms, hash);
    return a;
}

struct place *intern_place(struct intern *t, const struct place *like)
{
    uint64_t hash = hash_str(like->network);
    hash = hash_mix(hash, hash_str(like->cluster));
    hash = hash_mix(hash, hash_str(like->node));
    hash = hash_mix(hash, hash_str(like->region));
    hash = hash_mix(hash, hash_str(like->zone));
    hash = hash_mix(hash, hash_str(like->subzone));
    struct interned *i = intern_find(t, &places, hash, like);
    if (i)
        return OF(i, struct place);
    struct place *p = mem_zalloc(sizeof(*p) + like->network.n + like->cluster.n + like->node.n +
                                 like->region.n + like->zone.n + like->subzone.n);
    char *at = p->bytes;
    p->network = copy(&at, like->network);
    p->cluster = copy(&at, like->cluster);
    p->node = copy(&at, like->node);
    p->region = copy(&at, like->region);
    p->zone = copy(&at, like->zone);
    p->subzone = copy(&at, like->subzone);
    intern_add(t, &p->in, &places, hash);
    return p;
}

struct gateway_addr *intern_gateway(struct intern *t, const struct gateway_addr *like)
{
    uint64_t hash = hash_mix(hash_str(like->key), hash_str(like->network));
    hash = hash_mix(hash, hash_mix(addr_hash_ip(&like->ip), like->port));
    struct interned *i = intern_find(t, &gateways, hash, like);
    if (i)
        return OF(i, struct gateway_addr);
    struct gateway_addr *g = mem_zalloc(sizeof(*g) + like->key.n + like->network.n);
    char *at = g->bytes;
    g->port = like->port;
    g->ip = like->ip;
    g->key = copy(&at, like->key);
    g->network = copy(&at, like->network);
    g->ns = str_split(g->key, '/', &g->host);
    intern_add(t, &g->in, &gateways, hash);
    return g;
}

/* Takes id. */
static struct identity *intern_made(struct intern *t, struct identity *id)
{
    struct interned *i = intern_find(t, &cells, id->hash, id);
    if (i) {
        identity_unref(id);
        id = OF(i, struct identity_cell)->id;
    } else {
        struct identity_cell *c = mem_new(struct identity_cell);
        c->id = id;
        intern_add(t, &c->in, &cells, id->hash);
        i = &c->in;
    }
    interned_unref(i); /* cells are held by the table alone */
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

static void drop(struct intern *t, struct interned *i)
{
    htab_del(&t->all, &i->node);
    interned_unref(i);
}

void intern_sweep(struct intern *t)
{
    struct htab_iter it;
    HTAB_FOREACH (n, &t->all, &it) {
        struct interned *i = container_of(n, struct interned, node);
        if (!(i->ops->held ? i->ops->held(i) : more_than_one(&i->ref)))
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
