/* Policies as text, for tests: rules separated by ';', their clauses by '&', their matches by '|', the
 * conditions of a match by ','. A condition is FIELD=VALUE or FIELD!=VALUE; FIELD is ns, principal,
 * src, dst, port or sa; VALUE of the texts is x, x*, *x or * (presence). "~" stands for a list without
 * elements: a rule without clauses, a clause without matches, a match without conditions ("~~~"). */
#pragma once

#include "lib/base/arena.h"
#include "lib/codec/pb.h"
#include "lib/net/addr.h"
#include "lib/proto/authorization.pb-c.h"

static void *grow_(struct arena *a, void *list, size_t n, void *add)
{
    void **to = arena_alloc(a, (n + 1) * sizeof(void *));
    if (n)
        memcpy(to, list, n * sizeof(void *));
    to[n] = add;
    return to;
}

#define POLICY_ADD(a, m, field, value) \
    ((m)->field = grow_(a, (void *)(m)->field, (m)->n_##field, value), (m)->n_##field++)

static Istio__Security__StringMatch *policy_text_string(struct arena *a, struct str v)
{
    Istio__Security__StringMatch *s = arena_new(a, Istio__Security__StringMatch);
    static Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;
    istio__security__string_match__init(s);
    if (str_eqz(v, "*")) {
        s->match_type_case = ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_PRESENCE;
        s->presence = &empty;
    } else if (v.n && v.p[0] == '*') {
        s->match_type_case = ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_SUFFIX;
        s->suffix = arena_strndup(a, v.p + 1, v.n - 1);
    } else if (v.n && v.p[v.n - 1] == '*') {
        s->match_type_case = ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_PREFIX;
        s->prefix = arena_strndup(a, v.p, v.n - 1);
    } else {
        s->match_type_case = ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_EXACT;
        s->exact = arena_strndup(a, v.p, v.n);
    }
    return s;
}

static Istio__Security__Address *policy_text_ip(struct arena *a, struct str v)
{
    Istio__Security__Address *x = arena_new(a, Istio__Security__Address);
    struct cidr c = {0};
    istio__security__address__init(x);
    (void)!cidr_parse(v, &c);
    x->address.len = addr_len(&c.base);
    x->address.data = (void *)arena_strndup(a, (char *)c.base.ip, x->address.len);
    x->length = c.bits;
    return x;
}

static Istio__Security__ServiceAccountMatch *policy_text_sa(struct arena *a, struct str v)
{
    Istio__Security__ServiceAccountMatch *s = arena_new(a, Istio__Security__ServiceAccountMatch);
    istio__security__service_account_match__init(s);
    struct str sa, ns = str_split(v, '/', &sa);
    s->namespace_ = arena_strndup(a, ns.p, ns.n);
    s->serviceaccount = arena_strndup(a, sa.p, sa.n);
    return s;
}

static uint32_t *policy_text_port(struct arena *a, const uint32_t *old, size_t n, struct str v)
{
    uint64_t port = 0;
    (void)!str_to_u64(v, UINT32_MAX, &port);
    uint32_t *to = arena_alloc(a, (n + 1) * sizeof(*to));
    if (n)
        memcpy(to, old, n * sizeof(*to));
    to[n] = (uint32_t)port;
    return to;
}

static void policy_text_condition(struct arena *a, struct str s, Istio__Security__Match *m)
{
    struct str v, field = str_split(s, '=', &v);
    bool no = field.n && field.p[field.n - 1] == '!';
    field.n -= no;
#define CONDITION(word, member, value)             \
    if (str_eqz(field, word)) {                    \
        if (no)                                    \
            POLICY_ADD(a, m, not_##member, value); \
        else                                       \
            POLICY_ADD(a, m, member, value);       \
    }
    CONDITION("ns", namespaces, policy_text_string(a, v))
    CONDITION("principal", principals, policy_text_string(a, v))
    CONDITION("src", source_ips, policy_text_ip(a, v))
    CONDITION("dst", destination_ips, policy_text_ip(a, v))
    CONDITION("sa", service_accounts, policy_text_sa(a, v))
#undef CONDITION
    if (!str_eqz(field, "port"))
        return;
    if (no)
        m->not_destination_ports =
            policy_text_port(a, m->not_destination_ports, m->n_not_destination_ports++, v);
    else
        m->destination_ports =
            policy_text_port(a, m->destination_ports, m->n_destination_ports++, v);
}

static bool policy_text_take(struct str *rest, char sep, struct str *ret)
{
    if (rest->n == 0)
        return false;
    *ret = str_split(*rest, sep, rest);
    return true;
}

static void policy_text_clause(struct arena *a, struct str text, Istio__Security__Rule *r)
{
    Istio__Security__Clause *c = arena_new(a, Istio__Security__Clause);
    struct str ms, cond;
    istio__security__clause__init(c);
    POLICY_ADD(a, r, clauses, c);
    if (str_eqz(text, "~~"))
        return;
    while (policy_text_take(&text, '|', &ms)) {
        Istio__Security__Match *m = arena_new(a, Istio__Security__Match);
        istio__security__match__init(m);
        POLICY_ADD(a, c, matches, m);
        while (!str_eqz(ms, "~~~") && policy_text_take(&ms, ',', &cond))
            policy_text_condition(a, cond, m);
    }
}

/* name "shop/deny"; the rest of the message is the caller's. */
static Istio__Security__Authorization *policy_text(struct arena *a, const char *name,
                                                   const char *rules)
{
    Istio__Security__Authorization *z = arena_new(a, Istio__Security__Authorization);
    struct str rest = str_of(rules), rule, clause, own, ns = str_split(str_of(name), '/', &own);
    istio__security__authorization__init(z);
    z->namespace_ = arena_strndup(a, ns.p, ns.n);
    z->name = arena_strndup(a, own.p, own.n);
    while (policy_text_take(&rest, ';', &rule)) {
        Istio__Security__Rule *r = arena_new(a, Istio__Security__Rule);
        istio__security__rule__init(r);
        POLICY_ADD(a, z, rules, r);
        while (!str_eqz(rule, "~") && policy_text_take(&rule, '&', &clause))
            policy_text_clause(a, clause, r);
    }
    return z;
}
