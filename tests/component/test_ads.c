/* The asking and the serving side of delta ADS over real TLS and HTTP/2 on loopback. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/net/netns.h"
#include "lib/xds/ads_client.h"
#include "lib/xds/ads_server.h"
#include "tests/helper/check.h"
#include "tests/helper/pki.h"
#include "tests/helper/tls_server.h"

#define POLICY   0
#define ADDRESS  1
#define HELD_MAX 6000

/* What a client has, and how it got there. */
struct model {
    struct ads_client *c;
    struct {
        char name[40], version[20];
        size_t type;
    } held[HELD_MAX];
    size_t n, resources, removed, responses[2];
    char log[4000]; /* "P+name A+name P-name …" */
    char refuse[40];
    bool up, synced[2];
    char error[300];
};

struct rig {
    struct loop *l;
    struct pki_ca ca;
    struct mtls_ctx *ctx;
    struct tls_server t;
    struct ads_server *s;
    struct model m;
    char nack[300];
    int clients, gone;
    enum grpc_status verdict;
};

static struct rig *rig;

static void note(struct model *m, size_t type, char what, struct str name)
{
    size_t n = strlen(m->log);
    snprintf(m->log + n, sizeof(m->log) - n, "%c%c%.*s ", "PA"[type], what, STR_ARG(name));
}

static size_t held_find(const struct model *m, size_t type, struct str name)
{
    size_t i = 0;
    while (i < m->n && (m->held[i].type != type || !str_eqz(name, m->held[i].name)))
        i++;
    return i;
}

static enum rc on_resource(void *owner, size_t type, struct str name, struct str version,
                           struct str bytes, struct errmsg *msg)
{
    struct model *m = owner;
    if (m->refuse[0] && str_eqz(name, m->refuse)) {
        errmsg_set(msg, "no good");
        return RC_INVALID;
    }
    m->resources++;
    ck_assert_uint_gt(bytes.n, 0);
    if (m->resources < 100)
        note(m, type, '+', name);
    size_t i = held_find(m, type, name);
    ck_assert_uint_lt(i, HELD_MAX);
    snprintf(m->held[i].name, sizeof(m->held[i].name), "%.*s", STR_ARG(name));
    snprintf(m->held[i].version, sizeof(m->held[i].version), "%.*s", STR_ARG(version));
    m->held[i].type = type;
    m->n = MAX(m->n, i + 1);
    return RC_OK;
}

static void on_removed(void *owner, size_t type, struct str name)
{
    struct model *m = owner;
    m->removed++;
    note(m, type, '-', name);
    size_t i = held_find(m, type, name);
    if (i < m->n)
        m->held[i] = m->held[--m->n];
}

static void on_response(void *owner, size_t type, bool first)
{
    struct model *m = owner;
    m->responses[type]++;
    m->synced[type] |= first;
}

static void each_held(void *owner, size_t type,
                      void (*add)(void *arg, struct str name, struct str version), void *arg)
{
    struct model *m = owner;
    for (size_t i = 0; i < m->n; i++)
        if (m->held[i].type == type)
            add(arg, str_of(m->held[i].name), str_of(m->held[i].version));
}

static void on_state(void *owner, bool up, const char *error)
{
    struct model *m = owner;
    m->up = up;
    snprintf(m->error, sizeof(m->error), "%s", error);
}

static const struct ads_client_ops client_ops = {on_resource, on_removed, on_response, each_held,
                                                 on_state};

static enum grpc_status on_client(void *owner, const struct ads_client_info *c, const char **text)
{
    struct rig *r = owner;
    ck_assert(
        str_eqz(c->node_id, "ztunnel~10.0.0.1~z.istio-system~istio-system.svc.cluster.local"));
    ck_assert(str_eqz(c->node_name, "node-1") && str_eqz(c->ns, "istio-system"));
    ck_assert(str_eqz(c->peer, "tester"));
    r->clients++;
    *text = "you are not welcome";
    return r->verdict;
}

static void on_nack(void *owner, const struct ads_client_info *c, const char *url, struct str error)
{
    (void)c;
    struct rig *r = owner;
    snprintf(r->nack, sizeof(r->nack), "%s: %.*s", strrchr(url, '.') + 1, STR_ARG(error));
}

