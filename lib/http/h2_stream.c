/* Streams: what their owners call, and how what arrived is told to them. */
#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/base/must.h"
#include "lib/http/h2_priv.h"

/* -- header lists -- */

bool h2_headers_add(struct h2_header_list *l, nghttp2_rcbuf *name, nghttp2_rcbuf *value, size_t max)
{
    nghttp2_vec n = nghttp2_rcbuf_get_buf(name), v = nghttp2_rcbuf_get_buf(value);
    size_t cost = n.len + v.len + 32; /* RFC 9113 6.5.2 */
    if (l->n == H2_HEADERS_MAX || cost > max || l->bytes > max - cost)
        return false;
    nghttp2_rcbuf_incref(name);
    nghttp2_rcbuf_incref(value);
    l->kept[2 * l->n] = name;
    l->kept[2 * l->n + 1] = value;
    l->h[l->n].name = (struct str){(const char *)n.base, n.len};
    l->h[l->n].value = (struct str){(const char *)v.base, v.len};
    l->n++;
    l->bytes += cost;
    return true;
}

void h2_headers_clear(struct h2_header_list *l)
{
    for (size_t i = 0; i < 2 * l->n; i++)
        nghttp2_rcbuf_decref(l->kept[i]);
    l->n = l->bytes = 0;
}

struct str h2_header_get(const struct h2_headers *hs, const char *name)
{
    struct str want = str_of(name);
    for (size_t i = 0; i < hs->n; i++)
        if (str_eq(hs->h[i].name, want))
            return hs->h[i].value;
    return (struct str){NULL, 0};
}

int h2_status(const struct h2_headers *hs)
{
    uint64_t v = 0;
    struct str s = h2_header_get(hs, ":status");
    return s.n == 3 && str_to_u64(s, 999, &v) ? (int)v : 0;
}

/* -- error codes (RFC 9113 7; 8.5: a failed TCP connection is CONNECT_ERROR) -- */

enum rc h2_rc_from_code(uint32_t code, bool both_ended)
{
    switch (code) {
    case NGHTTP2_NO_ERROR:          return both_ended ? RC_OK : RC_EOF;
    case NGHTTP2_CONNECT_ERROR:     return RC_RESET;
    case NGHTTP2_CANCEL:            return RC_RESET;
    case NGHTTP2_REFUSED_STREAM:    return RC_REFUSED;
    case NGHTTP2_ENHANCE_YOUR_CALM: return RC_LIMIT;
    default:                        return RC_PROTO;
    }
}

static uint32_t code_from_rc(enum rc why)
{
    switch (why) {
    case RC_OK:
    case RC_EOF:    return NGHTTP2_NO_ERROR;
    case RC_RESET:  return NGHTTP2_CONNECT_ERROR;
    case RC_CLOSED:
    case RC_DRAIN:  return NGHTTP2_CANCEL;
    case RC_LIMIT:  return NGHTTP2_ENHANCE_YOUR_CALM;
    case RC_DENIED: return NGHTTP2_REFUSED_STREAM;
    default:        return NGHTTP2_INTERNAL_ERROR;
    }
}

/* -- life -- */

struct h2_stream *h2_stream_new(struct h2_session *s)
{
    struct h2_stream *st = mem_new(struct h2_stream);
    st->s = s;
    list_init(&st->dirty);
    list_push_back(&s->streams, &st->node);
    s->n_streams++;
    s->idle_told = false;
    return st;
}

void h2_stream_dirty(struct h2_stream *st)
{
    if (!list_linked(&st->dirty))
        list_push_back(&st->s->dirty, &st->dirty);
}

static bool wants(const struct h2_stream *st)
{
    return st->ops && !st->detached;
}

bool h2_stream_ending(const struct h2_stream *st)
{
    return st->end_seen;
}

void h2_stream_deliver(struct h2_stream *st)
{
    list_del(&st->dirty);
    if (wants(st) && st->ops->on_flush)
        st->ops->on_flush(st->owner);
    if (wants(st) && st->end_seen && !st->end_told) {
        st->end_told = true;
        st->ops->on_end(st->owner);
    }
    if (st->closed) {
        list_del(&st->node);
        list_push_back(&st->s->gone, &st->node);
        loop_defer(st->s->loop, &st->s->free, LOOP_FREE);
    }
}

void h2_stream_bury(struct h2_stream *st, enum rc why)
{
    struct h2_session *s = st->s;
    list_del(&st->node);
    list_del(&st->dirty);
    s->n_streams--;
    if (st->unconsumed && !s->dead)
        h2_stream_consume(st, st->unconsumed);
    if (!st->closed)
        nghttp2_session_set_stream_user_data(s->ng, st->id, NULL);
    if (wants(st))
        st->ops->on_close(st->owner, why);
    for (size_t i = 0; i < st->trailers_n; i++) {
        free((void *)(uintptr_t)st->trailers[i].name.p);
        free((void *)(uintptr_t)st->trailers[i].value.p);
    }
    free(st->trailers);
    free(st);
}

