#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include "tests/helper/check.h"
#include "tests/helper/pki.h"

static EVP_PKEY *root_key, *key;
static X509 *root;
static struct identity *id;
static int64_t now;

#define YEAR ((int64_t)365 * 86400)

static void setup(void)
{
    now = time(NULL);
    ck_assert_rc(key_new(&root_key), RC_OK);
    ck_assert_rc(key_new(&key), RC_OK);
    ck_assert_rc(cert_sign_root(root_key, STR("cluster.local"), now, 10 * YEAR, &root, NULL),
                 RC_OK);
    ck_assert_rc(identity_parse(STR("spiffe://cluster.local/ns/a/sa/b"), &id), RC_OK);
}

static void teardown(void)
{
    ck_assert_uint_eq(ERR_peek_error(), 0); /* a stale error would mislead the next session */
    EVP_PKEY_free(root_key);
    EVP_PKEY_free(key);
    X509_free(root);
    identity_unref(id);
}

static struct trust *trust_of(X509 *x)
{
    struct strbuf pem AUTO_STRBUF;
    strbuf_init(&pem, CERT_PEM_MAX);
    cert_to_pem(x, &pem);
    struct trust *t = NULL;
    ck_assert_rc(trust_parse(strbuf_str(&pem), &t, NULL), RC_OK);
    return t;
}

START_TEST(root_as_istio_wants_it)
{
    char text[100];
    X509_NAME_oneline(X509_get_subject_name(root), text, sizeof(text));
    ck_assert_str_eq(text, "/O=cluster.local");
    ck_assert_int_eq(X509_self_signed(root, 1), 1);
    ck_assert_int_ge(X509_check_ca(root), 1);
    ck_assert_uint_eq(X509_get_key_usage(root), KU_KEY_CERT_SIGN);
    ck_assert_int_eq(X509_get_extension_flags(root) & EXFLAG_INVALID, 0);
    int64_t from, to;
    ck_assert_rc(cert_time(X509_get0_notBefore(root), &from), RC_OK);
    ck_assert_rc(cert_time(X509_get0_notAfter(root), &to), RC_OK);
    ck_assert_int_eq(from, now - CERT_BACKDATE_S);
    ck_assert_int_eq(to, now + 10 * YEAR);
}
END_TEST

START_TEST(leaf_as_istio_wants_it)
{
    X509 *x = NULL, *y = NULL;
    struct cert_spec spec = {.key = key, .id = id, .now_s = now, .valid_s = 86400};
    ck_assert_rc(cert_sign(&spec, root, root_key, &x, NULL), RC_OK);
    ck_assert_rc(cert_sign(&spec, root, root_key, &y, NULL), RC_OK);
    struct identity *got = NULL;
    ck_assert_rc(cert_identity(x, &got), RC_OK);
    ck_assert(identity_eq(got, id));
    identity_unref(got);
    int critical = 0;
    GENERAL_NAMES *sans = X509_get_ext_d2i(x, NID_subject_alt_name, &critical, NULL);
    ck_assert_int_eq(sk_GENERAL_NAME_num(sans), 1);
    ck_assert_int_eq(critical, 1);
    GENERAL_NAMES_free(sans);
    ck_assert_int_eq(X509_NAME_entry_count(X509_get_subject_name(x)), 0);
    ck_assert_uint_eq(X509_get_key_usage(x), KU_DIGITAL_SIGNATURE | KU_KEY_ENCIPHERMENT);
    ck_assert_uint_eq(X509_get_extended_key_usage(x), XKU_SSL_SERVER | XKU_SSL_CLIENT);
    ck_assert_int_eq(X509_check_ca(x), 0);
    int64_t from, to;
    ck_assert_rc(cert_time(X509_get0_notBefore(x), &from), RC_OK);
    ck_assert_rc(cert_time(X509_get0_notAfter(x), &to), RC_OK);
    ck_assert_int_eq(from, now - 120);
    ck_assert_int_eq(to, now + 86400);
    ck_assert_int_eq(ASN1_STRING_length(X509_get0_serialNumber(x)), 16);
    ck_assert_int_ne(ASN1_INTEGER_cmp(X509_get0_serialNumber(x), X509_get0_serialNumber(y)), 0);
    struct trust *t = trust_of(root);
    struct errmsg e = {""};
    ck_assert_msg(cert_verify(x, NULL, t, X509_PURPOSE_SSL_SERVER, &e) == RC_OK, "%s", e.text);
    ck_assert_msg(cert_verify(x, NULL, t, X509_PURPOSE_SSL_CLIENT, &e) == RC_OK, "%s", e.text);
    trust_unref(t);
    X509_free(x);
    X509_free(y);
}
END_TEST

START_TEST(never_longer_than_the_signer)
{
    X509 *brief = NULL, *x = NULL;
    ck_assert_rc(cert_sign_root(root_key, STR("td"), now, 600, &brief, NULL), RC_OK);
    struct cert_spec spec = {.key = key, .id = id, .now_s = now, .valid_s = 86400};
    ck_assert_rc(cert_sign(&spec, brief, root_key, &x, NULL), RC_OK);
    int64_t to;
    ck_assert_rc(cert_time(X509_get0_notAfter(x), &to), RC_OK);
    ck_assert_int_eq(to, now + 600);
    X509_free(x);
    x = NULL;
    spec.now_s = now + 600;
    struct errmsg e;
    ck_assert_rc(cert_sign(&spec, brief, root_key, &x, &e), RC_CERT);
    ck_assert_ptr_nonnull(strstr(e.text, "expired"));
    ck_assert_ptr_null(x);
    X509_free(brief);
}
END_TEST

