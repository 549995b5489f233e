/* Under which keys an object is filed, and the questions that the indices answer. */
#include <string.h>

#include "control/model/model_priv.h"

static struct str addr_bytes(const struct addr *a)
{
    return (struct str){(const char *)a->ip, addr_len(a)};
}

struct str model_slice_service(const struct kendpoint_slice *s)
{
    struct str v = kmap_get(&s->obj.meta.labels, "kubernetes.io/service-name");
    return v.p ? v : STR("");
}

/* -- filing -- */

struct filing {
    struct model *m;
    struct mobject *o;
    uint32_t n;
    bool count_only;
};

static void file(struct filing *f, enum mix ix, const struct mkey *k)
{
    if (!f->count_only)
        mindex_add(&f->m->ix[ix], k, &f->o->entries[f->n], f->o);
    f->n++;
}

static void file1(struct filing *f, enum mix ix, struct str a)
{
    struct mkey k = mkey1(a);
    file(f, ix, &k);
}

static void file_pod(struct filing *f, const struct kpod *p)
{
    const struct kmeta *meta = &p->obj.meta;
    file1(f, IX_POD_NS, meta->ns);
    if (p->node_name.n)
        file1(f, IX_POD_NODE, p->node_name);
    for (uint32_t i = 0; i < p->ips.n; i++)
        file1(f, IX_POD_ADDR, addr_bytes(&p->ips.v[i]));
    for (uint32_t i = 0; i < meta->labels.n; i++) {
        struct mkey k = mkey3(meta->ns, meta->labels.v[i].key, meta->labels.v[i].value);
        file(f, IX_POD_LABEL, &k);
    }
}

static void file_selector(struct filing *f, enum mix ix, struct str ns, const struct kmap *selector)
{
    if (selector->n == 0)
        return;
    struct mkey k = mkey3(ns, selector->v[0].key, selector->v[0].value);
    file(f, ix, &k);
}

static void file_service(struct filing *f, const struct kservice *s)
{
    file1(f, IX_SERVICE_NS, s->obj.meta.ns);
    file_selector(f, IX_SERVICE_SELECTOR, s->obj.meta.ns, &s->selector);
    for (uint32_t i = 0; i < s->cluster_ips.n; i++)
        file1(f, IX_SERVICE_ADDR, addr_bytes(&s->cluster_ips.v[i]));
}

static void file_slice(struct filing *f, const struct kendpoint_slice *s)
{
    struct mkey k = mkey2(s->obj.meta.ns, model_slice_service(s));
    file(f, IX_SLICE_SERVICE, &k);
    for (uint32_t i = 0; i < s->endpoints.n; i++) {
        const struct kobject_ref *t = s->endpoints.v[i].target;
        if (!t || !str_eqz(t->kind, "Pod") || t->name.n > 253 || t->ns.n > 63)
            continue;
        struct mkey target = mkey2(t->ns, t->name);
        file(f, IX_SLICE_TARGET, &target);
    }
}

static void file_object(struct filing *f)
{
    const struct kobj *obj = f->o->obj;
    const struct kselector *selector;
    file1(f, IX_KIND, str_of(kobj_kind_name(obj->kind)));
    switch ((enum kobj_kind)obj->kind) {
    case KOBJ_POD:            file_pod(f, kobj_pod(obj)); break;
    case KOBJ_SERVICE:        file_service(f, kobj_service(obj)); break;
    case KOBJ_ENDPOINT_SLICE: file_slice(f, kobj_endpoint_slice(obj)); break;
    case KOBJ_AUTHORIZATION_POLICY:
        selector = kobj_authz(obj)->selector;
        if (selector)
            file_selector(f, IX_AUTHZ_SELECTOR, obj->meta.ns, &selector->labels);
        break;
    case KOBJ_PEER_AUTHENTICATION: file1(f, IX_PEER_NS, obj->meta.ns); break;
    default:                       break;
    }
}

void model_unindex(struct mobject *o)
{
    for (uint32_t i = 0; i < o->n_entries; i++)
        mindex_del(&o->entries[i]);
    mem_free(TAKE(o->entries));
    o->n_entries = 0;
}

void model_index(struct model *m, struct mobject *o)
{
    struct filing count = {.m = m, .o = o, .count_only = true}, f = {.m = m, .o = o};
    model_unindex(o);
    file_object(&count);
    o->entries = mem_calloc(count.n, sizeof(*o->entries));
    o->n_entries = count.n;
    file_object(&f);
}

/* -- questions -- */

static const struct mbucket *bucket1(const struct model *m, enum mix ix, struct str a)
{
    struct mkey k = mkey1(a);
    return mindex_find(&m->ix[ix], &k);
}

