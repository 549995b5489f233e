/* Tables of the Gateway API's kinds that are not routes. */
#include "lib/kobj/gateway.h"

#include "lib/kobj/ktable.h"

/* -- parts that many have -- */

static const char *check_hostname(struct str s)
{
    if (str_starts(s, STR("*.")))
        s = (struct str){s.p + 2, s.n - 2};
    return kcheck_subdomain(s) ? "must be a DNS name in lower case, whose first label may be '*'"
                               : NULL;
}

const struct kfield kgateway_hostname_item = {
    .form = KF_STRING, .max = 253, .check = check_hostname};

static const struct kfield condition_fields[] = {
    {.name = "type", .form = KF_STRING, AT(kstatus_condition, type)},
    {.name = "status", .form = KF_STRING, AT(kstatus_condition, status)},
    {.name = "reason", .form = KF_STRING, AT(kstatus_condition, reason)},
    {.name = "message", .form = KF_STRING, AT(kstatus_condition, message), .max = 32768},
    {.name = "observedGeneration", .form = KF_INT64, AT(kstatus_condition, observed_generation)},
    END};
static const struct ktype condition_type = {.size = sizeof(struct kstatus_condition),
                                            .fields = condition_fields};
const struct kfield kstatus_condition_item = {.form = KF_STRUCT, .type = &condition_type};
#define CONDITIONS(owner)   \
    {.name = "conditions",  \
     .form = KF_LIST,       \
     AT(owner, conditions), \
     .max = 64,             \
     .of = &kstatus_condition_item}

#define GROUP(how)            \
    {.name = "group",         \
     .form = KF_STRING,       \
     AT(kgateway_ref, group), \
     .max = 253,              \
     .check = kcheck_group,   \
     how}
#define KIND(how)            \
    {.name = "kind",         \
     .form = KF_STRING,      \
     AT(kgateway_ref, kind), \
     .max = 63,              \
     .check = kcheck_kind,   \
     how}
#define NAME(how)               \
    {.name = "name",            \
     .form = KF_STRING,         \
     AT(kgateway_ref, name),    \
     .max = 253,                \
     .check = kcheck_not_empty, \
     how}
#define NAMESPACE {.name = "namespace", .form = KF_STRING, AT(kgateway_ref, ns), .max = 63}
#define SECTION   {.name = "sectionName", .form = KF_STRING, AT(kgateway_ref, section), .max = 253}
#define REQUIRED  .flags = KFL_REQUIRED
#define OPTIONAL  .flags = 0

static const struct kfield parent_ref_fields[] = {
    GROUP(.text = GATEWAY_GROUP),
    KIND(.text = "Gateway"),
    NAMESPACE,
    NAME(REQUIRED),
    SECTION,
    {.name = "port", .form = KF_PORT, AT(kgateway_ref, port)},
    END};
const struct ktype kparent_ref_type = {.size = sizeof(struct kgateway_ref),
                                       .fields = parent_ref_fields};

static const struct kfield object_fields[] = {GROUP(REQUIRED), KIND(REQUIRED), NAMESPACE,
                                              NAME(REQUIRED), END};
static const struct ktype object_type = {.size = sizeof(struct kgateway_ref),
                                         .fields = object_fields};
static const struct kfield object_item = {.form = KF_STRUCT, .type = &object_type};

static const struct kfield secret_fields[] = {GROUP(OPTIONAL), KIND(.text = "Secret"), NAMESPACE,
                                              NAME(REQUIRED), END};
static const struct ktype secret_type = {.size = sizeof(struct kgateway_ref),
                                         .fields = secret_fields};
static const struct kfield secret_item = {.form = KF_STRUCT, .type = &secret_type};

static const struct kfield route_kind_fields[] = {GROUP(.text = GATEWAY_GROUP), KIND(REQUIRED),
                                                  END};
static const struct ktype route_kind_type = {.size = sizeof(struct kgateway_ref),
                                             .fields = route_kind_fields};
