/* Which endpoint: a table of localities, then what chance does, then a twin that looks at all. */
#include <string.h>

#include "lib/base/hash.h"
#include "lib/base/mem.h"
#include "proxy/state/balance.h"
#include "tests/helper/check.h"
#include "tests/helper/mesh.h"

enum { STRICT = 1, FAILOVER, PASSTHROUGH };
enum { REGION = 1, ZONE, SUBZONE, NODE, CLUSTER, NETWORK };
#define UNHEALTHY 1
#define HOST      "cart.local"

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
    if (st)
        snapshot_unref(&st->base);
    st = apply_commit(app);
}

static void client(const char *network)
{
    WORKLOAD(app, .uid = "client", .ns = "web", .ips = "10.0.0.99", .node = "n1", .region = "r1",
             .zone = "z1", .subzone = "s1", .network = network);
}

static enum rc choose(uint16_t port, struct balance_choice *c)
{
    struct balance_request r = {.client = state_workload(st, STR("client")),
                                .service = state_service(st, STR("shop"), STR(HOST)),
                                .port = port,
                                .asked = {.family = AF_INET}};
    ck_assert_ptr_nonnull(r.service);
    return balance_pick(st, &r, c);
}

/* How often each of "e0" … "e9" of 10,000; [10]: refused. */
static void sample(unsigned hits[11])
{
    memset(hits, 0, 11 * sizeof(*hits));
    for (int i = 0; i < 10000; i++) {
        struct balance_choice c;
        if (choose(80, &c) == RC_OK) {
            ck_assert(str_starts(workload_text(c.wl, WL_UID), STR("e")));
            hits[workload_text(c.wl, WL_UID).p[1] - '0']++;
        } else {
            hits[10]++;
        }
    }
}

/* Share of each in percent must be near this. */
static void expect(const unsigned hits[11], const int percent[11])
{
    for (int i = 0; i < 11; i++) {
        int off = (int)hits[i] - percent[i] * 100;
        if (percent[i] == 0 || percent[i] == 100)
            ck_assert_msg(off == 0, "e%d: %u", i, hits[i]);
        else /* 5 standard deviations are below 250 */
            ck_assert_msg(off > -250 && off < 250, "e%d: %u", i, hits[i]);
    }
}

#define EXPECT(...)                            \
    do {                                       \
        unsigned hits_[11];                    \
        commit();                              \
        sample(hits_);                         \
        expect(hits_, (int[11]){__VA_ARGS__}); \
    } while (0)
#define EP(n, ...)                                                                            \
    WORKLOAD(app, .uid = "e" #n, .ns = "shop", .services = "shop/" HOST, .ips = "10.1.0." #n, \
             __VA_ARGS__)
#define SVC(...) SERVICE(app, .ns = "shop", .host = HOST, .ports = "80=8080", __VA_ARGS__)
#define NOBODY   [10] = 100

START_TEST(all_alike_share_evenly)
{
    client(NULL);
    SVC(.mode = 0);
    EXPECT(NOBODY);
    for (int i = 0; i < 5; i++) {
        char uid[3] = {'e', (char)('0' + i)};
        WORKLOAD(app, .uid = uid, .ns = "shop", .ips = "10.1.1.1", .services = "shop/" HOST);
    }
    EXPECT(20, 20, 20, 20, 20);
    apply_remove_address(app, STR("e0"));
    EXPECT(0, 25, 25, 25, 25);
    apply_remove_address(app, STR("shop/" HOST));
    SVC(.mode = 0); /* the endpoints have waited for it */
    EXPECT(0, 25, 25, 25, 25);
}
END_TEST

START_TEST(capacity_is_a_weight_and_zero_is_never)
{
    client(NULL);
    SVC(.mode = 0);
    EP(1, .capacity = 1);
    EP(2, .capacity = 3);
    EP(3, .capacity = -1);
    EXPECT(0, 25, 75);
    EP(2, .capacity = -1);
    EXPECT(0, 100);
    EP(1, .capacity = -1);
    EXPECT(NOBODY);
    EP(1, .capacity = 1);
    EP(2, .capacity = 1000000000); /* not found by chance */
    EP(3, .capacity = 1000000000);
    EXPECT(0, 0, 50, 50);
}
END_TEST