START_TEST(names_of_a_server)
{
    struct str good[] = {STR("istiod.istio-system.svc"), STR("10.0.0.1"), STR("fd00::1"),
                         STR("localhost"), STR("a_b.example")};
    struct cert_spec spec = {
        .key = key, .names = good, .n_names = 5, .now_s = now, .valid_s = 86400};
    X509 *x = NULL;
    ck_assert_rc(cert_sign(&spec, root, root_key, &x, NULL), RC_OK);
    ck_assert_int_eq(X509_check_host(x, "istiod.istio-system.svc", 0, 0, NULL), 1);
    ck_assert_int_eq(X509_check_host(x, "localhost", 0, 0, NULL), 1);
    ck_assert_int_eq(X509_check_ip_asc(x, "10.0.0.1", 0), 1);
    ck_assert_int_eq(X509_check_ip_asc(x, "fd00::1", 0), 1);
    ck_assert_int_eq(X509_check_ip_asc(x, "10.0.0.2", 0), 0);
    ERR_clear_error();
    X509_free(x);
    x = NULL;
    static const char *const bad[] = {"",    ".",   "a.",  ".a",  "a..b",     "-a",       "a-",
                                      "a b", "a/b", "*.a", "a\n", "\xc3\xa9", "1.2.3.4:5"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct str name = str_of(bad[i]);
        spec.names = &name;
        spec.n_names = 1;
        ck_assert_msg(cert_sign(&spec, root, root_key, &x, NULL) == RC_INVALID, "%s", bad[i]);
    }
    spec.n_names = 0;
    ck_assert_rc(cert_sign(&spec, root, root_key, &x, NULL), RC_INVALID);
}
END_TEST

START_TEST(requests)
{
    struct strbuf pem AUTO_STRBUF;
    strbuf_init(&pem, CSR_PEM_MAX * 2);
    ck_assert_rc(csr_make(key, id, &pem), RC_OK);
    EVP_PKEY *got = NULL;
    struct errmsg e;
    ck_assert_rc(csr_parse(strbuf_str(&pem), &got, &e), RC_OK);
    ck_assert_int_eq(EVP_PKEY_eq(got, key), 1);
    EVP_PKEY_free(got);
    got = NULL;

    BIO *bio = BIO_new_mem_buf(pem.p, -1); /* what is inside, as a peer reads it */
    X509_REQ *req = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
    ck_assert_int_eq(X509_NAME_entry_count(X509_REQ_get_subject_name(req)), 0);
    STACK_OF(X509_EXTENSION) *exts = X509_REQ_get_extensions(req);
    ck_assert_int_eq(sk_X509_EXTENSION_num(exts), 1);
    int critical = 0;
    GENERAL_NAMES *sans = X509V3_get_d2i(exts, NID_subject_alt_name, &critical, NULL);
    ck_assert_int_eq(critical, 1);
    ck_assert_int_eq(sk_GENERAL_NAME_num(sans), 1);
    const ASN1_STRING *uri = sk_GENERAL_NAME_value(sans, 0)->d.uniformResourceIdentifier;
    ck_assert_mem_eq(ASN1_STRING_get0_data(uri), id->uri.p, id->uri.n);
    GENERAL_NAMES_free(sans);
    sk_X509_EXTENSION_pop_free(exts, X509_EXTENSION_free);

    X509_REQ_set_pubkey(req, root_key); /* somebody else's key under this signature */
    BIO *out = BIO_new(BIO_s_mem());
    PEM_write_bio_X509_REQ(out, req);
    char *p = NULL;
    long n = BIO_get_mem_data(out, &p);
    ck_assert_rc(csr_parse((struct str){p, (size_t)n}, &got, &e), RC_INVALID);
    ck_assert_ptr_nonnull(strstr(e.text, "not signed by its own key"));
    X509_REQ_free(req);
    BIO_free_all(bio);
    BIO_free_all(out);

    ck_assert_rc(csr_parse(STR(""), &got, &e), RC_INVALID);
    ck_assert_rc(csr_parse(STR("garbage"), &got, &e), RC_INVALID);
    ck_assert_rc(csr_parse((struct str){pem.p, pem.n / 2}, &got, &e), RC_INVALID);
    while (pem.n <= CSR_PEM_MAX)
        strbuf_addc(&pem, '\n');
    ck_assert_rc(csr_parse(strbuf_str(&pem), &got, &e), RC_LIMIT);
    ck_assert_ptr_null(got);
}
END_TEST

START_TEST(weak_keys_are_refused)
{
    const struct {
        EVP_PKEY *key;
        enum rc want;
    } cases[] = {
        {EVP_EC_gen("P-256"), RC_OK},
        {EVP_EC_gen("P-384"), RC_OK},
        {EVP_EC_gen("P-521"), RC_INVALID},
        {EVP_EC_gen("secp256k1"), RC_INVALID},
        {EVP_RSA_gen(2048), RC_OK},
        {EVP_RSA_gen(1024), RC_INVALID},
        {EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), RC_INVALID},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct errmsg e = {""};
        ck_assert_msg(key_check(cases[i].key, &e) == cases[i].want, "case %zu: %s", i, e.text);
        struct strbuf pem AUTO_STRBUF;
        strbuf_init(&pem, CSR_PEM_MAX);
        EVP_PKEY *got = NULL;
        if (csr_make(cases[i].key, id, &pem) == RC_OK)
            ck_assert_rc(csr_parse(strbuf_str(&pem), &got, &e), cases[i].want);
        EVP_PKEY_free(got);
        EVP_PKEY_free(cases[i].key);
    }
}
END_TEST

TEST_MAIN_FIXTURE("sign", setup, teardown, root_as_istio_wants_it, leaf_as_istio_wants_it,
                  never_longer_than_the_signer, names_of_a_server, requests, weak_keys_are_refused)
