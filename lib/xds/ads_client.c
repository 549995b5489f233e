#include "lib/xds/ads_client.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/hash.h"
#include "lib/base/mem.h"
#include "lib/base/must.h"
#include "lib/codec/pb_stream.h"

#define BACKOFF_MIN_MS 20
#define BACKOFF_MAX_MS 15000
#define NACK_TEXT_MAX  4096
#define REMOVED_MAX    1000000 /* names in one response */

struct response { /* being read */
    char *nonce, *type_url;
    struct strbuf errors; /* of refused resources: "name: reason; …" */
    char **removed;
    size_t n_removed, cap_removed;
    size_t refused;
};

struct client_type {
    struct ads_client_type t;
    char *url;
    bool synced;
    char **demand; /* names asked for, on-demand types */
    size_t n_demand, cap_demand;
};

struct ads_client {
    struct loop *loop;
    const struct ads_client_ops *ops;
    void *owner;
    struct channel *channel;
    struct channel_wait wait;
    struct loop_timer retry;
    struct grpc_call *call;
    struct pb_stream in;
    struct response r;
    struct client_type types[ADS_CLIENT_TYPES];
    size_t n_types;
    struct strbuf node; /* encoded Node */
    int64_t backoff_ms;
    bool started, up;
};

static void connect_now(void *owner);

/* -- sending -- */

/* Struct { fields = 1: map<string, Value> }, Value.string_value = 3. */
static void put_node(struct strbuf *out, const struct ads_client_opts *o)
{
    struct strbuf meta AUTO_STRBUF;
    strbuf_init(&meta, 65536);
    for (size_t i = 0; i < o->n_meta; i++) {
        struct strbuf value AUTO_STRBUF, entry AUTO_STRBUF;
        strbuf_init(&value, 8192);
        strbuf_init(&entry, 16384);
        pb_put_bytes(&value, 3, str_of(o->meta[i].value));
        pb_put_bytes(&entry, 1, str_of(o->meta[i].key));
        pb_put_bytes(&entry, 2, strbuf_str(&value));
        pb_put_bytes(&meta, 1, strbuf_str(&entry));
    }
    pb_put_str(out, 1, str_of(o->node_id));
    pb_put_bytes(out, 3, strbuf_str(&meta));
}

static void put_held(void *arg, struct str name, struct str version)
{
    struct strbuf entry AUTO_STRBUF;
    strbuf_init(&entry, 8192);
    pb_put_bytes(&entry, 1, name);
    pb_put_bytes(&entry, 2, version);
    pb_put_bytes(arg, 5, strbuf_str(&entry));
}

/* The first request for a type on this stream. */
static void send_subscription(struct ads_client *c, size_t type)
{
    struct client_type *t = &c->types[type];
    struct strbuf m AUTO_STRBUF;
    strbuf_init(&m, SIZE_MAX / 2);
    pb_put_bytes(&m, 1, strbuf_str(&c->node));
    pb_put_str(&m, 2, str_of(t->url));
    if (t->t.on_demand) { /* "*" minus "*": nothing but what is named */
        pb_put_str(&m, 3, STR("*"));
        for (size_t i = 0; i < t->n_demand; i++)
            pb_put_str(&m, 3, str_of(t->demand[i]));
        pb_put_str(&m, 4, STR("*"));
    }
    c->ops->each_held(c->owner, type, put_held, &m);
    grpc_send(c->call, m.p, m.n);
}

static void send_answer(struct ads_client *c, const struct response *r)
{
    struct strbuf m AUTO_STRBUF;
    strbuf_init(&m, 65536);
    pb_put_str(&m, 2, str_of(r->type_url));
    pb_put_str(&m, 6, str_of(r->nonce));
    if (r->refused) {
        struct strbuf status AUTO_STRBUF;
        strbuf_init(&status, 2 * NACK_TEXT_MAX);
        pb_put_u64(&status, 1, GRPC_INVALID_ARGUMENT);
        pb_put_str(&status, 2, strbuf_str(&r->errors));
        pb_put_bytes(&m, 7, strbuf_str(&status));
    }
    grpc_send(c->call, m.p, m.n);
}

void ads_client_demand(struct ads_client *c, size_t type, struct str name)
{
    struct client_type *t = &c->types[type];
    MUST(type < c->n_types && t->t.on_demand);
    for (size_t i = 0; i < t->n_demand; i++)
        if (str_eqz(name, t->demand[i]))
            return;
    mem_grow(t->demand, t->cap_demand, t->n_demand + 1);
    t->demand[t->n_demand++] = str_dup(name);
    if (!c->up)
        return;
    struct strbuf m AUTO_STRBUF;
    strbuf_init(&m, 65536);
    pb_put_str(&m, 2, str_of(t->url));
    pb_put_str(&m, 3, name);
    grpc_send(c->call, m.p, m.n);
}

