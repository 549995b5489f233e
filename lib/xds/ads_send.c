/* Responses: what one holds is decided when it begins; its bytes follow at the client's pace. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/xds/ads_priv.h"

#define PIECE 65536 /* bytes handed to gRPC ahead of the client, about */

/* -- encoding -- */

/* Resource: 1 version, 2 Any{1 type_url, 2 value}, 3 name. All field numbers are below 16. */
static size_t field_len(size_t n)
{
    return 1 + pb_varint_len(n) + n;
}

static size_t any_len(struct str url, const struct resource *r)
{
    return field_len(url.n) + field_len(r->bytes.n);
}

static size_t resource_len(struct str url, const struct resource *r)
{
    return field_len(16) + field_len(any_len(url, r)) + field_len(r->name.n);
}

static void put_resource(struct strbuf *out, struct str url, const struct resource *r)
{
    pb_put_varint(out, 2 << 3 | 2); /* resources */
    pb_put_varint(out, resource_len(url, r));
    pb_put_bytes(out, 1, (struct str){r->version, 16});
    pb_put_varint(out, 2 << 3 | 2);
    pb_put_varint(out, any_len(url, r));
    pb_put_bytes(out, 1, url);
    pb_put_bytes(out, 2, r->bytes);
    pb_put_bytes(out, 3, r->name);
}

/* -- a response under way -- */

void ads_out_fini(struct ads_out *out)
{
    for (; out->at < out->n; out->at++)
        resource_unref(out->r[out->at]);
    free(out->r);
    strbuf_fini(&out->tail);
    *out = (struct ads_out){0};
}

static void out_add(struct ads_out *out, struct str url, struct resource *r)
{
    mem_grow(out->r, out->cap, out->n + 1);
    out->r[out->n++] = resource_ref(r);
    out->bytes += field_len(resource_len(url, r));
}

/* The next pieces. False while the client has enough to read. */
static bool out_go_on(struct ads_stream *st)
{
    struct ads_out *out = &st->out;
    struct str url = str_of(st->server->sets[out->type].type.url);
    struct strbuf piece AUTO_STRBUF;
    strbuf_init(&piece, SIZE_MAX / 2);
    while (out->at < out->n) {
        if (grpc_pending(st->call) >= PIECE)
            return false;
        strbuf_reset(&piece);
        while (out->at < out->n && piece.n < PIECE) {
            struct resource *r = out->r[out->at++];
            put_resource(&piece, url, r);
            resource_unref(r);
        }
        grpc_send_piece(st->call, piece.p, piece.n);
    }
    grpc_send_piece(st->call, out->tail.p, out->tail.n);
    ads_out_fini(out);
    return true;
}

/* out has its resources and, in tail, the removed names. */
static void out_begin(struct ads_stream *st, size_t t)
{
    struct ads_out *out = &st->out;
    struct ads_sub *sub = &st->sub[t];
    char nonce[48], version[24];
    struct strbuf head AUTO_STRBUF;
    strbuf_init(&head, 4096);
    snprintf(nonce, sizeof(nonce), "%zu-%llu", t, (unsigned long long)++sub->nonce);
    snprintf(version, sizeof(version), "%llu", (unsigned long long)st->server->seq);
    pb_put_str(&head, 1, str_of(version));
    pb_put_str(&out->tail, 4, str_of(st->server->sets[t].type.url));
    pb_put_str(&out->tail, 5, str_of(nonce));
    grpc_send_begin(st->call, head.n + out->bytes + out->tail.n);
    grpc_send_piece(st->call, head.p, head.n);
    out->on = true;
    out->type = t;
    sub->answered = true;
    sub->sent++;
    sub->sent_resources += out->n;
}

/* -- what is owed -- */

struct gather {
    struct ads_stream *st;
    struct ads_set *set;
    struct ads_sub *sub;
    size_t max; /* bytes of the response, about */
};

static bool full(const struct gather *g)
{
    return g->st->out.bytes + g->st->out.tail.n >= g->max;
}

static void gather_resource(struct gather *g, struct resource *r)
{
    out_add(&g->st->out, str_of(g->set->type.url), r);
}

static void gather_removed(struct gather *g, struct str name)
{
    pb_put_str(&g->st->out.tail, 6, name);
    g->sub->sent_removed++;
}

