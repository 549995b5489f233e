/* Making certificates: what a certificate authority needs. */
#include <string.h>

#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "lib/base/hash.h"
#include "lib/base/must.h"
#include "lib/cert/cert.h"

#define DNS_NAME_MAX 253

/* 128 random bits; the top one is cleared (the number is positive) and the next one set (its
 * length is constant). */
static bool set_serial(X509 *x)
{
    unsigned char bytes[16];
    rand_secret(bytes, sizeof(bytes));
    bytes[0] = (unsigned char)((bytes[0] & 0x7f) | 0x40);
    BIGNUM *bn = BN_bin2bn(bytes, sizeof(bytes), NULL);
    bool ok = bn && BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(x));
    BN_free(bn);
    return ok;
}

static bool set_times(X509 *x, int64_t from_s, int64_t to_s)
{
    return ASN1_TIME_set(X509_getm_notBefore(x), (time_t)from_s) &&
           ASN1_TIME_set(X509_getm_notAfter(x), (time_t)to_s);
}

static bool add_ext(X509 *x, int nid, bool critical, const char *value, X509 *issuer)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    if (!ext)
        return false;
    X509_EXTENSION_set_critical(ext, critical);
    bool ok = X509_add_ext(x, ext, -1) == 1;
    X509_EXTENSION_free(ext);
    return ok;
}

static bool dns_name_ok(struct str s)
{
    if (s.n == 0 || s.n > DNS_NAME_MAX)
        return false;
    struct str rest = s;
    while (rest.n || rest.p == s.p) {
        bool last = str_find(rest, '.') < 0;
        struct str label = str_split(rest, '.', &rest);
        if (label.n == 0 || label.n > 63 || label.p[0] == '-' || label.p[label.n - 1] == '-')
            return false;
        for (size_t i = 0; i < label.n; i++)
            if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_",
                        label.p[i]) ||
                !label.p[i])
                return false;
        if (last)
            return true;
    }
    return false; /* ends in a dot */
}

static void push_san(GENERAL_NAMES *sans, int type, const void *p, size_t n)
{
    ASN1_STRING *s =
        ASN1_STRING_type_new(type == GEN_IPADD ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING);
    GENERAL_NAME *san = GENERAL_NAME_new();
    MUST(s && san && ASN1_STRING_set(s, p, (int)n));
    GENERAL_NAME_set0_value(san, type, s);
    MUST(sk_GENERAL_NAME_push(sans, san) > 0);
}

static enum rc add_sans(X509 *x, const struct cert_spec *spec, struct errmsg *ret_msg)
{
    if (!spec->id && spec->n_names == 0) {
        errmsg_set(ret_msg, "a certificate without any name");
        return RC_INVALID;
    }
    GENERAL_NAMES *sans = GENERAL_NAMES_new();
    MUST(sans);
    enum rc rc = RC_OK;
    if (spec->id)
        push_san(sans, GEN_URI, spec->id->uri.p, spec->id->uri.n);
    for (size_t i = 0; rc == RC_OK && i < spec->n_names; i++) {
        char *text AUTO_FREE = str_dup(spec->names[i]);
        ASN1_OCTET_STRING *ip = a2i_IPADDRESS(text);
        if (ip) {
            push_san(sans, GEN_IPADD, ASN1_STRING_get0_data(ip), (size_t)ASN1_STRING_length(ip));
            ASN1_OCTET_STRING_free(ip);
        } else if (dns_name_ok(spec->names[i])) {
            push_san(sans, GEN_DNS, spec->names[i].p, spec->names[i].n);
        } else {
            errmsg_set(ret_msg, "\"%.*s\" is neither a DNS name nor an IP address",
                       STR_ARG(spec->names[i]));
            rc = RC_INVALID;
        }
    }
    if (rc == RC_OK && X509_add1_ext_i2d(x, NID_subject_alt_name, sans, 1, 0) != 1) {
        cert_errmsg(ret_msg, "the names can't be encoded");
        rc = RC_CERT;
    }
    GENERAL_NAMES_free(sans);
    return rc;
}

enum rc cert_sign(const struct cert_spec *spec, X509 *signer, EVP_PKEY *signer_key, X509 **ret,
                  struct errmsg *ret_msg)
{
    cert_init();
    int64_t signer_end_s, from_s = spec->now_s - CERT_BACKDATE_S;
    if (cert_time(X509_get0_notAfter(signer), &signer_end_s) != RC_OK ||
        signer_end_s <= spec->now_s) {
        errmsg_set(ret_msg, "the certificate of the authority has expired");
        return RC_CERT;
    }
    X509 *x AUTO(X509_free) = X509_new();
    MUST(x);
    enum rc rc = add_sans(x, spec, ret_msg);
    if (rc != RC_OK)
        return rc;
    if (!X509_set_version(x, X509_VERSION_3) || !set_serial(x) ||
        !set_times(x, from_s, MIN(spec->now_s + spec->valid_s, signer_end_s)) ||
        !X509_set_issuer_name(x, X509_get_subject_name(signer)) || !X509_set_pubkey(x, spec->key) ||
        !add_ext(x, NID_key_usage, true, "digitalSignature,keyEncipherment", signer) ||
        !add_ext(x, NID_ext_key_usage, false, "serverAuth,clientAuth", signer) ||
        !add_ext(x, NID_basic_constraints, true, "CA:FALSE", signer) ||
        (X509_get0_subject_key_id(signer) &&
         !add_ext(x, NID_authority_key_identifier, false, "keyid:always", signer)) ||
        !X509_sign(x, signer_key, EVP_sha256())) {
        cert_errmsg(ret_msg, "signing failed");
        return RC_CERT;
    }
    ERR_clear_error();
    *ret = TAKE(x);
    return RC_OK;
}

enum rc cert_sign_root(EVP_PKEY *key, struct str organization, int64_t now_s, int64_t valid_s,
                       X509 **ret, struct errmsg *ret_msg)
{
    cert_init();
    X509 *x AUTO(X509_free) = X509_new();
    MUST(x);
    X509_NAME *name = X509_get_subject_name(x);
    if (!X509_set_version(x, X509_VERSION_3) || !set_serial(x) ||
        !set_times(x, now_s - CERT_BACKDATE_S, now_s + valid_s) ||
        !X509_NAME_add_entry_by_NID(name, NID_organizationName, MBSTRING_UTF8,
                                    (const unsigned char *)organization.p, (int)organization.n, -1,
                                    0) ||
        !X509_set_issuer_name(x, name) || !X509_set_pubkey(x, key) ||
        !add_ext(x, NID_key_usage, true, "keyCertSign", x) ||
        !add_ext(x, NID_basic_constraints, true, "CA:TRUE", x) ||
        !add_ext(x, NID_subject_key_identifier, false, "hash", x) ||
        !X509_sign(x, key, EVP_sha256())) {
        cert_errmsg(ret_msg, "making the root certificate failed");
        return RC_CERT;
    }
    ERR_clear_error();
    *ret = TAKE(x);
    return RC_OK;
}
