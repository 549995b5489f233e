/* Every corner of the evaluation as a table, then random policies against an evaluator that follows the
 * description word by word on the message itself. */
#include <string.h>

#include "lib/base/hash.h"
#include "lib/base/mem.h"
#include "proxy/core/authz.h"
#include "proxy/state/apply.h"
#include "tests/helper/check.h"
#include "tests/helper/mesh.h"
#include "tests/helper/policy_naive.h"
#include "tests/helper/policy_text.h"

static struct arena mem;
static struct apply *app;
static struct proxy_state *st;

static void setup(void)
{
    arena_init(&mem, 64 << 20);
    app = apply_new(STR("node-1"));
    st = NULL;
}

static void teardown(void)
{
    if (st)
        snapshot_unref(&st->base);
    apply_free(app);
    arena_fini(&mem);
}

static enum rc put(const Istio__Security__Authorization *z)
{
    struct strbuf b;
    strbuf_init(&b, 1 << 20);
    pb_put_message(&b, &z->base);
    struct errmsg e = {""};
    char *name = mem_printf("%s/%s", z->namespace_, z->name);
    enum rc rc = apply_authorization(app, str_of(name), strbuf_str(&b), &e);
    ck_assert_msg(rc == RC_OK || strstr(e.text, name), "no name in '%s'", e.text);
    mem_free(name);
    strbuf_fini(&b);
    return rc;
}

#define DRY 1
static Istio__Security__Authorization *policy(const char *name, int scope, int action, int dry,
                                              const char *rules)
{
    Istio__Security__Authorization *z = policy_text(&mem, name, rules);
    z->scope = (Istio__Security__Scope)scope;
    z->action = (Istio__Security__Action)action;
    z->dry_run = dry;
    return z;
}
enum { GLOBAL, NAMESPACE, WORKLOAD };
enum { ALLOW, DENY };

/* A workload shop/cart that lists these policies. */
static struct workload *cart(const char *const *policies, size_t n)
{
    struct strbuf list;
    strbuf_init(&list, 4096);
    for (size_t i = 0; i < n; i++) {
        strbuf_addz(&list, i ? "," : "");
        strbuf_addz(&list, policies[i]);
    }
    WORKLOAD(app, .uid = "c//Pod/shop/cart", .name = "cart", .ns = "shop", .policies = list.p);
    strbuf_fini(&list);
    if (st)
        snapshot_unref(&st->base);
    st = apply_commit(app);
    return state_workload(st, STR("c//Pod/shop/cart"));
}

static struct addr at(const char *text)
{
    struct addr a = {0};
    if (addr_parse_port(str_of(text), &a) != RC_OK)
        ck_assert_rc(addr_parse_ip(str_of(text), &a), RC_OK);
    return a;
}

static struct authz_result result;

static enum rc ask(struct workload *w, const char *peer, const char *src, const char *dst)
{
    struct identity *id = NULL;
    if (peer)
        ck_assert_rc(identity_parse(str_of(peer), &id), RC_OK);
    struct authz_conn c = {id, at(src), at(dst)};
    memset(&result, 'x', sizeof(result));
    enum rc rc = authz_check(st, w, &c, &result);
    ck_assert_ptr_nonnull(result.why);
    identity_unref(id);
    return rc;
}

#define WEB  "spiffe://td/ns/web/sa/front"
#define SHOP "spiffe://td/ns/shop/sa/cart"

