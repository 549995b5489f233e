#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/log/log.h"
#include "lib/metric/metric.h"
#include "proxy/core/accesslog.h"
#include "tests/helper/check.h"
#include "tests/helper/mesh.h"

static struct apply *app;
static struct proxy_state *st;
static struct telemetry *t;
static int log_pipe[2];

static void setup(void)
{
    app = apply_new(STR("n1"));
    WORKLOAD(app, .uid = "c//Pod/web/front-1", .name = "front-1", .ns = "web", .sa = "front",
             .td = "td", .workload_name = "front", .canonical_name = "front-svc",
             .canonical_revision = "v1", .cluster = "c", .region = "r1", .zone = "z1",
             .ips = "10.0.0.1");
    WORKLOAD(app, .uid = "c//Pod/shop/cart-1", .name = "cart-1", .ns = "shop", .sa = "cart",
             .td = "td", .workload_name = "cart", .canonical_name = "cart-svc", .cluster = "c",
             .ips = "10.0.0.2", .services = "shop/cart.shop.svc");
    SERVICE(app, .ns = "shop", .host = "cart.shop.svc", .name = "cart", .ports = "80=8080");
    st = apply_commit(app);
    t = telemetry_new();
    ck_assert_int_eq(pipe2(log_pipe, O_NONBLOCK | O_CLOEXEC), 0);
    log_output(log_pipe[1]);
}

static void teardown(void)
{
    telemetry_free(t);
    snapshot_unref(&st->base);
    apply_free(app);
    log_output(2);
    log_json(false);
    close(log_pipe[0]);
    close(log_pipe[1]);
}

static struct conn_info known(bool inbound, bool mtls)
{
    struct conn_info ci = {.inbound = inbound, .mtls = mtls};
    ci.src = state_workload(st, STR("c//Pod/web/front-1"));
    ci.dst = state_workload(st, STR("c//Pod/shop/cart-1"));
    ci.svc = state_service(st, STR("shop"), STR("cart.shop.svc"));
    ci.src_id = mtls ? workload_identity(ci.src) : NULL;
    ck_assert_rc(addr_parse_port(STR("10.0.0.1:4444"), &ci.src_addr), RC_OK);
    ck_assert_rc(addr_parse_port(STR("10.0.0.2:15008"), &ci.dst_addr), RC_OK);
    ck_assert_rc(addr_parse_port(STR("10.96.0.1:80"), &ci.hbone_addr), RC_OK);
    return ci;
}

static char *exposed(void)
{
    struct strbuf b;
    strbuf_init(&b, 1 << 20);
    metric_expose(&b, true);
    return strbuf_take(&b);
}

static void has_line(const char *text, const char *line)
{
    const char *at = strstr(text, line);
    ck_assert_msg(at && at[strlen(line)] == '\n', "no line\n%s\nin\n%s", line, text);
}

#define ENDS                                                                              \
    "source_workload=\"front\",source_canonical_service=\"front-svc\","                   \
    "source_canonical_revision=\"v1\",source_workload_namespace=\"web\","                 \
    "source_principal=\"spiffe://td/ns/web/sa/front\",source_app=\"front-svc\","          \
    "source_version=\"v1\",source_cluster=\"c\",destination_service=\"cart.shop.svc\","   \
    "destination_service_namespace=\"shop\",destination_service_name=\"cart\","           \
    "destination_workload=\"cart\",destination_canonical_service=\"cart-svc\","           \
    "destination_canonical_revision=\"unknown\",destination_workload_namespace=\"shop\"," \
    "destination_principal=\"spiffe://td/ns/shop/sa/cart\",destination_app=\"cart-svc\"," \
    "destination_version=\"unknown\",destination_cluster=\"c\",request_protocol=\"tcp\","
#define PLACES                                                                \
    "source_region=\"r1\",source_zone=\"z1\",destination_region=\"unknown\"," \
    "destination_zone=\"unknown\""

START_TEST(istios_labels_in_istios_order)
{
    struct conn_info ci = known(false, true);
    struct telemetry_series *s = telemetry_open(t, &ci);
    telemetry_bytes(s, 10, 2000);
    telemetry_bytes(s, 5, 0);
    telemetry_close(t, s, RC_OK);
    telemetry_close(t, telemetry_open(t, &ci), RC_DENIED);
    telemetry_socket(t, false, 1);
    telemetry_socket(t, true, 1);
    telemetry_socket(t, true, -1);
    char *text = exposed();
#define SET(flag)                                         \
    "{reporter=\"source\"," ENDS "response_flags=\"" flag \
    "\",connection_security_policy=\"mutual_tls\"," PLACES "}"
    has_line(text, "istio_tcp_connections_opened_total" SET("-") " 2");
    has_line(text, "istio_tcp_received_bytes_total" SET("-") " 15");
    has_line(text, "istio_tcp_sent_bytes_total" SET("-") " 2000");
    has_line(text, "istio_tcp_connections_closed_total" SET("-") " 1");
    has_line(text, "istio_tcp_connections_closed_total" SET("DENY") " 1");
    has_line(text, "istio_tcp_connections_failed_total" SET("DENY") " 1");
    has_line(text, "istio_tcp_sockets_open{reporter=\"source\"} 1");
    has_line(text, "istio_tcp_sockets_open{reporter=\"destination\"} 0");
    mem_free(text);
}
END_TEST

