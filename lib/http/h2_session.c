/* The session: nghttp2 between a byte pipe and the streams. Streams are in h2_stream.c. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/must.h"
#include "lib/http/h2_priv.h"

#define READ_BUDGET  (1024 * 1024) /* bytes a session may take in one turn */
#define WRITE_ROUNDS 4             /* buffers a session may send in one turn */

/* Shared by all sessions of a thread: what is read is handed on, and what is to be written is
 * encrypted, before the turn goes on to another session. */
struct h2_scratch {
    char in[H2_IN_CAP];
    char out[H2_OUT_CAP];
};
static _Thread_local struct h2_scratch *scratch;

static struct h2_scratch *scratch_get(void)
{
    if (!scratch)
        scratch =
            mem_alloc(sizeof(*scratch)); /* for the thread's life; untouched pages cost nothing */
    return scratch;
}

static void flush(void *owner);
static void tick(void *owner);
static void reap(void *owner);
static void read_more(void *owner);

static void flush_later(struct h2_session *s)
{
    if (!s->dead)
        loop_defer(s->loop, &s->flush, LOOP_FLUSH);
}

void h2_session_flush_later(struct h2_session *s)
{
    flush_later(s);
}

/* -- nghttp2 callbacks: sending -- */

static ssize_t on_send(nghttp2_session *ng, const uint8_t *data, size_t n, int flags, void *user)
{
    (void)ng, (void)flags;
    struct h2_session *s = user;
    size_t room = H2_OUT_CAP - s->out_n;
    if (room == 0)
        return NGHTTP2_ERR_WOULDBLOCK;
    n = MIN(n, room);
    memcpy(scratch->out + s->out_n, data, n);
    s->out_n += n;
    return (ssize_t)n;
}

static ssize_t on_frame_length(nghttp2_session *ng, uint8_t type, int32_t id,
                               int32_t session_window, int32_t stream_window, uint32_t max_frame,
                               void *user)
{
    (void)ng, (void)type, (void)id, (void)user;
    int64_t most = MIN(MIN((int64_t)session_window, (int64_t)stream_window), (int64_t)max_frame);
    return (ssize_t)MAX(MIN(most, (int64_t)H2_FRAME_CAP), (int64_t)1);
}

ssize_t h2_session_pull(struct h2_session *s, struct h2_stream *st, size_t cap, uint32_t *flags)
{
    size_t room = H2_OUT_CAP - s->out_n;
    if (room < H2_FRAME_HEAD + H2_FRAME_MIN)
        return NGHTTP2_ERR_PAUSE; /* the buffer is full: the next round continues here */
    cap = MIN(cap, room - H2_FRAME_HEAD);
    struct io_result r = st->ops->pull(st->owner, scratch->out + s->out_n + H2_FRAME_HEAD, cap);
    if (s->dead || st->detached)
        return NGHTTP2_ERR_DEFERRED;
    switch (r.rc) {
    case RC_OK:    *flags |= NGHTTP2_DATA_FLAG_NO_COPY; return (ssize_t)r.n;
    case RC_AGAIN: st->deferred = true; return NGHTTP2_ERR_DEFERRED;
    case RC_EOF:
        *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_COPY;
        if (st->trailers_n) {
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            h2_stream_send_trailers(st);
        }
        st->end_sent = true;
        return 0;
    default: h2_stream_fail(st, r.rc); return NGHTTP2_ERR_DEFERRED;
    }
}

static int on_send_data(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *head, size_t n,
                        nghttp2_data_source *source, void *user)
{
    (void)ng, (void)frame, (void)source;
    struct h2_session *s = user;
    /* pull wrote the body behind the gap for the head just before */
    memcpy(scratch->out + s->out_n, head, H2_FRAME_HEAD);
    s->out_n += H2_FRAME_HEAD + n;
    s->sent += n;
    return 0;
}

/* RFC 9113 8.1: an answer that ended before its request asks for no more of it. (Not for DATA: that
 * is a tunnel's half-close.) */
