/* What a client wants of a type, and what it had when it came. */
#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/xds/ads_priv.h"

/* -- names -- */

static bool name_is(const struct hnode *n, const void *key)
{
    return str_eq(container_of(n, struct ads_name, node)->name, *(const struct str *)key);
}

static struct ads_name *name_find(const struct ads_sub *sub, struct str name)
{
    struct hnode *n = htab_find(&sub->names, hash_str(name), name_is, &name);
    return n ? container_of(n, struct ads_name, node) : NULL;
}

/* Subscribes it, or asks for it again. */
static void name_add(void *arg, struct str name)
{
    struct ads_sub *sub = arg;
    struct ads_name *n = name_find(sub, name);
    if (!n) {
        n = mem_zalloc(sizeof(*n) + name.n + 1);
        memcpy(n->text, name.p, name.n);
        n->name = (struct str){n->text, name.n};
        htab_insert(&sub->names, &n->node, hash_str(name));
    }
    if (!list_linked(&n->fresh))
        list_push_back(&sub->fresh, &n->fresh);
}

static void name_del(struct ads_sub *sub, struct str name)
{
    struct ads_name *n = name_find(sub, name);
    if (!n)
        return;
    list_del(&n->fresh);
    htab_del(&sub->names, &n->node);
    free(n);
}

static void demand(struct ads_stream *st, size_t t, struct str name)
{
    struct ads_server *s = st->server;
    name_add(&st->sub[t], name);
    if (s->ops->on_lookup)
        s->ops->on_lookup(s->owner, s->sets[t].type.url, name, name_add, &st->sub[t]);
}

/* -- what the client had -- */

static void removed_add(struct ads_sub *sub, struct str name)
{
    mem_grow(sub->removed, sub->cap_removed, sub->n_removed + 1);
    sub->removed[sub->n_removed++] = str_dup(name);
}

void ads_sub_told(struct ads_sub *sub)
{
    free(sub->skip);
    sub->skip = NULL;
    sub->n_skip = 0;
}

static int by_hash(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

bool ads_sub_has(const struct ads_sub *sub, const struct ads_slot *slot)
{
    return sub->n_skip && slot->seq <= sub->start &&
           bsearch(&slot->node.hash, sub->skip, sub->n_skip, sizeof(*sub->skip), by_hash);
}

/* Equal versions are not sent, names that are gone are told. Without wildcard what a client has is
 * what it wants: a ztunnel on demand repeats its names only here. */
static void held_compare(struct ads_stream *st, size_t t)
{
    const struct ads_held *h = &st->req.held;
    struct ads_sub *sub = &st->sub[t];
    sub->skip = mem_calloc(h->count, sizeof(*sub->skip));
    for (const char *p = h->text, *end = h->text + h->n; p < end;) {
        struct str name = str_of(p), version = str_of(p + name.n + 1);
        p = version.p + version.n + 1;
        const struct ads_slot *slot = ads_slot_find(&st->server->sets[t], name);
        if (!sub->wildcard)
            demand(st, t, name);
        else if (!slot || !slot->r)
            removed_add(sub, name);
        if (slot && slot->r && str_eqz(version, slot->r->version))
            sub->skip[sub->n_skip++] = slot->node.hash;
    }
    qsort(sub->skip, sub->n_skip, sizeof(*sub->skip), by_hash);
}

/* -- requests -- */

static bool names_star(char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], "*") == 0)
            return true;
    return false;
}

static void sub_init(struct ads_stream *st, struct ads_sub *sub)
{
    sub->on = true;
    sub->start = sub->seq_removed = st->server->seq;
    htab_init(&sub->names);
    list_init(&sub->fresh);
}

enum rc ads_sub_apply(struct ads_stream *st, size_t t)
{
    const struct ads_request *r = &st->req;
    struct ads_sub *sub = &st->sub[t];
    bool first = !sub->on, star = names_star(r->subscribe, r->n_subscribe);
    if (first)
        sub_init(st, sub);
    if (names_star(r->unsubscribe, r->n_unsubscribe)) {
        sub->wildcard = false;
    } else if (!sub->wildcard && (star || (first && r->n_subscribe == 0))) {
        sub->wildcard = true;
        sub->seq = 0; /* everything from the beginning */
    }
    if (first && !sub->wildcard)
        sub->seq = st->server->seq; /* what is named comes as fresh; of it, changes from now on */
    if (first)
        held_compare(st, t);
    for (size_t i = 0; i < r->n_subscribe; i++)
        if (strcmp(r->subscribe[i], "*") != 0)
            demand(st, t, str_of(r->subscribe[i]));
    for (size_t i = 0; i < r->n_unsubscribe; i++)
        name_del(sub, str_of(r->unsubscribe[i]));
    return sub->names.len > ADS_NAMES_MAX ? RC_LIMIT : RC_OK;
}

bool ads_sub_wants(const struct ads_sub *sub, const struct ads_slot *slot)
{
    return sub->wildcard || name_find(sub, slot->name);
}

void ads_sub_fini(struct ads_sub *sub)
{
    struct htab_iter it;
    HTAB_FOREACH (n, &sub->names, &it) {
        htab_del(&sub->names, n);
        free(container_of(n, struct ads_name, node));
    }
    htab_fini(&sub->names);
    for (size_t i = 0; i < sub->n_removed; i++)
        free(sub->removed[i]);
    free(sub->removed);
    free(sub->skip);
}
