#include "lib/kobj/kobj.h"

#include <stdarg.h>
#include <stdio.h>

#include "lib/kobj/gateway.h"
#include "lib/kobj/ktable.h"

/* clang-format off */
const struct kkind kkinds[KOBJ_KINDS] = {
    [KOBJ_NAMESPACE] = {KOBJ_NAMESPACE, "Namespace", "", "namespaces", {"v1"}, false, kcheck_label,
                        &knamespace_type},
    [KOBJ_NODE] = {KOBJ_NODE, "Node", "", "nodes", {"v1"}, false, kcheck_subdomain, &knode_type},
    [KOBJ_POD] = {KOBJ_POD, "Pod", "", "pods", {"v1"}, true, kcheck_subdomain, &kpod_type},
    [KOBJ_SERVICE] = {KOBJ_SERVICE, "Service", "", "services", {"v1"}, true, kcheck_label, &kservice_type},
    [KOBJ_ENDPOINT_SLICE] = {KOBJ_ENDPOINT_SLICE, "EndpointSlice", "discovery.k8s.io", "endpointslices",
                             {"v1"}, true, kcheck_subdomain, &kendpoint_slice_type},
    [KOBJ_SERVICE_ACCOUNT] = {KOBJ_SERVICE_ACCOUNT, "ServiceAccount", "", "serviceaccounts", {"v1"}, true,
                              kcheck_subdomain, &kservice_account_type},
    [KOBJ_AUTHORIZATION_POLICY] = {KOBJ_AUTHORIZATION_POLICY, "AuthorizationPolicy", "security.istio.io",
                                   "authorizationpolicies", {"v1", "v1beta1"}, true, kcheck_subdomain,
                                   &kauthz_type},
    [KOBJ_PEER_AUTHENTICATION] = {KOBJ_PEER_AUTHENTICATION, "PeerAuthentication", "security.istio.io",
                                  "peerauthentications", {"v1", "v1beta1"}, true, kcheck_subdomain,
                                  &kpeer_auth_type},
    [KOBJ_GATEWAY_CLASS] = {KOBJ_GATEWAY_CLASS, "GatewayClass", GATEWAY_GROUP, "gatewayclasses",
                            {"v1", "v1beta1"}, false, kcheck_subdomain, &kgateway_class_type},
    [KOBJ_GATEWAY] = {KOBJ_GATEWAY, "Gateway", GATEWAY_GROUP, "gateways", {"v1", "v1beta1"}, true,
                      kcheck_subdomain, &kgateway_type},
    [KOBJ_LISTENER_SET] = {KOBJ_LISTENER_SET, "ListenerSet", GATEWAY_GROUP, "listenersets", {"v1"}, true,
                           kcheck_subdomain, &klistener_set_type},
    [KOBJ_REFERENCE_GRANT] = {KOBJ_REFERENCE_GRANT, "ReferenceGrant", GATEWAY_GROUP, "referencegrants",
                              {"v1", "v1beta1"}, true, kcheck_subdomain, &kreference_grant_type},
    [KOBJ_BACKEND_TLS_POLICY] = {KOBJ_BACKEND_TLS_POLICY, "BackendTLSPolicy", GATEWAY_GROUP,
                                 "backendtlspolicies", {"v1", "v1alpha3"}, true, kcheck_subdomain,
                                 &kbackend_tls_type},
    [KOBJ_HTTP_ROUTE] = {KOBJ_HTTP_ROUTE, "HTTPRoute", GATEWAY_GROUP, "httproutes", {"v1", "v1beta1"},
                         true, kcheck_subdomain, &khttp_route_type},
    [KOBJ_GRPC_ROUTE] = {KOBJ_GRPC_ROUTE, "GRPCRoute", GATEWAY_GROUP, "grpcroutes", {"v1", "v1alpha2"},
                         true, kcheck_subdomain, &kgrpc_route_type},
    [KOBJ_TLS_ROUTE] = {KOBJ_TLS_ROUTE, "TLSRoute", GATEWAY_GROUP, "tlsroutes",
                        {"v1", "v1alpha3", "v1alpha2"}, true, kcheck_subdomain, &kl4_route_type},
    [KOBJ_TCP_ROUTE] = {KOBJ_TCP_ROUTE, "TCPRoute", GATEWAY_GROUP, "tcproutes", {"v1", "v1alpha2"}, true,
                        kcheck_subdomain, &kl4_route_type},
    [KOBJ_SECRET] = {KOBJ_SECRET, "Secret", "", "secrets", {"v1"}, true,
              kcheck_subdomain, &ksecret_type},
    [KOBJ_CONFIG_MAP] = {KOBJ_CONFIG_MAP, "ConfigMap", "", "configmaps", {"v1"}, true,
              kcheck_subdomain, &kconfig_map_type},
    [KOBJ_DEPLOYMENT] = {KOBJ_DEPLOYMENT, "Deployment", "apps", "deployments", {"v1"}, true, kcheck_subdomain,
              &kdeployment_type},
    [KOBJ_DAEMON_SET] = {KOBJ_DAEMON_SET, "DaemonSet", "apps", "daemonsets", {"v1"}, true, kcheck_subdomain,
              &kdaemon_set_type},
    [KOBJ_AUTOSCALER] = {KOBJ_AUTOSCALER, "HorizontalPodAutoscaler", "autoscaling", "horizontalpodautoscalers", {"v2"}, true, kcheck_subdomain,
              &kautoscaler_type},
    [KOBJ_DISRUPTION_BUDGET] = {KOBJ_DISRUPTION_BUDGET, "PodDisruptionBudget", "policy", "poddisruptionbudgets", {"v1"}, true, kcheck_subdomain,
              &kdisruption_budget_type},
    [KOBJ_NETWORK_POLICY] = {KOBJ_NETWORK_POLICY, "NetworkPolicy", "networking.k8s.io", "networkpolicies", {"v1"}, true, kcheck_subdomain,
              &knetwork_policy_type},
    [KOBJ_MUTATING_WEBHOOKS] = {KOBJ_MUTATING_WEBHOOKS, "MutatingWebhookConfiguration", "admissionregistration.k8s.io", "mutatingwebhookconfigurations", {"v1"}, false, kcheck_subdomain,
              &kwebhooks_type},
    [KOBJ_VALIDATING_WEBHOOKS] = {KOBJ_VALIDATING_WEBHOOKS, "ValidatingWebhookConfiguration", "admissionregistration.k8s.io", "validatingwebhookconfigurations", {"v1"}, false, kcheck_subdomain,
              &kwebhooks_type},
    [KOBJ_SERVICE_ENTRY] = {KOBJ_SERVICE_ENTRY, "ServiceEntry", "networking.istio.io", "serviceentries", {"v1", "v1beta1", "v1alpha3"}, true,
              kcheck_subdomain, &kservice_entry_type},
    [KOBJ_WORKLOAD_ENTRY] = {KOBJ_WORKLOAD_ENTRY, "WorkloadEntry", "networking.istio.io", "workloadentries", {"v1", "v1beta1", "v1alpha3"}, true,
              kcheck_subdomain, &kworkload_entry_type},
    [KOBJ_WORKLOAD_GROUP] = {KOBJ_WORKLOAD_GROUP, "WorkloadGroup", "networking.istio.io", "workloadgroups", {"v1", "v1beta1", "v1alpha3"}, true,
              kcheck_subdomain, &kworkload_group_type},
    [KOBJ_REQUEST_AUTHENTICATION] = {KOBJ_REQUEST_AUTHENTICATION, "RequestAuthentication", "security.istio.io", "requestauthentications", {"v1", "v1beta1"}, true,
              kcheck_subdomain, &krequest_auth_type},
    [KOBJ_VIRTUAL_SERVICE] = {KOBJ_VIRTUAL_SERVICE, "VirtualService", "networking.istio.io", "virtualservices", {"v1", "v1beta1", "v1alpha3"}, true,
              kcheck_subdomain, &kvirtual_service_type},
    [KOBJ_DESTINATION_RULE] = {KOBJ_DESTINATION_RULE, "DestinationRule", "networking.istio.io", "destinationrules", {"v1", "v1beta1", "v1alpha3"}, true,
              kcheck_subdomain, &kdestination_rule_type},
    [KOBJ_TELEMETRY] = {KOBJ_TELEMETRY, "Telemetry", "telemetry.istio.io", "telemetries", {"v1", "v1alpha1"}, true,
              kcheck_subdomain, &ktelemetry_type},
    [KOBJ_ISTIO_GATEWAY] = {KOBJ_ISTIO_GATEWAY, "Gateway", "networking.istio.io", "gateways", {"v1", "v1beta1", "v1alpha3"}, true,
              kcheck_subdomain, &kistio_gateway_type},
    [KOBJ_SIDECAR] = {KOBJ_SIDECAR, "Sidecar", "networking.istio.io", "sidecars", {"v1", "v1beta1", "v1alpha3"}, true,
              kcheck_subdomain, &kknown_type},
    [KOBJ_ENVOY_FILTER] = {KOBJ_ENVOY_FILTER, "EnvoyFilter", "networking.istio.io", "envoyfilters", {"v1alpha3"}, true,
              kcheck_subdomain, &kknown_type},
    [KOBJ_PROXY_CONFIG] = {KOBJ_PROXY_CONFIG, "ProxyConfig", "networking.istio.io", "proxyconfigs", {"v1beta1"}, true,
              kcheck_subdomain, &kknown_type},
    [KOBJ_WASM_PLUGIN] = {KOBJ_WASM_PLUGIN, "WasmPlugin", "extensions.istio.io", "wasmplugins", {"v1alpha1"}, true,
              kcheck_subdomain, &kknown_type},
    [KOBJ_TRAFFIC_EXTENSION] = {KOBJ_TRAFFIC_EXTENSION, "TrafficExtension", "extensions.istio.io", "trafficextensions", {"v1alpha1"}, true,
              kcheck_subdomain, &kknown_type},
};
/* clang-format on */

