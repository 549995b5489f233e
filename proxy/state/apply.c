#include "proxy/state/apply.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/arena.h"
#include "lib/base/hash.h"
#include "lib/base/mem.h"
#include "lib/codec/pb.h"
#include "proxy/state/keys.h"

#define RESOURCE_ARENA (64u << 20) /* one decoded resource */

struct apply {
    struct proxy_state next; /* under construction */
    uint64_t edition;        /* of what next has that no snapshot has */
    struct intern *in;
    char *node;         /* "": all workloads are of this node */
    struct place *home; /* counted; where the workloads of this node are; NULL: none, or anywhere */
    bool changed, local_changed;
    apply_local_fn *on_local;
    void *on_local_owner;
};

/* -- endpoints -- */

static const struct balance_policy no_preference;

static void endpoints_set(struct apply *a, struct endpoints *e) /* takes e */
{
    cowmap_set(&a->next.endpoints, atom_hash(e->key), e->key, e);
    endpoints_unref(e);
}

/* Those of a service, to be changed: copied once between two commits. Made when there are none, also
 * for a service that is not known yet: they wait for it. */
static struct endpoints *endpoints_edit(struct apply *a, struct atom *key)
{
    struct endpoints *e = cowmap_find(&a->next.endpoints, atom_hash(key), key);
    if (e && e->edition == a->edition)
        return e;
    if (e) {
        e = endpoints_copy(e, a->edition);
    } else {
        const struct service *s = state_service_by_key(&a->next, atom_str(key));
        e = endpoints_new(key, s ? &s->balance : &no_preference, a->home, a->edition);
    }
    endpoints_set(a, e);
    return e;
}

static void endpoints_leave(struct apply *a, struct atom *key, const struct workload *w)
{
    struct endpoints *e = endpoints_edit(a, key);
    endpoints_del(e, w);
    if (e->n == 0)
        cowmap_del(&a->next.endpoints, atom_hash(key), key);
}

/* The endpoints of all services that w or old name. */
static void endpoints_replace(struct apply *a, const struct workload *old, struct workload *w)
{
    const struct wl_service *had = old ? workload_services(old) : NULL;
    const struct wl_service *has = w ? workload_services(w) : NULL;
    for (size_t i = 0; old && i < old->t->n_services; i++)
        if (!w || !workload_service(w, atom_str(had[i].key)))
            endpoints_leave(a, had[i].key, old);
    for (size_t i = 0; w && i < w->t->n_services; i++) {
        struct endpoints *e = endpoints_edit(a, has[i].key);
        if (old && workload_service(old, atom_str(has[i].key)))
            endpoints_swap(e, old, w);
        else
            endpoints_add(e, w);
    }
}

static void endpoints_rearrange(struct apply *a, const struct endpoints *e,
                                const struct balance_policy *b)
{
    if (!endpoints_fits(e, b, a->home))
        endpoints_set(a, endpoints_arrange(e, b, a->home, a->edition));
}

struct endpoints_list {
    struct endpoints **e;
    size_t n;
};

static bool endpoints_collect(void *value, void *arg)
{
    struct endpoints_list *l = arg;
    l->e[l->n++] = endpoints_ref(value);
    return true;
}

/* The place of this node's pods changed: all endpoints are arranged anew. */
static void home_set(struct apply *a, struct place *home)
{
    struct endpoints_list l = {
        .e = mem_calloc(a->next.endpoints.len + 1, sizeof(struct endpoints *))};
    place_unref(a->home);
    a->home = home ? place_ref(home) : NULL;
    cowmap_each(&a->next.endpoints, endpoints_collect, &l);
    for (size_t i = 0; i < l.n; i++) {
        endpoints_rearrange(a, l.e[i], &l.e[i]->balance);
        endpoints_unref(l.e[i]);
    }
    free(l.e);
}

struct home_look {
    struct place *home, *other;
    bool still; /* some pod is at home */
};

static bool home_look(void *value, void *arg)
{
    struct home_look *l = arg;
    struct place *p = ((struct workload *)value)->place;
    l->still = l->still || p == l->home;
    l->other = p;
    return !l->still;
}

static void home_settle(struct apply *a)
{
    struct home_look l = {.home = a->home};
    if (!a->local_changed || !a->node[0])
        return;
    a->local_changed = false;
    cowmap_each(&a->next.local, home_look, &l);
    if (!l.still && l.other != a->home)
        home_set(a, l.other);
}

/* -- workloads -- */

static bool is_local(const struct apply *a, const struct workload *w)
{
    return w && (!a->node[0] || str_eqz(workload_text(w, WL_NODE), a->node));
}