/* First answers of names that were asked for. */
static void gather_fresh(struct gather *g)
{
    struct ads_name *name;
    while (!full(g) && (name = LIST_FIRST(&g->sub->fresh, struct ads_name, fresh))) {
        list_del(&name->fresh);
        const struct ads_slot *slot = ads_slot_find(g->set, name->name);
        if (!slot || !slot->r)
            gather_removed(g, name->name);
        else if (!ads_sub_has(g->sub, slot))
            gather_resource(g, slot->r);
    }
}

/* Names that the client had when it came. */
static void gather_gone(struct gather *g)
{
    struct ads_sub *sub = g->sub;
    while (sub->n_removed && !full(g)) {
        char *name = sub->removed[--sub->n_removed];
        gather_removed(g, str_of(name));
        free(name);
    }
    if (sub->n_removed == 0) {
        free(sub->removed);
        sub->removed = NULL;
        sub->cap_removed = 0;
    }
}

/* The first slot after a position: from the end, where changes are. */
static struct list *after(const struct ads_set *set, uint64_t seq)
{
    struct list *at = set->order.prev;
    while (at != &set->order && container_of(at, struct ads_slot, order)->seq > seq)
        at = at->prev;
    return at->next;
}

/* Changes (or removals) behind the client's position. */
static void gather_changes(struct gather *g, bool removals)
{
    struct ads_sub *sub = g->sub;
    uint64_t now = g->st->server->seq;
    bool both = !g->set->type.removals_last;
    uint64_t *pos = removals ? &sub->seq_removed : &sub->seq;
    if (*pos >= now)
        return;
    for (struct list *at = after(g->set, *pos); at != &g->set->order; at = at->next) {
        const struct ads_slot *slot = container_of(at, struct ads_slot, order);
        if (full(g))
            return;
        *pos = slot->seq;
        if (!ads_sub_wants(sub, slot))
            continue;
        if (slot->r && !removals && !ads_sub_has(sub, slot))
            gather_resource(g, slot->r);
        else if (!slot->r && (both || removals) && slot->seq > sub->start)
            gather_removed(g, slot->name); /* what went before start was compared */
    }
    *pos = now;
    if (both)
        sub->seq_removed = now;
}

/* The beginning of one response, when this type owes the client any. */
static void begin_type(struct ads_stream *st, size_t t, bool removals)
{
    struct ads_sub *sub = &st->sub[t];
    struct ads_set *set = &st->server->sets[t];
    struct gather g = {st, set, sub, sub->answered ? ADS_PUSH_MAX : ADS_FIRST_MAX};
    strbuf_init(&st->out.tail, SIZE_MAX / 2);
    if (!removals)
        gather_fresh(&g);
    gather_changes(&g, removals);
    if (removals || !set->type.removals_last)
        gather_gone(&g);
    if (!removals && list_empty(&sub->fresh) && sub->seq >= sub->start)
        ads_sub_told(sub);
    if (st->out.n || st->out.tail.n || !sub->answered)
        out_begin(st, t);
    else
        ads_out_fini(&st->out);
}

static bool owes(const struct ads_stream *st, size_t t, bool removals)
{
    const struct ads_sub *sub = &st->sub[t];
    const struct ads_server *s = st->server;
    bool last = s->sets[t].type.removals_last;
    if (!sub->on)
        return false;
    if (removals)
        return last && (sub->seq_removed < s->seq || sub->n_removed);
    return sub->seq < s->seq || !list_empty(&sub->fresh) || !sub->answered ||
           (!last && sub->n_removed);
}

/* Begins the next response. False when nothing is owed. */
static bool begin_next(struct ads_stream *st)
{
    for (int removals = 0; removals < 2; removals++)
        for (size_t t = 0; t < st->server->n_sets; t++)
            if (owes(st, t, removals)) {
                begin_type(st, t, removals);
                return true;
            }
    return false;
}

void ads_stream_send(struct ads_stream *st)
{
    bool more = true;
    while (more && grpc_pending(st->call) < PIECE)
        more = st->out.on ? out_go_on(st) : begin_next(st);
    if (grpc_pending(st->call) == 0)
        loop_timer_clear(&st->stall);
    else if (!loop_timer_armed(&st->stall))
        loop_timer_set(&st->stall, ADS_STALL_MS);
}
