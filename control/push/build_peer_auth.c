/* PeerAuthentication → a policy that refuses peers without a certificate where mTLS is required.
 *
 * The mode in force for a workload is its own, else its namespace's, else the mesh's, else PERMISSIVE;
 * a port may differ from it. STRICT everywhere is the one static policy; anything in between is a policy
 * derived from the workload's own PeerAuthentication. (Istio derives it by two separate readings of the
 * same objects, which differ in two corners and then leave a workload open; here it is one.) */
#include "control/push/build_priv.h"

static bool is_strict(const struct model_mtls *t)
{
    const struct kpeer_auth *levels[] = {t->workload, t->ns, t->mesh};
    for (size_t i = 0; i < ARRAY_LEN(levels); i++)
        if (levels[i] && levels[i]->mode != KMTLS_UNSET)
            return levels[i]->mode == KMTLS_STRICT;
    return false;
}

/* Does this port differ from the mode of the workload? */
static bool differs(const struct kport_mtls *p, bool strict)
{
    return p->mode != KMTLS_UNSET && (p->mode == KMTLS_STRICT) != strict;
}

static size_t count_different(const struct kpeer_auth *p, bool strict)
{
    size_t n = 0;
    for (uint32_t i = 0; i < p->ports.n; i++)
        n += differs(&p->ports.v[i], strict);
    return n;
}

struct peer_keys build_peer_keys(const struct model_mtls *t)
{
    bool strict = is_strict(t);
    bool derived = t->workload && count_different(t->workload, strict) > 0;
    return (struct peer_keys){.strict = strict && !derived, .derived = derived};
}

static Istio__Security__Match *match_port(struct arena *a, Istio__Security__Match *m, uint16_t port,
                                          bool not )
{
    uint32_t *v = BUILD_ARRAY(a, uint32_t, 1);
    v[0] = port;
    if (not ) {
        m->n_not_destination_ports = 1;
        m->not_destination_ports = v;
    } else {
        m->n_destination_ports = 1;
        m->destination_ports = v;
    }
    return m;
}

static Istio__Security__Rule *new_rule(struct arena *a, size_t clauses)
{
    Istio__Security__Rule *r = BUILD_NEW(a, Istio__Security__Rule, istio__security__rule__init);
    r->clauses = BUILD_ARRAY(a, Istio__Security__Clause *, clauses);
    return r;
}

/* STRICT but for some ports: no certificate, and none of those ports. One rule of several clauses. The
 * place of the first clause is Istio's. */
static void strict_but(struct arena *a, const struct kpeer_auth *p,
                       Istio__Security__Authorization *z)
{
    Istio__Security__Rule *r = new_rule(a, p->ports.n + 1);
    if (p->mode == KMTLS_STRICT)
        r->clauses[r->n_clauses++] = build_clause(a, build_anonymous(a));
    for (uint32_t i = 0; i < p->ports.n; i++) {
        if (!differs(&p->ports.v[i], true))
            continue;
        Istio__Security__Match *m =
            BUILD_NEW(a, Istio__Security__Match, istio__security__match__init);
        r->clauses[r->n_clauses++] = build_clause(a, match_port(a, m, p->ports.v[i].port, true));
    }
    if (p->mode != KMTLS_STRICT)
        r->clauses[r->n_clauses++] = build_clause(a, build_anonymous(a));
    z->rules = BUILD_ARRAY(a, Istio__Security__Rule *, 1);
    z->rules[z->n_rules++] = r;
}

/* Open but for some ports: a rule for each of them. */
static void strict_only(struct arena *a, const struct kpeer_auth *p,
                        Istio__Security__Authorization *z)
{
    z->rules = BUILD_ARRAY(a, Istio__Security__Rule *, p->ports.n);
    for (uint32_t i = 0; i < p->ports.n; i++) {
        if (!differs(&p->ports.v[i], false))
            continue;
        Istio__Security__Rule *r = new_rule(a, 1);
        Istio__Security__Match *m = match_port(a, build_anonymous(a), p->ports.v[i].port, false);
        r->clauses[r->n_clauses++] = build_clause(a, m);
        z->rules[z->n_rules++] = r;
    }
}

static bool selects(const struct kpeer_auth *p)
{
    return p->selector && p->selector->labels.n;
}

static void describe(const struct model *m, const struct kpeer_auth *p, struct condition *ret)
{
    bool root = str_eq(p->obj.meta.ns, model_root_ns(m));
    struct model_mtls t = model_mtls(m, p->obj.meta.ns, NULL);
    const struct kpeer_auth *winner = root ? t.mesh : t.ns;
    *ret = (struct condition){"ZtunnelAccepted", true, "Accepted", ""};
    if (root && selects(p)) {
        ret->status = false;
        ret->reason = "UnsupportedValue";
        condition_say(ret, "Has no effect: a selector counts only outside the root namespace.");
    } else if (!selects(p) && winner != p) {
        ret->status = false;
        ret->reason = "Conflicted";
        condition_say(ret, "Has no effect: %s/%s is older.", winner->obj.meta.ns.p,
                      winner->obj.meta.name.p);
    }
    bool disable = p->mode == KMTLS_DISABLE;
    for (uint32_t i = 0; i < p->ports.n; i++)
        disable = disable || p->ports.v[i].mode == KMTLS_DISABLE;
    if (disable)
        condition_say(ret, "DISABLE is the same as PERMISSIVE: mTLS is still offered.");
}

struct resource *build_peer_auth(const struct model *m, const struct mobject *policy,
                                 struct condition *ret)
{
    const struct kpeer_auth *p = kobj_peer_auth(policy->obj);
    struct str ns = p->obj.meta.ns;
    describe(m, p, ret);
    if (str_eq(ns, model_root_ns(m)) || !selects(p))
        return NULL;
    struct model_mtls t = model_mtls(m, ns, NULL);
    t.workload = p;
    if (!build_peer_keys(&t).derived)
        return NULL;
    struct arena a AUTO_ARENA;
    arena_init(&a, BUILD_ARENA_MAX);
    Istio__Security__Authorization *z =
        BUILD_NEW(&a, Istio__Security__Authorization, istio__security__authorization__init);
    z->name = build_printf(&a, "converted_peer_authentication_%s", p->obj.meta.name.p);
    z->namespace_ = build_text(ns);
    z->scope = ISTIO__SECURITY__SCOPE__WORKLOAD_SELECTOR;
    z->action = ISTIO__SECURITY__ACTION__DENY;
    if (is_strict(&t))
        strict_but(&a, p, z);
    else
        strict_only(&a, p, z);
    return build_authorization(z);
}

struct resource *build_static_strict(const struct model *m)
{
    struct arena a AUTO_ARENA;
    arena_init(&a, BUILD_ARENA_MAX);
    Istio__Security__Authorization *z =
        BUILD_NEW(&a, Istio__Security__Authorization, istio__security__authorization__init);
    char name[] = "istio_converted_static_strict";
    z->name = name;
    z->namespace_ = build_text(model_root_ns(m));
    z->scope = ISTIO__SECURITY__SCOPE__WORKLOAD_SELECTOR;
    z->action = ISTIO__SECURITY__ACTION__DENY;
    z->rules = BUILD_ARRAY(&a, Istio__Security__Rule *, 1);
    z->rules[z->n_rules++] = new_rule(&a, 1);
    z->rules[0]->clauses[z->rules[0]->n_clauses++] = build_clause(&a, build_anonymous(&a));
    return build_authorization(z);
}
