#include <openssl/err.h>

#include "lib/mtls/mtls_priv.h"
#include "tests/helper/check.h"
#include "tests/helper/pki.h"

#define ID_A "URI:spiffe://td/ns/a/sa/a"
#define ID_B "URI:spiffe://td/ns/b/sa/b"

static struct pki_ca ca, foreign;

static void setup(void)
{
    pki_ca_init(&ca, "root");
    pki_ca_init(&foreign, "foreign");
}

static void teardown(void)
{
    pki_ca_fini(&ca);
    pki_ca_fini(&foreign);
}

static struct mtls_ctx *ctx_of(enum mtls_mode mode, struct cert *cert, struct trust *trust)
{
    struct mtls_ctx *c = NULL;
    struct errmsg e = {""};
    ck_assert_msg(mtls_ctx_new(mode, cert, trust, &c, &e) == RC_OK, "%s", e.text);
    cert_unref(cert);
    return c;
}

struct pair {
    SSL *client, *server;
    bool client_done, server_done;
    enum rc client_rc, server_rc; /* of the handshake, or what a read met afterwards */
    struct errmsg client_msg, server_msg;
};

static void pair_init(struct pair *p, SSL_CTX *client, SSL_CTX *server)
{
    memset(p, 0, sizeof(*p));
    BIO *a = NULL, *b = NULL;
    ck_assert_int_eq(BIO_new_bio_pair(&a, 65536, &b, 65536), 1);
    p->client = SSL_new(client);
    p->server = SSL_new(server);
    SSL_set_bio(p->client, a, a);
    SSL_set_bio(p->server, b, b);
    SSL_set_connect_state(p->client);
    SSL_set_accept_state(p->server);
}

static void pair_fini(struct pair *p)
{
    SSL_free(p->client);
    SSL_free(p->server);
}

static void step(SSL *ssl, bool *done, enum rc *rc, struct errmsg *msg)
{
    char c;
    if (*rc != RC_OK)
        return;
    int n = *done ? SSL_read(ssl, &c, 1) : SSL_do_handshake(ssl);
    int err = SSL_get_error(ssl, n);
    if (n == 1)
        *done = true;
    else if (err == SSL_ERROR_SSL)
        *rc = mtls_failure(ssl, msg);
}

static void pair_run(struct pair *p)
{
    for (int i = 0; i < 20; i++) {
        step(p->client, &p->client_done, &p->client_rc, &p->client_msg);
        step(p->server, &p->server_done, &p->server_rc, &p->server_msg);
    }
}

static struct identity *id_of(const char *uri)
{
    struct identity *id = NULL;
    ck_assert_rc(identity_parse(str_of(uri), &id), RC_OK);
    return id;
}

START_TEST(mesh_peers_see_each_other)
{
    struct mtls_ctx *a = ctx_of(MTLS_MESH, pki_workload(&ca, ID_A), ca.trust);
    struct mtls_ctx *b = ctx_of(MTLS_MESH, pki_workload(&ca, ID_B), ca.trust);
    struct pair p;
    pair_init(&p, mtls_ctx_ssl(a, false), mtls_ctx_ssl(b, true));
    pair_run(&p);
    ck_assert(p.client_done && p.server_done);
    ck_assert_str_eq(SSL_get_version(p.client), "TLSv1.3");
    ck_assert_str_eq(SSL_get_cipher_name(p.client), "TLS_AES_128_GCM_SHA256");
    ck_assert_str_eq(SSL_get0_group_name(p.client), "x25519");
    ck_assert_int_eq(SSL_session_reused(p.client), 0);
    ck_assert_int_eq(sk_X509_num(SSL_get_peer_cert_chain(p.client)), 1); /* without the root */
    struct identity *want[] = {id_of("spiffe://td/ns/x/sa/x"), id_of("spiffe://td/ns/b/sa/b")};
    struct identity *peer = NULL;
    struct mtls_peer_check check = {.any_of = want, .n_any_of = 2};
    struct errmsg e;
    ck_assert_rc(mtls_verify_peer(p.client, &check, false, &peer, &e), RC_OK);
    ck_assert(identity_eq(peer, want[1]));
    identity_unref(peer);

    check.n_any_of = 1;
    ck_assert_rc(mtls_verify_peer(p.client, &check, false, &peer, &e), RC_IDENTITY);
    ck_assert_str_eq(e.text, "the peer is spiffe://td/ns/b/sa/b, expected spiffe://td/ns/x/sa/x");
    ck_assert_ptr_null(peer);
    check.n_any_of = 0; /* nobody expected: nobody accepted */
    ck_assert_rc(mtls_verify_peer(p.client, &check, false, &peer, &e), RC_IDENTITY);

    check = (struct mtls_peer_check){.trust_domain = STR("td")};
    ck_assert_rc(mtls_verify_peer(p.server, &check, true, &peer, &e), RC_OK);
    ck_assert_str_eq(peer->uri.p, "spiffe://td/ns/a/sa/a");
    identity_unref(peer);
    check.trust_domain = STR("other");
    ck_assert_rc(mtls_verify_peer(p.server, &check, true, &peer, &e), RC_IDENTITY);
    check.trust_domain = STR("");
    ck_assert_rc(mtls_verify_peer(p.server, &check, true, &peer, &e), RC_OK);
    identity_unref(peer);

    identity_unref(want[0]);
    identity_unref(want[1]);
    pair_fini(&p);
    mtls_ctx_unref(a);
    mtls_ctx_unref(b);
}
END_TEST

