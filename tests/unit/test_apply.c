/* From resources to snapshots: what is found afterwards, and that earlier snapshots stay as they were. */
#include <stdio.h>
#include <string.h>

#include "lib/base/hash.h"
#include "lib/base/mem.h"
#include "proxy/state/apply.h"
#include "tests/helper/check.h"
#include "tests/helper/mesh.h"
#include "tests/helper/pki.h"

static struct apply *app;
static struct proxy_state *st;

static void setup(void)
{
    app = apply_new(STR("n1"));
    st = NULL;
}

static void teardown(void)
{
    if (st)
        snapshot_unref(&st->base);
    apply_free(app);
}

static void commit(void)
{
    struct proxy_state *next = apply_commit(app);
    if (st)
        snapshot_unref(&st->base);
    st = next;
}

static struct addr ip_of(const char *text)
{
    struct addr a = {0};
    ck_assert_rc(addr_parse_ip(str_of(text), &a), RC_OK);
    return a;
}

static const char *at_ip(const char *network, const char *ip)
{
    static char uid[128];
    struct addr a = ip_of(ip);
    const struct workload *w = state_workload_by_ip(st, str_of(network), &a);
    snprintf(uid, sizeof(uid), "%.*s", w ? (int)workload_text(w, WL_UID).n : 4,
             w ? workload_text(w, WL_UID).p : "none");
    return uid;
}

static const char *at_vip(const char *network, const char *ip, const char *ns)
{
    static char key[128];
    struct addr a = ip_of(ip);
    const struct service *s = state_service_by_vip(st, str_of(network), &a, str_of(ns));
    snprintf(key, sizeof(key), "%.*s", s ? (int)s->key.n : 4, s ? s->key.p : "none");
    return key;
}

static const char *at_host(const char *host, const char *ns)
{
    static char key[128];
    const struct service *s = state_service_by_host(st, str_of(host), str_of(ns));
    snprintf(key, sizeof(key), "%.*s", s ? (int)s->key.n : 4, s ? s->key.p : "none");
    return key;
}

START_TEST(workloads_by_address)
{
    WORKLOAD(app, .uid = "plain", .ns = "a", .ips = "10.0.0.1,fd00::1", .network = "net");
    WORKLOAD(app, .uid = "host", .ns = "a", .ips = "10.0.0.2", .network_mode = 1, .network = "net");
    commit();
    ck_assert_str_eq(at_ip("net", "10.0.0.1"), "plain");
    ck_assert_str_eq(at_ip("net", "fd00::1"), "plain");
    ck_assert_str_eq(at_ip("", "10.0.0.1"), "none");    /* another network */
    ck_assert_str_eq(at_ip("net", "10.0.0.2"), "none"); /* shared with its node */
    ck_assert_ptr_nonnull(state_workload(st, STR("host")));
    /* ties: HBONE beats plain, a pod beats both, and who is left comes back */
    WORKLOAD(app, .uid = "tunnel", .ns = "a", .ips = "10.0.0.1", .network = "net", .tunnel = 1);
    commit();
    ck_assert_str_eq(at_ip("net", "10.0.0.1"), "tunnel");
    WORKLOAD(app, .uid = "c//Pod/a/p", .ns = "a", .ips = "10.0.0.1", .network = "net");
    commit();
    ck_assert_str_eq(at_ip("net", "10.0.0.1"), "c//Pod/a/p");
    apply_remove_address(app, STR("c//Pod/a/p"));
    commit();
    ck_assert_str_eq(at_ip("net", "10.0.0.1"), "tunnel");
    apply_remove_address(app, STR("tunnel"));
    commit();
    ck_assert_str_eq(at_ip("net", "10.0.0.1"), "plain");
    /* an update leaves the old address */
    WORKLOAD(app, .uid = "plain", .ns = "a", .ips = "10.0.0.9", .network = "net");
    commit();
    ck_assert_str_eq(at_ip("net", "10.0.0.1"), "none");
    ck_assert_str_eq(at_ip("net", "10.0.0.9"), "plain");
    ck_assert_uint_eq(st->by_ip.len, 1);
}
END_TEST

