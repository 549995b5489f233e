/* `mesh controller` as it runs: what it serves, to whom, how soon, and what it keeps. */
#include "lib/ca/ca_client.h"
#include "lib/ca/certs.h"
#include "tests/helper/controller.h"

static struct ctl C;

static void setup(void)
{
    ctl_init(&C);
    ctl_put_mesh(&C);
}

static void teardown(void)
{
    ctl_fini(&C);
}

static unsigned mode_of(const char *below)
{
    struct stat st;
    ck_assert_msg(stat(ctl_at(&C, "state/%s", below), &st) == 0, "%s", below);
    return st.st_mode & 0777;
}

START_TEST(ready_when_all_is_served)
{
    ctl_start(&C);
    CTL_WAIT(&C, ctl_logged(&C, "ready: 3 addresses, 1 policies"));
    int fd = ctl_connect(CTL_GRPC);
    ck_assert_int_ge(fd, 0);
    close(fd);
    ck_assert_uint_eq(mode_of("ca-key.pem"), 0600);
    ck_assert_uint_eq(mode_of("root-cert.pem"), 0644);
    ck_assert_uint_eq(mode_of("tokens"), 0700);
    ck_assert_uint_eq(mode_of("tokens/node/n1"), 0600);
    ck_assert_uint_eq(mode_of("tokens/workload/shop/cart"), 0600);
    ck_assert_uint_eq(strlen(ctl_read(ctl_at(&C, "state/tokens/node/n2"))), 64);
    ck_assert_ptr_nonnull(strstr(ctl_status(), "{\"ready\":true,\"addresses\":3,\"policies\":1,"));
    ck_assert_int_eq(ctl_metric("pilot_services"), 1);
    ctl_stop(&C);
    CTL_WAIT(&C, ctl_logged(&C, "Terminated: draining"));
}
END_TEST

START_TEST(a_few_dozen_objects_cost_little)
{
    char name[20], ip[20];
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof(name), "many-%d", i);
        snprintf(ip, sizeof(ip), "10.2.0.%d", i + 1);
        ctl_put_pod(&C, name, "n1", "cart", ip);
    }
    ctl_start(&C);
    struct ctl_client k;
    ctl_join(&C, &k, "node/n1");
    ck_assert_uint_eq(k.ads.resources, 44);
    ck_assert_int_le(ctl_memory_kib(&C, "VmRSS:"), 16 * 1024);
    ck_assert_int_le(ctl_memory_kib(&C, "RssAnon:"), 6 * 1024);
    ctl_leave(&C, &k);
}
END_TEST

/* -- changes -- */

START_TEST(policies_first_then_changes_and_only_they)
{
    struct ctl_client k;
    ctl_start(&C);
    ctl_join(&C, &k, "node/n1");
    ck_assert_ptr_nonnull(strstr(k.ads.log.p, "> Authorization\n"));
    ck_assert(strstr(k.ads.log.p, "> Authorization\n") < strstr(k.ads.log.p, "> Address\n"));
    ck_assert(ctl_told(&k, " +shop/web.shop.svc.cluster.local"));
    ck_assert(ctl_told(&k, " +Kubernetes//Pod/shop/cart-1"));
    ck_assert(ctl_told(&k, "< +shop/only-cart> Authorization"));
    strbuf_reset(&k.ads.log);
    int64_t start = clock_mono_ms();
    ctl_put_pod(&C, "cart-2", "n1", "cart", "10.1.0.3");
    CTL_WAIT(&C, k.ads.log.n);
    ck_assert_int_lt(clock_mono_ms() - start, 2000);
    ck_assert_str_eq(k.ads.log.p, "< +Kubernetes//Pod/shop/cart-2> Address\n");
    strbuf_reset(&k.ads.log);
    unlink(ctl_at(&C, "source/pod-cart-2.yaml"));
    CTL_WAIT(&C, k.ads.log.n);
    ck_assert_str_eq(k.ads.log.p, "< -Kubernetes//Pod/shop/cart-2> Address\n");
    ctl_leave(&C, &k);
}
END_TEST

