/* The way to a gRPC server of ours (the controller's ADS and CA): one HTTP/2 session over TLS, made
 * when it is wanted, kept, and made anew after it ended or the trust roots changed.
 *
 * No back-off here: who asks again decides when. The roots' file is read at each connect and when its
 * folder changes (inotify); the comparison is by content. The token's file is read for each call.
 * Thread: one loop. */
#pragma once

#include "lib/base/list.h"
#include "lib/http/grpc.h"
#include "lib/mtls/mtls.h"

#define CHANNEL_PORT 15012 /* when the URL names none */

struct channel;

struct channel_opts {                  /* all copied */
    const char *url;                   /* "https://HOST[:PORT]", or without the scheme */
    const char *roots;                 /* path of a PEM file, or the PEM text */
    const char *token;                 /* path of a file, or the token itself; NULL: none is sent */
    const char *cluster_id;            /* header clusterid, NULL: none */
    const struct grpc_header *headers; /* more metadata for each call */
    size_t n_headers;                  /* at most CHANNEL_HEADERS */
};
#define CHANNEL_HEADERS 12

/* RC_INVALID: the URL. Nothing is read or connected yet. */
NODISCARD enum rc channel_new(struct loop *l, const struct channel_opts *o, struct channel **ret,
                              struct errmsg *ret_msg);
/* Closes the session; its calls end with GRPC_UNAVAILABLE at the end of the turn. Waits are dropped
 * silently. NULL is legal. */
void channel_free(struct channel *ch);
const char *channel_url(const struct channel *ch); /* normalised, for logs */

/* Exactly once, never from inside channel_get(): a session that is ready for calls, valid in the
 * callback, or NULL and why not. */
typedef void channel_ready_fn(void *owner, struct h2_session *s, const char *error);
struct channel_wait {
    struct list node;
    channel_ready_fn *fn;
    void *owner;
};
void channel_get(struct channel *ch, struct channel_wait *w, channel_ready_fn *fn, void *owner);
void channel_wait_cancel(struct channel_wait *w); /* legal when nothing is waited for */

/* grpc_open() with the token and the headers of the channel. NULL: no token, or the session takes no
 * more calls. */
struct grpc_call *channel_call(struct channel *ch, struct h2_session *s, const char *path,
                               size_t max_message, const struct grpc_ops *ops, void *owner,
                               struct errmsg *ret_msg);
