/* The client against an authority that lies, stalls and breaks. */
#include <stdio.h>

#include "lib/ca/ca_client.h"
#include "lib/ca/ca_msg.h"
#include "tests/helper/check.h"
#include "tests/helper/pki.h"
#include "tests/helper/tls_server.h"

#define ME    "spiffe://td/ns/a/sa/b"
#define OTHER "spiffe://td/ns/a/sa/c"

enum lie {
    HONEST,
    WITH_INTERMEDIATE,
    EMPTY,
    LEAF_ONLY,
    SOMEBODY_ELSE,
    NO_IDENTITY,
    OTHER_KEY,
    EXPIRED,
    NOT_YET,
    SERVER_ONLY,
    CLIENT_ONLY,
    FOREIGN_ROOT,
    GARBAGE_LEAF,
    GARBAGE_ROOT,
    GARBAGE_BYTES,
    TOO_MANY,
    HUGE_ANSWER,
    NO_ANSWER,
    STATUS_ONLY,
    HTTP_STATUS,
    RESET,
    SILENCE,
};

static struct loop *loop;
static struct pki_ca ca, foreign;
static struct tls_server server;
static struct mtls_ctx *serving_ctx;
static struct ca_client *client;
static enum lie lie;
static struct strbuf request_bytes;
static struct {
    bool done;
    enum rc rc;
    char error[700];
    char serial[48];
    int chain;
} got;

static struct mtls_ctx *serving(void *owner)
{
    (void)owner;
    return serving_ctx;
}

static void put(struct ca_chain *m, struct strbuf *pem, X509 *x)
{
    strbuf_init(pem, CERT_PEM_MAX);
    cert_to_pem(x, pem);
    m->pem[m->n++] = strbuf_str(pem);
}

static X509 *leaf_of(EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key)
{
    struct pki_spec s = {
        .key = key, .issuer = issuer, .issuer_key = issuer_key, .san = "URI:" ME, .eku = PKI_BOTH};
    switch (lie) {
    case SOMEBODY_ELSE: s.san = "URI:" OTHER; break;
    case NO_IDENTITY:   s.san = "DNS:b"; break;
    case OTHER_KEY:     s.key = foreign.key; break;
    case SERVER_ONLY:   s.eku = "serverAuth"; break;
    case CLIENT_ONLY:   s.eku = "clientAuth"; break;
    case EXPIRED:       s.from_s = -100, s.till_s = -10; break;
    case NOT_YET:       s.from_s = 100, s.till_s = 1000; break;
    default:            break;
    }
    return pki_make(&s);
}

