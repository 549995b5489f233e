#include "lib/cert/cert.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "lib/base/must.h"

static pthread_once_t init_once = PTHREAD_ONCE_INIT;

static void init_openssl(void)
{
    if (!OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT, NULL))
        must_die("OpenSSL does not start");
}

void cert_init(void)
{
    pthread_once(&init_once, init_openssl);
}

void cert_errmsg(struct errmsg *e, const char *what)
{
    const char *reason = NULL;
    unsigned long code = ERR_peek_last_error();
    if (code && !ERR_SYSTEM_ERROR(code))
        reason = ERR_reason_error_string(code);
    errmsg_set(e, "%s%s%s", what, reason ? ": " : "", reason ? reason : "");
    ERR_clear_error();
}

/* -- lists of PEM certificates -- */

struct pem_block {
    char *name, *header;
    unsigned char *data;
    long n;
};

static void pem_block_fini(struct pem_block *b)
{
    OPENSSL_free(b->name);
    OPENSSL_free(b->header);
    OPENSSL_free(b->data);
}

static enum rc block_to_x509(const struct pem_block *b, X509 **ret, struct errmsg *ret_msg)
{
    if (strcmp(b->name, PEM_STRING_X509) != 0) {
        errmsg_set(ret_msg, "PEM block \"%.64s\" where only certificates belong", b->name);
        return RC_CERT;
    }
    const unsigned char *at = b->data;
    X509 *x AUTO(X509_free) = d2i_X509(NULL, &at, b->n);
    if (!x || at != b->data + b->n) {
        cert_errmsg(ret_msg, "a PEM block does not hold a certificate");
        return RC_CERT;
    }
    *ret = TAKE(x);
    return RC_OK;
}

/* RC_EOF when no further block starts. */
static enum rc list_next(BIO *bio, X509 **ret, struct errmsg *ret_msg)
{
    struct pem_block b __attribute__((cleanup(pem_block_fini))) = {0};
    if (PEM_read_bio(bio, &b.name, &b.header, &b.data, &b.n))
        return block_to_x509(&b, ret, ret_msg);
    if (ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE) {
        ERR_clear_error();
        return RC_EOF;
    }
    cert_errmsg(ret_msg, "broken PEM block");
    return RC_CERT;
}

/* OpenSSL skips a BEGIN line that it does not like, so that half a bundle would look whole. */
static int count_begins(struct str pem)
{
    static const char begin[] = "-----BEGIN ";
    int n = 0;
    const char *at = pem.p, *end = pem.p + pem.n;
    while ((at = memmem(at, (size_t)(end - at), begin, sizeof(begin) - 1))) {
        at += sizeof(begin) - 1;
        n++;
    }
    return n;
}

static void x509_list_free(STACK_OF(X509) * s)
{
    sk_X509_pop_free(s, X509_free);
}
DEFINE_AUTO(STACK_OF(X509) *, x509_list_free)

enum rc cert_list_parse(struct str pem, int max, STACK_OF(X509) * *ret, struct errmsg *ret_msg)
{
    cert_init();
    if (pem.n > CERT_PEM_MAX) {
        errmsg_set(ret_msg, "%zu bytes of PEM, at most %d are read", pem.n, CERT_PEM_MAX);
        return RC_LIMIT;
    }
    int begins = pem.n ? count_begins(pem) : 0;
    if (begins == 0) {
        errmsg_set(ret_msg, "no PEM certificate in it");
        return RC_CERT;
    }
    if (begins > max) {
        errmsg_set(ret_msg, "%d certificates, at most %d are read", begins, max);
        return RC_LIMIT;
    }
    BIO *bio AUTO(BIO_free_all) = BIO_new_mem_buf(pem.p, (int)pem.n);
    STACK_OF(X509) * list AUTO(x509_list_free) = sk_X509_new_null();
    MUST(bio && list);
    for (;;) {
        X509 *x = NULL;
        enum rc rc = list_next(bio, &x, ret_msg);
        if (rc == RC_EOF)
            break;
        if (rc != RC_OK)
            return rc;
        MUST(sk_X509_push(list, x) > 0);
    }
    if (sk_X509_num(list) != begins) {
        errmsg_set(ret_msg, "broken PEM block");
        return RC_CERT;
    }
    *ret = TAKE(list);
    return RC_OK;
}

/* -- what a certificate says -- */

enum rc cert_time(const ASN1_TIME *t, int64_t *ret_s)
{
    cert_init();
    ASN1_TIME *epoch = ASN1_TIME_new();
    int days = 0, s = 0;
    bool ok = epoch && ASN1_TIME_set_string(epoch, "19700101000000Z") &&
              ASN1_TIME_diff(&days, &s, epoch, t);
    ASN1_TIME_free(epoch);
    if (!ok) {
        ERR_clear_error();
        return RC_CERT;
    }
    *ret_s = (int64_t)days * 86400 + s;
    return RC_OK;
}