START_TEST(broken_documents_are_told_and_change_nothing)
{
    struct ctl_client k;
    ctl_start(&C);
    ctl_join(&C, &k, "node/n1");
    strbuf_reset(&k.ads.log);
    ctl_put(&C, "pod-cart-1.yaml",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: cart-1, namespace: shop}\n"
            "status:\n  podIPs: [{ip: 10.1.0.300}]\n");
    CTL_WAIT(&C, ctl_logged(&C, "pod-cart-1.yaml:5: Pod shop/cart-1: status.podIPs[0].ip: "));
    ctl_put(&C, "pod-web-1.yaml", "kind: Pod\n\t: {[\n");
    CTL_WAIT(&C, ctl_logged(&C, "pod-web-1.yaml:2: "));
    ck_assert_int_eq(ctl_metric("mesh_source_problems{severity=\"error\"}"), 2);
    ck_assert_ptr_nonnull(strstr(ctl_status(),
                                 "{\"severity\":\"error\",\"file\":\"pod-cart-1.yaml\","
                                 "\"line\":5,\"message\":\"Pod shop/cart-1: "));
    ctl_put_pod(&C, "mark", "n1", "cart", "10.1.0.9"); /* what was to come has come with it */
    CTL_WAIT(&C, k.ads.log.n);
    ck_assert_str_eq(k.ads.log.p, "< +Kubernetes//Pod/shop/mark> Address\n");

    ctl_stop(&C); /* the last good states survive */
    ctl_leave(&C, &k);
    ctl_start(&C);
    ctl_join(&C, &k, "node/n1");
    ck_assert(ctl_told(&k, " +Kubernetes//Pod/shop/cart-1"));
    ck_assert(ctl_told(&k, " +Kubernetes//Pod/shop/web-1"));
    ctl_put_pod(&C, "cart-1", "n1", "cart", "10.1.0.1");
    ctl_put_pod(&C, "web-1", "n2", "web", "10.1.0.2");
    CTL_WAIT(&C, ctl_metric("mesh_source_problems{severity=\"error\"}") == 0);
    ctl_leave(&C, &k);
}
END_TEST

START_TEST(a_mounted_configmap_is_swapped)
{
    struct ctl_client k;
    ck_assert_int_eq(mkdir(ctl_at(&C, "source/..v1"), 0755), 0);
    ck_assert_int_eq(mkdir(ctl_at(&C, "source/..v2"), 0755), 0);
    ck_assert_int_eq(rename(ctl_at(&C, "source/pod-web-1.yaml"), ctl_at(&C, "source/..v1/w.yaml")),
                     0);
    ck_assert_int_eq(symlink("..v1", ctl_at(&C, "source/..data")), 0);
    ck_assert_int_eq(symlink("..data/w.yaml", ctl_at(&C, "source/w.yaml")), 0);
    ctl_put_pod(&C, "web-1", "n1", "web", "10.1.0.22");
    ck_assert_int_eq(rename(ctl_at(&C, "source/pod-web-1.yaml"), ctl_at(&C, "source/..v2/w.yaml")),
                     0);
    ctl_start(&C);
    ctl_join(&C, &k, "node/n1");
    for (int i = 0; i < 6; i++) {
        strbuf_reset(&k.ads.log);
        ck_assert_int_eq(symlink(i % 2 ? "..v1" : "..v2", ctl_at(&C, "source/..data_tmp")), 0);
        ck_assert_int_eq(rename(ctl_at(&C, "source/..data_tmp"), ctl_at(&C, "source/..data")), 0);
        CTL_WAIT(&C, k.ads.log.n);
        ck_assert_str_eq(k.ads.log.p, "< +Kubernetes//Pod/shop/web-1> Address\n"); /* never gone */
    }
    ctl_leave(&C, &k);
}
END_TEST

/* -- restarts -- */

#define HELD_MAX 20
static struct {
    char url[100], name[200], version[40];
} held[HELD_MAX];
static size_t n_held;

static void hold(struct str url, struct str name, struct str version)
{
    ck_assert_uint_lt(n_held, HELD_MAX);
    snprintf(held[n_held].url, sizeof(held[0].url), "%.*s", STR_ARG(url));
    snprintf(held[n_held].name, sizeof(held[0].name), "%.*s", STR_ARG(name));
    snprintf(held[n_held++].version, sizeof(held[0].version), "%.*s", STR_ARG(version));
}

/* Connects with what is held, and is answered. */
static void rejoin(struct ctl_client *k)
{
    static const char *const urls[] = {XDS_ADDRESS, XDS_AUTHORIZATION};
    struct strbuf m AUTO_STRBUF;
    strbuf_init(&m, 65536);
    ctl_dial(&C, k, "node/n1");
    k->ads.ack = true;
    for (int t = 0; t < 2; t++) {
        ads_peer_begin(&m, urls[t], "node");
        for (size_t i = 0; i < n_held; i++)
            if (strcmp(held[i].url, urls[t]) == 0)
                ads_peer_held(&m, held[i].name, held[i].version);
        ads_peer_send(&k->ads, strbuf_str(&m));
    }
    CTL_WAIT(&C, k->ads.responses >= 2);
}