/* -- receiving -- */

static void response_reset(struct response *r)
{
    free(r->nonce);
    free(r->type_url);
    for (size_t i = 0; i < r->n_removed; i++)
        free(r->removed[i]);
    free(r->removed);
    strbuf_fini(&r->errors);
    *r = (struct response){0};
    strbuf_init(&r->errors, NACK_TEXT_MAX);
}

static ptrdiff_t type_of(const struct ads_client *c, struct str url)
{
    for (size_t i = 0; i < c->n_types; i++)
        if (str_eqz(url, c->types[i].url))
            return (ptrdiff_t)i;
    return -1;
}

struct parsed_resource {
    struct str name, version, type_url, bytes;
};

static enum rc resource_parse(struct str bytes, struct parsed_resource *ret)
{
    struct pb_field f, a;
    enum rc rc;
    *ret = (struct parsed_resource){0};
    while ((rc = pb_next(&bytes, &f)) == RC_OK) {
        if (f.wire != 2)
            continue;
        if (f.number == 1)
            ret->version = f.bytes;
        else if (f.number == 3)
            ret->name = f.bytes;
        if (f.number != 2)
            continue;
        while ((rc = pb_next(&f.bytes, &a)) == RC_OK) {
            if (a.wire == 2 && a.number == 1)
                ret->type_url = a.bytes;
            else if (a.wire == 2 && a.number == 2)
                ret->bytes = a.bytes;
        }
        if (rc != RC_EOF)
            return rc;
    }
    if (rc != RC_EOF)
        return rc;
    return ret->name.n && ret->name.n <= XDS_NAME_MAX && ret->version.n <= 256 &&
                   str_is_utf8(ret->name) && str_is_utf8(ret->version)
               ? RC_OK
               : RC_INVALID;
}

static void refuse(struct response *r, struct str name, const char *why)
{
    r->refused++;
    strbuf_printf(&r->errors, "%s%.*s: %s", r->errors.n ? "; " : "", STR_ARG(name), why);
}

static enum rc on_field(void *owner, const struct pb_field *f)
{
    struct ads_client *c = owner;
    struct response *r = &c->r;
    if (f->wire != 2)
        return RC_OK;
    if (f->number == 2) {
        struct parsed_resource p;
        struct errmsg msg = {""};
        if (resource_parse(f->bytes, &p) != RC_OK)
            return RC_INVALID;
        ptrdiff_t type = type_of(c, p.type_url);
        if (type < 0)
            refuse(r, p.name, "of a type that was not asked for");
        else if (c->ops->on_resource(c->owner, (size_t)type, p.name, p.version, p.bytes, &msg) !=
                 RC_OK)
            refuse(r, p.name, msg.text);
        return RC_OK;
    }
    if (f->number == 4 || f->number == 5) {
        char **to = f->number == 4 ? &r->type_url : &r->nonce;
        if (f->bytes.n > 1024 || !str_is_utf8(f->bytes))
            return RC_INVALID;
        free(*to);
        *to = str_dup(f->bytes);
    }
    if (f->number == 6) {
        if (f->bytes.n > XDS_NAME_MAX || r->n_removed >= REMOVED_MAX)
            return RC_LIMIT;
        mem_grow(r->removed, r->cap_removed, r->n_removed + 1);
        r->removed[r->n_removed++] = str_dup(f->bytes);
    }
    return RC_OK;
}

static void response_done(struct ads_client *c)
{
    struct response *r = &c->r;
    ptrdiff_t type = type_of(c, str_of(r->type_url));
    c->backoff_ms = 0; /* the stream works */
    if (type >= 0) {
        struct client_type *t = &c->types[type];
        for (size_t i = 0; i < r->n_removed; i++)
            c->ops->on_removed(c->owner, (size_t)type, str_of(r->removed[i]));
        bool first = !t->synced && !r->refused;
        t->synced |= first;
        c->ops->on_response(c->owner, (size_t)type, first);
    }
    if (c->call && r->type_url)
        send_answer(c, r);
    response_reset(r);
}

/* -- the stream's life -- */