static int on_frame_sent(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    struct h2_session *s = user;
    if (!s->opts.server || frame->hd.type != NGHTTP2_HEADERS ||
        !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    const struct h2_stream *st = nghttp2_session_get_stream_user_data(ng, frame->hd.stream_id);
    if (st && !st->end_seen)
        nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, st->id, NGHTTP2_NO_ERROR);
    return 0;
}

/* -- nghttp2 callbacks: receiving -- */

/* Control frames cost tokens by the work they make: 20,000 at once, 5,000 a second, and one for each
 * 4 KiB that we sent (window updates follow what was sent). */
#define TOKENS_MAX    20000
#define TOKENS_PER_MS 5
enum {
    COST_FRAME = 1,
    COST_PING = 10,
    COST_EMPTY_DATA = 20,
    COST_SETTINGS = 100,
    COST_HEADERS = 500,
    COST_RESET_UNANSWERED = 20
};

static bool flooded(struct h2_session *s, int64_t cost)
{
    int64_t now = loop_now(s->loop);
    s->tokens += (now - s->tokens_at) * TOKENS_PER_MS + (int64_t)(s->sent / 4096);
    s->tokens = MIN(s->tokens, (int64_t)TOKENS_MAX) - cost;
    s->sent %= 4096;
    s->tokens_at = now;
    return s->tokens < 0;
}

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    struct h2_session *s = user;
    h2_headers_clear(&s->headers);
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        struct h2_stream *st = h2_stream_new(s);
        st->id = frame->hd.stream_id;
        nghttp2_session_set_stream_user_data(ng, st->id, st);
    }
    return 0;
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                     nghttp2_rcbuf *value, uint8_t flags, void *user)
{
    (void)ng, (void)flags, (void)frame;
    struct h2_session *s = user;
    if (!h2_headers_add(&s->headers, name, value, s->opts.max_header_list)) {
        if (flooded(s, COST_HEADERS)) {
            s->why = RC_FLOOD;
            return NGHTTP2_ERR_CALLBACK_FAILURE;
        }
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* resets the stream */
    }
    return 0;
}

static void request_arrived(struct h2_session *s, struct h2_stream *st)
{
    struct h2_headers hs = {s->headers.h, s->headers.n};
    st->headers_done = true;
    if (s->opts.connect_only && !str_eqz(h2_header_get(&hs, ":method"), "CONNECT")) {
        h2_stream_respond(st, &(struct h2_header){STR(":status"), STR("400")}, 1, true);
        return;
    }
    s->ops->on_request(s->owner, st, &hs);
    if (!st->ops && !st->responded && !s->dead)
        nghttp2_submit_rst_stream(s->ng, NGHTTP2_FLAG_NONE, st->id, NGHTTP2_REFUSED_STREAM);
}

static void headers_arrived(struct h2_session *s, const nghttp2_frame *frame, struct h2_stream *st)
{
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        request_arrived(s, st);
    } else if (!st->detached && st->ops->on_headers) {
        struct h2_headers hs = {s->headers.h, s->headers.n};
        /* 1xx answers are not for anybody here */
        if (st->headers_done || h2_status(&hs) >= 200 ||
            frame->headers.cat != NGHTTP2_HCAT_RESPONSE) {
            bool trailers = st->headers_done;
            st->headers_done = true;
            st->ops->on_headers(st->owner, &hs, trailers);
        }
    }
    h2_headers_clear(&s->headers);
}