START_TEST(the_name_that_fits_counts)
{
    struct mtls_ctx *a = ctx_of(
        MTLS_MESH, pki_workload(&ca, "URI:spiffe://elsewhere/ns/a/sa/a,URI:spiffe://td/ns/a/sa/a"),
        ca.trust);
    struct mtls_ctx *none = ctx_of(MTLS_MESH, pki_workload(&ca, "DNS:x"), ca.trust);
    struct mtls_peer_check check = {.trust_domain = STR("td")};
    struct identity *peer = NULL;
    struct errmsg e;
    struct pair p;
    pair_init(&p, mtls_ctx_ssl(a, false), mtls_ctx_ssl(a, true));
    pair_run(&p);
    ck_assert_rc(mtls_verify_peer(p.server, &check, true, &peer, &e), RC_OK);
    ck_assert_str_eq(peer->uri.p, "spiffe://td/ns/a/sa/a");
    identity_unref(peer);
    pair_fini(&p);
    pair_init(&p, mtls_ctx_ssl(none, false), mtls_ctx_ssl(a, true));
    pair_run(&p);
    ck_assert_rc(mtls_verify_peer(p.server, &check, true, &peer, &e), RC_IDENTITY);
    ck_assert_str_eq(e.text, "the peer's certificate has no SPIFFE identity");
    pair_fini(&p);
    mtls_ctx_unref(a);
    mtls_ctx_unref(none);
}
END_TEST

START_TEST(bad_certificates_fail_the_handshake)
{
    static const struct {
        struct pki_spec spec;
        bool foreign;
        bool as_client, as_server; /* may it play this role? */
    } cases[] = {
        {{.san = ID_A, .eku = PKI_BOTH}, false, true, true},
        {{.san = ID_A, .eku = PKI_BOTH}, true, false, false},
        {{.san = ID_A, .eku = PKI_BOTH, .from_s = -9, .till_s = -1}, false, false, false},
        {{.san = ID_A, .eku = PKI_BOTH, .from_s = 90, .till_s = 99}, false, false, false},
        {{.san = ID_A, .eku = "serverAuth"}, false, false, true},
        {{.san = ID_A, .eku = "clientAuth"}, false, true, false},
    };
    struct mtls_ctx *good = ctx_of(MTLS_MESH, pki_workload(&ca, ID_B), ca.trust);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct cert *c = pki_leaf(cases[i].foreign ? &foreign : &ca, cases[i].spec);
        struct mtls_ctx *ctx = ctx_of(MTLS_MESH, c, ca.trust);
        struct pair p;
        pair_init(&p, mtls_ctx_ssl(ctx, false), mtls_ctx_ssl(good, true));
        pair_run(&p);
        ck_assert_msg(p.server_done == cases[i].as_client, "case %zu as client", i);
        ck_assert_rc(p.server_rc, cases[i].as_client ? RC_OK : RC_CERT);
        ck_assert_rc(p.client_rc, cases[i].as_client ? RC_OK : RC_CERT); /* told by the alert */
        pair_fini(&p);
        pair_init(&p, mtls_ctx_ssl(good, false), mtls_ctx_ssl(ctx, true));
        pair_run(&p);
        ck_assert_msg(p.client_done == cases[i].as_server, "case %zu as server", i);
        ck_assert_rc(p.client_rc, cases[i].as_server ? RC_OK : RC_CERT);
        if (!cases[i].as_server)
            ck_assert_ptr_nonnull(strstr(p.client_msg.text, "the peer's certificate is refused"));
        pair_fini(&p);
        mtls_ctx_unref(ctx);
    }
    mtls_ctx_unref(good);
}
END_TEST

