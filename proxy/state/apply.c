#include "proxy/state/apply.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/arena.h"
#include "lib/base/hash.h"
#include "lib/base/htab.h"
#include "lib/base/mem.h"
#include "lib/codec/pb.h"
#include "proxy/state/keys.h"

#define RESOURCE_ARENA (64u << 20) /* one decoded resource */

struct interned { /* identities that workloads share */
    struct hnode node;
    struct identity *id;
};

struct apply {
    struct proxy_state next; /* under construction */
    char *node;
    struct htab identities;
    size_t identities_sweep; /* when the table has grown to this, unused ones go */
    bool changed;
    apply_local_fn *on_local;
    void *on_local_owner;
};

/* -- identities -- */

static bool interned_is(const struct hnode *n, const void *key)
{
    return identity_eq(container_of((uintptr_t)n, struct interned, node)->id, key);
}

static void identities_sweep(struct apply *a, bool all)
{
    struct htab_iter it;
    HTAB_FOREACH (n, &a->identities, &it) {
        struct interned *i = container_of(n, struct interned, node);
        if (!all && atomic_load(&i->id->ref.n) > 1)
            continue;
        htab_del(&a->identities, n);
        identity_unref(i->id);
        free(i);
    }
    a->identities_sweep = MAX(a->identities.len * 2, (size_t)1024);
}

static enum rc intern(void *arg, struct str td, struct str ns, struct str sa, struct identity **ret)
{
    struct apply *a = arg;
    struct identity *id;
    enum rc rc = identity_make(td, ns, sa, &id);
    if (rc != RC_OK)
        return rc;
    struct hnode *n = htab_find(&a->identities, id->hash, interned_is, id);
    if (n) {
        identity_unref(id);
        *ret = identity_ref(container_of(n, struct interned, node)->id);
        return RC_OK;
    }
    if (a->identities.len >= a->identities_sweep)
        identities_sweep(a, false);
    struct interned *i = mem_new(struct interned);
    i->id = identity_ref(id);
    htab_insert(&a->identities, &i->node, id->hash);
    *ret = id;
    return RC_OK;
}

/* -- endpoints -- */

static void endpoints_set(struct apply *a, struct str key, struct str uid, struct workload *wl)
{
    struct proxy_state *st = &a->next;
    uint64_t hash = hash_str(key);
    struct endpoints *old = cowmap_find(&st->endpoints, hash, &key);
    struct endpoints *e = endpoints_edit(old, key, uid, wl);
    if (e)
        cowmap_set(&st->endpoints, hash, &key, e);
    else if (old)
        cowmap_del(&st->endpoints, hash, &key);
    endpoints_unref(e);
}

/* -- workloads -- */

static bool is_local(const struct apply *a, const struct workload *w)
{
    return a->node[0] && str_eqz(workload_text(w, WL_NODE), a->node);
}

/* Out of (set false) or into all indexes. */
static void workload_index(struct apply *a, struct workload *w, bool set)
{
    struct proxy_state *st = &a->next;
    struct str uid = workload_text(w, WL_UID), net = workload_text(w, WL_NETWORK);
    for (size_t i = 0; i < w->n_addrs && !w->host_network; i++) {
        struct ip_key k = {.network = net, .ip = &w->addrs[i], .name = uid};
        if (set)
            cowmap_set(&st->by_ip, key_ip(net, k.ip), &k, w);
        else
            cowmap_del(&st->by_ip, key_ip(net, k.ip), &k);
    }
    if (is_local(a, w)) {
        struct pair_key k = {workload_text(w, WL_NS), workload_text(w, WL_NAME), uid};
        if (set)
            cowmap_set(&st->local, key_pair(k.a, k.b), &k, w);
        else
            cowmap_del(&st->local, key_pair(k.a, k.b), &k);
    }
}

static bool keeps_service(const struct workload *w, struct str key)
{
    return w && workload_service(w, key);
}

