#include "lib/http/grpc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/must.h"
#include "lib/http/h2_priv.h"

#define GRPC_PREFIX       5 /* compressed flag, 4 bytes of length */
#define GRPC_METADATA_MAX 16

struct grpc_call {
    struct h2_stream *stream;
    const struct grpc_ops *ops; /* NULL: the owner wants nothing any more */
    void *owner;
    struct loop_task writable, free;
    bool server, finished, half_closed, freed;
    /* receiving */
    unsigned char prefix[GRPC_PREFIX];
    size_t prefix_n, at, total, max_message;
    size_t unconsumed;
    /* sending: [tx_at, tx_n) of tx waits */
    char *tx;
    size_t tx_at, tx_n, tx_cap;
    /* outcome, client */
    bool status_seen;
    int http_status;
    enum grpc_status status;
    char *message;
};

static void call_free(void *owner)
{
    struct grpc_call *c = owner;
    loop_task_cancel(&c->writable);
    free(c->tx);
    free(c->message);
    free(c);
}

static void free_later(struct grpc_call *c)
{
    c->ops = NULL;
    c->stream = NULL;
    c->freed = true;
    loop_task_cancel(&c->writable);
}

static struct loop *call_loop(struct grpc_call *c)
{
    return h2_stream_session(c->stream)->loop;
}

static void call_drop(struct grpc_call *c, enum rc why)
{
    struct loop *l = call_loop(c);
    h2_stream_close(c->stream, why);
    free_later(c);
    loop_defer(l, &c->free, LOOP_FREE);
}

/* The call fails on this side: the stream is reset, the owner told. */
static void call_fail(struct grpc_call *c, enum grpc_status status, const char *text)
{
    const struct grpc_ops *ops = c->ops;
    void *owner = c->owner;
    call_drop(c, RC_CLOSED);
    if (ops)
        ops->on_done(owner, status, str_of(text));
}

/* -- receiving -- */

static bool take_prefix(struct grpc_call *c, const char **p, size_t *n)
{
    size_t take = MIN(*n, GRPC_PREFIX - c->prefix_n);
    memcpy(c->prefix + c->prefix_n, *p, take);
    c->prefix_n += take;
    *p += take;
    *n -= take;
    if (c->prefix_n < GRPC_PREFIX)
        return true;
    c->at = 0;
    c->total = (size_t)c->prefix[1] << 24 | (size_t)c->prefix[2] << 16 | (size_t)c->prefix[3] << 8 |
               c->prefix[4];
    if (c->prefix[0] != 0) {
        call_fail(c, GRPC_UNIMPLEMENTED, "compressed messages are not supported");
        return false;
    }
    if (c->total > c->max_message) {
        call_fail(c, GRPC_RESOURCE_EXHAUSTED, "message over the size limit");
        return false;
    }
    if (c->total == 0) {
        c->prefix_n = 0;
        if (c->ops)
            c->ops->on_part(c->owner, "", 0, 0, 0);
    }
    return !c->freed;
}

static void on_data(void *owner, const void *data, size_t n)
{
    struct grpc_call *c = owner;
    const char *p = data;
    c->unconsumed += n;
    while (n) {
        if (c->prefix_n < GRPC_PREFIX) {
            if (!take_prefix(c, &p, &n))
                return;
            continue;
        }
        size_t part = MIN(n, c->total - c->at), at = c->at;
        c->at += part;
        if (c->at == c->total)
            c->prefix_n = 0;
        if (c->ops)
            c->ops->on_part(c->owner, p, part, at, c->total);
        if (c->freed)
            return;
        p += part;
        n -= part;
    }
}

static void on_flush(void *owner)
{
    struct grpc_call *c = owner;
    h2_stream_consume(c->stream, c->unconsumed);
    c->unconsumed = 0;
}

static char *percent_decode(struct str s)
{
    char *out = mem_alloc(s.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        unsigned hi, lo;
        if (s.p[i] == '%' && i + 2 < s.n && strchr("0123456789ABCDEFabcdef", s.p[i + 1]) &&
            strchr("0123456789ABCDEFabcdef", s.p[i + 2])) {
            hi = (unsigned)(s.p[i + 1] <= '9' ? s.p[i + 1] - '0' : (s.p[i + 1] | 32) - 'a' + 10);
            lo = (unsigned)(s.p[i + 2] <= '9' ? s.p[i + 2] - '0' : (s.p[i + 2] | 32) - 'a' + 10);
            out[n++] = (char)(hi << 4 | lo);
            i += 2;
        } else {
            out[n++] = s.p[i];
        }
    }
    out[n] = '\0';
    return out;
}

