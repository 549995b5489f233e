#include <unistd.h>

#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "lib/cert/cert.h"
#include "tests/helper/check.h"
#include "tests/helper/pki.h"

#define ID "URI:spiffe://td/ns/a/sa/b"

static struct cert *parse_back(struct cert *c, X509 *extra, enum rc want, struct errmsg *e)
{
    struct strbuf pem, key;
    strbuf_init(&pem, CERT_PEM_MAX);
    strbuf_init(&key, CERT_PEM_MAX);
    cert_to_pem(c->leaf, &pem);
    if (extra)
        cert_to_pem(extra, &pem);
    ck_assert_rc(key_to_pem(c->key, &key), RC_OK);
    struct cert *again = NULL;
    ck_assert_rc(cert_parse(strbuf_str(&pem), strbuf_str(&key), &again, e), want);
    strbuf_fini(&pem);
    strbuf_fini(&key);
    return again;
}

START_TEST(survives_pem)
{
    struct pki_ca ca;
    pki_ca_init(&ca, "root");
    struct cert *c = pki_leaf(&ca, (struct pki_spec){.san = ID, .from_s = -100, .till_s = 1000});
    struct cert *d = parse_back(c, ca.root, RC_OK, NULL);
    ck_assert(X509_cmp(c->leaf, d->leaf) == 0);
    ck_assert_int_eq(sk_X509_num(d->chain), 0); /* the root is left out */
    ck_assert_str_eq(d->id->uri.p, "spiffe://td/ns/a/sa/b");
    int64_t now = time(NULL);
    ck_assert_int_ge(d->not_before_s, now - 105);
    ck_assert_int_le(d->not_before_s, now - 95);
    ck_assert_int_eq(d->not_after_s - d->not_before_s, 1100);
    struct strbuf dec;
    strbuf_init(&dec, 100);
    cert_serial_decimal(d->leaf, &dec);
    ck_assert_int_eq(strtol(d->serial, NULL, 16), strtol(dec.p, NULL, 10));
    strbuf_fini(&dec);
    cert_unref(c);
    cert_unref(d);
    pki_ca_fini(&ca);
}
END_TEST

START_TEST(key_of_another)
{
    struct pki_ca ca;
    pki_ca_init(&ca, "root");
    struct cert *a = pki_workload(&ca, ID), *b = pki_workload(&ca, ID);
    struct strbuf pem, key;
    strbuf_init(&pem, CERT_PEM_MAX);
    strbuf_init(&key, CERT_PEM_MAX);
    cert_to_pem(a->leaf, &pem);
    ck_assert_rc(key_to_pem(b->key, &key), RC_OK);
    struct cert *c = NULL;
    struct errmsg e;
    ck_assert_rc(cert_parse(strbuf_str(&pem), strbuf_str(&key), &c, &e), RC_CERT);
    ck_assert_ptr_nonnull(strstr(e.text, "does not belong"));
    ck_assert_rc(cert_parse(strbuf_str(&key), strbuf_str(&key), &c, &e), RC_CERT);
    ck_assert_ptr_nonnull(strstr(e.text, "PRIVATE KEY"));
    ck_assert_rc(cert_parse(strbuf_str(&pem), strbuf_str(&pem), &c, &e), RC_CERT);
    strbuf_fini(&pem);
    strbuf_fini(&key);
    cert_unref(a);
    cert_unref(b);
    pki_ca_fini(&ca);
}
END_TEST

START_TEST(encrypted_key_is_refused_without_asking)
{
    EVP_PKEY *key = NULL, *back = NULL;
    ck_assert_rc(key_new(&key), RC_OK);
    BIO *bio = BIO_new(BIO_s_mem());
    ck_assert_int_eq(
        PEM_write_bio_PKCS8PrivateKey(bio, key, EVP_aes_128_cbc(), "secret", 6, NULL, NULL), 1);
    char *p = NULL;
    long n = BIO_get_mem_data(bio, &p);
    struct errmsg e;
    ck_assert_rc(key_parse((struct str){p, (size_t)n}, &back, &e), RC_CERT);
    ck_assert_rc(key_parse(STR("garbage"), &back, &e), RC_CERT);
    ck_assert_rc(key_parse(STR(""), &back, &e), RC_CERT);
    BIO_free_all(bio);
    EVP_PKEY_free(key);
}
END_TEST

