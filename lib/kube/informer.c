#include "lib/kube/informer.h"

#include <stdlib.h>

#include "lib/base/hash.h"
#include "lib/base/htab.h"
#include "lib/base/must.h"
#include "lib/kube/kube_object.h"
#include "lib/kube/kube_watch.h"

#define VERSIONS_MAX 4

/* An object's place. What does not decode has one too, so that its problem is told once. */
struct item {
    struct hnode node;
    struct kobj *o;   /* NULL: it never decoded */
    char *bad;        /* "ns/name" while its newest state does not decode; NULL */
    uint64_t version; /* hash of the resourceVersion; 0: unknown */
    uint32_t round;   /* of the list that had it last */
};

struct informer {
    enum kobj_kind kind;
    struct kube_watch *watch;
    struct kube_crd_waiter crd;
    const struct informer_ops *ops;
    void *owner;
    struct htab items;
    size_t count;
    uint32_t round;
    bool synced;
};

struct key {
    struct str ns, name;
};

/* -- items -- */

static uint64_t hash_key(struct key k)
{
    return hash_mix(hash_str(k.ns), hash_str(k.name));
}

static struct key key_of(const struct item *it)
{
    struct key k = {0};
    if (it->o)
        return (struct key){it->o->meta.ns, it->o->meta.name};
    k.ns = str_split(str_of(it->bad), '/', &k.name);
    return k;
}

static bool is_item(const struct hnode *n, const void *key)
{
    const struct key *k = key;
    struct key has = key_of(container_of(n, struct item, node));
    return str_eq(has.ns, k->ns) && str_eq(has.name, k->name);
}

static struct item *find(const struct informer *i, struct key k)
{
    struct hnode *n = htab_find(&i->items, hash_key(k), is_item, &k);
    return n ? container_of(n, struct item, node) : NULL;
}

/* -- telling -- */

static void tell_problem(struct informer *i, struct key k, const char *text)
{
    struct kobj_id id = {.kind = i->kind, .ns = k.ns, .name = k.name};
    if (i->ops->on_problem)
        i->ops->on_problem(i->owner, &id, text);
}

static void drop(struct informer *i, struct item *it)
{
    struct kobj *o = it->o;
    htab_del(&i->items, &it->node);
    if (it->bad)
        tell_problem(i, key_of(it), NULL);
    if (o) {
        i->count--;
        i->ops->on_change(i->owner, o, NULL);
    }
    kobj_unref(o);
    free(it->bad);
    free(it);
}

static struct item *add(struct informer *i, struct key k)
{
    struct item *it = mem_new(struct item);
    htab_insert(&i->items, &it->node, hash_key(k));
    return it;
}

/* Takes o. */
static void put(struct informer *i, struct item *it, struct kobj *o)
{
    struct kobj *old = it->o;
    if (old && kobj_eq(old, o)) {
        kobj_unref(o);
        return;
    }
    it->o = o;
    i->count += !old;
    i->ops->on_change(i->owner, old, o);
    kobj_unref(old);
}

/* -- what the watch says -- */

static void on_begin(void *owner)
{
    struct informer *i = owner;
    i->round++;
}

/* What can't even say its name: nothing is known about it, nothing can be cleared. */
static void nameless(struct informer *i, const char *text)
{
    tell_problem(i, (struct key){STR(""), STR("")}, text);
}

static void on_object(void *owner, const struct node *doc)
{
    struct informer *i = owner;
    struct kobj_id id;
    struct errmsg why = {""};
    struct kobj *o = NULL;
    if (kobj_identify_as(i->kind, doc, &id, NULL, &why) != RC_OK) {
        nameless(i, why.text);
        return;
    }
    struct key k = {id.ns, id.name};
    struct str version = node_str(node_path(doc, "metadata.resourceVersion"));
    uint64_t hash = version.n ? hash_str(version) : 0;
    struct item *it = find(i, k);
    if (it) {
        it->round = i->round;
        if (hash && it->version == hash)
            return; /* told already */
    }
    enum rc rc = kobj_decode_as(i->kind, doc, &o, NULL, &why);
    if (!it)
        it = add(i, k);
    it->round = i->round;
    it->version = hash;
    if (rc != RC_OK) {
        free(it->bad);
        it->bad = mem_printf("%.*s/%.*s", STR_ARG(k.ns), STR_ARG(k.name));
        tell_problem(i, k, why.text);
        return;
    }
    char *bad AUTO_FREE = TAKE(it->bad);
    put(i, it, o);
    if (bad)
        tell_problem(i, k, NULL);
}

