/* Tables of the filters of routes. */
#include "lib/kobj/ktable.h"
#include "lib/kobj/route.h"

/* -- references to backends -- */

static bool check_backend(void *obj, struct kwhy *why)
{
    const struct kgateway_ref *r = obj;
    return r->group.n || !str_eqz(r->kind, "Service") || r->port ||
           kwhy_set(why, "port", "is required for a Service");
}

static const struct kfield backend_only_fields[] = {
    {.name = "group",
     .form = KF_STRING,
     AT(kgateway_ref, group),
     .max = 253,
     .check = kcheck_group},
    {.name = "kind",
     .form = KF_STRING,
     AT(kgateway_ref, kind),
     .max = 63,
     .text = "Service",
     .check = kcheck_kind},
    {.name = "namespace", .form = KF_STRING, AT(kgateway_ref, ns), .max = 63},
    {.name = "name",
     .form = KF_STRING,
     .flags = KFL_REQUIRED,
     AT(kgateway_ref, name),
     .max = 253,
     .check = kcheck_not_empty},
    {.name = "port", .form = KF_PORT, AT(kgateway_ref, port)},
    END};
const struct ktype kbackend_only_type = {
    .size = sizeof(struct kgateway_ref), .fields = backend_only_fields, .check = check_backend};

/* -- headers -- */

static const struct kfield header_name_item = {
    .form = KF_STRING, .max = 256, .check = kcheck_header_name};
static const struct kfield header_fields[] = {{.name = "name",
                                               .form = KF_STRING,
                                               .flags = KFL_REQUIRED,
                                               AT(kheader, name),
                                               .max = 256,
                                               .check = kcheck_header_name},
                                              {.name = "value",
                                               .form = KF_STRING,
                                               .flags = KFL_REQUIRED,
                                               AT(kheader, value),
                                               .max = 4096,
                                               .check = kcheck_header_value},
                                              END};
static const struct ktype header_type = {.size = sizeof(struct kheader), .fields = header_fields};
static const struct kfield header_item = {.form = KF_STRUCT, .type = &header_type};
static const struct kfield header_filter_fields[] = {
    {.name = "set", .form = KF_LIST, AT(kheader_filter, set), .max = 64, .of = &header_item},
    {.name = "add", .form = KF_LIST, AT(kheader_filter, add), .max = 64, .of = &header_item},
    {.name = "remove",
     .form = KF_LIST,
     AT(kheader_filter, remove),
     .max = 64,
     .of = &header_name_item},
    END};

/* Names of headers are the keys of these lists. */
static bool check_headers(const char *field, const struct kheader *v, uint32_t n, struct kwhy *why)
{
    for (uint32_t i = 1; i < n; i++)
        for (uint32_t k = 0; k < i; k++)
            if (str_ieq(v[i].name, v[k].name))
                return kwhy_set(why, field, "has \"%.*s\" twice", (int)MIN(v[i].name.n, 64u),
                                v[i].name.p);
    return true;
}

static bool check_header_filter(void *obj, struct kwhy *why)
{
    const struct kheader_filter *f = obj;
    for (uint32_t i = 1; i < f->remove.n; i++)
        for (uint32_t k = 0; k < i; k++)
            if (str_ieq(f->remove.v[i], f->remove.v[k]))
                return kwhy_set(why, "remove", "has \"%.*s\" twice", STR_ARG(f->remove.v[i]));
    return check_headers("set", f->set.v, f->set.n, why) &&
           check_headers("add", f->add.v, f->add.n, why);
}

static const struct ktype header_filter_type = {.size = sizeof(struct kheader_filter),
                                                .fields = header_filter_fields,
                                                .check = check_header_filter};

/* -- redirect, rewrite -- */

static const char *const path_changes[] = {"", "ReplaceFullPath", "ReplacePrefixMatch", NULL};
static const struct kfield path_modifier_fields[] = {
    {.name = "type",
     .form = KF_ENUM,
     .flags = KFL_REQUIRED,
     AT(kpath_modifier, type),
     .words = path_changes},
    {.name = "replaceFullPath", .form = KF_STRING, AT(kpath_modifier, full)},
    {.name = "replacePrefixMatch", .form = KF_STRING, AT(kpath_modifier, prefix)},
    END};

