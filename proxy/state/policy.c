#include "proxy/state/policy.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/must.h"

#define VALUES_MAX \
    10000 /* of one field of a match, and of rules, clauses and matches in one list */
#define POLICY_BYTES ((size_t)16 << 20)

struct policy *policy_ref(struct policy *p)
{
    ref_get(&p->ref);
    return p;
}

void policy_unref(struct policy *p)
{
    if (p && ref_put(&p->ref))
        free(p);
}

/* -- the fields of a match, each a count and an array in the message -- */

enum kind { KIND_TEXT, KIND_IP, KIND_PORT, KIND_SA };

#define FIELD(field, kind, member)                                                           \
    {field,                                                                                  \
     false,                                                                                  \
     kind,                                                                                   \
     #member,                                                                                \
     offsetof(Istio__Security__Match, n_##member),                                           \
     offsetof(Istio__Security__Match, member)},                                              \
    {                                                                                        \
        field, true, kind, "not_" #member, offsetof(Istio__Security__Match, n_not_##member), \
            offsetof(Istio__Security__Match, not_##member)                                   \
    }
static const struct field {
    enum policy_field field;
    bool negate;
    enum kind kind;
    const char *name;
    size_t count_at, array_at;
} fields[] = {
    FIELD(POLICY_NAMESPACES, KIND_TEXT, namespaces),
    FIELD(POLICY_PRINCIPALS, KIND_TEXT, principals),
    FIELD(POLICY_SOURCE_IPS, KIND_IP, source_ips),
    FIELD(POLICY_DESTINATION_IPS, KIND_IP, destination_ips),
    FIELD(POLICY_DESTINATION_PORTS, KIND_PORT, destination_ports),
    FIELD(POLICY_SERVICE_ACCOUNTS, KIND_SA, service_accounts),
};

static size_t field_count(const Istio__Security__Match *m, const struct field *f)
{
    return *(const size_t *)(const void *)((const char *)m + f->count_at);
}

static void *field_array(const Istio__Security__Match *m, const struct field *f)
{
    return *(void *const *)(const void *)((const char *)m + f->array_at);
}

/* One decoding: the first failure sticks. First everything is checked and added up, then copied. */
struct dec {
    const char *ns, *name;
    struct errmsg *msg;
    enum rc rc;
    size_t bytes;
    char *at, *end;
};

static void fail(struct dec *d, enum rc rc, const char *field, const char *why)
{
    if (d->rc != RC_OK)
        return;
    errmsg_set(d->msg, "policy %s/%s: %s: %s", d->ns, d->name, field, why);
    d->rc = rc;
}

/* -- checking -- */

static size_t aligned(size_t n)
{
    return (n + 7) & ~(size_t)7;
}

static bool fits(struct dec *d, const char *field, size_t n)
{
    if (n > VALUES_MAX)
        fail(d, RC_LIMIT, field, "too many values");
    return d->rc == RC_OK;
}

static const char *text_of(const Istio__Security__StringMatch *m)
{
    switch (m->match_type_case) {
    case ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_EXACT:    return m->exact;
    case ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_PREFIX:   return m->prefix;
    case ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_SUFFIX:   return m->suffix;
    case ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_PRESENCE: return "";
    default:                                                 return NULL;
    }
}

static void text_check(struct dec *d, const char *field, const Istio__Security__StringMatch *m)
{
    const char *text = text_of(m);
    if (text)
        d->bytes += sizeof(struct text_match) + aligned(strlen(text));
    else
        fail(d, RC_INVALID, field, "a match without a value");
}

/* An IPv4 range may come as one of IPv4-mapped IPv6; peers' addresses are never in that form here. */
static bool cidr_of(const Istio__Security__Address *a, struct cidr *ret)
{
    struct addr ip;
    unsigned bits = a->length;
    if (addr_from_bytes(a->address.data, a->address.len, &ip) != RC_OK)
        return false;
    if (a->address.len == 16 && ip.family == AF_INET) {
        if (bits < 96)
            return false;
        bits -= 96;
    }
    return cidr_make(&ip, bits, ret) == RC_OK;
}

static void value_check(struct dec *d, const struct field *f, void *array, size_t i)
{
    struct cidr c;
    switch (f->kind) {
    case KIND_TEXT: text_check(d, f->name, ((Istio__Security__StringMatch **)array)[i]); break;
    case KIND_IP:
        d->bytes += sizeof(struct cidr);
        if (!cidr_of(((Istio__Security__Address **)array)[i], &c))
            fail(d, RC_INVALID, f->name, "not an address with a prefix length");
        break;
    case KIND_PORT:
        d->bytes += sizeof(uint16_t);
        if (((uint32_t *)array)[i] > 65535)
            fail(d, RC_INVALID, f->name, "port over 65535");
        break;
    case KIND_SA: {
        const Istio__Security__ServiceAccountMatch *m =
            ((Istio__Security__ServiceAccountMatch **)array)[i];
        d->bytes += sizeof(struct sa_match) + aligned(strlen(m->namespace_)) +
                    aligned(strlen(m->serviceaccount));
        break;
    }
    }
}

static void match_check(struct dec *d, const Istio__Security__Match *m)
{
    if (m->n_extensions)
        fail(d, RC_INVALID, "extensions", "a condition that this version does not know");
    for (size_t k = 0; k < ARRAY_LEN(fields); k++) {
        size_t n = field_count(m, &fields[k]);
        if (n == 0 || !fits(d, fields[k].name, n))
            continue;
        d->bytes += sizeof(struct policy_test) + 8;
        for (size_t i = 0; i < n; i++)
            value_check(d, &fields[k], field_array(m, &fields[k]), i);
    }
}

static void clause_check(struct dec *d, const Istio__Security__Clause *c)
{
    d->bytes += c->n_matches * sizeof(struct policy_match);
    for (size_t i = 0; fits(d, "matches", c->n_matches) && i < c->n_matches; i++)
        match_check(d, c->matches[i]);
}

static void rules_check(struct dec *d, const Istio__Security__Authorization *m)
{
    d->bytes += m->n_rules * sizeof(struct policy_rule);
    for (size_t i = 0; fits(d, "rules", m->n_rules) && i < m->n_rules; i++) {
        const Istio__Security__Rule *r = m->rules[i];
        d->bytes += r->n_clauses * sizeof(struct policy_clause);
        for (size_t k = 0; fits(d, "clauses", r->n_clauses) && k < r->n_clauses; k++)
            clause_check(d, r->clauses[k]);
    }
    if (d->bytes > POLICY_BYTES)
        fail(d, RC_LIMIT, "rules", "too large");
}

/* -- copying -- */

static void *grab(struct dec *d, size_t n)
{
    void *p = d->at;
    MUST(aligned(n) <= (size_t)(d->end - d->at));
    d->at += aligned(n);
    return p;
}

static struct str copy(struct dec *d, const char *s)
{
    size_t n = strlen(s);
    char *p = grab(d, n);
    if (n)
        memcpy(p, s, n);
    return (struct str){p, n};
}

static const struct text_match *texts_copy(struct dec *d, size_t n,
                                           Istio__Security__StringMatch **from)
{
    static const enum text_match_kind kinds[] = {
        [ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_EXACT] = TEXT_EXACT,
        [ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_PREFIX] = TEXT_PREFIX,
        [ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_SUFFIX] = TEXT_SUFFIX,
        [ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_PRESENCE] = TEXT_PRESENCE,
    };
    struct text_match *to = grab(d, n * sizeof(*to));
    for (size_t i = 0; i < n; i++)
        to[i] = (struct text_match){kinds[from[i]->match_type_case], copy(d, text_of(from[i]))};
    return to;
}

static const struct cidr *cidrs_copy(struct dec *d, size_t n, Istio__Security__Address **from)
{
    struct cidr *to = grab(d, n * sizeof(*to));
    for (size_t i = 0; i < n; i++)
        MUST(cidr_of(from[i], &to[i]));
    return to;
}

static const uint16_t *ports_copy(struct dec *d, size_t n, const uint32_t *from)
{
    uint16_t *to = grab(d, n * sizeof(*to));
    for (size_t i = 0; i < n; i++)
        to[i] = (uint16_t)from[i];
    return to;
}

static const struct sa_match *sas_copy(struct dec *d, size_t n,
                                       Istio__Security__ServiceAccountMatch **from)
{
    struct sa_match *to = grab(d, n * sizeof(*to));
    for (size_t i = 0; i < n; i++)
        to[i] = (struct sa_match){copy(d, from[i]->namespace_), copy(d, from[i]->serviceaccount)};
    return to;
}

static void match_copy(struct dec *d, const Istio__Security__Match *m, struct policy_match *to)
{
    size_t used = 0;
    for (size_t k = 0; k < ARRAY_LEN(fields); k++)
        used += field_count(m, &fields[k]) != 0;
    struct policy_test *t = grab(d, used * sizeof(*t));
    *to = (struct policy_match){used, t};
    for (size_t k = 0; k < ARRAY_LEN(fields); k++) {
        const struct field *f = &fields[k];
        size_t n = field_count(m, f);
        void *array = field_array(m, f);
        if (n == 0)
            continue;
        t->field = (uint8_t)f->field;
        t->negate = f->negate;
        t->n = (uint16_t)n;
        switch (f->kind) {
        case KIND_TEXT: t->text = texts_copy(d, n, array); break;
        case KIND_IP:   t->cidr = cidrs_copy(d, n, array); break;
        case KIND_PORT: t->port = ports_copy(d, n, array); break;
        case KIND_SA:   t->sa = sas_copy(d, n, array); break;
        }
        t++;
    }
}

static const struct policy_rule *rules_copy(struct dec *d, const Istio__Security__Authorization *m)
{
    struct policy_rule *rule = grab(d, m->n_rules * sizeof(*rule));
    for (size_t i = 0; i < m->n_rules; i++) {
        const Istio__Security__Rule *r = m->rules[i];
        struct policy_clause *clause = grab(d, r->n_clauses * sizeof(*clause));
        rule[i] = (struct policy_rule){r->n_clauses, clause};
        for (size_t k = 0; k < r->n_clauses; k++) {
            const Istio__Security__Clause *c = r->clauses[k];
            struct policy_match *match = grab(d, c->n_matches * sizeof(*match));
            clause[k] = (struct policy_clause){c->n_matches, match};
            for (size_t j = 0; j < c->n_matches; j++)
                match_copy(d, c->matches[j], &match[j]);
        }
    }
    return rule;
}

static bool scope_of(Istio__Security__Scope scope, enum policy_scope *ret)
{
    switch (scope) {
    case ISTIO__SECURITY__SCOPE__GLOBAL:            *ret = POLICY_GLOBAL; return true;
    case ISTIO__SECURITY__SCOPE__NAMESPACE:         *ret = POLICY_NAMESPACE; return true;
    case ISTIO__SECURITY__SCOPE__WORKLOAD_SELECTOR: *ret = POLICY_WORKLOAD; return true;
    default:                                        return false;
    }
}

static struct policy *policy_new(struct str ns, struct str name, size_t more, char **ret_more)
{
    size_t key = ns.n + 1 + name.n;
    struct policy *p = mem_zalloc(sizeof(*p) + aligned(key) + more);
    ref_init(&p->ref);
    char *at = (char *)(p + 1);
    if (ns.n)
        memcpy(at, ns.p, ns.n);
    at[ns.n] = '/';
    if (name.n)
        memcpy(at + ns.n + 1, name.p, name.n);
    p->key = (struct str){at, key};
    p->ns = (struct str){at, ns.n};
    p->name = (struct str){at + ns.n + 1, name.n};
    *ret_more = at + aligned(key);
    return p;
}

enum rc policy_decode(const Istio__Security__Authorization *m, struct policy **ret,
                      struct errmsg *ret_msg)
{
    struct dec d = {.ns = m->namespace_, .name = m->name, .msg = ret_msg};
    enum policy_scope scope;
    if (m->name[0] == '\0')
        fail(&d, RC_INVALID, "name", "missing");
    if (!scope_of(m->scope, &scope))
        fail(&d, RC_INVALID, "scope", "unknown value");
    if (m->action != ISTIO__SECURITY__ACTION__DENY && m->action != ISTIO__SECURITY__ACTION__ALLOW)
        fail(&d, RC_INVALID, "action", "unknown value");
    if (m->n_extensions)
        fail(&d, RC_INVALID, "extensions", "not known to this version");
    rules_check(&d, m);
    if (d.rc != RC_OK)
        return d.rc;
    struct policy *p = policy_new(str_of(m->namespace_), str_of(m->name), d.bytes, &d.at);
    d.end = d.at + d.bytes;
    p->scope = scope;
    p->deny = m->action == ISTIO__SECURITY__ACTION__DENY;
    p->dry_run = m->dry_run;
    p->n = m->n_rules;
    p->rule = rules_copy(&d, m);
    *ret = p;
    return RC_OK;
}

struct policy *policy_unknown(struct str ns, struct str name, enum policy_scope scope)
{
    char *end;
    struct policy *p = policy_new(ns, name, 0, &end);
    p->scope = scope;
    p->deny = true;
    p->unknown = true;
    return p;
}