/* Does the policy match a connection from 10.1.2.3 to 10.9.9.9:80 of the peer? */
static const struct {
    const char *rules;
    bool web, shop, nobody; /* WEB, SHOP, no identity */
} cases[] = {
    {"", false, false, false},             /* no rules: never */
    {"~", true, true, true},               /* a rule without clauses: all */
    {"~~", true, true, true},              /* a clause without matches: true */
    {"~~~", false, false, false},          /* a match without conditions: none */
    {"~~~|ns=web", true, false, false},    /* it doesn't spoil the others */
    {"~~~&~~", false, false, false},       /* clauses are ANDed */
    {"~~&ns=web", true, false, false},     /* */
    {"ns=web;ns=shop", true, true, false}, /* rules are ORed */
    {"ns=web|ns=shop", true, true, false}, /* matches are ORed */
    {"ns=web&ns=shop", false, false, false},
    {"ns=web,ns=shop", true, true, false},  /* values are ORed */
    {"ns=web,port=80", true, false, false}, /* fields are ANDed */
    {"ns=web,port=81", false, false, false},
    {"ns!=web", false, true, true},
    {"ns!=web,ns!=shop", false, false, true}, /* none may fit */
    {"ns=web,ns!=web", false, false, false},
    {"ns=w*", true, false, false},
    {"ns=*p", false, true, false},
    {"ns=*", true, true, false}, /* presence: not empty */
    {"ns!=*", false, false, true},
    {"ns=WEB", false, false, false},
    {"principal=td/ns/web/sa/front", true, false, false},
    {"principal=spiffe://td/ns/web/sa/front", false, false, false},
    {"principal=td/ns/*", true, true, false},
    {"principal=*/sa/cart", false, true, false},
    {"principal=*", true, true, false},
    {"principal!=*", false, false, true}, /* STRICT */
    {"principal!=td/ns/web/*", false, true, true},
    {"sa=web/front", true, false, false},
    {"sa=web/cart", false, false, false},
    {"sa!=web/front", false, true, true},
    {"src=10.0.0.0/8", true, true, true},
    {"src=10.1.2.3/32", true, true, true},
    {"src=10.1.2.4/32", false, false, false},
    {"src=0.0.0.0/0", true, true, true},
    {"src=::/0", false, false, false}, /* another family */
    {"src!=::/0", true, true, true},
    {"src!=10.1.0.0/16", false, false, false},
    {"dst=10.9.9.0/24,port=80", true, true, true},
    {"dst=10.1.2.3/32", false, false, false},
    {"dst!=10.9.9.9/32", false, false, false},
    {"port!=80", false, false, false},
    {"port!=81,port!=82", true, true, true},
    {"principal!=*&port!=80", false, false, false}, /* STRICT except port 80 */
    {"principal!=*&port!=81", false, false, true},
};

START_TEST(what_a_policy_matches)
{
    static const char *const list[] = {"shop/p"};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *const peers[] = {WEB, SHOP, NULL};
        const bool want[] = {cases[i].web, cases[i].shop, cases[i].nobody};
        for (int action = ALLOW; action <= DENY; action++) {
            ck_assert_rc(put(policy("shop/p", WORKLOAD, action, 0, cases[i].rules)), RC_OK);
            struct workload *w = cart(list, 1);
            for (int k = 0; k < 3; k++) {
                enum rc rc = ask(w, peers[k], "10.1.2.3:4444", "10.9.9.9:80");
                ck_assert_msg((rc == RC_OK) == (want[k] == (action == ALLOW)),
                              "'%s' action %d peer %s: %s", cases[i].rules, action,
                              peers[k] ? peers[k] : "none", rc_name(rc));
                ck_assert(rc == RC_OK || rc == RC_DENIED);
            }
        }
    }
}
END_TEST