static const struct kfield route_kind_item = {.form = KF_STRUCT, .type = &route_kind_type};

static const struct kmap_rule options_rule = {.key = kcheck_not_empty};

/* -- GatewayClass -- */

static const struct kfield class_spec_fields[] = {{.name = "controllerName",
                                                   .form = KF_STRING,
                                                   .flags = KFL_REQUIRED,
                                                   AT(kgateway_class, controller),
                                                   .max = 253,
                                                   .check = kcheck_controller},
                                                  {.name = "parametersRef",
                                                   .form = KF_OPTION,
                                                   AT(kgateway_class, parameters),
                                                   .type = &object_type},
                                                  END};
static const struct ktype class_spec_type = {.fields = class_spec_fields};

static const struct kfield feature_fields[] = {{.name = "name", .form = KF_STRING, .offset = 0},
                                               END};
static const struct ktype feature_type = {.size = sizeof(struct kgateway_feature),
                                          .fields = feature_fields};
static const struct kfield feature_item = {.form = KF_STRUCT, .type = &feature_type};

/* v1beta1 of the experimental channel had plain strings here. */
static bool keep_feature(const struct node *item)
{
    return item->kind == NODE_MAP;
}

static const struct kfield class_status_fields[] = {CONDITIONS(kgateway_class),
                                                    {.name = "supportedFeatures",
                                                     .form = KF_LIST,
                                                     AT(kgateway_class, features),
                                                     .max = 256,
                                                     .of = &feature_item,
                                                     .keep = keep_feature},
                                                    END};
static const struct ktype class_status_type = {.fields = class_status_fields};
static const struct kfield class_fields[] = {
    KMETA_FIELD,
    {.name = "spec", .form = KF_STRUCT, .flags = KFL_REQUIRED, .type = &class_spec_type},
    {.name = "status", .form = KF_STRUCT, .type = &class_status_type},
    END};
const struct ktype kgateway_class_type = {.size = sizeof(struct kgateway_class),
                                          .fields = class_fields};

/* -- listeners -- */

static const char *const froms[] = {"Same", "All", "Selector", "None", NULL};
static const struct kfield allowed_fields[] = {
    {.name = "from", .form = KF_ENUM, AT(kallowed, from), .words = froms},
    {.name = "selector", .form = KF_OPTION, AT(kallowed, selector), .type = &klabel_selector_type},
    END};

static bool check_allowed(void *obj, struct kwhy *why)
{
    const struct kallowed *a = obj;
    return a->from != KALLOWED_SELECTOR || a->selector ||
           kwhy_set(why, "selector", "is required with from Selector");
}

static const struct ktype allowed_type = {.size = sizeof(struct kallowed),
                                          .fields = allowed_fields,
                                          .strict = true,
                                          .check = check_allowed};

static const struct kfield allowed_routes_fields[] = {
    {.name = "namespaces", .form = KF_STRUCT, AT(klistener, allowed), .type = &allowed_type},
    {.name = "kinds", .form = KF_LIST, AT(klistener, kinds), .max = 64, .of = &route_kind_item},
    END};
static const struct ktype allowed_routes_type = {.fields = allowed_routes_fields, .strict = true};

static const char *const tls_modes[] = {"Terminate", "Passthrough", NULL};
static const struct kfield listener_tls_fields[] = {
    {.name = "mode", .form = KF_ENUM, AT(klistener_tls, mode), .words = tls_modes},
    {.name = "certificateRefs",
     .form = KF_LIST,
     AT(klistener_tls, certificates),
     .max = 64,
     .of = &secret_item},
    {.name = "options",
     .form = KF_MAP,
     AT(klistener_tls, options),
     .max = 64,
     .map = &options_rule},
    {.name = "frontendValidation", .form = KF_FOUND, AT(klistener_tls, validates)},
    END};
static const struct ktype listener_tls_type = {.size = sizeof(struct klistener_tls),
                                               .fields = listener_tls_fields};

