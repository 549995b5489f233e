/* Tunnels to other pods' port 15008, shared by the connections of one pod: HTTP/2 over one mTLS
 * connection per key, more only when its streams are used up. A stream may be opened while the tunnel
 * is still connecting: it waits inside, and fails with the tunnel's reason.
 *
 * Key: destination address and port, the identities that are accepted there (the source identity and
 * address are the pool's: one pod). A tunnel dies with its pod's pool, when its certificate's context
 * was replaced it takes no new streams, when the peer sends GOAWAY likewise, and when it was unused
 * for idle_ms.
 * Thread: one loop. */
#pragma once

#include <stdint.h>

#include "lib/http/h2_session.h"
#include "lib/mtls/mtls.h"
#include "lib/net/addr.h"

struct pool;

struct pool_opts {
    int netns;              /* where tunnels are dialled from; borrowed; -1 = own */
    uint32_t mark;          /* SO_MARK of the sockets */
    unsigned max_streams;   /* per tunnel */
    int64_t idle_ms;        /* unused tunnels close */
    int64_t connect_ms;     /* deadline of TCP connect; TLS and SETTINGS have their own */
    struct h2_opts h2;      /* windows, frames, ping; server is ignored */
    const char *congestion; /* TCP_CONGESTION, NULL = the host's */
};

struct pool_key {
    struct addr dst;                /* with port */
    struct identity *const *any_of; /* at least one */
    size_t n_any_of;
};

struct pool *pool_new(struct loop *l, const struct pool_opts *o);
/* Closes all tunnels; their streams get why. */
void pool_free(struct pool *p, enum rc why);
/* Tunnels of another context than this are drained: they finish what they carry. */
void pool_use_ctx(struct pool *p, struct mtls_ctx *ctx);
/* Opens a stream to the key's destination with these headers. NULL with *ret_rc: no descriptor, no
 * certificate, connect() refused at once. */
struct h2_stream *pool_open(struct pool *p, const struct pool_key *key, const struct h2_header *h,
                            size_t n, const struct h2_stream_ops *ops, void *owner,
                            enum rc *ret_rc);
/* Text of the last failure of the tunnel that carries the stream ("" when none), for the log. */
const char *pool_error(struct h2_stream *s);
/* Tunnels to this address are closed now (its pod is gone): GOAWAY, streams end. */
void pool_drop_peer(struct pool *p, const struct addr *ip);
size_t pool_tunnels(const struct pool *p);