START_TEST(which_policies_apply)
{
    static const char *const list[] = {"other/listed"};
    struct workload *w = cart(NULL, 0);
    ck_assert_rc(ask(w, WEB, "10.1.2.3", "10.9.9.9:80"), RC_OK);
    ck_assert_str_eq(result.policy, "");
    /* another namespace's, and one that is not listed */
    put(policy("web/deny", NAMESPACE, DENY, 0, "~"));
    put(policy("other/listed", WORKLOAD, DENY, 0, "~"));
    w = cart(NULL, 0);
    ck_assert_rc(ask(w, WEB, "10.1.2.3", "10.9.9.9:80"), RC_OK);
    w = cart(list, 1);
    ck_assert_rc(ask(w, WEB, "10.1.2.3", "10.9.9.9:80"), RC_DENIED);
    ck_assert_str_eq(result.policy, "other/listed");
    ck_assert_int_eq(result.rule, 0);
    /* its own namespace's */
    put(policy("shop/deny", NAMESPACE, DENY, 0, "ns=nobody;port=80"));
    w = cart(NULL, 0);
    ck_assert_rc(ask(w, WEB, "10.1.2.3", "10.9.9.9:80"), RC_DENIED);
    ck_assert_str_eq(result.policy, "shop/deny");
    ck_assert_int_eq(result.rule, 1);
    apply_remove_authorization(app, STR("shop/deny"));
    w = cart(NULL, 0);
    ck_assert_rc(ask(w, WEB, "10.1.2.3", "10.9.9.9:80"), RC_OK);
    /* the mesh's */
    put(policy("root/deny", GLOBAL, DENY, 0, "port=80"));
    w = cart(NULL, 0);
    ck_assert_rc(ask(w, WEB, "10.1.2.3", "10.9.9.9:80"), RC_DENIED);
    ck_assert_str_eq(result.policy, "root/deny");
    ck_assert_rc(ask(w, WEB, "10.1.2.3", "10.9.9.9:81"), RC_OK);
    /* a policy that changes its scope leaves the old one */
    put(policy("root/deny", WORKLOAD, DENY, 0, "port=80"));
    w = cart(NULL, 0);
    ck_assert_rc(ask(w, WEB, "10.1.2.3", "10.9.9.9:80"), RC_OK);
}
END_TEST

START_TEST(deny_goes_before_allow_and_allow_before_none)
{
    put(policy("shop/a-allow", NAMESPACE, ALLOW, 0, "ns=web"));
    put(policy("root/z-deny", GLOBAL, DENY, 0, "port=81"));
    put(policy("shop/b-allow", NAMESPACE, ALLOW, 0, "ns=none;ns=shop"));
    struct workload *w = cart(NULL, 0);
    ck_assert_rc(ask(w, WEB, "10.1.2.3", "10.9.9.9:80"), RC_OK);
    ck_assert_str_eq(result.policy, "shop/a-allow");
    ck_assert_rc(ask(w, SHOP, "10.1.2.3", "10.9.9.9:80"), RC_OK);
    ck_assert_str_eq(result.policy, "shop/b-allow");
    ck_assert_int_eq(result.rule, 1);
    ck_assert_rc(ask(w, WEB, "10.1.2.3", "10.9.9.9:81"), RC_DENIED);
    ck_assert_str_eq(result.policy, "root/z-deny");
    ck_assert_rc(ask(w, NULL, "10.1.2.3", "10.9.9.9:80"), RC_DENIED);
    ck_assert_int_eq(result.rule, -1);
    ck_assert_str_eq(result.why, "no ALLOW policy matches");
    ck_assert_ptr_nonnull(strstr(result.policy, "-allow"));
}
END_TEST

START_TEST(a_dry_run_decides_nothing)
{
    put(policy("shop/deny", NAMESPACE, DENY, DRY, "~"));
    put(policy("shop/allow", NAMESPACE, ALLOW, DRY, "ns=nobody"));
    struct workload *w = cart(NULL, 0);
    ck_assert_rc(ask(w, WEB, "10.1.2.3", "10.9.9.9:80"), RC_OK);
    ck_assert_str_eq(result.dry_run, "shop/deny");
    ck_assert_str_eq(result.policy, "");
    put(policy("shop/real", NAMESPACE, ALLOW, 0, "ns=shop"));
    w = cart(NULL, 0);
    ck_assert_rc(ask(w, WEB, "10.1.2.3", "10.9.9.9:80"), RC_DENIED);
    ck_assert_str_eq(result.policy, "shop/real");
    ck_assert_rc(ask(w, SHOP, "10.1.2.3", "10.9.9.9:80"), RC_OK);
}
END_TEST