START_TEST(services_by_vip)
{
    SERVICE(app, .ns = "a", .host = "one", .vips = "10.96.0.1,net/10.96.0.1");
    commit();
    ck_assert_str_eq(at_vip("", "10.96.0.1", "x"), "a/one");
    ck_assert_str_eq(at_vip("net", "10.96.0.1", "x"), "a/one");
    ck_assert_str_eq(at_vip("other", "10.96.0.1", "x"), "none");
    /* several: own namespace, canonical, first by key; those of another namespace may be hidden */
    SERVICE(app, .ns = "b", .host = "two", .vips = "10.96.0.1");
    commit();
    ck_assert_str_eq(at_vip("", "10.96.0.1", "x"), "a/one");
    ck_assert_str_eq(at_vip("", "10.96.0.1", "b"), "b/two");
    SERVICE(app, .ns = "c", .host = "three", .vips = "10.96.0.1", .canonical = true);
    commit();
    ck_assert_str_eq(at_vip("", "10.96.0.1", "x"), "c/three");
    ck_assert_str_eq(at_vip("", "10.96.0.1", "a"), "a/one");
    SERVICE(app, .ns = "c", .host = "three", .vips = "10.96.0.1", .canonical = true,
            .visibility = 1);
    commit();
    ck_assert_str_eq(at_vip("", "10.96.0.1", "x"), "a/one");
    ck_assert_str_eq(at_vip("", "10.96.0.1", "c"), "c/three");
    ck_assert_str_eq(at_vip("", "10.96.0.1", ""), "c/three"); /* no client: everything is visible */
    apply_remove_address(app, STR("a/one"));
    commit();
    ck_assert_str_eq(at_vip("", "10.96.0.1", "x"), "b/two");
    ck_assert_str_eq(at_vip("net", "10.96.0.1", "x"), "none");
}
END_TEST

START_TEST(services_by_prefix)
{
    SERVICE(app, .ns = "a", .host = "wide", .vips = "10.0.0.0/8", .canonical = true);
    SERVICE(app, .ns = "b", .host = "narrow", .vips = "10.1.0.0/16");
    SERVICE(app, .ns = "b", .host = "exact", .vips = "10.1.2.3");
    SERVICE(app, .ns = "c", .host = "all", .vips = "::/0,net/0.0.0.0/0");
    commit();
    ck_assert_str_eq(at_vip("", "10.9.9.9", "x"), "a/wide");
    ck_assert_str_eq(at_vip("", "10.1.9.9", "x"), "b/narrow"); /* the longest */
    ck_assert_str_eq(at_vip("", "10.1.9.9", "a"), "a/wide");   /* but its own namespace's first */
    ck_assert_str_eq(at_vip("", "10.1.2.3", "a"), "b/exact"); /* and a single address before both */
    ck_assert_str_eq(at_vip("", "11.0.0.1", "x"), "none");
    ck_assert_str_eq(at_vip("", "fd00::5", "x"), "c/all");
    ck_assert_str_eq(at_vip("net", "192.0.2.1", "x"), "c/all");
    /* equal length: canonical, then first */
    SERVICE(app, .ns = "a2", .host = "same", .vips = "10.1.0.0/16", .canonical = true);
    commit();
    ck_assert_str_eq(at_vip("", "10.1.9.9", "x"), "a2/same");
    SERVICE(app, .ns = "a2", .host = "same", .vips = "10.1.0.0/16", .visibility = 1);
    commit();
    ck_assert_str_eq(at_vip("", "10.1.9.9", "x"), "b/narrow");
    /* an endpoint changes nothing here, a service leaves no copy behind */
    WORKLOAD(app, .uid = "e", .ns = "b", .services = "b/narrow");
    SERVICE(app, .ns = "b", .host = "narrow", .vips = "10.2.0.0/16");
    commit();
    ck_assert_str_eq(at_vip("", "10.1.9.9", "x"), "a/wide");
    ck_assert_str_eq(at_vip("", "10.2.9.9", "x"), "b/narrow");
    ck_assert_uint_eq(st->cidr_vips->n, 5);
    const char *all[] = {"a/wide", "b/narrow", "b/exact", "c/all", "a2/same"};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        apply_remove_address(app, str_of(all[i]));
    commit();
    ck_assert_str_eq(at_vip("", "10.2.9.9", "x"), "none");
    ck_assert_uint_eq(st->by_vip.len + st->services.len + st->cidr_vips->n, 0);
}
END_TEST

