#include "control/model/model.h"

#include "control/model/model_priv.h"
#include "lib/base/hash.h"
#include "lib/base/must.h"

/* -- objects by name -- */

struct name_key {
    const struct mcluster *cluster;
    enum kobj_kind kind;
    struct str ns, name;
};

static uint64_t name_hash(const struct name_key *k)
{
    return hash_mix(hash_mix(hash_str(k->name), hash_str(k->ns)),
                    (uint64_t)(uintptr_t)k->cluster + k->kind);
}

static bool name_eq(const struct hnode *n, const void *key)
{
    const struct mobject *o = container_of(n, struct mobject, by_name);
    const struct name_key *k = key;
    return o->cluster == k->cluster && o->obj->kind == k->kind &&
           str_eq(o->obj->meta.name, k->name) && str_eq(o->obj->meta.ns, k->ns);
}

static struct mobject *find(const struct model *m, const struct name_key *k)
{
    struct hnode *h = htab_find(&m->objects, name_hash(k), name_eq, k);
    return h ? container_of(h, struct mobject, by_name) : NULL;
}

static struct name_key key_of(const struct mcluster *c, const struct kobj *o)
{
    return (struct name_key){c, o->kind, o->meta.ns, o->meta.name};
}

struct mobject *model_object(const struct model *m, const struct mcluster *c, enum kobj_kind kind,
                             struct str ns, struct str name)
{
    struct name_key k = {c, kind, ns, name};
    struct mobject *o = find(m, &k);
    return o && !o->gone ? o : NULL;
}

const struct kobj *model_find(const struct model *m, const struct mcluster *c, enum kobj_kind kind,
                              struct str ns, struct str name)
{
    const struct mobject *o = model_object(m, c, kind, ns, name);
    return o ? o->obj : NULL;
}

static void free_object(struct model *m, struct mobject *o)
{
    htab_del(&m->objects, &o->by_name);
    list_del(&o->touched);
    model_unindex(o);
    kobj_unref(o->obj);
    mem_free(o);
}

/* -- what sources tell -- */

static bool is_roster(const struct kobj *o)
{
    return o->kind == KOBJ_NODE || o->kind == KOBJ_SERVICE_ACCOUNT;
}

static void on_set(void *owner, struct kobj *obj)
{
    struct mcluster *c = owner;
    struct model *m = c->model;
    struct name_key k = key_of(c, obj);
    struct mobject *o = find(m, &k);
    struct kobj *before AUTO(kobj_unref) = NULL;
    bool was_there = o && !o->gone;
    if (!o) {
        o = mem_new(struct mobject);
        list_init(&o->touched);
        o->cluster = c;
        o->obj = kobj_ref(obj);
        htab_insert(&m->objects, &o->by_name, name_hash(&k));
    } else {
        before = o->obj;
        o->obj = kobj_ref(obj);
        o->gone = false;
    }
    model_index(m, o);
    m->generation++;
    m->roster += !was_there && is_roster(obj);
    model_touch(m, o);
    model_touch_dependents(m, c, was_there ? before : NULL, obj);
}

static void on_remove(void *owner, const struct kobj *obj)
{
    struct mcluster *c = owner;
    struct model *m = c->model;
    struct name_key k = key_of(c, obj);
    struct mobject *o = find(m, &k);
    if (!o || o->gone)
        return;
    o->gone = true;
    model_unindex(o);
    m->generation++;
    m->roster += is_roster(obj);
    model_touch(m, o);
    model_touch_dependents(m, c, o->obj, NULL);
}

static void on_batch(void *owner)
{
    struct mcluster *c = owner;
    c->synced = true;
    c->model->on_change(c->model->owner);
}

struct object_sink model_cluster(struct model *m, const char *id)
{
    static const struct object_sink_ops ops = {
        .kinds = KOBJ_BIT(KOBJ_NAMESPACE) | KOBJ_BIT(KOBJ_NODE) | KOBJ_BIT(KOBJ_POD) |
                 KOBJ_BIT(KOBJ_SERVICE) | KOBJ_BIT(KOBJ_ENDPOINT_SLICE) |
                 KOBJ_BIT(KOBJ_SERVICE_ACCOUNT) | KOBJ_BIT(KOBJ_AUTHORIZATION_POLICY) |
                 KOBJ_BIT(KOBJ_PEER_AUTHENTICATION),
        .set = on_set,
        .remove = on_remove,
        .batch = on_batch};
    struct mcluster *c = mem_new(struct mcluster);
    c->model = m;
    c->id = mem_strdup(id);
    list_push_back(&m->clusters, &c->node);
    return (struct object_sink){&ops, c};
}

/* -- life -- */

struct model *model_new(const struct model_opts *o)
{
    struct model *m = mem_new(struct model);
    m->root_ns = mem_strdup(o->root_ns);
    m->system_ns = mem_strdup(o->system_ns);
    m->on_change = o->on_change;
    m->owner = o->owner;
    list_init(&m->clusters);
    list_init(&m->touched);
    htab_init(&m->objects);
    for (size_t i = 0; i < IX_COUNT; i++)
        mindex_init(&m->ix[i]);
    return m;
}

void model_free(struct model *m)
{
    if (!m)
        return;
    struct htab_iter it;
    HTAB_FOREACH (h, &m->objects, &it)
        free_object(m, container_of(h, struct mobject, by_name));
    htab_fini(&m->objects);
    for (size_t i = 0; i < IX_COUNT; i++)
        mindex_fini(&m->ix[i]);
    struct mcluster *c, *next;
    LIST_FOREACH_SAFE (c, next, &m->clusters, node) {
        char *id = (char *)(uintptr_t)c->id;
        mem_free(id);
        mem_free(c);
    }
    mem_free(m->root_ns);
    mem_free(m->system_ns);
    mem_free(m);
}

struct str model_root_ns(const struct model *m)
{
    return str_of(m->root_ns);
}

bool model_synced(const struct model *m)
{
    struct mcluster *c;
    LIST_FOREACH (c, &m->clusters, node)
        if (!c->synced)
            return false;
    return true;
}

/* -- the queue -- */

const struct mobject *model_next(struct model *m)
{
    if (m->last && m->last->gone && !list_linked(&m->last->touched))
        free_object(m, m->last);
    m->last = LIST_FIRST(&m->touched, struct mobject, touched);
    if (m->last)
        list_del(&m->last->touched);
    return m->last;
}

bool model_pending(const struct model *m)
{
    return !list_empty(&m->touched);
}

uint64_t model_generation(const struct model *m)
{
    return m->generation;
}