static bool check_path_modifier(void *obj, struct kwhy *why)
{
    const struct kpath_modifier *m = obj;
    if (m->full.n && m->type != KPATH_REPLACE_FULL)
        return kwhy_set(why, "replaceFullPath", "may be set with type ReplaceFullPath only");
    if (m->prefix.n && m->type != KPATH_REPLACE_PREFIX)
        return kwhy_set(why, "replacePrefixMatch", "may be set with type ReplacePrefixMatch only");
    return true;
}

static const struct ktype path_modifier_type = {.fields = path_modifier_fields,
                                                .size = sizeof(struct kpath_modifier),
                                                .check = check_path_modifier};

static const char *check_scheme(struct str s)
{
    return str_eqz(s, "http") || str_eqz(s, "https") ? NULL : "must be http or https";
}

static const struct kfield redirect_fields[] = {
    {.name = "scheme", .form = KF_STRING, AT(kredirect_filter, scheme), .check = check_scheme},
    {.name = "hostname",
     .form = KF_STRING,
     AT(kredirect_filter, hostname),
     .max = 253,
     .check = kcheck_subdomain},
    {.name = "path", .form = KF_OPTION, AT(kredirect_filter, path), .type = &path_modifier_type},
    {.name = "port", .form = KF_PORT, AT(kredirect_filter, port)},
    {.name = "statusCode",
     .form = KF_INT,
     AT(kredirect_filter, status),
     .low = 300,
     .high = 308,
     .def = 302},
    END};

static bool check_redirect(void *obj, struct kwhy *why)
{
    const struct kredirect_filter *r = obj;
    bool known = (r->status >= 301 && r->status <= 303) || r->status == 307 || r->status == 308;
    return known || kwhy_set(why, "statusCode", "must be 301, 302, 303, 307 or 308");
}

static const struct ktype redirect_type = {
    .size = sizeof(struct kredirect_filter), .fields = redirect_fields, .check = check_redirect};

static const struct kfield rewrite_fields[] = {
    {.name = "hostname",
     .form = KF_STRING,
     AT(krewrite_filter, hostname),
     .max = 253,
     .check = kcheck_subdomain},
    {.name = "path", .form = KF_OPTION, AT(krewrite_filter, path), .type = &path_modifier_type},
    END};
static const struct ktype rewrite_type = {.size = sizeof(struct krewrite_filter),
                                          .fields = rewrite_fields};

/* -- mirror -- */

static const struct kfield fraction_fields[] = {
    {.name = "numerator",
     .form = KF_INT,
     .flags = KFL_REQUIRED,
     AT(kfraction, numerator),
     .def = -1},
    {.name = "denominator", .form = KF_INT, AT(kfraction, denominator), .low = 1, .def = 100},
    END};

static bool check_fraction(void *obj, struct kwhy *why)
{
    const struct kfraction *f = obj;
    return f->numerator <= f->denominator ||
           kwhy_set(why, "numerator", "must be no more than the denominator");
}

static const struct ktype fraction_type = {
    .size = sizeof(struct kfraction), .fields = fraction_fields, .check = check_fraction};
static const struct kfield mirror_fields[] = {
    {.name = "backendRef",
     .form = KF_STRUCT,
     .flags = KFL_REQUIRED,
     AT(kmirror_filter, backend),
     .type = &kbackend_only_type},
    {.name = "percent", .form = KF_INT, AT(kmirror_filter, percent), .high = 100, .def = -1},
    {.name = "fraction", .form = KF_OPTION, AT(kmirror_filter, fraction), .type = &fraction_type},
    END};

static bool check_mirror(void *obj, struct kwhy *why)
{
    const struct kmirror_filter *m = obj;
    return m->percent < 0 || !m->fraction ||
           kwhy_set(why, "fraction", "must not be set beside percent");
}

static const struct ktype mirror_type = {
    .size = sizeof(struct kmirror_filter), .fields = mirror_fields, .check = check_mirror};

/* -- CORS -- */

static const char *check_method(struct str s)
{
    return str_eqz(s, "*") || !kcheck_header_name(s) ? NULL : "is no method";
}

