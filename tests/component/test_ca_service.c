/* The authority and the node's side of it, over real TLS, HTTP/2 and gRPC. */
#include <stdio.h>
#include <sys/stat.h>

#include "control/ca/ca_service.h"
#include "lib/base/file.h"
#include "lib/ca/ca_client.h"
#include "lib/ca/ca_msg.h"
#include "lib/ca/certs.h"
#include "lib/log/log.h"
#include "lib/metric/metric.h"
#include "tests/helper/check.h"
#include "tests/helper/tls_server.h"

static char dir[64];
static struct loop *loop;
static struct ca *ca;
static struct tokens *tokens;
static struct ca_service *service;
static struct tls_server server;
static struct ca_client *client;
static struct certs *certs;
static struct { /* the last on_change */
    bool done;
    struct mtls_ctx *ctx;
    char error[400];
} seen;

static const char *at(const char *name)
{
    static char path[2][200];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof(path[turn]), "%s/%s", dir, name);
    return path[turn];
}

static bool node_runs(void *owner, struct str node, struct str ns, struct str sa)
{
    (void)owner, (void)sa;
    return str_eqz(node, "n1") && str_eqz(ns, "shop");
}

static struct mtls_ctx *serving(void *owner)
{
    (void)owner;
    return ca_serving(ca, NULL);
}

static void on_request(void *owner, struct h2_stream *s, const struct h2_headers *hs)
{
    struct addr peer = {0};
    (void)owner;
    ck_assert(str_eqz(h2_header_get(hs, ":path"), CA_PATH));
    ca_service_request(service, s, hs, &peer);
}

static void on_change(void *owner, struct identity *id, struct mtls_ctx *ctx, const char *error)
{
    (void)owner, (void)id;
    seen.done = true;
    mtls_ctx_unref(seen.ctx);
    seen.ctx = ctx ? mtls_ctx_ref(ctx) : NULL;
    snprintf(seen.error, sizeof(seen.error), "%s", error ? error : "");
}

static void start_client(const char *token, const char *roots, bool impersonate)
{
    char url[60];
    struct errmsg e = {""};
    snprintf(url, sizeof(url), "https://127.0.0.1:%u", server.port);
    struct ca_client_opts o = {
        .channel = {.url = url, .roots = roots, .token = token, .cluster_id = "Kubernetes"},
        .impersonate = impersonate};
    ck_assert_msg(ca_client_new(loop, &o, &client, &e) == RC_OK, "%s", e.text);
    struct certs_opts co = {.issuer = ca_client_issuer(client), .on_change = on_change};
    certs = certs_new(loop, &co);
}

static void stop_client(void)
{
    certs_free(certs);
    ca_client_free(client);
    certs = NULL;
    client = NULL;
    loop_turn(loop, 0);
}

