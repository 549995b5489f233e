#include <string.h>

#include "lib/hbone/hbone.h"
#include "tests/helper/check.h"

static enum rc parse(const char *method, const char *authority, struct hbone_request *r)
{
    struct h2_header h[] = {{STR(":method"), str_of(method)},
                            {STR(":authority"), str_of(authority)}};
    struct h2_headers hs = {h, 2};
    return hbone_request_parse(&hs, r);
}

START_TEST(authorities)
{
    struct hbone_request r;
    ck_assert_rc(parse("CONNECT", "10.0.0.7:8080", &r), RC_OK);
    ck_assert_uint_eq(r.addr.family, AF_INET);
    ck_assert_uint_eq(r.port, 8080);
    ck_assert_uint_eq(r.host.n, 0);
    ck_assert_rc(parse("CONNECT", "[fd00::7]:80", &r), RC_OK);
    ck_assert_uint_eq(r.addr.family, AF_INET6);
    ck_assert_rc(parse("CONNECT", "cart.shop.svc.cluster.local:80", &r), RC_OK);
    ck_assert_uint_eq(r.addr.family, 0);
    ck_assert(str_eqz(r.host, "cart.shop.svc.cluster.local"));
    static const char *const bad[] = {"",           "10.0.0.7",   "10.0.0.7:0", "10.0.0.7:65536",
                                      ":80",        "host:",      "host:x",     "ho st:80",
                                      "host:80:90", "fd00::7:80", "h/x:80",     "host:+80"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        ck_assert_msg(parse("CONNECT", bad[i], &r) == RC_INVALID, "accepted %s", bad[i]);
    ck_assert_rc(parse("GET", "10.0.0.7:80", &r), RC_INVALID);
}
END_TEST

START_TEST(baggage_there_and_back)
{
    struct baggage b = {STR("c1"),   STR("shop"), STR("deployment"), STR("cart"),
                        STR("cart"), STR("v2"),   STR("eu"),         STR("")};
    struct strbuf out;
    strbuf_init(&out, 1000);
    baggage_format(&b, &out);
    ck_assert_str_eq(out.p, "k8s.cluster.name=c1,k8s.namespace.name=shop,k8s.deployment.name=cart,"
                            "service.name=cart,service.version=v2,cloud.region=eu");
    struct baggage got;
    baggage_parse(strbuf_str(&out), &got);
    ck_assert(str_eqz(got.workload_type, "deployment") && str_eqz(got.workload, "cart"));
    ck_assert(str_eqz(got.cluster, "c1") && str_eqz(got.version, "v2"));
    baggage_parse(STR("k8s.pod.name=p, other=1,,=,k8s.namespace.name=a=b"), &got);
    ck_assert(str_eqz(got.workload, "p") && str_eqz(got.ns, "a=b"));
    strbuf_reset(&out);
    b.ns = STR("x,service.name=evil");
    baggage_format(&b, &out);
    ck_assert_ptr_null(strstr(out.p, "evil"));
    strbuf_fini(&out);
}
END_TEST

START_TEST(forwarded_and_traceparent)
{
    struct strbuf out;
    struct addr a;
    char t[56], u[56];
    strbuf_init(&out, 1000);
    ck_assert_rc(addr_parse_port(STR("[::1]:80"), &a), RC_OK);
    forwarded_format(&a, STR("cart.shop"), &out);
    ck_assert_str_eq(out.p, "for=\"[::1]:80\";host=cart.shop");
    ck_assert(str_eqz(forwarded_host(strbuf_str(&out)), "cart.shop"));
    ck_assert(str_eqz(forwarded_host(STR("For=x; Host=\"y\", host=z")), "y"));
    ck_assert_uint_eq(forwarded_host(STR("for=x")).n, 0);
    traceparent_make(t);
    traceparent_make(u);
    ck_assert_uint_eq(strlen(t), 55);
    ck_assert_str_ne(t, u);
    ck_assert(t[2] == '-' && t[35] == '-' && t[52] == '-');
    strbuf_fini(&out);
}
END_TEST

TEST_MAIN("hbone", authorities, baggage_there_and_back, forwarded_and_traceparent)
