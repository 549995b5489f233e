/* Routes of the Gateway API: HTTPRoute, GRPCRoute, TLSRoute and TCPRoute, as one struct; obj.kind says which, and the
 * fields that a kind does not have are empty. Defaults are the CRDs'. */
#pragma once

#include "lib/kobj/gateway.h"

enum kmatch_type { KMATCH_EXACT, KMATCH_REGEX };
enum kpath_type { KPATH_PREFIX, KPATH_EXACT, KPATH_REGEX };
enum khttp_method {
    KMETHOD_ANY,
    KMETHOD_GET,
    KMETHOD_HEAD,
    KMETHOD_POST,
    KMETHOD_PUT,
    KMETHOD_DELETE,
    KMETHOD_CONNECT,
    KMETHOD_OPTIONS,
    KMETHOD_TRACE,
    KMETHOD_PATCH,
};

struct kvalue_match { /* of a header or a query parameter */
    struct str name, value;
    uint8_t type; /* enum kmatch_type */
};

struct kgrpc_method {
    struct str service, method; /* one of the two may be empty: any */
    uint8_t type;               /* enum kmatch_type */
};

struct kroute_match { /* all must hold */
    struct str path;
    uint8_t path_type; /* enum kpath_type */
    uint8_t method;    /* enum khttp_method */
    KLIST(struct kvalue_match) headers, params;
    const struct kgrpc_method *grpc; /* of a GRPCRoute; NULL: any */
};

/* -- filters -- */

enum kfilter_type {
    KFILTER_NONE,
    KFILTER_REQUEST_HEADERS,
    KFILTER_RESPONSE_HEADERS,
    KFILTER_MIRROR,
    KFILTER_REDIRECT,
    KFILTER_REWRITE,
    KFILTER_EXTENSION,
    KFILTER_CORS,
    KFILTER_EXTERNAL_AUTH,
};

struct kheader {
    struct str name, value;
};

struct kheader_filter {
    KLIST(struct kheader) set, add;
    struct kstrs remove;
};

enum kpath_change { KPATH_KEEP, KPATH_REPLACE_FULL, KPATH_REPLACE_PREFIX };

struct kpath_modifier {
    uint8_t type; /* enum kpath_change */
    struct str full, prefix;
};

struct kredirect_filter {
    struct str scheme, hostname;       /* empty: as they are */
    const struct kpath_modifier *path; /* NULL: as it is */
    uint16_t port;                     /* 0: of the scheme, or as it is */
    int32_t status;
};

struct krewrite_filter {
    struct str hostname;               /* empty: as it is */
    const struct kpath_modifier *path; /* NULL: as it is */
};

struct kfraction {
    int32_t numerator, denominator;
};

struct kmirror_filter {
    struct kgateway_ref backend;
    int32_t percent;                  /* -1: none said */
    const struct kfraction *fraction; /* NULL: none said; neither: all requests */
};

struct kcors_filter {
    struct kstrs origins, methods, headers, expose;
    bool credentials;
    int32_t max_age_s;
};

enum kauth_protocol { KAUTH_NONE, KAUTH_HTTP, KAUTH_GRPC };

struct kauth_filter { /* ExternalAuth */
    uint8_t protocol; /* enum kauth_protocol */
    struct kgateway_ref backend;
    struct str http_path;
    struct kstrs http_headers, http_response_headers, grpc_headers;
    int32_t body_max; /* bytes sent along; 0: none */
};

struct kroute_filter { /* the member that type names is there, the others are NULL */
    uint8_t type;      /* enum kfilter_type */
    const struct kheader_filter *request, *response;
    const struct kmirror_filter *mirror;
    const struct kredirect_filter *redirect;
    const struct krewrite_filter *rewrite;
    const struct kgateway_ref *extension;
    const struct kcors_filter *cors;
    const struct kauth_filter *auth;
};

/* -- rules -- */

struct kbackend_ref {
    struct kgateway_ref ref;
    int32_t weight;
    KLIST(struct kroute_filter) filters;
};

enum ksession_type { KSESSION_COOKIE, KSESSION_HEADER };

struct ksession { /* sessionPersistence */
    struct str name;
    uint8_t type;                 /* enum ksession_type */
    bool permanent;               /* of the cookie */
    int64_t absolute_ms, idle_ms; /* -1: none */
};

struct kroute_retry {
    int32_t attempts; /* 0: the implementation's */
    int64_t backoff_ms;
    KLIST(int32_t) codes;
};

struct kroute_rule {
    struct str name;
    KLIST(struct kroute_match) matches; /* one must hold; empty: everything */
    KLIST(struct kroute_filter) filters;
    KLIST(struct kbackend_ref) backends;
    int64_t timeout_ms, backend_timeout_ms; /* -1: none said; 0: none at all */
    const struct kroute_retry *retry;       /* NULL when absent */
    const struct ksession *session;         /* NULL when absent */
};

struct kroute_parent_status {
    struct kgateway_ref parent;
    struct str controller;
    KLIST(struct kstatus_condition) conditions;
};

struct kroute {
    struct kobj obj;
    KLIST(struct kgateway_ref) parents;
    struct kstrs hostnames; /* empty: all */
    KLIST(struct kroute_rule) rules;
    struct str default_gateways; /* "All", "None" or empty */
    KLIST(struct kroute_parent_status) parent_statuses;
};
static inline bool kobj_is_route(const struct kobj *o)
{
    return o->kind >= KOBJ_HTTP_ROUTE && o->kind <= KOBJ_TCP_ROUTE;
}
static inline const struct kroute *kobj_route(const struct kobj *o)
{
    MUST(kobj_is_route(o));
    return container_of(o, struct kroute, obj);
}