static void on_headers(void *owner, const struct h2_headers *hs, bool trailers)
{
    struct grpc_call *c = owner;
    if (!trailers)
        c->http_status = h2_status(hs);
    struct str status = h2_header_get(hs, "grpc-status");
    uint64_t v;
    if (c->status_seen || !status.p)
        return;
    c->status_seen = true;
    c->status = str_to_u64(status, 16, &v) ? (enum grpc_status)v : GRPC_UNKNOWN;
    c->message = percent_decode(h2_header_get(hs, "grpc-message"));
}

static void on_end(void *owner)
{
    struct grpc_call *c = owner;
    if (c->server && c->ops && c->ops->on_half_close)
        c->ops->on_half_close(c->owner);
}

static void on_close(void *owner, enum rc why)
{
    struct grpc_call *c = owner;
    const struct grpc_ops *ops = c->ops;
    void *o = c->owner;
    struct loop *l = call_loop(c);
    free_later(c); /* ops may call us: the object stays till the end of the turn */
    loop_defer(l, &c->free, LOOP_FREE);
    if (!ops)
        return;
    char text[128];
    if (c->status_seen) {
        ops->on_done(o, c->status, str_of(c->message));
    } else if (c->http_status && c->http_status != 200) {
        snprintf(text, sizeof(text), "the server answered HTTP status %d", c->http_status);
        ops->on_done(o, GRPC_UNAVAILABLE, str_of(text));
    } else {
        snprintf(text, sizeof(text), "the stream ended without a status: %s", rc_text(why));
        ops->on_done(o, c->server ? GRPC_CANCELLED : GRPC_UNAVAILABLE, str_of(text));
    }
}

/* -- sending -- */

static void tell_writable(void *owner)
{
    struct grpc_call *c = owner;
    if (c->ops && c->ops->on_writable && c->tx_at == c->tx_n)
        c->ops->on_writable(c->owner);
}

static struct io_result on_pull(void *owner, void *dst, size_t cap)
{
    struct grpc_call *c = owner;
    size_t n = MIN(cap, c->tx_n - c->tx_at);
    if (n == 0)
        return (struct io_result){0, c->finished || c->half_closed ? RC_EOF : RC_AGAIN};
    memcpy(dst, c->tx + c->tx_at, n);
    c->tx_at += n;
    if (c->tx_at == c->tx_n) {
        free(c->tx); /* a big push must not stay */
        c->tx = NULL;
        c->tx_at = c->tx_n = c->tx_cap = 0;
        if (!c->finished)
            loop_defer(call_loop(c), &c->writable, LOOP_WORK);
    }
    return (struct io_result){n, RC_OK};
}

static const struct h2_stream_ops stream_ops = {
    .on_headers = on_headers,
    .pull = on_pull,
    .on_data = on_data,
    .on_flush = on_flush,
    .on_end = on_end,
    .on_close = on_close,
};

void grpc_send_piece(struct grpc_call *c, const void *p, size_t n)
{
    if (c->freed)
        return;
    if (c->tx_at > 65536 && c->tx_at > c->tx_n / 2) {
        memmove(c->tx, c->tx + c->tx_at, c->tx_n - c->tx_at);
        c->tx_n -= c->tx_at;
        c->tx_at = 0;
    }
    mem_grow(c->tx, c->tx_cap, c->tx_n + n);
    if (n)
        memcpy(c->tx + c->tx_n, p, n);
    c->tx_n += n;
    h2_stream_resume(c->stream);
}

void grpc_send_begin(struct grpc_call *c, size_t total)
{
    MUST(total <= UINT32_MAX);
    unsigned char head[GRPC_PREFIX] = {0, (unsigned char)(total >> 24),
                                       (unsigned char)(total >> 16), (unsigned char)(total >> 8),
                                       (unsigned char)total};
    grpc_send_piece(c, head, sizeof(head));
}

void grpc_send(struct grpc_call *c, const void *p, size_t n)
{
    grpc_send_begin(c, n);
    grpc_send_piece(c, p, n);
}

size_t grpc_pending(const struct grpc_call *c)
{
    return c->tx_n - c->tx_at;
}

void grpc_half_close(struct grpc_call *c)
{
    if (c->freed)
        return;
    c->half_closed = true;
    h2_stream_resume(c->stream);
}

/* -- opening and ending -- */