START_TEST(what_is_not_known_says_so)
{
    struct conn_info ci = {.inbound = true};
    telemetry_close(t, telemetry_open(t, &ci), RC_OK);
    char *text = exposed();
    char *set = strstr(text, "istio_tcp_connections_opened_total{reporter=\"destination\","
                             "source_workload=\"unknown\"");
    ck_assert_ptr_nonnull(set);
    set[strcspn(set, "\n")] = '\0';
    ck_assert_ptr_nonnull(strstr(set, "source_principal=\"unknown\""));
    ck_assert_ptr_nonnull(strstr(set, "destination_service=\"unknown\""));
    ck_assert_ptr_null(strstr(set, "_region"));
    mem_free(text);
}
END_TEST

START_TEST(the_peers_words_stand_in)
{
    /* a source without a workload; a destination that says itself who it is */
    struct conn_info ci = known(true, true);
    ci.src = NULL;
    ci.src_baggage =
        STR("k8s.cluster.name=far,k8s.namespace.name=fns,k8s.deployment.name=fw,"
            "service.name=fs,service.version=v9,cloud.region=fr,cloud.availability_zone=fz");
    telemetry_close(t, telemetry_open(t, &ci), RC_OK);
    char *text = exposed();
    ck_assert_ptr_nonnull(strstr(
        text, "reporter=\"destination\",source_workload=\"fw\",source_canonical_service=\"fs\","
              "source_canonical_revision=\"v9\",source_workload_namespace=\"fns\","
              "source_principal=\"spiffe://td/ns/web/sa/front\",source_app=\"fw\","
              "source_version=\"v9\",source_cluster=\"far\""));
    ck_assert_ptr_nonnull(strstr(text, "source_region=\"fr\",source_zone=\"fz\""));
    mem_free(text);
    ci = known(false, true);
    ci.dst_baggage = STR("k8s.deployment.name=remote");
    ci.dst_id = workload_identity(ci.src);
    telemetry_close(t, telemetry_open(t, &ci), RC_OK);
    text = exposed();
    ck_assert_ptr_nonnull(
        strstr(text, "destination_workload=\"remote\",destination_canonical_service=\"unknown\""));
    ck_assert_ptr_nonnull(strstr(
        text, "destination_principal=\"spiffe://td/ns/web/sa/front\",destination_app=\"remote\""));
    mem_free(text);
}
END_TEST

START_TEST(known_peers_are_one_entry)
{
    struct conn_info ci = known(false, true), other = known(true, true);
    struct telemetry_series *a = telemetry_open(t, &ci), *b = telemetry_open(t, &ci);
    ck_assert_ptr_eq(a, b);
    ck_assert_ptr_ne(telemetry_open(t, &other), a);
    ck_assert_uint_eq(telemetry_kinds(t), 2);
    /* an identity of another TLS session that says the same */
    struct identity *again;
    ck_assert_rc(identity_parse(STR("spiffe://td/ns/web/sa/front"), &again), RC_OK);
    ci.src_id = again;
    struct telemetry_series *c = telemetry_open(t, &ci);
    ck_assert_ptr_eq(c, a);
    identity_unref(again);
    telemetry_close(t, a, RC_OK);
    telemetry_close(t, b, RC_RESET);
    telemetry_close(t, c, RC_TIMEOUT);
    telemetry_close(t, telemetry_open(t, &other), RC_OK);
    telemetry_close(t, telemetry_open(t, &other), RC_OK);
    other = known(true, true);
    struct telemetry_series *d = telemetry_open(t, &other); /* the one that was left open */
    telemetry_close(t, d, RC_OK);
    telemetry_close(t, d, RC_OK);
    ck_assert_uint_eq(telemetry_kinds(t), 2);
}
END_TEST

START_TEST(idle_entries_are_bounded_and_let_go)
{
    struct conn_info ci = known(true, true), first = ci;
    struct telemetry_series *open = telemetry_open(t, &first);
    char words[64];
    for (int i = 0; i < 3000; i++) {
        snprintf(words, sizeof(words), "k8s.deployment.name=w%d", i % 1500);
        ci.src = NULL;
        ci.src_baggage = str_of(words);
        telemetry_close(t, telemetry_open(t, &ci), RC_OK);
    }
    ck_assert_uint_eq(telemetry_kinds(t), 1024 + 1);
    /* the oldest went, the youngest is there, the open one stayed */
    size_t before = telemetry_kinds(t);
    telemetry_close(t, telemetry_open(t, &ci), RC_OK);
    ck_assert_ptr_eq(telemetry_open(t, &first), open);
    ck_assert_uint_eq(telemetry_kinds(t), before);
    telemetry_close(t, open, RC_OK);
    telemetry_close(t, open, RC_OK);
    /* held workloads outlive their snapshot, but not the cache */
    unsigned held = atomic_load(&first.src->ref.n);
    telemetry_free(t);
    ck_assert_uint_lt(atomic_load(&first.src->ref.n), held);
    t = telemetry_new();
}
END_TEST