static void down(struct ads_client *c, const char *error, bool benign)
{
    c->up = false;
    c->call = NULL;
    response_reset(&c->r);
    (void)!pb_stream_end(&c->in);
    int64_t wait = c->backoff_ms;
    if (benign)
        c->backoff_ms = wait = 0;
    c->backoff_ms = MIN(MAX(c->backoff_ms * 2, (int64_t)BACKOFF_MIN_MS), (int64_t)BACKOFF_MAX_MS);
    wait = MAX(wait, (int64_t)10);
    wait += (int64_t)rand_below((uint64_t)wait / 2 +
                                1); /* a restarted controller is not hit by all at once */
    loop_timer_set(&c->retry, wait);
    if (c->ops->on_state)
        c->ops->on_state(c->owner, false, error);
}

static void on_part(void *owner, const void *p, size_t n, size_t at, size_t total)
{
    struct ads_client *c = owner;
    enum rc rc = pb_stream_feed(&c->in, (struct str){p, n});
    if (rc == RC_OK && at + n == total)
        rc = pb_stream_end(&c->in);
    if (rc != RC_OK) {
        struct grpc_call *call = c->call;
        down(c, rc == RC_LIMIT ? "a response is over a limit" : "a response is malformed", false);
        grpc_cancel(call);
        return;
    }
    if (at + n == total)
        response_done(c);
}

static void on_done(void *owner, enum grpc_status status, struct str message)
{
    struct ads_client *c = owner;
    char text[400];
    snprintf(text, sizeof(text), "stream to %s ended: %s: %.*s", channel_url(c->channel),
             grpc_status_name(status), (int)MIN(message.n, (size_t)300), message.p);
    down(c, text, status == GRPC_OK);
}

static const struct grpc_ops call_ops = {.on_part = on_part, .on_done = on_done};

static void on_session(void *owner, struct h2_session *s, const char *error)
{
    struct ads_client *c = owner;
    struct errmsg msg = {""};
    if (!s) {
        down(c, error, false);
        return;
    }
    c->call = channel_call(c->channel, s, XDS_DELTA_PATH, ADS_RESPONSE_MAX, &call_ops, c, &msg);
    if (!c->call) {
        down(c, msg.text, false);
        return;
    }
    c->up = true;
    if (c->ops->on_state)
        c->ops->on_state(c->owner, true, "");
    for (size_t i = 0; i < c->n_types; i++)
        send_subscription(c, i);
}

static void connect_now(void *owner)
{
    struct ads_client *c = owner;
    channel_get(c->channel, &c->wait, on_session, c);
}

void ads_client_start(struct ads_client *c)
{
    if (c->started)
        return;
    c->started = true;
    connect_now(c);
}

bool ads_client_synced(const struct ads_client *c, size_t type)
{
    return c->types[type].synced;
}

enum rc ads_client_new(struct loop *l, const struct ads_client_opts *o,
                       const struct ads_client_ops *ops, void *owner, struct ads_client **ret,
                       struct errmsg *ret_msg)
{
    MUST(o->n_types <= ADS_CLIENT_TYPES);
    struct channel *ch;
    enum rc rc = channel_new(l, &o->channel, &ch, ret_msg);
    if (rc != RC_OK)
        return rc;
    struct ads_client *c = mem_new(struct ads_client);
    c->loop = l;
    c->ops = ops;
    c->owner = owner;
    c->channel = ch;
    c->n_types = o->n_types;
    for (size_t i = 0; i < o->n_types; i++) {
        c->types[i].t = o->types[i];
        c->types[i].url = mem_strdup(o->types[i].url);
    }
    strbuf_init(&c->node, 131072);
    put_node(&c->node, o);
    strbuf_init(&c->r.errors, NACK_TEXT_MAX);
    pb_stream_init(&c->in, ADS_RESOURCE_MAX, on_field, c);
    loop_timer_init(&c->retry, l, connect_now, c);
    *ret = c;
    return RC_OK;
}

void ads_client_free(struct ads_client *c)
{
    if (!c)
        return;
    loop_timer_clear(&c->retry);
    channel_wait_cancel(&c->wait);
    if (c->call)
        grpc_cancel(c->call);
    channel_free(c->channel);
    for (size_t i = 0; i < c->n_types; i++) {
        for (size_t k = 0; k < c->types[i].n_demand; k++)
            free(c->types[i].demand[k]);
        free(c->types[i].demand);
        free(c->types[i].url);
    }
    response_reset(&c->r);
    strbuf_fini(&c->r.errors);
    strbuf_fini(&c->node);
    pb_stream_fini(&c->in);
    free(c);
}
