/* Tables of routes. What a rule says is understood whole or not at all: a match or filter that is dropped would send
 * requests where they must not go. */
#include "lib/kobj/route.h"

#include <ctype.h>

#include "lib/kobj/ktable.h"

#define RULES_MAX   64 /* the CRDs say 16 (HTTP, GRPC) and 1 or 16 */
#define MATCHES_MAX 128

/* -- matches -- */

static const char *const match_types[] = {"Exact", "RegularExpression", NULL};
static const struct kfield value_match_fields[] = {
    {.name = "type", .form = KF_ENUM, AT(kvalue_match, type), .words = match_types},
    {.name = "name",
     .form = KF_STRING,
     .flags = KFL_REQUIRED,
     AT(kvalue_match, name),
     .max = 256,
     .check = kcheck_header_name},
    {.name = "value",
     .form = KF_STRING,
     .flags = KFL_REQUIRED,
     AT(kvalue_match, value),
     .max = 4096},
    END};
static const struct ktype value_match_type = {.size = sizeof(struct kvalue_match),
                                              .fields = value_match_fields};
static const struct kfield value_match_item = {.form = KF_STRUCT, .type = &value_match_type};

static const char *const path_types[] = {"PathPrefix", "Exact", "RegularExpression", NULL};
static const struct kfield path_fields[] = {
    {.name = "type", .form = KF_ENUM, AT(kroute_match, path_type), .words = path_types},
    {.name = "value", .form = KF_STRING, AT(kroute_match, path), .text = "/"},
    END};
static const struct ktype path_type = {.fields = path_fields};
static const char *const methods[] = {"",        "GET",     "HEAD",  "POST",  "PUT", "DELETE",
                                      "CONNECT", "OPTIONS", "TRACE", "PATCH", NULL};
static const struct kfield http_match_fields[] = {
    {.name = "path", .form = KF_STRUCT, .type = &path_type},
    {.name = "headers",
     .form = KF_LIST,
     AT(kroute_match, headers),
     .max = 64,
     .of = &value_match_item},
    {.name = "queryParams",
     .form = KF_LIST,
     AT(kroute_match, params),
     .max = 64,
     .of = &value_match_item},
    {.name = "method", .form = KF_ENUM, AT(kroute_match, method), .words = methods},
    END};

/* The names are the keys of these lists; of headers, whatever their case. */
static bool unique(const char *field, const struct kvalue_match *v, uint32_t n, bool fold,
                   struct kwhy *why)
{
    for (uint32_t i = 1; i < n; i++)
        for (uint32_t k = 0; k < i; k++)
            if (fold ? str_ieq(v[i].name, v[k].name) : str_eq(v[i].name, v[k].name))
                return kwhy_set(why, field, "has \"%.*s\" twice", (int)MIN(v[i].name.n, 64u),
                                v[i].name.p);
    return true;
}

/* RFC 3986 3.3: what a path consists of. */
static bool is_path(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     (c && strchr("-/._~!$&'()*+,;=:@", c));
        bool coded = c == '%' && i + 2 < s.n && isxdigit((unsigned char)s.p[i + 1]) &&
                     isxdigit((unsigned char)s.p[i + 2]);
        if (!plain && !coded)
            return false;
    }
    return true;
}

static bool has(struct str s, const char *part)
{
    return memmem(s.p, s.n, part, strlen(part)) != NULL;
}

/* As the CRD's rules have it: a path that no request can have, normalised, would match nothing. */
static bool check_http_match(void *obj, struct kwhy *why)
{
    const struct kroute_match *m = obj;
    static const char *const parts[] = {"//", "/./", "/../", "%2f", "%2F", "#"};
    if (!unique("headers", m->headers.v, m->headers.n, true, why) ||
        !unique("queryParams", m->params.v, m->params.n, false, why))
        return false;
    if (m->path_type == KPATH_REGEX)
        return true;
    if (m->path.n == 0 || m->path.p[0] != '/')
        return kwhy_set(why, "path.value", "must begin with '/'");
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (has(m->path, parts[i]))
            return kwhy_set(why, "path.value", "must not contain '%s'", parts[i]);
    if (str_ends(m->path, STR("/..")) || str_ends(m->path, STR("/.")))
        return kwhy_set(why, "path.value", "must not end with '/..' or '/.'");
    if (!is_path(m->path))
        return kwhy_set(why, "path.value", "has a character that a path can't have");
    return true;
}