const char *grpc_status_name(enum grpc_status s)
{
    switch (s) {
    case GRPC_OK:                 return "ok";
    case GRPC_CANCELLED:          return "cancelled";
    case GRPC_UNKNOWN:            return "unknown";
    case GRPC_INVALID_ARGUMENT:   return "invalid argument";
    case GRPC_DEADLINE_EXCEEDED:  return "deadline exceeded";
    case GRPC_NOT_FOUND:          return "not found";
    case GRPC_PERMISSION_DENIED:  return "permission denied";
    case GRPC_RESOURCE_EXHAUSTED: return "resource exhausted";
    case GRPC_UNIMPLEMENTED:      return "unimplemented";
    case GRPC_INTERNAL:           return "internal";
    case GRPC_UNAVAILABLE:        return "unavailable";
    case GRPC_UNAUTHENTICATED:    return "unauthenticated";
    }
    return "unknown"; /* a number from the wire */
}

static struct grpc_call *call_new(bool server, size_t max_message, const struct grpc_ops *ops,
                                  void *owner)
{
    struct grpc_call *c = mem_new(struct grpc_call);
    c->server = server;
    c->max_message = max_message;
    c->ops = ops;
    c->owner = owner;
    loop_task_init(&c->writable, tell_writable, c);
    loop_task_init(&c->free, call_free, c);
    return c;
}

struct grpc_call *grpc_open(struct h2_session *s, struct str authority, const char *path,
                            const struct grpc_header *h, size_t n, size_t max_message,
                            const struct grpc_ops *ops, void *owner)
{
    struct h2_header hs[7 + GRPC_METADATA_MAX] = {
        {STR(":method"), STR("POST")},
        {STR(":scheme"), STR("https")},
        {STR(":path"), str_of(path)},
        {STR(":authority"), authority},
        {STR("te"), STR("trailers")},
        {STR("content-type"), STR("application/grpc")},
        {STR("user-agent"), STR("mesh/" MESH_VERSION)},
    };
    MUST(n <= GRPC_METADATA_MAX);
    for (size_t i = 0; i < n; i++)
        hs[7 + i] = (struct h2_header){str_of(h[i].name), h[i].value};
    struct grpc_call *c = call_new(false, max_message, ops, owner);
    c->stream = h2_stream_open(s, hs, 7 + n, false, &stream_ops, c);
    if (!c->stream) {
        call_free(c);
        return NULL;
    }
    return c;
}

struct grpc_call *grpc_accept(struct h2_stream *s, const struct h2_headers *hs, size_t max_message,
                              const struct grpc_ops *ops, void *owner)
{
    struct str type = h2_header_get(hs, "content-type");
    if (!str_eqz(h2_header_get(hs, ":method"), "POST") ||
        !str_starts(type, STR("application/grpc"))) {
        h2_stream_respond(s, &(struct h2_header){STR(":status"), STR("415")}, 1, true);
        return NULL;
    }
    struct grpc_call *c = call_new(true, max_message, ops, owner);
    c->stream = s;
    h2_stream_accept(s, &stream_ops, c);
    static const struct h2_header head[] = {
        {STR(":status"), STR("200")},
        {STR("content-type"), STR("application/grpc")},
    };
    h2_stream_respond(s, head, 2, false);
    return c;
}

/* Percent-encoded as gRPC wants it, cut at 200 bytes. */
static struct str percent_encode(const char *text, char *out, size_t cap)
{
    size_t n = 0;
    for (const char *p = text ? text : ""; *p && n + 4 < cap; p++) {
        if (*p >= ' ' && *p <= '~' && *p != '%')
            out[n++] = *p;
        else
            n += (size_t)snprintf(out + n, cap - n, "%%%02X", (unsigned char)*p);
    }
    return (struct str){out, n};
}

void grpc_refuse(struct h2_stream *s, enum grpc_status status, const char *message)
{
    char code[12], text[200];
    snprintf(code, sizeof(code), "%d", (int)status);
    struct h2_header hs[] = {
        {STR(":status"), STR("200")},
        {STR("content-type"), STR("application/grpc")},
        {STR("grpc-status"), str_of(code)},
        {STR("grpc-message"), percent_encode(message, text, sizeof(text))},
    };
    h2_stream_respond(s, hs, 4, true);
}

void grpc_finish(struct grpc_call *c, enum grpc_status status, const char *message)
{
    if (c->freed || c->finished)
        return;
    MUST(c->server);
    char code[12], text[200];
    snprintf(code, sizeof(code), "%d", (int)status);
    struct h2_header hs[] = {
        {STR("grpc-status"), str_of(code)},
        {STR("grpc-message"), percent_encode(message, text, sizeof(text))},
    };
    h2_stream_trailers(c->stream, hs, 2);
    c->finished = true;
    c->ops = NULL;
    h2_stream_resume(c->stream);
}

void grpc_cancel(struct grpc_call *c)
{
    if (!c->freed)
        call_drop(c, RC_CLOSED);
}