static void on_gone(void *owner, const struct ads_client_info *c)
{
    (void)c;
    ((struct rig *)owner)->gone++;
}

static void on_lookup(void *owner, const char *url, struct str key,
                      void (*add)(void *arg, struct str name), void *arg)
{
    (void)owner, (void)url;
    if (str_eqz(key, "/10.0.0.7"))
        add(arg, STR("pod-7"));
}

static const struct ads_server_ops server_ops = {on_client, on_nack, on_gone, on_lookup};
static const struct ads_type server_types[] = {{XDS_AUTHORIZATION, true}, {XDS_ADDRESS, false}};

static void on_request(void *owner, struct h2_stream *s, const struct h2_headers *hs)
{
    struct rig *r = owner;
    ck_assert(str_eqz(h2_header_get(hs, ":path"), XDS_DELTA_PATH));
    ck_assert(str_eqz(h2_header_get(hs, "authorization"), "Bearer token"));
    ads_server_accept(r->s, s, hs, STR("tester"));
}

static struct mtls_ctx *server_ctx(void *owner)
{
    return ((struct rig *)owner)->ctx;
}

static void server_new(struct rig *r)
{
    r->s = ads_server_new(r->l, server_types, 2, &server_ops, r);
}

static void put(struct rig *r, size_t type, const char *name, const char *bytes)
{
    struct resource *x = resource_new(str_of(name), str_of(bytes));
    ads_server_set(r->s, type, x);
    resource_unref(x);
}

static void rig_init(struct rig *r)
{
    memset(r, 0, sizeof(*r));
    rig = r;
    ck_assert_rc(netns_init(), RC_OK);
    r->l = loop_new();
    pki_ca_init(&r->ca, "root");
    struct cert *c =
        pki_leaf(&r->ca, (struct pki_spec){.san = "IP:127.0.0.1", .eku = "serverAuth"});
    ck_assert_rc(mtls_ctx_new(MTLS_SERVER_PUBLIC, c, r->ca.trust, &r->ctx, NULL), RC_OK);
    cert_unref(c);
    r->t = (struct tls_server){.ctx = server_ctx, .on_request = on_request, .owner = r};
    tls_server_start(&r->t, r->l, 0);
    server_new(r);
}

static void client_new(struct rig *r, bool on_demand)
{
    char url[64];
    snprintf(url, sizeof(url), "https://127.0.0.1:%u", r->t.port);
    struct ads_meta meta[] = {
        {"NODE_NAME", "node-1"}, {"NAMESPACE", "istio-system"}, {"NAME", "z"}};
    struct ads_client_type types[] = {{XDS_AUTHORIZATION, false}, {XDS_ADDRESS, on_demand}};
    struct ads_client_opts o = {
        .channel = {.url = url, .roots = r->ca.pem.p, .token = "token"},
        .node_id = "ztunnel~10.0.0.1~z.istio-system~istio-system.svc.cluster.local",
        .meta = meta,
        .n_meta = 3,
        .types = types,
        .n_types = 2,
    };
    struct errmsg e = {""};
    ck_assert_msg(ads_client_new(r->l, &o, &client_ops, &r->m, &r->m.c, &e) == RC_OK, "%s", e.text);
    ads_client_start(r->m.c);
}

