/* Tables of Istio's security policies, and what must be right before one may come in force. */
#include "lib/kobj/policy.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/kobj/ktable.h"

/* -- values of lists -- */

/* "*", "*x", "x*" or "x": a star elsewhere would match nothing, which a DENY must never do unseen. */
static const char *check_pattern(struct str s)
{
    struct str inner = s;
    if (s.n == 0)
        return "must not be empty";
    if (inner.p[0] == '*')
        inner = (struct str){inner.p + 1, inner.n - 1};
    else if (inner.p[inner.n - 1] == '*')
        inner.n--;
    return str_find(inner, '*') < 0 ? NULL : "may have one '*', at its start or its end";
}

static const char *check_principal(struct str s)
{
    if (str_starts(s, STR("spiffe://")))
        return "must be TRUST_DOMAIN/ns/NAMESPACE/sa/ACCOUNT, without spiffe://";
    return check_pattern(s);
}

static const char *check_service_account(struct str s)
{
    struct str name = s;
    if (str_find(s, '/') >= 0) {
        struct str ns = str_split(s, '/', &name);
        if (kcheck_label(ns))
            return "must be NAME or NAMESPACE/NAME, without patterns";
    }
    return kcheck_subdomain(name) ? "must be NAME or NAMESPACE/NAME, without patterns" : NULL;
}

static const struct kfield pattern_item = {.form = KF_STRING, .check = check_pattern};
static const struct kfield principal_item = {.form = KF_STRING, .check = check_principal};
static const struct kfield account_item = {.form = KF_STRING, .check = check_service_account};
static const struct kfield string_item = {.form = KF_STRING, .check = kcheck_not_empty};
static const struct kfield cidr_item = {.form = KF_CIDR};
static const struct kfield port_item = {.form = KF_PORT_TEXT};

/* -- selector and targets -- */

static const struct kfield selector_fields[] = {
    {.name = "matchLabels", .form = KF_MAP, AT(kselector, labels), .map = &klabels_rule}, END};
const struct ktype kselector_type = {.size = sizeof(struct kselector), .fields = selector_fields};

static const struct kfield target_fields[] = {
    {.name = "group", .form = KF_STRING, AT(ktarget_ref, group), .max = 253},
    {.name = "kind", .form = KF_STRING, .flags = KFL_REQUIRED, AT(ktarget_ref, kind), .max = 63},
    {.name = "name",
     .form = KF_STRING,
     .flags = KFL_REQUIRED,
     AT(ktarget_ref, name),
     .max = 253,
     .check = kcheck_not_empty},
    {.name = "namespace", .form = KF_STRING, AT(ktarget_ref, ns), .max = 63},
    END};

static bool check_target(void *obj, struct kwhy *why)
{
    static const char *const known[][2] = {{"", "Service"},
                                           {"networking.istio.io", "ServiceEntry"},
                                           {"gateway.networking.k8s.io", "Gateway"},
                                           {"gateway.networking.k8s.io", "GatewayClass"}};
    const struct ktarget_ref *t = obj;
    if (t->ns.n)
        return kwhy_set(why, "namespace", "must not be set: a policy can't reach into another one");
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if ((str_eqz(t->group, known[i][0]) || (i == 0 && str_eqz(t->group, "core"))) &&
            str_eqz(t->kind, known[i][1]))
            return true;
    return kwhy_set(why, "kind",
                    "must be Service, ServiceEntry, Gateway or GatewayClass of its group");
}

static const struct ktype target_type = {
    .size = sizeof(struct ktarget_ref), .fields = target_fields, .check = check_target};
const struct kfield ktarget_item = {.form = KF_STRUCT, .type = &target_type};

/* -- AuthorizationPolicy -- */

#define STRINGS(json, type, member, item) \
    {.name = (json), .form = KF_LIST, AT(type, member), .of = &(item)}