/* Out of (set false) or into all indexes. */
static void workload_index(struct apply *a, struct workload *w, bool set)
{
    struct proxy_state *st = &a->next;
    struct str uid = workload_text(w, WL_UID), net = workload_text(w, WL_NETWORK);
    const struct addr *addr = workload_addrs(w);
    for (size_t i = 0; i < w->n_addrs && !w->t->host_network; i++) {
        struct ip_key k = {.network = net, .ip = &addr[i], .name = uid};
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

static void workload_replace(struct apply *a, struct workload *old, struct workload *w)
{
    struct str uid = workload_text(w ? w : old, WL_UID);
    uint64_t hash = hash_str(uid);
    bool was_local = is_local(a, old), local = is_local(a, w);
    if (old)
        workload_index(a, workload_ref(old), false); /* the maps let go of it below */
    endpoints_replace(a, old, w);
    if (w) {
        cowmap_set(&a->next.workloads, hash, &uid, w);
        workload_index(a, w, true);
    } else {
        cowmap_del(&a->next.workloads, hash, &uid);
    }
    if (was_local || local) {
        a->local_changed = true;
        if (a->on_local)
            a->on_local(a->on_local_owner, was_local ? old : NULL, local ? w : NULL);
    }
    workload_unref(old);
    a->next.generation++;
    a->changed = true;
}

/* -- services -- */

/* All prefixes but those of the service old, then those of s. */
static void cidr_vips_replace(struct proxy_state *st, const struct service *old, struct service *s)
{
    size_t n = 0, drop = 0;
    for (size_t i = 0; s && i < s->n_vips; i++)
        n += service_vip_is_prefix(&s->vips[i]);
    for (size_t i = 0; old && i < old->n_vips; i++)
        drop += service_vip_is_prefix(&old->vips[i]);
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
        if (service_vip_is_prefix(&s->vips[i]))
            c->v[c->n++] = (struct cidr_vip){&s->vips[i], service_ref(s)};
    cidr_vips_unref(st->cidr_vips);
    st->cidr_vips = c;
}

static void service_index(struct apply *a, struct service *s, bool set)
{
    struct proxy_state *st = &a->next;
    for (size_t i = 0; i < s->n_vips; i++) {
        if (service_vip_is_prefix(&s->vips[i]))
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
    if (old)
        service_index(a, service_ref(old), false);
    cidr_vips_replace(&a->next, old, s);
    if (s) {
        const struct endpoints *e = cowmap_find(&a->next.endpoints, hash, s->atom);
        cowmap_set(&a->next.services, hash, &key, s);
        service_index(a, s, true);
        if (e)
            endpoints_rearrange(a, e, &s->balance);
    } else {
        cowmap_del(&a->next.services, hash, &key);
    }
    service_unref(old);
    a->next.generation++;
    a->changed = true;
}

/* -- resources -- */

/* A control plane that starts again sends everything again, most of it unchanged. */
static bool unchanged(const struct apply *a, struct str name, uint64_t digest)
{
    const struct workload *w = state_workload(&a->next, name);
    if (w)
        return w->digest == digest;
    const struct service *s = state_service_by_key(&a->next, name);
    return s && s->digest == digest;
}

enum rc apply_address(struct apply *a, struct str name, struct str bytes, struct errmsg *ret_msg)
{
    struct arena mem AUTO_ARENA;
    ProtobufCMessage *m;
    uint64_t digest = hash_str(bytes);
    arena_init(&mem, RESOURCE_ARENA);
    if (unchanged(a, name, digest))
        return RC_OK;
    enum rc rc = pb_unpack(&istio__workload__address__descriptor, &mem, bytes, &m, ret_msg);
    if (rc != RC_OK) {
        errmsg_prefix(ret_msg, "%.*s", STR_ARG(name));
        return rc;
    }
    const Istio__Workload__Address *addr = (const void *)m;
    if (addr->type_case == ISTIO__WORKLOAD__ADDRESS__TYPE_WORKLOAD) {
        struct workload *w;
        rc = workload_decode(addr->workload, a->in, &w, ret_msg);
        if (rc != RC_OK)
            return rc;
        w->digest = digest;
        workload_replace(a, state_workload(&a->next, workload_text(w, WL_UID)), w);
        workload_unref(w);
        return RC_OK;
    }
    if (addr->type_case == ISTIO__WORKLOAD__ADDRESS__TYPE_SERVICE) {
        struct service *s;
        rc = service_decode(addr->service, a->in, &s, ret_msg);
        if (rc != RC_OK)
            return rc;
        s->digest = digest;
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
    struct policy *p = state_policy(&a->next, name);
    uint64_t digest = hash_str(bytes);
    bool unknown = false;
    arena_init(&mem, RESOURCE_ARENA);
    if (p && p->digest == digest)
        return RC_OK;
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
    p->digest = digest;
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
    home_settle(a);
    intern_tidy(a->in);
    a->edition++;
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
    a->in = intern_new();
    state_init_maps(&a->next);
    return a;
}

void apply_free(struct apply *a)
{
    if (!a)
        return;
    maps_fini(&a->next);
    place_unref(a->home);
    intern_free(a->in);
    free(a->node);
    free(a);
}
