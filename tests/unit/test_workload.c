/* From the bytes of xDS: what is in, what is assumed, what is refused and how that is said. */
#include <string.h>

#include "lib/base/mem.h"
#include "proxy/state/workload.h"
#include "tests/helper/check.h"
#include "tests/helper/mesh.h"

static struct intern *in;

static void setup(void)
{
    in = intern_new();
}

static void teardown(void)
{
    intern_sweep(in); /* templates, then what they held */
    intern_sweep(in);
    ck_assert_uint_eq(intern_len(in), 0); /* nothing is held twice */
    intern_free(in);
}

static enum rc decode_bytes(struct str bytes, struct workload **ret, struct errmsg *e)
{
    struct arena a;
    ProtobufCMessage *m;
    arena_init(&a, 64 << 20);
    enum rc rc = pb_unpack(&istio__workload__address__descriptor, &a, bytes, &m, e);
    if (rc == RC_OK)
        rc = workload_decode(((const Istio__Workload__Address *)(const void *)m)->workload, in, ret,
                             e);
    arena_fini(&a);
    return rc;
}

static struct workload *decode(const struct wl_spec *s)
{
    struct strbuf b;
    struct workload *w = NULL;
    mesh_workload_bytes(s, &b);
    ck_assert_rc(decode_bytes(strbuf_str(&b), &w, NULL), RC_OK);
    strbuf_fini(&b);
    return w;
}

static void text_is(const struct workload *w, enum wl_text t, const char *want)
{
    struct str have = workload_text(w, t);
    ck_assert_msg(str_eqz(have, want), "text %d: '%.*s', not '%s'", t, STR_ARG(have), want);
}

START_TEST(everything_arrives)
{
    struct workload *w =
        decode(&(struct wl_spec){.uid = "c1//Pod/shop/cart-0",
                                 .name = "cart-0",
                                 .ns = "shop",
                                 .sa = "cart",
                                 .td = "td",
                                 .node = "n1",
                                 .network = "net",
                                 .cluster = "c1",
                                 .hostname = "cart.example",
                                 .region = "r",
                                 .zone = "z",
                                 .subzone = "s",
                                 .workload_name = "cart",
                                 .canonical_name = "cart-svc",
                                 .canonical_revision = "v2",
                                 .ips = "10.0.0.7,fd00::7",
                                 .services = "shop/cart.local 80=8080 81=8081,web/front.local",
                                 .policies = "shop/allow,root/deny",
                                 .waypoint = "shop/wp.local 15009",
                                 .gateway = "@net2/192.0.2.9",
                                 .capacity = 7,
                                 .type = 3,
                                 .tunnel = 1,
                                 .status = 1,
                                 .network_mode = 1,
                                 .app_tunnel = 2,
                                 .app_tunnel_port = 15088,
                                 .native_tunnel = true});
    static const char *const want[] = {[WL_UID] = "c1//Pod/shop/cart-0",
                                       [WL_HOSTNAME] = "cart.example",
                                       [WL_NAME] = "cart-0",
                                       [WL_NS] = "shop",
                                       [WL_WORKLOAD_NAME] = "cart",
                                       [WL_CANONICAL_NAME] = "cart-svc",
                                       [WL_CANONICAL_REVISION] = "v2",
                                       [WL_SA] = "cart",
                                       [WL_TRUST_DOMAIN] = "td",
                                       [WL_NETWORK] = "net",
                                       [WL_CLUSTER] = "c1",
                                       [WL_NODE] = "n1",
                                       [WL_REGION] = "r",
                                       [WL_ZONE] = "z",
                                       [WL_SUBZONE] = "s"};
    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        text_is(w, (enum wl_text)i, want[i]);
    ck_assert(str_eqz(workload_identity(w)->uri, "spiffe://td/ns/shop/sa/cart"));
    ck_assert(str_eqz(workload_type(w), "job"));
    ck_assert_uint_eq(w->n_addrs, 2);
    struct addr ip;
    ck_assert_rc(addr_parse_ip(STR("fd00::7"), &ip), RC_OK);
    ck_assert(workload_has_addr(w, &ip) && addr_eq_ip(&workload_addrs(w)[1], &ip));
    const struct wl_service *m = workload_service(w, STR("shop/cart.local"));
    ck_assert_uint_eq(workload_port(m, 80), 8080);
    ck_assert_uint_eq(workload_port(m, 81), 8081);
    ck_assert_uint_eq(workload_port(m, 82), 0);
    ck_assert_uint_eq(workload_service(w, STR("web/front.local"))->n_ports, 0);
    ck_assert_ptr_null(workload_service(w, STR("web/front")));
    ck_assert_uint_eq(w->t->n_policies, 2);
    ck_assert(str_eqz(atom_str(workload_policies(w)[1]), "root/deny"));
    ck_assert(str_eqz(workload_waypoint(w)->host, "wp.local") &&
              workload_waypoint(w)->port == 15009);
    ck_assert(workload_gateway(w)->ip.family == AF_INET && workload_gateway(w)->port == 15008);
    ck_assert(w->t->capacity == 7 && workload_hbone(w) && !w->healthy && w->t->host_network &&
              w->pod);
    ck_assert(w->t->app_tunnel && w->t->app_tunnel_proxy && w->t->app_tunnel_port == 15088 &&
              w->t->native_tunnel);
    struct strbuf b;
    strbuf_init(&b, 1000);
    workload_baggage(w, &b);
    ck_assert_str_eq(
        b.p, "k8s.cluster.name=c1,k8s.namespace.name=shop,k8s.job.name=cart,service.name=cart-svc,"
             "service.version=v2,cloud.region=r,cloud.availability_zone=z");
    strbuf_fini(&b);
    workload_unref(w);
}
END_TEST

