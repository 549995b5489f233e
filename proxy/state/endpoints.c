#include "proxy/state/endpoints.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/must.h"

static bool by_place(const struct balance_policy *b)
{
    return b->mode == ISTIO__WORKLOAD__LOAD_BALANCING__MODE__STRICT ||
           b->mode == ISTIO__WORKLOAD__LOAD_BALANCING__MODE__FAILOVER;
}

static bool network_first(const struct balance_policy *b)
{
    return b->n_prefs && b->prefs[0] == ISTIO__WORKLOAD__LOAD_BALANCING__SCOPE__NETWORK;
}

static bool agree(uint8_t scope, const struct place *a, const struct place *b)
{
    switch ((Istio__Workload__LoadBalancing__Scope)scope) {
    case ISTIO__WORKLOAD__LOAD_BALANCING__SCOPE__REGION:  return str_eq(a->region, b->region);
    case ISTIO__WORKLOAD__LOAD_BALANCING__SCOPE__ZONE:    return str_eq(a->zone, b->zone);
    case ISTIO__WORKLOAD__LOAD_BALANCING__SCOPE__SUBZONE: return str_eq(a->subzone, b->subzone);
    case ISTIO__WORKLOAD__LOAD_BALANCING__SCOPE__NODE:    return str_eq(a->node, b->node);
    case ISTIO__WORKLOAD__LOAD_BALANCING__SCOPE__CLUSTER: return str_eq(a->cluster, b->cluster);
    case ISTIO__WORKLOAD__LOAD_BALANCING__SCOPE__NETWORK: return str_eq(a->network, b->network);
    default:                                              return false;
    }
}

static int best_rank(const struct balance_policy *b)
{
    if (b->mode != ISTIO__WORKLOAD__LOAD_BALANCING__MODE__FAILOVER)
        return 0;
    return network_first(b) ? 2 * b->n_prefs - 1 : b->n_prefs;
}

int endpoints_rank(const struct balance_policy *b, const struct place *here,
                   const struct place *there)
{
    if (!by_place(b))
        return 0;
    int rank = 0, same_network = 0;
    for (size_t i = 0; i < b->n_prefs; i++) {
        bool network = b->prefs[i] == ISTIO__WORKLOAD__LOAD_BALANCING__SCOPE__NETWORK;
        bool same = agree(b->prefs[i], here, there);
        if (network && network_first(b)) {
            if (!same)
                continue; /* the others still count among the remote ones */
            same_network = b->n_prefs - 1;
        }
        if (!same)
            break;
        rank++;
    }
    if (b->mode == ISTIO__WORKLOAD__LOAD_BALANCING__MODE__STRICT)
        return rank == b->n_prefs ? 0 : -1;
    return rank + same_network;
}

/* -- groups -- */

static unsigned group_of(const struct endpoints *e, const struct workload *w)
{
    unsigned last = e->n_groups - 1u;
    if (!w->healthy && !e->balance.allow_unhealthy)
        return last;
    if (!e->home)
        return 0;
    int rank = endpoints_rank(&e->balance, e->home, w->place);
    return rank < 0 ? last : (unsigned)(best_rank(&e->balance) - rank);
}

static uint32_t group_start(const struct endpoints *e, unsigned g)
{
    return g ? e->end[g - 1] : 0;
}

static void weigh(struct endpoints *e, const struct workload *w)
{
    e->min_weight = e->n == 0 ? w->t->capacity : MIN(e->min_weight, w->t->capacity);
    e->max_weight = e->n == 0 ? w->t->capacity : MAX(e->max_weight, w->t->capacity);
}