START_TEST(services_by_host)
{
    SERVICE(app, .ns = "a", .host = "www.example.com");
    SERVICE(app, .ns = "b", .host = "www.example.com", .visibility = 1);
    SERVICE(app, .ns = "c", .host = "www.example.com", .canonical = true);
    commit();
    ck_assert_str_eq(at_host("www.example.com", "x"), "c/www.example.com");
    ck_assert_str_eq(at_host("www.example.com", "a"), "a/www.example.com");
    ck_assert_str_eq(at_host("www.example.com", "b"), "b/www.example.com");
    ck_assert_str_eq(at_host("example.com", "a"), "none");
    apply_remove_address(app, STR("c/www.example.com"));
    commit();
    ck_assert_str_eq(at_host("www.example.com", "x"), "a/www.example.com");
    ck_assert_ptr_nonnull(state_service(st, STR("b"), STR("www.example.com")));
    ck_assert_ptr_null(state_service(st, STR("c"), STR("www.example.com")));
}
END_TEST

static size_t endpoints_of(const char *ns, const char *host)
{
    const struct service *s = state_service(st, str_of(ns), str_of(host));
    const struct endpoints *e = s ? state_endpoints(st, s) : NULL;
    return e ? e->n : 0;
}

START_TEST(endpoints_wait_for_their_service)
{
    WORKLOAD(app, .uid = "e1", .ns = "a", .services = "a/x,a/y");
    WORKLOAD(app, .uid = "e2", .ns = "a", .services = "a/x");
    commit();
    ck_assert_uint_eq(endpoints_of("a", "x"), 0);
    SERVICE(app, .ns = "a", .host = "x");
    SERVICE(app, .ns = "a", .host = "y");
    commit();
    ck_assert_uint_eq(endpoints_of("a", "x"), 2);
    ck_assert_uint_eq(endpoints_of("a", "y"), 1);
    WORKLOAD(app, .uid = "e1", .ns = "a", .services = "a/x");
    commit();
    ck_assert_uint_eq(endpoints_of("a", "x"), 2);
    ck_assert_uint_eq(endpoints_of("a", "y"), 0);
    ck_assert_uint_eq(st->endpoints.len, 1);                 /* nothing is kept for nobody */
    SERVICE(app, .ns = "a", .host = "x", .canonical = true); /* an update keeps them */
    apply_remove_address(app, STR("e2"));
    commit();
    ck_assert_uint_eq(endpoints_of("a", "x"), 1);
}
END_TEST

START_TEST(removals)
{
    WORKLOAD(app, .uid = "a/x", .ns = "a"); /* a uid that looks like a service */
    SERVICE(app, .ns = "a", .host = "x");
    apply_remove_address(app, STR("nobody"));
    apply_remove_address(app, STR("c//Pod/a/b"));
    apply_remove_authorization(app, STR("nobody/here"));
    commit();
    ck_assert_ptr_nonnull(state_workload(st, STR("a/x")));
    apply_remove_address(app, STR("a/x")); /* the workload first */
    commit();
    ck_assert_ptr_null(state_workload(st, STR("a/x")));
    ck_assert_ptr_nonnull(state_service(st, STR("a"), STR("x")));
    apply_remove_address(app, STR("a/x"));
    commit();
    ck_assert_ptr_null(state_service(st, STR("a"), STR("x")));
}
END_TEST

