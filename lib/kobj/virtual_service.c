/* Table of VirtualService. */
#include "lib/kobj/virtual_service.h"

#include "lib/kobj/ktable.h"

#define STRING(json, T, m)    {.name = (json), .form = KF_STRING, AT(T, m)}
#define PORT(json, T, m)      {.name = (json), .form = KF_PORT, AT(T, m)}
#define DURATION(json, T, m)  {.name = (json), .form = KF_DURATION, AT(T, m)}
#define OPTION(json, T, m, t) {.name = (json), .form = KF_OPTION, AT(T, m), .type = &(t)}
#define LIST(json, T, m, item) \
    {.name = (json), .form = KF_LIST, AT(T, m), .max = 1024, .of = &(item)}
#define DICT(json, T, m, t) {.name = (json), .form = KF_DICT, AT(T, m), .max = 256, .type = &(t)}
#define INLINE(json, t)     {.name = (json), .form = KF_STRUCT, .type = &(t)}
#define LABELS(json, T, m)  {.name = (json), .form = KF_MAP, AT(T, m), .map = &klabels_rule}

static const struct kfield string_item = {.form = KF_STRING, .check = kcheck_not_empty};
static const struct kfield cidr_item = {.form = KF_CIDR};

/* -- matches -- */

#define MATCH_FIELDS(T, m) \
    STRING("exact", T, m.exact), STRING("prefix", T, m.prefix), STRING("regex", T, m.regex)

static bool one_match(const struct kstring_match *m, struct kwhy *why)
{
    return (m->exact.n > 0) + (m->prefix.n > 0) + (m->regex.n > 0) <= 1 ||
           kwhy_set(why, "", "must have one of exact, prefix and regex");
}

static bool check_string(void *obj, struct kwhy *why)
{
    return one_match(obj, why);
}

static bool check_keyed(void *obj, struct kwhy *why)
{
    return one_match(&((struct kkeyed_match *)obj)->match, why);
}

struct kvs_text { /* so that offsets can be said of a plain struct */
    struct kstring_match m;
};
static const struct kfield string_match_fields[] = {MATCH_FIELDS(kvs_text, m), END};
static const struct ktype string_match_type = {
    .size = sizeof(struct kstring_match), .fields = string_match_fields, .check = check_string};
static const struct kfield string_match_item = {.form = KF_STRUCT, .type = &string_match_type};
static const struct kfield keyed_match_fields[] = {MATCH_FIELDS(kkeyed_match, match), END};
static const struct ktype keyed_match_type = {
    .size = sizeof(struct kkeyed_match), .fields = keyed_match_fields, .check = check_keyed};

static const struct kfield match_fields[] = {
    STRING("name", kvs_match, name),
    OPTION("uri", kvs_match, uri, string_match_type),
    OPTION("scheme", kvs_match, scheme, string_match_type),
    OPTION("method", kvs_match, method, string_match_type),
    OPTION("authority", kvs_match, authority, string_match_type),
    DICT("headers", kvs_match, headers, keyed_match_type),
    DICT("withoutHeaders", kvs_match, without_headers, keyed_match_type),
    DICT("queryParams", kvs_match, params, keyed_match_type),
    PORT("port", kvs_match, port),
    LABELS("sourceLabels", kvs_match, source_labels),
    STRING("sourceNamespace", kvs_match, source_ns),
    LIST("gateways", kvs_match, gateways, string_item),
    STRING("statPrefix", kvs_match, stat_prefix),
    {.name = "ignoreUriCase", .form = KF_BOOL, AT(kvs_match, ignore_uri_case)},
    END};
static const struct ktype match_type = {.size = sizeof(struct kvs_match), .fields = match_fields};
static const struct kfield match_item = {.form = KF_STRUCT, .type = &match_type};

/* -- destinations -- */

static const struct kfield port_fields[] = {PORT("number", kvs_destination, port), END};
static const struct ktype port_type = {.fields = port_fields};
static const struct kfield destination_fields[] = {{.name = "host",
                                                    .form = KF_STRING,
                                                    .flags = KFL_REQUIRED,
                                                    AT(kvs_destination, host),
                                                    .max = 253,
                                                    .check = kcheck_not_empty},
                                                   STRING("subset", kvs_destination, subset),
                                                   INLINE("port", port_type),
                                                   END};
static const struct ktype destination_type = {.size = sizeof(struct kvs_destination),
                                              .fields = destination_fields};

static const struct kmap_rule headers_rule = {.key = kcheck_not_empty,
                                              .value = kcheck_header_value};
