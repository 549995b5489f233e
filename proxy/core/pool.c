#include "proxy/core/pool.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/hash.h"
#include "lib/base/htab.h"
#include "lib/base/mem.h"
#include "lib/net/io_tcp.h"
#include "lib/net/sock.h"

/* All tunnels of one key. */
struct slot {
    struct hnode node;
    struct addr dst;
    struct identity **any_of; /* counted */
    size_t n_any_of;
    struct list tunnels; /* those that take new streams */
};

struct tunnel {
    struct list in_slot;
    struct list all;
    struct pool *pool;
    struct slot *slot; /* NULL once it takes no new streams */
    struct addr dst;
    struct io_tcp *tcp; /* under the session */
    struct h2_session *session;
    struct mtls_ctx *ctx;
    struct loop_timer timer; /* deadline of connect(), later of idleness */
    bool up;
};

struct pool {
    struct loop *loop;
    struct pool_opts opts;
    struct mtls_ctx *ctx;
    struct htab slots;
    struct list tunnels;
    size_t n;
    bool dying;
};

/* -- slots -- */

static uint64_t key_hash(const struct pool_key *k)
{
    uint64_t h = hash_mix(addr_hash_ip(&k->dst), k->dst.port);
    for (size_t i = 0; i < k->n_any_of; i++)
        h = hash_mix(h, k->any_of[i]->hash);
    return h;
}

static bool slot_has_key(const struct hnode *node, const void *key)
{
    const struct slot *s = container_of((uintptr_t)node, struct slot, node);
    const struct pool_key *k = key;
    if (!addr_eq(&s->dst, &k->dst) || s->n_any_of != k->n_any_of)
        return false;
    for (size_t i = 0; i < k->n_any_of; i++)
        if (!identity_eq(s->any_of[i], k->any_of[i]))
            return false;
    return true;
}

static struct slot *slot_get(struct pool *p, const struct pool_key *k)
{
    uint64_t hash = key_hash(k);
    struct hnode *node = htab_find(&p->slots, hash, slot_has_key, k);
    if (node)
        return container_of(node, struct slot, node);
    struct slot *s = mem_new(struct slot);
    s->dst = k->dst;
    s->any_of = mem_calloc(k->n_any_of, sizeof(struct identity *));
    s->n_any_of = k->n_any_of;
    for (size_t i = 0; i < k->n_any_of; i++)
        s->any_of[i] = identity_ref(k->any_of[i]);
    list_init(&s->tunnels);
    htab_insert(&p->slots, &s->node, hash);
    return s;
}

static void slot_free_if_unused(struct pool *p, struct slot *s)
{
    if (!list_empty(&s->tunnels))
        return;
    htab_del(&p->slots, &s->node);
    for (size_t i = 0; i < s->n_any_of; i++)
        identity_unref(s->any_of[i]);
    free(s->any_of);
    free(s);
}

/* -- tunnels -- */

/* It finishes what it carries, and is not offered any more. */
static void retire(struct tunnel *t)
{
    struct slot *s = t->slot;
    if (!s)
        return;
    t->slot = NULL;
    list_del(&t->in_slot);
    slot_free_if_unused(t->pool, s);
}

static void on_settings(void *owner)
{
    struct tunnel *t = owner;
    t->up = true;
    loop_timer_clear(&t->timer);
    if (h2_session_streams(t->session) == 0)
        loop_timer_set(&t->timer, t->pool->opts.idle_ms);
}

static void on_goaway(void *owner)
{
    retire(owner);
}

static void on_idle(void *owner)
{
    struct tunnel *t = owner;
    if (!t->slot)
        h2_session_drain(t->session, 0);
    else if (t->up)
        loop_timer_set(&t->timer, t->pool->opts.idle_ms);
}

static void on_close(void *owner, enum rc why)
{
    (void)why;
    struct tunnel *t = owner;
    retire(t);
    list_del(&t->all);
    t->pool->n--;
    loop_timer_clear(&t->timer);
    mtls_ctx_unref(t->ctx);
    if (t->pool->dying && t->pool->n == 0)
        free(t->pool);
    free(t);
}

static const struct h2_session_ops session_ops = {
    .on_settings = on_settings,
    .on_goaway = on_goaway,
    .on_idle = on_idle,
    .on_close = on_close,
};

static void on_timer(void *owner)
{
    struct tunnel *t = owner;
    retire(t);
    if (t->up)
        h2_session_drain(t->session, 0);
    else
        h2_session_close(t->session, t->tcp->connecting ? RC_TUNNEL_TIMEOUT : RC_TIMEOUT);
}

