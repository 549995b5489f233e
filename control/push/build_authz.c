/* AuthorizationPolicy → Authorization, as far as layer 4 goes, and never less strict than was meant:
 * an ALLOW rule with a part that can't be decided at layer 4 is left out; of a DENY rule that part is
 * taken as true, so the rule denies more; CUSTOM, which nobody here can ask, denies what it matches. */
#include "control/push/build_priv.h"

typedef Istio__Security__StringMatch StringMatch;
typedef Istio__Security__Match Match;

struct ctx {
    struct arena *a;
    struct str ns; /* of the policy */
    bool deny;
    struct strbuf lost; /* "methods, paths": what can't be decided */
};

static void lose(struct ctx *c, const char *what)
{
    struct str rest = strbuf_str(&c->lost);
    while (rest.n) /* each once */
        if (str_eqz(str_trim(str_split(rest, ',', &rest)), what))
            return;
    if (c->lost.n)
        strbuf_addz(&c->lost, ", ");
    strbuf_addz(&c->lost, what);
}

/* -- values -- */

static StringMatch *pattern(struct arena *a, struct str s)
{
    if (str_eqz(s, "*"))
        return build_presence(a);
    StringMatch *m = BUILD_NEW(a, StringMatch, istio__security__string_match__init);
    if (s.p[0] == '*') {
        m->match_type_case = ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_SUFFIX;
        m->suffix = build_printf(a, "%s", s.p + 1);
    } else if (s.p[s.n - 1] == '*') {
        m->match_type_case = ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_PREFIX;
        m->prefix = build_printf(a, "%.*s", (int)s.n - 1, s.p);
    } else {
        m->match_type_case = ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_EXACT;
        m->exact = build_text(s);
    }
    return m;
}

/* A trust domain is the start of a principal; "*.org" has no such form. */
static bool trust_domain_fits(struct str s)
{
    return s.p[0] != '*' || s.n == 1;
}

static StringMatch *trust_domain(struct arena *a, struct str s)
{
    if (str_eqz(s, "*"))
        return build_presence(a);
    bool open = s.p[s.n - 1] == '*';
    StringMatch *m = BUILD_NEW(a, StringMatch, istio__security__string_match__init);
    m->match_type_case = ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_PREFIX;
    m->prefix = open ? build_printf(a, "%.*s", (int)s.n - 1, s.p) : build_printf(a, "%s/", s.p);
    return m;
}

static void add_patterns(struct arena *a, const struct kstrs *v, StringMatch ***ret, size_t *ret_n,
                         StringMatch *(*make)(struct arena *a, struct str s))
{
    StringMatch **old = *ret;
    if (v->n == 0)
        return;
    *ret = BUILD_ARRAY(a, StringMatch *, *ret_n + v->n);
    for (size_t i = 0; i < *ret_n; i++)
        (*ret)[i] = old[i];
    for (uint32_t i = 0; i < v->n; i++)
        (*ret)[(*ret_n)++] = make(a, v->v[i]);
}

static void add_cidrs(struct arena *a, const struct cidr *v, size_t n,
                      Istio__Security__Address ***ret, size_t *ret_n)
{
    if (n == 0)
        return;
    *ret = BUILD_ARRAY(a, Istio__Security__Address *, n);
    for (size_t i = 0; i < n; i++) {
        Istio__Security__Address *m =
            BUILD_NEW(a, Istio__Security__Address, istio__security__address__init);
        m->address = build_addr(&v[i].base);
        m->length = v[i].bits;
        (*ret)[(*ret_n)++] = m;
    }
}

static void add_ports(struct arena *a, const uint16_t *v, size_t n, uint32_t **ret, size_t *ret_n)
{
    if (n == 0)
        return;
    *ret = BUILD_ARRAY(a, uint32_t, n);
    for (size_t i = 0; i < n; i++)
        (*ret)[(*ret_n)++] = v[i];
}

