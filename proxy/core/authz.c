#include "proxy/core/authz.h"

#include <string.h>

#include "lib/base/mem.h"

/* The connection as policies see it. */
struct subject {
    bool known;               /* the peer is authenticated */
    struct str ns, principal; /* "" when not */
    struct str sa;
    const struct addr *src, *dst;
};

static bool text_fits(const struct text_match *t, struct str s)
{
    switch (t->kind) {
    case TEXT_EXACT:    return str_eq(t->text, s);
    case TEXT_PREFIX:   return str_starts(s, t->text);
    case TEXT_SUFFIX:   return str_ends(s, t->text);
    case TEXT_PRESENCE: return s.n > 0;
    }
    return false;
}

static bool value_fits(const struct policy_test *t, size_t i, const struct subject *s)
{
    switch ((enum policy_field)t->field) {
    case POLICY_NAMESPACES:        return text_fits(&t->text[i], s->ns);
    case POLICY_PRINCIPALS:        return s->known && text_fits(&t->text[i], s->principal);
    case POLICY_SOURCE_IPS:        return cidr_has(&t->cidr[i], s->src);
    case POLICY_DESTINATION_IPS:   return cidr_has(&t->cidr[i], s->dst);
    case POLICY_DESTINATION_PORTS: return t->port[i] == s->dst->port;
    case POLICY_SERVICE_ACCOUNTS:
        return s->known && str_eq(t->sa[i].ns, s->ns) && str_eq(t->sa[i].sa, s->sa);
    }
    return false;
}

static bool test_holds(const struct policy_test *t, const struct subject *s)
{
    for (size_t i = 0; i < t->n; i++)
        if (value_fits(t, i, s))
            return !t->negate;
    return t->negate;
}

static bool match_holds(const struct policy_match *m, const struct subject *s)
{
    for (size_t i = 0; i < m->n; i++)
        if (!test_holds(&m->test[i], s))
            return false;
    return m->n > 0; /* a match without a condition is none */
}

static bool clause_holds(const struct policy_clause *c, const struct subject *s)
{
    for (size_t i = 0; i < c->n; i++)
        if (match_holds(&c->match[i], s))
            return true;
    return c->n == 0;
}

static bool rule_holds(const struct policy_rule *r, const struct subject *s)
{
    for (size_t i = 0; i < r->n; i++)
        if (!clause_holds(&r->clause[i], s))
            return false;
    return true;
}

/* Index of the first rule that holds, or -1. */
static int policy_holds(const struct policy *p, const struct subject *s)
{
    for (size_t i = 0; i < p->n; i++)
        if (rule_holds(&p->rule[i], s))
            return (int)i;
    return -1;
}

/* -- all policies that apply -- */

struct check {
    struct subject subject;
    struct authz_result *result;
    const struct policy *allow; /* the one that matched, or else the first one */
    int allow_rule;             /* -1: none matched */
};

static void name_key(char to[AUTHZ_KEY_MAX], struct str key)
{
    size_t n = MIN(key.n, (size_t)AUTHZ_KEY_MAX - 1);
    memcpy(to, key.p, n);
    to[n] = '\0';
}

static enum rc decide(struct check *c, enum rc rc, struct str key, int rule, const char *why)
{
    name_key(c->result->policy, key);
    c->result->rule = rule;
    c->result->why = why;
    return rc;
}

/* RC_DENIED ends it. */
static enum rc consider(struct check *c, const struct policy *p)
{
    if (p->unknown)
        return decide(c, RC_DENIED, p->key, -1, "policy holds something not understood");
    int rule = policy_holds(p, &c->subject);
    if (p->deny && p->dry_run) {
        if (rule >= 0 && c->result->dry_run[0] == '\0')
            name_key(c->result->dry_run, p->key);
    } else if (p->deny) {
        if (rule >= 0)
            return decide(c, RC_DENIED, p->key, rule, "explicitly denied");
    } else if (!p->dry_run && (!c->allow || (rule >= 0 && c->allow_rule < 0))) {
        c->allow = p;
        c->allow_rule = rule;
    }
    return RC_OK;
}

static enum rc consider_scope(struct check *c, const struct proxy_state *st, struct str ns)
{
    uint32_t pos = 0;
    const struct policy *p;
    while ((p = state_scope_policy(st, ns, &pos)))
        if (consider(c, p) != RC_OK)
            return RC_DENIED;
    return RC_OK;
}

enum rc authz_check(const struct proxy_state *st, const struct workload *dst,
                    const struct authz_conn *conn, struct authz_result *ret)
{
    struct check c = {
        .subject = {.known = conn->peer, .src = &conn->src, .dst = &conn->dst},
        .result = ret,
        .allow_rule = -1,
    };
    if (conn->peer) {
        c.subject.ns = conn->peer->ns;
        c.subject.sa = conn->peer->sa;
        c.subject.principal = conn->peer->principal;
    }
    ret->dry_run[0] = '\0';
    struct str missing = {0};
    if (consider_scope(&c, st, workload_text(dst, WL_NS)) != RC_OK ||
        consider_scope(&c, st, STR("")) != RC_OK)
        return RC_DENIED;
    for (size_t i = 0; i < dst->t->n_policies; i++) {
        const struct atom *key = workload_policies(dst)[i];
        const struct policy *p = state_policy_of(st, key);
        if (!p)
            missing = atom_str(key);
        else if (consider(&c, p) != RC_OK)
            return RC_DENIED;
    }
    if (missing.n)
        return decide(&c, RC_NO_POLICY, missing, -1, "policy has not been received");
    if (!c.allow)
        return decide(&c, RC_OK, STR(""), -1, "no ALLOW policy applies");
    if (c.allow_rule < 0)
        return decide(&c, RC_DENIED, c.allow->key, -1, "no ALLOW policy matches");
    return decide(&c, RC_OK, c.allow->key, c.allow_rule, "an ALLOW policy matches");
}
