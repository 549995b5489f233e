/* nghttp2's callbacks: frames out and in, and what they cost. */
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/must.h"
#include "lib/http/h2_priv.h"

/* -- nghttp2 callbacks: sending -- */

static ssize_t on_send(nghttp2_session *ng, const uint8_t *data, size_t n, int flags, void *user)
{
    (void)ng, (void)flags;
    struct h2_session *s = user;
    size_t room = H2_OUT_CAP - s->out_n;
    if (room == 0)
        return NGHTTP2_ERR_WOULDBLOCK;
    n = MIN(n, room);
    memcpy(s->out + s->out_n, data, n);
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
    struct io_result r = st->ops->pull(st->owner, s->out + s->out_n + H2_FRAME_HEAD, cap);
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
    memcpy(s->out + s->out_n, head, H2_FRAME_HEAD);
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
#define H2_TOKENS_MAX 20000
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
    s->tokens = MIN(s->tokens, (int64_t)H2_TOKENS_MAX) - cost;
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
    } else if (st->ops && !st->detached && st->ops->on_headers) {
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
                h2_session_tick(s);
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

nghttp2_session *h2_ng_new(struct h2_session *s)
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