static void make_answer(struct strbuf *out)
{
    struct ca_csr req;
    struct ca_chain m = {.n = 0};
    struct strbuf pem[3] = {{0}};
    EVP_PKEY *key = NULL;
    ck_assert_rc(ca_csr_decode(strbuf_str(&request_bytes), &req), RC_OK);
    ck_assert(str_eqz(req.impersonated, ME));
    ck_assert_int_eq(req.valid_s, 7200);
    ck_assert_rc(csr_parse(req.csr, &key, NULL), RC_OK);
    X509 *mid = pki_make(&(struct pki_spec){
        .key = foreign.key, .issuer = ca.root, .issuer_key = ca.key, .subject = "mid", .ca = true});
    X509 *leaf =
        lie == WITH_INTERMEDIATE ? leaf_of(key, mid, foreign.key) : leaf_of(key, ca.root, ca.key);
    if (lie != EMPTY)
        put(&m, &pem[0], leaf);
    if (lie == WITH_INTERMEDIATE)
        put(&m, &pem[1], mid);
    if (lie == GARBAGE_LEAF)
        m.pem[0] = STR("garbage");
    while (lie == TOO_MANY && m.n < CERT_CHAIN_MAX + 1) {
        m.pem[m.n] = m.pem[0];
        m.n++;
    }
    if (lie != EMPTY && lie != LEAF_ONLY)
        put(&m, &pem[2], lie == FOREIGN_ROOT ? foreign.root : ca.root);
    if (lie == GARBAGE_ROOT)
        m.pem[m.n - 1] = STR("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    ca_chain_encode(&m, out);
    if (lie == GARBAGE_BYTES)
        strbuf_addz(out, "\xff\xff");
    for (int i = 0; i < 3; i++)
        strbuf_fini(&pem[i]);
    EVP_PKEY_free(key);
    X509_free(leaf);
    X509_free(mid);
}

static struct grpc_call *server_call;

static void on_part(void *owner, const void *p, size_t n, size_t at, size_t total)
{
    (void)owner, (void)at, (void)total;
    strbuf_add(&request_bytes, p, n);
}

static void on_half_close(void *owner)
{
    (void)owner;
    struct strbuf out AUTO_STRBUF;
    strbuf_init(&out, CA_RESPONSE_MAX * 2);
    make_answer(&out);
    while (lie == HUGE_ANSWER && out.n <= CA_RESPONSE_MAX)
        strbuf_adds(&out, STR("\x0a\x01x"));
    if (lie == SILENCE)
        return;
    if (lie == RESET) {
        grpc_cancel(server_call);
        return;
    }
    if (lie != NO_ANSWER && lie != STATUS_ONLY)
        grpc_send(server_call, out.p, out.n);
    if (lie == STATUS_ONLY)
        grpc_finish(server_call, GRPC_INTERNAL, "out of \"ink\"\n\xff");
    else
        grpc_finish(server_call, GRPC_OK, "");
}

static void on_done(void *owner, enum grpc_status status, struct str message)
{
    (void)owner, (void)status, (void)message;
}

static void on_request(void *owner, struct h2_stream *s, const struct h2_headers *hs)
{
    static const struct grpc_ops ops = {
        .on_part = on_part, .on_half_close = on_half_close, .on_done = on_done};
    ck_assert(str_eqz(h2_header_get(hs, ":path"), CA_PATH));
    ck_assert(str_eqz(h2_header_get(hs, "authorization"), "Bearer secret"));
    ck_assert(str_eqz(h2_header_get(hs, "clusterid"), "c1"));
    ck_assert(str_eqz(h2_header_get(hs, "x-more"), "42"));
    strbuf_reset(&request_bytes);
    if (lie == HTTP_STATUS)
        h2_stream_respond(s, &(struct h2_header){STR(":status"), STR("503")}, 1, true);
    else
        server_call = grpc_accept(s, hs, CA_REQUEST_MAX, &ops, owner);
}

static void setup(void)
{
    loop = loop_new();
    pki_ca_init(&ca, "ca");
    pki_ca_init(&foreign, "foreign");
    strbuf_init(&request_bytes, CA_REQUEST_MAX);
    struct cert *c = pki_workload(&ca, "IP:127.0.0.1");
    ck_assert_rc(mtls_ctx_new(MTLS_SERVER_PUBLIC, c, ca.trust, &serving_ctx, NULL), RC_OK);
    cert_unref(c);
    server = (struct tls_server){.ctx = serving, .on_request = on_request};
    tls_server_start(&server, loop, 0);
    char url[60];
    snprintf(url, sizeof(url), "https://127.0.0.1:%u", server.port);
    struct grpc_header more = {"x-more", STR("42")};
    struct ca_client_opts o = {.channel = {.url = url,
                                           .roots = ca.pem.p,
                                           .token = "secret",
                                           .cluster_id = "c1",
                                           .headers = &more,
                                           .n_headers = 1},
                               .valid_s = 7200,
                               .impersonate = true};
    ck_assert_rc(ca_client_new(loop, &o, &client, NULL), RC_OK);
    lie = HONEST;
}

static void teardown(void)
{
    ca_client_free(client);
    tls_server_stop(&server);
    loop_turn(loop, 0);
    loop_free(loop);
    mtls_ctx_unref(serving_ctx);
    strbuf_fini(&request_bytes);
    pki_ca_fini(&ca);
    pki_ca_fini(&foreign);
}

static void answered(void *owner, const struct ca_result *r)
{
    ck_assert_ptr_eq(owner, &got);
    ck_assert(!got.done);
    got.done = true;
    got.rc = r->rc;
    snprintf(got.error, sizeof(got.error), "%s", r->error);
    ck_assert((r->rc == RC_OK) == (r->cert && r->trust));
    if (r->cert) {
        ck_assert_str_eq(r->cert->id->uri.p, ME);
        ck_assert_uint_eq(r->trust->hash, ca.trust->hash);
        got.chain = sk_X509_num(r->cert->chain);
    }
}

static void *ask(void)
{
    struct identity *id = NULL;
    struct ca_issuer issuer = ca_client_issuer(client);
    memset(&got, 0, sizeof(got));
    ck_assert_rc(identity_parse(STR(ME), &id), RC_OK);
    void *handle = issuer.request(issuer.self, id, answered, &got);
    identity_unref(id);
    ck_assert(!got.done);
    return handle;
}

START_TEST(answers)
{
    static const struct {
        enum lie lie;
        enum rc rc;
        const char *text;
    } cases[] = {
        {HONEST, RC_OK, ""},
        {WITH_INTERMEDIATE, RC_OK, ""},
        {EMPTY, RC_CERT, "it is empty"},
        {LEAF_ONLY, RC_CERT, "no trust roots"},
        {SOMEBODY_ELSE, RC_CERT, "it names " OTHER},
        {NO_IDENTITY, RC_CERT, "no identity"},
        {OTHER_KEY, RC_CERT, "private key does not belong"},
        {EXPIRED, RC_CERT, "expired"},
        {NOT_YET, RC_CERT, "not yet valid"},
        {SERVER_ONLY, RC_CERT, "purpose"},
        {CLIENT_ONLY, RC_CERT, "purpose"},
        {FOREIGN_ROOT, RC_CERT, "unable to get local issuer"},
        {GARBAGE_LEAF, RC_CERT, "no PEM certificate"},
        {GARBAGE_ROOT, RC_CERT, "does not hold a certificate"},
        {GARBAGE_BYTES, RC_CERT, "malformed"},
        {TOO_MANY, RC_CERT, "at most 16"},
        {HUGE_ANSWER, RC_STATUS, "resource exhausted"},
        {NO_ANSWER, RC_CERT, "it is empty"},
        {STATUS_ONLY, RC_STATUS, "internal: out of \"ink\"\n"},
        {HTTP_STATUS, RC_IO, "HTTP status 503"},
        {RESET, RC_IO, "without a status"},
        {HONEST, RC_OK, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        lie = cases[i].lie;
        ask();
        ck_assert(loop_until(loop, &got.done));
        ck_assert_msg(got.rc == cases[i].rc, "case %zu: %s %s", i, rc_name(got.rc), got.error);
        ck_assert_msg(strstr(got.error, cases[i].text) != NULL, "case %zu: %s", i, got.error);
        ck_assert_int_eq(got.chain, lie == WITH_INTERMEDIATE ? 1 : 0);
    }
    ck_assert_uint_eq(server.accepted, 1); /* none of it cost the connection */
}
END_TEST

START_TEST(silence_ends_at_the_deadline)
{
    lie = SILENCE;
    loop_clock_fake(loop, 1000);
    ask();
    for (int i = 0; i < 200 && !request_bytes.n; i++)
        loop_turn(loop, 50);
    ck_assert_uint_gt(request_bytes.n, 0);
    loop_clock_advance(loop, CA_DEADLINE_MS - 1);
    loop_turn(loop, 0);
    ck_assert(!got.done);
    loop_clock_advance(loop, 1);
    loop_turn(loop, 0);
    ck_assert(got.done);
    ck_assert_rc(got.rc, RC_TIMEOUT);
    ck_assert_ptr_nonnull(strstr(got.error, "no answer within 10 s"));
    lie = HONEST; /* the connection is still good */
    ask();
    ck_assert(loop_until(loop, &got.done));
    ck_assert_rc(got.rc, RC_OK);
    ck_assert_uint_eq(server.accepted, 1);
}
END_TEST

START_TEST(a_mute_server_ends_at_the_handshake)
{
    server.mute = true;
    loop_clock_fake(loop, 1000);
    ask();
    for (int i = 0; i < 200 && !server.accepted; i++)
        loop_turn(loop, 50);
    loop_clock_advance(loop, 5000);
    for (int i = 0; i < 5; i++)
        loop_turn(loop, 0);
    ck_assert(got.done);
    ck_assert_rc(got.rc, RC_IO);
    ck_assert_ptr_nonnull(strstr(got.error, rc_text(RC_TIMEOUT)));
}
END_TEST

START_TEST(cancelled_at_every_step)
{
    struct ca_issuer issuer = ca_client_issuer(client);
    lie = SILENCE;
    for (int turns = 0; turns < 12; turns++) {
        void *handle = ask();
        for (int i = 0; i < turns; i++)
            loop_turn(loop, 5);
        issuer.cancel(issuer.self, handle);
        loop_turn(loop, 0);
        ck_assert(!got.done);
    }
    lie = HONEST;
    ask();
    ck_assert(loop_until(loop, &got.done));
    ck_assert_rc(got.rc, RC_OK);
}
END_TEST

START_TEST(bad_url)
{
    struct ca_client_opts o = {.channel = {.url = "https://:1", .roots = ""}};
    struct ca_client *c = NULL;
    struct errmsg e;
    ck_assert_rc(ca_client_new(loop, &o, &c, &e), RC_INVALID);
    ck_assert_ptr_null(c);
}
END_TEST

TEST_MAIN_FIXTURE("ca_client", setup, teardown, answers, silence_ends_at_the_deadline,
                  a_mute_server_ends_at_the_handshake, cancelled_at_every_step, bad_url)
