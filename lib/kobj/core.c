/* Tables of Kubernetes' own kinds. */
#include "lib/kobj/core.h"

#include <stdio.h>

#include "lib/kobj/ktable.h"

const struct kmap_rule klabels_rule = {.key = kcheck_label_key, .value = kcheck_label_value};

static const char *check_annotation_key(struct str s)
{
    char lower[254 + 64];
    if (s.n >= sizeof(lower))
        return "is too long";
    for (size_t i = 0; i < s.n; i++) /* only of annotations, and only here, case does not matter */
        lower[i] = (char)(s.p[i] >= 'A' && s.p[i] <= 'Z' ? s.p[i] - 'A' + 'a' : s.p[i]);
    return kcheck_label_key((struct str){lower, s.n});
}

/* Others write a lot into annotations (kubectl the whole object) that nobody here reads. */
static bool keep_annotation(struct str key)
{
    struct str rest, domain = str_split(key, '/', &rest);
    return str_ends(domain, STR("istio.io")) || str_ends(domain, STR("mesh.internal"));
}

const struct kmap_rule kannotations_rule = {
    .key = check_annotation_key, .keep = keep_annotation, .max_bytes = 256u << 10};

static const struct kfield owner_fields[] = {
    {.name = "apiVersion", .form = KF_STRING, AT(kowner, api_version)},
    {.name = "kind", .form = KF_STRING, AT(kowner, kind)},
    {.name = "name", .form = KF_STRING, AT(kowner, name)},
    {.name = "uid", .form = KF_STRING, AT(kowner, uid)},
    {.name = "controller", .form = KF_BOOL, AT(kowner, controller)},
    END};
static const struct ktype owner_type = {.size = sizeof(struct kowner), .fields = owner_fields};
static const struct kfield owner_item = {.form = KF_STRUCT, .type = &owner_type};

static const struct kfield meta_fields[] = {
    {.name = "name", .form = KF_STRING, .flags = KFL_REQUIRED, AT(kmeta, name), .max = 253},
    {.name = "namespace", .form = KF_STRING, AT(kmeta, ns), .max = 63},
    {.name = "uid", .form = KF_STRING, AT(kmeta, uid), .max = 128},
    {.name = "generateName", .form = KF_STRING, AT(kmeta, generate_name), .max = 253},
    {.name = "labels", .form = KF_MAP, AT(kmeta, labels), .map = &klabels_rule},
    {.name = "annotations", .form = KF_MAP, AT(kmeta, annotations), .map = &kannotations_rule},
    {.name = "creationTimestamp", .form = KF_TIME, AT(kmeta, created_s)},
    {.name = "deletionTimestamp", .form = KF_TIME, AT(kmeta, deleted_s)},
    {.name = "generation", .form = KF_INT64, AT(kmeta, generation)},
    {.name = "ownerReferences", .form = KF_LIST, AT(kmeta, owners), .max = 64, .of = &owner_item},
    END};
const struct ktype kmeta_type = {.size = sizeof(struct kmeta), .fields = meta_fields};

static const struct kfield addr_item = {.form = KF_ADDR};
static const struct kfield string_item = {.form = KF_STRING};
static const char *const protocols[] = {"TCP", "UDP", "SCTP", NULL};

/* -- kinds of which only the metadata is read -- */

static const struct kfield meta_only[] = {KMETA_FIELD, END};
const struct ktype knamespace_type = {.size = sizeof(struct knamespace), .fields = meta_only};
const struct ktype knode_type = {.size = sizeof(struct knode), .fields = meta_only};
const struct ktype kservice_account_type = {.size = sizeof(struct kservice_account),
                                            .fields = meta_only};

/* -- Secret, ConfigMap -- */

static const char *check_data_key(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= 'A' && s.p[i] <= 'Z') ||
              (s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] && strchr("-._", s.p[i]))))
            return "must be letters, digits, '-', '_' and '.'";
    return s.n && s.n <= 253 ? NULL : "must be 1 to 253 bytes";
}

static const struct kmap_rule texts_rule = {.key = check_data_key};
static const struct kmap_rule bytes_rule = {.key = check_data_key, .base64 = true};

static const struct kfield secret_fields[] = {
    KMETA_FIELD,
    {.name = "type", .form = KF_STRING, AT(ksecret, type), .max = 253},
    {.name = "data", .form = KF_MAP, AT(ksecret, data), .map = &bytes_rule},
    END};
const struct ktype ksecret_type = {.size = sizeof(struct ksecret), .fields = secret_fields};