START_TEST(a_named_policy_that_is_missing_is_waited_for)
{
    static const char *const list[] = {"shop/there", "shop/missing"};
    put(policy("shop/there", WORKLOAD, DENY, 0, "ns=shop"));
    struct workload *w = cart(list, 2);
    ck_assert_rc(ask(w, WEB, "10.1.2.3", "10.9.9.9:80"), RC_NO_POLICY);
    ck_assert_str_eq(result.policy, "shop/missing");
    /* what is denied anyway is not worth waiting for */
    ck_assert_rc(ask(w, SHOP, "10.1.2.3", "10.9.9.9:80"), RC_DENIED);
    ck_assert_str_eq(result.policy, "shop/there");
    /* an ALLOW that doesn't match: the missing one might */
    put(policy("shop/there", WORKLOAD, ALLOW, 0, "ns=shop"));
    w = cart(list, 2);
    ck_assert_rc(ask(w, WEB, "10.1.2.3", "10.9.9.9:80"), RC_NO_POLICY);
    ck_assert_rc(ask(w, SHOP, "10.1.2.3", "10.9.9.9:80"), RC_NO_POLICY);
    put(policy("shop/missing", WORKLOAD, ALLOW, 0, "ns=web"));
    w = cart(list, 2);
    ck_assert_rc(ask(w, WEB, "10.1.2.3", "10.9.9.9:80"), RC_OK);
}
END_TEST

/* -- what is not understood -- */

static enum rc put_bytes(const char *name, struct str bytes)
{
    return apply_authorization(app, str_of(name), bytes, NULL);
}

START_TEST(what_is_not_understood_refuses_where_it_applies)
{
    Istio__Security__Authorization *z;
    Istio__Workload__Extension x, *xs[] = {&x};
    static const char *const list[] = {"shop/p"};
    istio__workload__extension__init(&x);
    for (int kind = 0; kind < 7; kind++) {
        put(policy("shop/p", WORKLOAD, ALLOW, 0, "~")); /* what was understood before */
        z = policy("shop/p", WORKLOAD, ALLOW, 0, "ns=web,src=10.0.0.0/8,port=80");
        Istio__Security__Match *m = z->rules[0]->clauses[0]->matches[0];
        switch (kind) {
        case 0: z->action = (Istio__Security__Action)7; break;
        case 1: m->source_ips[0]->length = 33; break;
        case 2: m->source_ips[0]->address.len = 3; break;
        case 3: m->destination_ports[0] = 65616; break;
        case 4: m->n_extensions = 1, m->extensions = xs; break;
        case 5: z->n_extensions = 1, z->extensions = xs; break;
        case 6:
            m->namespaces[0]->match_type_case = ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE__NOT_SET;
            break;
        }
        ck_assert_rc(put(z), RC_INVALID);
        struct workload *w = cart(list, 1);
        ck_assert_rc(ask(w, WEB, "10.1.2.3", "10.9.9.9:80"), RC_DENIED);
        ck_assert_str_eq(result.policy, "shop/p");
        ck_assert_str_eq(result.why, "policy holds something not understood");
        w = cart(NULL, 0);
        ck_assert_rc(ask(w, WEB, "10.1.2.3", "10.9.9.9:80"), RC_OK);
    }
    /* a dry run decides nothing, understood or not */
    z = policy("shop/p", NAMESPACE, DENY, DRY, "port=70000");
    apply_remove_authorization(app, STR("shop/p"));
    ck_assert_rc(put(z), RC_INVALID);
    ck_assert_rc(ask(cart(NULL, 0), WEB, "10.1.2.3", "10.9.9.9:80"), RC_OK);
}
END_TEST

