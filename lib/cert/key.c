/* Private keys and certificate signing requests. */
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "lib/base/must.h"
#include "lib/cert/cert.h"

DEFINE_AUTO(X509_REQ *, X509_REQ_free)

enum rc key_new(EVP_PKEY **ret)
{
    cert_init();
    EVP_PKEY *key = EVP_EC_gen("P-256");
    if (!key) {
        ERR_clear_error();
        return RC_IO;
    }
    *ret = key;
    return RC_OK;
}

enum rc key_to_pem(EVP_PKEY *key, struct strbuf *out)
{
    BIO *bio AUTO(BIO_free_all) = BIO_new(BIO_s_secmem());
    if (!bio || !PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL)) {
        ERR_clear_error();
        return RC_CERT;
    }
    char *p = NULL;
    long n = BIO_get_mem_data(bio, &p);
    strbuf_add(out, p, (size_t)n);
    return RC_OK;
}

/* Without it OpenSSL asks on the terminal for the password of an encrypted key. */
static int no_password(char *buf, int size, int rwflag, void *arg)
{
    (void)buf, (void)size, (void)rwflag, (void)arg;
    return -1;
}

enum rc key_parse(struct str pem, EVP_PKEY **ret, struct errmsg *ret_msg)
{
    cert_init();
    if (pem.n > CERT_PEM_MAX) {
        errmsg_set(ret_msg, "%zu bytes of PEM, at most %d are read", pem.n, CERT_PEM_MAX);
        return RC_LIMIT;
    }
    BIO *bio AUTO(BIO_free_all) = BIO_new_mem_buf(pem.n ? pem.p : "", (int)pem.n);
    MUST(bio);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
    if (!key) {
        cert_errmsg(ret_msg, "not an unencrypted private key in PEM");
        return RC_CERT;
    }
    ERR_clear_error();
    *ret = key;
    return RC_OK;
}

enum rc key_check(EVP_PKEY *key, struct errmsg *ret_msg)
{
    int bits = EVP_PKEY_get_bits(key);
    char group[32] = "";
    if (EVP_PKEY_is_a(key, "RSA")) {
        if (bits >= 2048 && bits <= 8192)
            return RC_OK;
        errmsg_set(ret_msg, "RSA key of %d bits, 2048 to 8192 are accepted", bits);
        return RC_INVALID;
    }
    if (EVP_PKEY_is_a(key, "EC")) {
        if (EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) &&
            (strcmp(group, SN_X9_62_prime256v1) == 0 || strcmp(group, SN_secp384r1) == 0))
            return RC_OK;
        ERR_clear_error();
        errmsg_set(ret_msg, "EC key on curve \"%s\", P-256 and P-384 are accepted", group);
        return RC_INVALID;
    }
    const char *type = EVP_PKEY_get0_type_name(key);
    errmsg_set(ret_msg, "key of type %s, EC and RSA are accepted", type ? type : "unknown");
    return RC_INVALID;
}

static bool csr_add_san(X509_REQ *req, const struct identity *id)
{
    GENERAL_NAMES *sans = GENERAL_NAMES_new();
    GENERAL_NAME *san = GENERAL_NAME_new();
    ASN1_IA5STRING *uri = ASN1_IA5STRING_new();
    STACK_OF(X509_EXTENSION) *exts = NULL;
    MUST(sans && san && uri && ASN1_STRING_set(uri, id->uri.p, (int)id->uri.n));
    GENERAL_NAME_set0_value(san, GEN_URI, uri);
    MUST(sk_GENERAL_NAME_push(sans, san) > 0);
    bool ok = X509V3_add1_i2d(&exts, NID_subject_alt_name, sans, 1, X509V3_ADD_DEFAULT) == 1 &&
              X509_REQ_add_extensions(req, exts) == 1;
    sk_X509_EXTENSION_pop_free(exts, X509_EXTENSION_free);
    GENERAL_NAMES_free(sans);
    return ok;
}

enum rc csr_make(EVP_PKEY *key, const struct identity *id, struct strbuf *out_pem)
{
    cert_init();
    X509_REQ *req AUTO(X509_REQ_free) = X509_REQ_new();
    BIO *bio AUTO(BIO_free_all) = BIO_new(BIO_s_mem());
    MUST(req && bio);
    if (!X509_REQ_set_version(req, X509_REQ_VERSION_1) || !X509_REQ_set_pubkey(req, key) ||
        !csr_add_san(req, id) || !X509_REQ_sign(req, key, EVP_sha256()) ||
        !PEM_write_bio_X509_REQ(bio, req)) {
        ERR_clear_error();
        return RC_CERT;
    }
    char *p = NULL;
    long n = BIO_get_mem_data(bio, &p);
    strbuf_add(out_pem, p, (size_t)n);
    return RC_OK;
}

enum rc csr_parse(struct str pem, EVP_PKEY **ret_key, struct errmsg *ret_msg)
{
    cert_init();
    if (pem.n > CSR_PEM_MAX) {
        errmsg_set(ret_msg, "signing request of %zu bytes, at most %d are read", pem.n,
                   CSR_PEM_MAX);
        return RC_LIMIT;
    }
    BIO *bio AUTO(BIO_free_all) = BIO_new_mem_buf(pem.n ? pem.p : "", (int)pem.n);
    MUST(bio);
    X509_REQ *req AUTO(X509_REQ_free) = PEM_read_bio_X509_REQ(bio, NULL, no_password, NULL);
    if (!req) {
        cert_errmsg(ret_msg, "not a signing request in PEM");
        return RC_INVALID;
    }
    EVP_PKEY *key AUTO(EVP_PKEY_free) = X509_REQ_get_pubkey(req);
    if (!key) {
        cert_errmsg(ret_msg, "the signing request has no usable public key");
        return RC_INVALID;
    }
    enum rc rc = key_check(key, ret_msg); /* before the signature: bounds what that costs */
    if (rc != RC_OK)
        return rc;
    if (X509_REQ_verify(req, key) != 1) {
        cert_errmsg(ret_msg, "the signing request is not signed by its own key");
        return RC_INVALID;
    }
    ERR_clear_error();
    *ret_key = TAKE(key);
    return RC_OK;
}
