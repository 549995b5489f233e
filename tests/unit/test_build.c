/* Objects → what the data plane is told, field by field. */
#include <stdio.h>

#include "control/push/build.h"
#include "lib/base/arena.h"
#include "lib/codec/pb.h"
#include "lib/proto/authorization.pb-c.h"
#include "lib/proto/workload.pb-c.h"
#include "tests/helper/check.h"
#include "tests/helper/mesh_model.h"
#include "tests/helper/pb_text.h"

static struct model *m;
static struct object_sink sink;
static struct build_settings settings = {.cluster_domain = "cluster.local",
                                         .trust_domain = "cluster.local"};

static void apply(const char *yaml)
{
    mesh_apply(sink, yaml);
}

static void setup(void)
{
    m = mesh_model(&sink);
    settings.trust_domain = "cluster.local";
}

static void teardown(void)
{
    model_free(m);
}

/* The text of a resource, which goes; "none" without one. */
static const char *text_of(struct resource *r, const ProtobufCMessageDescriptor *d)
{
    static char text[20000];
    struct arena a AUTO_ARENA;
    struct strbuf b AUTO_STRBUF;
    ProtobufCMessage *msg;
    struct errmsg e;
    bool unknown = true;
    arena_init(&a, 8u << 20);
    strbuf_init(&b, sizeof(text) - 1);
    if (!r)
        return "none";
    ck_assert_msg(pb_check(d, r->bytes, 100000, &unknown, &e) == RC_OK, "%s", e.text);
    ck_assert(!unknown);
    ck_assert_rc(pb_unpack(d, &a, r->bytes, &msg, &e), RC_OK);
    strbuf_printf(&b, "%.*s ", STR_ARG(r->name));
    pb_text(msg, &b);
    snprintf(text, sizeof(text), "%s", b.p);
    resource_unref(r);
    return text;
}

struct find {
    enum kobj_kind kind;
    const char *ns, *name;
    const struct mobject *o;
};

static void find_fn(void *arg, const struct mobject *o)
{
    struct find *f = arg;
    if (str_eqz(o->obj->meta.ns, f->ns) && str_eqz(o->obj->meta.name, f->name))
        f->o = o;
}

static const struct mobject *object(enum kobj_kind kind, const char *ns, const char *name)
{
    struct find f = {kind, ns, name, NULL};
    model_each(m, kind, find_fn, &f);
    ck_assert_msg(f.o != NULL, "%s/%s", ns, name);
    return f.o;
}

static const char *workload(const char *ns, const char *name)
{
    return text_of(build_workload(m, &settings, object(KOBJ_POD, ns, name)),
                   &istio__workload__address__descriptor);
}

static const char *service(const char *ns, const char *name)
{
    return text_of(build_service(m, &settings, object(KOBJ_SERVICE, ns, name)),
                   &istio__workload__address__descriptor);
}

static struct condition condition;

static const char *authz(const char *ns, const char *name)
{
    return text_of(build_authz(m, object(KOBJ_AUTHORIZATION_POLICY, ns, name), &condition),
                   &istio__security__authorization__descriptor);
}

static const char *peer(const char *ns, const char *name)
{
    return text_of(build_peer_auth(m, object(KOBJ_PEER_AUTHENTICATION, ns, name), &condition),
                   &istio__security__authorization__descriptor);
}

/* -- workloads -- */

START_TEST(a_whole_pod)
{
    apply(
        "apiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {topology.kubernetes.io/region: "
        "r, topology.kubernetes.io/zone: z, topology.istio.io/subzone: s}}\n"
        "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: istio-system, labels: "
        "{topology.istio.io/network: net1}}\n"
        "---\napiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n"
        "spec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [{name: http, port: 80, "
        "targetPort: http}, {name: adm, port: 81, targetPort: 8081}, {name: non, port: 82, "
        "targetPort: missing}, {name: side, port: 83, targetPort: side}]}\n"
        "---\napiVersion: v1\nkind: Service\nmetadata: {name: all, namespace: shop}\n"
        "spec: {selector: {app: web}, ports: [{port: 1, protocol: UDP}]}\n"
        "---\napiVersion: v1\nkind: Service\nmetadata: {name: gone, namespace: shop}\n"
        "spec: {type: ExternalName, selector: {app: web}}\n"
        "---\napiVersion: v1\nkind: Pod\n"
        "metadata:\n  name: web-7d4b9c-x2x1z\n  namespace: shop\n  generateName: web-7d4b9c-\n"
        "  labels: {app: web, version: v2, pod-template-hash: 7d4b9c}\n"
        "  annotations: {ambient.istio.io/redirection: enabled}\n"
        "  ownerReferences: [{kind: ReplicaSet, name: web-7d4b9c, controller: true}]\n"
        "spec:\n  nodeName: n1\n  serviceAccountName: web\n  containers:\n"
        "  - ports: [{name: http, containerPort: 53, protocol: UDP}, {name: http, containerPort: "
        "8080}]\n"
        "  initContainers: [{restartPolicy: Always, ports: [{name: side, containerPort: 9}]}]\n"
        "status: {phase: Running, podIPs: [{ip: 10.0.0.7}, {ip: 'fd00::7'}], conditions: [{type: "
        "Ready, status: 'True'}]}\n");
    ck_assert_str_eq(
        workload("shop", "web-7d4b9c-x2x1z"),
        "Kubernetes//Pod/shop/web-7d4b9c-x2x1z "
        "{workload:{name:web-7d4b9c-x2x1z namespace:shop addresses:[10.0.0.7 fd00::7] network:net1 "
        "tunnel_protocol:HBONE service_account:web node:n1 canonical_name:web "
        "canonical_revision:v2 workload_type:POD workload_name:web cluster_id:Kubernetes "
        "uid:Kubernetes//Pod/shop/web-7d4b9c-x2x1z "
        "services:[{key:shop/all.shop.svc.cluster.local value:{ports:[{service_port:1 "
        "target_port:1}]}} {key:shop/web.shop.svc.cluster.local value:{ports:[{service_port:80 "
        "target_port:8080} {service_port:81 target_port:8081} {service_port:83 target_port:9}]}}] "
        "locality:{region:r zone:z subzone:s}}}");
}
END_TEST