static void add_accounts(struct ctx *c, const struct kstrs *v,
                         Istio__Security__ServiceAccountMatch ***ret, size_t *ret_n)
{
    if (v->n == 0)
        return;
    *ret = BUILD_ARRAY(c->a, Istio__Security__ServiceAccountMatch *, v->n);
    for (uint32_t i = 0; i < v->n; i++) {
        Istio__Security__ServiceAccountMatch *m =
            BUILD_NEW(c->a, Istio__Security__ServiceAccountMatch,
                      istio__security__service_account_match__init);
        struct str name, ns = str_split(v->v[i], '/', &name);
        bool full = str_find(v->v[i], '/') >= 0;
        m->namespace_ = build_printf(c->a, "%.*s", STR_ARG(full ? ns : c->ns));
        m->serviceaccount = build_text(full ? name : v->v[i]);
        (*ret)[(*ret_n)++] = m;
    }
}

/* -- the parts of a rule. Each returns false when (part of) it can't be decided at layer 4 -- */

static bool all_fit(const struct kstrs *v)
{
    for (uint32_t i = 0; i < v->n; i++)
        if (!trust_domain_fits(v->v[i]))
            return false;
    return true;
}

/* The values of a field are ORed: a trust domain can be said by a principal only where no other
 * principal is asked for. Its negation always can. */
static bool add_trust_domains(struct ctx *c, const struct kstrs *yes, const struct kstrs *no,
                              Match *m)
{
    bool whole = true;
    if (yes->n && (m->n_principals || !all_fit(yes))) {
        lose(c, "trustDomains");
        whole = false;
    } else {
        add_patterns(c->a, yes, &m->principals, &m->n_principals, trust_domain);
    }
    if (no->n && !all_fit(no)) {
        lose(c, "notTrustDomains");
        return false;
    }
    add_patterns(c->a, no, &m->not_principals, &m->n_not_principals, trust_domain);
    return whole;
}

static bool lost_if(struct ctx *c, uint32_t n, const char *what)
{
    if (n)
        lose(c, what);
    return n > 0;
}

static bool add_source(struct ctx *c, const struct kauthz_source *s, Match *m)
{
    struct arena *a = c->a;
    add_patterns(a, &s->principals, &m->principals, &m->n_principals, pattern);
    add_patterns(a, &s->not_principals, &m->not_principals, &m->n_not_principals, pattern);
    add_patterns(a, &s->namespaces, &m->namespaces, &m->n_namespaces, pattern);
    add_patterns(a, &s->not_namespaces, &m->not_namespaces, &m->n_not_namespaces, pattern);
    add_cidrs(a, s->ip_blocks.v, s->ip_blocks.n, &m->source_ips, &m->n_source_ips);
    add_cidrs(a, s->not_ip_blocks.v, s->not_ip_blocks.n, &m->not_source_ips, &m->n_not_source_ips);
    add_accounts(c, &s->service_accounts, &m->service_accounts, &m->n_service_accounts);
    add_accounts(c, &s->not_service_accounts, &m->not_service_accounts, &m->n_not_service_accounts);
    bool lost = !add_trust_domains(c, &s->trust_domains, &s->not_trust_domains, m);
    lost |= lost_if(c, s->request_principals.n, "requestPrincipals");
    lost |= lost_if(c, s->not_request_principals.n, "notRequestPrincipals");
    lost |= lost_if(c, s->remote_ip_blocks.n, "remoteIpBlocks");
    lost |= lost_if(c, s->not_remote_ip_blocks.n, "notRemoteIpBlocks");
    return !lost;
}

static bool add_operation(struct ctx *c, const struct kauthz_operation *o, Match *m)
{
    add_ports(c->a, o->ports.v, o->ports.n, &m->destination_ports, &m->n_destination_ports);
    add_ports(c->a, o->not_ports.v, o->not_ports.n, &m->not_destination_ports,
              &m->n_not_destination_ports);
    bool lost = lost_if(c, o->hosts.n, "hosts");
    lost |= lost_if(c, o->not_hosts.n, "notHosts");
    lost |= lost_if(c, o->methods.n, "methods");
    lost |= lost_if(c, o->not_methods.n, "notMethods");
    lost |= lost_if(c, o->paths.n, "paths");
    lost |= lost_if(c, o->not_paths.n, "notPaths");
    return !lost;
}

static struct cidr *to_cidrs(struct arena *a, const struct kstrs *v)
{
    struct cidr *r = BUILD_ARRAY(a, struct cidr, v->n);
    for (uint32_t i = 0; i < v->n; i++)
        MUST(cidr_parse(v->v[i], &r[i]) == RC_OK); /* checked when decoded */
    return r;
}

