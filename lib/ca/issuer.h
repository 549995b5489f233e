/* Where certificates come from, as the manager (certs.h) sees it. ca_client.h is one. */
#pragma once

#include "lib/cert/cert.h"

struct ca_result {
    enum rc rc;          /* RC_OK, or why not */
    struct cert *cert;   /* borrowed; of the identity asked for, checked, in date */
    struct trust *trust; /* borrowed; the roots that came with it */
    const char *error;   /* text for humans, "" when rc is RC_OK */
};
/* Once for each request, unless it was cancelled; never from inside request(). */
typedef void ca_done_fn(void *owner, const struct ca_result *r);

struct ca_issuer {
    void *self;
    /* Returns a handle, valid until done was called. */
    void *(*request)(void *self, struct identity *id, ca_done_fn *done, void *owner);
    void (*cancel)(void *self, void *request);
};