static const struct kfield config_map_fields[] = {
    KMETA_FIELD,
    {.name = "data", .form = KF_MAP, AT(kconfig_map, data), .map = &texts_rule},
    {.name = "binaryData", .form = KF_MAP, AT(kconfig_map, binary), .map = &bytes_rule},
    END};
const struct ktype kconfig_map_type = {.size = sizeof(struct kconfig_map),
                                       .fields = config_map_fields};

/* -- Pod -- */

static const struct kfield container_port_fields[] = {
    {.name = "name", .form = KF_STRING, AT(kcontainer_port, name), .max = 63},
    {.name = "containerPort", .form = KF_PORT, .flags = KFL_REQUIRED, AT(kcontainer_port, port)},
    {.name = "protocol", .form = KF_ENUM, AT(kcontainer_port, protocol), .words = protocols},
    END};
static const struct ktype container_port_type = {.size = sizeof(struct kcontainer_port),
                                                 .fields = container_port_fields};
static const struct kfield container_port_item = {.form = KF_STRUCT, .type = &container_port_type};

static const char *const restarts[] = {"", "Always", NULL};
static const struct kfield container_fields[] = {
    {.name = "name", .form = KF_STRING, AT(kcontainer, name), .max = 63},
    {.name = "restartPolicy",
     .form = KF_ENUM,
     .flags = KFL_LAX,
     AT(kcontainer, restarts),
     .words = restarts},
    {.name = "ports", .form = KF_LIST, AT(kcontainer, ports), .of = &container_port_item},
    END};
static const struct ktype container_type = {.size = sizeof(struct kcontainer),
                                            .fields = container_fields};
static const struct kfield container_item = {.form = KF_STRUCT, .type = &container_type};

static bool keep_sidecar(const struct node *item)
{
    const struct node *policy = node_get(item, "restartPolicy");
    return policy && str_eqz(node_str(policy), "Always");
}

static const struct kfield pod_spec_fields[] = {
    {.name = "nodeName", .form = KF_STRING, AT(kpod, node_name), .max = 253},
    {.name = "serviceAccountName", .form = KF_STRING, AT(kpod, service_account), .max = 253},
    {.name = "hostname", .form = KF_STRING, AT(kpod, hostname), .max = 63},
    {.name = "subdomain", .form = KF_STRING, AT(kpod, subdomain), .max = 63},
    {.name = "hostNetwork", .form = KF_BOOL, AT(kpod, host_network)},
    {.name = "containers",
     .form = KF_LIST,
     AT(kpod, containers),
     .max = 1000,
     .of = &container_item},
    {.name = "initContainers",
     .form = KF_LIST,
     AT(kpod, init_containers),
     .max = 1000,
     .of = &container_item,
     .keep = keep_sidecar},
    END};
static const struct ktype pod_spec_type = {.fields = pod_spec_fields};

static const struct kfield condition_fields[] = {
    {.name = "type", .form = KF_STRING, AT(kcondition, type)},
    {.name = "status", .form = KF_STRING, AT(kcondition, status)},
    END};
static const struct ktype condition_type = {.size = sizeof(struct kcondition),
                                            .fields = condition_fields};
static const struct kfield condition_item = {.form = KF_STRUCT, .type = &condition_type};

static bool keep_ready(const struct node *item)
{
    const struct node *type = node_get(item, "type");
    return type && str_eqz(node_str(type), "Ready");
}

static const struct kfield pod_ip_fields[] = {
    {.name = "ip", .form = KF_ADDR, .flags = KFL_REQUIRED, .offset = 0}, END};
static const struct ktype pod_ip_type = {.size = sizeof(struct addr), .fields = pod_ip_fields};
static const struct kfield pod_ip_item = {.form = KF_STRUCT, .type = &pod_ip_type};

static bool not_blank(const struct node *n) /* "" and, of a headless Service, "None" */
{
    return n->kind != NODE_STRING || (n->text.n && !str_eqz(n->text, "None"));
}

static const char *const phases[] = {"",       "Pending", "Running", "Succeeded",
                                     "Failed", "Unknown", NULL};
static const struct kfield pod_status_fields[] = {
    {.name = "phase", .form = KF_ENUM, .flags = KFL_LAX, AT(kpod, phase), .words = phases},
    {.name = "podIPs", .form = KF_LIST, AT(kpod, ips), .max = 16, .of = &pod_ip_item},
    {.name = "podIP", .form = KF_ONE, AT(kpod, ips), .of = &addr_item, .keep = not_blank},
    {.name = "conditions",
     .form = KF_LIST,
     AT(kpod, conditions),
     .of = &condition_item,
     .keep = keep_ready},
    END};