START_TEST(unknown_fields_scopes_and_garbage)
{
    /* name "p", namespace "shop", scope 1 (namespace), unknown field 12 */
    ck_assert_rc(put_bytes("shop/p", STR("\x0a\x01p\x12\x04shop\x18\x01\x60\x01")), RC_INVALID);
    ck_assert_rc(ask(cart(NULL, 0), WEB, "10.1.2.3", "10.9.9.9:80"), RC_DENIED);
    ck_assert_str_eq(result.policy, "shop/p");
    /* the next version is understood */
    ck_assert_rc(put_bytes("shop/p", STR("\x0a\x01p\x12\x04shop\x18\x01")), RC_OK);
    ck_assert_rc(ask(cart(NULL, 0), WEB, "10.1.2.3", "10.9.9.9:80"),
                 RC_DENIED); /* ALLOW, no rules */
    /* unreadable bytes leave what was understood in force */
    ck_assert_rc(put_bytes("shop/p", STR("\x0a\x7f")), RC_INVALID);
    ck_assert_rc(ask(cart(NULL, 0), WEB, "10.1.2.3", "10.9.9.9:80"), RC_DENIED);
    ck_assert_str_eq(result.why, "no ALLOW policy matches");
    apply_remove_authorization(app, STR("shop/p"));
    ck_assert_rc(ask(cart(NULL, 0), WEB, "10.1.2.3", "10.9.9.9:80"), RC_OK);
    /* and refuse in their namespace when there was none */
    ck_assert_rc(put_bytes("shop/q", STR("\x0a\x7f")), RC_INVALID);
    ck_assert_rc(ask(cart(NULL, 0), WEB, "10.1.2.3", "10.9.9.9:80"), RC_DENIED);
    apply_remove_authorization(app, STR("shop/q"));
    /* a scope of the future */
    ck_assert_rc(put_bytes("shop/r", STR("\x0a\x01r\x12\x04shop\x18\x09")), RC_INVALID);
    ck_assert_rc(ask(cart(NULL, 0), WEB, "10.1.2.3", "10.9.9.9:80"), RC_DENIED);
}
END_TEST

START_TEST(mapped_ranges_are_ipv4)
{
    Istio__Security__Authorization *z = policy("shop/p", NAMESPACE, DENY, 0, "src=::/0");
    Istio__Security__Address *a = z->rules[0]->clauses[0]->matches[0]->source_ips[0];
    static uint8_t ip[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1};
    a->address = (ProtobufCBinaryData){16, ip};
    a->length = 96 + 16;
    ck_assert_rc(put(z), RC_OK);
    ck_assert_rc(ask(cart(NULL, 0), WEB, "10.1.2.3", "10.9.9.9:80"), RC_DENIED);
    ck_assert_rc(ask(cart(NULL, 0), WEB, "10.2.2.3", "10.9.9.9:80"), RC_OK);
    a->length = 80;
    ck_assert_rc(put(z), RC_INVALID);
}
END_TEST

/* -- differential: the description, word by word -- */

static const char *pick(const char *const *of, size_t n)
{
    return of[rand_below(n)];
}

static void random_rules(struct strbuf *b)
{
    static const char *const conds[] = {
        "ns=a",
        "ns=b",
        "ns=*",
        "ns!=a",
        "ns!=*",
        "ns=a*",
        "ns=*b",
        "principal=*",
        "principal!=*",
        "principal=t/ns/a/*",
        "principal!=*/sa/s",
        "sa=a/s",
        "sa!=b/s",
        "src=10.0.0.0/8",
        "src!=10.1.0.0/16",
        "src=fd00::/8",
        "dst=10.2.0.0/15",
        "port=80",
        "port!=80",
        "port=81",
        "dst!=10.3.0.0/16",
        "src=0.0.0.0/0",
        "ns=",
    };
    for (size_t r = rand_below(4); r > 0; r--) {
        if (rand_below(8) == 0)
            strbuf_addz(b, "~");
        else
            for (size_t c = rand_below(3) + 1; c > 0; c--) {
                if (rand_below(8) == 0)
                    strbuf_addz(b, "~~");
                else
                    for (size_t m = rand_below(3) + 1; m > 0; m--) {
                        if (rand_below(8) == 0)
                            strbuf_addz(b, "~~~");
                        else
                            for (size_t k = rand_below(3) + 1; k > 0; k--) {
                                strbuf_addz(b, pick(conds, ARRAY_LEN(conds)));
                                strbuf_addz(b, k > 1 ? "," : "");
                            }
                        strbuf_addz(b, m > 1 ? "|" : "");
                    }
                strbuf_addz(b, c > 1 ? "&" : "");
            }
        strbuf_addz(b, r > 1 ? ";" : "");
    }
}

