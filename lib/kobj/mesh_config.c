/* Table of MeshConfig. */
#include "lib/kobj/mesh_config.h"

#include "lib/kobj/ktable.h"

#define BYTES_MAX (16u << 20)

#define STRING(json, T, m)    {.name = (json), .form = KF_STRING, AT(T, m), .max = 4096}
#define DURATION(json, T, m)  {.name = (json), .form = KF_DURATION, AT(T, m)}
#define BOOL(json, T, m)      {.name = (json), .form = KF_BOOL, AT(T, m)}
#define TRI(json, T, m)       {.name = (json), .form = KF_TRI, AT(T, m)}
#define OPTION(json, T, m, t) {.name = (json), .form = KF_OPTION, AT(T, m), .type = &(t)}
#define INLINE(json, t)       {.name = (json), .form = KF_STRUCT, .type = &(t)}
#define ENUM(json, T, m, w)   {.name = (json), .form = KF_ENUM, AT(T, m), .words = (w)}
#define LIST(json, T, m, item) \
    {.name = (json), .form = KF_LIST, AT(T, m), .max = 1024, .of = &(item)}

static const struct kfield string_item = {.form = KF_STRING, .check = kcheck_not_empty};
static const struct kfield selector_item = {.form = KF_STRUCT, .type = &klabel_selector_type};
static const struct kmap_rule headers_rule = {.key = kcheck_header_name,
                                              .value = kcheck_header_value};

/* -- external authorization: who misreads it lets somebody in, so these are strict -- */

static const struct kfield body_fields[] = {
    {.name = "maxRequestBytes", .form = KF_INT, AT(kext_authz, body_max)},
    BOOL("allowPartialMessage", kext_authz, body_partial),
    BOOL("packAsBytes", kext_authz, body_packed),
    END};
static const struct ktype body_type = {.fields = body_fields};
#define AUTHZ_FIELDS                                                                          \
    {.name = "service",                                                                       \
     .form = KF_STRING,                                                                       \
     .flags = KFL_REQUIRED,                                                                   \
     AT(kext_authz, service),                                                                 \
     .check = kcheck_not_empty},                                                              \
        {.name = "port",                                                                      \
         .form = KF_INT,                                                                      \
         .flags = KFL_REQUIRED,                                                               \
         AT(kext_authz, port),                                                                \
         .low = 1,                                                                            \
         .high = 65535},                                                                      \
        DURATION("timeout", kext_authz, timeout_ms), BOOL("failOpen", kext_authz, fail_open), \
        BOOL("clearRouteCache", kext_authz, clear_route_cache),                               \
        STRING("statusOnError", kext_authz, status_on_error),                                 \
        INLINE("includeRequestBodyInCheck", body_type)
static const struct kfield grpc_fields[] = {AUTHZ_FIELDS, END};
static const struct ktype grpc_type = {
    .size = sizeof(struct kext_authz), .fields = grpc_fields, .strict = true};
static const struct kfield http_fields[] = {
    AUTHZ_FIELDS,
    STRING("pathPrefix", kext_authz, path_prefix),
    LIST("includeRequestHeadersInCheck", kext_authz, request_headers, string_item),
    LIST("includeHeadersInCheck", kext_authz, request_headers_old, string_item),
    {.name = "includeAdditionalHeadersInCheck",
     .form = KF_MAP,
     AT(kext_authz, additional_headers),
     .max = 256,
     .map = &headers_rule},
    LIST("headersToUpstreamOnAllow", kext_authz, upstream_on_allow, string_item),
    LIST("headersToDownstreamOnDeny", kext_authz, downstream_on_deny, string_item),
    LIST("headersToDownstreamOnAllow", kext_authz, downstream_on_allow, string_item),
    END};
static const struct ktype http_type = {
    .size = sizeof(struct kext_authz), .fields = http_fields, .strict = true};
static const struct kfield provider_fields[] = {
    {.name = "name",
     .form = KF_STRING,
     .flags = KFL_REQUIRED,
     AT(kextension_provider, name),
     .check = kcheck_not_empty},
    OPTION("envoyExtAuthzHttp", kextension_provider, http, http_type),
    OPTION("envoyExtAuthzGrpc", kextension_provider, grpc, grpc_type),
    END};
static const struct ktype provider_type = {.size = sizeof(struct kextension_provider),
                                           .fields = provider_fields};
static const struct kfield provider_item = {.form = KF_STRUCT, .type = &provider_type};

/* -- the rest -- */