START_TEST(the_least_pod)
{
    settings.trust_domain = "example.org";
    apply("apiVersion: v1\nkind: Pod\nmetadata: {name: a, annotations: "
          "{ambient.istio.io/redirection: pending}}\nspec: {hostNetwork: true, nodeName: gone}\n"
          "status: {podIP: 10.0.0.1, phase: Pending}\n");
    ck_assert_str_eq(workload("default", "a"),
                     "Kubernetes//Pod/default/a {workload:{name:a namespace:default "
                     "addresses:[10.0.0.1] trust_domain:example.org service_account:default "
                     "node:gone canonical_name:a canonical_revision:latest workload_type:POD "
                     "workload_name:a status:UNHEALTHY cluster_id:Kubernetes "
                     "uid:Kubernetes//Pod/default/a network_mode:HOST_NETWORK}}");
}
END_TEST

START_TEST(pods_that_are_not_told)
{
    apply("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nstatus: {phase: Running}\n"
          "---\napiVersion: v1\nkind: Pod\nmetadata: {name: b}\nstatus: {podIP: 1.1.1.1, phase: "
          "Failed}\n"
          "---\napiVersion: v1\nkind: Pod\nmetadata: {name: c}\nstatus: {podIP: 1.1.1.1, phase: "
          "Succeeded}\n");
    ck_assert_str_eq(workload("default", "a"), "none");
    ck_assert_str_eq(workload("default", "b"), "none");
    ck_assert_str_eq(workload("default", "c"), "none");
}
END_TEST

START_TEST(health)
{
    static const char pod[] = "apiVersion: v1\nkind: Pod\nmetadata: {name: a%s}\nstatus: {podIP: "
                              "1.1.1.1, conditions: [{type: Ready, status: '%s'}]}\n";
    static const struct {
        const char *more, *ready;
        bool healthy;
    } cases[] = {{"", "True", true},
                 {"", "False", false},
                 {"", "Unknown", false},
                 {", deletionTimestamp: '2026-01-01T00:00:00Z'", "True", false}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char yaml[400];
        snprintf(yaml, sizeof(yaml), pod, cases[i].more, cases[i].ready);
        apply(yaml);
        ck_assert_int_eq(!strstr(workload("default", "a"), "status:UNHEALTHY"), cases[i].healthy);
    }
}
END_TEST

