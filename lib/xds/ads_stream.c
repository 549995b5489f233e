/* One client of the ADS server: its subscriptions and its position in the order of changes. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/base/must.h"
#include "lib/xds/ads_priv.h"

#define CHUNK (256 * 1024) /* bytes of resources in one response, about */

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

static void name_add(void *arg, struct str name)
{
    struct ads_sub *sub = arg;
    struct ads_name *old = name_find(sub, name);
    if (old) {
        sub->fresh += !old->fresh;
        old->fresh = true;
        return;
    }
    struct ads_name *n = mem_zalloc(sizeof(*n) + name.n + 1);
    memcpy(n->text, name.p, name.n);
    n->name = (struct str){n->text, name.n};
    n->fresh = true;
    sub->fresh++;
    htab_insert(&sub->names, &n->node, hash_str(name));
}

static void name_del(struct ads_sub *sub, struct str name)
{
    struct ads_name *n = name_find(sub, name);
    if (!n)
        return;
    sub->fresh -= n->fresh;
    htab_del(&sub->names, &n->node);
    free(n);
}

static void removed_add(struct ads_sub *sub, struct str name)
{
    mem_grow(sub->removed, sub->cap_removed, sub->n_removed + 1);
    sub->removed[sub->n_removed++] = str_dup(name);
}

static void removed_clear(struct ads_sub *sub)
{
    for (size_t i = 0; i < sub->n_removed; i++)
        free(sub->removed[i]);
    free(sub->removed);
    sub->removed = NULL;
    sub->n_removed = sub->cap_removed = 0;
}

static void skip_clear(struct ads_sub *sub)
{
    free(sub->skip);
    sub->skip = NULL;
    sub->n_skip = 0;
}

static void sub_fini(struct ads_sub *sub)
{
    struct htab_iter it;
    HTAB_FOREACH (n, &sub->names, &it) {
        htab_del(&sub->names, n);
        free(container_of(n, struct ads_name, node));
    }
    htab_fini(&sub->names);
    removed_clear(sub);
    skip_clear(sub);
}

/* -- life -- */

static void stream_free(struct ads_stream *st)
{
    list_del(&st->node);
    for (size_t t = 0; t < st->server->n_sets; t++)
        sub_fini(&st->sub[t]);
    ads_request_reset(&st->req);
    pb_stream_fini(&st->in);
    free(st->peer);
    free(st->node_id);
    free(st->node_name);
    free(st->ns);
    free(st);
}

static struct ads_client_info info(const struct ads_stream *st)
{
    return (struct ads_client_info){str_of(st->peer), str_of(st->node_id), str_of(st->node_name),
                                    str_of(st->ns)};
}

static void gone(struct ads_stream *st)
{
    struct ads_client_info i = info(st);
    if (st->known && st->server->ops->on_gone)
        st->server->ops->on_gone(st->server->owner, &i);
    stream_free(st);
}

void ads_stream_end(struct ads_stream *st, enum grpc_status status, const char *why)
{
    grpc_finish(st->call, status, why);
    gone(st);
}

/* -- sending -- */

static bool wants(const struct ads_sub *sub, const struct ads_slot *slot)
{
    return sub->wildcard || name_find(sub, slot->name);
}