static void workload_replace(struct apply *a, struct workload *old, struct workload *w)
{
    struct str uid = workload_text(w ? w : old, WL_UID);
    uint64_t hash = hash_str(uid);
    if (old) {
        workload_ref(old); /* the maps let go of it below */
        workload_index(a, old, false);
        for (size_t i = 0; i < old->n_services; i++)
            if (!keeps_service(w, old->services[i].key))
                endpoints_set(a, old->services[i].key, uid, NULL);
    }
    if (w) {
        cowmap_set(&a->next.workloads, hash, &uid, w);
        workload_index(a, w, true);
        for (size_t i = 0; i < w->n_services; i++)
            endpoints_set(a, w->services[i].key, uid, w);
    } else {
        cowmap_del(&a->next.workloads, hash, &uid);
    }
    if (a->on_local && ((old && is_local(a, old)) || (w && is_local(a, w))))
        a->on_local(a->on_local_owner, old && is_local(a, old) ? old : NULL,
                    w && is_local(a, w) ? w : NULL);
    workload_unref(old);
    a->next.generation++;
    a->changed = true;
}

/* -- services -- */

static bool is_prefix(const struct service_vip *v)
{
    return v->cidr.bits != addr_len(&v->cidr.base) * 8;
}

/* All prefixes but those of the service old, then those of s. */
static void cidr_vips_replace(struct proxy_state *st, const struct service *old, struct service *s)
{
    size_t n = 0, drop = 0;
    for (size_t i = 0; s && i < s->n_vips; i++)
        n += is_prefix(&s->vips[i]);
    for (size_t i = 0; old && i < old->n_vips; i++)
        drop += is_prefix(&old->vips[i]);
    if (n + drop == 0)
        return;
    size_t most = n + (st->cidr_vips ? st->cidr_vips->n : 0);
    struct cidr_vips *c = mem_zalloc(sizeof(*c) + most * sizeof(c->v[0]));
    ref_init(&c->ref);
    for (size_t i = 0; st->cidr_vips && i < st->cidr_vips->n; i++) {
        if (st->cidr_vips->v[i].service == old)
            continue;
        c->v[c->n] = st->cidr_vips->v[i];
        service_ref(c->v[c->n++].service);
    }
    for (size_t i = 0; s && i < s->n_vips; i++)
        if (is_prefix(&s->vips[i]))
            c->v[c->n++] = (struct cidr_vip){&s->vips[i], service_ref(s)};
    cidr_vips_unref(st->cidr_vips);
    st->cidr_vips = c;
}

static void service_index(struct apply *a, struct service *s, bool set)
{
    struct proxy_state *st = &a->next;
    for (size_t i = 0; i < s->n_vips; i++) {
        if (is_prefix(&s->vips[i]))
            continue;
        struct ip_key k = {s->vips[i].network, &s->vips[i].cidr.base, s->key};
        if (set)
            cowmap_set(&st->by_vip, key_ip(k.network, k.ip), &k, s);
        else
            cowmap_del(&st->by_vip, key_ip(k.network, k.ip), &k);
    }
    struct pair_key k = {.a = s->host, .own = s->key};
    if (set)
        cowmap_set(&st->by_host, hash_str(s->host), &k, s);
    else
        cowmap_del(&st->by_host, hash_str(s->host), &k);
}

static void service_replace(struct apply *a, struct service *old, struct service *s)
{
    struct str key = s ? s->key : old->key;
    uint64_t hash = hash_str(key);
    if (old) {
        service_ref(old);
        service_index(a, old, false);
    }
    cidr_vips_replace(&a->next, old, s);
    if (s) {
        cowmap_set(&a->next.services, hash, &key, s);
        service_index(a, s, true);
    } else {
        cowmap_del(&a->next.services, hash, &key);
    }
    service_unref(old);
    a->next.generation++;
    a->changed = true;
}

/* -- resources -- */