static uint16_t *to_ports(struct arena *a, const struct kstrs *v)
{
    uint16_t *r = BUILD_ARRAY(a, uint16_t, v->n);
    for (uint32_t i = 0; i < v->n; i++) {
        uint64_t port;
        MUST(str_to_u64(v->v[i], 65535, &port));
        r[i] = (uint16_t)port;
    }
    return r;
}

static bool add_condition(struct ctx *c, const struct kauthz_condition *w, Match *m)
{
    struct arena *a = c->a;
    const struct kstrs *yes = &w->values, *no = &w->not_values;
    if (str_eqz(w->key, "source.namespace")) {
        add_patterns(a, yes, &m->namespaces, &m->n_namespaces, pattern);
        add_patterns(a, no, &m->not_namespaces, &m->n_not_namespaces, pattern);
    } else if (str_eqz(w->key, "source.principal")) {
        add_patterns(a, yes, &m->principals, &m->n_principals, pattern);
        add_patterns(a, no, &m->not_principals, &m->n_not_principals, pattern);
    } else if (str_eqz(w->key, "source.serviceAccount")) {
        add_accounts(c, yes, &m->service_accounts, &m->n_service_accounts);
        add_accounts(c, no, &m->not_service_accounts, &m->n_not_service_accounts);
    } else if (str_eqz(w->key, "source.trustDomain")) {
        return add_trust_domains(c, yes, no, m);
    } else if (str_eqz(w->key, "source.ip")) {
        add_cidrs(a, to_cidrs(a, yes), yes->n, &m->source_ips, &m->n_source_ips);
        add_cidrs(a, to_cidrs(a, no), no->n, &m->not_source_ips, &m->n_not_source_ips);
    } else if (str_eqz(w->key, "destination.ip")) {
        add_cidrs(a, to_cidrs(a, yes), yes->n, &m->destination_ips, &m->n_destination_ips);
        add_cidrs(a, to_cidrs(a, no), no->n, &m->not_destination_ips, &m->n_not_destination_ips);
    } else if (str_eqz(w->key, "destination.port")) {
        add_ports(a, to_ports(a, yes), yes->n, &m->destination_ports, &m->n_destination_ports);
        add_ports(a, to_ports(a, no), no->n, &m->not_destination_ports,
                  &m->n_not_destination_ports);
    } else {
        lose(c, w->key.p);
        return false;
    }
    return true;
}

/* -- rules -- */

struct rule {
    Istio__Security__Rule *msg;
    Istio__Security__Clause *clause; /* being filled */
    bool open;                       /* a match of it has become true for everybody */
    bool lost;                       /* some part of the rule can't be decided */
};

static bool is_empty(const Match *m)
{
    return protobuf_c_message_get_packed_size(&m->base) == 0;
}

static void begin_clause(struct ctx *c, struct rule *r, size_t matches)
{
    r->clause = BUILD_NEW(c->a, Istio__Security__Clause, istio__security__clause__init);
    r->clause->matches = BUILD_ARRAY(c->a, Match *, matches);
    r->open = false;
}

static void add_match(struct rule *r, Match *m, bool whole)
{
    r->lost |= !whole;
    r->open |= is_empty(m);
    r->clause->matches[r->clause->n_matches++] = m;
}

/* A match without content never matches at ztunnel; here it would stand for "everybody", and so does a
 * clause that contains one: it is left out. */
static void end_clause(struct rule *r)
{
    if (!r->open)
        r->msg->clauses[r->msg->n_clauses++] = r->clause;
}

static Match *new_match(struct ctx *c)
{
    return BUILD_NEW(c->a, Match, istio__security__match__init);
}

