/* Istio's services and workloads that are not Kubernetes' own (networking.istio.io). */
#pragma once

#include "lib/kobj/core.h"
#include "lib/kobj/policy.h"

struct
    kworkload { /* a WorkloadEntry's spec, a ServiceEntry's endpoint, a WorkloadGroup's template */
    struct str address; /* an IP address, a name, "unix:///PATH", or empty (other networks) */
    KLIST(struct knumber) ports;
    struct kmap labels;
    struct str network, locality, service_account;
    int32_t weight; /* 0: as the others */
};

enum klocation { KLOCATION_EXTERNAL, KLOCATION_INTERNAL };
enum kresolution {
    KRESOLUTION_NONE,
    KRESOLUTION_STATIC,
    KRESOLUTION_DNS,
    KRESOLUTION_DNS_ROUND_ROBIN,
    KRESOLUTION_DYNAMIC_DNS,
};

struct kservice_entry_port {
    struct str name, protocol;
    uint16_t port, target; /* target 0: port */
};

struct kentry_address { /* assigned by a controller */
    struct str value, host;
};

struct kservice_entry {
    struct kobj obj;
    struct kstrs hosts;
    KLIST(struct cidr) addresses;
    KLIST(struct kservice_entry_port) ports;
    uint8_t location;   /* enum klocation */
    uint8_t resolution; /* enum kresolution */
    KLIST(struct kworkload) endpoints;
    struct kmap selector; /* of pods and WorkloadEntries; empty: endpoints say */
    struct kstrs export_to, subject_alt_names;
    KLIST(struct kentry_address) status_addresses;
};
KOBJ_CAST(kobj_service_entry, kservice_entry, KOBJ_SERVICE_ENTRY)

struct kworkload_entry {
    struct kobj obj;
    struct kworkload workload;
    KLIST(struct kcondition) conditions; /* only Healthy */
};
KOBJ_CAST(kobj_workload_entry, kworkload_entry, KOBJ_WORKLOAD_ENTRY)

struct kworkload_group {
    struct kobj obj;
    struct kmap labels, annotations; /* of the WorkloadEntries made from it */
    struct kworkload workload;
    bool probe; /* it has one */
};
KOBJ_CAST(kobj_workload_group, kworkload_group, KOBJ_WORKLOAD_GROUP)