START_TEST(names_of_makers)
{
    static const struct {
        const char *generate, *labels, *owner, *want;
    } cases[] = {
        {"web-7d4b9c-", "pod-template-hash: 7d4b9c", "kind: ReplicaSet, name: web-7d4b9c", "web"},
        {"web-7d4b9c-", "pod-template-hash: other", "kind: ReplicaSet, name: web-7d4b9c",
         "web-7d4b9c"},
        {"web-7d4b9c-", "rollouts-pod-template-hash: 7d4b9c", "kind: ReplicaSet, name: web-7d4b9c",
         "web"},
        {"x-", "a: b", "kind: ReplicaSet, name: '7d4b9c'", "7d4b9c"},
        {"job-28012345-", "a: b", "kind: Job, name: job-28012345", "job"},
        {"job-1-", "a: b", "kind: Job, name: job-1", "job-1"},
        {"job-x28012345-", "a: b", "kind: Job, name: job-x28012345", "job-x28012345"},
        {"db-", "a: b", "kind: StatefulSet, name: db", "db"},
        {"dc-1-", "deploymentconfig: dc", "kind: ReplicationController, name: dc-1", "dc"},
        {"", "a: b", "kind: StatefulSet, name: db", "pod"},
        {"x-", "service.istio.io/workload-name: mine", "kind: StatefulSet, name: db", "mine"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char yaml[600], want[100];
        snprintf(
            yaml, sizeof(yaml),
            "apiVersion: v1\nkind: Pod\nmetadata: {name: pod, generateName: '%s', labels: {%s}, "
            "ownerReferences: [{%s, controller: true}]}\nstatus: {podIP: 1.1.1.1}\n",
            cases[i].generate, cases[i].labels, cases[i].owner);
        snprintf(want, sizeof(want), " workload_name:%s ", cases[i].want);
        apply(yaml);
        ck_assert_msg(strstr(workload("default", "pod"), want) != NULL, "%s: %s", cases[i].owner,
                      workload("default", "pod"));
    }
}
END_TEST

START_TEST(canonical_names)
{
    apply("apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {app: x, app.kubernetes.io/name: "
          "yy, networking.istio.io/tunnel: http, app.kubernetes.io/version: '3', version: '4'}}\n"
          "status: {podIP: 1.1.1.1}\n");
    const char *t = workload("default", "a");
    ck_assert_ptr_nonnull(strstr(t, " canonical_name:yy canonical_revision:3 "));
    ck_assert_ptr_nonnull(strstr(t, " tunnel_protocol:HBONE "));
    ck_assert_ptr_nonnull(strstr(t, " native_tunnel:true "));
}
END_TEST

static void on_endpoint(void *arg, struct resource *r)
{
    char *to = arg;
    size_t n = strlen(to);
    snprintf(to + n, 4000 - n, "%s\n", text_of(r, &istio__workload__address__descriptor));
}

START_TEST(endpoints_that_are_no_pods)
{
    char all[4000] = "";
    static const char slice[] =
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: ext-1, namespace: "
        "shop, labels: {kubernetes.io/service-name: ext}}\naddressType: IPv4\nports: [{name: http, "
        "port: 8080}, {name: dns, port: 53, protocol: UDP}, {name: other, port: 1}]\nendpoints:\n"
        "- {addresses: [10.9.9.9, 10.9.9.10]}\n- {addresses: [10.9.9.8], conditions: {ready: "
        "false}, targetRef: {kind: Node, name: x}}\n"
        "- {addresses: [10.9.9.7], targetRef: {kind: Pod, namespace: shop, name: p}}\n"
        "- {addresses: [10.9.9.9], conditions: {ready: false}}\n- {addresses: []}\n";
    apply(slice);
    build_slice(m, &settings, object(KOBJ_ENDPOINT_SLICE, "shop", "ext-1"), on_endpoint, all);
    ck_assert_str_eq(all, ""); /* of no service */
    apply("apiVersion: v1\nkind: Service\nmetadata: {name: ext, namespace: shop}\nspec: {ports: "
          "[{name: http, port: 80}, {name: dns, port: 53, protocol: UDP}]}\n");
    build_slice(m, &settings, object(KOBJ_ENDPOINT_SLICE, "shop", "ext-1"), on_endpoint, all);
    ck_assert_str_eq(
        all, "Kubernetes/discovery.k8s.io/EndpointSlice/shop/ext-1/10.9.9.9 {workload:{name:ext-1 "
             "namespace:shop addresses:[10.9.9.9] cluster_id:Kubernetes "
             "uid:Kubernetes/discovery.k8s.io/EndpointSlice/shop/ext-1/10.9.9.9 "
             "services:[{key:shop/ext.shop.svc.cluster.local value:{ports:[{service_port:80 "
             "target_port:8080}]}}] network_mode:HOST_NETWORK}}\n"
             "Kubernetes/discovery.k8s.io/EndpointSlice/shop/ext-1/10.9.9.8 {workload:{name:ext-1 "
             "namespace:shop addresses:[10.9.9.8] status:UNHEALTHY cluster_id:Kubernetes "
             "uid:Kubernetes/discovery.k8s.io/EndpointSlice/shop/ext-1/10.9.9.8 "
             "services:[{key:shop/ext.shop.svc.cluster.local value:{ports:[{service_port:80 "
             "target_port:8080}]}}] network_mode:HOST_NETWORK}}\n");
}
END_TEST

/* -- services -- */

START_TEST(a_whole_service)
{
    settings.cluster_domain = "cluster.local";
    apply(
        "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n"
        "spec: {clusterIPs: [10.96.0.1, 'fd00::1'], ipFamilies: [IPv4, IPv6], ports: [{name: "
        "http-x, port: 80, targetPort: http}, {name: y1, port: 81, targetPort: 8081, appProtocol: "
        "kubernetes.io/h2c}, {name: dns, port: 53, protocol: UDP}]}\n");
    ck_assert_str_eq(
        service("shop", "web"),
        "shop/web.shop.svc.cluster.local {service:{name:web namespace:shop "
        "hostname:web.shop.svc.cluster.local addresses:[{address:10.96.0.1} {address:fd00::1}] "
        "ports:[{service_port:80 app_protocol:HTTP11} {service_port:81 target_port:8081 "
        "app_protocol:HTTP2} {service_port:53 target_port:53}] ip_families:DUAL canonical:true}}");
    apply("apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n"
          "spec: {type: ExternalName, externalName: example.org}\n");
    ck_assert_str_eq(service("shop", "web"), "none");
    apply("apiVersion: v1\nkind: Service\nmetadata: {name: db}\nspec: {clusterIP: None}\n");
    ck_assert_str_eq(service("default", "db"),
                     "default/db.default.svc.cluster.local {service:{name:db namespace:default "
                     "hostname:db.default.svc.cluster.local canonical:true}}");
}
END_TEST

START_TEST(protocols)
{
    static const struct {
        const char *port, *want;
    } cases[] = {
        {"name: http, port: 1", "HTTP11"},
        {"name: HTTP-web, port: 1", "HTTP11"},
        {"name: http2, port: 1", "HTTP2"},
        {"name: grpc-a, port: 1", "GRPC"},
        {"name: grpc-web-a, port: 1", NULL},
        {"name: https, port: 1", "TLS"},
        {"name: tls, port: 1", "TLS"},
        {"name: tcp-x, port: 1", "TCP"},
        {"name: mongo, port: 27017", NULL},
        {"name: foo, port: 27017", "TCP"},
        {"port: 3306", "TCP"},
        {"name: foo, port: 80", NULL},
        {"name: http, port: 80, protocol: UDP", NULL},
        {"name: http, port: 80, appProtocol: grpc", "GRPC"},
        {"name: http, port: 80, appProtocol: kubernetes.io/wss", "TLS"},
        {"name: http, port: 80, appProtocol: example.org/own", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char yaml[300], want[60];
        snprintf(yaml, sizeof(yaml),
                 "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{%s}]}\n",
                 cases[i].port);
        snprintf(want, sizeof(want), "app_protocol:%s}", cases[i].want ? cases[i].want : "");
        apply(yaml);
        const char *t = service("default", "a");
        ck_assert_msg(cases[i].want ? strstr(t, want) != NULL : !strstr(t, "app_protocol"),
                      "%s: %s", cases[i].port, t);
    }
}
END_TEST

START_TEST(load_balancing)
{
#define FAILOVER_ZONE "load_balancing:{routing_preference:[NETWORK REGION ZONE] mode:FAILOVER}"
#define FAILOVER_NODE \
    "load_balancing:{routing_preference:[NETWORK REGION ZONE SUBZONE NODE] mode:FAILOVER}"
    static const struct {
        const char *spec, *own, *of_ns, *want;
    } cases[] = {
        {"", "", "", NULL},
        {"internalTrafficPolicy: Local, trafficDistribution: PreferClose", "", "",
         "load_balancing:{routing_preference:[NODE] mode:STRICT}"},
        {"trafficDistribution: PreferClose", "PreferSameNode", "", FAILOVER_ZONE},
        {"trafficDistribution: PreferSameZone", "", "", FAILOVER_ZONE},
        {"trafficDistribution: PreferSameNode", "", "", FAILOVER_NODE},
        {"trafficDistribution: Sometimes", "prefersamenode", "", FAILOVER_NODE},
        {"", "", "preferclose", FAILOVER_ZONE},
        {"", "any", "preferclose", NULL},
        {"publishNotReadyAddresses: true", "", "", "load_balancing:{health_policy:ALLOW_ALL}"},
        {"publishNotReadyAddresses: true, trafficDistribution: PreferClose", "", "",
         "load_balancing:{routing_preference:[NETWORK REGION ZONE] mode:FAILOVER "
         "health_policy:ALLOW_ALL}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char yaml[600];
        snprintf(yaml, sizeof(yaml),
                 "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, annotations: "
                 "{networking.istio.io/traffic-distribution: '%s'}}\n---\n"
                 "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: shop, annotations: "
                 "{networking.istio.io/traffic-distribution: '%s'}}\nspec: {%s}\n",
                 cases[i].of_ns, cases[i].own, cases[i].spec);
        apply(yaml);
        const char *t = service("shop", "a");
        ck_assert_msg(cases[i].want ? strstr(t, cases[i].want) != NULL
                                    : !strstr(t, "load_balancing"),
                      "%zu: %s", i, t);
    }
}
END_TEST

/* -- PeerAuthentication -- */

#define PEER(ns, name, spec)                                                                  \
    "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: " name \
    ", namespace: " ns "}\nspec: {" spec "}\n"
#define SELECT "selector: {matchLabels: {app: web}}"
#define WEB                                                                                        \
    "---\napiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop, labels: {app: web}}\n" \
    "status: {podIP: 1.1.1.1}\n"
#define STATIC      "istio-system/istio_converted_static_strict"
#define DERIVED     "shop/converted_peer_authentication_w"
#define ANON        "{matches:[{not_principals:[{presence:{}}]}]}"
#define NOT_PORT(p) "{matches:[{not_destination_ports:[" p "]}]}"
#define ONLY_PORT(p) \
    "{clauses:[{matches:[{not_principals:[{presence:{}}] destination_ports:[" p "]}]}]}"

/* mesh, namespace, workload modes; ports; what the workload names; the derived policy's rules */
static const struct mtls_case {
    const char *mesh, *ns, *workload, *ports, *keys, *rules;
} mtls_cases[] = {
    {NULL, NULL, NULL, "", NULL, NULL},
    {"STRICT", NULL, NULL, "", STATIC, NULL},
    {"PERMISSIVE", NULL, NULL, "", NULL, NULL},
    {"UNSET", NULL, NULL, "", NULL, NULL},
    {"STRICT", "PERMISSIVE", NULL, "", NULL, NULL},
    {"STRICT", "DISABLE", NULL, "", NULL, NULL},
    {"STRICT", "UNSET", NULL, "", STATIC, NULL},
    {"PERMISSIVE", "STRICT", NULL, "", STATIC, NULL},
    {"STRICT", NULL, "PERMISSIVE", "", NULL, NULL},
    {"STRICT", NULL, "UNSET", "", STATIC, NULL},
    {NULL, NULL, "STRICT", "", STATIC, NULL},
    {NULL, "PERMISSIVE", "STRICT", "", STATIC, NULL},
    /* STRICT but for a port */
    {NULL, NULL, "STRICT", "9090: {mode: PERMISSIVE}", DERIVED,
     "{clauses:[" ANON " " NOT_PORT("9090") "]}"},
    {NULL, NULL, "STRICT", "9090: {mode: DISABLE}, 80: {mode: PERMISSIVE}, 81: {mode: STRICT}",
     DERIVED, "{clauses:[" ANON " " NOT_PORT("80") " " NOT_PORT("9090") "]}"},
    {NULL, NULL, "STRICT", "9090: {mode: STRICT}", STATIC, NULL},
    {NULL, NULL, "STRICT", "9090: {mode: UNSET}", STATIC, NULL},
    /* open but for a port */
    {NULL, NULL, "PERMISSIVE", "9090: {mode: STRICT}, 9091: {mode: STRICT}", DERIVED,
     ONLY_PORT("9090") " " ONLY_PORT("9091")},
    {"STRICT", NULL, "DISABLE", "9090: {mode: STRICT}", DERIVED, ONLY_PORT("9090")},
    {NULL, NULL, "PERMISSIVE", "9090: {mode: DISABLE}", NULL, NULL},
    {NULL, NULL, "UNSET", "9090: {mode: STRICT}, 80: {mode: PERMISSIVE}", DERIVED,
     ONLY_PORT("9090")},
    {"PERMISSIVE", NULL, "UNSET", "9090: {mode: STRICT}", DERIVED, ONLY_PORT("9090")},
    {"STRICT", "PERMISSIVE", "UNSET", "9090: {mode: STRICT}", DERIVED, ONLY_PORT("9090")},
    /* inherited STRICT but for a port */
    {"STRICT", NULL, "UNSET", "9090: {mode: PERMISSIVE}", DERIVED,
     "{clauses:[" NOT_PORT("9090") " " ANON "]}"},
    {NULL, "STRICT", "UNSET", "9090: {mode: PERMISSIVE}, 80: {mode: STRICT}", DERIVED,
     "{clauses:[" NOT_PORT("9090") " " ANON "]}"},
    {"STRICT", NULL, "UNSET", "9090: {mode: STRICT}", STATIC, NULL},
    /* where Istio leaves the exemption out: only DISABLE ports under a STRICT parent */
    {"STRICT", NULL, "UNSET", "9090: {mode: DISABLE}", DERIVED,
     "{clauses:[" NOT_PORT("9090") " " ANON "]}"},
    /* where Istio leaves the workload open: a namespace policy that says nothing in between */
    {"STRICT", "UNSET", "UNSET", "9090: {mode: PERMISSIVE}", DERIVED,
     "{clauses:[" NOT_PORT("9090") " " ANON "]}"},
};

static void mtls_apply(const struct mtls_case *c)
{
    char yaml[2000] = WEB;
    size_t n = strlen(yaml);
    if (c->mesh)
        n += (size_t)snprintf(yaml + n, sizeof(yaml) - n,
                              PEER("istio-system", "m", "mtls: {mode: %s}"), c->mesh);
    if (c->ns)
        n += (size_t)snprintf(yaml + n, sizeof(yaml) - n, PEER("shop", "all", "mtls: {mode: %s}"),
                              c->ns);
    if (c->workload)
        snprintf(yaml + n, sizeof(yaml) - n,
                 PEER("shop", "w", SELECT ", mtls: {mode: %s}, portLevelMtls: {%s}"), c->workload,
                 c->ports);
    apply(yaml);
}

START_TEST(mutual_tls)
{
    for (size_t i = 0; i < ARRAY_LEN(mtls_cases); i++) {
        const struct mtls_case *c = &mtls_cases[i];
        char want[2000];
        teardown();
        setup();
        mtls_apply(c);
        snprintf(want, sizeof(want), " authorization_policies:[%s] ", c->keys ? c->keys : "");
        const char *t = workload("shop", "web");
        ck_assert_msg(c->keys ? strstr(t, want) != NULL : !strstr(t, "authorization_policies"),
                      "%zu: %s", i, t);
        if (!c->workload)
            continue;
        snprintf(want, sizeof(want),
                 DERIVED " {name:converted_peer_authentication_w namespace:shop "
                         "scope:WORKLOAD_SELECTOR action:DENY rules:[%s]}",
                 c->rules ? c->rules : "");
        t = peer("shop", "w");
        ck_assert_msg(strcmp(t, c->rules ? want : "none") == 0, "%zu: %s", i, t);
    }
}
END_TEST

START_TEST(the_static_policy)
{
    ck_assert_str_eq(text_of(build_static_strict(m), &istio__security__authorization__descriptor),
                     STATIC " {name:istio_converted_static_strict namespace:istio-system "
                            "scope:WORKLOAD_SELECTOR action:DENY rules:[{clauses:[" ANON "]}]}");
    struct resource *r = build_static_strict(m);
    static const char presence[] = {0x22, 0x02, 0x22,
                                    0x00}; /* an empty message that must be there */
    ck_assert_ptr_nonnull(memmem(r->bytes.p, r->bytes.n, presence, sizeof(presence)));
    resource_unref(r);
}
END_TEST

START_TEST(what_is_said_of_peer_authentications)
{
    apply(PEER("istio-system", "s", SELECT ", mtls: {mode: STRICT}")
              PEER("istio-system", "a", "mtls: {mode: STRICT}")
                  PEER("istio-system", "b", "mtls: {mode: DISABLE}")
                      PEER("shop", "w", SELECT ", portLevelMtls: {1: {mode: DISABLE}}"));
    ck_assert_str_eq(peer("istio-system", "s"), "none");
    ck_assert(!condition.status);
    ck_assert_str_eq(condition.message,
                     "Has no effect: a selector counts only outside the root namespace.");
    peer("istio-system", "a");
    ck_assert(condition.status);
    ck_assert_str_eq(condition.message, "");
    peer("istio-system", "b");
    ck_assert(!condition.status);
    ck_assert_str_eq(condition.reason, "Conflicted");
    ck_assert_str_eq(condition.message,
                     "Has no effect: istio-system/a is older. DISABLE is the same as PERMISSIVE: "
                     "mTLS is still offered.");
    peer("shop", "w");
    ck_assert(condition.status);
}
END_TEST

START_TEST(a_selector_without_labels_is_none)
{
    apply(WEB PEER("shop", "all", "selector: {}, mtls: {mode: STRICT}"));
    ck_assert_ptr_nonnull(strstr(workload("shop", "web"), STATIC));
    ck_assert_str_eq(peer("shop", "all"), "none");
}
END_TEST

/* -- AuthorizationPolicy -- */

#define AUTHZ(ns, spec)                                                                 \
    "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, " \
    "namespace: " ns "}\nspec: {" spec "}\n"

static const struct authz_case {
    const char *spec, *want; /* after "shop/p {name:p namespace:shop " */
    const char *reason, *message;
} authz_cases[] = {
    {"", "scope:NAMESPACE}", "Accepted", ""},
    {SELECT, "scope:WORKLOAD_SELECTOR}", "Accepted", ""},
    {"selector: {}", "scope:NAMESPACE}", "Accepted",
     "The selector has no labels: it stands for every workload."},
    {"rules: [{}]", "scope:NAMESPACE rules:[{}]}", "Accepted", ""},
    {"action: DENY, rules: [{}]", "scope:NAMESPACE action:DENY rules:[{}]}", "Accepted", ""},
    {"rules: [{from: [{source: {principals: ['*', '*/sa/a', td/ns/b/*, td/ns/c/sa/c]}}]}]",
     "scope:NAMESPACE rules:[{clauses:[{matches:[{principals:[{presence:{}} {suffix:/sa/a} "
     "{prefix:td/ns/b/} {exact:td/ns/c/sa/c}]}]}]}]}",
     "Accepted", ""},
    {"rules: [{from: [{source: {notPrincipals: [a], namespaces: [b], notNamespaces: [c*], "
     "ipBlocks: [10.0.0.0/8], notIpBlocks: [10.1.1.1], serviceAccounts: [d, e/f], "
     "notServiceAccounts: [g]}}, {source: {namespaces: [h]}}]}]",
     "scope:NAMESPACE rules:[{clauses:[{matches:[{namespaces:[{exact:b}] "
     "not_namespaces:[{prefix:c}] not_principals:[{exact:a}] source_ips:[{address:10.0.0.0 "
     "length:8}] not_source_ips:[{address:10.1.1.1 length:32}] service_accounts:[{namespace:shop "
     "serviceAccount:d} {namespace:e serviceAccount:f}] not_service_accounts:[{namespace:shop "
     "serviceAccount:g}]} {namespaces:[{exact:h}]}]}]}]}",
     "Accepted", ""},
    {"rules: [{to: [{operation: {ports: ['80', '81'], notPorts: ['82']}}], from: [{source: "
     "{namespaces: [a]}}], when: [{key: source.ip, values: [10.1.1.1]}, {key: destination.port, "
     "notValues: ['1']}]}, {from: [{source: {namespaces: [b]}}]}]",
     "scope:NAMESPACE rules:[{clauses:[{matches:[{destination_ports:[80 81] "
     "not_destination_ports:[82]}]} {matches:[{namespaces:[{exact:a}]}]} "
     "{matches:[{source_ips:[{address:10.1.1.1 length:32}]}]} "
     "{matches:[{not_destination_ports:[1]}]}]} {clauses:[{matches:[{namespaces:[{exact:b}]}]}]}]}",
     "Accepted", ""},
    {"rules: [{when: [{key: source.namespace, values: [a], notValues: [b]}, {key: "
     "source.principal, values: [c]}, {key: source.serviceAccount, values: [d]}, {key: "
     "destination.ip, values: ['fd00::/8'], notValues: ['fd00::1']}]}]",
     "scope:NAMESPACE rules:[{clauses:[{matches:[{namespaces:[{exact:a}] "
     "not_namespaces:[{exact:b}]}]} {matches:[{principals:[{exact:c}]}]} "
     "{matches:[{service_accounts:[{namespace:shop serviceAccount:d}]}]} "
     "{matches:[{destination_ips:[{address:fd00:: length:8}] not_destination_ips:[{address:fd00::1 "
     "length:128}]}]}]}]}",
     "Accepted", ""},
    /* ALLOW: what can't be decided allows nothing */
    {"rules: [{to: [{operation: {methods: [GET], ports: ['80']}}]}, {from: [{source: {namespaces: "
     "[a]}}]}]",
     "scope:NAMESPACE rules:[{clauses:[{matches:[{namespaces:[{exact:a}]}]}]}]}",
     "UnsupportedValue",
     "Can't be decided at layer 4: methods. The rules with that are left out, so less is allowed "
     "than asked."},
    {"rules: [{from: [{source: {requestPrincipals: ['*'], remoteIpBlocks: [1.1.1.1]}}], when: "
     "[{key: 'request.headers[a]', values: [b]}]}]",
     "scope:NAMESPACE}", "UnsupportedValue",
     "Can't be decided at layer 4: requestPrincipals, remoteIpBlocks, request.headers[a]. The "
     "rules with that are left out, and none is left: nothing is allowed."},
    /* DENY: what can't be decided is denied */
    {"action: DENY, rules: [{to: [{operation: {methods: [GET], ports: ['80']}}]}]",
     "scope:NAMESPACE action:DENY rules:[{clauses:[{matches:[{destination_ports:[80]}]}]}]}",
     "UnsupportedValue",
     "Can't be decided at layer 4: methods. The rules deny without regard to that, so they deny "
     "more than asked."},
    {"action: DENY, rules: [{to: [{operation: {paths: [/a]}}]}]",
     "scope:NAMESPACE action:DENY rules:[{}]}", "UnsupportedValue",
     "Can't be decided at layer 4: paths. The rules deny without regard to that, so they deny more "
     "than asked."},
    {"action: DENY, rules: [{to: [{operation: {paths: [/a]}}, {operation: {ports: ['80']}}], from: "
     "[{source: {namespaces: [a]}}]}]",
     "scope:NAMESPACE action:DENY rules:[{clauses:[{matches:[{namespaces:[{exact:a}]}]}]}]}",
     "UnsupportedValue",
     "Can't be decided at layer 4: paths. The rules deny without regard to that, so they deny more "
     "than asked."},
    {"action: DENY, rules: [{when: [{key: connection.sni, values: [a]}]}]",
     "scope:NAMESPACE action:DENY rules:[{}]}", "UnsupportedValue",
     "Can't be decided at layer 4: connection.sni. The rules deny without regard to that, so they "
     "deny more than asked."},
    {"action: CUSTOM, provider: {name: x}, rules: [{to: [{operation: {ports: ['80']}}]}]",
     "scope:NAMESPACE action:DENY rules:[{clauses:[{matches:[{destination_ports:[80]}]}]}]}",
     "UnsupportedValue", "No external authorizer is asked: what the rules match is denied."},
    /* trust domains are the starts of principals */
    {"rules: [{from: [{source: {trustDomains: [a, b*, '*']}}]}]",
     "scope:NAMESPACE rules:[{clauses:[{matches:[{principals:[{prefix:a/} {prefix:b} "
     "{presence:{}}]}]}]}]}",
     "Accepted", ""},
    {"rules: [{from: [{source: {principals: [x], notPrincipals: [z], notTrustDomains: [a]}}]}]",
     "scope:NAMESPACE rules:[{clauses:[{matches:[{principals:[{exact:x}] "
     "not_principals:[{exact:z} {prefix:a/}]}]}]}]}",
     "Accepted", ""},
    {"rules: [{from: [{source: {principals: [x], trustDomains: [a]}}]}]", "scope:NAMESPACE}",
     "UnsupportedValue",
     "Can't be decided at layer 4: trustDomains. The rules with that are left out, and none is "
     "left: nothing is allowed."},
    {"action: DENY, rules: [{from: [{source: {principals: [x], trustDomains: [a]}}]}]",
     "scope:NAMESPACE action:DENY rules:[{clauses:[{matches:[{principals:[{exact:x}]}]}]}]}",
     "UnsupportedValue",
     "Can't be decided at layer 4: trustDomains. The rules deny without regard to that, so they "
     "deny more than asked."},
    {"action: DENY, rules: [{from: [{source: {notTrustDomains: ['*.org']}}]}]",
     "scope:NAMESPACE action:DENY rules:[{}]}", "UnsupportedValue",
     "Can't be decided at layer 4: notTrustDomains. The rules deny without regard to that, so they "
     "deny more than asked."},
    {"rules: [{when: [{key: source.trustDomain, values: [a], notValues: [b]}]}]",
     "scope:NAMESPACE rules:[{clauses:[{matches:[{principals:[{prefix:a/}] "
     "not_principals:[{prefix:b/}]}]}]}]}",
     "Accepted", ""},
};

START_TEST(authorization)
{
    for (size_t i = 0; i < ARRAY_LEN(authz_cases); i++) {
        const struct authz_case *c = &authz_cases[i];
        char yaml[1000], want[2000];
        snprintf(yaml, sizeof(yaml), AUTHZ("shop", "%s"), c->spec);
        snprintf(want, sizeof(want), "shop/p {name:p namespace:shop %s", c->want);
        apply(yaml);
        const char *t = authz("shop", "p");
        ck_assert_msg(strcmp(t, want) == 0, "%zu:\n%s\nnot\n%s", i, t, want);
        ck_assert(condition.status);
        ck_assert_str_eq(condition.type, "ZtunnelAccepted");
        ck_assert_str_eq(condition.reason, c->reason);
        ck_assert_str_eq(condition.message, c->message);
    }
}
END_TEST

START_TEST(policies_not_for_the_node)
{
    static const struct {
        const char *spec, *annotations, *type, *reason, *message;
    } cases[] = {
        {"action: AUDIT, rules: [{}]", "", "ZtunnelAccepted", "UnsupportedValue",
         "Has no effect: nothing audits."},
        {"targetRefs: [{kind: Service, name: a}]", "", "WaypointAccepted", "AncestorNotBound",
         "Not enforced: it is for a waypoint, and none is served yet."},
        {"", "istio.io/dry-run: 'true'", "ZtunnelAccepted", "UnsupportedValue",
         "Not enforced: the annotation istio.io/dry-run asks for that."},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char yaml[1000];
        snprintf(yaml, sizeof(yaml),
                 "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, "
                 "annotations: {%s}}\nspec: {%s}\n",
                 cases[i].annotations, cases[i].spec);
        apply(yaml);
        ck_assert_str_eq(authz("default", "p"), "none");
        ck_assert(!condition.status);
        ck_assert_str_eq(condition.type, cases[i].type);
        ck_assert_str_eq(condition.reason, cases[i].reason);
        ck_assert_str_eq(condition.message, cases[i].message);
    }
    apply("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, "
          "annotations: {istio.io/dry-run: perhaps}}\n");
    ck_assert_str_ne(authz("default", "p"), "none"); /* in doubt it is enforced */
}
END_TEST

START_TEST(where_policies_count)
{
    apply(AUTHZ("istio-system", ""));
    ck_assert_str_eq(authz("istio-system", "p"), "istio-system/p {name:p namespace:istio-system}");
    apply(WEB "---\n" AUTHZ("istio-system", SELECT) "---\n" AUTHZ("shop", SELECT) "---\n" AUTHZ(
        "bank", SELECT) PEER("shop", "all",
                             "mtls: {mode: STRICT}") "---\napiVersion: security.istio.io/v1\nkind: "
                                                     "AuthorizationPolicy\nmetadata: {name: "
                                                     "audit, namespace: shop}\nspec: {" SELECT
                                                     ", action: AUDIT}\n");
    ck_assert_ptr_nonnull(strstr(workload("shop", "web"),
                                 " authorization_policies:[istio-system/p shop/p " STATIC "] "));
}
END_TEST

START_TEST(the_same_objects_give_the_same_bytes)
{
    apply(WEB "---\n" AUTHZ(
        "shop",
        SELECT) "---\napiVersion: v1\nkind: Service\nmetadata: {name: b, namespace: shop}\nspec: "
                "{selector: {app: web}}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: a, "
                "namespace: shop}\nspec: {selector: {app: web}}\n");
    struct resource *one = build_workload(m, &settings, object(KOBJ_POD, "shop", "web"));
    teardown();
    setup();
    apply("apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: shop}\nspec: {selector: "
          "{app: web}}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: b, namespace: "
          "shop}\nspec: {selector: {app: web}}\n" WEB "---\n" AUTHZ("shop", SELECT));
    struct resource *two = build_workload(m, &settings, object(KOBJ_POD, "shop", "web"));
    ck_assert_str_eq(one->version, two->version);
    resource_unref(one);
    resource_unref(two);
}
END_TEST

TEST_MAIN_FIXTURE("build", setup, teardown, a_whole_pod, the_least_pod, pods_that_are_not_told,
                  health, names_of_makers, canonical_names, endpoints_that_are_no_pods,
                  a_whole_service, protocols, load_balancing, mutual_tls, the_static_policy,
                  what_is_said_of_peer_authentications, a_selector_without_labels_is_none,
                  authorization, policies_not_for_the_node, where_policies_count,
                  the_same_objects_give_the_same_bytes)
