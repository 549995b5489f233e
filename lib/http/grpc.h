/* gRPC over HTTP/2 (unary and streaming, both sides): length-prefixed messages and status.
 * Thread: one loop. */
#pragma once

#include "lib/http/h2_session.h"

enum grpc_status { /* https://github.com/grpc/grpc/blob/master/doc/statuscodes.md */
                   GRPC_OK = 0,
                   GRPC_CANCELLED = 1,
                   GRPC_UNKNOWN = 2,
                   GRPC_INVALID_ARGUMENT = 3,
                   GRPC_DEADLINE_EXCEEDED = 4,
                   GRPC_NOT_FOUND = 5,
                   GRPC_PERMISSION_DENIED = 7,
                   GRPC_RESOURCE_EXHAUSTED = 8,
                   GRPC_UNIMPLEMENTED = 12,
                   GRPC_INTERNAL = 13,
                   GRPC_UNAVAILABLE = 14,
                   GRPC_UNAUTHENTICATED = 16,
};

const char *grpc_status_name(enum grpc_status s); /* "unauthenticated"; "unknown" for others */

struct grpc_call; /* one RPC, client or server side */

struct grpc_ops {
    /* A part of a message: total is its whole length, at where this part starts. Parts arrive in
     * order; a message of length 0 gives one part of length 0. Large messages are thus decoded
     * without holding them whole. Not copied: valid during the call only. */
    void (*on_part)(void *owner, const void *p, size_t n, size_t at, size_t total);
    void (*on_half_close)(void *owner); /* server: the client sends no more; may be NULL */
    void (*on_writable)(void *owner);   /* grpc_pending() fell to 0; may be NULL */
    /* The last callback. message is text of the status. */
    void (*on_done)(void *owner, enum grpc_status status, struct str message);
};

struct grpc_header { /* metadata; names in lower case */
    const char *name;
    struct str value;
};

/* Client: POST path ("/pkg.Service/Method"). max_message: of incoming ones, bytes (over it the call
 * ends with GRPC_RESOURCE_EXHAUSTED). NULL when the session takes no more streams. */
struct grpc_call *grpc_open(struct h2_session *s, struct str authority, const char *path,
                            const struct grpc_header *h, size_t n, size_t max_message,
                            const struct grpc_ops *ops, void *owner);
/* Server: from on_request of the session. Answers 415 and the like by itself (returns NULL). */
struct grpc_call *grpc_accept(struct h2_stream *s, const struct h2_headers *hs, size_t max_message,
                              const struct grpc_ops *ops, void *owner);
/* Server: refuse a request (unknown method, authentication) without accepting it. */
void grpc_refuse(struct h2_stream *s, enum grpc_status status, const char *message);

/* Queues one message (copied). */
void grpc_send(struct grpc_call *c, const void *p, size_t n);
/* The same in pieces: total is announced first, then the pieces add up to it. */
void grpc_send_begin(struct grpc_call *c, size_t total);
void grpc_send_piece(struct grpc_call *c, const void *p, size_t n);
size_t grpc_pending(const struct grpc_call *c); /* bytes queued, not yet taken by HTTP/2 */
void grpc_half_close(struct grpc_call *c);      /* client: no more messages */
/* Server: ends the call with a status once the queue is sent. No callback follows. */
void grpc_finish(struct grpc_call *c, enum grpc_status status, const char *message);
/* Either side: reset, no callback follows. */
void grpc_cancel(struct grpc_call *c);
