/* Kinds of the Gateway API that are not routes (sigs.k8s.io/gateway-api, apis/v1), with the defaults that its CRDs
 * set. Statuses are what a controller reads back of them. */
#pragma once

#include "lib/kobj/core.h"
#include "lib/kobj/selector.h"

#define GATEWAY_GROUP "gateway.networking.k8s.io"

struct
    kgateway_ref { /* a local or not so local reference; which fields there are, its place says */
    struct str group, kind;
    struct str ns, name, section; /* ns empty: that of the referring object */
    uint16_t port;                /* 0: none */
};

struct kstatus_condition { /* metav1.Condition */
    struct str type, status, reason, message;
    int64_t observed_generation;
};

struct kgateway_address {
    struct str type, value; /* "IPAddress", "Hostname" or DOMAIN/NAME */
};

/* -- GatewayClass -- */

struct kgateway_class {
    struct kobj obj;
    struct str controller;
    const struct kgateway_ref *parameters; /* NULL when absent */
    KLIST(struct kstatus_condition) conditions;
    KLIST(struct kgateway_feature { struct str name; }) features;
};
KOBJ_CAST(kobj_gateway_class, kgateway_class, KOBJ_GATEWAY_CLASS)

/* -- Gateway, ListenerSet -- */

enum kallowed_from { KALLOWED_SAME, KALLOWED_ALL, KALLOWED_SELECTOR, KALLOWED_NONE };
enum ktls_mode { KTLS_TERMINATE, KTLS_PASSTHROUGH };

struct kallowed { /* whose objects may attach */
    uint8_t from; /* enum kallowed_from */
    const struct klabel_selector *selector;
};

struct klistener_tls {
    uint8_t mode; /* enum ktls_mode */
    KLIST(struct kgateway_ref) certificates;
    struct kmap options;
    bool
        validates; /* clients must show a certificate (experimental until v1.4, then of the Gateway) */
};

struct klistener {
    struct str name, hostname, protocol; /* hostname empty: all */
    uint16_t port;
    const struct klistener_tls *tls; /* NULL when absent */
    struct kallowed allowed;
    KLIST(struct kgateway_ref)
    kinds; /* group and kind of routes; empty: what the protocol allows */
};

struct klistener_status {
    struct str name;
    int32_t attached_routes;
    KLIST(struct kgateway_ref) kinds;
    KLIST(struct kstatus_condition) conditions;
};

struct kgateway {
    struct kobj obj;
    struct str class_name;
    KLIST(struct klistener) listeners;
    KLIST(struct kgateway_address) addresses;
    struct kmap infra_labels, infra_annotations;
    const struct kgateway_ref *infra_parameters; /* NULL when absent */
    struct kallowed allowed_sets;                /* ListenerSets; none unless said */
    bool frontend_tls, backend_tls; /* spec.tls has that part, of which nothing is read yet */
    KLIST(struct kgateway_address) status_addresses;
    KLIST(struct kstatus_condition) conditions;
    KLIST(struct klistener_status) listener_statuses;
};
KOBJ_CAST(kobj_gateway, kgateway, KOBJ_GATEWAY)

struct klistener_set {
    struct kobj obj;
    struct kgateway_ref parent;
    KLIST(struct klistener) listeners;
    KLIST(struct kstatus_condition) conditions;
    KLIST(struct klistener_status) listener_statuses;
};
KOBJ_CAST(kobj_listener_set, klistener_set, KOBJ_LISTENER_SET)

/* -- ReferenceGrant -- */

struct kreference_grant {
    struct kobj obj;
    KLIST(struct kgateway_ref) from; /* group, kind and namespace */
    KLIST(struct kgateway_ref) to;   /* group and kind; name empty: all */
};
KOBJ_CAST(kobj_reference_grant, kreference_grant, KOBJ_REFERENCE_GRANT)

/* -- BackendTLSPolicy -- */

enum ksan_type { KSAN_NONE, KSAN_HOSTNAME, KSAN_URI };

struct ksan {
    uint8_t type; /* enum ksan_type */
    struct str hostname, uri;
};

struct kpolicy_ancestor {
    struct kgateway_ref ref;
    struct str controller;
    KLIST(struct kstatus_condition) conditions;
};

struct kbackend_tls {
    struct kobj obj;
    KLIST(struct kgateway_ref) targets;
    struct str hostname;              /* SNI, and what the certificate must say unless sans do */
    struct str well_known_roots;      /* "System", or empty */
    KLIST(struct kgateway_ref) roots; /* or these */
    KLIST(struct ksan) sans;
    struct kmap options;
    KLIST(struct kpolicy_ancestor) ancestors;
};
KOBJ_CAST(kobj_backend_tls, kbackend_tls, KOBJ_BACKEND_TLS_POLICY)