static int by_hash(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static bool skipped(const struct ads_sub *sub, const struct ads_slot *slot)
{
    return sub->n_skip &&
           bsearch(&slot->node.hash, sub->skip, sub->n_skip, sizeof(*sub->skip), by_hash);
}

/* Resource: 1 version, 2 Any{1 type_url, 2 value}, 3 name. */
static void put_resource(struct strbuf *out, const char *url, const struct resource *r)
{
    struct str u = str_of(url), version = {r->version, 16};
    size_t any = 1 + pb_varint_len(u.n) + u.n + 1 + pb_varint_len(r->bytes.n) + r->bytes.n;
    size_t all = 1 + pb_varint_len(version.n) + version.n + 1 + pb_varint_len(any) + any + 1 +
                 pb_varint_len(r->name.n) + r->name.n;
    pb_put_varint(out, 2 << 3 | 2); /* resources */
    pb_put_varint(out, all);
    pb_put_bytes(out, 1, version);
    pb_put_varint(out, 2 << 3 | 2);
    pb_put_varint(out, any);
    pb_put_bytes(out, 1, u);
    pb_put_bytes(out, 2, r->bytes);
    pb_put_bytes(out, 3, r->name);
}

static void respond(struct ads_stream *st, size_t t, struct strbuf *body, struct strbuf *removed)
{
    struct ads_sub *sub = &st->sub[t];
    char nonce[48], version[24];
    snprintf(nonce, sizeof(nonce), "%zu-%llu", t, (unsigned long long)++sub->nonce);
    snprintf(version, sizeof(version), "%llu", (unsigned long long)st->server->seq);
    struct strbuf tail AUTO_STRBUF;
    strbuf_init(&tail, 4096);
    pb_put_str(&tail, 4, str_of(st->server->sets[t].type.url));
    pb_put_str(&tail, 5, str_of(nonce));
    struct strbuf head AUTO_STRBUF;
    strbuf_init(&head, 4096);
    pb_put_str(&head, 1, str_of(version));
    grpc_send_begin(st->call, head.n + body->n + tail.n + removed->n);
    grpc_send_piece(st->call, head.p, head.n);
    grpc_send_piece(st->call, body->p, body->n);
    grpc_send_piece(st->call, tail.p, tail.n);
    grpc_send_piece(st->call, removed->p, removed->n);
    sub->answered = true;
    sub->sent++;
}

/* First answers of names that were asked for. */
static void put_fresh(struct ads_stream *st, size_t t, struct strbuf *body, struct strbuf *removed)
{
    struct ads_sub *sub = &st->sub[t];
    struct htab_iter it;
    HTAB_FOREACH (n, &sub->names, &it) {
        struct ads_name *name = container_of(n, struct ads_name, node);
        if (!name->fresh)
            continue;
        if (body->n >= CHUNK)
            return;
        name->fresh = false;
        sub->fresh--;
        const struct ads_slot *slot = ads_slot_find(&st->server->sets[t], name->name);
        if (!slot || !slot->r)
            pb_put_str(removed, 6, name->name);
        else if (!skipped(sub, slot))
            put_resource(body, st->server->sets[t].type.url, slot->r);
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

/* Changes (or removals) behind the client's position, up to a chunk. True when the end was reached. */
static bool put_changes(struct ads_stream *st, size_t t, bool removals, struct strbuf *body,
                        struct strbuf *removed)
{
    struct ads_server *s = st->server;
    struct ads_set *set = &s->sets[t];
    struct ads_sub *sub = &st->sub[t];
    bool both = !set->type.removals_last;
    uint64_t *pos = removals ? &sub->seq_removed : &sub->seq;
    for (struct list *at = after(set, *pos); at != &set->order; at = at->next) {
        const struct ads_slot *slot = container_of(at, struct ads_slot, order);
        if (body->n + removed->n >= CHUNK)
            return false;
        if (slot->r && !removals && wants(sub, slot) && !skipped(sub, slot))
            put_resource(body, set->type.url, slot->r);
        else if (!slot->r && (both || removals) && wants(sub, slot))
            pb_put_str(removed, 6, slot->name);
        *pos = slot->seq;
    }
    *pos = s->seq;
    if (both)
        sub->seq_removed = s->seq;
    return true;
}

/* One response of what this type owes the client. True when nothing more is owed. */
static bool send_type(struct ads_stream *st, size_t t, bool removals)
{
    struct ads_sub *sub = &st->sub[t];
    struct strbuf body AUTO_STRBUF, removed AUTO_STRBUF;
    strbuf_init(&body, SIZE_MAX / 2);
    strbuf_init(&removed, SIZE_MAX / 2);
    bool end = true;
    if (!removals && sub->fresh)
        put_fresh(st, t, &body, &removed);
    if (body.n < CHUNK)
        end = put_changes(st, t, removals, &body, &removed);
    else
        end = false;
    if (removals || !st->server->sets[t].type.removals_last) {
        for (size_t i = 0; i < sub->n_removed; i++)
            pb_put_str(&removed, 6, str_of(sub->removed[i]));
        removed_clear(sub);
    }
    if (body.n || removed.n || !sub->answered)
        respond(st, t, &body, &removed);
    if (end && !removals && !sub->fresh)
        skip_clear(sub);
    return end && (removals || !sub->fresh);
}

/* All that is owed, in order, until the client is slow. */
void ads_stream_send(struct ads_stream *st)
{
    struct ads_server *s = st->server;
    for (int removals = 0; removals < 2; removals++) {
        for (size_t t = 0; t < s->n_sets; t++) {
            struct ads_sub *sub = &st->sub[t];
            if (!sub->on || (removals && !s->sets[t].type.removals_last))
                continue;
            bool owed = removals
                            ? sub->seq_removed < s->seq || sub->n_removed
                            : sub->seq < s->seq || sub->fresh || !sub->answered || sub->n_removed;
            while (owed) {
                if (grpc_pending(st->call) >= CHUNK)
                    return; /* on_writable comes back here */
                owed = !send_type(st, t, removals);
            }
        }
    }
}

/* -- requests -- */

/* What the client holds: equal versions are not sent, names that are gone are told. */
static void held_compare(struct ads_stream *st, size_t t)
{
    const struct ads_held *h = &st->req.held;
    struct ads_sub *sub = &st->sub[t];
    skip_clear(sub);
    sub->skip = mem_calloc(h->count, sizeof(*sub->skip));
    for (const char *p = h->text, *end = h->text + h->n; p < end;) {
        struct str name = str_of(p), version = str_of(p + name.n + 1);
        p = version.p + version.n + 1;
        const struct ads_slot *slot = ads_slot_find(&st->server->sets[t], name);
        if (!slot || !slot->r)
            removed_add(sub, name);
        else if (str_eqz(version, slot->r->version))
            sub->skip[sub->n_skip++] = slot->node.hash;
    }
    qsort(sub->skip, sub->n_skip, sizeof(*sub->skip), by_hash);
}

static void subscribe(struct ads_stream *st, size_t t)
{
    struct ads_request *r = &st->req;
    struct ads_server *s = st->server;
    struct ads_sub *sub = &st->sub[t];
    bool first = !sub->on;
    if (first) {
        sub->on = true;
        htab_init(&sub->names);
        sub->wildcard = r->n_subscribe == 0;
        held_compare(st, t);
    }
    for (size_t i = 0; i < r->n_subscribe; i++) {
        struct str name = str_of(r->subscribe[i]);
        if (str_eqz(name, "*")) {
            sub->wildcard = true;
            continue;
        }
        name_add(sub, name);
        const struct ads_slot *slot = ads_slot_find(&s->sets[t], name);
        if ((!slot || !slot->r) && s->ops->on_lookup)
            s->ops->on_lookup(s->owner, s->sets[t].type.url, name, name_add, sub);
    }
    for (size_t i = 0; i < r->n_unsubscribe; i++) {
        struct str name = str_of(r->unsubscribe[i]);
        if (str_eqz(name, "*"))
            sub->wildcard = false;
        else
            name_del(sub, name);
    }
    if (first && !sub->wildcard) /* named resources come as fresh; changes from now on */
        sub->seq = sub->seq_removed = s->seq;
    else if (first)
        sub->seq_removed = s->seq; /* it has nothing but what it told */
}

static void acknowledge(struct ads_stream *st, size_t t)
{
    struct ads_request *r = &st->req;
    struct ads_sub *sub = &st->sub[t];
    char last[48];
    snprintf(last, sizeof(last), "%zu-%llu", t, (unsigned long long)sub->nonce);
    if (r->has_error) {
        struct ads_client_info i = info(st);
        sub->nacked++;
        snprintf(sub->error, sizeof(sub->error), "%.250s", r->error ? r->error : "");
        if (st->server->ops->on_nack)
            st->server->ops->on_nack(st->server->owner, &i, st->server->sets[t].type.url,
                                     str_of(r->error));
    } else if (r->nonce && strcmp(r->nonce, last) == 0) {
        sub->acked++;
    }
}

static enum grpc_status first_request(struct ads_stream *st, const char **text)
{
    struct ads_request *r = &st->req;
    *text = "node.id is missing";
    if (!r->node_id || !r->node_id[0])
        return GRPC_INVALID_ARGUMENT;
    st->node_id = TAKE(r->node_id);
    st->node_name = TAKE(r->node_name);
    st->ns = TAKE(r->ns);
    struct ads_client_info i = info(st);
    *text = "refused";
    return st->server->ops->on_client(st->server->owner, &i, text);
}

static void request_done(struct ads_stream *st)
{
    struct ads_request *r = &st->req;
    struct ads_server *s = st->server;
    if (!st->known) {
        const char *text;
        enum grpc_status status = first_request(st, &text);
        if (status != GRPC_OK) {
            ads_stream_end(st, status, text);
            return;
        }
        st->known = true;
    }
    size_t t = 0;
    while (t < s->n_sets && !str_eqz(str_of(r->type_url), s->sets[t].type.url))
        t++;
    if (t < s->n_sets) {
        bool ack = r->nonce && r->nonce[0];
        if (ack)
            acknowledge(st, t);
        if (!ack || r->n_subscribe || r->n_unsubscribe || !st->sub[t].on)
            subscribe(st, t);
    } /* a type that is not served stays unanswered, as with Istio's controller */
    ads_request_reset(r);
    ads_stream_send(st);
}

static void on_part(void *owner, const void *p, size_t n, size_t at, size_t total)
{
    struct ads_stream *st = owner;
    enum rc rc = pb_stream_feed(&st->in, (struct str){p, n});
    if (rc == RC_OK && at + n == total)
        rc = pb_stream_end(&st->in);
    if (rc != RC_OK) {
        ads_stream_end(st, rc == RC_LIMIT ? GRPC_RESOURCE_EXHAUSTED : GRPC_INVALID_ARGUMENT,
                       rc == RC_LIMIT ? "the request is over a limit" : "malformed request");
        return;
    }
    if (at + n == total)
        request_done(st);
}

static void on_writable(void *owner)
{
    ads_stream_send(owner);
}

static void on_half_close(void *owner)
{
    ads_stream_end(owner, GRPC_OK, "");
}

static void on_done(void *owner, enum grpc_status status, struct str message)
{
    (void)status, (void)message;
    gone(owner);
}

static const struct grpc_ops call_ops = {
    .on_part = on_part,
    .on_half_close = on_half_close,
    .on_writable = on_writable,
    .on_done = on_done,
};

void ads_server_accept(struct ads_server *s, struct h2_stream *h2, const struct h2_headers *hs,
                       struct str peer)
{
    struct ads_stream *st = mem_new(struct ads_stream);
    st->server = s;
    st->peer = str_dup(peer);
    ads_request_init(st);
    st->call = grpc_accept(h2, hs, ADS_REQUEST_MAX, &call_ops, st);
    list_push_back(&s->streams, &st->node);
    if (!st->call)
        stream_free(st);
}
