#include "proxy/state/state.h"

#include <stdlib.h>

#include "lib/base/hash.h"
#include "lib/base/mem.h"
#include "proxy/state/keys.h"

/* -- keys -- */

uint64_t key_ip(struct str network, const struct addr *ip)
{
    return hash_mix(hash_str(network), addr_hash_ip(ip));
}

uint64_t key_pair(struct str a, struct str b)
{
    return hash_mix(hash_str(a), hash_str(b));
}

static bool fits(struct str want, struct str have)
{
    return want.n == 0 || str_eq(want, have);
}

static bool workload_has_uid(const void *v, const void *key)
{
    return str_eq(workload_text(v, WL_UID), *(const struct str *)key);
}

static bool workload_has_ip(const void *v, const void *key)
{
    const struct ip_key *k = key;
    return workload_has_addr(v, k->ip) && str_eq(workload_text(v, WL_NETWORK), k->network) &&
           fits(k->name, workload_text(v, WL_UID));
}

static bool workload_has_name(const void *v, const void *key)
{
    const struct pair_key *k = key;
    return str_eq(workload_text(v, WL_NS), k->a) && str_eq(workload_text(v, WL_NAME), k->b) &&
           fits(k->own, workload_text(v, WL_UID));
}

static bool service_has_key(const void *v, const void *key)
{
    return str_eq(((const struct service *)v)->key, *(const struct str *)key);
}

static bool service_has_vip(const void *v, const void *key)
{
    const struct service *s = v;
    const struct ip_key *k = key;
    if (!fits(k->name, s->key))
        return false;
    for (size_t i = 0; i < s->n_vips; i++)
        if (!service_vip_is_prefix(&s->vips[i]) && addr_eq_ip(&s->vips[i].cidr.base, k->ip) &&
            str_eq(s->vips[i].network, k->network))
            return true;
    return false;
}

static bool service_has_host(const void *v, const void *key)
{
    const struct service *s = v;
    const struct pair_key *k = key;
    return str_eq(s->host, k->a) && fits(k->own, s->key);
}

static bool endpoints_has_key(const void *v, const void *key)
{
    return ((const struct endpoints *)v)->key == key; /* interned */
}

static bool policy_has_key(const void *v, const void *key)
{
    return str_eq(((const struct policy *)v)->key, *(const struct str *)key);
}

static bool policy_has_scope(const void *v, const void *key)
{
    const struct policy *p = v;
    const struct pair_key *k = key;
    struct str scope = p->scope == POLICY_GLOBAL ? (struct str){"", 0} : p->ns;
    return str_eq(scope, k->a) && fits(k->own, p->key);
}

static bool cert_has_id(const void *v, const void *key)
{
    return identity_eq(((const struct state_cert_entry *)v)->id, key);
}

#define REF_FNS(name, type, ref_fn, unref_fn) \
    static void name##_ref_v(void *v)         \
    {                                         \
        ref_fn((type *)v);                    \
    }                                         \
    static void name##_unref_v(void *v)       \
    {                                         \
        unref_fn((type *)v);                  \
    }
static void cert_entry_ref(struct state_cert_entry *e)
{
    ref_get(&e->ref);
}
static void cert_entry_unref(struct state_cert_entry *e)
{
    if (!ref_put(&e->ref))
        return;
    identity_unref(e->id);
    mtls_ctx_unref(e->ctx);
    free(e);
}
REF_FNS(workload, struct workload, workload_ref, workload_unref)
REF_FNS(service, struct service, service_ref, service_unref)
REF_FNS(endpoints, struct endpoints, endpoints_ref, endpoints_unref)
REF_FNS(policy, struct policy, policy_ref, policy_unref)
REF_FNS(cert, struct state_cert_entry, cert_entry_ref, cert_entry_unref)

const struct cowmap_ops ops_workloads = {workload_has_uid, workload_ref_v, workload_unref_v};
const struct cowmap_ops ops_by_ip = {workload_has_ip, workload_ref_v, workload_unref_v};
const struct cowmap_ops ops_local = {workload_has_name, workload_ref_v, workload_unref_v};
const struct cowmap_ops ops_services = {service_has_key, service_ref_v, service_unref_v};
const struct cowmap_ops ops_by_vip = {service_has_vip, service_ref_v, service_unref_v};
const struct cowmap_ops ops_by_host = {service_has_host, service_ref_v, service_unref_v};
const struct cowmap_ops ops_endpoints = {endpoints_has_key, endpoints_ref_v, endpoints_unref_v};
const struct cowmap_ops ops_policies = {policy_has_key, policy_ref_v, policy_unref_v};
const struct cowmap_ops ops_by_scope = {policy_has_scope, policy_ref_v, policy_unref_v};
const struct cowmap_ops ops_certs = {cert_has_id, cert_ref_v, cert_unref_v};

void state_init_maps(struct proxy_state *st)
{
    cowmap_init(&st->workloads, &ops_workloads);
    cowmap_init(&st->by_ip, &ops_by_ip);
    cowmap_init(&st->local, &ops_local);
    cowmap_init(&st->services, &ops_services);
    cowmap_init(&st->by_vip, &ops_by_vip);
    cowmap_init(&st->by_host, &ops_by_host);
    cowmap_init(&st->endpoints, &ops_endpoints);
    cowmap_init(&st->policies, &ops_policies);
    cowmap_init(&st->by_scope, &ops_by_scope);
    cowmap_init(&st->certs, &ops_certs);
}

void cidr_vips_unref(struct cidr_vips *c)
{
    if (!c || !ref_put(&c->ref))
        return;
    for (size_t i = 0; i < c->n; i++)
        service_unref(c->v[i].service);
    free(c);
}