static const struct ktype pod_status_type = {.fields = pod_status_fields};

static bool check_pod(void *obj, struct kwhy *why)
{
    struct kpod *p = obj;
    (void)why;
    if (p->service_account.n == 0)
        p->service_account = STR("default");
    return true;
}

static const struct kfield pod_fields[] = {
    KMETA_FIELD,
    {.name = "spec", .form = KF_STRUCT, .type = &pod_spec_type},
    {.name = "status", .form = KF_STRUCT, .type = &pod_status_type},
    END};
const struct ktype kpod_type = {
    .size = sizeof(struct kpod), .fields = pod_fields, .check = check_pod};

bool kpod_ready(const struct kpod *p)
{
    for (uint32_t i = 0; i < p->conditions.n; i++)
        if (str_eqz(p->conditions.v[i].status, "True"))
            return true;
    return false;
}

bool kpod_terminal(const struct kpod *p)
{
    return p->phase == KPOD_SUCCEEDED || p->phase == KPOD_FAILED;
}

/* -- Service -- */

static const struct kfield service_port_fields[] = {
    {.name = "name", .form = KF_STRING, AT(kservice_port, name), .max = 63},
    {.name = "appProtocol", .form = KF_STRING, AT(kservice_port, app_protocol), .max = 253},
    {.name = "port", .form = KF_PORT, .flags = KFL_REQUIRED, AT(kservice_port, port)},
    {.name = "protocol", .form = KF_ENUM, AT(kservice_port, protocol), .words = protocols},
    {.name = "targetPort", .form = KF_INT_OR_NAME, AT(kservice_port, target)},
    END};

static bool check_service_port(void *obj, struct kwhy *why)
{
    struct kservice_port *p = obj;
    (void)why;
    if (p->target.port == 0 && p->target.name.n == 0)
        p->target.port = p->port;
    return true;
}

static const struct ktype service_port_type = {.size = sizeof(struct kservice_port),
                                               .fields = service_port_fields,
                                               .check = check_service_port};
static const struct kfield service_port_item = {.form = KF_STRUCT, .type = &service_port_type};

static const char *const service_types[] = {"ClusterIP", "NodePort", "LoadBalancer", "ExternalName",
                                            NULL};
static const char *const traffic_policies[] = {"Cluster", "Local", NULL};
static const struct kfield service_spec_fields[] = {
    {.name = "type", .form = KF_ENUM, AT(kservice, type), .words = service_types},
    {.name = "internalTrafficPolicy",
     .form = KF_ENUM,
     AT(kservice, internal_traffic_policy),
     .words = traffic_policies},
    {.name = "publishNotReadyAddresses", .form = KF_BOOL, AT(kservice, publish_not_ready)},
    {.name = "clusterIPs",
     .form = KF_LIST,
     AT(kservice, cluster_ips),
     .max = 16,
     .of = &addr_item,
     .keep = not_blank},
    {.name = "clusterIP",
     .form = KF_ONE,
     AT(kservice, cluster_ips),
     .of = &addr_item,
     .keep = not_blank},
    {.name = "ports", .form = KF_LIST, AT(kservice, ports), .of = &service_port_item},
    {.name = "selector", .form = KF_MAP, AT(kservice, selector), .map = &klabels_rule},
    {.name = "externalName", .form = KF_STRING, AT(kservice, external_name), .max = 253},
    {.name = "trafficDistribution", .form = KF_STRING, AT(kservice, traffic_distribution)},
    {.name = "ipFamilies",
     .form = KF_LIST,
     AT(kservice, ip_families),
     .max = 16,
     .of = &string_item},
    END};
static const struct ktype service_spec_type = {.fields = service_spec_fields};
static const struct kfield lb_ingress_fields[] = {
    {.name = "ip", .form = KF_STRING, AT(klb_ingress, ip), .max = 64},
    {.name = "hostname", .form = KF_STRING, AT(klb_ingress, hostname), .max = 253},
    END};
static const struct ktype lb_ingress_type = {.size = sizeof(struct klb_ingress),
                                             .fields = lb_ingress_fields};
static const struct kfield lb_ingress_item = {.form = KF_STRUCT, .type = &lb_ingress_type};
static const struct kfield lb_status_fields[] = {
    {.name = "ingress", .form = KF_LIST, AT(kservice, ingress), .max = 64, .of = &lb_ingress_item},
    END};