static struct tunnel *tunnel_new(struct pool *p, struct slot *s, enum rc *ret_rc)
{
    if (!p->ctx) {
        *ret_rc = RC_NO_CERT;
        return NULL;
    }
    struct sock_opts so = SOCK_OPTS_DEFAULT;
    so.netns = p->opts.netns;
    so.mark = p->opts.mark;
    so.keepalive = true;
    so.congestion = p->opts.congestion;
    int fd;
    bool connecting;
    *ret_rc = sock_connect_tcp(&s->dst, NULL, &so, &fd, &connecting);
    if (*ret_rc != RC_OK)
        return NULL;
    struct io *tcp = io_tcp_new(p->loop, fd, connecting);
    if (!tcp) {
        *ret_rc = RC_LIMIT;
        return NULL;
    }
    struct tunnel *t = mem_new(struct tunnel);
    t->pool = p;
    t->slot = s;
    t->dst = s->dst;
    t->tcp = container_of(tcp, struct io_tcp, io);
    t->ctx = mtls_ctx_ref(p->ctx);
    loop_timer_init(&t->timer, p->loop, on_timer, t);
    loop_timer_set(&t->timer, p->opts.connect_ms);
    struct mtls_opts mo = {.check = {.any_of = s->any_of, .n_any_of = s->n_any_of},
                           .handshake_ms = p->opts.connect_ms + 1000};
    struct io *tls = mtls_start(p->loop, t->ctx, tcp, &mo);
    struct h2_opts ho = p->opts.h2;
    ho.server = false;
    ho.settings_ms = p->opts.connect_ms + 1000; /* the tunnel's own deadline comes first */
    t->session = h2_session_new(p->loop, tls, &ho, &session_ops, t);
    list_push_back(&s->tunnels, &t->in_slot);
    list_push_back(&p->tunnels, &t->all);
    p->n++;
    return t;
}

static bool has_room(const struct pool *p, const struct tunnel *t)
{
    uint32_t peer = h2_session_peer_max_streams(t->session);
    return h2_session_usable(t->session) &&
           h2_session_streams(t->session) < MIN(peer, p->opts.max_streams);
}

struct h2_stream *pool_open(struct pool *p, const struct pool_key *key, const struct h2_header *h,
                            size_t n, const struct h2_stream_ops *ops, void *owner, enum rc *ret_rc)
{
    struct slot *s = slot_get(p, key);
    struct tunnel *t, *tmp, *use = NULL;
    /* the first with room: few tunnels well filled send larger batches than many */
    LIST_FOREACH_SAFE (t, tmp, &s->tunnels, in_slot) {
        if (has_room(p, t)) {
            use = t;
            break;
        }
    }
    if (!use)
        use = tunnel_new(p, s, ret_rc);
    if (!use) {
        slot_free_if_unused(p, s);
        return NULL;
    }
    struct h2_stream *st = h2_stream_open(use->session, h, n, false, ops, owner);
    if (!st) { /* stream numbers are used up */
        *ret_rc = RC_LIMIT;
        retire(use);
        return NULL;
    }
    if (use->up)
        loop_timer_clear(&use->timer);
    return st;
}

const char *pool_error(struct h2_stream *s)
{
    return mtls_error(h2_session_io(h2_stream_session(s)));
}

/* -- life -- */

struct pool *pool_new(struct loop *l, const struct pool_opts *o)
{
    struct pool *p = mem_new(struct pool);
    p->loop = l;
    p->opts = *o;
    htab_init(&p->slots);
    list_init(&p->tunnels);
    return p;
}

void pool_use_ctx(struct pool *p, struct mtls_ctx *ctx)
{
    if (p->ctx == ctx)
        return;
    mtls_ctx_unref(p->ctx);
    p->ctx = ctx ? mtls_ctx_ref(ctx) : NULL;
    struct tunnel *t, *tmp;
    LIST_FOREACH_SAFE (t, tmp, &p->tunnels, all) {
        retire(t);
        if (h2_session_streams(t->session) == 0)
            h2_session_drain(t->session, 0);
    }
}

void pool_drop_peer(struct pool *p, const struct addr *ip)
{
    struct tunnel *t, *tmp;
    LIST_FOREACH_SAFE (t, tmp, &p->tunnels, all) {
        if (addr_eq_ip(&t->dst, ip)) {
            retire(t);
            h2_session_close(t->session, RC_CLOSED);
        }
    }
}

size_t pool_tunnels(const struct pool *p)
{
    return p->n;
}

void pool_free(struct pool *p, enum rc why)
{
    struct tunnel *t, *tmp;
    LIST_FOREACH_SAFE (t, tmp, &p->tunnels, all) {
        retire(t);
        h2_session_close(t->session, why);
    }
    htab_fini(&p->slots);
    mtls_ctx_unref(p->ctx);
    p->ctx = NULL;
    p->dying = true;
    if (p->n == 0) /* else with the last session, at the end of this turn */
        free(p);
}