static const char *const scopes[] = {"LOCAL", "GLOBAL", NULL};
static const struct kfield scope_fields[] = {
    OPTION("namespaceSelector", kscope_config, namespaces, klabel_selector_type),
    OPTION("servicesSelector", kscope_config, services, klabel_selector_type),
    ENUM("scope", kscope_config, scope, scopes), END};
static const struct ktype scope_type = {
    .size = sizeof(struct kscope_config), .fields = scope_fields, .strict = true};
static const struct kfield scope_item = {.form = KF_STRUCT, .type = &scope_type};

static const char *const outbound_modes[] = {"ALLOW_ANY", "REGISTRY_ONLY", NULL};
static const struct kfield outbound_fields[] = {
    ENUM("mode", kmesh_config, outbound, outbound_modes), END};
static const struct ktype outbound_type = {.fields = outbound_fields};
static const struct kfield defaults_fields[] = {
    LIST("accessLogging", kmesh_config, default_access_logging, string_item),
    LIST("metrics", kmesh_config, default_metrics, string_item),
    LIST("tracing", kmesh_config, default_tracing, string_item), END};
static const struct ktype defaults_type = {.fields = defaults_fields};
static const char *const normalizations[] = {
    "DEFAULT", "NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES", NULL};
static const struct kfield normalization_fields[] = {
    ENUM("normalization", kmesh_config, normalization, normalizations), END};
static const struct ktype normalization_type = {.fields = normalization_fields};
static const char *const encodings[] = {"TEXT", "JSON", NULL};

static const struct kfield fields[] = {
    {.name = "trustDomain",
     .form = KF_STRING,
     AT(kmesh_config, trust_domain),
     .text = "cluster.local"},
    {.name = "rootNamespace",
     .form = KF_STRING,
     AT(kmesh_config, root_namespace),
     .text = "istio-system",
     .check = kcheck_label},
    LIST("trustDomainAliases", kmesh_config, trust_domain_aliases, string_item),
    LIST("discoverySelectors", kmesh_config, discovery_selectors, selector_item),
    INLINE("outboundTrafficPolicy", outbound_type),
    LIST("serviceScopeConfigs", kmesh_config, scopes, scope_item),
    LIST("extensionProviders", kmesh_config, providers, provider_item),
    INLINE("defaultProviders", defaults_type),
    OPTION("defaultHttpRetryPolicy", kmesh_config, default_retries, kvs_retries_type),
    STRING("accessLogFile", kmesh_config, access_log_file),
    {.name = "accessLogFormat",
     .form = KF_STRING,
     AT(kmesh_config, access_log_format),
     .max = 64u << 10},
    ENUM("accessLogEncoding", kmesh_config, access_log_json, encodings),
    INLINE("pathNormalization", normalization_type),
    DURATION("connectTimeout", kmesh_config, connect_ms),
    DURATION("dnsRefreshRate", kmesh_config, dns_refresh_ms),
    DURATION("protocolDetectionTimeout", kmesh_config, detection_ms),
    TRI("enableAutoMtls", kmesh_config, auto_mtls),
    TRI("enablePrometheusMerge", kmesh_config, prometheus_merge),
    {.name = "serviceEntryVisibility", .form = KF_FOUND, AT(kmesh_config, entry_visibility)},
    END};
static const struct ktype type = {.size = sizeof(struct kmesh_config), .fields = fields};

static void tell_unread(const struct node *doc, struct strbuf *out)
{
    NODE_FOREACH (n, doc) {
        const struct kfield *f = fields;
        while (f->name && !str_eqz(n->key, f->name))
            f++;
        if (f->name || n->kind == NODE_NULL)
            continue;
        strbuf_addz(out, out->n ? ", " : "");
        strbuf_adds(out, n->key);
    }
}

enum rc kmesh_config_parse(struct str yaml, struct kmesh_config **ret, struct strbuf *unread,
                           struct errmsg *ret_msg)
{
    static const struct node nothing = {.kind = NODE_MAP, .line = 1};
    struct arena arena AUTO_ARENA;
    struct node *docs = NULL;
    struct errmsg why = {""};
    unsigned line = 1;
    size_t size;
    void *out = NULL;
    arena_init(&arena, BYTES_MAX);
    enum rc rc = yaml_parse(&arena, yaml, &docs, &line, &why);
    const struct node *doc = docs ? docs : &nothing;
    if (rc == RC_OK)
        rc = kdecode(&type, doc, &out, &size, &line, &why);
    if (rc != RC_OK) {
        errmsg_set(ret_msg, "meshConfig line %u: %s", line, why.text);
        return rc;
    }
    if (unread)
        tell_unread(doc, unread);
    *ret = out;
    return RC_OK;
}