START_TEST(bundles)
{
    struct pki_ca a, b;
    pki_ca_init(&a, "a");
    pki_ca_init(&b, "b");
    struct strbuf pem;
    strbuf_init(&pem, CERT_PEM_MAX);
    strbuf_addz(&pem, "# the first\n");
    cert_to_pem(a.root, &pem);
    strbuf_addz(&pem, "\r\nthe second\n");
    cert_to_pem(b.root, &pem);
    cert_to_pem(a.root, &pem); /* again */
    struct trust *t = NULL, *swapped = NULL;
    struct errmsg e;
    ck_assert_rc(trust_parse(strbuf_str(&pem), &t, &e), RC_OK);
    ck_assert_int_eq(sk_X509_num(t->roots), 2);
    ck_assert_uint_ne(t->hash, a.trust->hash);
    strbuf_reset(&pem);
    cert_to_pem(b.root, &pem);
    cert_to_pem(a.root, &pem);
    ck_assert_rc(trust_parse(strbuf_str(&pem), &swapped, &e), RC_OK);
    ck_assert_uint_eq(t->hash, swapped->hash);
    trust_unref(t);
    trust_unref(swapped);

    struct str whole = strbuf_str(&pem);
    for (size_t n = 0; n < whole.n; n += 7) { /* cut anywhere: never half a bundle */
        struct trust *cut = NULL;
        enum rc rc = trust_parse((struct str){whole.p, n}, &cut, NULL);
        if (rc == RC_OK) { /* between the two */
            ck_assert_int_eq(sk_X509_num(cut->roots), 1);
            ck_assert_uint_le(n, b.pem.n + 7 + sizeof("-----BEGIN"));
        }
        trust_unref(cut);
    }
    strbuf_fini(&pem);
    pki_ca_fini(&a);
    pki_ca_fini(&b);
}
END_TEST