/* NULL: an ALLOW rule that can't be decided. */
static Istio__Security__Rule *convert_rule(struct ctx *c, const struct kauthz_rule *k)
{
    struct rule r = {.msg = BUILD_NEW(c->a, Istio__Security__Rule, istio__security__rule__init)};
    r.msg->clauses = BUILD_ARRAY(c->a, Istio__Security__Clause *, 2 + k->when.n);
    if (k->to.n) {
        begin_clause(c, &r, k->to.n);
        for (uint32_t i = 0; i < k->to.n; i++) {
            Match *m = new_match(c);
            bool whole = add_operation(c, &k->to.v[i].operation, m);
            add_match(&r, m, whole);
        }
        end_clause(&r);
    }
    if (k->from.n) {
        begin_clause(c, &r, k->from.n);
        for (uint32_t i = 0; i < k->from.n; i++) {
            Match *m = new_match(c);
            bool whole = add_source(c, &k->from.v[i].source, m);
            add_match(&r, m, whole);
        }
        end_clause(&r);
    }
    for (uint32_t i = 0; i < k->when.n; i++) {
        Match *m = new_match(c);
        begin_clause(c, &r, 1);
        bool whole = add_condition(c, &k->when.v[i], m);
        add_match(&r, m, whole);
        end_clause(&r);
    }
    return r.lost && !c->deny ? NULL : r.msg;
}

/* -- the policy -- */

static void not_at_node(const struct kauthz *p, struct condition *ret)
{
    *ret = (struct condition){"ZtunnelAccepted", false, "UnsupportedValue", ""};
    if (p->targets.n) {
        ret->type = "WaypointAccepted";
        ret->reason = "AncestorNotBound";
        condition_say(ret, "Not enforced: it is for a waypoint, and none is served yet.");
    } else if (p->action == KAUTHZ_AUDIT) {
        condition_say(ret, "Has no effect: nothing audits.");
    } else {
        condition_say(ret, "Not enforced: the annotation istio.io/dry-run asks for that.");
    }
}

static void describe(const struct ctx *c, const struct kauthz *p,
                     const Istio__Security__Authorization *z, struct condition *ret)
{
    *ret = (struct condition){"ZtunnelAccepted", true, "Accepted", ""};
    if (p->action == KAUTHZ_CUSTOM) {
        ret->reason = "UnsupportedValue";
        condition_say(ret, "No external authorizer is asked: what the rules match is denied.");
    }
    if (p->selector && p->selector->labels.n == 0)
        condition_say(ret, "The selector has no labels: it stands for every workload.");
    if (c->lost.n == 0)
        return;
    ret->reason = "UnsupportedValue";
    condition_say(ret, "Can't be decided at layer 4: %.200s.", strbuf_str(&c->lost).p);
    if (c->deny)
        condition_say(ret, "The rules deny without regard to that, so they deny more than asked.");
    else if (z->n_rules)
        condition_say(ret, "The rules with that are left out, so less is allowed than asked.");
    else
        condition_say(ret, "The rules with that are left out, and none is left: nothing is "
                           "allowed.");
}

static Istio__Security__Scope scope_of(const struct model *m, const struct kauthz *p)
{
    if (p->selector && p->selector->labels.n)
        return ISTIO__SECURITY__SCOPE__WORKLOAD_SELECTOR;
    return str_eq(p->obj.meta.ns, model_root_ns(m)) ? ISTIO__SECURITY__SCOPE__GLOBAL
                                                    : ISTIO__SECURITY__SCOPE__NAMESPACE;
}

struct resource *build_authz(const struct model *m, const struct mobject *policy,
                             struct condition *ret)
{
    const struct kauthz *p = kobj_authz(policy->obj);
    if (!model_authz_at_node(p)) {
        not_at_node(p, ret);
        return NULL;
    }
    struct arena a AUTO_ARENA;
    arena_init(&a, BUILD_ARENA_MAX);
    struct ctx c = {.a = &a, .ns = p->obj.meta.ns, .deny = p->action != KAUTHZ_ALLOW};
    strbuf_init(&c.lost, 400);
    Istio__Security__Authorization *z =
        BUILD_NEW(&a, Istio__Security__Authorization, istio__security__authorization__init);
    z->name = build_text(p->obj.meta.name);
    z->namespace_ = build_text(p->obj.meta.ns);
    z->scope = scope_of(m, p);
    z->action = c.deny ? ISTIO__SECURITY__ACTION__DENY : ISTIO__SECURITY__ACTION__ALLOW;
    z->rules = BUILD_ARRAY(&a, Istio__Security__Rule *, p->rules.n);
    for (uint32_t i = 0; i < p->rules.n; i++) {
        Istio__Security__Rule *r = convert_rule(&c, &p->rules.v[i]);
        if (r)
            z->rules[z->n_rules++] = r;
    }
    describe(&c, p, z, ret);
    strbuf_fini(&c.lost);
    return build_authorization(z);
}