static const struct kfield source_fields[] = {
    STRINGS("principals", kauthz_source, principals, principal_item),
    STRINGS("notPrincipals", kauthz_source, not_principals, principal_item),
    STRINGS("requestPrincipals", kauthz_source, request_principals, pattern_item),
    STRINGS("notRequestPrincipals", kauthz_source, not_request_principals, pattern_item),
    STRINGS("namespaces", kauthz_source, namespaces, pattern_item),
    STRINGS("notNamespaces", kauthz_source, not_namespaces, pattern_item),
    STRINGS("ipBlocks", kauthz_source, ip_blocks, cidr_item),
    STRINGS("notIpBlocks", kauthz_source, not_ip_blocks, cidr_item),
    STRINGS("remoteIpBlocks", kauthz_source, remote_ip_blocks, cidr_item),
    STRINGS("notRemoteIpBlocks", kauthz_source, not_remote_ip_blocks, cidr_item),
    STRINGS("serviceAccounts", kauthz_source, service_accounts, account_item),
    STRINGS("notServiceAccounts", kauthz_source, not_service_accounts, account_item),
    STRINGS("trustDomains", kauthz_source, trust_domains, pattern_item),
    STRINGS("notTrustDomains", kauthz_source, not_trust_domains, pattern_item),
    END};

/* For structs that are nothing but lists. */
static bool all_empty(const struct kfield *fields, const void *obj)
{
    for (const struct kfield *f = fields; f->name; f++)
        if (((const struct klist *)(const void *)((const char *)obj + f->offset))->n)
            return false;
    return true;
}

static bool check_source(void *obj, struct kwhy *why)
{
    return !all_empty(source_fields, obj) || kwhy_set(why, "", "must have at least one field");
}

static const struct ktype source_type = {
    .size = sizeof(struct kauthz_source), .fields = source_fields, .check = check_source};
static const struct kfield from_fields[] = {{.name = "source",
                                             .form = KF_STRUCT,
                                             .flags = KFL_REQUIRED,
                                             AT(kauthz_from, source),
                                             .type = &source_type},
                                            END};
static const struct ktype from_type = {.size = sizeof(struct kauthz_from), .fields = from_fields};
static const struct kfield from_item = {.form = KF_STRUCT, .type = &from_type};

static const struct kfield operation_fields[] = {
    STRINGS("hosts", kauthz_operation, hosts, pattern_item),
    STRINGS("notHosts", kauthz_operation, not_hosts, pattern_item),
    STRINGS("ports", kauthz_operation, ports, port_item),
    STRINGS("notPorts", kauthz_operation, not_ports, port_item),
    STRINGS("methods", kauthz_operation, methods, pattern_item),
    STRINGS("notMethods", kauthz_operation, not_methods, pattern_item),
    STRINGS("paths", kauthz_operation, paths, string_item),
    STRINGS("notPaths", kauthz_operation, not_paths, string_item),
    END};

static bool check_operation(void *obj, struct kwhy *why)
{
    return !all_empty(operation_fields, obj) || kwhy_set(why, "", "must have at least one field");
}

static const struct ktype operation_type = {
    .size = sizeof(struct kauthz_operation), .fields = operation_fields, .check = check_operation};
static const struct kfield to_fields[] = {{.name = "operation",
                                           .form = KF_STRUCT,
                                           .flags = KFL_REQUIRED,
                                           AT(kauthz_to, operation),
                                           .type = &operation_type},
                                          END};
static const struct ktype to_type = {.size = sizeof(struct kauthz_to), .fields = to_fields};
static const struct kfield to_item = {.form = KF_STRUCT, .type = &to_type};

static const struct kfield when_fields[] = {
    {.name = "key", .form = KF_STRING, .flags = KFL_REQUIRED, AT(kauthz_condition, key)},
    STRINGS("values", kauthz_condition, values, string_item),
    STRINGS("notValues", kauthz_condition, not_values, string_item),
    END};

static const char *check_range(struct str s)
{
    struct cidr c;
    return cidr_parse(s, &c) == RC_OK ? NULL : "is not an IP address or CIDR";
}

static const char *check_port(struct str s)
{
    uint64_t v;
    return str_to_u64(s, 65535, &v) ? NULL : "is not a port, 0 to 65535";
}

