/* Istio's security policies (security.istio.io/v1, v1beta1). Every field of the API is known here;
 * whatever else a document holds is refused. Values that can be malformed (ports, address ranges) are
 * checked when decoded. */
#pragma once

#include "lib/kobj/core.h"

struct kselector { /* present without labels is something else than absent: it selects nothing */
    struct kmap labels;
};

struct ktarget_ref {
    struct str group, kind, name, ns;
};

/* -- AuthorizationPolicy -- */

enum kauthz_action { KAUTHZ_ALLOW, KAUTHZ_DENY, KAUTHZ_AUDIT, KAUTHZ_CUSTOM };

/* One of from[].source. At least one list is not empty. */
struct kauthz_source {
    struct kstrs principals, not_principals;
    struct kstrs request_principals, not_request_principals;
    struct kstrs namespaces, not_namespaces;
    KLIST(struct cidr) ip_blocks;
    KLIST(struct cidr) not_ip_blocks;
    KLIST(struct cidr) remote_ip_blocks;
    KLIST(struct cidr) not_remote_ip_blocks;
    struct kstrs service_accounts, not_service_accounts; /* NAME or NAMESPACE/NAME */
    struct kstrs trust_domains, not_trust_domains;
};

/* One of to[].operation. At least one list is not empty. */
struct kauthz_operation {
    struct kstrs hosts, not_hosts;
    KLIST(uint16_t) ports;
    KLIST(uint16_t) not_ports;
    struct kstrs methods, not_methods;
    struct kstrs paths, not_paths;
};

struct kauthz_from {
    struct kauthz_source source;
};
struct kauthz_to {
    struct kauthz_operation operation;
};

/* One of when[]. The key is one of Istio's; values of source.ip, destination.ip (and remote.ip) are
 * address ranges, those of destination.port ports. */
struct kauthz_condition {
    struct str key;
    struct kstrs values, not_values; /* not both empty */
};

struct kauthz_rule {
    KLIST(struct kauthz_from) from;
    KLIST(struct kauthz_to) to;
    KLIST(struct kauthz_condition) when;
};

struct kauthz {
    struct kobj obj;
    uint8_t action;                    /* enum kauthz_action */
    const struct kselector *selector;  /* NULL when absent */
    KLIST(struct ktarget_ref) target;  /* while decoding */
    KLIST(struct ktarget_ref) targets; /* targetRefs, or targetRef */
    KLIST(struct kauthz_rule) rules;
    struct str provider; /* of CUSTOM */
};
KOBJ_CAST(kobj_authz, kauthz, KOBJ_AUTHORIZATION_POLICY)

/* -- PeerAuthentication -- */

enum kmtls_mode { KMTLS_UNSET, KMTLS_DISABLE, KMTLS_PERMISSIVE, KMTLS_STRICT };

struct kport_mtls {
    struct str key; /* the port as written */
    uint16_t port;
    uint8_t mode; /* enum kmtls_mode */
};

struct kpeer_auth {
    struct kobj obj;
    const struct kselector *selector; /* NULL when absent */
    uint8_t mode;                     /* enum kmtls_mode */
    KLIST(struct kport_mtls) ports;   /* sorted by port */
};
KOBJ_CAST(kobj_peer_auth, kpeer_auth, KOBJ_PEER_AUTHENTICATION)