static void on_deleted(void *owner, const struct node *doc)
{
    struct informer *i = owner;
    struct kobj_id id;
    struct errmsg why = {""};
    if (kobj_identify_as(i->kind, doc, &id, NULL, &why) != RC_OK) {
        nameless(i, why.text);
        return;
    }
    struct item *it = find(i, (struct key){id.ns, id.name});
    if (it)
        drop(i, it);
}

static void on_listed(void *owner)
{
    struct informer *i = owner;
    struct htab_iter at;
    HTAB_FOREACH (n, &i->items, &at) {
        struct item *it = container_of(n, struct item, node);
        if (it->round != i->round)
            drop(i, it);
    }
    if (i->synced)
        return;
    i->synced = true;
    i->ops->on_synced(i->owner);
}

static void on_state(void *owner, const char *problem)
{
    struct informer *i = owner;
    if (i->ops->on_state)
        i->ops->on_state(i->owner, problem);
}

static void on_crd(void *owner)
{
    struct informer *i = owner;
    kube_watch_poke(i->watch);
}

static const struct kube_watch_ops watch_ops = {.on_begin = on_begin,
                                                .on_object = on_object,
                                                .on_deleted = on_deleted,
                                                .on_listed = on_listed,
                                                .on_state = on_state};

/* -- the informer -- */

struct informer *informer_new(struct kube *k, const struct informer_opts *o,
                              const struct informer_ops *ops, void *owner)
{
    struct informer *i = mem_new(struct informer);
    struct kobj_resource r = kobj_resource(o->kind);
    struct kube_target t = {.group = r.group, .plural = r.plural, .ns = str_of(o->ns)};
    char *paths[VERSIONS_MAX + 1] = {NULL};
    size_t n = 0;
    i->kind = o->kind;
    i->ops = ops;
    i->owner = owner;
    htab_init(&i->items);
    for (; r.versions[n]; n++) {
        MUST(n < VERSIONS_MAX);
        t.version = r.versions[n];
        paths[n] = kube_path(&t);
    }
    struct kube_watch_opts w = {.paths = (const char *const *)paths, .query = o->query};
    i->watch = kube_watch_new(k, &w, &watch_ops, i);
    while (n)
        free(paths[--n]);
    i->crd =
        (struct kube_crd_waiter){.group = r.group, .plural = r.plural, .fn = on_crd, .owner = i};
    if (o->crds)
        kube_crds_wait(o->crds, &i->crd);
    return i;
}

void informer_free(struct informer *i)
{
    if (!i)
        return;
    struct htab_iter at;
    kube_crds_unwait(&i->crd);
    kube_watch_free(i->watch);
    HTAB_FOREACH (n, &i->items, &at) {
        struct item *it = container_of(n, struct item, node);
        htab_del(&i->items, n);
        kobj_unref(it->o);
        free(it->bad);
        free(it);
    }
    htab_fini(&i->items);
    free(i);
}

bool informer_synced(const struct informer *i)
{
    return i->synced;
}

size_t informer_count(const struct informer *i)
{
    return i->count;
}

struct kobj *informer_get(const struct informer *i, struct str ns, struct str name)
{
    const struct item *it = find(i, (struct key){ns, name});
    return it ? it->o : NULL;
}

void informer_each(const struct informer *i, void (*fn)(void *owner, struct kobj *o), void *owner)
{
    struct htab_iter at;
    HTAB_FOREACH (n, &i->items, &at) {
        struct item *it = container_of(n, struct item, node);
        if (it->o)
            fn(owner, it->o);
    }
}