static const struct ktype http_match_type = {
    .size = sizeof(struct kroute_match), .fields = http_match_fields, .check = check_http_match};
static const struct kfield http_match_item = {.form = KF_STRUCT, .type = &http_match_type};

static const struct kfield grpc_method_fields[] = {
    {.name = "type", .form = KF_ENUM, AT(kgrpc_method, type), .words = match_types},
    {.name = "service", .form = KF_STRING, AT(kgrpc_method, service)},
    {.name = "method", .form = KF_STRING, AT(kgrpc_method, method)},
    END};

static bool check_grpc_method(void *obj, struct kwhy *why)
{
    const struct kgrpc_method *m = obj;
    return m->service.n || m->method.n || kwhy_set(why, "", "must have a service or a method");
}

static const struct ktype grpc_method_type = {
    .size = sizeof(struct kgrpc_method), .fields = grpc_method_fields, .check = check_grpc_method};
static const struct kfield grpc_match_fields[] = {
    {.name = "method", .form = KF_OPTION, AT(kroute_match, grpc), .type = &grpc_method_type},
    {.name = "headers",
     .form = KF_LIST,
     AT(kroute_match, headers),
     .max = 64,
     .of = &value_match_item},
    END};
static const struct ktype grpc_match_type = {.size = sizeof(struct kroute_match),
                                             .fields = grpc_match_fields};
static const struct kfield grpc_match_item = {.form = KF_STRUCT, .type = &grpc_match_type};

/* -- backends -- */

#define BACKEND                                                                               \
    {.name = "group",                                                                         \
     .form = KF_STRING,                                                                       \
     AT(kbackend_ref, ref.group),                                                             \
     .max = 253,                                                                              \
     .check = kcheck_group},                                                                  \
        {.name = "kind",                                                                      \
         .form = KF_STRING,                                                                   \
         AT(kbackend_ref, ref.kind),                                                          \
         .max = 63,                                                                           \
         .text = "Service",                                                                   \
         .check = kcheck_kind},                                                               \
        {.name = "namespace", .form = KF_STRING, AT(kbackend_ref, ref.ns), .max = 63},        \
        {.name = "name",                                                                      \
         .form = KF_STRING,                                                                   \
         .flags = KFL_REQUIRED,                                                               \
         AT(kbackend_ref, ref.name),                                                          \
         .max = 253,                                                                          \
         .check = kcheck_not_empty},                                                          \
        {.name = "port", .form = KF_PORT, AT(kbackend_ref, ref.port)},                        \
    {                                                                                         \
        .name = "weight", .form = KF_INT, AT(kbackend_ref, weight), .high = 1000000, .def = 1 \
    }
#define FILTERS(owner, item) \
    {.name = "filters", .form = KF_LIST, AT(owner, filters), .max = 32, .of = &(item)}

static bool check_backend(void *obj, struct kwhy *why)
{
    const struct kbackend_ref *b = obj;
    if (b->ref.group.n == 0 && str_eqz(b->ref.kind, "Service") && b->ref.port == 0)
        return kwhy_set(why, "port", "is required for a Service");
    return kfilters_check(b->filters.v, b->filters.n, why);
}

static const struct kfield http_backend_fields[] = {BACKEND,
                                                    FILTERS(kbackend_ref, khttp_filter_item), END};
static const struct kfield grpc_backend_fields[] = {BACKEND,
                                                    FILTERS(kbackend_ref, kgrpc_filter_item), END};
static const struct kfield l4_backend_fields[] = {BACKEND, END};
static const struct ktype http_backend_type = {
    .size = sizeof(struct kbackend_ref), .fields = http_backend_fields, .check = check_backend};
static const struct ktype grpc_backend_type = {
    .size = sizeof(struct kbackend_ref), .fields = grpc_backend_fields, .check = check_backend};
static const struct ktype l4_backend_type = {
    .size = sizeof(struct kbackend_ref), .fields = l4_backend_fields, .check = check_backend};
static const struct kfield http_backend_item = {.form = KF_STRUCT, .type = &http_backend_type};
static const struct kfield grpc_backend_item = {.form = KF_STRUCT, .type = &grpc_backend_type};
static const struct kfield l4_backend_item = {.form = KF_STRUCT, .type = &l4_backend_type};

/* -- timeouts, retries, sessions -- */

#define GEP_DURATION(json, owner, at) \
    {.name = (json), .form = KF_DURATION, AT(owner, at), .check = kcheck_gep_duration}

