/* Objects and the documents that claim to be them. */
#include <string.h>

#include "lib/base/hash.h"
#include "lib/base/must.h"
#include "lib/kdir/kdir_priv.h"

static bool name_eq(const struct hnode *n, const void *key)
{
    const struct kobj_id *a = &container_of(n, struct kname, by_name)->id, *b = key;
    return a->kind == b->kind && str_eq(a->ns, b->ns) && str_eq(a->name, b->name);
}

static void touch(struct kdir *d, struct kname *n)
{
    if (!list_linked(&n->touched))
        list_push_back(&d->touched, &n->touched);
}

/* Found or made; touched, so that one which nobody claims in the end goes again. */
static struct kname *get_name(struct kdir *d, const struct kobj_id *id)
{
    uint64_t hash = hash_mix(hash_str(id->name), hash_str(id->ns) + id->kind);
    struct hnode *h = htab_find(&d->names, hash, name_eq, id);
    struct kname *n;
    if (h) {
        n = container_of(h, struct kname, by_name);
    } else {
        n = mem_zalloc(sizeof(*n) + id->ns.n + id->name.n);
        char *text = (char *)(n + 1);
        memcpy(text, id->ns.p, id->ns.n);
        memcpy(text + id->ns.n, id->name.p, id->name.n);
        n->id = (struct kobj_id){id->kind, {text, id->ns.n}, {text + id->ns.n, id->name.n}};
        list_init(&n->claims);
        list_init(&n->touched);
        htab_insert(&d->names, &n->by_name, hash);
    }
    touch(d, n);
    return n;
}

static void free_name(struct kdir *d, struct kname *n)
{
    htab_del(&d->names, &n->by_name);
    list_del(&n->touched);
    kobj_unref(n->current);
    mem_free(n);
}

/* -- claims of a file -- */

static void push(struct kclaims *c, struct kname *n, struct kobj *obj, unsigned line)
{
    mem_grow(c->v, c->cap, c->n + 1);
    c->v[c->n] = (struct kclaim){.name = n, .obj = obj, .line = line, .pos = (uint32_t)c->n};
    c->n++;
}

void kclaims_add(struct kdir *d, struct kclaims *c, const struct kobj_id *id, struct kobj *obj,
                 unsigned line)
{
    push(c, get_name(d, id), obj, line);
}

static const struct kclaim *claim_of(const struct kname *n, const struct kfile *f)
{
    struct kclaim *c;
    LIST_FOREACH (c, &n->claims, of_name)
        if (c->file == f)
            return c;
    return NULL;
}

static void drop_claims(struct kdir *d, struct kclaim *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        list_del(&v[i].of_name);
        touch(d, v[i].name);
        kobj_unref(v[i].obj);
    }
    d->n_claims -= n;
    mem_free(v);
}

void kclaims_apply(struct kdir *d, struct kfile *f, struct kclaims *c, bool keep_others)
{
    uint64_t stamp = ++d->stamp;
    for (size_t i = 0; i < c->n; i++) {
        struct kclaim *k = &c->v[i];
        k->name->stamp = stamp;
        const struct kclaim *before = k->obj ? NULL : claim_of(k->name, f);
        if (before && before->obj)
            k->obj = kobj_ref(before->obj);
    }
    for (size_t i = 0; keep_others && i < f->n_claims; i++) {
        const struct kclaim *k = &f->claims[i];
        if (k->name->stamp != stamp)
            push(c, k->name, k->obj ? kobj_ref(k->obj) : NULL, k->line);
    }
    struct kclaim *old = f->claims;
    size_t n_old = f->n_claims;
    f->claims = c->v;
    f->n_claims = c->n;
    d->n_claims += c->n;
    for (size_t i = 0; i < f->n_claims; i++) {
        f->claims[i].file = f;
        list_push_back(&f->claims[i].name->claims, &f->claims[i].of_name);
        touch(d, f->claims[i].name);
    }
    drop_claims(d, old, n_old);
    *c = (struct kclaims){0};
}

/* -- settling -- */

static bool comes_before(const struct kclaim *a, const struct kclaim *b)
{
    int c = a->file == b->file ? 0 : strcmp(a->file->path, b->file->path);
    return c < 0 || (c == 0 && a->pos < b->pos);
}

/* The first by file and position that has ever been valid. */
static struct kclaim *owner_of(struct kname *n)
{
    struct kclaim *c, *best = NULL;
    LIST_FOREACH (c, &n->claims, of_name)
        if (c->obj && (!best || comes_before(c, best)))
            best = c;
    return best;
}

void kdir_doubled_text(const struct kclaim *c, struct errmsg *ret)
{
    const struct kobj_id *id = &c->name->id;
    const struct kclaim *owner = owner_of(c->name);
    MUST(owner);
    errmsg_set(ret, "%s %.*s%s%.*s: is also in %s:%u, which comes first and is in force",
               kobj_kind_name(id->kind), STR_ARG(id->ns), id->ns.n ? "/" : "", STR_ARG(id->name),
               owner->file->path, owner->line);
}

static void tell_doubles(struct kdir *d, struct kname *n, const struct kclaim *owner)
{
    struct kclaim *c;
    LIST_FOREACH (c, &n->claims, of_name) {
        bool was = c->doubled;
        c->doubled = c != owner;
        if (was || !c->doubled || !d->ops->on_problem)
            continue;
        struct errmsg e;
        kdir_doubled_text(c, &e);
        d->ops->on_problem(d->owner,
                           &(struct kdir_problem){KDIR_ERROR, c->file->path, c->line, e.text});
    }
}

/* Documents of this name exist, none of them was ever valid where it stands: what is in force came
 * from a place that it has left. The first of them keeps it. */
static void inherit(struct kdir *d, struct kname *n)
{
    struct kclaim *c = LIST_FIRST(&n->claims, struct kclaim, of_name);
    c->obj = kobj_ref(n->current);
    if (d->keep && !list_linked(&c->file->unkept))
        list_push_back(&d->unkept, &c->file->unkept);
}

static void set_current(struct kdir *d, struct kname *n, struct kobj *obj)
{
    struct kobj *before = n->current;
    bool same = before && kobj_eq(before, obj);
    n->current = kobj_ref(obj);
    if (!same && d->ops->on_set)
        d->ops->on_set(d->owner, obj);
    kobj_unref(before);
}

void kdir_settle(struct kdir *d)
{
    while (!list_empty(&d->touched)) {
        struct kname *n = LIST_FIRST(&d->touched, struct kname, touched);
        list_del(&n->touched);
        if (list_empty(&n->claims)) {
            if (n->current && d->ops->on_delete)
                d->ops->on_delete(d->owner, n->current);
            free_name(d, n);
            continue;
        }
        struct kclaim *owner = owner_of(n);
        if (owner) {
            if (owner->obj != n->current)
                set_current(d, n, owner->obj);
            tell_doubles(d, n, owner);
        } else if (n->current) {
            inherit(d, n);
        }
    }
}
