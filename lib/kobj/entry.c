/* Tables of Istio's services and workloads. The rules are those of its CRDs and of its validation that decide what a
 * document means. */
#include "lib/kobj/entry.h"

#include <stdio.h>

#include "lib/kobj/ktable.h"

static const struct kfield string_item = {.form = KF_STRING, .check = kcheck_not_empty};
static const struct kmap_rule texts_rule = {.key = kcheck_not_empty};

/* -- workloads -- */

static const char *check_port_name(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= 'A' && s.p[i] <= 'Z') ||
              (s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] == '-' && i && i + 1 < s.n)))
            return "must be letters, digits and '-', and start and end with a letter or digit";
    return s.n && s.n <= 63 ? NULL : "must be 1 to 63 bytes";
}

static const struct kfield workload_fields[] = {
    {.name = "address", .form = KF_STRING, AT(kworkload, address), .max = 256},
    {.name = "ports",
     .form = KF_NUMBERS,
     AT(kworkload, ports),
     .max = 128,
     .low = 1,
     .high = 65535,
     .check = check_port_name},
    {.name = "labels", .form = KF_MAP, AT(kworkload, labels), .max = 256, .map = &klabels_rule},
    {.name = "network", .form = KF_STRING, AT(kworkload, network), .max = 2048},
    {.name = "locality", .form = KF_STRING, AT(kworkload, locality), .max = 2048},
    {.name = "weight", .form = KF_INT, AT(kworkload, weight)},
    {.name = "serviceAccount", .form = KF_STRING, AT(kworkload, service_account), .max = 253},
    END};

static bool is_socket(const struct kworkload *w)
{
    return str_starts(w->address, STR("unix://"));
}

static bool check_workload(void *obj, struct kwhy *why)
{
    const struct kworkload *w = obj;
    if (!is_socket(w))
        return true;
    char first = w->address.n > 7 ? w->address.p[7] : '\0';
    if (first != '/' && first != '@')
        return kwhy_set(why, "address", "must be unix:///PATH or unix://@NAME");
    if (str_ends(w->address, STR("/")))
        return kwhy_set(why, "address", "must not be a folder");
    return w->ports.n == 0 || kwhy_set(why, "ports", "must be empty with a UNIX socket");
}

static const struct ktype workload_type = {.size = sizeof(struct kworkload),
                                           .fields = workload_fields,
                                           .check = check_workload,
                                           .strict = true};
static const struct kfield workload_item = {.form = KF_STRUCT, .type = &workload_type};

/* -- ServiceEntry -- */

static const char *check_host(struct str s)
{
    if (str_eqz(s, "*"))
        return "must not be a bare wildcard";
    if (str_starts(s, STR("*")))
        s = (struct str){s.p + 1, s.n - 1};
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] == '*' || s.p[i] == '/' || s.p[i] <= ' ')
            return "must be a DNS name, which may begin with '*'";
    return s.n ? NULL : "must not be empty";
}

static const struct kfield host_item = {.form = KF_STRING, .max = 253, .check = check_host};
static const struct kfield cidr_item = {.form = KF_CIDR};
static const struct kfield entry_port_fields[] = {
    {.name = "number", .form = KF_PORT, .flags = KFL_REQUIRED, AT(kservice_entry_port, port)},
    {.name = "name",
     .form = KF_STRING,
     .flags = KFL_REQUIRED,
     AT(kservice_entry_port, name),
     .max = 256,
     .check = kcheck_not_empty},
    {.name = "protocol", .form = KF_STRING, AT(kservice_entry_port, protocol), .max = 256},
    {.name = "targetPort", .form = KF_PORT, AT(kservice_entry_port, target)},
    END};
static const struct ktype entry_port_type = {.size = sizeof(struct kservice_entry_port),
                                             .fields = entry_port_fields};
static const struct kfield entry_port_item = {.form = KF_STRUCT, .type = &entry_port_type};

static const char *const locations[] = {"MESH_EXTERNAL", "MESH_INTERNAL", NULL};
static const char *const resolutions[] = {"NONE",        "STATIC", "DNS", "DNS_ROUND_ROBIN",
                                          "DYNAMIC_DNS", NULL};