static const struct kfield timeout_fields[] = {
    GEP_DURATION("request", kroute_rule, timeout_ms),
    GEP_DURATION("backendRequest", kroute_rule, backend_timeout_ms), END};
static const struct ktype timeout_type = {.fields = timeout_fields};

static const struct kfield code_item = {.form = KF_INT, .low = 400, .high = 599};
static const struct kfield retry_fields[] = {
    {.name = "attempts", .form = KF_INT, AT(kroute_retry, attempts)},
    GEP_DURATION("backoff", kroute_retry, backoff_ms),
    {.name = "codes", .form = KF_LIST, AT(kroute_retry, codes), .max = 200, .of = &code_item},
    END};
static const struct ktype retry_type = {.size = sizeof(struct kroute_retry),
                                        .fields = retry_fields};

static const char *const session_types[] = {"Cookie", "Header", NULL};
static const char *const lifetimes[] = {"Session", "Permanent", NULL};
static const struct kfield cookie_fields[] = {
    {.name = "lifetimeType", .form = KF_ENUM, AT(ksession, permanent), .words = lifetimes}, END};
static const struct ktype cookie_type = {.fields = cookie_fields};
static const struct kfield session_fields[] = {
    {.name = "sessionName", .form = KF_STRING, AT(ksession, name), .max = 128},
    {.name = "type", .form = KF_ENUM, AT(ksession, type), .words = session_types},
    GEP_DURATION("absoluteTimeout", ksession, absolute_ms),
    GEP_DURATION("idleTimeout", ksession, idle_ms), /* until v1.4 */
    {.name = "cookieConfig", .form = KF_STRUCT, .type = &cookie_type},
    END};

static bool check_session(void *obj, struct kwhy *why)
{
    const struct ksession *s = obj;
    return !s->permanent || s->absolute_ms >= 0 ||
           kwhy_set(why, "absoluteTimeout", "is required with a permanent cookie");
}

static const struct ktype session_type = {
    .size = sizeof(struct ksession), .fields = session_fields, .check = check_session};

/* -- rules -- */

#define RULE_LIST(json, member, item, most) \
    {.name = (json), .form = KF_LIST, AT(kroute_rule, member), .max = (most), .of = &(item)}
#define RULE_NAME {.name = "name", .form = KF_STRING, AT(kroute_rule, name), .max = 253}
#define SESSION                    \
    {.name = "sessionPersistence", \
     .form = KF_OPTION,            \
     AT(kroute_rule, session),     \
     .type = &session_type}

static bool prefix_replaced_without_one(const struct kroute_rule *r)
{
    bool replaces = false, only = r->matches.n == 1 && r->matches.v[0].path_type == KPATH_PREFIX;
    for (uint32_t i = 0; i < r->filters.n; i++) {
        const struct kroute_filter *f = &r->filters.v[i];
        const struct kpath_modifier *p = f->redirect  ? f->redirect->path
                                         : f->rewrite ? f->rewrite->path
                                                      : NULL;
        replaces = replaces || (p && p->type == KPATH_REPLACE_PREFIX);
    }
    return replaces && r->matches.n && !only;
}

static bool check_rule(void *obj, struct kwhy *why)
{
    const struct kroute_rule *r = obj;
    if (!kfilters_check(r->filters.v, r->filters.n, why))
        return false;
    if (prefix_replaced_without_one(r))
        return kwhy_set(why, "filters",
                        "ReplacePrefixMatch needs exactly one match, of type PathPrefix");
    for (uint32_t i = 0; i < r->filters.n; i++)
        if (r->filters.v[i].type == KFILTER_REDIRECT && r->backends.n)
            return kwhy_set(why, "backendRefs", "must be empty beside RequestRedirect");
    if (r->timeout_ms > 0 && r->backend_timeout_ms > r->timeout_ms)
        return kwhy_set(why, "timeouts.backendRequest", "must be no longer than request");
    return true;
}

static const struct kfield http_rule_fields[] = {
    RULE_NAME,
    RULE_LIST("matches", matches, http_match_item, MATCHES_MAX),
    FILTERS(kroute_rule, khttp_filter_item),
    RULE_LIST("backendRefs", backends, http_backend_item, 64),
    {.name = "timeouts", .form = KF_STRUCT, .type = &timeout_type},
    {.name = "retry", .form = KF_OPTION, AT(kroute_rule, retry), .type = &retry_type},
    SESSION,
    END};
