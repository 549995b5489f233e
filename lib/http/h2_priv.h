/* What h2_session.c and h2_stream.c share; for nobody else. */
#pragma once

#include <nghttp2/nghttp2.h>

#include "lib/http/h2_session.h"

#define H2_FRAME_HEAD 9            /* bytes of a frame's head (RFC 9113 4.1) */
#define H2_FRAME_MIN  2048         /* room below which a frame waits for the next buffer */
#define H2_FRAME_CAP  (128 * 1024) /* body of one DATA frame at most */
#define H2_TOKENS_MAX 20000        /* control frames at once, in units of cost */
#define H2_IN_CAP     (256 * 1024) /* plaintext taken in one read */
#define H2_OUT_CAP    (256 * 1024) /* plaintext written at once */

struct h2_header_list {
    struct h2_header h[H2_HEADERS_MAX];
    nghttp2_rcbuf *kept[2 * H2_HEADERS_MAX];
    size_t n, bytes;
};
bool h2_headers_add(struct h2_header_list *l, nghttp2_rcbuf *name, nghttp2_rcbuf *value,
                    size_t max);
void h2_headers_clear(struct h2_header_list *l);

struct h2_session {
    struct loop *loop;
    struct io *io;
    struct h2_opts opts;
    const struct h2_session_ops *ops;
    void *owner;
    nghttp2_session *ng;
    struct list streams, dirty, gone;
    size_t n_streams;
    struct loop_task flush, work, free;
    struct loop_timer timer;
    int64_t settings_at, ping_at, last_recv, drain_at, goaway_final_at;
    bool dead, io_failed, blocked, draining, peer_goaway, settings_seen, idle_told;
    enum rc why;
    char *out;     /* the thread's out buffer, during flush */
    size_t out_n;  /* bytes in it */
    uint64_t sent; /* DATA bytes, towards flood credit */
    int64_t tokens, tokens_at;
    char *held; /* plaintext that the pipe did not take */
    size_t held_at, held_n;
    struct h2_header_list headers;
};

struct h2_stream {
    struct list node;  /* in session->streams, or gone */
    struct list dirty; /* in session->dirty */
    struct h2_session *s;
    const struct h2_stream_ops *ops; /* NULL: not accepted (yet) */
    void *owner;
    struct h2_header *trailers; /* owned copies */
    size_t trailers_n;
    size_t unconsumed; /* bytes still charged to the windows */
    int32_t id;
    enum rc close_why;
    bool detached; /* the owner wants no callback any more */
    bool deferred; /* pull said RC_AGAIN */
    bool headers_done, responded, end_seen, end_told, end_sent, closed;
};

nghttp2_session *h2_ng_new(struct h2_session *s);
void h2_session_tick(void *session); /* deadlines, keepalive */
struct h2_stream *h2_stream_new(struct h2_session *s);
void h2_stream_dirty(struct h2_stream *st);
void h2_stream_deliver(struct h2_stream *st); /* takes it off the dirty list */
void h2_stream_fail(struct h2_stream *st, enum rc why);
void h2_stream_send_trailers(struct h2_stream *st);
void h2_stream_bury(struct h2_stream *st, enum rc why); /* last callback, frees */
void h2_session_flush_later(struct h2_session *s);
/* Body of the next DATA frame, behind the gap for its head; nghttp2's read callback. */
ssize_t h2_session_pull(struct h2_session *s, struct h2_stream *st, size_t cap, uint32_t *flags);
enum rc h2_rc_from_code(uint32_t code, bool both_ended);