static const struct kfield entry_selector_fields[] = {{.name = "labels",
                                                       .form = KF_MAP,
                                                       AT(kservice_entry, selector),
                                                       .max = 256,
                                                       .map = &klabels_rule},
                                                      END};
static const struct ktype entry_selector_type = {.fields = entry_selector_fields};
static const struct kfield entry_spec_fields[] = {
    {.name = "hosts",
     .form = KF_LIST,
     .flags = KFL_REQUIRED | KFL_FILLED,
     AT(kservice_entry, hosts),
     .max = 256,
     .of = &host_item},
    {.name = "addresses",
     .form = KF_LIST,
     AT(kservice_entry, addresses),
     .max = 256,
     .of = &cidr_item},
    {.name = "ports",
     .form = KF_LIST,
     AT(kservice_entry, ports),
     .max = 256,
     .of = &entry_port_item},
    {.name = "location", .form = KF_ENUM, AT(kservice_entry, location), .words = locations},
    {.name = "resolution", .form = KF_ENUM, AT(kservice_entry, resolution), .words = resolutions},
    {.name = "endpoints", .form = KF_LIST, AT(kservice_entry, endpoints), .of = &workload_item},
    {.name = "workloadSelector", .form = KF_STRUCT, .type = &entry_selector_type},
    {.name = "exportTo",
     .form = KF_LIST,
     AT(kservice_entry, export_to),
     .max = 256,
     .of = &string_item},
    {.name = "subjectAltNames",
     .form = KF_LIST,
     AT(kservice_entry, subject_alt_names),
     .max = 256,
     .of = &string_item},
    END};

static const struct ktype entry_spec_type = {.fields = entry_spec_fields, .strict = true};
static const struct kfield entry_address_fields[] = {
    {.name = "value", .form = KF_STRING, AT(kentry_address, value), .max = 64},
    {.name = "host", .form = KF_STRING, AT(kentry_address, host), .max = 253},
    END};
static const struct ktype entry_address_type = {.size = sizeof(struct kentry_address),
                                                .fields = entry_address_fields};
static const struct kfield entry_address_item = {.form = KF_STRUCT, .type = &entry_address_type};
static const struct kfield entry_status_fields[] = {{.name = "addresses",
                                                     .form = KF_LIST,
                                                     AT(kservice_entry, status_addresses),
                                                     .max = 1024,
                                                     .of = &entry_address_item},
                                                    END};
static const struct ktype entry_status_type = {.fields = entry_status_fields};
static const struct kfield entry_fields[] = {
    KMETA_FIELD,
    {.name = "spec", .form = KF_STRUCT, .flags = KFL_REQUIRED, .type = &entry_spec_type},
    {.name = "status", .form = KF_STRUCT, .type = &entry_status_type},
    END};

static bool check_ports(const struct kservice_entry *e, struct kwhy *why)
{
    for (uint32_t i = 1; i < e->ports.n; i++)
        for (uint32_t k = 0; k < i; k++) {
            if (e->ports.v[i].port == e->ports.v[k].port)
                return kwhy_set(why, "spec.ports", "number %u stands twice", e->ports.v[i].port);
            if (str_eq(e->ports.v[i].name, e->ports.v[k].name))
                return kwhy_set(why, "spec.ports", "name \"%.*s\" stands twice",
                                (int)MIN(e->ports.v[i].name.n, 64u), e->ports.v[i].name.p);
        }
    return true;
}

static bool check_endpoints(const struct kservice_entry *e, struct kwhy *why)
{
    struct addr ip;
    if (e->resolution == KRESOLUTION_NONE && e->endpoints.n)
        return kwhy_set(why, "spec.endpoints", "must be empty with resolution NONE");
    if (e->resolution == KRESOLUTION_DNS_ROUND_ROBIN && e->endpoints.n > 1)
        return kwhy_set(why, "spec.endpoints",
                        "must be one at most with resolution DNS_ROUND_ROBIN");
    for (uint32_t i = 0; i < e->endpoints.n && e->resolution == KRESOLUTION_STATIC; i++) {
        const struct kworkload *w = &e->endpoints.v[i];
        char field[40];
        snprintf(field, sizeof(field), "spec.endpoints[%u].address", i);
        if (w->address.n && !is_socket(w) && addr_parse_ip(w->address, &ip) != RC_OK)
            return kwhy_set(why, field, "must be an IP address with resolution STATIC");
    }
    return true;
}

