/* A certificate with its private key and chain, ready for use; and the roots peers are checked
 * against. Immutable and counted; any thread. */
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "lib/base/rc.h"
#include "lib/base/ref.h"
#include "lib/base/str.h"
#include "lib/cert/identity.h"

#define CERT_PEM_MAX   (256 * 1024) /* bytes of any PEM text we read */
#define CERT_CHAIN_MAX 16           /* certificates in a chain, or roots in a bundle: 64 */
#define CERT_ROOTS_MAX 64

struct trust { /* trust roots */
    struct ref ref;
    STACK_OF(X509) * roots;
    uint64_t hash; /* of the DER bytes, so that an unchanged bundle is recognised */
};
/* One or more PEM certificates; anything else between them is an error. */
NODISCARD enum rc trust_parse(struct str pem, struct trust **ret, struct errmsg *ret_msg);
NODISCARD enum rc trust_load(const char *path, struct trust **ret, struct errmsg *ret_msg);
struct trust *trust_ref(struct trust *t);
void trust_unref(struct trust *t);

struct cert {
    struct ref ref;
    X509 *leaf;
    STACK_OF(X509) * chain; /* intermediates, leaf's issuer first; the root is not in it */
    EVP_PKEY *key;
    struct identity *id;               /* first SPIFFE URI SAN, NULL when there is none */
    int64_t not_before_s, not_after_s; /* seconds since 1970 */
    char serial[48];                   /* hex */
};
/* chain: leaf first. Checks that the key belongs to the leaf. Takes nothing. */
NODISCARD enum rc cert_make(STACK_OF(X509) * chain, EVP_PKEY *key, struct cert **ret,
                            struct errmsg *ret_msg);
NODISCARD enum rc cert_parse(struct str chain_pem, struct str key_pem, struct cert **ret,
                             struct errmsg *ret_msg);
struct cert *cert_ref(struct cert *c);
void cert_unref(struct cert *c);
/* First SPIFFE URI SAN of a certificate; RC_CERT when there is none. */
NODISCARD enum rc cert_identity(X509 *x, struct identity **ret);
/* PEM of one certificate, appended. */
void cert_to_pem(X509 *x, struct strbuf *out);

/* -- keys and signing requests (lib/cert/key.c) -- */
NODISCARD enum rc key_new(EVP_PKEY **ret);                       /* ECDSA P-256 */
NODISCARD enum rc key_to_pem(EVP_PKEY *key, struct strbuf *out); /* PKCS#8 */
/* CSR with an empty subject and one critical URI SAN, SHA-256, PEM. */
NODISCARD enum rc csr_make(EVP_PKEY *key, const struct identity *id, struct strbuf *out_pem);
