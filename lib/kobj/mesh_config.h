/* MeshConfig (istio.mesh.v1alpha1): the text under key "mesh" of the ConfigMap "istio". No object of the API, so not a
 * kind; read by the same tables. What nobody here reads is told, not dropped unseen. */
#pragma once

#include "lib/kobj/policy.h"
#include "lib/kobj/selector.h"
#include "lib/kobj/virtual_service.h"

enum koutbound_mode { KOUTBOUND_ALLOW_ANY, KOUTBOUND_REGISTRY_ONLY };
enum kservice_scope { KSCOPE_LOCAL, KSCOPE_GLOBAL };

struct kscope_config {
    const struct klabel_selector *namespaces, *services; /* NULL: all */
    uint8_t scope;                                       /* enum kservice_scope */
};

enum kprovider_type { KPROVIDER_OTHER, KPROVIDER_AUTHZ_HTTP, KPROVIDER_AUTHZ_GRPC };

struct kext_authz {
    struct str service; /* [NAMESPACE/]HOST */
    int32_t port;
    int64_t timeout_ms; /* -1: none said */
    bool fail_open, clear_route_cache;
    struct str status_on_error;
    struct str path_prefix; /* from here on of the HTTP one */
    struct kstrs request_headers, request_headers_old, upstream_on_allow, downstream_on_deny,
        downstream_on_allow;
    struct kmap additional_headers;
    int32_t body_max; /* bytes; 0: none */
    bool body_partial, body_packed;
};

struct kextension_provider {
    struct str name;
    const struct kext_authz *http, *grpc; /* both NULL: a type that nobody reads */
};

struct kmesh_config {          /* one block: free() */
    struct str trust_domain;   /* "cluster.local" */
    struct str root_namespace; /* "istio-system" */
    struct kstrs trust_domain_aliases;
    KLIST(struct klabel_selector) discovery_selectors; /* empty: all namespaces */
    uint8_t outbound;                                  /* enum koutbound_mode */
    KLIST(struct kscope_config) scopes;
    KLIST(struct kextension_provider) providers;
    struct kstrs default_access_logging, default_metrics, default_tracing; /* names of providers */
    const struct kvs_retries *default_retries;                             /* NULL when absent */
    struct str access_log_file, access_log_format;
    uint8_t access_log_json;
    uint8_t
        normalization; /* 0 default, 1 none, 2 base, 3 merge slashes, 4 decode and merge slashes */
    int64_t connect_ms, dns_refresh_ms, detection_ms; /* -1: none said */
    uint8_t auto_mtls, prometheus_merge;              /* enum ktri */
    bool entry_visibility; /* serviceEntryVisibility says something, which is not yet read */
};

/* unread (may be NULL): names of fields that are set and that nobody reads, with ", " between. RC_INVALID: ret_msg
 * is "meshConfig line N: FIELD: reason". An empty text is one that says nothing. */
NODISCARD enum rc kmesh_config_parse(struct str yaml, struct kmesh_config **ret,
                                     struct strbuf *unread, struct errmsg *ret_msg);