START_TEST(no_client_certificate)
{
    struct mtls_ctx *mesh = ctx_of(MTLS_MESH, pki_workload(&ca, ID_A), ca.trust);
    struct mtls_ctx *open = ctx_of(MTLS_SERVER_PUBLIC, pki_workload(&ca, "DNS:x"), ca.trust);
    struct mtls_ctx *bare = ctx_of(MTLS_CLIENT_DNS, NULL, ca.trust);
    struct pair p;
    pair_init(&p, mtls_ctx_ssl(bare, false), mtls_ctx_ssl(mesh, true));
    pair_run(&p);
    ck_assert(!p.server_done);
    ck_assert_rc(p.server_rc, RC_CERT);
    pair_fini(&p);

    pair_init(&p, mtls_ctx_ssl(bare, false), mtls_ctx_ssl(open, true));
    pair_run(&p);
    ck_assert(p.client_done && p.server_done);
    struct mtls_peer_check check = {.trust_domain = STR("td")};
    struct identity *peer = NULL;
    ck_assert_rc(mtls_verify_peer(p.server, &check, true, &peer, NULL), RC_OK);
    ck_assert_ptr_null(peer);
    pair_fini(&p);

    pair_init(&p, mtls_ctx_ssl(mesh, false), mtls_ctx_ssl(open, true)); /* shown, so checked */
    pair_run(&p);
    ck_assert_rc(mtls_verify_peer(p.server, &check, true, &peer, NULL), RC_OK);
    ck_assert_str_eq(peer->uri.p, "spiffe://td/ns/a/sa/a");
    identity_unref(peer);
    check.trust_domain = STR("other");
    ck_assert_rc(mtls_verify_peer(p.server, &check, true, &peer, NULL), RC_IDENTITY);
    pair_fini(&p);
    mtls_ctx_unref(mesh);

    mesh = ctx_of(MTLS_MESH, pki_workload(&foreign, ID_A), ca.trust);
    pair_init(&p, mtls_ctx_ssl(mesh, false), mtls_ctx_ssl(open, true));
    pair_run(&p);
    ck_assert_rc(p.server_rc, RC_CERT);
    pair_fini(&p);
    mtls_ctx_unref(mesh);
    mtls_ctx_unref(open);
    mtls_ctx_unref(bare);
}
END_TEST

START_TEST(server_names)
{
    struct mtls_ctx *server =
        ctx_of(MTLS_SERVER_PUBLIC,
               pki_workload(&ca, "DNS:istiod.istio-system.svc,IP:127.0.0.1,IP:fd00::1"), ca.trust);
    struct mtls_ctx *client = ctx_of(MTLS_CLIENT_DNS, NULL, ca.trust);
    struct mtls_ctx *stranger = ctx_of(MTLS_CLIENT_DNS, NULL, foreign.trust);
    struct pair p;
    pair_init(&p, mtls_ctx_ssl(client, false), mtls_ctx_ssl(server, true));
    pair_run(&p);
    static const struct {
        const char *name;
        enum rc want;
    } cases[] = {
        {"istiod.istio-system.svc", RC_OK},
        {"ISTIOD.istio-system.svc", RC_OK},
        {"127.0.0.1", RC_OK},
        {"fd00::1", RC_OK},
        {"fd00:0::1", RC_OK},
        {"127.0.0.2", RC_CERT},
        {"istiod.istio-system", RC_CERT},
        {"svc", RC_CERT},
        {"", RC_CERT},
        {NULL, RC_CERT},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct identity *peer = NULL;
        struct errmsg e;
        struct mtls_peer_check check = {.dns_name = cases[i].name};
        enum rc rc = mtls_verify_peer(p.client, &check, false, &peer, &e);
        ck_assert_msg(rc == cases[i].want, "%s: %s", cases[i].name, rc_name(rc));
    }
    pair_fini(&p);
    pair_init(&p, mtls_ctx_ssl(stranger, false), mtls_ctx_ssl(server, true));
    pair_run(&p);
    ck_assert_rc(p.client_rc, RC_CERT);
    pair_fini(&p);
    mtls_ctx_unref(server);
    mtls_ctx_unref(client);
    mtls_ctx_unref(stranger);
}
END_TEST