static const struct ktype lb_status_type = {.fields = lb_status_fields};
static const struct kfield service_status_fields[] = {
    {.name = "loadBalancer", .form = KF_STRUCT, .type = &lb_status_type}, END};
static const struct ktype service_status_type = {.fields = service_status_fields};
static const struct kfield service_fields[] = {
    KMETA_FIELD,
    {.name = "spec", .form = KF_STRUCT, .type = &service_spec_type},
    {.name = "status", .form = KF_STRUCT, .type = &service_status_type},
    END};
const struct ktype kservice_type = {.size = sizeof(struct kservice), .fields = service_fields};

/* -- EndpointSlice -- */

static const struct kfield object_ref_fields[] = {
    {.name = "kind", .form = KF_STRING, AT(kobject_ref, kind)},
    {.name = "namespace", .form = KF_STRING, AT(kobject_ref, ns)},
    {.name = "name", .form = KF_STRING, AT(kobject_ref, name)},
    {.name = "uid", .form = KF_STRING, AT(kobject_ref, uid)},
    END};
static const struct ktype object_ref_type = {.size = sizeof(struct kobject_ref),
                                             .fields = object_ref_fields};

static const struct kfield endpoint_conditions_fields[] = {
    {.name = "ready", .form = KF_TRI, AT(kendpoint, ready)}, END};
static const struct ktype endpoint_conditions_type = {.fields = endpoint_conditions_fields};

static const struct kfield endpoint_fields[] = {
    {.name = "addresses",
     .form = KF_LIST,
     AT(kendpoint, addresses),
     .max = 100,
     .of = &string_item},
    {.name = "conditions", .form = KF_STRUCT, .type = &endpoint_conditions_type},
    {.name = "nodeName", .form = KF_STRING, AT(kendpoint, node_name), .max = 253},
    {.name = "zone", .form = KF_STRING, AT(kendpoint, zone), .max = 253},
    {.name = "targetRef", .form = KF_OPTION, AT(kendpoint, target), .type = &object_ref_type},
    END};
static const struct ktype endpoint_type = {.size = sizeof(struct kendpoint),
                                           .fields = endpoint_fields};
static const struct kfield endpoint_item = {.form = KF_STRUCT, .type = &endpoint_type};

static const struct kfield slice_port_fields[] = {
    {.name = "name", .form = KF_STRING, AT(kslice_port, name), .max = 63},
    {.name = "appProtocol", .form = KF_STRING, AT(kslice_port, app_protocol), .max = 253},
    {.name = "port", .form = KF_PORT, AT(kslice_port, port)},
    {.name = "protocol", .form = KF_ENUM, AT(kslice_port, protocol), .words = protocols},
    END};
static const struct ktype slice_port_type = {.size = sizeof(struct kslice_port),
                                             .fields = slice_port_fields};
static const struct kfield slice_port_item = {.form = KF_STRUCT, .type = &slice_port_type};

static bool check_slice(void *obj, struct kwhy *why)
{
    const struct kendpoint_slice *s = obj;
    for (uint32_t i = 0; i < s->endpoints.n; i++) {
        const struct kstrs *a = &s->endpoints.v[i].addresses;
        for (uint32_t j = 0; j < a->n && s->address_type != KADDRESS_FQDN; j++) {
            struct addr ip;
            if (addr_parse_ip(a->v[j], &ip) == RC_OK &&
                (ip.family == AF_INET) == (s->address_type == KADDRESS_IPV4))
                continue;
            snprintf(why->field, sizeof(why->field), "endpoints[%u].addresses[%u]", i, j);
            snprintf(why->reason, sizeof(why->reason), "\"%.40s\" is not an address of the type",
                     a->v[j].p);
            return false;
        }
    }
    return true;
}

static const char *const address_types[] = {"", "IPv4", "IPv6", "FQDN", NULL};
static const struct kfield slice_fields[] = {
    KMETA_FIELD,
    {.name = "addressType",
     .form = KF_ENUM,
     .flags = KFL_REQUIRED,
     AT(kendpoint_slice, address_type),
     .words = address_types},
    {.name = "endpoints", .form = KF_LIST, AT(kendpoint_slice, endpoints), .of = &endpoint_item},
    {.name = "ports", .form = KF_LIST, AT(kendpoint_slice, ports), .of = &slice_port_item},
    END};
const struct ktype kendpoint_slice_type = {
    .size = sizeof(struct kendpoint_slice), .fields = slice_fields, .check = check_slice};