static const struct kfield grpc_rule_fields[] = {
    RULE_NAME,
    RULE_LIST("matches", matches, grpc_match_item, MATCHES_MAX),
    FILTERS(kroute_rule, kgrpc_filter_item),
    RULE_LIST("backendRefs", backends, grpc_backend_item, 64),
    SESSION,
    END};
static const struct kfield l4_rule_fields[] = {
    RULE_NAME, RULE_LIST("backendRefs", backends, l4_backend_item, 64), END};
static const struct ktype http_rule_type = {
    .size = sizeof(struct kroute_rule), .fields = http_rule_fields, .check = check_rule};
static const struct ktype grpc_rule_type = {
    .size = sizeof(struct kroute_rule), .fields = grpc_rule_fields, .check = check_rule};
static const struct ktype l4_rule_type = {.size = sizeof(struct kroute_rule),
                                          .fields = l4_rule_fields};
static const struct kfield http_rule_item = {.form = KF_STRUCT, .type = &http_rule_type};
static const struct kfield grpc_rule_item = {.form = KF_STRUCT, .type = &grpc_rule_type};
static const struct kfield l4_rule_item = {.form = KF_STRUCT, .type = &l4_rule_type};

/* -- routes -- */

static const struct kfield parent_item = {.form = KF_STRUCT, .type = &kparent_ref_type};
static const char *check_defaults(struct str s)
{
    return str_eqz(s, "All") || str_eqz(s, "None") ? NULL : "must be All or None";
}

#define SPEC(hosts_max, item)                                                                    \
    {.name = "parentRefs", .form = KF_LIST, AT(kroute, parents), .max = 64, .of = &parent_item}, \
        {.name = "hostnames",                                                                    \
         .form = KF_LIST,                                                                        \
         AT(kroute, hostnames),                                                                  \
         .max = (hosts_max),                                                                     \
         .of = &kgateway_hostname_item},                                                         \
        {.name = "rules", .form = KF_LIST, AT(kroute, rules), .max = RULES_MAX, .of = &(item)},  \
    {                                                                                            \
        .name = "useDefaultGateways", .form = KF_STRING, AT(kroute, default_gateways),           \
        .check = check_defaults                                                                  \
    }

static const struct kfield http_spec_fields[] = {SPEC(64, http_rule_item), END};
static const struct kfield grpc_spec_fields[] = {SPEC(64, grpc_rule_item), END};
static const struct kfield l4_spec_fields[] = {SPEC(1024, l4_rule_item), END};
static const struct ktype http_spec_type = {.fields = http_spec_fields, .strict = true};
static const struct ktype grpc_spec_type = {.fields = grpc_spec_fields, .strict = true};
static const struct ktype l4_spec_type = {.fields = l4_spec_fields, .strict = true};

static const struct kfield parent_status_fields[] = {
    {.name = "parentRef",
     .form = KF_STRUCT,
     AT(kroute_parent_status, parent),
     .type = &kparent_ref_type},
    {.name = "controllerName", .form = KF_STRING, AT(kroute_parent_status, controller), .max = 253},
    {.name = "conditions",
     .form = KF_LIST,
     AT(kroute_parent_status, conditions),
     .max = 64,
     .of = &kstatus_condition_item},
    END};
static const struct ktype parent_status_type = {.size = sizeof(struct kroute_parent_status),
                                                .fields = parent_status_fields};
static const struct kfield parent_status_item = {.form = KF_STRUCT, .type = &parent_status_type};
static const struct kfield status_fields[] = {{.name = "parents",
                                               .form = KF_LIST,
                                               AT(kroute, parent_statuses),
                                               .max = 64,
                                               .of = &parent_status_item},
                                              END};
static const struct ktype status_type = {.fields = status_fields};

#define ROUTE(spec)                                                               \
    {KMETA_FIELD,                                                                 \
     {.name = "spec", .form = KF_STRUCT, .flags = KFL_REQUIRED, .type = &(spec)}, \
     {.name = "status", .form = KF_STRUCT, .type = &status_type},                 \
     END}
static const struct kfield http_route_fields[] = ROUTE(http_spec_type);
static const struct kfield grpc_route_fields[] = ROUTE(grpc_spec_type);
static const struct kfield l4_route_fields[] = ROUTE(l4_spec_type);
const struct ktype khttp_route_type = {.size = sizeof(struct kroute), .fields = http_route_fields};
const struct ktype kgrpc_route_type = {.size = sizeof(struct kroute), .fields = grpc_route_fields};
const struct ktype kl4_route_type = {.size = sizeof(struct kroute), .fields = l4_route_fields};
