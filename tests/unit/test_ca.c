#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/pem.h>

#include "control/ca/ca.h"
#include "lib/base/file.h"
#include "tests/helper/check.h"
#include "tests/helper/pki.h"
#include "tests/helper/tmpfs.h"

static char dir[64];
static int64_t fake_now_s;

static int64_t fake_clock(void)
{
    return fake_now_s;
}

static char *at(const char *name)
{
    static char path[4][200];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof(path[turn]), "%s/%s", dir, name);
    return path[turn];
}

static void setup(void)
{
    strcpy(dir, "/tmp/test_ca_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    fake_now_s = time(NULL);
}

static void teardown(void)
{
    unlink(at("ca-key.pem"));
    unlink(at("ca-cert.pem"));
    unlink(at("root-cert.pem"));
    ck_assert_int_eq(rmdir(dir), 0); /* nothing else was left behind */
}

static enum rc open_ca(struct ca **ret, struct errmsg *e)
{
    struct ca_opts o = {.folder = dir, .trust_domain = STR("cluster.local"), .now_s = fake_clock};
    *ret = NULL;
    e->text[0] = '\0';
    return ca_open(&o, ret, e);
}

static void must_open(struct ca **ret)
{
    struct errmsg e;
    enum rc rc = open_ca(ret, &e);
    ck_assert_msg(rc == RC_OK, "%s: %s", rc_name(rc), e.text);
}

static void must_fail_with(enum rc want, const char *text)
{
    struct ca *ca;
    struct errmsg e;
    enum rc rc = open_ca(&ca, &e);
    ck_assert_msg(rc == want, "%s instead of %s: %s", rc_name(rc), rc_name(want), e.text);
    ck_assert_msg(strstr(e.text, text) != NULL, "\"%s\" lacks \"%s\"", e.text, text);
    ck_assert_ptr_null(ca);
}

static void content(const char *name, struct strbuf *out)
{
    strbuf_init(out, CERT_PEM_MAX);
    ck_assert_rc(file_read(at(name), CERT_PEM_MAX, out, NULL), RC_OK);
}

static unsigned mode_of(const char *name)
{
    struct stat st;
    ck_assert_int_eq(stat(at(name), &st), 0);
    return st.st_mode & 07777;
}

START_TEST(made_once_then_loaded)
{
    struct ca *ca, *again;
    must_open(&ca);
    ck_assert_uint_eq(mode_of("ca-key.pem"), 0600);
    ck_assert_uint_eq(mode_of("root-cert.pem"), 0644);
    ck_assert_int_eq(ca_root_not_after_s(ca), fake_now_s + CA_ROOT_S);
    ck_assert_int_eq(ca_signer_not_after_s(ca), fake_now_s + CA_ROOT_S);
    must_open(&again);
    ck_assert(str_eq(ca_root_pem(ca), ca_root_pem(again)));
    ck_assert_uint_eq(ca_chain_len(ca), 1); /* self-signed: only the roots follow the leaf */
    ca_free(ca);
    ca_free(again);
    ca_free(NULL);
}
END_TEST

START_TEST(issues)
{
    struct ca *ca;
    must_open(&ca);
    EVP_PKEY *key = NULL;
    struct identity *id = NULL;
    X509 *x = NULL;
    struct errmsg e;
    ck_assert_rc(key_new(&key), RC_OK);
    ck_assert_rc(identity_parse(STR("spiffe://cluster.local/ns/a/sa/b"), &id), RC_OK);
    ck_assert_rc(ca_issue(ca, key, id, 3600, &x, &e), RC_OK);
    ck_assert_rc(cert_verify(x, NULL, ca_trust(ca), X509_PURPOSE_SSL_CLIENT, &e), RC_OK);
    int64_t end_s;
    ck_assert_rc(cert_time(X509_get0_notAfter(x), &end_s), RC_OK);
    ck_assert_int_eq(end_s, fake_now_s + 3600);
    X509_free(x);
    EVP_PKEY_free(key);
    identity_unref(id);
    ca_free(ca);
}
END_TEST

START_TEST(serving_certificate_is_renewed)
{
    struct str names[] = {STR("mesh.example"), STR("192.0.2.7")};
    struct ca_opts o = {.folder = dir,
                        .trust_domain = STR("td"),
                        .names = names,
                        .n_names = 2,
                        .now_s = fake_clock};
    struct ca *ca = NULL;
    struct errmsg e;
    ck_assert_rc(ca_open(&o, &ca, &e), RC_OK);
    struct mtls_ctx *first = mtls_ctx_ref(ca_serving(ca, &e));
    X509 *x = mtls_ctx_cert(first)->leaf;
    static const char *const hosts[] = {"istiod.istio-system.svc", "istio-pilot.istio-system.svc",
                                        "localhost", "mesh.example"};
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++)
        ck_assert_int_eq(X509_check_host(x, hosts[i], 0, 0, NULL), 1);
    ck_assert_int_eq(X509_check_ip_asc(x, "192.0.2.7", 0), 1);
    ck_assert_int_eq(X509_check_ip_asc(x, "127.0.0.1", 0), 1);
    fake_now_s += CA_SERVING_S / 2 - 300;
    ck_assert_ptr_eq(ca_serving(ca, &e), first);
    fake_now_s += 300;
    struct mtls_ctx *second = ca_serving(ca, &e);
    ck_assert_ptr_ne(second, first);
    ck_assert_int_eq(mtls_ctx_cert(second)->not_after_s, fake_now_s + CA_SERVING_S);
    mtls_ctx_unref(first);
    ca_free(ca);
    names[0] = STR("not a name");
    ca = NULL;
    ck_assert_rc(ca_open(&o, &ca, &e), RC_INVALID);
    ck_assert_ptr_nonnull(strstr(e.text, "not a name"));
}
END_TEST

