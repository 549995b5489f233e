/* Tables of the kinds of Kubernetes that are not traffic's own. */
#include "lib/kobj/platform.h"

#include "lib/kobj/ktable.h"

#define STRING(json, T, m)    {.name = (json), .form = KF_STRING, AT(T, m)}
#define COUNT(json, T, m)     {.name = (json), .form = KF_INT, AT(T, m)}
#define OPTION(json, T, m, t) {.name = (json), .form = KF_OPTION, AT(T, m), .type = &(t)}
#define INLINE(json, t)       {.name = (json), .form = KF_STRUCT, .type = &(t)}
#define LIST(json, T, m, item) \
    {.name = (json), .form = KF_LIST, AT(T, m), .max = 1024, .of = &(item)}
#define KIND_FIELDS(what)                                                                        \
    static const struct kfield what##_fields[] = {KMETA_FIELD, INLINE("spec", what##_spec_type), \
                                                  INLINE("status", what##_status_type), END}
#define PART(what) static const struct ktype what##_type = {.fields = what##_fields}

/* -- Deployment, DaemonSet -- */

static const struct kfield condition_fields[] = {STRING("type", kcondition, type),
                                                 STRING("status", kcondition, status), END};
static const struct ktype condition_type = {.size = sizeof(struct kcondition),
                                            .fields = condition_fields};
static const struct kfield condition_item = {.form = KF_STRUCT, .type = &condition_type};
#define SELECTOR                \
    {.name = "selector",        \
     .form = KF_STRUCT,         \
     AT(kdeployment, selector), \
     .type = &klabel_selector_type}
#define OBSERVED                                                                            \
    {.name = "observedGeneration", .form = KF_INT64, AT(kdeployment, observed_generation)}, \
        LIST("conditions", kdeployment, conditions, condition_item)

static const struct kfield deployment_spec_fields[] = {
    {.name = "replicas", .form = KF_INT, AT(kdeployment, replicas), .def = 1}, SELECTOR, END};
PART(deployment_spec);
static const struct kfield deployment_status_fields[] = {
    OBSERVED, COUNT("updatedReplicas", kdeployment, updated),
    COUNT("readyReplicas", kdeployment, ready), COUNT("availableReplicas", kdeployment, available),
    END};
PART(deployment_status);
KIND_FIELDS(deployment);
const struct ktype kdeployment_type = {.size = sizeof(struct kdeployment),
                                       .fields = deployment_fields};

static const struct kfield daemon_spec_fields[] = {SELECTOR, END};
PART(daemon_spec);
static const struct kfield daemon_status_fields[] = {
    OBSERVED,
    COUNT("desiredNumberScheduled", kdeployment, replicas),
    COUNT("updatedNumberScheduled", kdeployment, updated),
    COUNT("numberReady", kdeployment, ready),
    COUNT("numberAvailable", kdeployment, available),
    END};
PART(daemon_status);
KIND_FIELDS(daemon);
const struct ktype kdaemon_set_type = {.size = sizeof(struct kdeployment), .fields = daemon_fields};

/* -- HorizontalPodAutoscaler, PodDisruptionBudget -- */

static const struct kfield target_fields[] = {STRING("kind", kautoscaler, target_kind),
                                              STRING("name", kautoscaler, target_name), END};
PART(target);
static const struct kfield scaler_spec_fields[] = {
    INLINE("scaleTargetRef", target_type),
    {.name = "minReplicas", .form = KF_INT, AT(kautoscaler, min), .def = 1},
    COUNT("maxReplicas", kautoscaler, max),
    END};
PART(scaler_spec);
static const struct kfield scaler_status_fields[] = {COUNT("currentReplicas", kautoscaler, current),
                                                     COUNT("desiredReplicas", kautoscaler, desired),
                                                     END};
PART(scaler_status);
KIND_FIELDS(scaler);
const struct ktype kautoscaler_type = {.size = sizeof(struct kautoscaler), .fields = scaler_fields};

static const struct kfield budget_spec_fields[] = {
    OPTION("selector", kdisruption_budget, selector, klabel_selector_type), END};
PART(budget_spec);
static const struct kfield budget_status_fields[] = {
    COUNT("disruptionsAllowed", kdisruption_budget, allowed),
    COUNT("currentHealthy", kdisruption_budget, healthy),
    COUNT("desiredHealthy", kdisruption_budget, desired),
    COUNT("expectedPods", kdisruption_budget, expected), END};
PART(budget_status);
KIND_FIELDS(budget);
const struct ktype kdisruption_budget_type = {.size = sizeof(struct kdisruption_budget),
                                              .fields = budget_fields};

/* -- NetworkPolicy -- */

static const struct kfield string_item = {.form = KF_STRING, .max = 64};
static const struct kfield cidr_item = {.form = KF_CIDR};
static const char *const protocols[] = {"TCP", "UDP", "SCTP", NULL};

static const struct kfield block_fields[] = {
    {.name = "cidr", .form = KF_CIDR, .flags = KFL_REQUIRED, AT(kip_block, cidr)},
    LIST("except", kip_block, except, cidr_item),
    END};
static const struct ktype block_type = {.size = sizeof(struct kip_block), .fields = block_fields};
static const struct kfield peer_fields[] = {
    OPTION("podSelector", knetpol_peer, pods, klabel_selector_type),
    OPTION("namespaceSelector", knetpol_peer, namespaces, klabel_selector_type),
    OPTION("ipBlock", knetpol_peer, block, block_type), END};

static bool check_peer(void *obj, struct kwhy *why)
{
    const struct knetpol_peer *p = obj;
    if (p->block && (p->pods || p->namespaces))
        return kwhy_set(why, "ipBlock", "must not be set beside selectors");
    return p->block || p->pods || p->namespaces ||
           kwhy_set(why, "", "must have podSelector, namespaceSelector or ipBlock");
}

static const struct ktype peer_type = {
    .size = sizeof(struct knetpol_peer), .fields = peer_fields, .check = check_peer};
static const struct kfield peer_item = {.form = KF_STRUCT, .type = &peer_type};
static const struct kfield port_fields[] = {
    {.name = "port", .form = KF_INT_OR_NAME, AT(knetpol_port, port)},
    {.name = "endPort", .form = KF_PORT, AT(knetpol_port, end_port)},
    {.name = "protocol", .form = KF_ENUM, AT(knetpol_port, protocol), .words = protocols},
    END};

static bool check_port(void *obj, struct kwhy *why)
{
    const struct knetpol_port *p = obj;
    return p->end_port == 0 || (p->port.port && p->port.port <= p->end_port) ||
           kwhy_set(why, "endPort", "needs a port that is a number and no greater");
}

static const struct ktype port_type = {
    .size = sizeof(struct knetpol_port), .fields = port_fields, .check = check_port};
static const struct kfield port_item = {.form = KF_STRUCT, .type = &port_type};
static const struct kfield ingress_fields[] = {LIST("from", knetpol_rule, peers, peer_item),
                                               LIST("ports", knetpol_rule, ports, port_item), END};
static const struct ktype ingress_type = {.size = sizeof(struct knetpol_rule),
                                          .fields = ingress_fields};
static const struct kfield ingress_item = {.form = KF_STRUCT, .type = &ingress_type};
static const struct kfield egress_fields[] = {LIST("to", knetpol_rule, peers, peer_item),
                                              LIST("ports", knetpol_rule, ports, port_item), END};
static const struct ktype egress_type = {.size = sizeof(struct knetpol_rule),
                                         .fields = egress_fields};
static const struct kfield egress_item = {.form = KF_STRUCT, .type = &egress_type};
static const struct kfield netpol_spec_fields[] = {
    {.name = "podSelector",
     .form = KF_STRUCT,
     AT(knetwork_policy, pods),
     .type = &klabel_selector_type},
    LIST("ingress", knetwork_policy, ingress, ingress_item),
    LIST("egress", knetwork_policy, egress, egress_item),
    LIST("policyTypes", knetwork_policy, types, string_item),
    END};
static const struct ktype netpol_spec_type = {.fields = netpol_spec_fields, .strict = true};
static const struct kfield netpol_fields[] = {KMETA_FIELD, INLINE("spec", netpol_spec_type), END};

/* Absent types: ingress always, egress when there are rules for it. */
static bool check_netpol(void *obj, struct kwhy *why)
{
    struct knetwork_policy *p = obj;
    p->for_ingress = p->types.n == 0;
    p->for_egress = p->types.n == 0 && p->egress.n;
    for (uint32_t i = 0; i < p->types.n; i++) {
        bool in = str_eqz(p->types.v[i], "Ingress"), out = str_eqz(p->types.v[i], "Egress");
        p->for_ingress = p->for_ingress || in;
        p->for_egress = p->for_egress || out;
        if (!in && !out)
            return kwhy_set(why, "spec.policyTypes", "\"%.*s\" is none of Ingress, Egress",
                            (int)MIN(p->types.v[i].n, 40u), p->types.v[i].p);
    }
    return true;
}

const struct ktype knetwork_policy_type = {
    .size = sizeof(struct knetwork_policy), .fields = netpol_fields, .check = check_netpol};

/* -- webhooks -- */

static const struct kfield service_fields[] = {STRING("namespace", kwebhook, service_ns),
                                               STRING("name", kwebhook, service_name),
                                               STRING("path", kwebhook, service_path),
                                               {.name = "port",
                                                .form = KF_INT,
                                                AT(kwebhook, service_port),
                                                .low = 1,
                                                .high = 65535,
                                                .def = 443},
                                               END};
PART(service);
static const struct kfield client_fields[] = {
    {.name = "url", .form = KF_STRING, AT(kwebhook, url), .max = 4096},
    INLINE("service", service_type),
    {.name = "caBundle", .form = KF_BYTES, AT(kwebhook, ca_bundle), .max = 1u << 20},
    END};
PART(client);
static const char *const failures[] = {"Fail", "Ignore", NULL};
static const struct kfield webhook_fields[] = {
    STRING("name", kwebhook, name),
    INLINE("clientConfig", client_type),
    {.name = "failurePolicy", .form = KF_ENUM, AT(kwebhook, failure), .words = failures},
    OPTION("namespaceSelector", kwebhook, namespaces, klabel_selector_type),
    OPTION("objectSelector", kwebhook, objects, klabel_selector_type),
    END};
static const struct ktype webhook_type = {.size = sizeof(struct kwebhook),
                                          .fields = webhook_fields};
static const struct kfield webhook_item = {.form = KF_STRUCT, .type = &webhook_type};
static const struct kfield webhooks_fields[] = {
    KMETA_FIELD, LIST("webhooks", kwebhooks, webhooks, webhook_item), END};
const struct ktype kwebhooks_type = {.size = sizeof(struct kwebhooks), .fields = webhooks_fields};
