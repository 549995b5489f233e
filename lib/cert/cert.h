/* A certificate with its private key and chain, ready for use; and the roots peers are checked
 * against. Immutable and counted; any thread. */
#pragma once

#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "lib/base/mem.h"
#include "lib/base/rc.h"
#include "lib/base/ref.h"
#include "lib/base/str.h"
#include "lib/cert/identity.h"

#define CERT_PEM_MAX   (256 * 1024) /* bytes of any PEM text we read */
#define CERT_CHAIN_MAX 16           /* certificates in a chain; roots in a bundle: 64 */
#define CERT_ROOTS_MAX 64
#define CERT_DEPTH_MAX 8 /* intermediates between a leaf and a root that verification follows */

DEFINE_AUTO(X509 *, X509_free)
DEFINE_AUTO(EVP_PKEY *, EVP_PKEY_free)
DEFINE_AUTO(BIO *, BIO_free_all)

/* OpenSSL without its configuration file: the program works in an empty chroot and no file of the
 * host weakens it. Every function that needs it calls it; idempotent, any thread. */
void cert_init(void);
/* "what: reason of OpenSSL", which is taken off this thread's error queue; e may be NULL. Every
 * failed call into OpenSSL ends here, for a stale queue misleads the next TLS session. */
void cert_errmsg(struct errmsg *e, const char *what);

struct trust { /* trust roots */
    struct ref ref;
    STACK_OF(X509) * roots;
    uint64_t hash; /* of the DER bytes, so that an unchanged bundle is recognised */
};
/* One or more PEM certificates. Text around them is allowed (RFC 7468); other blocks, broken ones
 * and none at all are errors. A certificate that occurs twice counts once. Expired roots stay in:
 * they trust nobody. RC_CERT, RC_LIMIT. */
NODISCARD enum rc trust_parse(struct str pem, struct trust **ret, struct errmsg *ret_msg);
/* The same from a file; RC_NOT_FOUND, RC_IO. */
NODISCARD enum rc trust_load(const char *path, struct trust **ret, struct errmsg *ret_msg);
struct trust *trust_ref(struct trust *t);
void trust_unref(struct trust *t); /* NULL is legal */
DEFINE_AUTO(struct trust *, trust_unref)

struct cert {
    struct ref ref;
    X509 *leaf;
    STACK_OF(X509) * chain; /* intermediates, leaf's issuer first; the root is not in it */
    EVP_PKEY *key;
    struct identity *id;               /* first SPIFFE URI SAN, NULL when there is none */
    int64_t not_before_s, not_after_s; /* seconds since 1970 */
    char serial[48];                   /* hex */
};
/* chain: leaf first, self-signed ones are left out. Checks that the key belongs to the leaf. Takes
 * nothing. RC_CERT, RC_LIMIT. Whether it is in date is the user's question: it is when used. */
NODISCARD enum rc cert_make(STACK_OF(X509) * chain, EVP_PKEY *key, struct cert **ret,
                            struct errmsg *ret_msg);
NODISCARD enum rc cert_parse(struct str chain_pem, struct str key_pem, struct cert **ret,
                             struct errmsg *ret_msg);
struct cert *cert_ref(struct cert *c);
void cert_unref(struct cert *c); /* NULL is legal */
DEFINE_AUTO(struct cert *, cert_unref)

/* PEM certificates, at most max: the rules of trust_parse(), duplicates kept. The caller frees the
 * stack (OSSL_STACK_OF_X509_free). */
NODISCARD enum rc cert_list_parse(struct str pem, int max, STACK_OF(X509) * *ret,
                                  struct errmsg *ret_msg);
/* First SPIFFE URI SAN of a certificate; RC_CERT when there is none. */
NODISCARD enum rc cert_identity(X509 *x, struct identity **ret);
/* All of them in the certificate's order: calls fn until it answers true. Returns whether one did.
 * The identity is borrowed. */
typedef bool cert_identity_fn(void *arg, struct identity *id);
bool cert_each_identity(X509 *x, cert_identity_fn *fn, void *arg);
/* Seconds since 1970 of one of its times; RC_CERT when malformed. */
NODISCARD enum rc cert_time(const ASN1_TIME *t, int64_t *ret_s);
/* Decimal serial number, as Istio's admin pages show it. */
void cert_serial_decimal(X509 *x, struct strbuf *out);
/* PEM of one certificate, appended. */
void cert_to_pem(X509 *x, struct strbuf *out);
/* Does the leaf chain up to the trust, now, for this purpose (X509_PURPOSE_SSL_CLIENT, …)?
 * chain may be NULL. RC_CERT with the reason. */
NODISCARD enum rc cert_verify(X509 *leaf, STACK_OF(X509) * chain, const struct trust *t,
                              int purpose, struct errmsg *ret_msg);

/* -- keys and signing requests (lib/cert/key.c) -- */
NODISCARD enum rc key_new(EVP_PKEY **ret);                       /* ECDSA P-256 */
NODISCARD enum rc key_to_pem(EVP_PKEY *key, struct strbuf *out); /* PKCS#8 */
/* PKCS#8 or the older forms, never encrypted. RC_CERT, RC_LIMIT. */
NODISCARD enum rc key_parse(struct str pem, EVP_PKEY **ret, struct errmsg *ret_msg);
/* Strong enough to be signed or to sign: EC on P-256 or P-384, RSA of 2048 to 8192 bits. */
NODISCARD enum rc key_check(EVP_PKEY *key, struct errmsg *ret_msg);
/* CSR with an empty subject and one critical URI SAN, SHA-256, PEM. */
NODISCARD enum rc csr_make(EVP_PKEY *key, const struct identity *id, struct strbuf *out_pem);
#define CSR_PEM_MAX (16 * 1024) /* bytes: RSA 8192 with a few extensions fits */
/* One PEM request: its signature and key are checked (key_check), what it asks for is ignored.
 * ret_key: the public key to sign. RC_INVALID, RC_LIMIT. */
NODISCARD enum rc csr_parse(struct str pem, EVP_PKEY **ret_key, struct errmsg *ret_msg);

/* -- signing (lib/cert/sign.c) -- */
#define CERT_BACKDATE_S 120 /* notBefore lies this far back: clocks differ */
struct cert_spec {
    EVP_PKEY *key;             /* public key of the new certificate */
    const struct identity *id; /* URI SAN, or NULL */
    const struct str *names;   /* DNS names and IP addresses (as text) as SANs */
    size_t n_names;
    int64_t now_s, valid_s; /* notAfter is clipped to the signer's */
};
/* A leaf for server and client use with a random 128-bit serial. RC_INVALID: a name is neither a DNS
 * name nor an address, or there is none at all; RC_CERT: signer expired or unusable. */
NODISCARD enum rc cert_sign(const struct cert_spec *spec, X509 *signer, EVP_PKEY *signer_key,
                            X509 **ret, struct errmsg *ret_msg);
/* A self-signed root that may only sign certificates: O = organization. */
NODISCARD enum rc cert_sign_root(EVP_PKEY *key, struct str organization, int64_t now_s,
                                 int64_t valid_s, X509 **ret, struct errmsg *ret_msg);