static enum rc naive_verdict(Istio__Security__Authorization *const *z, size_t n,
                             const struct view *v)
{
    bool allow = false, allowed = false;
    for (size_t i = 0; i < n; i++) {
        if (z[i]->dry_run)
            continue;
        bool fits = naive_policy(z[i], v);
        if (z[i]->action == ISTIO__SECURITY__ACTION__DENY && fits)
            return RC_DENIED;
        if (z[i]->action == ISTIO__SECURITY__ACTION__ALLOW) {
            allow = true;
            allowed = allowed || fits;
        }
    }
    return !allow || allowed ? RC_OK : RC_DENIED;
}

START_TEST(random_policies_agree_with_the_description)
{
    static const char *const names[] = {"shop/p0", "shop/p1", "shop/p2", "shop/p3"};
    static const char *const uris[] = {NULL, "spiffe://t/ns/a/sa/s", "spiffe://t/ns/b/sa/s",
                                       "spiffe://u/ns/ab/sa/x"};
    static const char *const ips[] = {"10.0.0.1", "10.1.0.1", "10.2.3.4", "fd00::1", "fe80::1"};
    static const char *const dsts[] = {"10.2.0.1:80", "10.3.0.1:81", "[fd00::2]:80"};
    size_t denied = 0, ok = 0;
    for (int round = 0; round < 1500; round++) {
        Istio__Security__Authorization *z[4];
        struct strbuf b;
        for (int i = 0; i < 4; i++) {
            strbuf_init(&b, 4096);
            random_rules(&b);
            z[i] = policy(names[i],
                          i == 0   ? GLOBAL
                          : i == 1 ? NAMESPACE
                                   : WORKLOAD,
                          (int)rand_below(2), rand_below(5) == 0, b.p ? b.p : "");
            ck_assert_rc(put(z[i]), RC_OK);
            strbuf_fini(&b);
        }
        struct workload *w = cart(names + 2, 2);
        for (int k = 0; k < 20; k++) {
            const char *uri = pick(uris, ARRAY_LEN(uris)), *src = pick(ips, ARRAY_LEN(ips)),
                       *dst = pick(dsts, ARRAY_LEN(dsts));
            struct view v = {.src = at(src), .dst = at(dst)};
            struct identity *id = NULL;
            char ns[8], sa[8];
            if (uri) {
                ck_assert_rc(identity_parse(str_of(uri), &id), RC_OK);
                snprintf(ns, sizeof(ns), "%.*s", STR_ARG(id->ns));
                snprintf(sa, sizeof(sa), "%.*s", STR_ARG(id->sa));
                v.ns = ns, v.sa = sa, v.principal = uri + strlen("spiffe://");
            }
            enum rc rc = ask(w, uri, src, dst), want = naive_verdict(z, 4, &v);
            ck_assert_msg(rc == want, "round %d: %s, not %s", round, rc_name(rc), rc_name(want));
            denied += rc == RC_DENIED;
            ok += rc == RC_OK;
            identity_unref(id);
        }
        arena_reset(&mem);
    }
    ck_assert_uint_gt(denied, 3000); /* the generator makes both */
    ck_assert_uint_gt(ok, 3000);
}
END_TEST

TEST_MAIN_FIXTURE("authz", setup, teardown, what_a_policy_matches, which_policies_apply,
                  deny_goes_before_allow_and_allow_before_none, a_dry_run_decides_nothing,
                  a_named_policy_that_is_missing_is_waited_for,
                  what_is_not_understood_refuses_where_it_applies,
                  unknown_fields_scopes_and_garbage, mapped_ranges_are_ipv4,
                  random_policies_agree_with_the_description)