bool cert_each_identity(X509 *x, cert_identity_fn *fn, void *arg)
{
    GENERAL_NAMES *sans = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    bool found = false;
    for (int i = 0; !found && i < sk_GENERAL_NAME_num(sans); i++) {
        const GENERAL_NAME *n = sk_GENERAL_NAME_value(sans, i);
        if (n->type != GEN_URI)
            continue;
        const ASN1_IA5STRING *uri = n->d.uniformResourceIdentifier;
        struct str s = {(const char *)ASN1_STRING_get0_data(uri), (size_t)ASN1_STRING_length(uri)};
        struct identity *id = NULL;
        if (identity_parse(s, &id) == RC_OK)
            found = fn(arg, id);
        identity_unref(id);
    }
    GENERAL_NAMES_free(sans);
    ERR_clear_error();
    return found;
}

static bool take_first(void *arg, struct identity *id)
{
    struct identity **ret = arg;
    *ret = identity_ref(id);
    return true;
}

enum rc cert_identity(X509 *x, struct identity **ret)
{
    return cert_each_identity(x, take_first, ret) ? RC_OK : RC_CERT;
}

void cert_serial_decimal(X509 *x, struct strbuf *out)
{
    BIGNUM *bn = ASN1_INTEGER_to_BN(X509_get0_serialNumber(x), NULL);
    char *text = bn && BN_num_bits(bn) <= 1024 ? BN_bn2dec(bn) : NULL;
    strbuf_addz(out, text ? text : "?");
    OPENSSL_free(text);
    BN_free(bn);
    ERR_clear_error();
}

static void serial_hex(X509 *x, char *buf, size_t cap)
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(x);
    const unsigned char *p = ASN1_STRING_get0_data(serial);
    int n = ASN1_STRING_length(serial);
    buf[0] = '\0';
    for (int i = 0; i < n && (size_t)i * 2 + 3 <= cap; i++)
        snprintf(buf + i * 2, cap - (size_t)i * 2, "%02x", p[i]);
}

void cert_to_pem(X509 *x, struct strbuf *out)
{
    BIO *bio AUTO(BIO_free_all) = BIO_new(BIO_s_mem());
    MUST(bio && PEM_write_bio_X509(bio, x)); /* encodes what was decoded: only memory can fail */
    char *p = NULL;
    long n = BIO_get_mem_data(bio, &p);
    strbuf_add(out, p, (size_t)n);
}

/* -- struct cert -- */

static enum rc cert_fill(struct cert *c, STACK_OF(X509) * chain, EVP_PKEY *key,
                         struct errmsg *ret_msg)
{
    c->leaf = sk_X509_value(chain, 0);
    X509_up_ref(c->leaf);
    EVP_PKEY_up_ref(key);
    c->key = key;
    c->chain = sk_X509_new_null();
    MUST(c->chain);
    for (int i = 1; i < sk_X509_num(chain); i++) {
        X509 *x = sk_X509_value(chain, i);
        if (X509_self_signed(x, 0) == 1)
            continue;
        X509_up_ref(x);
        MUST(sk_X509_push(c->chain, x) > 0);
    }
    if (!X509_check_private_key(c->leaf, key)) {
        cert_errmsg(ret_msg, "the private key does not belong to the certificate");
        return RC_CERT;
    }
    if (cert_time(X509_get0_notBefore(c->leaf), &c->not_before_s) != RC_OK ||
        cert_time(X509_get0_notAfter(c->leaf), &c->not_after_s) != RC_OK) {
        errmsg_set(ret_msg, "the certificate's validity is malformed");
        return RC_CERT;
    }
    if (cert_identity(c->leaf, &c->id) != RC_OK)
        c->id = NULL;
    serial_hex(c->leaf, c->serial, sizeof(c->serial));
    return RC_OK;
}

enum rc cert_make(STACK_OF(X509) * chain, EVP_PKEY *key, struct cert **ret, struct errmsg *ret_msg)
{
    cert_init();
    int n = sk_X509_num(chain);
    if (n <= 0) {
        errmsg_set(ret_msg, "the chain is empty");
        return RC_CERT;
    }
    if (n > CERT_CHAIN_MAX) {
        errmsg_set(ret_msg, "%d certificates in the chain, at most %d are used", n, CERT_CHAIN_MAX);
        return RC_LIMIT;
    }
    struct cert *c AUTO(cert_unref) = mem_new(struct cert);
    ref_init(&c->ref);
    enum rc rc = cert_fill(c, chain, key, ret_msg);
    if (rc == RC_OK)
        *ret = TAKE(c);
    ERR_clear_error();
    return rc;
}

enum rc cert_parse(struct str chain_pem, struct str key_pem, struct cert **ret,
                   struct errmsg *ret_msg)
{
    STACK_OF(X509) * chain AUTO(x509_list_free) = NULL;
    enum rc rc = cert_list_parse(chain_pem, CERT_CHAIN_MAX, &chain, ret_msg);
    if (rc != RC_OK)
        return rc;
    EVP_PKEY *key AUTO(EVP_PKEY_free) = NULL;
    rc = key_parse(key_pem, &key, ret_msg);
    if (rc != RC_OK)
        return rc;
    return cert_make(chain, key, ret, ret_msg);
}

struct cert *cert_ref(struct cert *c)
{
    ref_get(&c->ref);
    return c;
}

void cert_unref(struct cert *c)
{
    if (!c || !ref_put(&c->ref))
        return;
    X509_free(c->leaf);
    x509_list_free(c->chain);
    EVP_PKEY_free(c->key);
    identity_unref(c->id);
    mem_free(c);
}