static const struct kfield listener_fields[] = {
    {.name = "name",
     .form = KF_STRING,
     .flags = KFL_REQUIRED,
     AT(klistener, name),
     .max = 253,
     .check = kcheck_subdomain},
    {.name = "hostname",
     .form = KF_STRING,
     AT(klistener, hostname),
     .max = 253,
     .check = check_hostname},
    {.name = "port", .form = KF_PORT, .flags = KFL_REQUIRED, AT(klistener, port)},
    {.name = "protocol",
     .form = KF_STRING,
     .flags = KFL_REQUIRED,
     AT(klistener, protocol),
     .max = 255,
     .check = kcheck_not_empty},
    {.name = "tls", .form = KF_OPTION, AT(klistener, tls), .type = &listener_tls_type},
    {.name = "allowedRoutes", .form = KF_STRUCT, .type = &allowed_routes_type},
    END};

static bool check_listener(void *obj, struct kwhy *why)
{
    const struct klistener *l = obj;
    bool plain =
        str_eqz(l->protocol, "HTTP") || str_eqz(l->protocol, "TCP") || str_eqz(l->protocol, "UDP");
    if (plain && l->tls)
        return kwhy_set(why, "tls", "must not be set with protocol %.*s", STR_ARG(l->protocol));
    if (str_eqz(l->protocol, "HTTPS") && l->tls && l->tls->mode != KTLS_TERMINATE)
        return kwhy_set(why, "tls.mode", "must be Terminate with protocol HTTPS");
    if (l->hostname.n && (str_eqz(l->protocol, "TCP") || str_eqz(l->protocol, "UDP")))
        return kwhy_set(why, "hostname", "must not be set with protocol %.*s",
                        STR_ARG(l->protocol));
    return true;
}

static const struct ktype listener_type = {
    .size = sizeof(struct klistener), .fields = listener_fields, .check = check_listener};
static const struct kfield listener_item = {.form = KF_STRUCT, .type = &listener_type};

static const struct kfield listener_status_fields[] = {
    {.name = "name", .form = KF_STRING, AT(klistener_status, name), .max = 253},
    {.name = "attachedRoutes", .form = KF_INT, AT(klistener_status, attached_routes)},
    {.name = "supportedKinds",
     .form = KF_LIST,
     AT(klistener_status, kinds),
     .max = 64,
     .of = &route_kind_item},
    CONDITIONS(klistener_status),
    END};
static const struct ktype listener_status_type = {.size = sizeof(struct klistener_status),
                                                  .fields = listener_status_fields};
static const struct kfield listener_status_item = {.form = KF_STRUCT,
                                                   .type = &listener_status_type};

static bool unique_listeners(const struct klistener *v, uint32_t n, struct kwhy *why)
{
    for (uint32_t i = 1; i < n; i++)
        for (uint32_t k = 0; k < i; k++)
            if (str_eq(v[i].name, v[k].name))
                return kwhy_set(why, "spec.listeners", "two have the name \"%.*s\"",
                                (int)MIN(v[i].name.n, 63u), v[i].name.p);
    return true;
}

/* -- Gateway -- */

static const struct kfield address_fields[] = {
    {.name = "type",
     .form = KF_STRING,
     AT(kgateway_address, type),
     .max = 253,
     .text = "IPAddress"},
    {.name = "value", .form = KF_STRING, AT(kgateway_address, value), .max = 253},
    END};

static bool check_address(void *obj, struct kwhy *why)
{
    const struct kgateway_address *a = obj;
    struct addr ip;
    if (a->value.n && str_eqz(a->type, "IPAddress") && addr_parse_ip(a->value, &ip) != RC_OK)
        return kwhy_set(why, "value", "\"%.*s\" is not an IP address", (int)MIN(a->value.n, 64u),
                        a->value.p);
    if (a->value.n && str_eqz(a->type, "Hostname") && check_hostname(a->value))
        return kwhy_set(why, "value", "\"%.*s\" is not a host name", (int)MIN(a->value.n, 64u),
                        a->value.p);
    return true;
}

