/* PEM from peers, files and requests: bundles, chains, keys, signing requests. */
#include <openssl/err.h>

#include "lib/base/must.h"
#include "lib/cert/cert.h"
#include "tests/helper/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str pem = {(const char *)data, n};
    struct trust *t = NULL;
    struct cert *c = NULL;
    EVP_PKEY *key = NULL;
    struct errmsg e;
    if (trust_parse(pem, &t, &e) == RC_OK) {
        MUST(sk_X509_num(t->roots) > 0);
        (void)cert_verify(sk_X509_value(t->roots, 0), t->roots, t, X509_PURPOSE_SSL_CLIENT, &e);
    }
    if (cert_parse(pem, pem, &c, &e) == RC_OK) /* never: a chain may hold no key */
        MUST(false);
    STACK_OF(X509) *list = NULL;
    if (cert_list_parse(pem, CERT_CHAIN_MAX, &list, &e) == RC_OK) {
        EVP_PKEY *pub = X509_get_pubkey(sk_X509_value(list, 0));
        if (pub && cert_make(list, pub, &c, &e) == RC_OK) {
            struct strbuf out AUTO_STRBUF;
            strbuf_init(&out, CERT_PEM_MAX);
            cert_serial_decimal(c->leaf, &out);
            cert_to_pem(c->leaf, &out);
        }
        EVP_PKEY_free(pub);
        OSSL_STACK_OF_X509_free(list);
    }
    if (key_parse(pem, &key, &e) == RC_OK)
        (void)key_check(key, &e);
    EVP_PKEY_free(key);
    key = NULL;
    if (csr_parse(pem, &key, &e) == RC_OK)
        MUST(key_check(key, &e) == RC_OK);
    EVP_PKEY_free(key);
    cert_unref(c);
    trust_unref(t);
    MUST(ERR_peek_error() == 0);
    return 0;
}
