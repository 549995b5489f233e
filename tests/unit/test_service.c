#include <string.h>

#include "lib/base/mem.h"
#include "proxy/state/service.h"
#include "tests/helper/check.h"
#include "tests/helper/mesh.h"

static struct intern *in;

static void setup(void)
{
    in = intern_new();
}

static void teardown(void)
{
    intern_sweep(in);
    ck_assert_uint_eq(intern_len(in), 0); /* nothing is held twice */
    intern_free(in);
}

static enum rc try(const struct svc_spec *s, struct service **ret, struct errmsg *e)
{
    struct strbuf b;
    struct arena a;
    ProtobufCMessage *m;
    arena_init(&a, 64 << 20);
    mesh_service_bytes(s, &b);
    enum rc rc = pb_unpack(&istio__workload__address__descriptor, &a, strbuf_str(&b), &m, e);
    if (rc == RC_OK)
        rc = service_decode(((const Istio__Workload__Address *)(const void *)m)->service, in, ret,
                            e);
    arena_fini(&a);
    strbuf_fini(&b);
    return rc;
}

static struct service *decode(const struct svc_spec *spec)
{
    struct service *s = NULL;
    ck_assert_rc(try(spec, &s, NULL), RC_OK);
    return s;
}

START_TEST(everything_arrives)
{
    bool has;
    struct service *s = decode(&(struct svc_spec){
        .ns = "shop",
        .host = "cart.shop.svc",
        .name = "cart",
        .vips = "net/10.96.0.1,net/fd00::1,other/203.0.113.7/24",
        .ports = "80=8080 81=0 82=1 82=2",
        .sans = "spiffe://td/ns/shop/sa/a,cart.example.com,spiffe://td/ns/shop/sa/b",
        .waypoint = "shop/wp 15009",
        .weighted = "shop/wp 15008 90,@net/10.0.0.9 15008 10",
        .prefs = "6,1,4",
        .mode = 2,
        .health = 1,
        .families = 3,
        .visibility = 1,
        .canonical = true});
    ck_assert(str_eqz(s->key, "shop/cart.shop.svc") && str_eqz(s->ns, "shop") &&
              str_eqz(s->host, "cart.shop.svc"));
    ck_assert(str_eqz(s->name, "cart"));
    ck_assert_uint_eq(s->n_vips, 3);
    ck_assert(str_eqz(s->vips[0].network, "net") && !service_vip_is_prefix(&s->vips[0]) &&
              s->vips[1].cidr.bits == 128);
    ck_assert(str_eqz(s->vips[2].network, "other") && service_vip_is_prefix(&s->vips[2]));
    ck_assert(s->vips[2].cidr.bits == 24 &&
              s->vips[2].cidr.base.ip[3] == 0); /* host bits are cut off */
    ck_assert(service_port(s, 80, &has) == 8080 && has);
    ck_assert(service_port(s, 81, &has) == 0 && has);
    ck_assert(service_port(s, 82, &has) == 2 && has);
    ck_assert(service_port(s, 83, &has) == 0 && !has);
    ck_assert_uint_eq(s->n_sans, 2); /* a DNS name can't be met by a SPIFFE peer */
    ck_assert(str_eqz(s->sans[1]->sa, "b"));
    ck_assert(str_eqz(s->waypoint->host, "wp") && s->waypoint->port == 15009);
    ck_assert(s->n_weighted == 2 && s->weighted[0].weight == 90 &&
              s->weighted[1].to->ip.family == AF_INET);
    ck_assert(s->balance.mode == 2 && s->balance.n_prefs == 3 && s->balance.prefs[2] == 4 &&
              s->balance.allow_unhealthy);
    ck_assert(s->families == 3 && s->canonical && !service_passthrough(s));
    ck_assert(service_visible(s, STR("shop")) && service_visible(s, STR("")) &&
              !service_visible(s, STR("web")));
    service_unref(s);
}
END_TEST

START_TEST(little_is_enough)
{
    struct service *s = decode(
        &(struct svc_spec){.host = "h", .name = "not in the key", .mode = 3, .visibility = 9});
    ck_assert(str_eqz(s->key, "/h") && s->ns.n == 0 && str_eqz(s->name, "not in the key"));
    ck_assert(service_passthrough(s) &&
              service_visible(s, STR("web"))); /* an unknown visibility is public */
    ck_assert_ptr_null(s->waypoint);
    service_unref(s);
}
END_TEST