START_TEST(a_refused_version_leaves_the_old_one)
{
    struct errmsg e = {""};
    WORKLOAD(app, .uid = "w", .ns = "a", .ips = "10.0.0.1");
    SERVICE(app, .ns = "a", .host = "x", .vips = "10.96.0.1");
    ck_assert_rc(mesh_workload(app, &(struct wl_spec){.uid = "w", .ns = "a", .tunnel = 2}, &e),
                 RC_INVALID);
    ck_assert_str_eq(e.text, "workload w: tunnel_protocol: not supported");
    ck_assert_rc(mesh_service(app, &(struct svc_spec){.ns = "a", .host = "x", .mode = 9}, &e),
                 RC_INVALID);
    ck_assert_rc(apply_address(app, STR("w"), STR(""), &e), RC_INVALID);
    ck_assert_str_eq(e.text, "w: neither a workload nor a service");
    ck_assert_rc(apply_address(app, STR("w"), STR("\x0a\x7f"), &e), RC_INVALID);
    ck_assert_ptr_eq(strstr(e.text, "w: "), e.text);
    commit();
    ck_assert_str_eq(at_ip("", "10.0.0.1"), "w");
    ck_assert_str_eq(at_vip("", "10.96.0.1", "x"), "a/x");
}
END_TEST

START_TEST(what_comes_again_unchanged_changes_nothing)
{
    WORKLOAD(app, .uid = "w", .ns = "a", .ips = "10.0.0.1", .services = "a/x");
    SERVICE(app, .ns = "a", .host = "x", .vips = "10.96.0.1");
    ck_assert_rc(apply_authorization(app, STR("a/p"),
                                     STR("\x0a\x01p\x12\x01"
                                         "a"),
                                     NULL),
                 RC_OK);
    ck_assert(apply_changed(app));
    commit();
    ck_assert(!apply_changed(app));
    const struct workload *w = state_workload(st, STR("w"));
    WORKLOAD(app, .uid = "w", .ns = "a", .ips = "10.0.0.1", .services = "a/x");
    SERVICE(app, .ns = "a", .host = "x", .vips = "10.96.0.1");
    ck_assert_rc(apply_authorization(app, STR("a/p"),
                                     STR("\x0a\x01p\x12\x01"
                                         "a"),
                                     NULL),
                 RC_OK);
    ck_assert(!apply_changed(app));
    uint64_t generation = st->generation, policies = st->policy_generation;
    WORKLOAD(app, .uid = "w", .ns = "a", .ips = "10.0.0.1", .services = "a/x", .tunnel = 1);
    ck_assert(apply_changed(app));
    ck_assert_ptr_eq(state_workload(st, STR("w")), w); /* not before the commit */
    commit();
    ck_assert_uint_gt(st->generation, generation);
    ck_assert_uint_eq(st->policy_generation, policies);
}
END_TEST

START_TEST(earlier_snapshots_stay)
{
    WORKLOAD(app, .uid = "w", .ns = "a", .ips = "10.0.0.1", .services = "a/x");
    SERVICE(app, .ns = "a", .host = "x", .vips = "10.96.0.1,10.97.0.0/16");
    commit();
    struct proxy_state *old = st;
    st = NULL;
    for (int i = 0; i < 50; i++) {
        char uid[8];
        snprintf(uid, sizeof(uid), "w%d", i);
        WORKLOAD(app, .uid = uid, .ns = "a", .ips = "10.0.0.1", .services = "a/x");
        commit();
    }
    apply_remove_address(app, STR("w"));
    apply_remove_address(app, STR("a/x"));
    commit();
    struct addr vip = ip_of("10.97.3.3");
    const struct service *s = state_service_by_vip(old, STR(""), &vip, STR("a"));
    const struct endpoints *e = state_endpoints(old, s);
    ck_assert_uint_eq(e->n, 1);
    ck_assert_ptr_eq(e->w[0], state_workload(old, STR("w")));
    ck_assert_uint_eq(old->by_ip.len, 1);
    ck_assert_uint_eq(st->by_ip.len, 50);
    snapshot_unref(&old->base);
}
END_TEST