enum rc apply_address(struct apply *a, struct str name, struct str bytes, struct errmsg *ret_msg)
{
    struct arena mem AUTO_ARENA;
    ProtobufCMessage *m;
    arena_init(&mem, RESOURCE_ARENA);
    enum rc rc = pb_unpack(&istio__workload__address__descriptor, &mem, bytes, &m, ret_msg);
    if (rc != RC_OK) {
        errmsg_prefix(ret_msg, "%.*s", STR_ARG(name));
        return rc;
    }
    const Istio__Workload__Address *addr = (const void *)m;
    if (addr->type_case == ISTIO__WORKLOAD__ADDRESS__TYPE_WORKLOAD) {
        struct workload *w;
        rc = workload_decode(addr->workload, intern, a, &w, ret_msg);
        if (rc != RC_OK)
            return rc;
        workload_replace(a, state_workload(&a->next, workload_text(w, WL_UID)), w);
        workload_unref(w);
        return RC_OK;
    }
    if (addr->type_case == ISTIO__WORKLOAD__ADDRESS__TYPE_SERVICE) {
        struct service *s;
        rc = service_decode(addr->service, &s, ret_msg);
        if (rc != RC_OK)
            return rc;
        service_replace(a, state_service_by_key(&a->next, s->key), s);
        service_unref(s);
        return RC_OK;
    }
    errmsg_set(ret_msg, "%.*s: neither a workload nor a service", STR_ARG(name));
    return RC_INVALID;
}

void apply_remove_address(struct apply *a, struct str name)
{
    struct workload *w = state_workload(&a->next, name);
    struct service *s = w ? NULL : state_service_by_key(&a->next, name);
    if (w)
        workload_replace(a, w, NULL);
    else if (s)
        service_replace(a, s, NULL);
}

static void policy_replace(struct apply *a, struct policy *old, struct policy *p)
{
    struct proxy_state *st = &a->next;
    struct str key = p ? p->key : old->key;
    struct policy *both[2] = {old ? policy_ref(old) : NULL, p};
    for (int i = 0; i < 2; i++) {
        struct policy *x = both[i];
        if (!x || x->scope == POLICY_WORKLOAD)
            continue;
        struct pair_key k = {.a = x->scope == POLICY_GLOBAL ? (struct str){"", 0} : x->ns,
                             .own = x->key};
        if (i)
            cowmap_set(&st->by_scope, hash_str(k.a), &k, x);
        else
            cowmap_del(&st->by_scope, hash_str(k.a), &k);
    }
    if (p)
        cowmap_set(&st->policies, hash_str(key), &key, p);
    else
        cowmap_del(&st->policies, hash_str(key), &key);
    policy_unref(both[0]);
    st->policy_generation++;
    a->changed = true;
}

/* What was not understood refuses, from now on and instead of an earlier version: the policy says
 * something about these connections, and it is not known what. A dry run says nothing. */
static void policy_refuse(struct apply *a, struct str name, const Istio__Security__Authorization *m)
{
    struct str ns = str_split(name, '/', &name);
    enum policy_scope scope = POLICY_NAMESPACE; /* the least that an unknown scope may mean */
    if (m) {
        if (m->dry_run)
            return;
        ns = str_of(m->namespace_);
        name = str_of(m->name);
        if (m->scope == ISTIO__SECURITY__SCOPE__GLOBAL)
            scope = POLICY_GLOBAL;
        else if (m->scope == ISTIO__SECURITY__SCOPE__WORKLOAD_SELECTOR)
            scope = POLICY_WORKLOAD;
    }
    struct policy *p = policy_unknown(ns, name, scope);
    struct policy *old = state_policy(&a->next, p->key);
    if (m || !old) /* not even readable: then what was understood stays in force */
        policy_replace(a, old, p);
    policy_unref(p);
}