static const struct kfield method_item = {.form = KF_STRING, .max = 64, .check = check_method};
static const struct kfield origin_item = {.form = KF_STRING, .max = 253, .check = kcheck_not_empty};
static const struct kfield cors_fields[] = {
    {.name = "allowOrigins",
     .form = KF_LIST,
     AT(kcors_filter, origins),
     .max = 64,
     .of = &origin_item},
    {.name = "allowMethods",
     .form = KF_LIST,
     AT(kcors_filter, methods),
     .max = 64,
     .of = &method_item},
    {.name = "allowHeaders",
     .form = KF_LIST,
     AT(kcors_filter, headers),
     .max = 64,
     .of = &header_name_item},
    {.name = "exposeHeaders",
     .form = KF_LIST,
     AT(kcors_filter, expose),
     .max = 64,
     .of = &header_name_item},
    {.name = "allowCredentials", .form = KF_BOOL, AT(kcors_filter, credentials)},
    {.name = "maxAge", .form = KF_INT, AT(kcors_filter, max_age_s), .low = 1, .def = 5},
    END};

static bool star_alone(const struct kstrs *l)
{
    for (uint32_t i = 0; i < l->n; i++)
        if (str_eqz(l->v[i], "*"))
            return l->n == 1;
    return true;
}

static bool check_cors(void *obj, struct kwhy *why)
{
    const struct kcors_filter *c = obj;
    const char *why_star = "\"*\" must stand alone";
    if (!star_alone(&c->origins))
        return kwhy_set(why, "allowOrigins", "%s", why_star);
    if (!star_alone(&c->methods))
        return kwhy_set(why, "allowMethods", "%s", why_star);
    return star_alone(&c->headers) || kwhy_set(why, "allowHeaders", "%s", why_star);
}

static const struct ktype cors_type = {
    .size = sizeof(struct kcors_filter), .fields = cors_fields, .check = check_cors};

/* -- ExternalAuth -- */

static const struct kfield auth_header_item = {.form = KF_STRING, .max = 256};
static const struct kfield auth_http_fields[] = {
    {.name = "path", .form = KF_STRING, AT(kauth_filter, http_path)},
    {.name = "allowedHeaders",
     .form = KF_LIST,
     AT(kauth_filter, http_headers),
     .max = 64,
     .of = &auth_header_item},
    {.name = "allowedResponseHeaders",
     .form = KF_LIST,
     AT(kauth_filter, http_response_headers),
     .max = 64,
     .of = &auth_header_item},
    END};
static const struct ktype auth_http_type = {.fields = auth_http_fields};
static const struct kfield auth_grpc_fields[] = {{.name = "allowedHeaders",
                                                  .form = KF_LIST,
                                                  AT(kauth_filter, grpc_headers),
                                                  .max = 64,
                                                  .of = &auth_header_item},
                                                 END};
static const struct ktype auth_grpc_type = {.fields = auth_grpc_fields};
static const struct kfield auth_body_fields[] = {
    {.name = "maxSize", .form = KF_INT, AT(kauth_filter, body_max)}, END};
static const struct ktype auth_body_type = {.fields = auth_body_fields};
static const char *const auth_protocols[] = {"", "HTTP", "GRPC", NULL};
static const struct kfield auth_fields[] = {
    {.name = "protocol",
     .form = KF_ENUM,
     .flags = KFL_REQUIRED,
     AT(kauth_filter, protocol),
     .words = auth_protocols},
    {.name = "backendRef",
     .form = KF_STRUCT,
     .flags = KFL_REQUIRED,
     AT(kauth_filter, backend),
     .type = &kbackend_only_type},
    {.name = "http", .form = KF_STRUCT, .type = &auth_http_type},
    {.name = "grpc", .form = KF_STRUCT, .type = &auth_grpc_type},
    {.name = "forwardBody", .form = KF_STRUCT, .type = &auth_body_type},
    END};
static const struct ktype auth_type = {.size = sizeof(struct kauth_filter), .fields = auth_fields};

/* -- a filter -- */