START_TEST(interrupted_creation_goes_on)
{
    struct ca *ca;
    struct strbuf key, again;
    must_open(&ca);
    ca_free(ca);
    content("ca-key.pem", &key);
    unlink(at("root-cert.pem"));
    must_open(&ca); /* killed before the third file */
    ca_free(ca);
    unlink(at("root-cert.pem"));
    unlink(at("ca-cert.pem"));
    must_open(&ca); /* killed before the second */
    ca_free(ca);
    content("ca-key.pem", &again);
    ck_assert(str_eq(strbuf_str(&key), strbuf_str(&again)));
    strbuf_fini(&key);
    strbuf_fini(&again);
}
END_TEST

START_TEST(what_is_missing_is_not_replaced)
{
    struct ca *ca;
    struct strbuf key;
    must_open(&ca);
    ca_free(ca);
    content("ca-key.pem", &key);
    unlink(at("ca-key.pem"));
    must_fail_with(RC_CERT, "ca-key.pem is missing");
    ck_assert_int_ne(access(at("ca-key.pem"), F_OK), 0);
    ck_assert_rc(file_create(at("ca-key.pem"), 0600, strbuf_str(&key), NULL), RC_OK);
    unlink(at("ca-cert.pem"));
    must_fail_with(RC_CERT, "ca-cert.pem is missing");
    strbuf_fini(&key);
}
END_TEST

START_TEST(bad_files_are_named_and_kept)
{
    struct ca *ca;
    struct strbuf key, cert, root, foreign_key;
    must_open(&ca);
    ca_free(ca);
    content("ca-key.pem", &key);
    content("ca-cert.pem", &cert);
    content("root-cert.pem", &root);
    ck_assert_int_eq(chmod(at("ca-key.pem"), 0640), 0);
    must_fail_with(RC_INVALID, "mode 0640");
    ck_assert_int_eq(chmod(at("ca-key.pem"), 0600), 0);

    EVP_PKEY *other = NULL;
    strbuf_init(&foreign_key, CERT_PEM_MAX);
    ck_assert_rc(key_new(&other), RC_OK);
    ck_assert_rc(key_to_pem(other, &foreign_key), RC_OK);
    ck_assert_rc(file_replace(at("ca-key.pem"), 0600, strbuf_str(&foreign_key), NULL), RC_OK);
    must_fail_with(RC_CERT, "does not belong");
    ck_assert_rc(file_replace(at("ca-key.pem"), 0600, STR("garbage"), NULL), RC_OK);
    must_fail_with(RC_CERT, "not an unencrypted private key");
    ck_assert_rc(file_replace(at("ca-key.pem"), 0600, STR(""), NULL), RC_OK);
    must_fail_with(RC_CERT, "not an unencrypted private key");
    ck_assert_rc(file_replace(at("ca-key.pem"), 0600, strbuf_str(&key), NULL), RC_OK);

    ck_assert_rc(file_replace(at("ca-cert.pem"), 0644, (struct str){cert.p, 100}, NULL), RC_OK);
    must_fail_with(RC_CERT, "ca-cert.pem");
    ck_assert_rc(file_replace(at("ca-cert.pem"), 0644, strbuf_str(&cert), NULL), RC_OK);

    struct pki_ca ca2;
    pki_ca_init(&ca2, "other");
    ck_assert_rc(file_replace(at("root-cert.pem"), 0644, strbuf_str(&ca2.pem), NULL), RC_OK);
    must_fail_with(RC_CERT, "not valid under root-cert.pem");
    pki_ca_fini(&ca2);
    ck_assert_rc(file_replace(at("root-cert.pem"), 0644, strbuf_str(&root), NULL), RC_OK);

    unlink(at("root-cert.pem")); /* unreadable: a folder stands there */
    ck_assert_int_eq(mkdir(at("root-cert.pem"), 0755), 0);
    must_fail_with(RC_IO, "root-cert.pem");
    ck_assert_int_eq(rmdir(at("root-cert.pem")), 0);
    EVP_PKEY_free(other);
    strbuf_fini(&foreign_key);
    strbuf_fini(&key);
    strbuf_fini(&cert);
    strbuf_fini(&root);
}
END_TEST

