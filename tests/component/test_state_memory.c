/* A large mesh: what it costs to hold it and to change it. Prints figures; the limits are promises. */
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/hash.h"
#include "lib/base/mem.h"
#include "proxy/state/balance.h"
#include "tests/helper/check.h"
#include "tests/helper/mesh.h"

#ifdef MESH_SANITIZED /* another allocator, slower code: only that it works */
#define WORKLOADS 5000
#define SERVICES  500
#else
#define WORKLOADS 100000
#define SERVICES  10000
#endif
#define LIMIT_KB (40 * 1024)

static size_t rss_anon_kb(void)
{
    char line[256];
    size_t kb = 0;
    FILE *f = fopen("/proc/self/status", "re");
    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof(line), f))
        if (sscanf(line, "RssAnon: %zu", &kb) == 1)
            break;
    fclose(f);
    return kb;
}

/* A pod as Kubernetes and istiod make it: a deployment's, on one of 1,000 nodes. */
static void pod(struct apply *app, unsigned i, const char *revision)
{
    unsigned svc = i % SERVICES, ns = svc % 200;
    char uid[256], ns_text[32], name[128], deployment[32], service[256], ip[32], node[64], zone[32],
        sa[64];
    snprintf(ns_text, sizeof(ns_text), "team-%u-prod", ns);
    snprintf(deployment, sizeof(deployment), "backend-%u", svc);
    snprintf(name, sizeof(name), "%s-%08x%02x-%05x", deployment, svc * 2654435761u, svc % 256, i);
    snprintf(uid, sizeof(uid), "cluster1//Pod/%s/%s", ns_text, name);
    snprintf(service, sizeof(service), "%s/%s.%s.svc.cluster.local 80=8080 443=8443", ns_text,
             deployment, ns_text);
    snprintf(ip, sizeof(ip), "10.%u.%u.%u", i >> 16 & 255, i >> 8 & 255, i & 255);
    snprintf(node, sizeof(node), "ip-10-0-%u-%u.eu-west-1.compute.internal", i % 1000 / 250,
             i % 250);
    snprintf(zone, sizeof(zone), "eu-west-1%c", "abc"[i % 1000 % 3]);
    snprintf(sa, sizeof(sa), "%s-sa", deployment);
    WORKLOAD(app, .uid = uid, .name = name, .ns = ns_text, .sa = sa, .node = node,
             .network = "network1", .cluster = "cluster1", .region = "eu-west-1", .zone = zone,
             .workload_name = deployment, .canonical_name = deployment,
             .canonical_revision = revision, .ips = ip, .services = service,
             .policies = "istio-system/istio_converted_static_strict", .tunnel = 1, .type = 2,
             .gateway = "@network1/192.0.2.1 15008");
}

static void service(struct apply *app, unsigned svc)
{
    char ns_text[32], name[32], host[128], vip[64];
    snprintf(ns_text, sizeof(ns_text), "team-%u-prod", svc % 200);
    snprintf(name, sizeof(name), "backend-%u", svc);
    snprintf(host, sizeof(host), "%s.%s.svc.cluster.local", name, ns_text);
    snprintf(vip, sizeof(vip), "network1/10.96.%u.%u", svc >> 8, svc & 255);
    bool near = svc % 4 == 0;
    SERVICE(app, .ns = ns_text, .host = host, .name = name, .vips = vip,
            .ports = "80=8080 443=8443", .canonical = true,
            .waypoint = svc % 2 ? NULL : "istio-system/waypoint.istio-system.svc.cluster.local",
            .mode = near ? 2 : 0, .prefs = near ? "6,1,2" : NULL);
}

static double per_ns(int64_t since_us, unsigned n)
{
    return (double)(clock_mono_us() - since_us) * 1000.0 / n;
}

START_TEST(a_large_mesh)
{
    size_t before = rss_anon_kb();
    int64_t start = clock_mono_us();
    struct apply *app = apply_new(STR("ip-10-0-0-7.eu-west-1.compute.internal"));
    for (unsigned i = 0; i < WORKLOADS; i++)
        pod(app, i, "v1");
    for (unsigned i = 0; i < SERVICES; i++)
        service(app, i);
    double filled = per_ns(start, WORKLOADS + SERVICES);
    struct proxy_state *st = apply_commit(app);
    ck_assert_uint_eq(st->workloads.len, WORKLOADS);
    ck_assert_uint_eq(st->services.len, SERVICES);
    ck_assert_uint_eq(st->endpoints.len, SERVICES);
    malloc_trim(0);
    size_t held = rss_anon_kb() - before;

    /* one change at a time, each published and then replaced, as in a mesh that lives */
    enum { CHANGES = 2000 };
    start = clock_mono_us();
    for (unsigned i = 0; i < CHANGES; i++) {
        pod(app, i * 7919u % WORKLOADS, i % 2 ? "v2" : "v3");
        struct proxy_state *next = apply_commit(app);
        snapshot_unref(&st->base);
        st = next;
    }
    double change = per_ns(start, CHANGES);

    struct addr ip;
    ck_assert_rc(addr_parse_ip(STR("10.0.0.7"), &ip), RC_OK);
    struct balance_request r = {.client = state_workload_by_ip(st, STR("network1"), &ip),
                                .port = 80};
    enum { PICKS = 200000 };
    start = clock_mono_us();
    for (unsigned i = 0; i < PICKS; i++) {
        struct balance_choice c;
        struct addr vip = {
            .family = AF_INET,
            .ip = {10, 96, (uint8_t)(i * 31 % SERVICES >> 8), (uint8_t)(i * 31 % SERVICES)}};
        r.service = state_service_by_vip(st, STR("network1"), &vip, STR("team-7-prod"));
        ck_assert_rc(balance_pick(st, &r, &c), RC_OK);
    }
    double picked = per_ns(start, PICKS);

    fprintf(
        stderr,
        "# %u workloads, %u services: %zu kB RssAnon (%.0f bytes a workload); %.0f ns a resource, "
        "%.0f ns a change with its publication, %.0f ns to look up a VIP and choose\n",
        WORKLOADS, SERVICES, held, (double)held * 1024 / WORKLOADS, filled, change, picked);
#ifndef MESH_SANITIZED
    ck_assert_uint_le(held, LIMIT_KB);
    malloc_trim(0);
    size_t later = rss_anon_kb() - before;
    fprintf(stderr, "# after %u changes: %zu kB\n", CHANGES, later);
    ck_assert_uint_le(later, LIMIT_KB);
#endif
    snapshot_unref(&st->base);
    apply_free(app);
}
END_TEST

TEST_MAIN("state_memory", a_large_mesh)
