/* What is decoded and what is refused; how it is evaluated is in test_authz. */
#include "lib/base/mem.h"
#include "proxy/state/policy.h"
#include "tests/helper/check.h"
#include "tests/helper/policy_text.h"

static struct arena mem;

static void setup(void)
{
    arena_init(&mem, 256 << 20);
}

static void teardown(void)
{
    arena_fini(&mem);
}

START_TEST(conditions_keep_their_values)
{
    struct policy *p;
    Istio__Security__Authorization *z = policy_text(
        &mem, "shop/p",
        "ns=a*,ns=*,principal!=*b,src=10.0.0.0/8,dst!=fd00::/16,port=80,port=81,sa=n/s;~");
    z->scope = ISTIO__SECURITY__SCOPE__WORKLOAD_SELECTOR;
    z->action = ISTIO__SECURITY__ACTION__DENY;
    z->dry_run = 1;
    ck_assert_rc(policy_decode(z, &p, NULL), RC_OK);
    ck_assert(str_eqz(p->key, "shop/p") && str_eqz(p->ns, "shop") && str_eqz(p->name, "p"));
    ck_assert(p->scope == POLICY_WORKLOAD && p->deny && p->dry_run && !p->unknown && p->n == 2);
    ck_assert_uint_eq(p->rule[1].n, 0);
    const struct policy_match *m = &p->rule[0].clause[0].match[0];
    static const struct {
        enum policy_field field;
        bool negate;
        size_t n;
    } want[] = {{POLICY_NAMESPACES, false, 2},        {POLICY_PRINCIPALS, true, 1},
                {POLICY_SOURCE_IPS, false, 1},        {POLICY_DESTINATION_IPS, true, 1},
                {POLICY_DESTINATION_PORTS, false, 2}, {POLICY_SERVICE_ACCOUNTS, false, 1}};
    ck_assert_uint_eq(m->n, ARRAY_LEN(want));
    for (size_t i = 0; i < m->n; i++)
        ck_assert(m->test[i].field == want[i].field && m->test[i].negate == want[i].negate &&
                  m->test[i].n == want[i].n);
    ck_assert(m->test[0].text[0].kind == TEXT_PREFIX && str_eqz(m->test[0].text[0].text, "a"));
    ck_assert(m->test[0].text[1].kind == TEXT_PRESENCE && m->test[1].text[0].kind == TEXT_SUFFIX);
    ck_assert(m->test[2].cidr[0].bits == 8 && m->test[3].cidr[0].bits == 16);
    ck_assert(m->test[4].port[1] == 81 && str_eqz(m->test[5].sa[0].sa, "s"));
    ck_assert_ptr_eq(policy_ref(p), p);
    policy_unref(p);
    policy_unref(p);
    policy_unref(NULL);
}
END_TEST

static void refused(const Istio__Security__Authorization *z, enum rc want, const char *text)
{
    struct policy *p = NULL;
    struct errmsg e = {""};
    ck_assert_rc(policy_decode(z, &p, &e), want);
    ck_assert_ptr_null(p);
    ck_assert_str_eq(e.text, text);
}

START_TEST(what_is_refused_is_named)
{
    Istio__Security__Authorization *z =
        policy_text(&mem, "shop/p", "ns=a,ns!=b,src=10.0.0.0/8,port=80");
    Istio__Security__Match *m = z->rules[0]->clauses[0]->matches[0];
    Istio__Workload__Extension *x = arena_new(&mem, Istio__Workload__Extension);
    istio__workload__extension__init(x);
    z->scope = (Istio__Security__Scope)3;
    refused(z, RC_INVALID, "policy shop/p: scope: unknown value");
    z->scope = ISTIO__SECURITY__SCOPE__GLOBAL;
    z->action = (Istio__Security__Action)2;
    refused(z, RC_INVALID, "policy shop/p: action: unknown value");
    z->action = ISTIO__SECURITY__ACTION__ALLOW;
    z->n_extensions = 1;
    refused(z, RC_INVALID, "policy shop/p: extensions: not known to this version");
    z->n_extensions = 0;
    m->n_extensions = 1;
    refused(z, RC_INVALID,
            "policy shop/p: extensions: a condition that this version does not know");
    m->n_extensions = 0;
    m->destination_ports[0] = 65536;
    refused(z, RC_INVALID, "policy shop/p: destination_ports: port over 65535");
    m->destination_ports[0] = 65535;
    m->source_ips[0]->length = 33;
    refused(z, RC_INVALID, "policy shop/p: source_ips: not an address with a prefix length");
    m->source_ips[0]->length = 8;
    m->not_namespaces[0]->match_type_case = ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE__NOT_SET;
    refused(z, RC_INVALID, "policy shop/p: not_namespaces: a match without a value");
    m->not_namespaces[0]->match_type_case = ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_PRESENCE;
    struct policy *p;
    ck_assert_rc(policy_decode(z, &p, NULL), RC_OK);
    policy_unref(p);
    z->name = arena_strndup(&mem, "", 0);
    refused(z, RC_INVALID, "policy shop/: name: missing");
}
END_TEST

START_TEST(sizes_are_bounded)
{
    Istio__Security__Authorization *z = policy_text(&mem, "shop/p", "ns=a");
    Istio__Security__Match *m = z->rules[0]->clauses[0]->matches[0];
    Istio__Security__StringMatch **many = arena_alloc(&mem, 10001 * sizeof(*many));
    for (size_t i = 0; i < 10001; i++)
        many[i] = m->namespaces[0];
    m->namespaces = many;
    m->n_namespaces = 10000;
    struct policy *p;
    ck_assert_rc(policy_decode(z, &p, NULL), RC_OK);
    ck_assert_uint_eq(p->rule[0].clause[0].match[0].test[0].n, 10000);
    policy_unref(p);
    m->n_namespaces = 10001;
    refused(z, RC_LIMIT, "policy shop/p: namespaces: too many values");
    m->n_namespaces = 10000;
    char *text = arena_alloc(&mem, 2001);
    memset(text, 'x', 2000);
    m->namespaces[0]->exact = text; /* 10,000 times: 20 MB */
    refused(z, RC_LIMIT, "policy shop/p: rules: too large");
}
END_TEST

START_TEST(what_stands_for_the_unknown)
{
    struct policy *p = policy_unknown(STR("shop"), STR("p"), POLICY_NAMESPACE);
    ck_assert(p->unknown && p->deny && !p->dry_run && p->n == 0 && p->scope == POLICY_NAMESPACE);
    ck_assert(str_eqz(p->key, "shop/p") && str_eqz(p->name, "p") && p->digest == 0);
    policy_unref(p);
}
END_TEST

TEST_MAIN_FIXTURE("policy", setup, teardown, conditions_keep_their_values, what_is_refused_is_named,
                  sizes_are_bounded, what_stands_for_the_unknown)