static const struct mbucket *bucket_pair(const struct model *m, enum mix ix, struct str ns,
                                         const struct kpair *p)
{
    struct mkey k = mkey3(ns, p->key, p->value);
    return mindex_find(&m->ix[ix], &k);
}

size_t model_count(const struct model *m, enum kobj_kind kind)
{
    const struct mbucket *b = bucket1(m, IX_KIND, str_of(kobj_kind_name(kind)));
    return b ? b->n : 0;
}

void model_each(const struct model *m, enum kobj_kind kind, model_fn *fn, void *arg)
{
    const struct mbucket *b = bucket1(m, IX_KIND, str_of(kobj_kind_name(kind)));
    MBUCKET_FOREACH(e, b)
    fn(arg, e->object);
}

static void selected_in(const struct model *m, const struct mcluster *c, struct str ns,
                        const struct kmap *selector, model_fn *fn, void *arg)
{
    const struct mbucket *least = NULL; /* the pair that the fewest pods have */
    for (uint32_t i = 0; i < selector->n; i++) {
        const struct mbucket *b = bucket_pair(m, IX_POD_LABEL, ns, &selector->v[i]);
        if (!b)
            return;
        if (!least || b->n < least->n)
            least = b;
    }
    MBUCKET_FOREACH(e, least)
    if ((!c || e->object->cluster == c) && kmap_includes(&e->object->obj->meta.labels, selector))
        fn(arg, e->object);
}

void model_each_selected(const struct model *m, const struct mcluster *c, struct str ns,
                         const struct kmap *selector, model_fn *fn, void *arg)
{
    if (ns.p) {
        selected_in(m, c, ns, selector, fn, arg);
        return;
    }
    struct htab_iter it;
    HTAB_FOREACH (h, &m->ix[IX_POD_NS].buckets, &it) {
        const struct mbucket *b = container_of(h, struct mbucket, by_key);
        selected_in(m, c, str_of(b->key), selector, fn, arg);
    }
}

/* Does an endpoint of the slice name this very pod? */
static bool slice_names(const struct kendpoint_slice *s, const struct kmeta *pod)
{
    for (uint32_t i = 0; i < s->endpoints.n; i++) {
        const struct kobject_ref *t = s->endpoints.v[i].target;
        if (t && str_eqz(t->kind, "Pod") && str_eq(t->name, pod->name) && str_eq(t->ns, pod->ns) &&
            str_eq(t->uid, pod->uid))
            return true;
    }
    return false;
}

/* Has an earlier entry of the bucket already brought this service? */
static bool service_seen(const struct mbucket *b, const struct mentry *until, struct str service,
                         const struct mobject *pod)
{
    MBUCKET_FOREACH(e, b)
    {
        if (e == until)
            return false;
        const struct kendpoint_slice *s = kobj_endpoint_slice(e->object->obj);
        if (e->object->cluster == pod->cluster && str_eq(model_slice_service(s), service) &&
            slice_names(s, &pod->obj->meta))
            return true;
    }
    return false;
}

static void services_by_slice(const struct model *m, const struct mobject *pod, model_fn *fn,
                              void *arg)
{
    struct mkey k = mkey2(mobject_ns(pod), pod->obj->meta.name);
    const struct mbucket *b = mindex_find(&m->ix[IX_SLICE_TARGET], &k);
    MBUCKET_FOREACH(e, b)
    {
        const struct kendpoint_slice *s = kobj_endpoint_slice(e->object->obj);
        struct str service = model_slice_service(s);
        if (e->object->cluster != pod->cluster || !str_eq(s->obj.meta.ns, mobject_ns(pod)) ||
            !slice_names(s, &pod->obj->meta) || service_seen(b, e, service, pod))
            continue;
        const struct mobject *o =
            model_object(m, pod->cluster, KOBJ_SERVICE, s->obj.meta.ns, service);
        if (o && kobj_service(o->obj)->selector.n == 0)
            fn(arg, o);
    }
}

void model_services_of_pod(const struct model *m, const struct mobject *pod, model_fn *fn,
                           void *arg)
{
    const struct kmap *labels = &pod->obj->meta.labels;
    for (uint32_t i = 0; i < labels->n; i++) {
        const struct mbucket *b =
            bucket_pair(m, IX_SERVICE_SELECTOR, mobject_ns(pod), &labels->v[i]);
        MBUCKET_FOREACH(e, b)
        if (e->object->cluster == pod->cluster &&
            kmap_includes(labels, &kobj_service(e->object->obj)->selector))
            fn(arg, e->object);
    }
    services_by_slice(m, pod, fn, arg);
}

void model_pods_of_service(const struct model *m, const struct mobject *service, model_fn *fn,
                           void *arg)
{
    model_each_selected(m, service->cluster, mobject_ns(service),
                        &kobj_service(service->obj)->selector, fn, arg);
}