START_TEST(health_decides_unless_all_are_allowed)
{
    client(NULL);
    SVC(.mode = 0);
    EP(1, .status = UNHEALTHY);
    EP(2, .status = 0);
    EXPECT(0, 0, 100);
    SVC(.health = 1); /* ALLOW_ALL: those that are unhealthy come back */
    EXPECT(0, 50, 50);
    SVC(.health = 0);
    EP(2, .status = UNHEALTHY);
    EXPECT(NOBODY);
    EP(1, .status = 0);
    EXPECT(0, 100);
}
END_TEST

START_TEST(failover_prefers_and_falls_back)
{
    client("net");
    SVC(.mode = FAILOVER, .prefs = "6,1,2"); /* NETWORK, REGION, ZONE */
    EP(1, .network = "other", .region = "r1", .zone = "z1", .gateway = "gw/gw.local 15008");
    EXPECT(0, 100);
    EP(2, .network = "other", .region = "r1", .zone = "z2", .gateway = "gw/gw.local 15008");
    EXPECT(0, 100); /* among the remote ones region and zone still count */
    EP(3, .network = "net", .region = "r9", .zone = "z9");
    EXPECT(0, 0, 0, 100); /* any of the same network outranks all remote ones */
    EP(4, .network = "net", .region = "r1", .zone = "z9");
    EP(5, .network = "net", .region = "r1", .zone = "z8");
    EXPECT(0, 0, 0, 0, 50, 50);
    EP(6, .network = "net", .region = "r1", .zone = "z1");
    EXPECT(0, 0, 0, 0, 0, 0, 100);
    EP(7, .network = "net", .region = "r2", .zone = "z1"); /* leading ones only */
    EXPECT(0, 0, 0, 0, 0, 0, 100);
    EP(6, .network = "net", .region = "r1", .zone = "z1", .status = UNHEALTHY);
    EXPECT(0, 0, 0, 0, 50, 50);
    EP(6, .network = "net", .region = "r1", .zone = "z1", .capacity = -1);
    EXPECT(0, 0, 0, 0, 50, 50); /* nobody to be chosen there: the next best */
}
END_TEST