void endpoints_add(struct endpoints *e, struct workload *w)
{
    weigh(e, w);
    if (e->n == e->cap) {
        e->cap += e->cap < 4 ? 2 : e->cap / 2;
        e->w = mem_realloc(e->w, e->cap * sizeof(e->w[0]));
    }
    /* each later group gives its first place and takes one at its end */
    unsigned g = group_of(e, w);
    uint32_t hole = e->n++;
    for (unsigned k = e->n_groups - 1u; k > g; k--) {
        uint32_t start = e->end[k - 1];
        if (start != hole)
            e->w[hole] = e->w[start];
        hole = start;
        e->end[k]++;
    }
    e->w[hole] = w;
    e->end[g]++;
}

static uint32_t position(const struct endpoints *e, unsigned g, const struct workload *w)
{
    uint32_t i = group_start(e, g);
    while (i < e->end[g] && e->w[i] != w)
        i++;
    MUST(i < e->end[g]); /* a workload is among the endpoints of its services */
    return i;
}

void endpoints_del(struct endpoints *e, const struct workload *w)
{
    unsigned g = group_of(e, w);
    uint32_t hole = position(e, g, w);
    for (unsigned k = g; k < e->n_groups; k++) {
        uint32_t last = --e->end[k];
        e->w[hole] = e->w[last]; /* of an empty group this is the hole itself */
        hole = last;
    }
    e->n--;
}

void endpoints_swap(struct endpoints *e, const struct workload *old, struct workload *w)
{
    unsigned g = group_of(e, old);
    if (g != group_of(e, w)) {
        endpoints_del(e, old);
        endpoints_add(e, w);
        return;
    }
    e->w[position(e, g, old)] = w;
    weigh(e, w);
}

/* -- life -- */

static struct endpoints *make(struct atom *key, const struct balance_policy *b, struct place *home,
                              uint64_t edition, uint32_t cap)
{
    unsigned groups = (by_place(b) && home ? (unsigned)best_rank(b) : 0) + 2;
    MUST(groups <= ENDPOINT_GROUPS_MAX);
    struct endpoints *e = mem_zalloc(sizeof(*e) + groups * sizeof(e->end[0]));
    ref_init(&e->ref);
    e->key = atom_ref(key);
    e->home = by_place(b) && home ? place_ref(home) : NULL;
    e->edition = edition;
    e->balance = *b;
    e->n_groups = (uint8_t)groups;
    e->cap = cap;
    e->w = cap ? mem_alloc(cap * sizeof(e->w[0])) : NULL;
    return e;
}

struct endpoints *endpoints_new(struct atom *key, const struct balance_policy *b,
                                struct place *home, uint64_t edition)
{
    return make(key, b, home, edition, 0);
}

struct endpoints *endpoints_copy(const struct endpoints *e, uint64_t edition)
{
    /* room for one more: most copies are made for one change */
    struct endpoints *c = make(e->key, &e->balance, e->home, edition, e->n + 1);
    memcpy(c->end, e->end, e->n_groups * sizeof(e->end[0]));
    if (e->n)
        memcpy(c->w, e->w, e->n * sizeof(e->w[0]));
    c->n = e->n;
    c->min_weight = e->min_weight;
    c->max_weight = e->max_weight;
    return c;
}

struct endpoints *endpoints_arrange(const struct endpoints *e, const struct balance_policy *b,
                                    struct place *home, uint64_t edition)
{
    struct endpoints *c = make(e->key, b, home, edition, e->n);
    for (uint32_t i = 0; i < e->n; i++)
        endpoints_add(c, e->w[i]);
    return c;
}

bool endpoints_fits(const struct endpoints *e, const struct balance_policy *b,
                    const struct place *home)
{
    return memcmp(&e->balance, b, sizeof(*b)) == 0 && (!by_place(b) || e->home == home);
}

struct endpoints *endpoints_ref(struct endpoints *e)
{
    ref_get(&e->ref);
    return e;
}

void endpoints_unref(struct endpoints *e)
{
    if (!e || !ref_put(&e->ref))
        return;
    atom_unref(e->key);
    place_unref(e->home);
    free(e->w);
    free(e);
}