static void policies_in(const struct model *m, struct str ns, const struct kmap *labels,
                        model_fn *fn, void *arg)
{
    for (uint32_t i = 0; i < labels->n; i++) {
        const struct mbucket *b = bucket_pair(m, IX_AUTHZ_SELECTOR, ns, &labels->v[i]);
        MBUCKET_FOREACH(e, b)
        if (model_authz_is_listed(kobj_authz(e->object->obj)) &&
            kmap_includes(labels, &kobj_authz(e->object->obj)->selector->labels))
            fn(arg, e->object);
    }
}

void model_policies_of_pod(const struct model *m, const struct mobject *pod, model_fn *fn,
                           void *arg)
{
    const struct kmap *labels = &pod->obj->meta.labels;
    policies_in(m, mobject_ns(pod), labels, fn, arg);
    if (!str_eqz(mobject_ns(pod), m->root_ns))
        policies_in(m, str_of(m->root_ns), labels, fn, arg);
}

struct str model_network(const struct model *m, const struct mcluster *c)
{
    const struct kobj *ns = model_find(m, c, KOBJ_NAMESPACE, STR(""), str_of(m->system_ns));
    struct str v = ns ? kmap_get(&ns->meta.labels, MODEL_NETWORK_LABEL) : STR("");
    return v.p ? v : STR("");
}

/* The older one wins; of the same age, the first by name. */
static const struct kpeer_auth *older(const struct kpeer_auth *a, const struct kpeer_auth *b)
{
    if (!a)
        return b;
    if (a->obj.meta.created_s != b->obj.meta.created_s)
        return a->obj.meta.created_s < b->obj.meta.created_s ? a : b;
    return str_cmp(a->obj.meta.name, b->obj.meta.name) <= 0 ? a : b;
}

static bool selects(const struct kpeer_auth *p)
{
    return p->selector && p->selector->labels.n;
}

static const struct kpeer_auth *oldest(const struct model *m, struct str ns, bool workload,
                                       const struct kmap *labels)
{
    const struct kpeer_auth *best = NULL;
    const struct mbucket *b = bucket1(m, IX_PEER_NS, ns);
    MBUCKET_FOREACH(e, b)
    {
        const struct kpeer_auth *p = kobj_peer_auth(e->object->obj);
        if (selects(p) != workload || (workload && !kmap_includes(labels, &p->selector->labels)))
            continue;
        best = older(best, p);
    }
    return best;
}

struct model_mtls model_mtls(const struct model *m, struct str ns, const struct kmap *labels)
{
    struct model_mtls r = {.mesh = oldest(m, str_of(m->root_ns), false, NULL)};
    if (str_eqz(ns, m->root_ns))
        return r;
    r.ns = oldest(m, ns, false, NULL);
    r.workload = labels ? oldest(m, ns, true, labels) : NULL;
    return r;
}

bool model_has_mtls(const struct model *m)
{
    return m->ix[IX_PEER_NS].buckets.len > 0;
}

bool model_node_runs(const struct model *m, struct str node, struct str ns, struct str sa)
{
    if (node.n == 0 || node.n > 253)
        return false;
    const struct mbucket *b = bucket1(m, IX_POD_NODE, node);
    MBUCKET_FOREACH(e, b)
    {
        const struct kpod *p = kobj_pod(e->object->obj);
        if (p->phase != KPOD_FAILED && str_eq(p->obj.meta.ns, ns) && str_eq(p->service_account, sa))
            return true;
    }
    return false;
}

void model_by_addr(const struct model *m, const struct addr *a, model_fn *fn, void *arg)
{
    const struct mbucket *pods = bucket1(m, IX_POD_ADDR, addr_bytes(a));
    MBUCKET_FOREACH(e, pods)
    fn(arg, e->object);
    const struct mbucket *services = bucket1(m, IX_SERVICE_ADDR, addr_bytes(a));
    MBUCKET_FOREACH(e, services)
    fn(arg, e->object);
}

void model_each_node(const struct model *m, void (*fn)(void *arg, struct str node), void *arg)
{
    const struct mbucket *b = bucket1(m, IX_KIND, str_of(kobj_kind_name(KOBJ_NODE)));
    struct htab_iter it;
    MBUCKET_FOREACH(e, b)
    fn(arg, e->object->obj->meta.name);
    HTAB_FOREACH (h, &m->ix[IX_POD_NODE].buckets, &it)
        fn(arg, str_of(container_of(h, struct mbucket, by_key)->key));
}

uint64_t model_roster(const struct model *m)
{
    return m->roster + m->ix[IX_POD_NODE].shape;
}