#define WAIT(cond)                                                                      \
    do {                                                                                \
        int64_t end_ = loop_now(rig->l) + 10000;                                        \
        while (!(cond) && loop_now(rig->l) < end_)                                      \
            loop_turn(rig->l, 50);                                                      \
        ck_assert_msg((cond), "%s never came: %s %s", #cond, rig->m.error, rig->m.log); \
    } while (0)

static void rig_fini(struct rig *r)
{
    ads_client_free(r->m.c);
    ads_server_free(r->s);
    for (int i = 0; i < 10; i++)
        loop_turn(r->l, 5);
    tls_server_stop(&r->t);
    mtls_ctx_unref(r->ctx);
    pki_ca_fini(&r->ca);
    loop_free(r->l);
}

static struct rig the_rig;

START_TEST(an_empty_mesh_is_a_first_answer)
{
    struct rig *r = &the_rig;
    rig_init(r);
    client_new(r, false);
    WAIT(r->m.synced[POLICY] && r->m.synced[ADDRESS]);
    ck_assert_uint_eq(r->m.resources, 0);
    rig_fini(r);
}
END_TEST

START_TEST(changes_come_in_the_safe_order)
{
    struct rig *r = &the_rig;
    rig_init(r);
    put(r, ADDRESS, "pod-1", "a");
    put(r, POLICY, "deny-1", "p");
    client_new(r, false);
    WAIT(r->m.synced[POLICY] && r->m.synced[ADDRESS]);
    ck_assert_str_eq(r->m.log, "P+deny-1 A+pod-1 ");
    r->m.log[0] = '\0';
    /* one push: a new policy, the workload that names it, the old policy gone */
    ads_server_remove(r->s, POLICY, STR("deny-1"));
    put(r, ADDRESS, "pod-1", "b");
    put(r, ADDRESS, "pod-2", "c");
    ads_server_remove(r->s, ADDRESS, STR("pod-2"));
    put(r, POLICY, "deny-2", "q");
    ads_server_push(r->s);
    WAIT(strstr(r->m.log, "P-deny-1"));
    ck_assert_str_eq(r->m.log, "P+deny-2 A+pod-1 A-pod-2 P-deny-1 ");
    put(r, ADDRESS, "pod-1", "b"); /* the same again: nothing */
    ads_server_push(r->s);
    size_t before = r->m.responses[ADDRESS];
    put(r, ADDRESS, "pod-3", "d");
    ads_server_push(r->s);
    WAIT(r->m.responses[ADDRESS] > before);
    ck_assert_uint_eq(r->m.responses[ADDRESS], before + 1);
    ck_assert_ptr_nonnull(strstr(r->m.log, "P-deny-1 A+pod-3 "));
    rig_fini(r);
}
END_TEST

START_TEST(after_a_restart_only_differences_come)
{
    struct rig *r = &the_rig;
    rig_init(r);
    for (int i = 0; i < 5; i++) {
        char name[20];
        snprintf(name, sizeof(name), "pod-%d", i);
        put(r, ADDRESS, name, name);
    }
    put(r, POLICY, "allow", "p");
    client_new(r, false);
    WAIT(r->m.synced[POLICY] && r->m.synced[ADDRESS]);
    ck_assert_uint_eq(r->m.resources, 6);
    /* a new controller: other sequence numbers, the same bytes but for two */
    ads_server_free(r->s);
    server_new(r);
    put(r, POLICY, "allow", "p");
    put(r, ADDRESS, "pod-4", "pod-4");
    put(r, ADDRESS, "pod-2", "changed");
    put(r, ADDRESS, "pod-1", "pod-1");
    put(r, ADDRESS, "pod-0", "pod-0");
    r->m.log[0] = '\0';
    r->m.responses[ADDRESS] = r->m.responses[POLICY] = 0;
    WAIT(r->m.responses[ADDRESS] >= 1 && r->m.responses[POLICY] >= 1 && r->m.removed);
    ck_assert_str_eq(r->m.log, "A+pod-2 A-pod-3 ");
    ck_assert_uint_eq(r->m.n, 5);
    rig_fini(r);
}
END_TEST

START_TEST(a_refused_resource_is_told_and_the_others_stay)
{
    struct rig *r = &the_rig;
    rig_init(r);
    put(r, ADDRESS, "bad", "x");
    put(r, ADDRESS, "good", "y");
    strcpy(r->m.refuse, "bad");
    client_new(r, false);
    WAIT(r->nack[0]);
    ck_assert_str_eq(r->nack, "Address: bad: no good");
    ck_assert_uint_eq(r->m.n, 1);
    ck_assert(!r->m.synced[ADDRESS]); /* not ready on a refused first response */
    r->m.refuse[0] = '\0';
    put(r, ADDRESS, "bad", "better");
    ads_server_push(r->s);
    WAIT(r->m.synced[ADDRESS]);
    ck_assert_uint_eq(r->m.n, 2);
    struct strbuf out;
    strbuf_init(&out, 10000);
    ads_server_dump(r->s, &out);
    ck_assert_ptr_nonnull(strstr(out.p, "\"nacked\":1"));
    strbuf_fini(&out);
    rig_fini(r);
}
END_TEST

START_TEST(a_large_mesh_comes_whole_before_the_client_is_synced)
{
    struct rig *r = &the_rig;
    rig_init(r);
    static char big[2000];
    memset(big, 'x', sizeof(big) - 1);
    for (int i = 0; i < 5000; i++) {
        char name[20];
        snprintf(name, sizeof(name), "pod-%d", i);
        big[0] = (char)('a' + i % 26);
        put(r, ADDRESS, name, big);
    }
    client_new(r, false);
    WAIT(r->m.synced[ADDRESS]);
    ck_assert_uint_eq(r->m.responses[ADDRESS], 1); /* a stock ztunnel is ready after the first */
    ck_assert_uint_eq(r->m.resources, 5000);
    /* changed while it is on its way: comes once more at most, with the last bytes */
    put(r, ADDRESS, "pod-17", "last");
    ads_server_push(r->s);
    WAIT(r->m.resources == 5001);
    ck_assert_str_eq(r->m.held[17].version, ads_server_find(r->s, ADDRESS, STR("pod-17"))->version);
    rig_fini(r);
}
END_TEST

START_TEST(on_demand_only_what_is_named)
{
    struct rig *r = &the_rig;
    rig_init(r);
    put(r, ADDRESS, "pod-7", "seven");
    put(r, ADDRESS, "pod-8", "eight");
    client_new(r, true);
    WAIT(r->m.synced[ADDRESS]);
    ck_assert_uint_eq(r->m.resources, 0);
    ads_client_demand(r->m.c, ADDRESS, STR("/10.0.0.7")); /* an alias */
    WAIT(strstr(r->m.log, "A+pod-7"));
    ads_client_demand(r->m.c, ADDRESS, STR("nobody"));
    WAIT(strstr(r->m.log, "A-nobody"));
    put(r, ADDRESS, "pod-8", "other");
    put(r, ADDRESS, "pod-7", "other");
    ads_server_push(r->s);
    WAIT(r->m.resources == 2);
    ck_assert_ptr_null(strstr(r->m.log, "pod-8"));
    /* a new stream: names are wanted still, what did not change stays away */
    ads_client_demand(r->m.c, ADDRESS, STR("pod-8"));
    WAIT(strstr(r->m.log, "A+pod-8"));
    ads_client_release(r->m.c, ADDRESS, STR("nobody"));
    ads_client_release(r->m.c, ADDRESS, STR("nobody"));
    r->m.log[0] = '\0';
    ads_server_free(r->s);
    server_new(r);
    put(r, ADDRESS, "pod-7", "other");
    put(r, ADDRESS, "pod-8", "new");
    WAIT(strstr(r->m.log, "A+pod-8"));
    ck_assert_str_eq(r->m.log, "A+pod-8 A-/10.0.0.7 ");
    rig_fini(r);
}
END_TEST

START_TEST(an_unwelcome_client_is_told_why)
{
    struct rig *r = &the_rig;
    rig_init(r);
    r->verdict = GRPC_PERMISSION_DENIED;
    client_new(r, false);
    WAIT(strstr(r->m.error, "you are not welcome"));
    ck_assert_int_eq(r->gone, 0);
    ck_assert_uint_eq(ads_server_clients(r->s), 0);
    r->verdict = GRPC_OK; /* it comes again by itself */
    WAIT(r->m.synced[ADDRESS]);
    ck_assert_int_ge(r->clients, 2);
    rig_fini(r);
}
END_TEST

TEST_MAIN("ads", an_empty_mesh_is_a_first_answer, changes_come_in_the_safe_order,
          after_a_restart_only_differences_come, a_refused_resource_is_told_and_the_others_stay,
          a_large_mesh_comes_whole_before_the_client_is_synced, on_demand_only_what_is_named,
          an_unwelcome_client_is_told_why)