START_TEST(every_scope_counts)
{
    static const struct {
        const char *prefs;
        struct wl_spec near, far;
    } cases[] = {
        {"1", {.region = "r1"}, {.region = "r2"}},           {"2", {.zone = "z1"}, {.zone = "z2"}},
        {"3", {.subzone = "s1"}, {.subzone = "s2"}},         {"4", {.node = "n1"}, {.node = "n2"}},
        {"5", {.cluster = "Kubernetes"}, {.cluster = "c2"}}, /* the default of the client */
        {"6", {.network = ""}, {.network = "n2"}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct wl_spec w[2] = {cases[i].near, cases[i].far};
        client(NULL);
        for (int k = 0; k < 2; k++) {
            w[k].uid = k ? "e1" : "e0";
            w[k].ns = "shop";
            w[k].ips = "10.1.1.1";
            w[k].services = "shop/" HOST;
            ck_assert_rc(mesh_workload(app, &w[k], NULL), RC_OK);
        }
        SVC(.mode = FAILOVER, .prefs = cases[i].prefs);
        EXPECT(100);
        SVC(.mode = STRICT, .prefs = cases[i].prefs);
        EXPECT(100);
        apply_remove_address(app, STR("e0"));
        EXPECT(NOBODY);
        SVC(.mode = FAILOVER, .prefs = cases[i].prefs);
        EXPECT(0, 100);
    }
}
END_TEST

START_TEST(strict_needs_all)
{
    client(NULL);
    SVC(.mode = STRICT, .prefs = "1,2");
    EP(1, .region = "r1");
    EP(2, .zone = "z1");
    EXPECT(NOBODY);
    EP(3, .region = "r1", .zone = "z1");
    EXPECT(0, 0, 0, 100);
    SVC(.mode = STRICT); /* no preferences: all */
    EXPECT(0, 33, 33, 33);
}
END_TEST

START_TEST(the_node_may_move)
{
    SVC(.mode = FAILOVER, .prefs = "1");
    EP(1, .region = "r1");
    EP(2, .region = "r2");
    client(NULL);
    EXPECT(0, 100);
    const struct endpoints *e = state_endpoints(st, state_service(st, STR("shop"), STR(HOST)));
    ck_assert_ptr_eq(e->home, state_workload(st, STR("client"))->place);
    WORKLOAD(app, .uid = "client", .ns = "web", .ips = "10.0.0.99", .node = "n1", .region = "r2");
    EXPECT(0, 0, 100);
    /* a pod that is somewhere else than its neighbours is served too */
    WORKLOAD(app, .uid = "neighbour", .ns = "web", .ips = "10.0.0.98", .node = "n1",
             .region = "r2");
    WORKLOAD(app, .uid = "client", .ns = "web", .ips = "10.0.0.99", .node = "n1", .region = "r1");
    EXPECT(0, 100);
    apply_remove_address(app, STR("neighbour"));
    EXPECT(0, 100);
}
END_TEST

START_TEST(ports_come_from_endpoint_then_service)
{
    struct balance_choice c;
    client(NULL);
    SERVICE(app, .ns = "shop", .host = HOST, .ports = "80=8080 81=0");
    WORKLOAD(app, .uid = "e1", .ns = "shop", .ips = "10.1.1.1",
             .services = "shop/" HOST " 80=9090 81=9191");
    commit();
    ck_assert_rc(choose(80, &c), RC_OK);
    ck_assert_uint_eq(c.addr.port, 9090);
    ck_assert_rc(choose(81, &c), RC_OK);
    ck_assert_uint_eq(c.port, 9191);
    ck_assert_rc(choose(82, &c), RC_NO_UPSTREAM);
    WORKLOAD(app, .uid = "e1", .ns = "shop", .ips = "10.1.1.1", .services = "shop/" HOST);
    commit();
    ck_assert_rc(choose(80, &c), RC_OK);
    ck_assert_uint_eq(c.addr.port, 8080);
    ck_assert_rc(choose(81, &c), RC_NO_UPSTREAM); /* a named port it doesn't have */
    WORKLOAD(app, .uid = "e2", .ns = "shop", .ips = "10.1.1.2",
             .services = "shop/" HOST " 81=7000");
    EXPECT(0, 50, 50);
    for (int i = 0; i < 100; i++) {
        ck_assert_rc(choose(81, &c), RC_OK);
        ck_assert_uint_eq(c.addr.port, 7000);
    }
}
END_TEST

START_TEST(a_waypoint_port_may_be_the_tunnels)
{
    struct balance_choice c;
    client(NULL);
    SERVICE(app, .ns = "shop", .host = HOST, .ports = "80=80");
    WORKLOAD(app, .uid = "e1", .ns = "shop", .ips = "10.1.1.1", .services = "shop/" HOST);
    commit();
    struct balance_request r = {.client = state_workload(st, STR("client")),
                                .service = state_service(st, STR("shop"), STR(HOST)),
                                .port = 15008,
                                .waypoint = true};
    ck_assert_rc(balance_pick(st, &r, &c), RC_NO_UPSTREAM);
    WORKLOAD(app, .uid = "e1", .ns = "shop", .ips = "10.1.1.1", .services = "shop/" HOST,
             .app_tunnel = 2, .app_tunnel_port = 15088);
    commit();
    r.client = state_workload(st, STR("client"));
    ck_assert_rc(balance_pick(st, &r, &c), RC_OK);
    ck_assert_uint_eq(c.addr.port, 15008);
    r.waypoint = false;
    ck_assert_rc(balance_pick(st, &r, &c), RC_NO_UPSTREAM);
}
END_TEST

static void is_at(const struct balance_choice *c, const char *ip)
{
    char text[ADDR_TEXT];
    addr_format_ip(&c->addr, text);
    ck_assert_str_eq(text, ip);
}

START_TEST(which_address)
{
    struct balance_choice c;
    struct addr six, listed;
    client(NULL);
    ck_assert_rc(addr_parse_ip(STR("fd00::99"), &six), RC_OK);
    ck_assert_rc(addr_parse_ip(STR("10.1.1.2"), &listed), RC_OK);
    WORKLOAD(app, .uid = "e1", .ns = "shop", .ips = "10.1.1.1,fd00::1,10.1.1.2,fd00::2",
             .services = "shop/" HOST);
    for (int families = 0; families < 4; families++) {
        SVC(.families = families);
        commit();
        struct balance_request r = {.client = state_workload(st, STR("client")),
                                    .service = state_service(st, STR("shop"), STR(HOST)),
                                    .port = 80};
        ck_assert_rc(balance_pick(st, &r, &c), RC_OK);
        is_at(&c, families == 2 ? "fd00::1" : "10.1.1.1"); /* the first allowed */
        r.asked = six;
        ck_assert_rc(balance_pick(st, &r, &c), RC_OK);
        is_at(&c, families == 1 ? "10.1.1.1" : "fd00::1"); /* of the client's family */
        r.asked = listed;
        ck_assert_rc(balance_pick(st, &r, &c), RC_OK);
        is_at(&c, "10.1.1.2"); /* the one that was asked for */
    }
    WORKLOAD(app, .uid = "e1", .ns = "shop", .ips = "10.1.1.1", .services = "shop/" HOST);
    SVC(.families = 2);
    EXPECT(NOBODY);
    WORKLOAD(app, .uid = "e1", .ns = "shop", .hostname = "db.example", .services = "shop/" HOST);
    EXPECT(0, 100);
    ck_assert_rc(choose(80, &c), RC_OK);
    ck_assert_uint_eq(c.addr.family, 0);
    ck_assert_uint_eq(c.port, 8080);
    ck_assert_rc(balance_workload(state_workload(st, STR("e1")), NULL, 5, &c), RC_OK);
    ck_assert_uint_eq(c.addr.family, 0);
    ck_assert_rc(balance_workload(state_workload(st, STR("client")), &six, 5, &c), RC_OK);
    is_at(&c, "10.0.0.99");
    ck_assert_uint_eq(c.addr.port, 5);
}
END_TEST

START_TEST(a_gateway_is_for_other_networks)
{
    struct balance_choice c;
    client("here");
    SVC(.mode = 0);
    WORKLOAD(app, .uid = "e1", .ns = "shop", .services = "shop/" HOST, .network = "here",
             .gateway = "gw/gw.local");
    EXPECT(NOBODY);
    ck_assert_rc(balance_workload(state_workload(st, STR("e1")), NULL, 5, &c), RC_OK);
    WORKLOAD(app, .uid = "e1", .ns = "shop", .services = "shop/" HOST, .network = "there",
             .gateway = "gw/gw.local");
    EXPECT(0, 100);
    WORKLOAD(app, .uid = "e1", .ns = "shop", .services = "shop/" HOST, .network = "there");
    EXPECT(NOBODY);
    ck_assert_rc(balance_workload(state_workload(st, STR("e1")), NULL, 5, &c), RC_NO_UPSTREAM);
}
END_TEST

START_TEST(what_failed_is_not_tried_again)
{
    client(NULL);
    SVC(.mode = FAILOVER, .prefs = "1");
    EP(1, .region = "r1");
    EP(2, .region = "r1");
    EP(3, .region = "r2");
    commit();
    struct balance_choice c;
    struct workload *failed[3];
    struct balance_request r = {.client = state_workload(st, STR("client")),
                                .service = state_service(st, STR("shop"), STR(HOST)),
                                .port = 80,
                                .failed = failed};
    for (; r.n_failed < 3; r.n_failed++) {
        ck_assert_rc(balance_pick(st, &r, &c), RC_OK);
        for (size_t i = 0; i < r.n_failed; i++)
            ck_assert_ptr_ne(c.wl, failed[i]);
        ck_assert(r.n_failed < 2 || str_eqz(workload_text(c.wl, WL_UID), "e3"));
        failed[r.n_failed] = c.wl;
    }
    ck_assert_rc(balance_pick(st, &r, &c), RC_NO_UPSTREAM);
    /* also when it was replaced in the meantime */
    failed[0] = workload_ref(state_workload(st, STR("e1")));
    r.n_failed = 1;
    EP(1, .region = "r1", .canonical_name = "new");
    apply_remove_address(app, STR("e2"));
    apply_remove_address(app, STR("e3"));
    commit();
    r.client = state_workload(st, STR("client"));
    r.service = state_service(st, STR("shop"), STR(HOST));
    ck_assert_rc(balance_pick(st, &r, &c), RC_NO_UPSTREAM);
    workload_unref(failed[0]);
}
END_TEST

START_TEST(waypoints_by_weight)
{
    unsigned hits[2] = {0};
    SVC(.waypoint = "shop/wp", .weighted = "shop/wp 15008 80,shop/canary 15008 20");
    SERVICE(app, .ns = "shop", .host = "single", .waypoint = "shop/wp 4000",
            .weighted = "shop/canary 1 0");
    SERVICE(app, .ns = "shop", .host = "none");
    commit();
    const struct service *s = state_service(st, STR("shop"), STR(HOST));
    for (int i = 0; i < 10000; i++)
        hits[str_eqz(balance_waypoint(s)->host, "canary")]++;
    ck_assert_uint_gt(hits[1], 1750);
    ck_assert_uint_lt(hits[1], 2250);
    const struct gateway_addr *g = balance_waypoint(state_service(st, STR("shop"), STR("single")));
    ck_assert(str_eqz(g->host, "wp") && str_eqz(g->ns, "shop") && g->port == 4000);
    ck_assert_ptr_null(balance_waypoint(state_service(st, STR("shop"), STR("none"))));
}
END_TEST

START_TEST(which_service_was_meant)
{
    SERVICE(app, .ns = "shop", .host = "a", .ports = "80=8080");
    SERVICE(app, .ns = "shop", .host = "b", .ports = "80=8080 90=0");
    WORKLOAD(app, .uid = "e1", .ns = "shop", .ips = "10.1.1.1",
             .services = "shop/gone,shop/a,shop/b 90=9090");
    commit();
    const struct workload *w = state_workload(st, STR("e1"));
    ck_assert(str_eqz(balance_guess_service(st, w, STR(""), 8080)->host, "a"));
    ck_assert(str_eqz(balance_guess_service(st, w, STR("b"), 8080)->host, "b"));
    ck_assert(str_eqz(balance_guess_service(st, w, STR("x"), 9090)->host, "b"));
    ck_assert_ptr_null(balance_guess_service(st, w, STR("x"), 1));
}
END_TEST

/* -- twin: ranks of all, from the description -- */

static int naive_rank(const struct svc_spec *s, const struct wl_spec *c, const struct wl_spec *w)
{
    const char *const pairs[7][2] = {{"", ""},
                                     {c->region, w->region},
                                     {c->zone, w->zone},
                                     {c->subzone, w->subzone},
                                     {c->node, w->node},
                                     {c->cluster, w->cluster},
                                     {c->network, w->network}};
    int n = (int)(strlen(s->prefs) + 1) / 2, rank = 0, bonus = 0;
    if (s->prefs[0] == '\0')
        n = 0;
    for (int i = 0; i < n; i++) {
        int scope = s->prefs[2 * i] - '0';
        bool same = strcmp(pairs[scope][0], pairs[scope][1]) == 0;
        if (scope == NETWORK && s->prefs[0] == '0' + NETWORK) {
            bonus = same ? n - 1 : 0;
            if (!same)
                continue;
        }
        if (!same)
            break;
        rank++;
    }
    return s->mode == STRICT && rank != n ? -1 : s->mode == 0 ? 0 : rank + bonus;
}

static const char *pick(const char *a, const char *b)
{
    return rand_below(2) ? a : b;
}

static void random_place(struct wl_spec *w)
{
    w->region = pick("r1", "r2");
    w->zone = pick("z1", "z2");
    w->subzone = pick("s1", "s2");
    w->node = pick("n1", "n2");
    w->cluster = pick("c1", "c2");
    w->network = pick("w1", "w2");
}

/* Everybody who may be chosen is, nobody else. */
static void check_round(const struct wl_spec *c, const struct svc_spec *s, const struct wl_spec *e,
                        int n)
{
    int best = -1;
    unsigned hits[11];
    for (int i = 0; i < n; i++)
        if (e[i].uid && e[i].capacity >= 0 && (e[i].status == 0 || s->health) &&
            naive_rank(s, c, &e[i]) > best)
            best = naive_rank(s, c, &e[i]);
    sample(hits);
    ck_assert_msg((best < 0) == (hits[10] == 10000), "refused %u of 10000, best rank %d", hits[10],
                  best);
    for (int i = 0; i < n; i++) {
        bool may = best >= 0 && e[i].uid && e[i].capacity >= 0 && (e[i].status == 0 || s->health) &&
                   naive_rank(s, c, &e[i]) == best;
        ck_assert_msg(may == (hits[i] > 0), "e%d: %u hits, mode %d prefs %s", i, hits[i], s->mode,
                      s->prefs);
    }
}

START_TEST(random_edits_agree_with_the_twin)
{
    static const char *const prefs[] = {"", "6,1,2", "1,2,3", "6,1,2,3,4", "4", "5,6", "6"};
    static const char *const uids[] = {"e0", "e1", "e2", "e3", "e4", "e5", "e6", "e7"};
    struct wl_spec e[8], c = {.uid = "client", .ns = "web", .ips = "10.0.0.99"};
    struct svc_spec s = {.ns = "shop", .host = HOST, .ports = "80=8080", .prefs = ""};
    memset(e, 0, sizeof(e));
    random_place(&c);
    ck_assert_rc(mesh_workload(app, &c, NULL), RC_OK);
    ck_assert_rc(mesh_service(app, &s, NULL), RC_OK);
    for (int round = 0; round < 120; round++) {
        for (size_t k = rand_below(4) + 1; k > 0; k--) {
            size_t i = rand_below(8);
            if (rand_below(4) == 0) {
                apply_remove_address(app, str_of(uids[i]));
                e[i].uid = NULL;
                continue;
            }
            e[i] = (struct wl_spec){
                .uid = uids[i], .ns = "shop", .ips = "10.1.1.1", .services = "shop/" HOST};
            random_place(&e[i]);
            e[i].status = rand_below(3) == 0;
            e[i].capacity = rand_below(5) == 0 ? -1 : (int)rand_below(3);
            ck_assert_rc(mesh_workload(app, &e[i], NULL), RC_OK);
        }
        if (rand_below(3) == 0) {
            s.mode = (int)rand_below(3);
            s.health = (int)rand_below(2);
            s.prefs = prefs[rand_below(ARRAY_LEN(prefs))];
            ck_assert_rc(mesh_service(app, &s, NULL), RC_OK);
        }
        if (rand_below(6) == 0) {
            random_place(&c);
            c.node = pick("n1", "n2"); /* sometimes not of this node: nothing is arranged for it */
            ck_assert_rc(mesh_workload(app, &c, NULL), RC_OK);
        }
        commit();
        check_round(&c, &s, e, 8);
    }
}
END_TEST

TEST_MAIN_FIXTURE("balance", setup, teardown, all_alike_share_evenly,
                  capacity_is_a_weight_and_zero_is_never, health_decides_unless_all_are_allowed,
                  failover_prefers_and_falls_back, every_scope_counts, strict_needs_all,
                  the_node_may_move, ports_come_from_endpoint_then_service,
                  a_waypoint_port_may_be_the_tunnels, which_address,
                  a_gateway_is_for_other_networks, what_failed_is_not_tried_again,
                  waypoints_by_weight, which_service_was_meant, random_edits_agree_with_the_twin)