static const struct kfield header_ops_fields[] = {
    {.name = "set", .form = KF_MAP, AT(kvs_header_ops, set), .max = 256, .map = &headers_rule},
    {.name = "add", .form = KF_MAP, AT(kvs_header_ops, add), .max = 256, .map = &headers_rule},
    LIST("remove", kvs_header_ops, remove, string_item),
    END};
static const struct ktype header_ops_type = {.size = sizeof(struct kvs_header_ops),
                                             .fields = header_ops_fields};
#define HEADERS(T)                                                                       \
    {.name = "request", .form = KF_STRUCT, AT(T, request), .type = &header_ops_type},    \
    {                                                                                    \
        .name = "response", .form = KF_STRUCT, AT(T, response), .type = &header_ops_type \
    }
static const struct kfield route_headers_fields[] = {HEADERS(kvs_route), END};
static const struct ktype route_headers_type = {.fields = route_headers_fields};
#define ROUTE_FIELDS                                            \
    {.name = "destination",                                     \
     .form = KF_STRUCT,                                         \
     .flags = KFL_REQUIRED,                                     \
     AT(kvs_route, destination),                                \
     .type = &destination_type},                                \
    {                                                           \
        .name = "weight", .form = KF_INT, AT(kvs_route, weight) \
    }
static const struct kfield http_route_fields[] = {ROUTE_FIELDS,
                                                  INLINE("headers", route_headers_type), END};
static const struct ktype http_route_type = {.size = sizeof(struct kvs_route),
                                             .fields = http_route_fields};
static const struct kfield http_route_item = {.form = KF_STRUCT, .type = &http_route_type};
static const struct kfield l4_route_fields[] = {ROUTE_FIELDS, END};
static const struct ktype l4_route_type = {.size = sizeof(struct kvs_route),
                                           .fields = l4_route_fields};
static const struct kfield l4_route_item = {.form = KF_STRUCT, .type = &l4_route_type};

/* -- what is done with a request -- */

static const char *const derive_words[] = {"", "FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT", NULL};
static const struct kfield redirect_fields[] = {
    STRING("uri", kvs_redirect, uri),
    STRING("prefixRewrite", kvs_redirect, prefix),
    STRING("authority", kvs_redirect, authority),
    STRING("scheme", kvs_redirect, scheme),
    PORT("port", kvs_redirect, port),
    {.name = "derivePort", .form = KF_ENUM, AT(kvs_redirect, derive_port), .words = derive_words},
    {.name = "redirectCode",
     .form = KF_INT,
     AT(kvs_redirect, code),
     .low = 300,
     .high = 399,
     .def = 301},
    END};
static const struct ktype redirect_type = {.size = sizeof(struct kvs_redirect),
                                           .fields = redirect_fields};

static const struct kfield regex_fields[] = {STRING("match", kvs_rewrite, regex),
                                             STRING("rewrite", kvs_rewrite, regex_to), END};
static const struct ktype regex_type = {.fields = regex_fields};
static const struct kfield rewrite_fields[] = {STRING("uri", kvs_rewrite, uri),
                                               STRING("authority", kvs_rewrite, authority),
                                               INLINE("uriRegexRewrite", regex_type), END};
static const struct ktype rewrite_type = {.size = sizeof(struct kvs_rewrite),
                                          .fields = rewrite_fields};

static const struct kfield body_fields[] = {
    {.name = "string", .form = KF_STRING, AT(kvs_direct, text), .max = 1u << 20},
    {.name = "bytes", .form = KF_BYTES, AT(kvs_direct, bytes), .max = 1u << 20},
    END};
static const struct ktype body_type = {.fields = body_fields};
static const struct kfield direct_fields[] = {{.name = "status",
                                               .form = KF_INT,
                                               .flags = KFL_REQUIRED,
                                               AT(kvs_direct, status),
                                               .low = 200,
                                               .high = 599},
                                              INLINE("body", body_type),
                                              END};
static const struct ktype direct_type = {.size = sizeof(struct kvs_direct),
                                         .fields = direct_fields};

static const struct kfield retries_fields[] = {
    {.name = "attempts", .form = KF_INT, AT(kvs_retries, attempts), .low = INT32_MIN + 1},
    DURATION("perTryTimeout", kvs_retries, per_try_ms),
    DURATION("backoff", kvs_retries, backoff_ms),
    STRING("retryOn", kvs_retries, on),
    {.name = "retryRemoteLocalities", .form = KF_TRI, AT(kvs_retries, remote_localities)},
    {.name = "retryIgnorePreviousHosts", .form = KF_TRI, AT(kvs_retries, ignore_previous)},
    END};
const struct ktype kvs_retries_type = {.size = sizeof(struct kvs_retries),
                                       .fields = retries_fields};