static const struct kfield extension_fields[] = {
    {.name = "group",
     .form = KF_STRING,
     .flags = KFL_REQUIRED,
     AT(kgateway_ref, group),
     .max = 253},
    {.name = "kind",
     .form = KF_STRING,
     .flags = KFL_REQUIRED,
     AT(kgateway_ref, kind),
     .max = 63,
     .check = kcheck_kind},
    {.name = "name", .form = KF_STRING, .flags = KFL_REQUIRED, AT(kgateway_ref, name), .max = 253},
    END};
static const struct ktype extension_type = {.size = sizeof(struct kgateway_ref),
                                            .fields = extension_fields};

static const char *const http_filters[] = {"",
                                           "RequestHeaderModifier",
                                           "ResponseHeaderModifier",
                                           "RequestMirror",
                                           "RequestRedirect",
                                           "URLRewrite",
                                           "ExtensionRef",
                                           "CORS",
                                           "ExternalAuth",
                                           NULL};
static const char *const grpc_filters[] = {
    "",  "RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "", "", "ExtensionRef",
    NULL};

#define MEMBER(json, at, t) {.name = (json), .form = KF_OPTION, AT(kroute_filter, at), .type = &(t)}
#define COMMON_MEMBERS                                                  \
    MEMBER("requestHeaderModifier", request, header_filter_type),       \
        MEMBER("responseHeaderModifier", response, header_filter_type), \
        MEMBER("requestMirror", mirror, mirror_type),                   \
        MEMBER("extensionRef", extension, extension_type)
#define TYPE(list)            \
    {.name = "type",          \
     .form = KF_ENUM,         \
     .flags = KFL_REQUIRED,   \
     AT(kroute_filter, type), \
     .words = (list)}

static const struct kfield http_filter_fields[] = {
    TYPE(http_filters),
    COMMON_MEMBERS,
    MEMBER("requestRedirect", redirect, redirect_type),
    MEMBER("urlRewrite", rewrite, rewrite_type),
    MEMBER("cors", cors, cors_type),
    MEMBER("externalAuth", auth, auth_type),
    END};
static const struct kfield grpc_filter_fields[] = {TYPE(grpc_filters), COMMON_MEMBERS, END};

/* Exactly the member that the type names. */
static bool check_filter(void *obj, struct kwhy *why)
{
    static const char *const names[] = {"",
                                        "requestHeaderModifier",
                                        "responseHeaderModifier",
                                        "requestMirror",
                                        "requestRedirect",
                                        "urlRewrite",
                                        "extensionRef",
                                        "cors",
                                        "externalAuth"};
    const struct kroute_filter *f = obj;
    const void *const members[] = {NULL,       f->request,   f->response, f->mirror, f->redirect,
                                   f->rewrite, f->extension, f->cors,     f->auth};
    for (uint8_t i = 1; i < ARRAY_LEN(members); i++) {
        if (i == f->type && !members[i])
            return kwhy_set(why, names[i], "is required with type %s", http_filters[i]);
        if (i != f->type && members[i])
            return kwhy_set(why, names[i], "may be set with type %s only", http_filters[i]);
    }
    return true;
}

static const struct ktype http_filter_type = {
    .size = sizeof(struct kroute_filter), .fields = http_filter_fields, .check = check_filter};
static const struct ktype grpc_filter_type = {
    .size = sizeof(struct kroute_filter), .fields = grpc_filter_fields, .check = check_filter};
const struct kfield khttp_filter_item = {.form = KF_STRUCT, .type = &http_filter_type};
const struct kfield kgrpc_filter_item = {.form = KF_STRUCT, .type = &grpc_filter_type};

bool kfilters_check(const struct kroute_filter *v, uint32_t n, struct kwhy *why)
{
    unsigned seen = 0;
    for (uint32_t i = 0; i < n; i++) {
        unsigned bit = 1u << v[i].type;
        bool many = v[i].type == KFILTER_MIRROR || v[i].type == KFILTER_EXTENSION;
        if ((seen & bit) && !many)
            return kwhy_set(why, "filters", "must not have %s twice", http_filters[v[i].type]);
        seen |= bit;
    }
    if ((seen & 1u << KFILTER_REDIRECT) && (seen & 1u << KFILTER_REWRITE))
        return kwhy_set(why, "filters", "must not have both RequestRedirect and URLRewrite");
    return true;
}
