/* VirtualService (networking.istio.io): routes in Istio's own form. Every field is known; what else a document holds is
 * refused. First match wins. */
#pragma once

#include "lib/kobj/core.h"

struct kstring_match { /* one of them; none: present, whatever the value */
    struct str exact, prefix, regex;
};

struct kkeyed_match {
    struct str key; /* of a header or a query parameter */
    struct kstring_match match;
};

struct kvs_destination {
    struct str host, subset;
    uint16_t port; /* 0: the service's only one */
};

struct kvs_header_ops {
    struct kmap set, add;
    struct kstrs remove;
};

struct kvs_match { /* all must hold */
    struct str name, source_ns, stat_prefix;
    const struct kstring_match *uri, *scheme, *method, *authority; /* NULL when absent */
    KLIST(struct kkeyed_match) headers;
    KLIST(struct kkeyed_match) without_headers;
    KLIST(struct kkeyed_match) params;
    uint16_t port; /* 0: any */
    struct kmap source_labels;
    struct kstrs gateways;
    bool ignore_uri_case;
};

struct kvs_route {
    struct kvs_destination destination;
    int32_t weight;
    struct kvs_header_ops request, response;
};

struct kvs_redirect {
    struct str uri, prefix, authority, scheme;
    uint16_t port;
    uint8_t derive_port; /* 0: no; 1: of the protocol; 2: of the request */
    int32_t code;
};

struct kvs_rewrite {
    struct str uri, authority, regex, regex_to;
};

struct kvs_direct {
    int32_t status;
    struct str text;  /* the body, or */
    struct str bytes; /* this one */
};

struct kvs_retries {
    int32_t attempts;
    int64_t per_try_ms, backoff_ms; /* -1: none said */
    struct str on;
    uint8_t remote_localities, ignore_previous; /* enum ktri */
};

struct kvs_delay {
    int64_t fixed_ms; /* -1: none said */
    int64_t percent;  /* millionths of a per cent; -1: none said */
    int32_t percent_old;
};

struct kvs_abort {
    int32_t http_status; /* 0: none said */
    struct str grpc_status, http2_error;
    int64_t percent; /* millionths of a per cent; -1: none said */
};

struct kvs_cors {
    KLIST(struct kstring_match) origins;
    struct kstrs origins_old, methods, headers, expose;
    int64_t max_age_ms;  /* -1: none said */
    uint8_t credentials; /* enum ktri */
    uint8_t unmatched;   /* preflights: 0 unspecified, 1 forwarded, 2 ignored */
};

struct kvs_mirror {
    struct kvs_destination destination;
    int64_t percent; /* millionths of a per cent; -1: all */
};

struct kvs_http {
    struct str name;
    KLIST(struct kvs_match) matches; /* one must hold; empty: everything */
    KLIST(struct kvs_route) routes;
    const struct kvs_redirect *redirect; /* the following are NULL when absent */
    const struct kvs_direct *direct;
    const struct kvs_rewrite *rewrite;
    const struct kvs_retries *retries;
    const struct kvs_delay *delay;
    const struct kvs_abort *abort;
    const struct kvs_cors *cors;
    const struct kvs_destination *mirror; /* the old form, with the two percentages */
    int64_t mirror_percent;               /* millionths of a per cent; -1: none said */
    int32_t mirror_percent_old;           /* -1: none said */
    KLIST(struct kvs_mirror) mirrors;
    struct kvs_header_ops request, response;
    struct str delegate, delegate_ns;
    int64_t timeout_ms; /* -1: none said; 0: none at all */
};

struct kvs_l4_match {
    struct kstrs sni_hosts; /* of tls */
    KLIST(struct cidr) subnets;
    uint16_t port;
    struct kmap source_labels;
    struct kstrs gateways;
    struct str source_ns, source_subnet; /* an address or a range */
};

struct kvs_l4 {
    KLIST(struct kvs_l4_match) matches;
    KLIST(struct kvs_route) routes;
};

struct kvirtual_service {
    struct kobj obj;
    struct kstrs hosts, gateways, export_to;
    KLIST(struct kvs_http) http;
    KLIST(struct kvs_l4) tls;
    KLIST(struct kvs_l4) tcp;
};
KOBJ_CAST(kobj_virtual_service, kvirtual_service, KOBJ_VIRTUAL_SERVICE)