#define PERCENT_OF(what, T, m)                                              \
    static const struct kfield what##_fields[] = {                          \
        {.name = "value", .form = KF_DECIMAL, AT(T, m), .high = 100}, END}; \
    static const struct ktype what##_type = {.fields = what##_fields}
PERCENT_OF(delay_percent, kvs_delay, percent);
PERCENT_OF(abort_percent, kvs_abort, percent);
PERCENT_OF(mirror_percent, kvs_http, mirror_percent);
PERCENT_OF(mirrors_percent, kvs_mirror, percent);

static const struct kfield delay_fields[] = {
    DURATION("fixedDelay", kvs_delay, fixed_ms),
    INLINE("percentage", delay_percent_type),
    {.name = "percent", .form = KF_INT, AT(kvs_delay, percent_old), .high = 100},
    END};
static const struct ktype delay_type = {.size = sizeof(struct kvs_delay), .fields = delay_fields};
static const struct kfield abort_fields[] = {
    {.name = "httpStatus", .form = KF_INT, AT(kvs_abort, http_status), .low = 200, .high = 599},
    STRING("grpcStatus", kvs_abort, grpc_status),
    STRING("http2Error", kvs_abort, http2_error),
    INLINE("percentage", abort_percent_type),
    END};
static const struct ktype abort_type = {.size = sizeof(struct kvs_abort), .fields = abort_fields};
static const struct kfield fault_fields[] = {OPTION("delay", kvs_http, delay, delay_type),
                                             OPTION("abort", kvs_http, abort, abort_type), END};
static const struct ktype fault_type = {.fields = fault_fields};

static const char *const preflights[] = {"UNSPECIFIED", "FORWARD", "IGNORE", NULL};
static const struct kfield cors_fields[] = {
    LIST("allowOrigins", kvs_cors, origins, string_match_item),
    LIST("allowOrigin", kvs_cors, origins_old, string_item),
    LIST("allowMethods", kvs_cors, methods, string_item),
    LIST("allowHeaders", kvs_cors, headers, string_item),
    LIST("exposeHeaders", kvs_cors, expose, string_item),
    DURATION("maxAge", kvs_cors, max_age_ms),
    {.name = "allowCredentials", .form = KF_TRI, AT(kvs_cors, credentials)},
    {.name = "unmatchedPreflights", .form = KF_ENUM, AT(kvs_cors, unmatched), .words = preflights},
    END};
static const struct ktype cors_type = {.size = sizeof(struct kvs_cors), .fields = cors_fields};

static const struct kfield mirror_fields[] = {{.name = "destination",
                                               .form = KF_STRUCT,
                                               .flags = KFL_REQUIRED,
                                               AT(kvs_mirror, destination),
                                               .type = &destination_type},
                                              INLINE("percentage", mirrors_percent_type),
                                              END};
static const struct ktype mirror_type = {.size = sizeof(struct kvs_mirror),
                                         .fields = mirror_fields};
static const struct kfield mirror_item = {.form = KF_STRUCT, .type = &mirror_type};

static const struct kfield delegate_fields[] = {STRING("name", kvs_http, delegate),
                                                STRING("namespace", kvs_http, delegate_ns), END};
static const struct ktype delegate_type = {.fields = delegate_fields};
static const struct kfield http_headers_fields[] = {HEADERS(kvs_http), END};
static const struct ktype http_headers_type = {.fields = http_headers_fields};

#define OLD_PERCENT(json) \
    {.name = (json), .form = KF_INT, AT(kvs_http, mirror_percent_old), .high = 100, .def = -1}
static const struct kfield http_fields[] = {STRING("name", kvs_http, name),
                                            LIST("match", kvs_http, matches, match_item),
                                            LIST("route", kvs_http, routes, http_route_item),
                                            OPTION("redirect", kvs_http, redirect, redirect_type),
                                            OPTION("directResponse", kvs_http, direct, direct_type),
                                            INLINE("delegate", delegate_type),
                                            OPTION("rewrite", kvs_http, rewrite, rewrite_type),
                                            DURATION("timeout", kvs_http, timeout_ms),
                                            OPTION("retries", kvs_http, retries, kvs_retries_type),
                                            INLINE("fault", fault_type),
                                            OPTION("mirror", kvs_http, mirror, destination_type),
                                            LIST("mirrors", kvs_http, mirrors, mirror_item),
                                            OLD_PERCENT("mirrorPercent"),
                                            OLD_PERCENT("mirror_percent"),
                                            INLINE("mirrorPercentage", mirror_percent_type),
                                            OPTION("corsPolicy", kvs_http, cors, cors_type),
                                            INLINE("headers", http_headers_type),
                                            END};

