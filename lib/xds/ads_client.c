#include "lib/xds/ads_client.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/hash.h"
#include "lib/base/htab.h"
#include "lib/base/mem.h"
#include "lib/base/must.h"
#include "lib/xds/ads_response.h"

#define BACKOFF_MIN_MS 20
#define BACKOFF_MAX_MS 15000
#define LASTED_MS      10000 /* a stream that lived so long was no failure to connect */

struct demand_name {
    struct hnode node;
    struct str name;
    char text[];
};

struct client_type {
    struct ads_client_type t;
    char *url;
    bool synced;
    struct htab demand; /* struct demand_name */
};

struct ads_client {
    struct loop *loop;
    const struct ads_client_ops *ops;
    void *owner;
    struct channel *channel;
    struct channel_wait wait;
    struct loop_timer retry;
    struct grpc_call *call;
    struct ads_response in;
    struct client_type types[ADS_CLIENT_TYPES];
    size_t n_types;
    struct strbuf node; /* encoded Node */
    int64_t backoff_ms, up_since;
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
        struct htab_iter it;
        pb_put_str(&m, 3, STR("*"));
        HTAB_FOREACH (n, &t->demand, &it)
            pb_put_str(&m, 3, container_of(n, struct demand_name, node)->name);
        pb_put_str(&m, 4, STR("*"));
    }
    c->ops->each_held(c->owner, type, put_held, &m);
    grpc_send(c->call, m.p, m.n);
}

/* A reason may have been cut inside a character; a string of protobuf must be UTF-8. */
static void make_utf8(struct strbuf *b)
{
    if (!str_is_utf8(strbuf_str(b)))
        for (size_t i = 0; i < b->n; i++)
            if ((unsigned char)b->p[i] >= 0x80)
                b->p[i] = '?';
}

static void send_answer(struct ads_client *c)
{
    struct ads_response *r = &c->in;
    struct strbuf m AUTO_STRBUF;
    strbuf_init(&m, 65536);
    pb_put_str(&m, 2, str_of(r->type_url));
    pb_put_str(&m, 6, str_of(r->nonce));
    if (r->refused) {
        struct strbuf status AUTO_STRBUF;
        strbuf_init(&status, 2 * ADS_ERRORS_MAX);
        make_utf8(&r->errors);
        pb_put_u64(&status, 1, GRPC_INVALID_ARGUMENT);
        pb_put_str(&status, 2, strbuf_str(&r->errors));
        pb_put_bytes(&m, 7, strbuf_str(&status));
    }
    grpc_send(c->call, m.p, m.n);
}

/* -- demand -- */

static bool demand_is(const struct hnode *n, const void *key)
{
    return str_eq(container_of(n, struct demand_name, node)->name, *(const struct str *)key);
}

static struct demand_name *demand_find(const struct client_type *t, struct str name)
{
    struct hnode *n = htab_find(&t->demand, hash_str(name), demand_is, &name);
    return n ? container_of(n, struct demand_name, node) : NULL;
}

static void demand_free(struct client_type *t, struct demand_name *n)
{
    htab_del(&t->demand, &n->node);
    free(n);
}

/* field: 3 subscribe, 4 unsubscribe. */
static void send_change(struct ads_client *c, size_t type, uint32_t field, struct str name)
{
    struct strbuf m AUTO_STRBUF;
    strbuf_init(&m, 65536);
    pb_put_str(&m, 2, str_of(c->types[type].url));
    pb_put_str(&m, field, name);
    grpc_send(c->call, m.p, m.n);
}

void ads_client_demand(struct ads_client *c, size_t type, struct str name)
{
    MUST(type < c->n_types && c->types[type].t.on_demand && name.n <= XDS_NAME_MAX);
    struct client_type *t = &c->types[type];
    if (demand_find(t, name))
        return;
    struct demand_name *n = mem_zalloc(sizeof(*n) + name.n);
    memcpy(n->text, name.p, name.n);
    n->name = (struct str){n->text, name.n};
    htab_insert(&t->demand, &n->node, hash_str(name));
    if (c->up)
        send_change(c, type, 3, name);
}

void ads_client_release(struct ads_client *c, size_t type, struct str name)
{
    MUST(type < c->n_types && c->types[type].t.on_demand);
    struct demand_name *n = demand_find(&c->types[type], name);
    if (!n)
        return;
    if (c->up)
        send_change(c, type, 4, name);
    demand_free(&c->types[type], n);
}