static void setup(void)
{
    struct errmsg e = {""};
    ck_assert_rc(log_levels_set(STR("off"), &e), RC_OK);
    strcpy(dir, "/tmp/test_ca_service_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    loop = loop_new();
    struct ca_opts o = {.folder = dir, .trust_domain = STR("td")};
    ck_assert_rc(ca_open(&o, &ca, &e), RC_OK);
    ck_assert_rc(tokens_open(dir, &tokens, &e), RC_OK);
    tokens_begin(tokens);
    tokens_want_node(tokens, STR("n1"));
    tokens_want_node(tokens, STR("n2"));
    tokens_want_workload(tokens, STR("shop"), STR("waypoint"));
    ck_assert_rc(tokens_commit(tokens, &e), RC_OK);
    struct ca_service_opts so = {
        .csr = {.ca = ca, .trust_domain = STR("td"), .node_runs = node_runs}, .tokens = tokens};
    service = ca_service_new(&so);
    server = (struct tls_server){.ctx = serving, .on_request = on_request};
    tls_server_start(&server, loop, 0);
}

static void teardown(void)
{
    mtls_ctx_unref(TAKE(seen.ctx));
    if (client)
        stop_client();
    ca_service_free(service);
    tls_server_stop(&server);
    tokens_begin(tokens);
    ck_assert_rc(tokens_commit(tokens, NULL), RC_OK);
    tokens_free(tokens);
    ca_free(ca);
    loop_free(loop);
    static const char *const files[] = {"ca-key.pem", "ca-cert.pem", "root-cert.pem", "token"};
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        unlink(at(files[i]));
    rmdir(at("tokens/node"));
    rmdir(at("tokens/workload"));
    rmdir(at("tokens"));
    ck_assert_int_eq(rmdir(dir), 0);
}

/* Asks for uri and waits for the answer; true when a certificate came. */
static bool obtain(const char *uri)
{
    struct identity *id = NULL;
    struct mtls_ctx *ctx;
    seen.done = false;
    ck_assert_rc(identity_parse(str_of(uri), &id), RC_OK);
    ck_assert_rc(certs_want(certs, id, CERTS_WAITING, &ctx, NULL), RC_AGAIN);
    ck_assert(loop_until(loop, &seen.done));
    if (seen.ctx)
        ck_assert(identity_eq(mtls_ctx_cert(seen.ctx)->id, id));
    else
        certs_forget(certs, id);
    identity_unref(id);
    return seen.ctx != NULL;
}

START_TEST(a_node_gets_the_certificates_of_its_pods)
{
    int64_t before = metric_sum("citadel_server_success_cert_issuance_count", "");
    start_client(at("tokens/node/n1"), at("root-cert.pem"), true);
    ck_assert_msg(obtain("spiffe://td/ns/shop/sa/a"), "%s", seen.error);
    struct mtls_ctx *ctx = seen.ctx;
    ck_assert_uint_eq(mtls_ctx_trust(ctx)->hash, ca_trust(ca)->hash);
    ck_assert_int_ge(mtls_ctx_cert(ctx)->not_after_s, time(NULL) + 86390);
    ck_assert(obtain("spiffe://td/ns/shop/sa/b"));
    ck_assert(obtain("spiffe://td/ns/shop/sa/c"));
    ck_assert_uint_eq(server.accepted, 1); /* one connection for all */
    ck_assert_int_eq(metric_sum("citadel_server_success_cert_issuance_count", "") - before, 3);
}
END_TEST

START_TEST(and_no_others)
{
    start_client(at("tokens/node/n1"), at("root-cert.pem"), true);
    ck_assert(!obtain("spiffe://td/ns/bank/sa/a"));
    ck_assert_ptr_nonnull(strstr(seen.error, "unauthenticated: request authenticate failure"));
    ck_assert_ptr_null(strstr(seen.error, "runs no pod")); /* the reason is for our log only */
    ck_assert_int_eq(metric_sum("mesh_ca_refused", "reason=\"node\""), 1);
    ck_assert(!obtain("spiffe://other/ns/shop/sa/a"));
    ck_assert_int_eq(metric_sum("mesh_ca_refused", "reason=\"trust_domain\""), 1);
    stop_client();
    start_client(at("tokens/node/n2"), at("root-cert.pem"), true);
    ck_assert(!obtain("spiffe://td/ns/shop/sa/a"));
    stop_client();
    start_client(at("tokens/node/n1"), at("root-cert.pem"), false);
    ck_assert(!obtain("spiffe://td/ns/shop/sa/a")); /* a node is nobody itself */
    stop_client();
    start_client(at("tokens/workload/shop/waypoint"), at("root-cert.pem"), true);
    ck_assert(!obtain("spiffe://td/ns/shop/sa/a"));
}
END_TEST

START_TEST(a_workload_gets_its_own)
{
    start_client(at("tokens/workload/shop/waypoint"), at("root-cert.pem"), false);
    ck_assert_msg(obtain("spiffe://td/ns/shop/sa/waypoint"), "%s", seen.error);
    stop_client();
    start_client(at("tokens/workload/shop/waypoint"), at("root-cert.pem"), true);
    ck_assert(obtain("spiffe://td/ns/shop/sa/waypoint"));
    stop_client();
    start_client(at("tokens/workload/shop/waypoint"), at("root-cert.pem"), false);
    ck_assert(!obtain("spiffe://td/ns/shop/sa/a")); /* the answer names somebody else */
    ck_assert_ptr_nonnull(strstr(seen.error, "it names spiffe://td/ns/shop/sa/waypoint"));
}
END_TEST

START_TEST(the_token_is_read_for_each_call)
{
    ck_assert_rc(file_replace(at("token"), 0600, STR("wrong"), NULL), RC_OK);
    start_client(at("token"), at("root-cert.pem"), true);
    ck_assert(!obtain("spiffe://td/ns/shop/sa/a"));
    ck_assert_int_eq(metric_sum("mesh_ca_refused", "reason=\"authentication\""), 1);
    ck_assert_rc(file_replace(at("token"), 0600, STR(" \n"), NULL), RC_OK);
    ck_assert(!obtain("spiffe://td/ns/shop/sa/a"));
    ck_assert_ptr_nonnull(strstr(seen.error, "is empty"));
    unlink(at("token"));
    ck_assert(!obtain("spiffe://td/ns/shop/sa/a"));
    ck_assert_ptr_nonnull(strstr(seen.error, "No such file"));
    struct strbuf good AUTO_STRBUF;
    strbuf_init(&good, 300);
    ck_assert_rc(file_read(at("tokens/node/n1"), 300, &good, NULL), RC_OK);
    strbuf_addz(&good, "\r\n");
    ck_assert_rc(file_replace(at("token"), 0600, strbuf_str(&good), NULL), RC_OK);
    ck_assert_msg(obtain("spiffe://td/ns/shop/sa/a"), "%s", seen.error);
    ck_assert_uint_eq(server.accepted, 1);
}
END_TEST

/* -- a client that sends anything -- */

struct raw {
    bool done;
    enum grpc_status status;
    char message[100];
    bool answered;
    struct channel_wait wait;
    struct channel *ch;
    const char *body;
    size_t n;
    unsigned messages;
};

static void raw_part(void *owner, const void *p, size_t n, size_t at_byte, size_t total)
{
    (void)p, (void)n, (void)at_byte, (void)total;
    ((struct raw *)owner)->answered = true;
}

static void raw_done(void *owner, enum grpc_status status, struct str message)
{
    struct raw *r = owner;
    r->done = true;
    r->status = status;
    snprintf(r->message, sizeof(r->message), "%.*s", STR_ARG(message));
}

static void raw_ready(void *owner, struct h2_session *s, const char *error)
{
    static const struct grpc_ops ops = {.on_part = raw_part, .on_done = raw_done};
    struct raw *r = owner;
    struct errmsg e;
    ck_assert_msg(s != NULL, "%s", error);
    struct grpc_call *c = channel_call(r->ch, s, CA_PATH, CA_RESPONSE_MAX, &ops, r, &e);
    ck_assert_ptr_nonnull(c);
    for (unsigned i = 0; i < r->messages; i++)
        grpc_send(c, r->body, r->n);
    grpc_half_close(c);
}

static enum grpc_status raw_call(const char *body, size_t n, unsigned messages)
{
    static struct raw r;
    char url[60];
    r = (struct raw){.body = body, .n = n, .messages = messages};
    snprintf(url, sizeof(url), "https://127.0.0.1:%u", server.port);
    struct channel_opts o = {
        .url = url, .roots = at("root-cert.pem"), .token = at("tokens/node/n1")};
    ck_assert_rc(channel_new(loop, &o, &r.ch, NULL), RC_OK);
    channel_get(r.ch, &r.wait, raw_ready, &r);
    ck_assert(loop_until(loop, &r.done));
    ck_assert(r.answered == (r.status == GRPC_OK));
    channel_free(r.ch);
    loop_turn(loop, 0);
    return r.status;
}

START_TEST(bad_requests)
{
    char *big AUTO_FREE = mem_alloc(CA_REQUEST_MAX + 1);
    memset(big, 0xff, CA_REQUEST_MAX + 1);
    ck_assert_int_eq(raw_call("", 0, 0), GRPC_INVALID_ARGUMENT); /* no message at all */
    ck_assert_int_eq(raw_call("", 0, 1), GRPC_UNAUTHENTICATED);  /* an empty one names nobody */
    ck_assert_int_eq(raw_call("\xff\xff", 2, 1), GRPC_INVALID_ARGUMENT);
    ck_assert_int_eq(raw_call(big, CA_REQUEST_MAX, 1), GRPC_INVALID_ARGUMENT);
    ck_assert_int_ne(raw_call(big, CA_REQUEST_MAX + 1, 1), GRPC_OK);

    struct strbuf req AUTO_STRBUF, csr AUTO_STRBUF;
    EVP_PKEY *key = NULL;
    struct identity *id = NULL;
    strbuf_init(&req, CA_REQUEST_MAX);
    strbuf_init(&csr, CSR_PEM_MAX);
    ck_assert_rc(identity_parse(STR("spiffe://td/ns/shop/sa/a"), &id), RC_OK);
    ck_assert_rc(key_new(&key), RC_OK);
    ck_assert_rc(csr_make(key, id, &csr), RC_OK);
    struct ca_csr m = {.csr = strbuf_str(&csr), .impersonated = id->uri};
    ca_csr_encode(&m, &req);
    ck_assert_int_eq(raw_call(req.p, req.n, 1), GRPC_OK);
    ck_assert_int_eq(raw_call(req.p, req.n, 3), GRPC_OK); /* the last one counts, one answer */
    strbuf_reset(&req);
    m.valid_s = CA_LEAF_MAX_S + 1;
    ca_csr_encode(&m, &req);
    ck_assert_int_eq(raw_call(req.p, req.n, 1), GRPC_INVALID_ARGUMENT);
    strbuf_reset(&req);
    m = (struct ca_csr){.csr = STR("no"), .impersonated = id->uri};
    ca_csr_encode(&m, &req);
    ck_assert_int_eq(raw_call(req.p, req.n, 1), GRPC_INVALID_ARGUMENT);
    EVP_PKEY_free(key);
    identity_unref(id);
}
END_TEST

START_TEST(expiry_is_shown)
{
    struct strbuf out AUTO_STRBUF;
    char want[100];
    strbuf_init(&out, 1 << 20);
    metric_expose(&out, false);
    snprintf(want, sizeof(want), "\ncitadel_server_root_cert_expiry_timestamp %lld\n",
             (long long)ca_root_not_after_s(ca));
    ck_assert_ptr_nonnull(strstr(out.p, want));
    int64_t left = metric_sum("citadel_server_root_cert_expiry_seconds", "");
    ck_assert_int_le(llabs(left - CA_ROOT_S), 60);
    ck_assert_ptr_null(strstr(out.p, "citadel_server_csr_count_total"));
}
END_TEST

static void leave_at_once(void *owner, struct h2_session *s, const char *error)
{
    static const struct grpc_ops ops = {.on_part = raw_part, .on_done = raw_done};
    struct raw *r = owner;
    (void)error;
    struct grpc_call *c = channel_call(r->ch, s, CA_PATH, 100, &ops, r, NULL);
    grpc_send(c, "\x0a\x01", 2); /* half a request, and never its end */
    r->done = true;
}

START_TEST(clients_that_leave_cost_nothing)
{
    struct raw r = {0};
    char url[60];
    snprintf(url, sizeof(url), "127.0.0.1:%u", server.port);
    struct channel_opts o = {
        .url = url, .roots = at("root-cert.pem"), .token = at("tokens/node/n1")};
    ck_assert_rc(channel_new(loop, &o, &r.ch, NULL), RC_OK);
    channel_get(r.ch, &r.wait, leave_at_once, &r);
    ck_assert(loop_until(loop, &r.done));
    loop_turn(loop, 20);
    channel_free(r.ch);
    loop_turn(loop, 20); /* teardown and the leak checker see what is left */
}
END_TEST

TEST_MAIN_FIXTURE("ca_service", setup, teardown, a_node_gets_the_certificates_of_its_pods,
                  and_no_others, a_workload_gets_its_own, the_token_is_read_for_each_call,
                  bad_requests, expiry_is_shown, clients_that_leave_cost_nothing)