START_TEST(a_restart_sends_nothing_that_had_not_changed)
{
    struct ctl_client k;
    char root[5000], token[100];
    ctl_start(&C);
    ctl_dial(&C, &k, "node/n1");
    n_held = 0;
    k.ads.on_change = hold;
    ctl_subscribe(&k);
    CTL_WAIT(&C, k.ads.responses >= 2);
    ck_assert_uint_eq(n_held, 4);
    snprintf(root, sizeof(root), "%s", ctl_read(ctl_at(&C, "state/root-cert.pem")));
    snprintf(token, sizeof(token), "%s", ctl_read(ctl_at(&C, "state/tokens/node/n1")));
    for (int i = 0; i < 2; i++) { /* once asked to go, once killed */
        if (i == 0)
            ctl_stop(&C);
        else
            ctl_kill(&C);
        ctl_leave(&C, &k);
        ctl_start(&C);
        rejoin(&k);
        ck_assert_str_eq(k.ads.log.p, "<> Authorization\n<> Address\n");
        ck_assert_str_eq(ctl_read(ctl_at(&C, "state/root-cert.pem")), root);
        ck_assert_str_eq(ctl_read(ctl_at(&C, "state/tokens/node/n1")), token);
    }
    ctl_stop(&C);
    ctl_leave(&C, &k);
    unlink(ctl_at(&C, "source/pod-cart-1.yaml")); /* while nobody looked */
    ctl_put_pod(&C, "web-1", "n1", "web", "10.1.0.2");
    ctl_start(&C);
    rejoin(&k);
    ck_assert(ctl_told(&k, "<> Authorization\n"));
    ck_assert(ctl_told(&k, " +Kubernetes//Pod/shop/web-1 -Kubernetes//Pod/shop/cart-1> Address\n"));
    ctl_leave(&C, &k);
}
END_TEST

/* -- who may have what -- */

START_TEST(nobody_without_a_token)
{
    static const char *const wrong[] = {
        NULL, "x", "0123456789012345678901234567890123456789012345678901234567890123"};
    ctl_start(&C);
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct ctl_client k;
        ctl_dial(&C, &k, wrong[i]);
        ctl_subscribe(&k);
        CTL_WAIT(&C, k.ads.done);
        ck_assert_int_eq(k.ads.status, GRPC_UNAUTHENTICATED);
        ck_assert_uint_eq(k.ads.responses, 0);
        ctl_leave(&C, &k);
    }
    CTL_WAIT(&C, ctl_logged(&C, "ADS for 127.0.0.1:"));
    CTL_WAIT(&C, ctl_logged(&C, "refused: no bearer token"));
    CTL_WAIT(&C, ctl_logged(&C, "refused: unknown bearer token"));
    ck_assert(!ctl_logged(&C, "0123456789012345"));
}
END_TEST

static struct {
    bool done, issued;
    char error[400];
} answer;

static void on_cert(void *owner, struct identity *id, struct mtls_ctx *ctx, const char *error)
{
    (void)owner, (void)id;
    answer.done = true;
    answer.issued = ctx != NULL;
    snprintf(answer.error, sizeof(answer.error), "%s", error ? error : "");
}

/* As a node's ztunnel asks; true when the certificate came. */
static bool obtain(const char *token, const char *uri)
{
    struct ca_client *client;
    struct identity *id;
    struct mtls_ctx *ctx;
    struct ca_client_opts o = {.channel = {.url = "https://127.0.0.1:15012",
                                           .roots = ctl_at(&C, "state/root-cert.pem"),
                                           .token = ctl_at(&C, "state/tokens/%s", token)},
                               .impersonate = true};
    ck_assert_rc(ca_client_new(C.l, &o, &client, NULL), RC_OK);
    struct certs_opts co = {.issuer = ca_client_issuer(client), .on_change = on_cert};
    struct certs *certs = certs_new(C.l, &co);
    ck_assert_rc(identity_parse(str_of(uri), &id), RC_OK);
    answer.done = false;
    ck_assert_rc(certs_want(certs, id, CERTS_WAITING, &ctx, NULL), RC_AGAIN);
    CTL_WAIT(&C, answer.done);
    identity_unref(id);
    certs_free(certs);
    ca_client_free(client);
    loop_turn(C.l, 0);
    return answer.issued;
}

#define CART "spiffe://cluster.local/ns/shop/sa/cart"