static void put(const char *name, unsigned mode, X509 *a, X509 *b, EVP_PKEY *key)
{
    struct strbuf pem AUTO_STRBUF;
    strbuf_init(&pem, CERT_PEM_MAX);
    if (a)
        cert_to_pem(a, &pem);
    if (b)
        cert_to_pem(b, &pem);
    if (key)
        ck_assert_rc(key_to_pem(key, &pem), RC_OK);
    ck_assert_rc(file_replace(at(name), mode, strbuf_str(&pem), NULL), RC_OK);
}

START_TEST(given_from_outside)
{
    struct pki_ca up;
    pki_ca_init(&up, "corporate root");
    EVP_PKEY *key = NULL, *weak = EVP_RSA_gen(1024);
    ck_assert_rc(key_new(&key), RC_OK);
    struct pki_spec spec = {
        .key = key, .issuer = up.root, .issuer_key = up.key, .subject = "mesh", .ca = true};
    X509 *mid = pki_make(&spec);
    put("ca-key.pem", 0600, NULL, NULL, key);
    put("ca-cert.pem", 0644, mid, NULL, NULL);
    must_fail_with(RC_CERT, "root-cert.pem is missing");
    put("root-cert.pem", 0644, up.root, NULL, NULL);
    struct ca *ca;
    must_open(&ca);
    ck_assert_uint_eq(ca_chain_len(ca), 2); /* the intermediate, then the root */
    struct errmsg e;
    const struct cert *c = mtls_ctx_cert(ca_serving(ca, &e));
    ck_assert_int_eq(sk_X509_num(c->chain), 1);
    ck_assert_rc(cert_verify(c->leaf, c->chain, up.trust, X509_PURPOSE_SSL_SERVER, &e), RC_OK);
    ca_free(ca);

    spec.from_s = -100;
    spec.till_s = -1;
    X509 *old = pki_make(&spec);
    put("ca-cert.pem", 0644, old, NULL, NULL);
    must_fail_with(RC_CERT, "expired");
    spec.till_s = 1000;
    spec.ca = false;
    X509 *leaf = pki_make(&spec);
    put("ca-cert.pem", 0644, leaf, NULL, NULL);
    must_fail_with(RC_CERT, "may not sign");
    spec.ca = true;
    spec.key = weak;
    X509 *feeble = pki_make(&spec);
    put("ca-cert.pem", 0644, feeble, NULL, NULL);
    put("ca-key.pem", 0600, NULL, NULL, weak);
    must_fail_with(RC_INVALID, "1024 bits");
    X509_free(mid);
    X509_free(old);
    X509_free(leaf);
    X509_free(feeble);
    EVP_PKEY_free(key);
    EVP_PKEY_free(weak);
    pki_ca_fini(&up);
}
END_TEST

START_TEST(full_disk)
{
    if (!tmpfs_mount(dir, 4 * 3)) /* three pages: a folder needs none */
        return;
    char page[4096] = {0};
    for (int room = 0; room < 3; room++) { /* room for so many files of the authority */
        for (int i = 0; i < 3 - room; i++) {
            char name[10];
            snprintf(name, sizeof(name), "fill%d", i);
            ck_assert_rc(file_create(at(name), 0600, (struct str){page, sizeof(page)}, NULL),
                         RC_OK);
        }
        must_fail_with(RC_IO, strerror(ENOSPC));
        ck_assert_int_ne(access(at("root-cert.pem"), F_OK), 0); /* not even a half */
        for (int i = 0; i < 3 - room; i++) {
            char name[10];
            snprintf(name, sizeof(name), "fill%d", i);
            unlink(at(name));
        }
    }
    struct ca *ca;
    must_open(&ca); /* the same authority once there is room */
    ca_free(ca);
    ck_assert_int_eq(umount(dir), 0);
}
END_TEST

START_TEST(no_folder)
{
    struct ca_opts o = {.folder = at("a/b"), .trust_domain = STR("td")};
    struct ca *ca = NULL;
    struct errmsg e;
    ck_assert_rc(ca_open(&o, &ca, &e), RC_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(e.text, "a/b"));
    o.folder = at("ca");
    ck_assert_rc(ca_open(&o, &ca, &e), RC_OK); /* made, its parent is there */
    ca_free(ca);
    unlink(at("ca/ca-key.pem"));
    unlink(at("ca/ca-cert.pem"));
    unlink(at("ca/root-cert.pem"));
    ck_assert_int_eq(rmdir(at("ca")), 0);
}
END_TEST

TEST_MAIN_FIXTURE("ca", setup, teardown, made_once_then_loaded, issues,
                  serving_certificate_is_renewed, interrupted_creation_goes_on,
                  what_is_missing_is_not_replaced, bad_files_are_named_and_kept, given_from_outside,
                  full_disk, no_folder)
