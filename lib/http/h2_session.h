/* HTTP/2 (RFC 9113) over any byte pipe, driven by nghttp2: bytes in, callbacks; what has to go out
 * is gathered once at the end of the loop turn, in one buffer, one write.
 *
 * Bodies are never buffered here. Incoming bytes are handed on as views into the worker's receive
 * buffer (on_data, valid until on_flush returned) and stay charged to the flow-control window
 * until h2_stream_consume(): windows are the backpressure. Outgoing bytes are pulled straight into
 * the frame (ops->pull) when there is window and room for them.
 *
 * Callbacks may call anything of this header, closing included; objects are freed at the end of
 * the turn. Floods (resets, pings, settings, empty frames, header bombs) end the session with
 * GOAWAY ENHANCE_YOUR_CALM and RC_FLOOD. Thread: one loop. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/str.h"
#include "lib/event/loop.h"
#include "lib/net/io.h"

struct h2_session;
struct h2_stream;

struct h2_header {
    struct str name, value;
};
#define H2_HEADERS_MAX 64
struct h2_headers {      /* views valid during the callback */
    struct h2_header *h; /* pseudo headers included, names in lower case */
    size_t n;
};
/* Empty string (p == NULL) when absent. */
struct str h2_header_get(const struct h2_headers *hs, const char *name);
/* ":status", 0 when absent or malformed. */
int h2_status(const struct h2_headers *hs);

struct h2_stream_ops {
    /* Response headers (client), or trailers (both, trailers == true). */
    void (*on_headers)(void *owner, const struct h2_headers *hs, bool trailers);
    /* Fill dst with up to cap bytes of body. RC_AGAIN: not now, h2_stream_resume() will follow.
     * RC_EOF: END_STREAM (with the trailers set by h2_stream_trailers). Failure: RST_STREAM. */
    struct io_result (*pull)(void *owner, void *dst, size_t cap);
    void (*on_data)(void *owner, const void *p, size_t n);
    void (*on_flush)(void *owner); /* after the last on_data of this batch */
    void (*on_end)(
        void *owner); /* END_STREAM: the peer sends no more; after its data was flushed */
    /* The last callback. RC_OK: both directions ended; RC_RESET: the peer reset it; else why. */
    void (*on_close)(void *owner, enum rc why);
};

struct h2_session_ops {
    /* Server: a request. Call h2_stream_accept() (now, before returning) or h2_stream_respond()
     * with end; a stream left without either is refused. hs->:method etc. are checked by nghttp2. */
    void (*on_request)(void *owner, struct h2_stream *s, const struct h2_headers *hs);
    void (*on_settings)(void *owner); /* the peer's first SETTINGS arrived; may be NULL */
    void (*on_goaway)(void *owner);   /* the peer opens or takes no new streams; may be NULL */
    void (*on_idle)(void *owner);     /* the last stream ended; may be NULL */
    /* The last callback; every stream had its on_close before. */
    void (*on_close)(void *owner, enum rc why);
};

struct h2_opts {
    bool server;
    bool connect_only;      /* server: HBONE; requests other than CONNECT are answered 400 by us */
    uint32_t stream_window; /* 0: 4 MiB */
    uint32_t connection_window; /* 0: 16 MiB */
    uint32_t max_frame;         /* advertised, 0: 1 MiB */
    uint32_t max_streams;       /* advertised by servers, 0: 200 */
    uint32_t max_header_list;   /* bytes, 0: 16 KiB client, 64 KiB server */
    int64_t ping_ms;            /* keepalive interval, 0: none */
    int64_t ping_timeout_ms;    /* 0: 20,000 */
    int64_t settings_ms;        /* deadline for the peer's preface and first SETTINGS, 0: 10,000 */
};

/* Takes io, whose handshake may still be under way. The preface goes out with the first flush. */
struct h2_session *h2_session_new(struct loop *l, struct io *io, const struct h2_opts *o,
                                  const struct h2_session_ops *ops, void *owner);
struct io *h2_session_io(struct h2_session *s); /* borrowed */
/* Sends GOAWAY and closes once all streams ended; with deadline_ms > 0 at the latest then. */
void h2_session_drain(struct h2_session *s, int64_t deadline_ms);
/* Ends it now: streams get on_close(why), the session on_close(why) at the end of this turn. */
void h2_session_close(struct h2_session *s, enum rc why);
bool h2_session_usable(const struct h2_session *s); /* new client streams are welcome */
size_t h2_session_streams(const struct h2_session *s);
uint32_t h2_session_peer_max_streams(const struct h2_session *s); /* UINT32_MAX until SETTINGS */
size_t h2_session_buffered(const struct h2_session *s);           /* bytes held for a slow pipe */

/* Client: sends the request's headers. end: no body. NULL when the session takes no more streams. */
struct h2_stream *h2_stream_open(struct h2_session *s, const struct h2_header *h, size_t n,
                                 bool end, const struct h2_stream_ops *ops, void *owner);
/* Server: this stream is ours now. */
void h2_stream_accept(struct h2_stream *s, const struct h2_stream_ops *ops, void *owner);
/* Server: response headers; unless end the body is pulled. */
void h2_stream_respond(struct h2_stream *s, const struct h2_header *h, size_t n, bool end);
/* To be sent when pull says RC_EOF. Copied. */
void h2_stream_trailers(struct h2_stream *s, const struct h2_header *h, size_t n);
void h2_stream_resume(struct h2_stream *s); /* pull may have something */
/* In on_flush: END_STREAM has come with these bytes, on_end follows at once. */
bool h2_stream_ending(const struct h2_stream *s);
void h2_stream_consume(struct h2_stream *s, size_t n); /* these bytes of on_data are through */
/* RST_STREAM: RC_OK and RC_EOF become NO_ERROR, RC_RESET CONNECT_ERROR (RFC 9113 8.5), RC_CLOSED and
 * RC_DRAIN CANCEL, RC_DENIED REFUSED_STREAM, others INTERNAL_ERROR. on_close is not called any more. */
void h2_stream_close(struct h2_stream *s, enum rc why);
/* The answer was given whole (h2_stream_respond with end): the owner wants no callback any more, the
 * stream is not reset. */
void h2_stream_release(struct h2_stream *s);
struct h2_session *h2_stream_session(struct h2_stream *s);