const char *kobj_kind_name(enum kobj_kind k)
{
    return kkinds[k].name;
}

bool kobj_kind_namespaced(enum kobj_kind k)
{
    return kkinds[k].namespaced;
}

struct kobj_resource kobj_resource(enum kobj_kind k)
{
    return (struct kobj_resource){.group = kkinds[k].group,
                                  .plural = kkinds[k].plural,
                                  .versions = kkinds[k].versions,
                                  .namespaced = kkinds[k].namespaced};
}

/* -- maps -- */

static const struct kpair *find_pair(const struct kmap *m, struct str key)
{
    uint32_t lo = 0, hi = m->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        int c = str_cmp(m->v[mid].key, key);
        if (c == 0)
            return &m->v[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

struct str kmap_get(const struct kmap *m, const char *key)
{
    const struct kpair *p = find_pair(m, str_of(key));
    return p ? p->value : (struct str){NULL, 0};
}

bool kmap_has(const struct kmap *m, struct str key, struct str value)
{
    const struct kpair *p = find_pair(m, key);
    return p && str_eq(p->value, value);
}

bool kmap_includes(const struct kmap *m, const struct kmap *sub)
{
    for (uint32_t i = 0; i < sub->n; i++)
        if (!kmap_has(m, sub->v[i].key, sub->v[i].value))
            return false;
    return true;
}

bool kmap_eq(const struct kmap *a, const struct kmap *b)
{
    return a->n == b->n && kmap_includes(a, b);
}

/* -- what a document is -- */

static enum rc PRINTF_LIKE(4, 5)
    invalid(const struct node *n, unsigned *ret_line, struct errmsg *ret_msg, const char *fmt, ...)
{
    char text[sizeof(ret_msg->text)];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    errmsg_set(ret_msg, "%s", text);
    if (ret_line)
        *ret_line = n->line;
    return RC_INVALID;
}

static struct str text_at(const struct node *doc, const char *path)
{
    const struct node *n = node_path(doc, path);
    return n ? node_str(n) : STR("");
}

static bool is_known_version(const struct kkind *k, struct str version)
{
    for (const char *const *v = k->versions; *v; v++)
        if (str_eqz(version, *v))
            return true;
    return false;
}

/* Of the security group every kind must be known: a misspelt policy must not pass for something that
 * nobody reads. */
static bool is_misspelt(struct str group, struct str kind, const char **ret_meant)
{
    static const char *const words[] = {"AuthorizationPolicy", "PeerAuthentication"};
    if (!str_eqz(group, "security.istio.io") || str_eqz(kind, "RequestAuthentication"))
        return false;
    const char *near = str_nearest(kind, words, ARRAY_LEN(words));
    *ret_meant = near ? near : "AuthorizationPolicy, PeerAuthentication or RequestAuthentication";
    return true;
}

/* *ret stays NULL for a kind that nothing reads. */
static enum rc find_kind(const struct node *doc, const struct kkind **ret, unsigned *ret_line,
                         struct errmsg *ret_msg)
{
    struct str kind = text_at(doc, "kind"), api = text_at(doc, "apiVersion");
    struct str version, group = str_split(api, '/', &version);
    if (kind.n == 0)
        return invalid(doc, ret_line, ret_msg, "kind: is required");
    if (api.n == 0)
        return invalid(doc, ret_line, ret_msg, "apiVersion: is required");
    if (str_find(api, '/') < 0) {
        version = api;
        group = STR("");
    }
    for (size_t i = 0; i < KOBJ_KINDS; i++) {
        const struct kkind *k = &kkinds[i];
        if (!str_eqz(kind, k->name) || !str_eqz(group, k->group))
            continue;
        *ret = k;
        if (is_known_version(k, version))
            return RC_OK;
        return invalid(node_get(doc, "apiVersion"), ret_line, ret_msg,
                       "%s: apiVersion: \"%.*s\" is not known, use %s%s%s", k->name,
                       (int)MIN(api.n, 64), api.p, k->group, k->group[0] ? "/" : "",
                       k->versions[0]);
    }
    const char *meant;
    if (is_misspelt(group, kind, &meant))
        return invalid(node_get(doc, "kind"), ret_line, ret_msg,
                       "kind: \"%.*s\" is not known, did you mean %s?", (int)MIN(kind.n, 64),
                       kind.p, meant);
    return RC_OK;
}

static enum rc unused(const struct node *doc, unsigned *ret_line, struct errmsg *ret_msg)
{
    struct str kind = text_at(doc, "kind"), ns = text_at(doc, "metadata.namespace");
    struct str name = text_at(doc, "metadata.name");
    (void)invalid(doc, ret_line, ret_msg, "%.*s %.*s%s%.*s: this kind is not yet used",
                  (int)MIN(kind.n, 64), kind.p, (int)MIN(ns.n, 63), ns.p, ns.n ? "/" : "",
                  (int)MIN(name.n, 253), name.p);
    return RC_UNSUPPORTED;
}

static enum rc identify(const struct kkind *k, const struct node *doc, struct kobj_id *ret,
                        unsigned *ret_line, struct errmsg *ret_msg)
{
    struct str name = text_at(doc, "metadata.name"), ns = text_at(doc, "metadata.namespace");
    const struct node *at = node_path(doc, "metadata.name");
    const struct node *n = node_path(doc, "metadata.namespace");
    if (!at)
        at = node_get(doc, "metadata");
    if (name.n == 0 || name.n > 253)
        return invalid(at ? at : doc, ret_line, ret_msg,
                       "%s: metadata.name: is required, a string of 1 to 253 bytes", k->name);
    if (ns.n > 63 || (n && n->kind != NODE_STRING && n->kind != NODE_NULL))
        return invalid(n, ret_line, ret_msg,
                       "%s %.*s: metadata.namespace: must be a string of no more than 63 bytes",
                       k->name, STR_ARG(name));
    if (k->namespaced && ns.n == 0)
        ns = STR("default");
    if (!k->namespaced)
        ns = STR("");
    *ret = (struct kobj_id){.kind = k->kind, .ns = ns, .name = name};
    return RC_OK;
}

enum rc kobj_identify(const struct node *doc, struct kobj_id *ret, unsigned *ret_line,
                      struct errmsg *ret_msg)
{
    const struct kkind *k = NULL;
    if (doc->kind != NODE_MAP)
        return invalid(doc, ret_line, ret_msg, "the document is not a map");
    enum rc rc = find_kind(doc, &k, ret_line, ret_msg);
    if (rc != RC_OK)
        return rc;
    return k ? identify(k, doc, ret, ret_line, ret_msg) : unused(doc, ret_line, ret_msg);
}

enum rc kobj_identify_as(enum kobj_kind kind, const struct node *doc, struct kobj_id *ret,
                         unsigned *ret_line, struct errmsg *ret_msg)
{
    const struct kkind *k = &kkinds[kind], *said = k;
    if (doc->kind != NODE_MAP)
        return invalid(doc, ret_line, ret_msg, "the %s is not a map", k->name);
    if (node_get(doc, "kind") || node_get(doc, "apiVersion")) {
        said = NULL;
        enum rc rc = find_kind(doc, &said, ret_line, ret_msg);
        if (rc != RC_OK)
            return rc;
    }
    if (said != k)
        return invalid(doc, ret_line, ret_msg, "kind: must be %s", k->name);
    return identify(k, doc, ret, ret_line, ret_msg);
}

const struct node *kobj_list_items(const struct node *doc)
{
    const struct node *items = node_get(doc, "items");
    if (!str_eqz(text_at(doc, "kind"), "List") || !str_eqz(text_at(doc, "apiVersion"), "v1"))
        return NULL;
    return items && items->kind == NODE_LIST ? items : NULL;
}

/* -- decoding -- */

/* What the table of the metadata can't know: the rules of the kind. */
static enum rc check_meta(const struct kkind *k, const struct node *doc, struct kmeta *m,
                          unsigned *ret_line, struct errmsg *ret_msg)
{
    const struct node *meta = node_get(doc, "metadata");
    const char *bad = k->check_name(m->name);
    if (bad)
        return invalid(node_get(meta, "name"), ret_line, ret_msg, "metadata.name: \"%.*s\" %s",
                       (int)MIN(m->name.n, 64), m->name.p, bad);
    if (!k->namespaced && m->ns.n)
        return invalid(node_get(meta, "namespace"), ret_line, ret_msg,
                       "metadata.namespace: objects of this kind have none");
    if (k->namespaced && m->ns.n == 0)
        m->ns = STR("default");
    bad = k->namespaced ? kcheck_label(m->ns) : NULL;
    if (bad)
        return invalid(node_get(meta, "namespace"), ret_line, ret_msg,
                       "metadata.namespace: \"%.*s\" %s", (int)MIN(m->ns.n, 64), m->ns.p, bad);
    return RC_OK;
}

static enum rc decode(const struct kobj_id *id, const struct node *doc, struct kobj **ret,
                      unsigned *ret_line, struct errmsg *ret_msg)
{
    void *p;
    size_t size;
    const struct kkind *k = &kkinds[id->kind];
    enum rc rc = kdecode(k->type, doc, &p, &size, ret_line, ret_msg);
    struct kobj *o AUTO(kobj_unref) = NULL;
    if (rc == RC_OK) {
        o = p; /* the first member of all */
        ref_init(&o->ref);
        o->kind = (uint8_t)k->kind;
        o->size = (uint32_t)size;
        rc = check_meta(k, doc, &o->meta, ret_line, ret_msg);
    }
    if (rc != RC_OK) {
        errmsg_prefix(ret_msg, "%s %.*s%s%.*s", k->name, STR_ARG(id->ns), id->ns.n ? "/" : "",
                      (int)MIN(id->name.n, 253), id->name.p);
        return rc;
    }
    *ret = TAKE(o);
    return RC_OK;
}

enum rc kobj_decode(const struct node *doc, struct kobj **ret, unsigned *ret_line,
                    struct errmsg *ret_msg)
{
    struct kobj_id id;
    enum rc rc = kobj_identify(doc, &id, ret_line, ret_msg);
    return rc == RC_OK ? decode(&id, doc, ret, ret_line, ret_msg) : rc;
}

enum rc kobj_decode_as(enum kobj_kind kind, const struct node *doc, struct kobj **ret,
                       unsigned *ret_line, struct errmsg *ret_msg)
{
    struct kobj_id id;
    enum rc rc = kobj_identify_as(kind, doc, &id, ret_line, ret_msg);
    return rc == RC_OK ? decode(&id, doc, ret, ret_line, ret_msg) : rc;
}

struct kobj *kobj_ref(struct kobj *o)
{
    ref_get(&o->ref);
    return o;
}

void kobj_unref(struct kobj *o)
{
    if (o && ref_put(&o->ref))
        mem_free(o);
}

/* -- the way back -- */

void kobj_encode(const struct kobj *o, struct strbuf *out)
{
    const struct kkind *k = &kkinds[o->kind];
    bool some = true;
    strbuf_printf(out, "{\"apiVersion\":\"%s%s%s\",\"kind\":\"%s\"", k->group,
                  k->group[0] ? "/" : "", k->versions[0], k->name);
    kencode(k->type, o, out, &some);
    strbuf_addc(out, '}');
}

bool kobj_same_name(const struct kobj *a, const struct kobj *b)
{
    return a->kind == b->kind && str_eq(a->meta.name, b->meta.name) &&
           str_eq(a->meta.ns, b->meta.ns);
}

bool kobj_eq(const struct kobj *a, const struct kobj *b)
{
    if (a == b)
        return true;
    if (!kobj_same_name(a, b))
        return false;
    struct strbuf at AUTO_STRBUF, bt AUTO_STRBUF;
    strbuf_init(&at, (size_t)KOBJ_BYTES_MAX * 8);
    strbuf_init(&bt, (size_t)KOBJ_BYTES_MAX * 8);
    kobj_encode(a, &at);
    kobj_encode(b, &bt);
    return str_eq(strbuf_str(&at), strbuf_str(&bt));
}
