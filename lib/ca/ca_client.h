/* Asks the controller's certificate authority (Istio's CreateCertificate) for certificates.
 *
 * A new key for each request; the answer is used only if its chain ends in the roots that came with
 * it, serves both purposes, names exactly the identity asked for and belongs to the key. One kept
 * connection (lib/http/channel.h). Thread: main. */
#pragma once

#include "lib/ca/issuer.h"
#include "lib/event/loop.h"
#include "lib/http/channel.h"

#define CA_DEADLINE_MS 10000 /* of one request, connecting included */

struct ca_client_opts {
    struct channel_opts channel;
    int64_t valid_s;  /* life to ask for, 0: 24 h */
    bool impersonate; /* send ImpersonatedIdentity: the token is the node's, not the workload's */
};

struct ca_client;
/* RC_INVALID: the URL. */
NODISCARD enum rc ca_client_new(struct loop *l, const struct ca_client_opts *o,
                                struct ca_client **ret, struct errmsg *ret_msg);
void ca_client_free(struct ca_client *c); /* after the manager that uses it; NULL is legal */
/* For certs_new(). Failures: RC_TIMEOUT, RC_UNAUTHENTICATED (refused), RC_IO (no connection), RC_CERT
 * (a bad answer), RC_STATUS (any other status). */
struct ca_issuer ca_client_issuer(struct ca_client *c);