START_TEST(what_is_not_said_is_assumed)
{
    struct workload *w = decode(&(struct wl_spec){.uid = "u", .ns = "shop"});
    ck_assert(str_eqz(workload_identity(w)->uri, "spiffe://cluster.local/ns/shop/sa/default"));
    text_is(w, WL_CLUSTER, "Kubernetes");
    text_is(w, WL_NAME, "");
    ck_assert(w->t->capacity == 1 && !workload_hbone(w) && w->healthy && !w->pod &&
              !w->t->app_tunnel);
    ck_assert_ptr_null(workload_waypoint(w));
    ck_assert(str_eqz(workload_type(w), "deployment"));
    workload_unref(w);
    w = decode(&(struct wl_spec){.uid = "u", .ns = "shop", .capacity = -1, .type = 77});
    ck_assert_uint_eq(w->t->capacity, 0); /* said to be 0 */
    ck_assert(str_eqz(workload_type(w), "deployment"));
    workload_unref(w);
    w = decode(&(struct wl_spec){.uid = "u"}); /* no namespace: no identity, but an address */
    ck_assert_ptr_null(workload_identity(w));
    text_is(w, WL_SA, "");
    workload_unref(w);
}
END_TEST

START_TEST(replicas_share)
{
    struct wl_spec s = {.uid = "c//Pod/shop/cart-0",
                        .name = "cart-0",
                        .ns = "shop",
                        .ips = "10.0.0.1",
                        .services = "shop/a 80=8080,shop/b 1=2",
                        .policies = "shop/p",
                        .node = "n1"};
    struct workload *a = decode(&s);
    s.uid = "c//Pod/shop/cart-1", s.name = "cart-1", s.ips = "10.0.0.2";
    s.services = "shop/b 1=2,shop/a 80=8080"; /* a map has no order */
    struct workload *b = decode(&s);
    ck_assert_ptr_eq(a->t, b->t);
    ck_assert_ptr_eq(a->place, b->place);
    text_is(a, WL_NAME, "cart-0");
    s.services = "shop/b 1=3,shop/a 80=8080";
    s.node = "n2";
    struct workload *c = decode(&s);
    ck_assert_ptr_ne(a->t, c->t);
    ck_assert_ptr_ne(a->place, c->place);
    ck_assert_uint_eq(workload_port(workload_service(c, STR("shop/b")), 1), 3);
    workload_unref(a);
    workload_unref(b);
    workload_unref(c);
}
END_TEST

START_TEST(the_last_of_a_key_counts)
{
    struct workload *w =
        decode(&(struct wl_spec){.uid = "u", .services = "shop/a 80=1,shop/b,shop/a 80=2 80=3"});
    ck_assert_uint_eq(w->t->n_services, 2);
    ck_assert_uint_eq(workload_port(workload_service(w, STR("shop/a")), 80), 3);
    ck_assert_uint_eq(workload_service(w, STR("shop/a"))->n_ports, 1);
    workload_unref(w);
}
END_TEST

static char *repeat(const char *s, size_t n)
{
    char *r = mem_alloc(n * strlen(s) + 1), *at = r;
    for (size_t i = 0; i < n; i++)
        at = stpcpy(at, s);
    return r;
}