static const struct ktype address_type = {
    .size = sizeof(struct kgateway_address), .fields = address_fields, .check = check_address};
static const struct kfield address_item = {.form = KF_STRUCT, .type = &address_type};

static const struct kfield infrastructure_fields[] = {
    {.name = "labels", .form = KF_MAP, AT(kgateway, infra_labels), .max = 64, .map = &klabels_rule},
    {.name = "annotations",
     .form = KF_MAP,
     AT(kgateway, infra_annotations),
     .max = 64,
     .map = &options_rule},
    {.name = "parametersRef",
     .form = KF_OPTION,
     AT(kgateway, infra_parameters),
     .type = &object_type},
    END};
static const struct ktype infrastructure_type = {.fields = infrastructure_fields};

static const struct kfield allowed_listeners_fields[] = {
    {.name = "namespaces", .form = KF_STRUCT, AT(kgateway, allowed_sets), .type = &allowed_type},
    END};
static const struct ktype allowed_listeners_type = {.fields = allowed_listeners_fields,
                                                    .strict = true};

static const struct kfield gateway_tls_fields[] = {
    {.name = "frontend", .form = KF_FOUND, AT(kgateway, frontend_tls)},
    {.name = "backend", .form = KF_FOUND, AT(kgateway, backend_tls)},
    END};
static const struct ktype gateway_tls_type = {.fields = gateway_tls_fields};

static const struct kfield gateway_spec_fields[] = {
    {.name = "gatewayClassName",
     .form = KF_STRING,
     .flags = KFL_REQUIRED,
     AT(kgateway, class_name),
     .max = 253,
     .check = kcheck_not_empty},
    {.name = "listeners",
     .form = KF_LIST,
     .flags = KFL_REQUIRED | KFL_FILLED,
     AT(kgateway, listeners),
     .max = 64,
     .of = &listener_item},
    {.name = "addresses", .form = KF_LIST, AT(kgateway, addresses), .max = 16, .of = &address_item},
    {.name = "infrastructure", .form = KF_STRUCT, .type = &infrastructure_type},
    {.name = "allowedListeners", .form = KF_STRUCT, .type = &allowed_listeners_type},
    {.name = "tls", .form = KF_STRUCT, .type = &gateway_tls_type},
    END};
static const struct ktype gateway_spec_type = {.fields = gateway_spec_fields};

static const struct kfield gateway_status_fields[] = {{.name = "addresses",
                                                       .form = KF_LIST,
                                                       AT(kgateway, status_addresses),
                                                       .max = 64,
                                                       .of = &address_item},
                                                      CONDITIONS(kgateway),
                                                      {.name = "listeners",
                                                       .form = KF_LIST,
                                                       AT(kgateway, listener_statuses),
                                                       .max = 64,
                                                       .of = &listener_status_item},
                                                      END};
static const struct ktype gateway_status_type = {.fields = gateway_status_fields};
static const struct kfield gateway_fields[] = {
    KMETA_FIELD,
    {.name = "spec", .form = KF_STRUCT, .flags = KFL_REQUIRED, .type = &gateway_spec_type},
    {.name = "status", .form = KF_STRUCT, .type = &gateway_status_type},
    END};

static bool check_gateway(void *obj, struct kwhy *why)
{
    const struct kgateway *g = obj;
    return unique_listeners(g->listeners.v, g->listeners.n, why);
}

const struct ktype kgateway_type = {
    .size = sizeof(struct kgateway), .fields = gateway_fields, .check = check_gateway};

/* -- ListenerSet -- */

static const struct kfield set_spec_fields[] = {{.name = "parentRef",
                                                 .form = KF_STRUCT,
                                                 .flags = KFL_REQUIRED,
                                                 AT(klistener_set, parent),
                                                 .type = &kparent_ref_type},
                                                {.name = "listeners",
                                                 .form = KF_LIST,
                                                 .flags = KFL_REQUIRED | KFL_FILLED,
                                                 AT(klistener_set, listeners),
                                                 .max = 64,
                                                 .of = &listener_item},
                                                END};
