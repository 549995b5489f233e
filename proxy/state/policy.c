#include "proxy/state/policy.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "proxy/state/decode.h"

#define VALUES_MAX   10000 /* of one field of a match; a policy's bytes are bounded by its message */
#define POLICY_BYTES (32u << 20)

struct policy *policy_ref(struct policy *p)
{
    ref_get(&p->ref);
    return p;
}

void policy_unref(struct policy *p)
{
    if (!p || !ref_put(&p->ref))
        return;
    arena_fini(&p->arena);
    free(p);
}

/* State of one decoding: the first failure sticks. */
struct dec {
    struct policy *p;
    const char *name;
    struct errmsg *msg;
    enum rc rc;
};

static void bad(struct dec *d, const char *field, const char *why)
{
    if (d->rc == RC_OK)
        d->rc = decode_fail(d->msg, "policy", d->name, field, why);
}

static void *grab(struct dec *d, const char *field, size_t n, size_t size)
{
    void *p = n <= VALUES_MAX ? arena_alloc(&d->p->arena, MAX(n, (size_t)1) * size) : NULL;
    if (!p)
        bad(d, field, "too many values");
    return d->rc == RC_OK ? p : NULL;
}

static struct str copy(struct dec *d, const char *s)
{
    size_t n = strlen(s);
    char *q = arena_strndup(&d->p->arena, s, n);
    if (!q)
        bad(d, "text", "too long");
    return (struct str){q ? q : "", q ? n : 0};
}

static struct text_match *texts(struct dec *d, const char *field, size_t n,
                                Istio__Security__StringMatch **from, uint16_t *ret_n)
{
    struct text_match *t = grab(d, field, n, sizeof(*t));
    for (size_t i = 0; t && i < n; i++) {
        const Istio__Security__StringMatch *m = from[i];
        switch (m->match_type_case) {
        case ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_EXACT:
            t[i] = (struct text_match){TEXT_EXACT, copy(d, m->exact)};
            break;
        case ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_PREFIX:
            t[i] = (struct text_match){TEXT_PREFIX, copy(d, m->prefix)};
            break;
        case ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_SUFFIX:
            t[i] = (struct text_match){TEXT_SUFFIX, copy(d, m->suffix)};
            break;
        case ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_PRESENCE:
            t[i] = (struct text_match){TEXT_PRESENCE, {"", 0}};
            break;
        default: bad(d, field, "a match without a value"); break;
        }
    }
    *ret_n = (uint16_t)n;
    return t;
}

static struct cidr *cidrs(struct dec *d, const char *field, size_t n,
                          Istio__Security__Address **from, uint16_t *ret_n)
{
    struct cidr *c = grab(d, field, n, sizeof(*c));
    for (size_t i = 0; c && i < n; i++) {
        struct addr a;
        if (addr_from_bytes(from[i]->address.data, from[i]->address.len, &a) != RC_OK ||
            cidr_make(&a, from[i]->length, &c[i]) != RC_OK)
            bad(d, field, "not an address with a prefix length");
    }
    *ret_n = (uint16_t)n;
    return c;
}

static uint16_t *ports(struct dec *d, const char *field, size_t n, const uint32_t *from,
                       uint16_t *ret_n)
{
    uint16_t *p = grab(d, field, n, sizeof(*p));
    for (size_t i = 0; p && i < n; i++) {
        if (from[i] > 65535)
            bad(d, field, "port over 65535");
        p[i] = (uint16_t)from[i];
    }
    *ret_n = (uint16_t)n;
    return p;
}

static struct sa_match *sas(struct dec *d, const char *field, size_t n,
                            Istio__Security__ServiceAccountMatch **from, uint16_t *ret_n)
{
    struct sa_match *s = grab(d, field, n, sizeof(*s));
    for (size_t i = 0; s && i < n; i++)
        s[i] = (struct sa_match){copy(d, from[i]->namespace_), copy(d, from[i]->serviceaccount)};
    *ret_n = (uint16_t)n;
    return s;
}

static void match_decode(struct dec *d, const Istio__Security__Match *m, struct policy_match *r)
{
#define FIELD(fn, field, to) r->to = fn(d, #field, m->n_##field, m->field, &r->n_##to)
    FIELD(texts, namespaces, namespaces);
    FIELD(texts, not_namespaces, not_namespaces);
    FIELD(texts, principals, principals);
    FIELD(texts, not_principals, not_principals);
    FIELD(cidrs, source_ips, source_ips);
    FIELD(cidrs, not_source_ips, not_source_ips);
    FIELD(cidrs, destination_ips, destination_ips);
    FIELD(cidrs, not_destination_ips, not_destination_ips);
    FIELD(ports, destination_ports, ports);
    FIELD(ports, not_destination_ports, not_ports);
    FIELD(sas, service_accounts, sas);
    FIELD(sas, not_service_accounts, not_sas);
#undef FIELD
    if (m->n_extensions)
        bad(d, "extensions", "not understood");
}

static void rules_decode(struct dec *d, const Istio__Security__Authorization *m)
{
    struct policy *p = d->p;
    p->n = m->n_rules;
    p->rule = grab(d, "rules", p->n, sizeof(*p->rule));
    for (size_t i = 0; p->rule && i < p->n; i++) {
        const Istio__Security__Rule *from = m->rules[i];
        struct policy_rule *r = &p->rule[i];
        r->n = from->n_clauses;
        r->clause = grab(d, "rules.clauses", r->n, sizeof(*r->clause));
        for (size_t k = 0; r->clause && k < r->n; k++) {
            struct policy_clause *c = &r->clause[k];
            c->n = from->clauses[k]->n_matches;
            c->match = grab(d, "rules.clauses.matches", c->n, sizeof(*c->match));
            for (size_t j = 0; c->match && j < c->n; j++)
                match_decode(d, from->clauses[k]->matches[j], &c->match[j]);
        }
    }
}

enum rc policy_decode(const Istio__Security__Authorization *m, struct policy **ret,
                      struct errmsg *ret_msg)
{
    struct policy *p = mem_new(struct policy);
    ref_init(&p->ref);
    arena_init(&p->arena, POLICY_BYTES);
    struct dec d = {.p = p, .name = m->name, .msg = ret_msg};
    char *key = mem_printf("%s/%s", m->namespace_, m->name);
    p->key = copy(&d, key);
    free(key);
    p->ns = copy(&d, m->namespace_);
    p->name = copy(&d, m->name);
    p->deny = m->action == ISTIO__SECURITY__ACTION__DENY;
    p->dry_run = m->dry_run;
    if (m->action > ISTIO__SECURITY__ACTION__DENY)
        bad(&d, "action", "unknown value");
    switch (m->scope) {
    case ISTIO__SECURITY__SCOPE__GLOBAL:            p->scope = POLICY_GLOBAL; break;
    case ISTIO__SECURITY__SCOPE__NAMESPACE:         p->scope = POLICY_NAMESPACE; break;
    case ISTIO__SECURITY__SCOPE__WORKLOAD_SELECTOR: p->scope = POLICY_WORKLOAD; break;
    default:                                        bad(&d, "scope", "unknown value"); break;
    }
    if (m->n_extensions)
        bad(&d, "extensions", "not understood");
    rules_decode(&d, m);
    if (d.rc != RC_OK) {
        policy_unref(p);
        return d.rc;
    }
    *ret = p;
    return RC_OK;
}