enum rc apply_authorization(struct apply *a, struct str name, struct str bytes,
                            struct errmsg *ret_msg)
{
    struct arena mem AUTO_ARENA;
    ProtobufCMessage *m = NULL;
    struct policy *p;
    bool unknown = false;
    arena_init(&mem, RESOURCE_ARENA);
    const ProtobufCMessageDescriptor *d = &istio__security__authorization__descriptor;
    enum rc rc = pb_check(d, bytes, PB_FIELDS_MAX, &unknown, ret_msg);
    if (rc == RC_OK)
        rc = pb_unpack(d, &mem, bytes, &m, ret_msg);
    if (rc == RC_OK && unknown) {
        errmsg_set(ret_msg,
                   "a field or value that this version does not know: ignoring it could widen "
                   "the policy");
        rc = RC_INVALID;
    }
    if (rc != RC_OK)
        errmsg_prefix(ret_msg, "policy %.*s", STR_ARG(name));
    else
        rc = policy_decode((const void *)m, &p, ret_msg);
    if (rc != RC_OK) {
        policy_refuse(a, name, (const void *)m);
        return rc;
    }
    policy_replace(a, state_policy(&a->next, p->key), p);
    policy_unref(p);
    return RC_OK;
}

void apply_remove_authorization(struct apply *a, struct str name)
{
    struct policy *p = state_policy(&a->next, name);
    if (p)
        policy_replace(a, p, NULL);
}

void apply_cert(struct apply *a, struct identity *id, struct mtls_ctx *ctx)
{
    a->changed = true;
    if (!ctx) {
        cowmap_del(&a->next.certs, id->hash, id);
        return;
    }
    struct state_cert_entry *e = mem_new(struct state_cert_entry);
    ref_init(&e->ref);
    e->id = identity_ref(id);
    e->ctx = mtls_ctx_ref(ctx);
    cowmap_set(&a->next.certs, id->hash, id, e);
    ops_certs.unref(e);
}

/* -- snapshots -- */

static void maps_fini(struct proxy_state *st)
{
    cowmap_fini(&st->workloads);
    cowmap_fini(&st->by_ip);
    cowmap_fini(&st->local);
    cowmap_fini(&st->services);
    cowmap_fini(&st->by_vip);
    cowmap_fini(&st->by_host);
    cowmap_fini(&st->endpoints);
    cowmap_fini(&st->policies);
    cowmap_fini(&st->by_scope);
    cowmap_fini(&st->certs);
    cidr_vips_unref(st->cidr_vips);
    st->cidr_vips = NULL;
}

static void state_free(struct snapshot *s)
{
    struct proxy_state *st = container_of(s, struct proxy_state, base);
    maps_fini(st);
    free(st);
}

bool apply_changed(const struct apply *a)
{
    return a->changed;
}

struct proxy_state *apply_commit(struct apply *a)
{
    struct proxy_state *st = mem_new(struct proxy_state);
    const struct proxy_state *n = &a->next;
    snapshot_init(&st->base, state_free);
    st->generation = n->generation;
    st->policy_generation = n->policy_generation;
    cowmap_copy(&st->workloads, &n->workloads);
    cowmap_copy(&st->by_ip, &n->by_ip);
    cowmap_copy(&st->local, &n->local);
    cowmap_copy(&st->services, &n->services);
    cowmap_copy(&st->by_vip, &n->by_vip);
    cowmap_copy(&st->by_host, &n->by_host);
    cowmap_copy(&st->endpoints, &n->endpoints);
    cowmap_copy(&st->policies, &n->policies);
    cowmap_copy(&st->by_scope, &n->by_scope);
    cowmap_copy(&st->certs, &n->certs);
    st->cidr_vips = n->cidr_vips;
    if (st->cidr_vips)
        ref_get(&st->cidr_vips->ref);
    a->changed = false;
    return st;
}

const struct proxy_state *apply_look(const struct apply *a)
{
    return &a->next;
}

void apply_on_local(struct apply *a, apply_local_fn *fn, void *owner)
{
    a->on_local = fn;
    a->on_local_owner = owner;
}

struct apply *apply_new(struct str node)
{
    struct apply *a = mem_new(struct apply);
    a->node = str_dup(node);
    a->identities_sweep = 1024;
    htab_init(&a->identities);
    state_init_maps(&a->next);
    return a;
}

void apply_free(struct apply *a)
{
    if (!a)
        return;
    maps_fini(&a->next);
    identities_sweep(a, true);
    htab_fini(&a->identities);
    free(a->node);
    free(a);
}