/* -- sending -- */

static ssize_t on_read(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t n, uint32_t *flags,
                       nghttp2_data_source *source, void *user)
{
    (void)ng, (void)id, (void)buf;
    return h2_session_pull(user, source->ptr, n, flags);
}

static void to_nv(const struct h2_header *h, size_t n, nghttp2_nv *nv)
{
    MUST(n <= H2_HEADERS_MAX);
    for (size_t i = 0; i < n; i++)
        nv[i] = (nghttp2_nv){(uint8_t *)(uintptr_t)h[i].name.p, (uint8_t *)(uintptr_t)h[i].value.p,
                             h[i].name.n, h[i].value.n, NGHTTP2_NV_FLAG_NONE};
}

struct h2_stream *h2_stream_open(struct h2_session *s, const struct h2_header *h, size_t n,
                                 bool end, const struct h2_stream_ops *ops, void *owner)
{
    if (!h2_session_usable(s))
        return NULL;
    struct h2_stream *st = h2_stream_new(s);
    nghttp2_nv nv[H2_HEADERS_MAX];
    to_nv(h, n, nv);
    nghttp2_data_provider body = {.source.ptr = st, .read_callback = on_read};
    int32_t id = nghttp2_submit_request(s->ng, NULL, nv, n, end ? NULL : &body, st);
    if (id < 0) { /* stream ids are used up: the owner takes another session */
        st->closed = true;
        h2_stream_bury(st, RC_LIMIT);
        return NULL;
    }
    st->id = id;
    st->ops = ops;
    st->owner = owner;
    st->responded = true;
    st->end_sent = end;
    h2_session_flush_later(s);
    return st;
}

void h2_stream_accept(struct h2_stream *st, const struct h2_stream_ops *ops, void *owner)
{
    MUST(!st->ops);
    st->ops = ops;
    st->owner = owner;
}

void h2_stream_respond(struct h2_stream *st, const struct h2_header *h, size_t n, bool end)
{
    if (st->closed || st->s->dead)
        return;
    nghttp2_nv nv[H2_HEADERS_MAX];
    to_nv(h, n, nv);
    nghttp2_data_provider body = {.source.ptr = st, .read_callback = on_read};
    MUST(nghttp2_submit_response(st->s->ng, st->id, nv, n, end ? NULL : &body) == 0);
    st->responded = true;
    st->end_sent = end;
    h2_session_flush_later(st->s);
}

void h2_stream_trailers(struct h2_stream *st, const struct h2_header *h, size_t n)
{
    MUST(!st->trailers);
    st->trailers = mem_calloc(n, sizeof(*st->trailers));
    st->trailers_n = n;
    for (size_t i = 0; i < n; i++) {
        st->trailers[i].name = (struct str){str_dup(h[i].name), h[i].name.n};
        st->trailers[i].value = (struct str){str_dup(h[i].value), h[i].value.n};
    }
}

void h2_stream_send_trailers(struct h2_stream *st)
{
    nghttp2_nv nv[H2_HEADERS_MAX];
    to_nv(st->trailers, st->trailers_n, nv);
    nghttp2_submit_trailer(st->s->ng, st->id, nv, st->trailers_n);
}

void h2_stream_resume(struct h2_stream *st)
{
    if (!st->deferred || st->closed || st->s->dead)
        return;
    st->deferred = false;
    nghttp2_session_resume_data(st->s->ng, st->id);
    h2_session_flush_later(st->s);
}

void h2_stream_consume(struct h2_stream *st, size_t n)
{
    MUST(n <= st->unconsumed);
    st->unconsumed -= n;
    if (st->s->dead || n == 0)
        return;
    nghttp2_session_consume(st->s->ng, st->id, n);
    h2_session_flush_later(st->s);
}

void h2_stream_fail(struct h2_stream *st, enum rc why)
{
    nghttp2_submit_rst_stream(st->s->ng, NGHTTP2_FLAG_NONE, st->id, code_from_rc(why));
}

/* False when there is nothing left to do on the wire. */
static bool let_go(struct h2_stream *st)
{
    if (st->detached)
        return false;
    st->detached = true;
    if (st->closed || st->s->dead)
        return false;
    if (st->unconsumed)
        h2_stream_consume(st, st->unconsumed);
    return true;
}

void h2_stream_release(struct h2_stream *st)
{
    (void)let_go(st);
}

void h2_stream_close(struct h2_stream *st, enum rc why)
{
    if (!let_go(st))
        return;
    if (!(st->end_sent && st->end_seen))
        h2_stream_fail(st, why);
    h2_session_flush_later(st->s);
}

struct h2_session *h2_stream_session(struct h2_stream *st)
{
    return st->s;
}