static bool check_entry(void *obj, struct kwhy *why)
{
    const struct kservice_entry *e = obj;
    bool ranges = e->resolution == KRESOLUTION_NONE || e->resolution == KRESOLUTION_STATIC;
    if (e->selector.n && e->endpoints.n)
        return kwhy_set(why, "spec.workloadSelector", "must not be set beside endpoints");
    for (uint32_t i = 0; i < e->addresses.n && !ranges; i++)
        if (e->addresses.v[i].bits != addr_len(&e->addresses.v[i].base) * 8)
            return kwhy_set(why, "spec.addresses",
                            "ranges are allowed with resolution NONE and STATIC only");
    return check_ports(e, why) && check_endpoints(e, why);
}

const struct ktype kservice_entry_type = {
    .size = sizeof(struct kservice_entry), .fields = entry_fields, .check = check_entry};

/* -- WorkloadEntry -- */

static const struct kfield condition_fields[] = {
    {.name = "type", .form = KF_STRING, AT(kcondition, type)},
    {.name = "status", .form = KF_STRING, AT(kcondition, status)},
    END};
static const struct ktype condition_type = {.size = sizeof(struct kcondition),
                                            .fields = condition_fields};
static const struct kfield condition_item = {.form = KF_STRUCT, .type = &condition_type};

static bool keep_healthy(const struct node *item)
{
    return str_eqz(node_str(node_get(item, "type")), "Healthy");
}

static const struct kfield workload_status_fields[] = {{.name = "conditions",
                                                        .form = KF_LIST,
                                                        AT(kworkload_entry, conditions),
                                                        .of = &condition_item,
                                                        .keep = keep_healthy},
                                                       END};
static const struct ktype workload_status_type = {.fields = workload_status_fields};
static const struct kfield workload_entry_fields[] = {
    KMETA_FIELD,
    {.name = "spec",
     .form = KF_STRUCT,
     .flags = KFL_REQUIRED,
     AT(kworkload_entry, workload),
     .type = &workload_type},
    {.name = "status", .form = KF_STRUCT, .type = &workload_status_type},
    END};

static bool check_workload_entry(void *obj, struct kwhy *why)
{
    const struct kworkload_entry *e = obj;
    return e->workload.address.n || e->workload.network.n ||
           kwhy_set(why, "spec.address", "is required unless network is set");
}

const struct ktype kworkload_entry_type = {.size = sizeof(struct kworkload_entry),
                                           .fields = workload_entry_fields,
                                           .check = check_workload_entry};

/* -- WorkloadGroup -- */

static const struct kfield group_meta_fields[] = {
    {.name = "labels", .form = KF_MAP, AT(kworkload_group, labels), .map = &klabels_rule},
    {.name = "annotations", .form = KF_MAP, AT(kworkload_group, annotations), .map = &texts_rule},
    END};
static const struct ktype group_meta_type = {.fields = group_meta_fields};
static const struct kfield group_spec_fields[] = {
    {.name = "metadata", .form = KF_STRUCT, .type = &group_meta_type},
    {.name = "template",
     .form = KF_STRUCT,
     .flags = KFL_REQUIRED,
     AT(kworkload_group, workload),
     .type = &workload_type},
    {.name = "probe", .form = KF_FOUND, AT(kworkload_group, probe)},
    END};
static const struct ktype group_spec_type = {.fields = group_spec_fields};
static const struct kfield group_fields[] = {
    KMETA_FIELD,
    {.name = "spec", .form = KF_STRUCT, .flags = KFL_REQUIRED, .type = &group_spec_type},
    END};
const struct ktype kworkload_group_type = {.size = sizeof(struct kworkload_group),
                                           .fields = group_fields};