static const struct ktype set_spec_type = {.fields = set_spec_fields};
static const struct kfield set_status_fields[] = {CONDITIONS(klistener_set),
                                                  {.name = "listeners",
                                                   .form = KF_LIST,
                                                   AT(klistener_set, listener_statuses),
                                                   .max = 64,
                                                   .of = &listener_status_item},
                                                  END};
static const struct ktype set_status_type = {.fields = set_status_fields};
static const struct kfield set_fields[] = {
    KMETA_FIELD,
    {.name = "spec", .form = KF_STRUCT, .flags = KFL_REQUIRED, .type = &set_spec_type},
    {.name = "status", .form = KF_STRUCT, .type = &set_status_type},
    END};

static bool check_set(void *obj, struct kwhy *why)
{
    const struct klistener_set *s = obj;
    return unique_listeners(s->listeners.v, s->listeners.n, why);
}

const struct ktype klistener_set_type = {
    .size = sizeof(struct klistener_set), .fields = set_fields, .check = check_set};

/* -- ReferenceGrant: it allows, so what is not understood must not be dropped -- */

static const struct kfield grant_from_fields[] = {GROUP(REQUIRED),
                                                  KIND(REQUIRED),
                                                  {.name = "namespace",
                                                   .form = KF_STRING,
                                                   .flags = KFL_REQUIRED,
                                                   AT(kgateway_ref, ns),
                                                   .max = 63,
                                                   .check = kcheck_label},
                                                  END};
static const struct ktype grant_from_type = {.size = sizeof(struct kgateway_ref),
                                             .fields = grant_from_fields};
static const struct kfield grant_from_item = {.form = KF_STRUCT, .type = &grant_from_type};
static const struct kfield grant_to_fields[] = {GROUP(REQUIRED), KIND(REQUIRED), NAME(OPTIONAL),
                                                END};
static const struct ktype grant_to_type = {.size = sizeof(struct kgateway_ref),
                                           .fields = grant_to_fields};
static const struct kfield grant_to_item = {.form = KF_STRUCT, .type = &grant_to_type};
static const struct kfield grant_spec_fields[] = {{.name = "from",
                                                   .form = KF_LIST,
                                                   .flags = KFL_REQUIRED | KFL_FILLED,
                                                   AT(kreference_grant, from),
                                                   .max = 64,
                                                   .of = &grant_from_item},
                                                  {.name = "to",
                                                   .form = KF_LIST,
                                                   .flags = KFL_REQUIRED | KFL_FILLED,
                                                   AT(kreference_grant, to),
                                                   .max = 64,
                                                   .of = &grant_to_item},
                                                  END};
static const struct ktype grant_spec_type = {.fields = grant_spec_fields, .strict = true};
static const struct kfield grant_fields[] = {
    KMETA_FIELD,
    {.name = "spec", .form = KF_STRUCT, .flags = KFL_REQUIRED, .type = &grant_spec_type},
    END};
const struct ktype kreference_grant_type = {.size = sizeof(struct kreference_grant),
                                            .fields = grant_fields};

/* -- BackendTLSPolicy -- */

static const struct kfield policy_target_fields[] = {GROUP(REQUIRED), KIND(REQUIRED),
                                                     NAME(REQUIRED), SECTION, END};
static const struct ktype policy_target_type = {.size = sizeof(struct kgateway_ref),
                                                .fields = policy_target_fields};
static const struct kfield policy_target_item = {.form = KF_STRUCT, .type = &policy_target_type};

static const char *const san_types[] = {"", "Hostname", "URI", NULL};
static const struct kfield san_fields[] = {
    {.name = "type", .form = KF_ENUM, .flags = KFL_REQUIRED, AT(ksan, type), .words = san_types},
    {.name = "hostname",
     .form = KF_STRING,
     AT(ksan, hostname),
     .max = 253,
     .check = check_hostname},
    {.name = "uri", .form = KF_STRING, AT(ksan, uri), .max = 253},
    END};