START_TEST(garbage_bundles)
{
    struct trust *t = NULL;
    struct errmsg e;
    ck_assert_rc(trust_parse(STR(""), &t, &e), RC_CERT);
    ck_assert_rc(trust_parse(STR("hello"), &t, &e), RC_CERT);
    ck_assert_rc(
        trust_parse(STR("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), &t, &e),
        RC_CERT);
    ck_assert_rc(trust_parse(STR("-----BEGIN CERTIFICATE-----\n"), &t, &e), RC_CERT);
    ck_assert_rc(trust_parse(STR("-----BEGIN CERTIFICATE---\nAAAA\n"), &t, &e), RC_CERT);
    ck_assert_ptr_null(t);

    struct strbuf many, huge;
    struct pki_ca ca;
    pki_ca_init(&ca, "a");
    strbuf_init(&many, CERT_PEM_MAX);
    for (int i = 0; i < CERT_ROOTS_MAX + 1; i++)
        strbuf_adds(&many, strbuf_str(&ca.pem));
    ck_assert_rc(trust_parse(strbuf_str(&many), &t, &e), RC_LIMIT);
    strbuf_init(&huge, CERT_PEM_MAX + 1);
    strbuf_adds(&huge, strbuf_str(&ca.pem));
    while (huge.n <= CERT_PEM_MAX)
        strbuf_addc(&huge, '\n');
    ck_assert_rc(trust_parse(strbuf_str(&huge), &t, &e), RC_LIMIT);
    huge.n--;
    ck_assert_rc(trust_parse(strbuf_str(&huge), &t, &e), RC_OK);
    trust_unref(t);
    strbuf_fini(&many);
    strbuf_fini(&huge);
    pki_ca_fini(&ca);
}
END_TEST

START_TEST(files)
{
    struct pki_ca ca;
    pki_ca_init(&ca, "a");
    char path[] = "/tmp/test_cert_XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_eq(write(fd, ca.pem.p, ca.pem.n), (ssize_t)ca.pem.n);
    struct trust *t = NULL;
    struct errmsg e;
    ck_assert_rc(trust_load(path, &t, &e), RC_OK);
    ck_assert_uint_eq(t->hash, ca.trust->hash);
    trust_unref(t);
    ck_assert_int_eq(ftruncate(fd, CERT_PEM_MAX + 1), 0);
    ck_assert_rc(trust_load(path, &t, &e), RC_LIMIT);
    ck_assert_int_eq(ftruncate(fd, 100), 0);
    ck_assert_rc(trust_load(path, &t, &e), RC_CERT);
    ck_assert_ptr_nonnull(strstr(e.text, path)); /* names the file */
    close(fd);
    unlink(path);
    ck_assert_rc(trust_load(path, &t, &e), RC_NOT_FOUND);
    ck_assert_rc(trust_load("/", &t, &e), RC_IO);
    pki_ca_fini(&ca);
}
END_TEST

START_TEST(identities_of_a_certificate)
{
    struct pki_ca ca;
    pki_ca_init(&ca, "a");
    struct cert *c = pki_workload(&ca, "DNS:x,URI:https://x/,URI:spiffe://td/other," ID
                                       ",URI:spiffe://td/ns/c/sa/d");
    ck_assert_str_eq(c->id->uri.p, "spiffe://td/ns/a/sa/b"); /* the first parsable */
    cert_unref(c);
    c = pki_workload(&ca, "DNS:x");
    ck_assert_ptr_null(c->id);
    struct identity *id = NULL;
    ck_assert_rc(cert_identity(c->leaf, &id), RC_CERT);
    cert_unref(c);
    c = pki_leaf(&ca, (struct pki_spec){.eku = PKI_BOTH}); /* no SAN at all */
    ck_assert_ptr_null(c->id);
    cert_unref(c);
    pki_ca_fini(&ca);
}
END_TEST

START_TEST(chains)
{
    struct pki_ca ca;
    pki_ca_init(&ca, "root");
    X509 *mid[CERT_CHAIN_MAX];
    X509 *up = ca.root;
    for (int i = 0; i < CERT_CHAIN_MAX; i++) {
        char name[20];
        snprintf(name, sizeof(name), "mid%d", i);
        mid[i] = pki_make(&(struct pki_spec){
            .key = ca.key, .issuer = up, .issuer_key = ca.key, .subject = name, .ca = true});
        up = mid[i];
    }
    EVP_PKEY *key = NULL;
    ck_assert_rc(key_new(&key), RC_OK);
    for (int depth = 1; depth <= CERT_CHAIN_MAX; depth++) {
        X509 *leaf = pki_make(&(struct pki_spec){.key = key,
                                                 .issuer = mid[depth - 1],
                                                 .issuer_key = ca.key,
                                                 .san = ID,
                                                 .eku = PKI_BOTH});
        STACK_OF(X509) *chain = sk_X509_new_null();
        sk_X509_push(chain, leaf);
        for (int i = depth - 1; i >= 0; i--)
            sk_X509_push(chain, mid[i]);
        struct cert *c = NULL;
        struct errmsg e;
        ck_assert_rc(cert_make(chain, key, &c, &e), depth < CERT_CHAIN_MAX ? RC_OK : RC_LIMIT);
        if (c) {
            ck_assert_int_eq(sk_X509_num(c->chain), depth);
            ck_assert_rc(cert_verify(c->leaf, c->chain, ca.trust, X509_PURPOSE_SSL_SERVER, &e),
                         depth <= CERT_DEPTH_MAX ? RC_OK : RC_CERT);
        }
        cert_unref(c);
        sk_X509_free(chain);
        X509_free(leaf);
    }
    for (int i = 0; i < CERT_CHAIN_MAX; i++)
        X509_free(mid[i]);
    EVP_PKEY_free(key);
    pki_ca_fini(&ca);
}
END_TEST

START_TEST(verification)
{
    struct pki_ca ca, foreign;
    pki_ca_init(&ca, "root");
    pki_ca_init(&foreign, "root"); /* same name, another key */
    static const struct {
        struct pki_spec spec;
        enum rc server, client;
        const char *why;
    } cases[] = {
        {{.san = ID, .eku = PKI_BOTH}, RC_OK, RC_OK, ""},
        {{.san = ID, .eku = "serverAuth"}, RC_OK, RC_CERT, "purpose"},
        {{.san = ID, .eku = "clientAuth"}, RC_CERT, RC_OK, "purpose"},
        {{.san = ID, .eku = "codeSigning"}, RC_CERT, RC_CERT, "purpose"},
        {{.san = ID, .eku = PKI_BOTH, .from_s = -100, .till_s = -1}, RC_CERT, RC_CERT, "expired"},
        {{.san = ID, .eku = PKI_BOTH, .from_s = 50, .till_s = 99}, RC_CERT, RC_CERT, "not yet"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct cert *c = pki_leaf(&ca, cases[i].spec);
        struct errmsg e = {""};
        ck_assert_rc(cert_verify(c->leaf, NULL, ca.trust, X509_PURPOSE_SSL_SERVER, &e),
                     cases[i].server);
        ck_assert_rc(cert_verify(c->leaf, NULL, ca.trust, X509_PURPOSE_SSL_CLIENT, &e),
                     cases[i].client);
        ck_assert_msg(strstr(e.text, cases[i].why) != NULL, "%s", e.text);
        ck_assert_rc(cert_verify(c->leaf, NULL, foreign.trust, X509_PURPOSE_SSL_SERVER, &e),
                     RC_CERT);
        cert_unref(c);
    }
    struct cert *leaf = pki_workload(&ca, ID); /* a leaf is no authority */
    struct pki_ca fake = {.key = leaf->key, .root = leaf->leaf};
    struct cert *under = pki_workload(&fake, ID);
    STACK_OF(X509) *chain = sk_X509_new_null();
    sk_X509_push(chain, leaf->leaf);
    ck_assert_rc(cert_verify(under->leaf, chain, ca.trust, X509_PURPOSE_SSL_SERVER, NULL), RC_CERT);
    sk_X509_free(chain);
    cert_unref(under);
    cert_unref(leaf);
    pki_ca_fini(&ca);
    pki_ca_fini(&foreign);
}
END_TEST

TEST_MAIN("cert", survives_pem, key_of_another, encrypted_key_is_refused_without_asking, bundles,
          garbage_bundles, files, identities_of_a_certificate, chains, verification)
