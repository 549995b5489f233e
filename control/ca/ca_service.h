/* CreateCertificate on port 15012: one call in, one certificate or one refusal out.
 * Thread: main. */
#pragma once

#include "control/ca/csr_service.h"
#include "lib/http/grpc.h"
#include "lib/net/addr.h"

struct ca_service;

struct ca_service_opts {
    struct csr_service csr; /* copied; the authority is borrowed */
    struct tokens *tokens;  /* borrowed */
};
struct ca_service *ca_service_new(const struct ca_service_opts *o);
/* Calls under way are reset. Before the sessions' loop turns again. NULL is legal. */
void ca_service_free(struct ca_service *s);

/* A request for CA_PATH (lib/ca/ca_msg.h), from on_request of the session: authenticates the caller by
 * its token, then answers in its own time. peer: for the log. False: the caller is not authenticated. */
bool ca_service_request(struct ca_service *s, struct h2_stream *stream, const struct h2_headers *hs,
                        const struct addr *peer);