static int on_frame_recv(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    struct h2_session *s = user;
    struct h2_stream *st = NULL;
    switch (frame->hd.type) {
    case NGHTTP2_DATA:
        if (frame->hd.length == 0 && !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
            flooded(s, COST_EMPTY_DATA))
            s->why = RC_FLOOD;
        st = nghttp2_session_get_stream_user_data(ng, frame->hd.stream_id);
        break;
    case NGHTTP2_HEADERS:
        st = nghttp2_session_get_stream_user_data(ng, frame->hd.stream_id);
        if (st)
            headers_arrived(s, frame, st);
        break;
    case NGHTTP2_SETTINGS:
        if (!(frame->hd.flags & NGHTTP2_FLAG_ACK)) {
            if (!s->settings_seen) {
                s->settings_seen = true;
                tick(s);
                if (s->ops->on_settings)
                    s->ops->on_settings(s->owner);
            } else if (flooded(s, COST_SETTINGS)) {
                s->why = RC_FLOOD;
            }
        }
        break;
    case NGHTTP2_GOAWAY:
        s->peer_goaway = true;
        if (s->ops->on_goaway && !s->dead)
            s->ops->on_goaway(s->owner);
        break;
    case NGHTTP2_RST_STREAM:
        /* costly when nothing was answered yet: a request made only to be reset */
        st = nghttp2_session_get_stream_user_data(ng, frame->hd.stream_id);
        if (flooded(s, st && !st->responded && s->opts.server ? COST_RESET_UNANSWERED : COST_FRAME))
            s->why = RC_FLOOD;
        return s->why ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
    case NGHTTP2_PING:
        if (frame->hd.flags & NGHTTP2_FLAG_ACK)
            break;
        if (flooded(s, COST_PING))
            s->why = RC_FLOOD;
        break;
    default:
        if (flooded(s, COST_FRAME))
            s->why = RC_FLOOD;
        break;
    }
    if (st && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
        st->end_seen = true;
        h2_stream_dirty(st);
    }
    return s->why ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_data_chunk(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *data,
                         size_t n, void *user)
{
    (void)flags;
    struct h2_session *s = user;
    struct h2_stream *st = nghttp2_session_get_stream_user_data(ng, id);
    if (!st || st->detached || !st->ops) {
        nghttp2_session_consume(ng, id, n);
        return 0;
    }
    st->unconsumed += n;
    h2_stream_dirty(st);
    st->ops->on_data(st->owner, data, n);
    return s->why ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_stream_close(nghttp2_session *ng, int32_t id, uint32_t code, void *user)
{
    (void)user;
    struct h2_stream *st = nghttp2_session_get_stream_user_data(ng, id);
    if (!st)
        return 0;
    nghttp2_session_set_stream_user_data(ng, id, NULL);
    st->closed = true;
    st->close_why = h2_rc_from_code(code, st->end_seen && st->end_sent);
    h2_stream_dirty(st);
    return 0;
}

/* -- life -- */

static nghttp2_session *ng_new(struct h2_session *s)
{
    nghttp2_session_callbacks *cb;
    nghttp2_option *opt;
    nghttp2_session *ng = NULL;
    MUST(nghttp2_session_callbacks_new(&cb) == 0 && nghttp2_option_new(&opt) == 0);
    nghttp2_session_callbacks_set_send_callback(cb, on_send);
    nghttp2_session_callbacks_set_send_data_callback(cb, on_send_data);
    nghttp2_session_callbacks_set_data_source_read_length_callback(cb, on_frame_length);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback2(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_sent);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_option_set_no_auto_window_update(opt, 1);
    nghttp2_option_set_no_closed_streams(opt, 1);
    nghttp2_option_set_max_outbound_ack(opt, 1000);
    /* clients that close by RST are no attack: flooded() counts what costs us something */
    nghttp2_option_set_stream_reset_rate_limit(opt, 1u << 30, 1u << 30);
    int err = s->opts.server ? nghttp2_session_server_new2(&ng, cb, s, opt)
                             : nghttp2_session_client_new2(&ng, cb, s, opt);
    MUST(err == 0);
    nghttp2_option_del(opt);
    nghttp2_session_callbacks_del(cb);
    return ng;
}

static void submit_settings(struct h2_session *s)
{
    const struct h2_opts *o = &s->opts;
    nghttp2_settings_entry iv[5];
    size_t n = 0;
    iv[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, o->stream_window};
    iv[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_FRAME_SIZE, o->max_frame};
    iv[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, o->max_header_list};
    if (o->server)
        iv[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, o->max_streams};
    else
        iv[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_ENABLE_PUSH, 0};
    MUST(nghttp2_submit_settings(s->ng, NGHTTP2_FLAG_NONE, iv, n) == 0);
    MUST(nghttp2_session_set_local_window_size(s->ng, NGHTTP2_FLAG_NONE, 0,
                                               (int32_t)o->connection_window) == 0);
}

static void on_io_ready(void *owner, unsigned ready);

struct h2_session *h2_session_new(struct loop *l, struct io *io, const struct h2_opts *o,
                                  const struct h2_session_ops *ops, void *owner)
{
    struct h2_session *s = mem_new(struct h2_session);
    *s = (struct h2_session){.loop = l, .io = io, .opts = *o, .ops = ops, .owner = owner};
    struct h2_opts *d = &s->opts;
    d->stream_window = d->stream_window ? d->stream_window : 4u << 20;
    d->connection_window = d->connection_window ? d->connection_window : 16u << 20;
    d->max_frame = d->max_frame ? d->max_frame : 1u << 20;
    d->max_streams = d->max_streams ? d->max_streams : 200;
    d->max_header_list = d->max_header_list ? d->max_header_list : d->server ? 65536 : 16384;
    d->ping_timeout_ms = d->ping_timeout_ms ? d->ping_timeout_ms : 20000;
    d->settings_ms = d->settings_ms ? d->settings_ms : 10000;
    list_init(&s->streams);
    list_init(&s->dirty);
    list_init(&s->gone);
    loop_task_init(&s->flush, flush, s);
    loop_task_init(&s->work, read_more, s);
    loop_task_init(&s->free, reap, s);
    loop_timer_init(&s->timer, l, tick, s);
    s->tokens_at = s->last_recv = loop_now(l);
    s->tokens = TOKENS_MAX;
    s->ng = ng_new(s);
    submit_settings(s);
    io->on_ready = on_io_ready;
    io->owner = s;
    scratch_get();
    tick(s);
    flush_later(s);
    loop_defer(l, &s->work, LOOP_WORK); /* bytes may be there already */
    return s;
}

void h2_session_close(struct h2_session *s, enum rc why)
{
    if (s->dead)
        return;
    s->dead = true;
    s->why = why;
    loop_timer_clear(&s->timer);
    loop_task_cancel(&s->work);
    loop_task_cancel(&s->flush);
    loop_defer(s->loop, &s->free, LOOP_FREE);
}

static uint32_t goaway_code(enum rc why)
{
    switch (why) {
    case RC_PROTO:   return NGHTTP2_PROTOCOL_ERROR;
    case RC_FLOOD:   return NGHTTP2_ENHANCE_YOUR_CALM;
    case RC_TIMEOUT: return NGHTTP2_SETTINGS_TIMEOUT;
    default:         return NGHTTP2_NO_ERROR;
    }
}

/* The farewell: as much as the pipe takes at once, nothing is waited for. */
static void send_goaway(struct h2_session *s)
{
    if (s->io_failed || s->held ||
        nghttp2_session_terminate_session(s->ng, goaway_code(s->why)) != 0)
        return;
    char *out = scratch_get()->out;
    s->out_n = 0;
    if (nghttp2_session_send(s->ng) == 0 && s->out_n)
        (void)io_write(s->io, out, s->out_n).n;
}

static void reap(void *owner)
{
    struct h2_session *s = owner;
    struct h2_stream *st, *tmp;
    LIST_FOREACH_SAFE (st, tmp, &s->gone, node)
        h2_stream_bury(st, st->close_why);
    if (s->dead) {
        while ((st = LIST_FIRST(&s->streams, struct h2_stream, node)))
            h2_stream_bury(st, st->closed ? st->close_why : s->why);
        send_goaway(s);
        s->ops->on_close(s->owner, s->why);
        io_close(s->io, s->why);
        nghttp2_session_del(s->ng);
        h2_headers_clear(&s->headers);
        free(s->held);
        free(s);
        return;
    }
    if (s->n_streams == 0 && !s->idle_told) {
        s->idle_told = true;
        if (s->draining)
            h2_session_close(s, RC_DRAIN);
        else if (s->ops->on_idle)
            s->ops->on_idle(s->owner);
    }
}

void h2_session_drain(struct h2_session *s, int64_t deadline_ms)
{
    if (s->dead)
        return;
    if (!s->draining) {
        s->draining = true;
        if (s->opts.server)
            nghttp2_submit_shutdown_notice(s->ng);
        else
            nghttp2_submit_goaway(s->ng, NGHTTP2_FLAG_NONE, 0, NGHTTP2_NO_ERROR, NULL, 0);
        s->goaway_final_at = loop_now(s->loop) + 1000;
        flush_later(s);
    }
    if (deadline_ms > 0)
        s->drain_at = loop_now(s->loop) + deadline_ms;
    if (s->n_streams == 0)
        h2_session_close(s, RC_DRAIN);
    else
        tick(s);
}

/* -- time: settings deadline, keepalive, drain; one timer -- */

static void tick(void *owner)
{
    struct h2_session *s = owner;
    if (s->dead)
        return;
    int64_t now = loop_now(s->loop), next = INT64_MAX;
    if (!s->settings_seen) {
        if (s->settings_at == 0)
            s->settings_at = now + s->opts.settings_ms;
        if (now >= s->settings_at) {
            h2_session_close(s, RC_TIMEOUT);
            return;
        }
        next = s->settings_at;
    } else if (s->opts.ping_ms) {
        if (s->ping_at && s->last_recv < s->ping_at &&
            now >= s->ping_at + s->opts.ping_timeout_ms) {
            s->io_failed = true; /* nobody there: no farewell either */
            h2_session_close(s, RC_TIMEOUT);
            return;
        }
        if (s->last_recv >= s->ping_at)
            s->ping_at = 0;
        if (!s->ping_at && now >= s->last_recv + s->opts.ping_ms) {
            nghttp2_submit_ping(s->ng, NGHTTP2_FLAG_NONE, NULL);
            s->ping_at = now;
            flush_later(s);
        }
        next = s->ping_at ? s->ping_at + s->opts.ping_timeout_ms : s->last_recv + s->opts.ping_ms;
    }
    if (s->draining && s->goaway_final_at) {
        if (now >= s->goaway_final_at) {
            s->goaway_final_at = 0;
            if (s->opts.server)
                nghttp2_submit_goaway(s->ng, NGHTTP2_FLAG_NONE,
                                      nghttp2_session_get_last_proc_stream_id(s->ng),
                                      NGHTTP2_NO_ERROR, NULL, 0);
            flush_later(s);
        } else {
            next = MIN(next, s->goaway_final_at);
        }
    }
    if (s->drain_at) {
        if (now >= s->drain_at) {
            h2_session_close(s, RC_DRAIN);
            return;
        }
        next = MIN(next, s->drain_at);
    }
    if (next != INT64_MAX)
        loop_timer_set(&s->timer, next - now);
    else
        loop_timer_clear(&s->timer);
}

/* -- bytes in -- */

static void session_failed(struct h2_session *s, enum rc why)
{
    s->io_failed = true;
    h2_session_close(s, s->draining && list_empty(&s->streams) ? RC_DRAIN : why);
}

/* What the batch brought is handed on, stream by stream, before the buffer is used again. */
static void streams_flush(struct h2_session *s)
{
    while (!list_empty(&s->dirty) && !s->dead)
        h2_stream_deliver(container_of(s->dirty.next, struct h2_stream, dirty));
}

static void feed(struct h2_session *s, const char *p, size_t n)
{
    s->last_recv = loop_now(s->loop);
    ssize_t took = nghttp2_session_mem_recv(s->ng, (const uint8_t *)p, n);
    if (took < 0 && s->why == RC_OK)
        s->why = took == NGHTTP2_ERR_FLOODED ? RC_FLOOD : RC_PROTO;
    streams_flush(s);
    if (took < 0)
        h2_session_close(s, s->why);
}

static void read_more(void *owner)
{
    struct h2_session *s = owner;
    struct h2_scratch *buf = scratch_get();
    for (size_t taken = 0; !s->dead;) {
        struct io_result r = io_read(s->io, buf->in, H2_IN_CAP);
        if (r.rc == RC_AGAIN)
            break;
        if (r.rc != RC_OK) {
            session_failed(s, r.rc == RC_EOF && !list_empty(&s->streams) ? RC_RESET : r.rc);
            return;
        }
        feed(s, buf->in, r.n);
        if ((taken += r.n) >= READ_BUDGET) {
            loop_defer(s->loop, &s->work, LOOP_WORK);
            break;
        }
    }
    flush_later(s);
}

/* -- bytes out -- */

static void hold(struct h2_session *s, const char *p, size_t n)
{
    s->held = mem_dup(p, n);
    s->held_at = 0;
    s->held_n = n;
}

/* RC_OK when nothing is left over. */
static enum rc write_out(struct h2_session *s, const char *p, size_t n)
{
    for (size_t at = 0; at < n;) {
        struct io_result r = io_write(s->io, p + at, n - at);
        if (r.rc == RC_AGAIN) {
            s->blocked = true;
            hold(s, p + at, n - at);
            return RC_AGAIN;
        }
        if (r.rc != RC_OK)
            return r.rc;
        at += r.n;
    }
    return RC_OK;
}

static enum rc write_held(struct h2_session *s)
{
    if (!s->held)
        return RC_OK;
    char *old = s->held;
    s->held = NULL;
    enum rc rc = write_out(s, old + s->held_at, s->held_n);
    free(old);
    return rc;
}

static void flush(void *owner)
{
    struct h2_session *s = owner;
    if (s->dead || s->blocked)
        return;
    enum rc rc = write_held(s);
    char *out = scratch_get()->out;
    for (int round = 0; rc == RC_OK; round++) {
        if (round == WRITE_ROUNDS) {
            flush_later(s);
            break;
        }
        s->out_n = 0;
        int err = nghttp2_session_send(s->ng);
        if (s->dead)
            return;
        if (err != 0) {
            h2_session_close(s, err == NGHTTP2_ERR_FLOODED ? RC_FLOOD : RC_PROTO);
            return;
        }
        if (s->out_n == 0)
            break;
        rc = write_out(s, out, s->out_n);
        if (s->out_n < H2_OUT_CAP / 2)
            break; /* it was not the buffer that ended the round */
    }
    streams_flush(s); /* streams that ended by what was sent */
    if (rc != RC_OK && rc != RC_AGAIN)
        session_failed(s, rc);
    else if (!nghttp2_session_want_read(s->ng)) /* nghttp2 ended it, the GOAWAY is out */
        h2_session_close(s, s->peer_goaway || s->draining ? RC_EOF : RC_PROTO);
}

static void on_io_ready(void *owner, unsigned ready)
{
    struct h2_session *s = owner;
    if (s->dead)
        return;
    if (ready & IO_WRITE) {
        s->blocked = false;
        flush_later(s);
    }
    if (ready & IO_READ)
        read_more(s);
}

/* -- looks -- */

struct io *h2_session_io(struct h2_session *s)
{
    return s->io;
}

bool h2_session_usable(const struct h2_session *s)
{
    return !s->dead && !s->draining && !s->peer_goaway;
}

size_t h2_session_streams(const struct h2_session *s)
{
    return s->n_streams;
}

uint32_t h2_session_peer_max_streams(const struct h2_session *s)
{
    return s->settings_seen
               ? nghttp2_session_get_remote_settings(s->ng, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS)
               : UINT32_MAX;
}

size_t h2_session_buffered(const struct h2_session *s)
{
    return s->held ? s->held_n : 0;
}