static void refused(const struct wl_spec *s, enum rc want, const char *text)
{
    struct strbuf b;
    struct workload *w = NULL;
    struct errmsg e = {""};
    mesh_workload_bytes(s, &b);
    ck_assert_rc(decode_bytes(strbuf_str(&b), &w, &e), want);
    ck_assert_ptr_null(w);
    ck_assert_str_eq(e.text, text);
    strbuf_fini(&b);
}

START_TEST(what_is_refused_is_named)
{
    refused(&(struct wl_spec){.name = "cart"}, RC_INVALID, "workload cart: uid: missing");
    refused(&(struct wl_spec){.uid = "u", .tunnel = 2}, RC_INVALID,
            "workload u: tunnel_protocol: not supported");
    refused(&(struct wl_spec){.uid = "u", .tunnel = 9}, RC_INVALID,
            "workload u: tunnel_protocol: not supported");
    refused(&(struct wl_spec){.uid = "u", .status = 2}, RC_INVALID,
            "workload u: status: unknown value");
    refused(&(struct wl_spec){.uid = "u", .network_mode = 2}, RC_INVALID,
            "workload u: network_mode: unknown value");
    refused(&(struct wl_spec){.uid = "u", .app_tunnel = 4}, RC_INVALID,
            "workload u: application_tunnel.protocol: unknown value");
    refused(&(struct wl_spec){.uid = "u", .app_tunnel = 1, .app_tunnel_port = 65536}, RC_INVALID,
            "workload u: application_tunnel.port: over 65535");
    refused(&(struct wl_spec){.uid = "u", .ips = "none"}, RC_INVALID,
            "workload u: addresses: not 4 or 16 bytes");
    refused(&(struct wl_spec){.uid = "u", .services = "cart"}, RC_INVALID,
            "workload u: services: a key without a slash");
    refused(&(struct wl_spec){.uid = "u", .services = "a/b 80=65536"}, RC_INVALID,
            "workload u: services: a port over 65535");
    refused(&(struct wl_spec){.uid = "u", .waypoint = "@net/nowhere"}, RC_INVALID,
            "workload u: waypoint: no usable destination");
    refused(&(struct wl_spec){.uid = "u", .gateway = "shop/"}, RC_INVALID,
            "workload u: network_gateway: no usable destination");
    refused(&(struct wl_spec){.uid = "u", .gateway = "shop/gw 70000"}, RC_INVALID,
            "workload u: network_gateway: no usable destination");
    char *many[] = {repeat("10.0.0.1,", 65), repeat("a/b,", 1025), repeat("p,", 1025),
                    repeat("n", 2049)};
    refused(&(struct wl_spec){.uid = "u", .ips = many[0]}, RC_LIMIT,
            "workload u: addresses: more than 64");
    refused(&(struct wl_spec){.uid = "u", .services = many[1]}, RC_LIMIT,
            "workload u: services: more than 1024");
    refused(&(struct wl_spec){.uid = "u", .policies = many[2]}, RC_LIMIT,
            "workload u: authorization_policies: more than 1024");
    refused(&(struct wl_spec){.uid = "u", .policies = many[3]}, RC_LIMIT,
            "workload u: authorization_policies: a name over 2048 bytes");
    static const char texts[] = "workload u: texts: one over 2048 bytes, or all over 8192";
    refused(&(struct wl_spec){.uid = "u", .name = many[3]}, RC_LIMIT, texts);
    refused(&(struct wl_spec){.uid = "u", .zone = many[3]}, RC_LIMIT, texts);
    char *ports = repeat(" 1=1", 8193), *service = mem_printf("a/b%s", ports);
    refused(&(struct wl_spec){.uid = "u", .services = service}, RC_LIMIT,
            "workload u: services: more than 8192 ports");
    mem_free(service);
    mem_free(ports);
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        mem_free(many[i]);
}
END_TEST

START_TEST(a_gateway_without_destination)
{
    struct workload *w = NULL;
    struct errmsg e = {""};
    /* workload { waypoint { hbone_mtls_port: 1 } uid: "u" } */
    ck_assert_rc(decode_bytes(STR("\x0a\x08\x42\x02\x18\x01\xa2\x01\x01u"), &w, &e), RC_INVALID);
    ck_assert_str_eq(e.text, "workload u: waypoint: no usable destination");
}
END_TEST

TEST_MAIN_FIXTURE("workload", setup, teardown, everything_arrives, what_is_not_said_is_assumed,
                  replicas_share, the_last_of_a_key_counts, what_is_refused_is_named,
                  a_gateway_without_destination)