/* Does b beat a as the workload of an address? A pod beats others, then HBONE beats plain. */
static bool beats(const struct workload *b, const struct workload *a)
{
    if (b->pod != a->pod)
        return b->pod;
    if (b->t->hbone != a->t->hbone)
        return b->t->hbone;
    return str_cmp(workload_text(b, WL_UID), workload_text(a, WL_UID)) <
           0; /* the same everywhere */
}

/* -- lookups -- */

struct workload *state_workload(const struct proxy_state *st, struct str uid)
{
    return cowmap_find(&st->workloads, hash_str(uid), &uid);
}

struct workload *state_workload_by_ip(const struct proxy_state *st, struct str network,
                                      const struct addr *ip)
{
    struct ip_key k = {.network = network, .ip = ip};
    uint64_t hash = key_ip(network, ip);
    uint32_t pos = 0;
    struct workload *best = NULL, *w;
    while ((w = cowmap_next(&st->by_ip, hash, &k, &pos)))
        if (!best || beats(w, best))
            best = w;
    return best;
}

struct workload *state_local_workload(const struct proxy_state *st, struct str ns, struct str name,
                                      struct str sa)
{
    struct pair_key k = {.a = ns, .b = name};
    uint64_t hash = key_pair(ns, name);
    uint32_t pos = 0;
    struct workload *w;
    while ((w = cowmap_next(&st->local, hash, &k, &pos)))
        if (sa.n == 0 || str_eq(workload_text(w, WL_SA), sa))
            return w;
    return NULL;
}

struct service *state_service_by_key(const struct proxy_state *st, struct str key)
{
    return cowmap_find(&st->services, hash_str(key), &key);
}

struct service *state_service_of(const struct proxy_state *st, const struct gateway_addr *g)
{
    return g->key.n ? state_service_by_key(st, g->key) : NULL;
}

struct service *state_service(const struct proxy_state *st, struct str ns, struct str host)
{
    struct pair_key k = {.a = host};
    uint64_t hash = hash_str(host);
    uint32_t pos = 0;
    struct service *s;
    while ((s = cowmap_next(&st->by_host, hash, &k, &pos)))
        if (str_eq(s->ns, ns))
            return s;
    return NULL;
}

/* Of two services that a client could mean (a may be NULL): its own namespace's, then the one with the
 * longer prefix, then the canonical one, then the first. */
struct candidate {
    struct service *s;
    uint8_t bits;
};

static struct candidate prefer(struct candidate a, struct candidate b, struct str client_ns)
{
    if (!service_visible(b.s, client_ns))
        return a;
    if (!a.s)
        return b;
    bool a_own = str_eq(a.s->ns, client_ns), b_own = str_eq(b.s->ns, client_ns);
    if (a_own != b_own)
        return a_own ? a : b;
    if (a.bits != b.bits)
        return a.bits > b.bits ? a : b;
    if (a.s->canonical != b.s->canonical)
        return a.s->canonical ? a : b;
    return str_cmp(a.s->key, b.s->key) <= 0 ? a : b;
}

static struct service *by_prefix(const struct proxy_state *st, struct str network,
                                 const struct addr *ip, struct str client_ns)
{
    struct candidate best = {0};
    for (size_t i = 0; st->cidr_vips && i < st->cidr_vips->n; i++) {
        const struct cidr_vip *c = &st->cidr_vips->v[i];
        if (cidr_has(&c->vip->cidr, ip) && str_eq(c->vip->network, network))
            best = prefer(best, (struct candidate){c->service, c->vip->cidr.bits}, client_ns);
    }
    return best.s;
}

struct service *state_service_by_vip(const struct proxy_state *st, struct str network,
                                     const struct addr *ip, struct str client_ns)
{
    struct ip_key k = {.network = network, .ip = ip};
    uint64_t hash = key_ip(network, ip);
    uint32_t pos = 0;
    struct candidate best = {0};
    struct service *s;
    while ((s = cowmap_next(&st->by_vip, hash, &k, &pos)))
        best = prefer(best, (struct candidate){s, 0}, client_ns);
    return best.s ? best.s : by_prefix(st, network, ip, client_ns);
}

struct service *state_service_by_host(const struct proxy_state *st, struct str host,
                                      struct str client_ns)
{
    struct pair_key k = {.a = host};
    uint64_t hash = hash_str(host);
    uint32_t pos = 0;
    struct candidate best = {0};
    struct service *s;
    while ((s = cowmap_next(&st->by_host, hash, &k, &pos)))
        best = prefer(best, (struct candidate){s, 0}, client_ns);
    return best.s;
}

const struct endpoints *state_endpoints(const struct proxy_state *st, const struct service *s)
{
    return cowmap_find(&st->endpoints, atom_hash(s->atom), s->atom);
}

struct policy *state_policy(const struct proxy_state *st, struct str key)
{
    return cowmap_find(&st->policies, hash_str(key), &key);
}

struct policy *state_policy_of(const struct proxy_state *st, const struct atom *key)
{
    struct str k = atom_str(key);
    return cowmap_find(&st->policies, atom_hash(key), &k);
}

struct policy *state_scope_policy(const struct proxy_state *st, struct str ns, uint32_t *pos)
{
    struct pair_key k = {.a = ns};
    return cowmap_next(&st->by_scope, hash_str(ns), &k, pos);
}

struct mtls_ctx *state_cert(const struct proxy_state *st, const struct identity *id)
{
    const struct state_cert_entry *e = cowmap_find(&st->certs, id->hash, id);
    return e ? e->ctx : NULL;
}
