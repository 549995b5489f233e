/* Kubernetes' own kinds. */
#pragma once

#include "lib/base/must.h"
#include "lib/kobj/kobj.h"

#define KOBJ_CAST(fn, type, kobj_kind)                        \
    static inline const struct type *fn(const struct kobj *o) \
    {                                                         \
        MUST(o->kind == (kobj_kind));                         \
        return container_of(o, struct type, obj);             \
    }

struct knamespace {
    struct kobj obj;
};
KOBJ_CAST(kobj_namespace, knamespace, KOBJ_NAMESPACE)

struct knode {
    struct kobj obj;
};
KOBJ_CAST(kobj_node, knode, KOBJ_NODE)

struct kservice_account {
    struct kobj obj;
};
KOBJ_CAST(kobj_service_account, kservice_account, KOBJ_SERVICE_ACCOUNT)

/* -- Secret, ConfigMap -- */

struct ksecret {
    struct kobj obj;
    struct str type;  /* "kubernetes.io/tls" */
    struct kmap data; /* decoded: may hold any byte */
};
KOBJ_CAST(kobj_secret, ksecret, KOBJ_SECRET)

struct kconfig_map {
    struct kobj obj;
    struct kmap data;
    struct kmap binary; /* decoded: may hold any byte */
};
KOBJ_CAST(kobj_config_map, kconfig_map, KOBJ_CONFIG_MAP)

enum kprotocol { KPROTOCOL_TCP, KPROTOCOL_UDP, KPROTOCOL_SCTP };

/* -- Pod -- */

enum kpod_phase {
    KPOD_PHASE_NONE, /* absent, or one that we don't know */
    KPOD_PENDING,
    KPOD_RUNNING,
    KPOD_SUCCEEDED,
    KPOD_FAILED,
    KPOD_UNKNOWN,
};

struct kcontainer_port {
    struct str name; /* may be empty */
    uint16_t port;
    uint8_t protocol; /* enum kprotocol */
};

struct kcontainer {
    struct str name;
    uint8_t restarts; /* of init containers: restartPolicy Always, which makes it a sidecar */
    KLIST(struct kcontainer_port) ports;
};

struct kcondition {
    struct str type, status;
};

struct kpod {
    struct kobj obj;
    struct str node_name;
    struct str service_account;     /* "default" when absent */
    struct str hostname, subdomain; /* names in DNS below a headless Service; empty: none */
    bool host_network;
    uint8_t phase; /* enum kpod_phase */
    KLIST(struct kcontainer) containers;
    KLIST(struct kcontainer) init_containers; /* only those that restart */
    KLIST(struct addr) ips;                   /* status.podIPs, else podIP */
    KLIST(struct kcondition) conditions;      /* only Ready */
};
KOBJ_CAST(kobj_pod, kpod, KOBJ_POD)

bool kpod_ready(const struct kpod *p);    /* condition Ready is True */
bool kpod_terminal(const struct kpod *p); /* phase Succeeded or Failed */

/* -- Service -- */

enum kservice_type { KSERVICE_CLUSTER_IP, KSERVICE_NODE_PORT, KSERVICE_LB, KSERVICE_EXTERNAL_NAME };
enum ktraffic_policy { KTRAFFIC_CLUSTER, KTRAFFIC_LOCAL };

struct kport_or_name {
    uint16_t port;   /* 0: a name, or absent */
    struct str name; /* empty: a number, or absent */
};

struct kservice_port {
    struct str name, app_protocol; /* may be empty */
    uint16_t port;
    uint8_t protocol;            /* enum kprotocol */
    struct kport_or_name target; /* absent: port */
};

struct klb_ingress {
    struct str ip, hostname; /* one of them */
};

struct kservice {
    struct kobj obj;
    uint8_t type;                    /* enum kservice_type */
    uint8_t internal_traffic_policy; /* enum ktraffic_policy */
    bool publish_not_ready;
    KLIST(struct addr) cluster_ips; /* clusterIPs, else clusterIP; none when headless */
    KLIST(struct kservice_port) ports;
    struct kmap selector;
    struct str external_name;          /* of type ExternalName */
    KLIST(struct klb_ingress) ingress; /* status.loadBalancer */
    struct str traffic_distribution;
    struct kstrs ip_families; /* IPv4, IPv6 */
};
KOBJ_CAST(kobj_service, kservice, KOBJ_SERVICE)

/* -- EndpointSlice -- */

enum kaddress_type { KADDRESS_NONE, KADDRESS_IPV4, KADDRESS_IPV6, KADDRESS_FQDN };
enum ktri { KTRI_NONE, KTRI_FALSE, KTRI_TRUE }; /* a bool that may be absent */

struct kobject_ref {
    struct str kind, ns, name, uid;
};

struct kendpoint {
    struct kstrs addresses; /* addresses, checked; names when the slice's type is FQDN */
    uint8_t ready;          /* enum ktri */
    struct str node_name, zone;
    const struct kobject_ref *target; /* NULL when absent */
};

struct kslice_port {
    struct str name, app_protocol;
    uint16_t port;    /* 0: absent */
    uint8_t protocol; /* enum kprotocol */
};

struct kendpoint_slice {
    struct kobj obj;
    uint8_t address_type; /* enum kaddress_type */
    KLIST(struct kendpoint) endpoints;
    KLIST(struct kslice_port) ports;
};
KOBJ_CAST(kobj_endpoint_slice, kendpoint_slice, KOBJ_ENDPOINT_SLICE)