START_TEST(a_node_gets_what_runs_on_it)
{
    ctl_start(&C);
    ck_assert_msg(obtain("node/n1", CART), "%s", answer.error);
    ck_assert(!obtain("node/n2", CART));
    ck_assert_ptr_nonnull(strstr(answer.error, "unauthenticated"));
    CTL_WAIT(&C, ctl_logged(&C, "certificate for " CART " refused to node n2 at 127.0.0.1:"));
    CTL_WAIT(&C, ctl_logged(&C, "node: node n2 runs no pod of "));
    ck_assert(!obtain("node/n1", "spiffe://cluster.local/ns/shop/sa/web"));
    ck_assert(!obtain("node/n1", "spiffe://other/ns/shop/sa/cart"));
    ck_assert(!obtain("workload/shop/cart", "spiffe://cluster.local/ns/shop/sa/web"));
    ck_assert(obtain("workload/shop/cart", CART));
    ck_assert_int_eq(ctl_metric("mesh_ca_refused_total{reason=\"node\"}"), 2);
    ck_assert_int_eq(ctl_metric("citadel_server_success_cert_issuance_count"), 2);
    ctl_put_pod(&C, "cart-1", "n2", "cart", "10.1.0.1"); /* it moves */
    CTL_WAIT(&C, obtain("node/n2", CART));
    ck_assert(!obtain("node/n1", CART));
}
END_TEST

START_TEST(tokens_come_and_go_with_their_names)
{
    struct ctl_client k;
    char old[100];
    ctl_start(&C);
    ctl_put(&C, "n3.yaml", "apiVersion: v1\nkind: Node\nmetadata: {name: n3}\n");
    CTL_WAIT(&C, access(ctl_at(&C, "state/tokens/node/n3"), F_OK) == 0);
    ctl_join(&C, &k, "node/n3");
    snprintf(old, sizeof(old), "%s", ctl_read(ctl_at(&C, "state/tokens/node/n3")));
    ctl_leave(&C, &k);
    unlink(ctl_at(&C, "state/tokens/node/n3")); /* an operator who wants another one */
    CTL_WAIT(&C, strlen(ctl_read(ctl_at(&C, "state/tokens/node/n3"))) == 64);
    ck_assert_str_ne(ctl_read(ctl_at(&C, "state/tokens/node/n3")), old);
    ctl_join(&C, &k, "node/n3");
    ctl_leave(&C, &k);
    ctl_dial(&C, &k, old);
    CTL_WAIT(&C, k.ads.done);
    ck_assert_int_eq(k.ads.status, GRPC_UNAUTHENTICATED);
    ctl_leave(&C, &k);
    unlink(ctl_at(&C, "source/n3.yaml"));
    CTL_WAIT(&C, access(ctl_at(&C, "state/tokens/node/n3"), F_OK) != 0);
}
END_TEST

/* -- what comes back -- */

START_TEST(a_refusal_is_logged_with_its_reason)
{
    struct ctl_client k;
    struct strbuf m AUTO_STRBUF, error AUTO_STRBUF;
    strbuf_init(&m, 4096);
    strbuf_init(&error, 4096);
    ctl_start(&C);
    ctl_join(&C, &k, "node/n1");
    k.ads.ack = false;
    ctl_put_pod(&C, "cart-2", "n1", "cart", "10.1.0.3");
    CTL_WAIT(&C, k.ads.responses == 3);
    ads_peer_begin(&m, XDS_ADDRESS, NULL);
    pb_put_str(&m, 6, str_of(k.ads.nonce));
    pb_put_str(&error, 2, STR("no such \"tunnel\"\nfaked\tline"));
    pb_put_bytes(&m, 7, strbuf_str(&error));
    ads_peer_send(&k.ads, strbuf_str(&m));
    CTL_WAIT(&C, ctl_logged(&C, "(node n1 at 127.0.0.1"));
    CTL_WAIT(&C, ctl_logged(&C, "refused type.googleapis.com/istio.workload.Address: no such "));
    ck_assert(!ctl_logged(&C, "\nfaked"));
    ck_assert_int_eq(ctl_metric("pilot_total_xds_rejects"), 1);
    ck_assert_ptr_nonnull(strstr(ctl_status(), "\"nacked\":1"));
    ctl_leave(&C, &k);
    CTL_WAIT(&C, ctl_metric("pilot_xds{version=\"" MESH_VERSION "\"}") == 0);
}
END_TEST

TEST_MAIN_FIXTURE("controller", setup, teardown, ready_when_all_is_served,
                  a_few_dozen_objects_cost_little, policies_first_then_changes_and_only_they,
                  broken_documents_are_told_and_change_nothing, a_mounted_configmap_is_swapped,
                  a_restart_sends_nothing_that_had_not_changed, nobody_without_a_token,
                  a_node_gets_what_runs_on_it, tokens_come_and_go_with_their_names,
                  a_refusal_is_logged_with_its_reason)