/* -- the workloads of this node -- */

static char heard[256];

static void on_local(void *owner, struct workload *gone, struct workload *come)
{
    ck_assert_ptr_eq(owner, &heard);
    size_t n = strlen(heard);
    snprintf(
        heard + n, sizeof(heard) - n, "-%.*s+%.*s ", gone ? (int)workload_text(gone, WL_UID).n : 0,
        gone ? workload_text(gone, WL_UID).p : "", come ? (int)workload_text(come, WL_UID).n : 0,
        come ? workload_text(come, WL_UID).p : "");
}

START_TEST(local_workloads)
{
    apply_on_local(app, on_local, &heard);
    heard[0] = '\0';
    WORKLOAD(app, .uid = "u1", .name = "p", .ns = "a", .sa = "s1", .node = "n1");
    WORKLOAD(app, .uid = "u2", .name = "p", .ns = "a", .sa = "s2", .node = "n1");
    WORKLOAD(app, .uid = "u3", .name = "q", .ns = "a", .node = "n2");
    commit();
    ck_assert(str_eqz(
        workload_text(state_local_workload(st, STR("a"), STR("p"), STR("s2")), WL_UID), "u2"));
    ck_assert(str_eqz(
        workload_text(state_local_workload(st, STR("a"), STR("p"), STR("s1")), WL_UID), "u1"));
    ck_assert_ptr_nonnull(state_local_workload(st, STR("a"), STR("p"), STR("")));
    ck_assert_ptr_null(state_local_workload(st, STR("a"), STR("p"), STR("s3")));
    ck_assert_ptr_null(state_local_workload(st, STR("a"), STR("q"), STR("")));
    WORKLOAD(app, .uid = "u1", .name = "p", .ns = "a", .sa = "s1",
             .node = "n2"); /* it moved away */
    WORKLOAD(app, .uid = "u2", .name = "p", .ns = "a", .sa = "s2", .node = "n1", .ips = "10.0.0.2");
    apply_remove_address(app, STR("u2"));
    apply_remove_address(app, STR("u3"));
    commit();
    ck_assert_ptr_null(state_local_workload(st, STR("a"), STR("p"), STR("")));
    ck_assert_str_eq(heard, "-+u1 -+u2 -u1+ -u2+u2 -u2+ ");
}
END_TEST

START_TEST(without_a_node_all_are_local)
{
    apply_free(app);
    app = apply_new(STR(""));
    WORKLOAD(app, .uid = "u1", .name = "p", .ns = "a", .node = "n1");
    WORKLOAD(app, .uid = "u2", .name = "q", .ns = "a", .services = "a/x");
    SERVICE(app, .ns = "a", .host = "x", .mode = 2, .prefs = "4");
    commit();
    ck_assert_ptr_nonnull(state_local_workload(st, STR("a"), STR("p"), STR("")));
    ck_assert_ptr_nonnull(state_local_workload(st, STR("a"), STR("q"), STR("")));
}
END_TEST

START_TEST(certificates)
{
    struct pki_ca ca;
    struct mtls_ctx *ctx;
    pki_ca_init(&ca, "root");
    struct cert *leaf = pki_workload(&ca, "URI:spiffe://td/ns/a/sa/b");
    struct identity *id, *same;
    ck_assert_rc(identity_parse(STR("spiffe://td/ns/a/sa/b"), &id), RC_OK);
    ck_assert_rc(identity_parse(STR("spiffe://td/ns/a/sa/b"), &same), RC_OK);
    ck_assert_rc(mtls_ctx_new(MTLS_MESH, leaf, ca.trust, &ctx, NULL), RC_OK);
    apply_cert(app, id, ctx);
    commit();
    struct proxy_state *old = st;
    st = NULL;
    ck_assert_ptr_eq(state_cert(old, same), ctx);
    apply_cert(app, same, NULL);
    commit();
    ck_assert_ptr_null(state_cert(st, id));
    ck_assert_ptr_eq(state_cert(old, id), ctx);
    apply_cert(app, same, NULL); /* harmless */
    snapshot_unref(&old->base);
    mtls_ctx_unref(ctx);
    identity_unref(id);
    identity_unref(same);
    cert_unref(leaf);
    pki_ca_fini(&ca);
}
END_TEST