/* A peer with OpenSSL's defaults, changed by one call. */
static SSL_CTX *plain_client(struct cert *c)
{
    SSL_CTX *x = SSL_CTX_new(TLS_client_method());
    SSL_CTX_use_cert_and_key(x, c->leaf, c->key, NULL, 1);
    SSL_CTX_set_alpn_protos(x, (const unsigned char *)"\x08http/1.1\x02h2", 12);
    return x;
}

START_TEST(what_clients_may_offer)
{
    struct cert *cert = pki_workload(&ca, ID_A);
    struct mtls_ctx *server = ctx_of(MTLS_MESH, pki_workload(&ca, ID_B), ca.trust);
    struct pair p;
    for (int i = 0; i < 6; i++) {
        SSL_CTX *x = plain_client(cert);
        enum rc hand = RC_TLS, verify = RC_OK;
        switch (i) {
        case 0: hand = RC_OK; break;
        case 1: SSL_CTX_set_max_proto_version(x, TLS1_2_VERSION); break;
        case 2: SSL_CTX_set_alpn_protos(x, (const unsigned char *)"\x08http/1.1", 9); break;
        case 3:
            SSL_CTX_set_alpn_protos(x, NULL, 0);
            hand = RC_OK;
            verify = RC_TLS;
            break;
        case 4: SSL_CTX_set_ciphersuites(x, "TLS_CHACHA20_POLY1305_SHA256"); break;
        case 5:
            SSL_CTX_set_ciphersuites(x, "TLS_AES_256_GCM_SHA384");
            SSL_CTX_set1_groups_list(x, "P-384");
            hand = RC_OK;
            break;
        }
        pair_init(&p, x, mtls_ctx_ssl(server, true));
        pair_run(&p);
        ck_assert_msg(p.server_rc == hand, "case %d: %s %s", i, rc_name(p.server_rc),
                      p.server_msg.text);
        if (hand == RC_OK) {
            struct identity *peer = NULL;
            struct mtls_peer_check check = {.trust_domain = STR("td")};
            ck_assert_rc(mtls_verify_peer(p.server, &check, true, &peer, NULL), verify);
            identity_unref(peer);
        }
        if (i == 0) /* the suite is the server's choice, the plain client lists AES-256 first */
            ck_assert_str_eq(SSL_get_cipher_name(p.server), "TLS_AES_128_GCM_SHA256");
        pair_fini(&p);
        SSL_CTX_free(x);
    }
    cert_unref(cert);
    mtls_ctx_unref(server);
}
END_TEST

START_TEST(references)
{
    struct cert *cert = pki_workload(&ca, ID_A);
    struct mtls_ctx *c = NULL;
    ck_assert_rc(mtls_ctx_new(MTLS_MESH, cert, ca.trust, &c, NULL), RC_OK);
    ck_assert_ptr_eq(mtls_ctx_cert(c), cert);
    ck_assert_ptr_eq(mtls_ctx_trust(c), ca.trust);
    struct mtls_ctx *again = mtls_ctx_ref(c);
    mtls_ctx_unref(c);
    cert_unref(cert);
    ck_assert_str_eq(mtls_ctx_cert(again)->id->sa.p, "a");
    mtls_ctx_unref(again);
    mtls_ctx_unref(NULL);
}
END_TEST

TEST_MAIN_FIXTURE("mtls_ctx", setup, teardown, mesh_peers_see_each_other, the_name_that_fits_counts,
                  bad_certificates_fail_the_handshake, no_client_certificate, server_names,
                  what_clients_may_offer, references)