/* -- receiving -- */

static ptrdiff_t type_of(const struct ads_client *c, struct str url)
{
    for (size_t i = 0; i < c->n_types; i++)
        if (str_eqz(url, c->types[i].url))
            return (ptrdiff_t)i;
    return -1;
}

static enum rc on_resource(void *owner, const struct ads_resource *r, struct errmsg *ret_msg)
{
    struct ads_client *c = owner;
    ptrdiff_t type = type_of(c, r->type_url);
    if (type >= 0)
        return c->ops->on_resource(c->owner, (size_t)type, r->name, r->version, r->bytes, ret_msg);
    errmsg_set(ret_msg, "of a type that was not asked for");
    return RC_INVALID;
}

static void response_done(struct ads_client *c)
{
    const struct ads_response *r = &c->in;
    ptrdiff_t type = type_of(c, str_of(r->type_url));
    if (type >= 0) {
        struct client_type *t = &c->types[type];
        for (size_t i = 0; i < r->n_removed; i++)
            c->ops->on_removed(c->owner, (size_t)type, str_of(r->removed[i]));
        bool first = !t->synced && !r->refused;
        t->synced |= first;
        c->ops->on_response(c->owner, (size_t)type, first);
    }
    if (r->type_url)
        send_answer(c);
    ads_response_reset(&c->in);
}

/* -- the stream's life -- */

static void down(struct ads_client *c, const char *error)
{
    int64_t wait = c->backoff_ms;
    if (c->up && loop_now(c->loop) - c->up_since >= LASTED_MS)
        wait = 0;
    c->backoff_ms = MIN(MAX(wait * 2, (int64_t)BACKOFF_MIN_MS), (int64_t)BACKOFF_MAX_MS);
    wait = MAX(wait, (int64_t)10);
    /* a restarted controller is not hit by all at once */
    loop_timer_set(&c->retry, wait + (int64_t)rand_below((uint64_t)wait / 2 + 1));
    c->up = false;
    c->call = NULL;
    ads_response_reset(&c->in);
    if (c->ops->on_state)
        c->ops->on_state(c->owner, false, error);
}

static void on_part(void *owner, const void *p, size_t n, size_t at, size_t total)
{
    struct ads_client *c = owner;
    enum rc rc = ads_response_feed(&c->in, (struct str){p, n}, at + n == total);
    if (rc == RC_OK && at + n == total)
        response_done(c);
    if (rc == RC_OK)
        return;
    char text[300];
    snprintf(text, sizeof(text), "stream to %s: a response is %s", channel_url(c->channel),
             rc == RC_LIMIT ? "over a limit" : "malformed");
    grpc_cancel(c->call);
    down(c, text);
}

static void on_done(void *owner, enum grpc_status status, struct str message)
{
    struct ads_client *c = owner;
    char text[400];
    snprintf(text, sizeof(text), "stream to %s ended: %s: %.*s", channel_url(c->channel),
             grpc_status_name(status), (int)MIN(message.n, (size_t)300), message.p);
    down(c, text);
}

static const struct grpc_ops call_ops = {.on_part = on_part, .on_done = on_done};

static void on_session(void *owner, struct h2_session *s, const char *error)
{
    struct ads_client *c = owner;
    struct errmsg msg = {""};
    if (!s) {
        down(c, error);
        return;
    }
    c->call = channel_call(c->channel, s, XDS_DELTA_PATH, ADS_RESPONSE_MAX, &call_ops, c, &msg);
    if (!c->call) {
        down(c, msg.text);
        return;
    }
    c->up = true;
    c->up_since = loop_now(c->loop);
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
        htab_init(&c->types[i].demand);
    }
    strbuf_init(&c->node, 131072);
    put_node(&c->node, o);
    ads_response_init(&c->in, on_resource, c);
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
        struct htab_iter it;
        HTAB_FOREACH (n, &c->types[i].demand, &it)
            demand_free(&c->types[i], container_of(n, struct demand_name, node));
        htab_fini(&c->types[i].demand);
        free(c->types[i].url);
    }
    ads_response_fini(&c->in);
    strbuf_fini(&c->node);
    free(c);
}
