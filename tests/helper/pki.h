/* Certificates for tests, wrong ones included: everything about them can be chosen. */
#pragma once

#include <string.h>
#include <time.h>

#include <check.h>
#include <openssl/x509v3.h>

#include "lib/cert/cert.h"

struct pki_spec {
    EVP_PKEY *key;
    X509 *issuer;           /* NULL: self-signed */
    EVP_PKEY *issuer_key;   /* NULL: key */
    const char *subject;    /* organization, NULL: empty subject */
    const char *san;        /* "URI:spiffe://…,DNS:…,IP:…", NULL: none */
    const char *eku;        /* "serverAuth,clientAuth", NULL: none */
    bool ca;                /* basicConstraints */
    int64_t from_s, till_s; /* relative to now; both 0: an hour back, an hour on */
};

static inline void pki_ext(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    ck_assert_ptr_nonnull(e);
    X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
}

static inline X509 *pki_make(const struct pki_spec *s)
{
    static long serial = 1000;
    bool plain_times = !s->from_s && !s->till_s;
    X509 *x = X509_new();
    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), serial++);
    X509_gmtime_adj(X509_getm_notBefore(x), plain_times ? -3600 : (long)s->from_s);
    X509_gmtime_adj(X509_getm_notAfter(x), plain_times ? 3600 : (long)s->till_s);
    if (s->subject)
        X509_NAME_add_entry_by_NID(X509_get_subject_name(x), NID_organizationName, MBSTRING_UTF8,
                                   (const unsigned char *)s->subject, -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(s->issuer ? s->issuer : x));
    X509_set_pubkey(x, s->key);
    X509 *issuer = s->issuer ? s->issuer : x;
    pki_ext(x, issuer, NID_basic_constraints, s->ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
    pki_ext(x, issuer, NID_key_usage,
            s->ca ? "critical,keyCertSign" : "critical,digitalSignature,keyEncipherment");
    if (s->eku)
        pki_ext(x, issuer, NID_ext_key_usage, s->eku);
    if (s->san)
        pki_ext(x, issuer, NID_subject_alt_name, s->san);
    ck_assert(X509_sign(x, s->issuer_key ? s->issuer_key : s->key, EVP_sha256()) > 0);
    return x;
}

/* A certificate authority, in the forms tests need. */
struct pki_ca {
    EVP_PKEY *key;
    X509 *root;
    struct trust *trust;
    struct strbuf pem;
};

static inline void pki_ca_init(struct pki_ca *ca, const char *name)
{
    memset(ca, 0, sizeof(*ca));
    ck_assert_int_eq(key_new(&ca->key), RC_OK);
    ca->root = pki_make(&(struct pki_spec){.key = ca->key, .subject = name, .ca = true});
    strbuf_init(&ca->pem, CERT_PEM_MAX);
    cert_to_pem(ca->root, &ca->pem);
    ck_assert_int_eq(trust_parse(strbuf_str(&ca->pem), &ca->trust, NULL), RC_OK);
}

static inline void pki_ca_fini(struct pki_ca *ca)
{
    EVP_PKEY_free(ca->key);
    X509_free(ca->root);
    trust_unref(ca->trust);
    strbuf_fini(&ca->pem);
}

/* A leaf with its own key, signed by ca; spec's key and issuer are filled in here. */
static inline struct cert *pki_leaf(const struct pki_ca *ca, struct pki_spec spec)
{
    EVP_PKEY *key = NULL;
    ck_assert_int_eq(key_new(&key), RC_OK);
    spec.key = key;
    spec.issuer = ca->root;
    spec.issuer_key = ca->key;
    X509 *x = pki_make(&spec);
    STACK_OF(X509) *chain = sk_X509_new_null();
    sk_X509_push(chain, x);
    struct cert *c = NULL;
    ck_assert_int_eq(cert_make(chain, key, &c, NULL), RC_OK);
    sk_X509_free(chain);
    X509_free(x);
    EVP_PKEY_free(key);
    return c;
}

#define PKI_BOTH "serverAuth,clientAuth"
static inline struct cert *pki_workload(const struct pki_ca *ca, const char *san)
{
    return pki_leaf(ca, (struct pki_spec){.san = san, .eku = PKI_BOTH});
}