static bool check_san(void *obj, struct kwhy *why)
{
    const struct ksan *s = obj;
    if ((s->type == KSAN_HOSTNAME) != (s->hostname.n > 0))
        return kwhy_set(why, "hostname", "must be set with type Hostname, and only then");
    if ((s->type == KSAN_URI) != (s->uri.n > 0))
        return kwhy_set(why, "uri", "must be set with type URI, and only then");
    return true;
}

static const struct ktype san_type = {
    .size = sizeof(struct ksan), .fields = san_fields, .check = check_san};
static const struct kfield san_item = {.form = KF_STRUCT, .type = &san_type};
static const struct kfield validation_fields[] = {{.name = "hostname",
                                                   .form = KF_STRING,
                                                   .flags = KFL_REQUIRED,
                                                   AT(kbackend_tls, hostname),
                                                   .max = 253,
                                                   .check = kcheck_subdomain},
                                                  {.name = "wellKnownCACertificates",
                                                   .form = KF_STRING,
                                                   AT(kbackend_tls, well_known_roots),
                                                   .max = 253},
                                                  {.name = "caCertificateRefs",
                                                   .form = KF_LIST,
                                                   AT(kbackend_tls, roots),
                                                   .max = 64,
                                                   .of = &object_item},
                                                  {.name = "subjectAltNames",
                                                   .form = KF_LIST,
                                                   AT(kbackend_tls, sans),
                                                   .max = 64,
                                                   .of = &san_item},
                                                  END};
static const struct ktype validation_type = {.fields = validation_fields};
static const struct kfield policy_spec_fields[] = {
    {.name = "targetRefs",
     .form = KF_LIST,
     .flags = KFL_REQUIRED | KFL_FILLED,
     AT(kbackend_tls, targets),
     .max = 64,
     .of = &policy_target_item},
    {.name = "validation", .form = KF_STRUCT, .flags = KFL_REQUIRED, .type = &validation_type},
    {.name = "options", .form = KF_MAP, AT(kbackend_tls, options), .max = 64, .map = &options_rule},
    END};
static const struct ktype policy_spec_type = {.fields = policy_spec_fields, .strict = true};

static const struct kfield ancestor_fields[] = {
    {.name = "ancestorRef",
     .form = KF_STRUCT,
     AT(kpolicy_ancestor, ref),
     .type = &kparent_ref_type},
    {.name = "controllerName", .form = KF_STRING, AT(kpolicy_ancestor, controller), .max = 253},
    CONDITIONS(kpolicy_ancestor),
    END};
static const struct ktype ancestor_type = {.size = sizeof(struct kpolicy_ancestor),
                                           .fields = ancestor_fields};
static const struct kfield ancestor_item = {.form = KF_STRUCT, .type = &ancestor_type};
static const struct kfield policy_status_fields[] = {{.name = "ancestors",
                                                      .form = KF_LIST,
                                                      AT(kbackend_tls, ancestors),
                                                      .max = 64,
                                                      .of = &ancestor_item},
                                                     END};
static const struct ktype policy_status_type = {.fields = policy_status_fields};
static const struct kfield policy_fields[] = {
    KMETA_FIELD,
    {.name = "spec", .form = KF_STRUCT, .flags = KFL_REQUIRED, .type = &policy_spec_type},
    {.name = "status", .form = KF_STRUCT, .type = &policy_status_type},
    END};

static bool check_policy(void *obj, struct kwhy *why)
{
    const struct kbackend_tls *p = obj;
    if ((p->roots.n > 0) == (p->well_known_roots.n > 0))
        return kwhy_set(why, "spec.validation",
                        "must have caCertificateRefs or wellKnownCACertificates, not both");
    return true;
}

const struct ktype kbackend_tls_type = {
    .size = sizeof(struct kbackend_tls), .fields = policy_fields, .check = check_policy};
