/* The controller's main thread: a folder's objects into the model, the model's translation to every proxy
 * that is connected, and certificates for those who may have them. Thread: main. */
#pragma once

#include "lib/base/str.h"
#include "lib/event/loop.h"
#include "lib/net/addr.h"

struct controller;

struct controller_opts {
    const char *source; /* folder of objects */
    const char *state;  /* folder of ours: authority, tokens, last good states. Made when absent. */
    struct addr at;     /* of port 15012 */
    const struct str
        *names; /* DNS names and addresses of the serving certificate, besides its own */
    size_t n_names;
    const char *trust_domain, *cluster_domain, *cluster_id, *root_ns;
    void (*on_ready)(void *owner); /* everything the source first told can be served */
    void *owner;
};

/* Texts are borrowed for its life. RC_IO, RC_CERT, RC_INVALID: what is wrong, and the remedy. */
NODISCARD enum rc controller_new(struct loop *l, const struct controller_opts *o,
                                 struct controller **ret, struct errmsg *msg);
void controller_free(struct controller *c); /* NULL is legal */
/* Takes no new connections and asks clients to go elsewhere; fn when they are gone, or after ms. */
void controller_drain(struct controller *c, int64_t ms, void (*fn)(void *owner), void *owner);
void controller_local(const struct controller *c, struct addr *ret); /* where it listens */

/* JSON, for the debug page: problems of the source, conditions of policies, connected proxies, sizes. */
void controller_status(void *controller, struct strbuf *out);
