/* Bytes between an application's TCP connection and a stream of a tunnel, both ways, byte-exact:
 * half-close as half-close, reset as reset, backpressure end to end (the stream's window).
 *
 * Towards the tunnel nothing is buffered: the socket is read straight into the frame. Towards the
 * application bytes are written from the receive buffer of the session; only what the socket does
 * not take is kept, at most one stream window.
 * Owner: embedded in a connection; app and stream belong to the relay once it was given them.
 * Thread: the loop of both. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/http/h2_session.h"
#include "lib/net/bufq.h"
#include "lib/net/io_tcp.h"

#define RELAY_IOV   16
#define RELAY_EARLY (32 * 1024) /* bytes sent with the CONNECT, before its answer */

struct relay;
struct relay_ops {
    /* Client side: the answer to CONNECT; RC_OK goes on, anything else ends the relay with it. */
    enum rc (*on_headers)(void *owner, const struct h2_headers *hs);
    /* The last callback: both directions ended (RC_OK), or why not. The relay has let go of app
     * and stream; the owner frees it at the end of the turn at the earliest. */
    void (*on_done)(void *owner, enum rc why);
};

struct relay {
    struct io_tcp app;
    struct h2_stream *stream;
    const struct relay_ops *ops;
    void *owner;
    uint64_t up, down; /* bytes: application to tunnel, tunnel to application */
    struct bufq held;  /* what the application has not taken */
    struct iovec iov[RELAY_IOV];
    int iov_n;
    size_t iov_bytes;
    bool answered;    /* the peer's headers came (client), or ours went out (server) */
    bool app_open;    /* connected; before that nothing is read or written */
    bool app_eof;     /* the application sends no more */
    bool tunnel_end;  /* the peer sends no more */
    bool app_shut;    /* and the application was told */
    bool stream_gone; /* the stream has had its last callback */
    bool done;
};

/* r is cleared. app is opened (io_tcp_open on r->app) before or later; until relay_app_opened() its
 * on_ready is the owner's. */
void relay_init(struct relay *r, const struct relay_ops *ops, void *owner);
/* Stream callbacks with the relay as owner: for h2_stream_open() and h2_stream_accept(). */
extern const struct h2_stream_ops relay_stream_ops;
/* The application's connection is usable (accepted, or connect() finished). */
void relay_app_opened(struct relay *r);
/* Server: the answer went out, bytes may flow. */
void relay_answered(struct relay *r);
/* Server: answers with these headers and no body instead, closes the application, on_done(why). */
void relay_refuse(struct relay *r, const struct h2_header *h, size_t n, enum rc why);
/* Ends it now: both sides are closed, RST where why is a failure; on_done(why) is called. */
void relay_close(struct relay *r, enum rc why);