/* -- a twin that searches lists -- */

#define N 40
static struct wl_spec twin[N];
static char uids[N][8], ips[N][16], svcs[N][32];

static const char *twin_by_ip(const char *ip)
{
    const char *best = "none";
    int rank = -1;
    for (int i = 0; i < N; i++) {
        int r = twin[i].tunnel ? 1 : 0;
        if (!twin[i].uid || twin[i].network_mode || strcmp(twin[i].ips, ip) != 0)
            continue;
        if (r > rank || (r == rank && strcmp(twin[i].uid, best) < 0)) {
            rank = r;
            best = twin[i].uid;
        }
    }
    return best;
}

static void same_as_twin(void)
{
    size_t n = 0;
    for (int k = 0; k < 6; k++) {
        char ip[16], key[32];
        snprintf(ip, sizeof(ip), "10.0.0.%d", k);
        ck_assert_str_eq(at_ip("", ip), twin_by_ip(ip));
        snprintf(key, sizeof(key), "h%d", k);
        size_t want = 0;
        for (int i = 0; i < N; i++)
            want += twin[i].uid && strstr(twin[i].services, key);
        ck_assert_uint_eq(endpoints_of("a", key), want);
    }
    for (int i = 0; i < N; i++) {
        ck_assert_int_eq(state_workload(st, str_of(uids[i])) != NULL, twin[i].uid != NULL);
        n += twin[i].uid != NULL;
    }
    ck_assert_uint_eq(st->workloads.len, n);
}

START_TEST(random_edits_agree_with_the_twin)
{
    for (int k = 0; k < 6; k++) {
        char host[8];
        snprintf(host, sizeof(host), "h%d", k);
        SERVICE(app, .ns = "a", .host = host, .mode = k % 3, .prefs = k % 2 ? "1,2" : "6,4");
    }
    memset(twin, 0, sizeof(twin));
    for (int i = 0; i < N; i++)
        snprintf(uids[i], sizeof(uids[i]), "u%02d", i);
    for (int round = 0; round < 1500; round++) {
        size_t i = rand_below(N);
        if (rand_below(3) == 0) {
            apply_remove_address(app, str_of(uids[i]));
            twin[i].uid = NULL;
        } else {
            snprintf(ips[i], sizeof(ips[i]), "10.0.0.%d", (int)rand_below(6));
            snprintf(svcs[i], sizeof(svcs[i]), "a/h%d,a/h%d", (int)rand_below(6),
                     (int)rand_below(6));
            twin[i] =
                (struct wl_spec){.uid = uids[i], .ns = "a", .ips = ips[i], .services = svcs[i]};
            twin[i].tunnel = (int)rand_below(2);
            twin[i].network_mode = rand_below(5) == 0;
            twin[i].status = (int)rand_below(2);
            twin[i].node = rand_below(2) ? "n1" : "n2";
            twin[i].region = rand_below(2) ? "r1" : "r2";
            ck_assert_rc(mesh_workload(app, &twin[i], NULL), RC_OK);
        }
        if (rand_below(4) == 0) {
            commit();
            same_as_twin();
        }
    }
}
END_TEST

TEST_MAIN_FIXTURE("apply", setup, teardown, workloads_by_address, services_by_vip,
                  services_by_prefix, services_by_host, endpoints_wait_for_their_service, removals,
                  a_refused_version_leaves_the_old_one, what_comes_again_unchanged_changes_nothing,
                  earlier_snapshots_stay, local_workloads, without_a_node_all_are_local,
                  certificates, random_edits_agree_with_the_twin)