/* -- access log -- */

static char line[8192];

static const char *logged(void)
{
    log_drain();
    ssize_t n = read(log_pipe[0], line, sizeof(line) - 1);
    line[n > 0 ? n : 0] = '\0';
    return line;
}

START_TEST(ztunnels_fields_in_its_order)
{
    struct conn_info ci = known(false, true);
    ci.up = 10;
    ci.down = 2000;
    accesslog_line(&ci, RC_OK, NULL);
    const char *at = strstr(logged(), "Z\tinfo\taccess\tconnection complete\t");
    ck_assert_msg(at, "%s", line);
    static const char want[] =
        "src.addr=10.0.0.1:4444 src.workload=\"front-1\" src.namespace=\"web\" "
        "src.identity=\"spiffe://td/ns/web/sa/front\" src.cluster=\"c\" dst.addr=10.0.0.2:15008 "
        "dst.hbone_addr=10.96.0.1:80 dst.service=\"cart.shop.svc\" dst.workload=\"cart-1\" "
        "dst.namespace=\"shop\" dst.identity=\"spiffe://td/ns/shop/sa/cart\" dst.cluster=\"c\" "
        "direction=\"outbound\" bytes_sent=10 bytes_recv=2000 duration=\"";
    at = strstr(at, want);
    ck_assert_msg(at, "%s", line);
    ck_assert_ptr_nonnull(strstr(at, "ms\"\n"));
    ck_assert_ptr_null(strstr(at, "error"));
    /* the local workload's view; identities only with mTLS; a host name instead of an address */
    ci = known(true, false);
    ci.up = 10;
    ci.hbone_addr = (struct addr){.port = 443};
    ci.hbone_host = STR("cart.shop.svc");
    accesslog_line(&ci, RC_DENIED, "shop/deny, rule 0");
    at = strstr(logged(), "Z\terror\taccess\tconnection complete\t");
    ck_assert_msg(at, "%s", line);
    ck_assert_ptr_null(strstr(at, "identity"));
    ck_assert_ptr_nonnull(strstr(at, "dst.hbone_addr=cart.shop.svc:443 "));
    ck_assert_ptr_nonnull(strstr(at, "direction=\"inbound\" bytes_sent=0 bytes_recv=10 "));
    ck_assert_ptr_nonnull(strstr(at, "ms\" error=\"policy denied: shop/deny, rule 0\"\n"));
}
END_TEST

START_TEST(other_lines_and_json)
{
    struct conn_info ci = known(true, true);
    accesslog_opened(&ci); /* debug: off */
    ck_assert_str_eq(logged(), "");
    ck_assert_rc(log_levels_set(STR("info,access=debug"), NULL), RC_OK);
    accesslog_opened(&ci);
    ck_assert_ptr_nonnull(
        strstr(logged(), "\tdebug\taccess\tconnection opened\tsrc.addr=10.0.0.1:4444 "));
    accesslog_refused(true, &ci.src_addr, &ci.dst_addr, RC_LOOP, NULL);
    ck_assert_ptr_nonnull(
        strstr(logged(),
               "\twarn\taccess\tconnection failed\tsrc.addr=10.0.0.1:4444 dst.addr=10.0.0.2:15008 "
               "direction=\"inbound\" error=\"destination is a port of the mesh\"\n"));
    accesslog_line(&ci, RC_RESET, NULL); /* the application's own affair */
    ck_assert_ptr_nonnull(strstr(logged(), "\tinfo\taccess\t"));
    log_json(true);
    accesslog_line(&ci, RC_OK, NULL);
    ck_assert_ptr_nonnull(strstr(
        logged(),
        "\"scope\":\"access\",\"message\":\"connection complete\",\"src.addr\":\"10.0.0.1:4444\""));
    ck_assert_ptr_nonnull(strstr(line, "\"bytes_sent\":0,"));
    ck_assert_rc(log_levels_set(STR("access=off"), NULL), RC_OK);
    accesslog_line(&ci, RC_OK, NULL);
    ck_assert_str_eq(logged(), "");
    ck_assert_rc(log_levels_set(STR("info"), NULL), RC_OK);
}
END_TEST

TEST_MAIN_FIXTURE("telemetry", setup, teardown, istios_labels_in_istios_order,
                  what_is_not_known_says_so, the_peers_words_stand_in, known_peers_are_one_entry,
                  idle_entries_are_bounded_and_let_go, ztunnels_fields_in_its_order,
                  other_lines_and_json)
