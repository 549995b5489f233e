/* The session: nghttp2 between a byte pipe and the streams. Streams are in h2_stream.c. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/must.h"
#include "lib/base/scratch.h"
#include "lib/http/h2_priv.h"

#define READ_BUDGET  (1024 * 1024) /* bytes a session may take in one turn */
#define WRITE_ROUNDS 4             /* buffers a session may send in one turn */

/* Shared by all sessions of a thread: what is read is handed on, and what is to be written is
 * encrypted, before the turn goes on to another session. */
struct h2_scratch {
    char in[H2_IN_CAP];
    char out[H2_OUT_CAP];
};

static struct h2_scratch *scratch_of_thread(void)
{
    return scratch_get(SCRATCH_H2, sizeof(struct h2_scratch));
}

static void flush(void *owner);
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

/* -- life -- */

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
    loop_timer_init(&s->timer, l, h2_session_tick, s);
    s->tokens_at = s->last_recv = loop_now(l);
    s->tokens = H2_TOKENS_MAX;
    s->ng = h2_ng_new(s);
    submit_settings(s);
    io->on_ready = on_io_ready;
    io->owner = s;
    h2_session_tick(s);
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
    s->out = scratch_of_thread()->out;
    s->out_n = 0;
    if (nghttp2_session_send(s->ng) == 0 && s->out_n)
        (void)io_write(s->io, s->out, s->out_n).n;
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
        h2_session_tick(s);
}

/* -- time: settings deadline, keepalive, drain; one timer -- */

void h2_session_tick(void *owner)
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
    struct h2_scratch *buf = scratch_of_thread();
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
    s->out = scratch_of_thread()->out;
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
        rc = write_out(s, s->out, s->out_n);
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