static const struct {
    const char *key;
    kcheck_fn *check;
    bool prefix; /* KEY[NAME] */
} when_keys[] = {
    {"source.ip", check_range, false},
    {"remote.ip", check_range, false},
    {"source.namespace", check_pattern, false},
    {"source.principal", check_principal, false},
    {"source.serviceAccount", check_service_account, false},
    {"source.trustDomain", check_pattern, false},
    {"destination.ip", check_range, false},
    {"destination.port", check_port, false},
    {"connection.sni", NULL, false},
    {"request.auth.principal", NULL, false},
    {"request.auth.audiences", NULL, false},
    {"request.auth.presenter", NULL, false},
    {"request.auth.claims", NULL, true},
    {"request.headers", NULL, true},
    {"experimental.envoy.filters.", NULL, true},
};

static bool key_is(size_t i, struct str key)
{
    if (!when_keys[i].prefix)
        return str_eqz(key, when_keys[i].key);
    ptrdiff_t open = str_find(key, '[');
    return str_starts(key, str_of(when_keys[i].key)) && open > 0 && (size_t)open + 2 < key.n &&
           key.p[key.n - 1] == ']';
}

static bool check_values(const char *field, const struct kstrs *v, kcheck_fn *check,
                         struct kwhy *why)
{
    for (uint32_t i = 0; check && i < v->n; i++) {
        const char *reason = check(v->v[i]);
        if (!reason)
            continue;
        char name[40];
        snprintf(name, sizeof(name), "%s[%u]", field, i);
        return kwhy_set(why, name, "\"%.40s\" %s", v->v[i].p, reason);
    }
    return true;
}

static bool check_when(void *obj, struct kwhy *why)
{
    const struct kauthz_condition *c = obj;
    if (c->values.n == 0 && c->not_values.n == 0)
        return kwhy_set(why, "", "must have values or notValues");
    for (size_t i = 0; i < ARRAY_LEN(when_keys); i++)
        if (key_is(i, c->key))
            return check_values("values", &c->values, when_keys[i].check, why) &&
                   check_values("notValues", &c->not_values, when_keys[i].check, why);
    return kwhy_set(why, "key", "\"%.60s\" is not known", c->key.p);
}

static const struct ktype when_type = {
    .size = sizeof(struct kauthz_condition), .fields = when_fields, .check = check_when};
static const struct kfield when_item = {.form = KF_STRUCT, .type = &when_type};

static const struct kfield rule_fields[] = {
    {.name = "from", .form = KF_LIST, .flags = KFL_FILLED, AT(kauthz_rule, from), .of = &from_item},
    {.name = "to", .form = KF_LIST, .flags = KFL_FILLED, AT(kauthz_rule, to), .of = &to_item},
    {.name = "when", .form = KF_LIST, AT(kauthz_rule, when), .of = &when_item},
    END};
static const struct ktype rule_type = {.size = sizeof(struct kauthz_rule), .fields = rule_fields};
static const struct kfield rule_item = {.form = KF_STRUCT, .type = &rule_type};

static const struct kfield provider_fields[] = {{.name = "name",
                                                 .form = KF_STRING,
                                                 .flags = KFL_REQUIRED,
                                                 AT(kauthz, provider),
                                                 .check = kcheck_not_empty},
                                                END};
static const struct ktype provider_type = {.fields = provider_fields};

static const char *const actions[] = {"ALLOW", "DENY", "AUDIT", "CUSTOM", NULL};
static const struct kfield authz_spec_fields[] = {
    {.name = "selector", .form = KF_OPTION, AT(kauthz, selector), .type = &kselector_type},
    {.name = "targetRef", .form = KF_ONE, AT(kauthz, target), .of = &ktarget_item},
    {.name = "targetRefs", .form = KF_LIST, AT(kauthz, targets), .max = 16, .of = &ktarget_item},
    {.name = "action", .form = KF_ENUM, AT(kauthz, action), .words = actions},
    {.name = "rules", .form = KF_LIST, AT(kauthz, rules), .max = 512, .of = &rule_item},
    {.name = "provider", .form = KF_STRUCT, .type = &provider_type},
    END};
static const struct ktype authz_spec_type = {.fields = authz_spec_fields};

