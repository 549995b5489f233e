/* What has to be translated anew when an object changes: that which was read to translate it. */
#include "control/model/model_priv.h"

#define TRAFFIC_ANNOTATION "networking.istio.io/traffic-distribution"

void model_touch(struct model *m, struct mobject *o)
{
    if (!list_linked(&o->touched))
        list_push_back(&m->touched, &o->touched);
}

static void touch_fn(void *arg, const struct mobject *o)
{
    model_touch(arg, (struct mobject *)(uintptr_t)o); /* the model's own object */
}

static void touch_bucket(struct model *m, const struct mcluster *c, const struct mbucket *b)
{
    MBUCKET_FOREACH(e, b)
    if (!c || e->object->cluster == c)
        model_touch(m, e->object);
}

static const struct mbucket *by_ns(const struct model *m, enum mix ix, struct str ns)
{
    struct mkey k = mkey1(ns);
    return mindex_find(&m->ix[ix], &k);
}

/* -- Services and their slices -- */

static bool same_ports(const struct kservice *a, const struct kservice *b)
{
    if (a->ports.n != b->ports.n)
        return false;
    for (uint32_t i = 0; i < a->ports.n; i++) {
        const struct kservice_port *p = &a->ports.v[i], *q = &b->ports.v[i];
        if (p->port != q->port || p->protocol != q->protocol || !str_eq(p->name, q->name) ||
            p->target.port != q->target.port || !str_eq(p->target.name, q->target.name))
            return false;
    }
    return true;
}

static void touch_targets(struct model *m, const struct mcluster *c,
                          const struct kendpoint_slice *s)
{
    for (uint32_t i = 0; i < s->endpoints.n; i++) {
        const struct kobject_ref *t = s->endpoints.v[i].target;
        struct mobject *pod =
            t && str_eqz(t->kind, "Pod") ? model_object(m, c, KOBJ_POD, t->ns, t->name) : NULL;
        if (pod)
            model_touch(m, pod);
    }
}

static void of_service(struct model *m, const struct mcluster *c, const struct kservice *before,
                       const struct kservice *after)
{
    const struct kservice *any = after ? after : before;
    struct str ns = any->obj.meta.ns;
    if (before && after && before->type == after->type && same_ports(before, after) &&
        kmap_eq(&before->selector, &after->selector))
        return; /* nothing that an endpoint is told */
    if (before)
        model_each_selected(m, c, ns, &before->selector, touch_fn, m);
    if (after)
        model_each_selected(m, c, ns, &after->selector, touch_fn, m);
    struct mkey k = mkey2(ns, any->obj.meta.name);
    const struct mbucket *b = mindex_find(&m->ix[IX_SLICE_SERVICE], &k);
    MBUCKET_FOREACH(e, b)
    {
        if (e->object->cluster != c)
            continue;
        model_touch(m, e->object);
        touch_targets(m, c, kobj_endpoint_slice(e->object->obj));
    }
}

/* -- policies -- */

static void of_selector(struct model *m, struct str ns, const struct kselector *s)
{
    bool all = str_eqz(ns, m->root_ns);
    if (s)
        model_each_selected(m, NULL, all ? (struct str){NULL, 0} : ns, &s->labels, touch_fn, m);
}

static bool same_selector(const struct kselector *a, const struct kselector *b)
{
    return a && b ? kmap_eq(&a->labels, &b->labels) : a == b;
}

/* A workload names the policies that select it, not what they say. */
static void of_authz(struct model *m, const struct kauthz *before, const struct kauthz *after)
{
    bool was = before && model_authz_is_listed(before), is = after && model_authz_is_listed(after);
    if (was == is && (!is || same_selector(before->selector, after->selector)))
        return;
    if (was)
        of_selector(m, before->obj.meta.ns, before->selector);
    if (is)
        of_selector(m, after->obj.meta.ns, after->selector);
}

static void of_peer_auth(struct model *m, const struct kpeer_auth *p)
{
    struct str ns = p->obj.meta.ns;
    bool root = str_eqz(ns, m->root_ns), selects = p->selector && p->selector->labels.n;
    if (selects && !root)
        model_each_selected(m, NULL, ns, &p->selector->labels, touch_fn, m);
    if (selects)
        return;
    if (root) {
        model_each(m, KOBJ_POD, touch_fn, m);
        model_each(m, KOBJ_PEER_AUTHENTICATION, touch_fn, m);
        return;
    }
    touch_bucket(m, NULL, by_ns(m, IX_POD_NS, ns));
    touch_bucket(m, NULL, by_ns(m, IX_PEER_NS, ns));
}

/* -- places -- */

static bool same_value(const struct kmap *a, const struct kmap *b, const char *key)
{
    return str_eq(kmap_get(a, key), kmap_get(b, key));
}

static void of_namespace(struct model *m, const struct mcluster *c, const struct kobj *before,
                         const struct kobj *after)
{
    static const struct kmap none = {0};
    const struct kmeta *any = after ? &after->meta : &before->meta;
    const struct kmap *was = before ? &before->meta.annotations : &none;
    const struct kmap *is = after ? &after->meta.annotations : &none;
    if (!same_value(was, is, TRAFFIC_ANNOTATION))
        touch_bucket(m, c, by_ns(m, IX_SERVICE_NS, any->name));
    was = before ? &before->meta.labels : &none;
    is = after ? &after->meta.labels : &none;
    if (!str_eqz(any->name, m->system_ns) || same_value(was, is, MODEL_NETWORK_LABEL))
        return;
    static const enum kobj_kind kinds[] = {KOBJ_POD, KOBJ_SERVICE, KOBJ_ENDPOINT_SLICE};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        model_each(m, kinds[i], touch_fn, m);
}

void model_touch_dependents(struct model *m, const struct mcluster *c, const struct kobj *before,
                            const struct kobj *after)
{
    const struct kobj *any = after ? after : before;
    switch ((enum kobj_kind)any->kind) {
    case KOBJ_NAMESPACE: of_namespace(m, c, before, after); break;
    case KOBJ_NODE:      touch_bucket(m, c, by_ns(m, IX_POD_NODE, any->meta.name)); break;
    case KOBJ_SERVICE:
        of_service(m, c, before ? kobj_service(before) : NULL, after ? kobj_service(after) : NULL);
        break;
    case KOBJ_ENDPOINT_SLICE:
        if (before)
            touch_targets(m, c, kobj_endpoint_slice(before));
        if (after)
            touch_targets(m, c, kobj_endpoint_slice(after));
        break;
    case KOBJ_AUTHORIZATION_POLICY:
        of_authz(m, before ? kobj_authz(before) : NULL, after ? kobj_authz(after) : NULL);
        break;
    case KOBJ_PEER_AUTHENTICATION:
        if (before)
            of_peer_auth(m, kobj_peer_auth(before));
        if (after)
            of_peer_auth(m, kobj_peer_auth(after));
        break;
    default: break;
    }
}