START_TEST(which_vips_are_prefixes)
{
    static const struct {
        const char *vip;
        int bits; /* -1: a single address */
    } cases[] = {{"10.0.0.1", -1},    {"10.0.0.1/32", -1}, {"10.0.0.1/8", 8}, {"10.0.0.1/0", 0},
                 {"fd00::1/128", -1}, {"fd00::1/0", 0},    {"fd00::1/32", 32}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct service *s = decode(&(struct svc_spec){.host = "h", .vips = cases[i].vip});
        ck_assert_int_eq(service_vip_is_prefix(&s->vips[0]), cases[i].bits >= 0);
        if (cases[i].bits >= 0)
            ck_assert_int_eq(s->vips[0].cidr.bits, cases[i].bits);
        service_unref(s);
    }
}
END_TEST

static char *repeat(const char *text, size_t n)
{
    char *r = mem_alloc(n * strlen(text) + 1), *at = r;
    for (size_t i = 0; i < n; i++)
        at = stpcpy(at, text);
    return r;
}

static void refused(const struct svc_spec *spec, enum rc want, const char *text)
{
    struct service *s = NULL;
    struct errmsg e = {""};
    ck_assert_rc(try(spec, &s, &e), want);
    ck_assert_ptr_null(s);
    ck_assert_str_eq(e.text, text);
}

START_TEST(what_is_refused_is_named)
{
#define BAD(why, ...)                                                               \
    refused(&(struct svc_spec){.ns = "shop", .host = "h", __VA_ARGS__}, RC_INVALID, \
            "service shop/h: " why)
#define MANY(why, ...)                                                            \
    refused(&(struct svc_spec){.ns = "shop", .host = "h", __VA_ARGS__}, RC_LIMIT, \
            "service shop/h: " why)
    refused(&(struct svc_spec){.ns = "shop"}, RC_INVALID, "service shop/: hostname: missing");
    refused(&(struct svc_spec){.ns = "a/b", .host = "h"}, RC_INVALID,
            "service a/b/h: namespace: has a slash");
    BAD("load_balancing.mode: unknown value", .mode = 4);
    BAD("load_balancing.health_policy: unknown value", .health = 2);
    BAD("load_balancing.routing_preference: unknown value", .prefs = "0");
    BAD("load_balancing.routing_preference: unknown value", .prefs = "1,7");
    BAD("ip_families: unknown value", .families = 4);
    BAD("addresses: not 4 or 16 bytes", .vips = "net/nowhere");
    BAD("addresses: not a prefix length", .vips = "10.0.0.0/33");
    BAD("addresses: not a prefix length", .vips = "fd00::/129");
    BAD("ports: over 65535", .ports = "80=65536");
    BAD("waypoint: no usable destination", .waypoint = "shop/");
    BAD("weighted_waypoints: no usable destination", .weighted = "@n/x 1 1");
    BAD("weighted_waypoints: no usable destination", .weighted = "10");
    char *vips = repeat("10.0.0.1,", 257), *ports = repeat("80=80 ", 1025),
         *sans = repeat("a,", 257), *weighted = repeat("a/b 1 1,", 17),
         *long_name = repeat("n", 513);
    MANY("addresses: more than 256", .vips = vips);
    MANY("ports: more than 1024", .ports = ports);
    MANY("subject_alt_names: more than 256", .sans = sans);
    MANY("weighted_waypoints: more than 16", .weighted = weighted);
    MANY("hostname, namespace or name: over 512 bytes", .name = long_name);
    MANY("load_balancing.routing_preference: more than 8", .prefs = "1,2,3,4,5,6,1,2,3");
    char *network = mem_printf("%s/10.0.0.1", long_name);
    MANY("addresses.network: over 512 bytes", .vips = network);
    mem_free(network);
    mem_free(vips);
    mem_free(ports);
    mem_free(sans);
    mem_free(weighted);
    mem_free(long_name);
}
END_TEST

TEST_MAIN_FIXTURE("service", setup, teardown, everything_arrives, little_is_enough,
                  which_vips_are_prefixes, what_is_refused_is_named)
