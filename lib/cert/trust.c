/* Trust roots, and the question whether a chain ends in one of them. */
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "lib/base/file.h"
#include "lib/base/hash.h"
#include "lib/base/must.h"
#include "lib/cert/cert.h"

/* Drops repeated certificates and sums up what is left, whatever its order. */
static void trust_fill(struct trust *t, STACK_OF(X509) * list)
{
    t->roots = sk_X509_new_null();
    MUST(t->roots);
    X509 *x;
    while ((x = sk_X509_shift(list))) {
        bool seen = false;
        for (int i = 0; !seen && i < sk_X509_num(t->roots); i++)
            seen = X509_cmp(sk_X509_value(t->roots, i), x) == 0;
        if (seen) {
            X509_free(x);
            continue;
        }
        unsigned char *der = NULL;
        int n = i2d_X509(x, &der);
        MUST(n > 0);
        t->hash += hash_bytes(der, (size_t)n);
        OPENSSL_free(der);
        MUST(sk_X509_push(t->roots, x) > 0);
    }
}

enum rc trust_parse(struct str pem, struct trust **ret, struct errmsg *ret_msg)
{
    STACK_OF(X509) *list = NULL;
    enum rc rc = cert_list_parse(pem, CERT_ROOTS_MAX, &list, ret_msg);
    if (rc != RC_OK)
        return rc;
    struct trust *t = mem_new(struct trust);
    ref_init(&t->ref);
    trust_fill(t, list);
    sk_X509_free(list);
    *ret = t;
    return RC_OK;
}

enum rc trust_load(const char *path, struct trust **ret, struct errmsg *ret_msg)
{
    struct strbuf pem AUTO_STRBUF;
    strbuf_init(&pem, CERT_PEM_MAX);
    enum rc rc = file_read(path, CERT_PEM_MAX, &pem, ret_msg);
    if (rc != RC_OK)
        return rc;
    rc = trust_parse(strbuf_str(&pem), ret, ret_msg);
    if (rc != RC_OK)
        errmsg_prefix(ret_msg, "%s", path);
    return rc;
}

struct trust *trust_ref(struct trust *t)
{
    ref_get(&t->ref);
    return t;
}

void trust_unref(struct trust *t)
{
    if (!t || !ref_put(&t->ref))
        return;
    sk_X509_pop_free(t->roots, X509_free);
    mem_free(t);
}

enum rc cert_verify(X509 *leaf, STACK_OF(X509) * chain, const struct trust *t, int purpose,
                    struct errmsg *ret_msg)
{
    cert_init();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    MUST(ctx && X509_STORE_CTX_init(ctx, NULL, leaf, chain));
    X509_STORE_CTX_set0_trusted_stack(ctx, t->roots);
    X509_VERIFY_PARAM *p = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_flags(p, X509_V_FLAG_PARTIAL_CHAIN); /* every root given is an anchor */
    X509_VERIFY_PARAM_set_depth(p, CERT_DEPTH_MAX);
    X509_VERIFY_PARAM_set_purpose(p, purpose);
    bool ok = X509_verify_cert(ctx) == 1;
    if (!ok) {
        X509 *bad = X509_STORE_CTX_get_current_cert(ctx);
        char subject[160] = "";
        if (bad)
            X509_NAME_oneline(X509_get_subject_name(bad), subject, sizeof(subject));
        errmsg_set(ret_msg, "%s (depth %d, subject \"%s\")",
                   X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)),
                   X509_STORE_CTX_get_error_depth(ctx), subject);
    }
    X509_STORE_CTX_free(ctx);
    ERR_clear_error();
    return ok ? RC_OK : RC_CERT;
}