static bool check_http(void *obj, struct kwhy *why)
{
    const struct kvs_http *h = obj;
    int ways = (h->routes.n > 0) + !!h->redirect + !!h->direct;
    if (ways > 1)
        return kwhy_set(why, "", "must have one of route, redirect and directResponse");
    if (ways == 0 && h->delegate.n == 0)
        return kwhy_set(why, "", "must have route, redirect, directResponse or delegate");
    if (h->mirror && h->mirrors.n)
        return kwhy_set(why, "mirrors", "must not be set beside mirror");
    if (h->redirect && h->rewrite)
        return kwhy_set(why, "rewrite", "must not be set beside redirect");
    return true;
}

static const struct ktype http_type = {
    .size = sizeof(struct kvs_http), .fields = http_fields, .check = check_http};
static const struct kfield http_item = {.form = KF_STRUCT, .type = &http_type};

/* -- TLS, TCP -- */

#define L4_MATCH                                                                               \
    LIST("destinationSubnets", kvs_l4_match, subnets, cidr_item),                              \
        PORT("port", kvs_l4_match, port), LABELS("sourceLabels", kvs_l4_match, source_labels), \
        STRING("sourceNamespace", kvs_l4_match, source_ns),                                    \
        LIST("gateways", kvs_l4_match, gateways, string_item)
static const struct kfield tls_match_fields[] = {L4_MATCH,
                                                 {.name = "sniHosts",
                                                  .form = KF_LIST,
                                                  .flags = KFL_REQUIRED | KFL_FILLED,
                                                  AT(kvs_l4_match, sni_hosts),
                                                  .max = 1024,
                                                  .of = &string_item},
                                                 END};
static const struct ktype tls_match_type = {.size = sizeof(struct kvs_l4_match),
                                            .fields = tls_match_fields};
static const struct kfield tls_match_item = {.form = KF_STRUCT, .type = &tls_match_type};
static const char *check_cidr(struct str s)
{
    struct cidr c;
    return cidr_parse(s, &c) == RC_OK ? NULL : "is not an IP address or CIDR";
}

static const struct kfield tcp_match_fields[] = {L4_MATCH,
                                                 {.name = "sourceSubnet",
                                                  .form = KF_STRING,
                                                  AT(kvs_l4_match, source_subnet),
                                                  .check = check_cidr},
                                                 END};
static const struct ktype tcp_match_type = {.size = sizeof(struct kvs_l4_match),
                                            .fields = tcp_match_fields};
static const struct kfield tcp_match_item = {.form = KF_STRUCT, .type = &tcp_match_type};
static const struct kfield tls_fields[] = {{.name = "match",
                                            .form = KF_LIST,
                                            .flags = KFL_REQUIRED | KFL_FILLED,
                                            AT(kvs_l4, matches),
                                            .max = 1024,
                                            .of = &tls_match_item},
                                           LIST("route", kvs_l4, routes, l4_route_item),
                                           END};
static const struct ktype tls_type = {.size = sizeof(struct kvs_l4), .fields = tls_fields};
static const struct kfield tls_item = {.form = KF_STRUCT, .type = &tls_type};
static const struct kfield tcp_fields[] = {LIST("match", kvs_l4, matches, tcp_match_item),
                                           LIST("route", kvs_l4, routes, l4_route_item), END};
static const struct ktype tcp_type = {.size = sizeof(struct kvs_l4), .fields = tcp_fields};
static const struct kfield tcp_item = {.form = KF_STRUCT, .type = &tcp_type};

/* -- the whole -- */

static const struct kfield spec_fields[] = {
    LIST("hosts", kvirtual_service, hosts, string_item),
    LIST("gateways", kvirtual_service, gateways, string_item),
    LIST("http", kvirtual_service, http, http_item),
    LIST("tls", kvirtual_service, tls, tls_item),
    LIST("tcp", kvirtual_service, tcp, tcp_item),
    LIST("exportTo", kvirtual_service, export_to, string_item),
    END};
static const struct ktype spec_type = {.fields = spec_fields, .strict = true};
static const struct kfield fields[] = {
    KMETA_FIELD,
    {.name = "spec", .form = KF_STRUCT, .flags = KFL_REQUIRED, .type = &spec_type},
    END};

static bool check_service(void *obj, struct kwhy *why)
{
    const struct kvirtual_service *v = obj;
    return v->http.n || v->tls.n || v->tcp.n ||
           kwhy_set(why, "spec", "must have http, tls or tcp routes");
}

const struct ktype kvirtual_service_type = {
    .size = sizeof(struct kvirtual_service), .fields = fields, .check = check_service};
