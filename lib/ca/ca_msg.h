/* Messages of istio.v1.auth.IstioCertificateService, both sides. Any thread. */
#pragma once

#include "lib/base/rc.h"
#include "lib/base/str.h"

#define CA_PATH         "/istio.v1.auth.IstioCertificateService/CreateCertificate"
#define CA_REQUEST_MAX  (64 * 1024)   /* bytes; a CSR has at most 16 KiB */
#define CA_RESPONSE_MAX (1024 * 1024) /* bytes */
#define CA_CHAIN_MAX    18            /* elements: leaf, intermediates, roots */

struct ca_csr {              /* IstioCertificateRequest */
    struct str csr;          /* PEM */
    int64_t valid_s;         /* 0: the authority's default */
    struct str impersonated; /* metadata ImpersonatedIdentity, empty: the caller's own */
};
/* Views into bytes. Unknown fields and metadata are ignored, as Istio does. RC_INVALID. */
NODISCARD enum rc ca_csr_decode(struct str bytes, struct ca_csr *ret);
void ca_csr_encode(const struct ca_csr *m, struct strbuf *out);

struct ca_chain { /* IstioCertificateResponse: leaf, intermediates, last all roots in one text */
    struct str pem[CA_CHAIN_MAX];
    size_t n;
};
/* RC_INVALID, RC_LIMIT (too many elements). */
NODISCARD enum rc ca_chain_decode(struct str bytes, struct ca_chain *ret);
void ca_chain_encode(const struct ca_chain *m, struct strbuf *out);