static bool check_authz(void *obj, struct kwhy *why)
{
    struct kauthz *p = obj;
    if (p->target.n && p->targets.n)
        return kwhy_set(why, "spec.targetRef", "and targetRefs can't both be set");
    if (p->target.n) {
        p->targets.n = p->target.n;
        p->targets.v = p->target.v;
        p->target.n = 0;
    }
    if (p->selector && p->targets.n)
        return kwhy_set(why, "spec.selector", "and targetRefs can't both be set");
    if (p->action == KAUTHZ_DENY && p->rules.n == 0)
        return kwhy_set(
            why, "spec.rules",
            "is required: DENY without rules denies nothing; an empty rule {} denies all");
    if (p->action == KAUTHZ_CUSTOM && p->rules.n == 0)
        return kwhy_set(why, "spec.rules", "is required: CUSTOM without rules asks for nothing");
    if (p->action == KAUTHZ_CUSTOM && p->provider.n == 0)
        return kwhy_set(why, "spec.provider", "is required with CUSTOM");
    if (p->action != KAUTHZ_CUSTOM && p->provider.n)
        return kwhy_set(why, "spec.provider", "goes with action CUSTOM only");
    return true;
}

/* Whatever else stands at the top is a misspelt spec. */
static const struct kfield authz_fields[] = {
    KMETA_FIELD,
    {.name = "apiVersion", .form = KF_SKIP},
    {.name = "kind", .form = KF_SKIP},
    {.name = "status", .form = KF_SKIP},
    {.name = "spec", .form = KF_STRUCT, .type = &authz_spec_type},
    END};
const struct ktype kauthz_type = {
    .size = sizeof(struct kauthz), .fields = authz_fields, .strict = true, .check = check_authz};

/* -- PeerAuthentication -- */

static const char *const modes[] = {"UNSET", "DISABLE", "PERMISSIVE", "STRICT", NULL};
static const struct kfield port_mtls_fields[] = {
    {.name = "mode", .form = KF_ENUM, AT(kport_mtls, mode), .words = modes}, END};

static bool check_port_mtls(void *obj, struct kwhy *why)
{
    struct kport_mtls *p = obj;
    uint64_t v;
    if (!str_to_u64(p->key, 65535, &v) || p->key.p[0] == '0')
        return kwhy_set(why, "", "\"%.20s\" is not a port, 1 to 65535", p->key.p);
    p->port = (uint16_t)v;
    return true;
}

static const struct ktype port_mtls_type = {
    .size = sizeof(struct kport_mtls), .fields = port_mtls_fields, .check = check_port_mtls};

static const struct kfield mtls_fields[] = {
    {.name = "mode", .form = KF_ENUM, AT(kpeer_auth, mode), .words = modes}, END};
static const struct ktype mtls_type = {.fields = mtls_fields};
static const struct kfield peer_auth_spec_fields[] = {
    {.name = "selector", .form = KF_OPTION, AT(kpeer_auth, selector), .type = &kselector_type},
    {.name = "mtls", .form = KF_STRUCT, .type = &mtls_type},
    {.name = "portLevelMtls",
     .form = KF_DICT,
     AT(kpeer_auth, ports),
     .max = 1024,
     .type = &port_mtls_type},
    END};
static const struct ktype peer_auth_spec_type = {.fields = peer_auth_spec_fields};

static int port_cmp(const void *a, const void *b)
{
    return ((const struct kport_mtls *)a)->port - ((const struct kport_mtls *)b)->port;
}

static bool check_peer_auth(void *obj, struct kwhy *why)
{
    struct kpeer_auth *p = obj;
    if (p->ports.n && (!p->selector || p->selector->labels.n == 0))
        return kwhy_set(why, "spec.portLevelMtls", "needs a selector with labels");
    if (p->ports.n)
        qsort((void *)(uintptr_t)p->ports.v, p->ports.n, sizeof(*p->ports.v), port_cmp);
    return true;
}

static const struct kfield peer_auth_fields[] = {
    KMETA_FIELD,
    {.name = "apiVersion", .form = KF_SKIP},
    {.name = "kind", .form = KF_SKIP},
    {.name = "status", .form = KF_SKIP},
    {.name = "spec", .form = KF_STRUCT, .type = &peer_auth_spec_type},
    END};
const struct ktype kpeer_auth_type = {.size = sizeof(struct kpeer_auth),
                                      .fields = peer_auth_fields,
                                      .strict = true,
                                      .check = check_peer_auth};
