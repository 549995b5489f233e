/* Kinds of Kubernetes that the mesh looks after or has to get along with, as far as it reads them: what runs its
 * proxies, what scales and protects that, who calls it, and who else filters traffic. */
#pragma once

#include "lib/kobj/core.h"
#include "lib/kobj/selector.h"

/* -- Deployment, DaemonSet (apps/v1) -- */

struct
    kdeployment { /* of a DaemonSet: replicas as desiredNumberScheduled, ready as numberReady … */
    struct kobj obj;
    int32_t replicas; /* wanted */
    struct klabel_selector selector;
    int64_t observed_generation;
    int32_t updated, ready, available;
    KLIST(struct kcondition) conditions;
};
static inline const struct kdeployment *kobj_deployment(const struct kobj *o)
{
    MUST(o->kind == KOBJ_DEPLOYMENT || o->kind == KOBJ_DAEMON_SET);
    return container_of(o, struct kdeployment, obj);
}

/* -- HorizontalPodAutoscaler (autoscaling/v2), PodDisruptionBudget (policy/v1) -- */

struct kautoscaler {
    struct kobj obj;
    struct str target_kind, target_name;
    int32_t min, max;         /* min 1 when absent */
    int32_t current, desired; /* of the status */
};
KOBJ_CAST(kobj_autoscaler, kautoscaler, KOBJ_AUTOSCALER)

struct kdisruption_budget {
    struct kobj obj;
    const struct klabel_selector *selector; /* NULL: selects nothing */
    int32_t allowed, healthy, desired, expected;
};
KOBJ_CAST(kobj_disruption_budget, kdisruption_budget, KOBJ_DISRUPTION_BUDGET)

/* -- NetworkPolicy (networking.k8s.io/v1): it allows, so it is understood whole or refused -- */

struct kip_block {
    struct cidr cidr;
    KLIST(struct cidr) except;
};

struct knetpol_peer { /* pods, of namespaces or of the policy's own, or a block */
    const struct klabel_selector *pods, *namespaces;
    const struct kip_block *block;
};

struct knetpol_port {
    struct kport_or_name port; /* absent: all */
    uint16_t end_port;         /* 0: none */
    uint8_t protocol;          /* enum kprotocol */
};

struct knetpol_rule {
    KLIST(struct knetpol_peer) peers; /* empty: everybody */
    KLIST(struct knetpol_port) ports; /* empty: all */
};

struct knetwork_policy {
    struct kobj obj;
    struct klabel_selector pods;
    bool for_ingress, for_egress; /* policyTypes, or what follows from the rules */
    KLIST(struct knetpol_rule) ingress;
    KLIST(struct knetpol_rule) egress;
    struct kstrs types; /* as written */
};
KOBJ_CAST(kobj_network_policy, knetwork_policy, KOBJ_NETWORK_POLICY)

/* -- MutatingWebhookConfiguration, ValidatingWebhookConfiguration (admissionregistration.k8s.io/v1) -- */

struct kwebhook {
    struct str name, url; /* url empty: the service */
    struct str service_ns, service_name, service_path;
    int32_t service_port;
    struct str ca_bundle; /* PEM, decoded */
    uint8_t failure;      /* policy: 0 Fail, 1 Ignore */
    const struct klabel_selector *namespaces, *objects;
};

struct kwebhooks {
    struct kobj obj;
    KLIST(struct kwebhook) webhooks;
};
static inline const struct kwebhooks *kobj_webhooks(const struct kobj *o)
{
    MUST(o->kind == KOBJ_MUTATING_WEBHOOKS || o->kind == KOBJ_VALIDATING_WEBHOOKS);
    return container_of(o, struct kwebhooks, obj);
}
