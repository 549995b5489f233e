#include <stdio.h>
#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/base/must.h"
#include "lib/xds/ads_priv.h"

/* -- resources in the order of their last change -- */

static bool slot_is(const struct hnode *n, const void *key)
{
    return str_eq(container_of(n, struct ads_slot, node)->name, *(const struct str *)key);
}

struct ads_slot *ads_slot_find(const struct ads_set *set, struct str name)
{
    struct hnode *n = htab_find(&set->slots, hash_str(name), slot_is, &name);
    return n ? container_of(n, struct ads_slot, node) : NULL;
}

/* The slot's last change is now. */
static void slot_touch(struct ads_server *s, struct ads_set *set, struct ads_slot *slot)
{
    slot->seq = ++s->seq;
    list_del(&slot->order);
    list_push_back(&set->order, &slot->order);
}

static void slot_free(struct ads_set *set, struct ads_slot *slot)
{
    htab_del(&set->slots, &slot->node);
    list_del(&slot->order);
    resource_unref(slot->r);
    free(slot->own_name);
    free(slot);
}

void ads_server_set(struct ads_server *s, size_t type, struct resource *r)
{
    MUST(type < s->n_sets);
    struct ads_set *set = &s->sets[type];
    struct ads_slot *slot = ads_slot_find(set, r->name);
    if (slot && slot->r && strcmp(slot->r->version, r->version) == 0)
        return;
    if (!slot) {
        slot = mem_new(struct ads_slot);
        slot->name = r->name;
        htab_insert(&set->slots, &slot->node, hash_str(r->name));
    }
    if (!slot->r)
        set->live++;
    resource_unref(slot->r);
    slot->r = resource_ref(r);
    slot->name = r->name;
    free(slot->own_name);
    slot->own_name = NULL;
    slot_touch(s, set, slot);
}

void ads_server_remove(struct ads_server *s, size_t type, struct str name)
{
    MUST(type < s->n_sets);
    struct ads_set *set = &s->sets[type];
    struct ads_slot *slot = ads_slot_find(set, name);
    if (!slot || !slot->r)
        return;
    /* a tombstone keeps the name only */
    slot->own_name = str_dup(slot->name);
    slot->name.p = slot->own_name;
    resource_unref(slot->r);
    slot->r = NULL;
    set->live--;
    slot_touch(s, set, slot);
}

/* Tombstones that every client has passed are of no use any more. */
static void tombstones_sweep(struct ads_server *s)
{
    for (size_t t = 0; t < s->n_sets; t++) {
        uint64_t passed = s->seq;
        struct ads_stream *st;
        LIST_FOREACH (st, &s->streams, node)
            if (st->sub[t].on)
                passed = MIN(passed, MIN(st->sub[t].seq, st->sub[t].seq_removed));
        struct ads_slot *slot, *tmp;
        LIST_FOREACH_SAFE (slot, tmp, &s->sets[t].order, order) {
            if (slot->seq > passed)
                break;
            if (!slot->r)
                slot_free(&s->sets[t], slot);
        }
    }
}

void ads_server_push(struct ads_server *s)
{
    struct ads_stream *st, *tmp;
    LIST_FOREACH_SAFE (st, tmp, &s->streams, node)
        ads_stream_send(st);
    if (s->seq - s->swept > 1000 || list_empty(&s->streams)) {
        s->swept = s->seq;
        tombstones_sweep(s);
    }
}

/* -- life -- */

struct ads_server *ads_server_new(struct loop *l, const struct ads_type *types, size_t n,
                                  const struct ads_server_ops *ops, void *owner)
{
    MUST(n <= ADS_TYPES_MAX);
    struct ads_server *s = mem_new(struct ads_server);
    s->loop = l;
    s->ops = ops;
    s->owner = owner;
    s->n_sets = n;
    list_init(&s->streams);
    for (size_t i = 0; i < n; i++) {
        s->sets[i].type = types[i];
        htab_init(&s->sets[i].slots);
        list_init(&s->sets[i].order);
    }
    return s;
}

void ads_server_free(struct ads_server *s)
{
    if (!s)
        return;
    struct ads_stream *st;
    while ((st = LIST_FIRST(&s->streams, struct ads_stream, node)))
        ads_stream_end(st, GRPC_UNAVAILABLE, "the controller stops");
    for (size_t t = 0; t < s->n_sets; t++) {
        struct ads_slot *slot;
        while ((slot = LIST_FIRST(&s->sets[t].order, struct ads_slot, order)))
            slot_free(&s->sets[t], slot);
        htab_fini(&s->sets[t].slots);
    }
    free(s);
}

size_t ads_server_clients(const struct ads_server *s)
{
    size_t n = 0;
    const struct ads_stream *st;
    LIST_FOREACH (st, &s->streams, node)
        n++;
    return n;
}

size_t ads_server_resources(const struct ads_server *s, size_t type)
{
    return s->sets[type].live;
}

const struct resource *ads_server_find(const struct ads_server *s, size_t type, struct str name)
{
    const struct ads_slot *slot = ads_slot_find(&s->sets[type], name);
    return slot ? slot->r : NULL;
}

void ads_server_dump(const struct ads_server *s, struct strbuf *out)
{
    const struct ads_stream *st;
    const char *sep = "";
    strbuf_addc(out, '[');
    LIST_FOREACH (st, &s->streams, node) {
        strbuf_printf(out, "%s{\"peer\":\"", sep);
        sep = ",";
        strbuf_add_json(out, str_of(st->peer));
        strbuf_addz(out, "\",\"node\":\"");
        strbuf_add_json(out, str_of(st->node_id));
        strbuf_addz(out, "\",\"types\":[");
        const char *comma = "";
        for (size_t t = 0; t < s->n_sets; t++) {
            const struct ads_sub *sub = &st->sub[t];
            if (!sub->on)
                continue;
            strbuf_printf(out,
                          "%s{\"type\":\"%s\",\"wildcard\":%s,\"names\":%zu,\"behind\":%s,"
                          "\"resources\":%llu,\"removed\":%llu,\"sent\":%llu,\"acked\":%llu,"
                          "\"nacked\":%llu,\"error\":\"",
                          comma, s->sets[t].type.url, sub->wildcard ? "true" : "false",
                          sub->names.len,
                          sub->seq < s->seq || (st->out.on && st->out.type == t) ? "true" : "false",
                          (unsigned long long)sub->sent_resources,
                          (unsigned long long)sub->sent_removed, (unsigned long long)sub->sent,
                          (unsigned long long)sub->acked, (unsigned long long)sub->nacked);
            strbuf_add_json(out, str_of(sub->error));
            strbuf_addz(out, "\"}");
            comma = ",";
        }
        strbuf_addz(out, "]}");
    }
    strbuf_addc(out, ']');
}
