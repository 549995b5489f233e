#include "cni/pods.h"

#include "lib/base/hash.h"
#include "lib/base/htab.h"
#include "lib/base/mem.h"
#include "lib/kdir/kdir.h"
#include "lib/log/log.h"

#define SCOPE "source"

struct entry {
    struct hnode by_name;
    struct kobj *obj;
};

struct pods {
    struct pods_opts o;
    char *node;
    struct kdir *dir;
    struct htab objects; /* pods of this node, and namespaces */
    bool synced;
};

struct key {
    enum kobj_kind kind;
    struct str ns, name;
};

static uint64_t key_hash(const struct key *k)
{
    return hash_mix(hash_mix(hash_str(k->name), hash_str(k->ns)), k->kind);
}

static bool key_eq(const struct hnode *n, const void *key)
{
    const struct kobj *o = container_of(n, struct entry, by_name)->obj;
    const struct key *k = key;
    return o->kind == k->kind && str_eq(o->meta.name, k->name) && str_eq(o->meta.ns, k->ns);
}

static struct entry *find(const struct pods *p, enum kobj_kind kind, struct str ns, struct str name)
{
    struct key k = {kind, ns, name};
    struct hnode *h = htab_find(&p->objects, key_hash(&k), key_eq, &k);
    return h ? container_of(h, struct entry, by_name) : NULL;
}

static void drop(struct pods *p, struct entry *e)
{
    htab_del(&p->objects, &e->by_name);
    kobj_unref(e->obj);
    mem_free(e);
}

static void on_delete(void *owner, struct kobj *obj)
{
    struct pods *p = owner;
    struct entry *e = find(p, obj->kind, obj->meta.ns, obj->meta.name);
    if (e)
        drop(p, e);
}

static void on_set(void *owner, struct kobj *obj)
{
    struct pods *p = owner;
    struct entry *e = find(p, obj->kind, obj->meta.ns, obj->meta.name);
    if (obj->kind == KOBJ_POD && !str_eqz(kobj_pod(obj)->node_name, p->node)) {
        if (e)
            drop(p, e);
        return;
    }
    if (e) {
        kobj_unref(e->obj);
        e->obj = kobj_ref(obj);
        return;
    }
    struct key k = {obj->kind, obj->meta.ns, obj->meta.name};
    e = mem_new(struct entry);
    e->obj = kobj_ref(obj);
    htab_insert(&p->objects, &e->by_name, key_hash(&k));
}

static void on_batch(void *owner)
{
    struct pods *p = owner;
    p->synced = true;
    p->o.on_change(p->o.owner);
}

/* The controller reads the same folder and says in full what is wrong with its documents. */
static void on_problem(void *owner, const struct kdir_problem *problem)
{
    (void)owner;
    if (problem->severity == KDIR_SYSTEM)
        log_error(SCOPE, "%s: %s", problem->file, problem->text);
    else if (problem->severity == KDIR_ERROR)
        log_warn(SCOPE, "%s:%u: %s", problem->file, problem->line, problem->text);
}

struct pods *pods_new(struct loop *l, const struct pods_opts *o)
{
    static const struct kdir_ops ops = {on_set, on_delete, on_batch, on_problem};
    struct pods *p = mem_new(struct pods);
    p->o = *o;
    p->node = mem_strdup(o->node);
    htab_init(&p->objects);
    struct kdir_opts ko = {.folder = o->folder,
                           .keep = o->keep,
                           .kinds = KOBJ_BIT(KOBJ_POD) | KOBJ_BIT(KOBJ_NAMESPACE)};
    p->dir = kdir_open(l, &ko, &ops, p);
    return p;
}

void pods_free(struct pods *p)
{
    if (!p)
        return;
    kdir_close(p->dir);
    struct htab_iter it;
    HTAB_FOREACH (h, &p->objects, &it)
        drop(p, container_of(h, struct entry, by_name));
    htab_fini(&p->objects);
    mem_free(p->node);
    mem_free(p);
}

bool pods_synced(const struct pods *p)
{
    return p->synced;
}

const struct kpod *pods_find(const struct pods *p, struct str ns, struct str name)
{
    const struct entry *e = find(p, KOBJ_POD, ns, name);
    return e ? kobj_pod(e->obj) : NULL;
}

const struct kobj *pods_namespace(const struct pods *p, struct str name)
{
    const struct entry *e = find(p, KOBJ_NAMESPACE, STR(""), name);
    return e ? e->obj : NULL;
}

void pods_each_namespace(const struct pods *p, void (*fn)(void *arg, const struct kobj *ns),
                         void *arg)
{
    struct htab_iter it;
    HTAB_FOREACH (h, &p->objects, &it) {
        const struct kobj *o = container_of(h, struct entry, by_name)->obj;
        if (o->kind == KOBJ_NAMESPACE)
            fn(arg, o);
    }
}
