/* Documents → objects → JSON → the same objects; and every reason for refusing one. */
#include <stdio.h>

#include "tests/helper/check.h"
#include "tests/helper/kobj.h"

static const char pod_yaml[] =
    "apiVersion: v1\n"
    "kind: Pod\n"
    "metadata:\n"
    "  name: web-7d4b9c-x2x1z\n"
    "  namespace: shop\n"
    "  generateName: web-7d4b9c-\n"
    "  uid: 0f0e0d0c-0b0a-0908-0706-050403020100\n"
    "  creationTimestamp: \"2026-01-31T12:00:01Z\"\n"
    "  deletionTimestamp: 2026-02-01T00:30:00.123456+01:00\n"
    "  resourceVersion: \"12\"\n"
    "  labels: {app: web, pod-template-hash: 7d4b9c}\n"
    "  annotations:\n"
    "    ambient.istio.io/redirection: enabled\n"
    "    kubectl.kubernetes.io/last-applied-configuration: '{}'\n"
    "    mesh.internal/placement: pool\n"
    "  ownerReferences:\n"
    "  - {apiVersion: apps/v1, kind: ReplicaSet, name: web-7d4b9c, uid: u, controller: true}\n"
    "spec:\n"
    "  nodeName: node-1\n"
    "  serviceAccountName: web\n"
    "  hostNetwork: true\n"
    "  volumes: [{name: v, emptyDir: {}}]\n"
    "  containers:\n"
    "  - name: main\n"
    "    image: web:1\n"
    "    ports:\n"
    "    - {name: http, containerPort: 8080}\n"
    "    - {name: dns, containerPort: 53, protocol: UDP}\n"
    "  initContainers:\n"
    "  - {name: setup, ports: [{containerPort: 1}]}\n"
    "  - {name: sidecar, restartPolicy: Always, ports: [{name: side, containerPort: 9}]}\n"
    "status:\n"
    "  phase: Running\n"
    "  podIP: 10.0.0.7\n"
    "  podIPs: [{ip: 10.0.0.7}, {ip: 'fd00::7'}]\n"
    "  conditions:\n"
    "  - {type: Initialized, status: \"True\"}\n"
    "  - {type: Ready, status: \"True\"}\n";

START_TEST(a_pod)
{
    struct kobj *o AUTO(kobj_unref) = kobj_of(pod_yaml);
    const struct kpod *p = kobj_pod(o);
    ck_assert_str_eq(o->meta.name.p, "web-7d4b9c-x2x1z");
    ck_assert_str_eq(o->meta.ns.p, "shop");
    ck_assert_int_eq(o->meta.created_s, 1769860801);
    ck_assert_int_eq(o->meta.deleted_s, 1769902200);
    ck_assert(str_eqz(kmap_get(&o->meta.labels, "app"), "web"));
    ck_assert_ptr_null(kmap_get(&o->meta.labels, "ap").p);
    ck_assert_uint_eq(o->meta.annotations.n, 2); /* not kubectl's */
    ck_assert_uint_eq(o->meta.owners.n, 1);
    ck_assert(o->meta.owners.v[0].controller);
    ck_assert(p->host_network);
    ck_assert_str_eq(p->service_account.p, "web");
    ck_assert_uint_eq(p->containers.n, 1);
    ck_assert_uint_eq(p->containers.v[0].ports.n, 2);
    ck_assert_int_eq(p->containers.v[0].ports.v[1].protocol, KPROTOCOL_UDP);
    ck_assert_uint_eq(p->init_containers.n, 1);
    ck_assert_uint_eq(p->init_containers.v[0].ports.v[0].port, 9);
    ck_assert_uint_eq(p->ips.n, 2);
    ck_assert_int_eq(p->ips.v[1].family, AF_INET6);
    ck_assert_int_eq(p->phase, KPOD_RUNNING);
    ck_assert(kpod_ready(p));
    ck_assert(!kpod_terminal(p));
    ck_assert_uint_lt(o->size, 1600); /* a memory budget */
    round_trip(o);
}
END_TEST

START_TEST(defaults_and_the_least_pod)
{
    struct kobj *o AUTO(kobj_unref) =
        kobj_of("apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: null}\n"
                "status: {podIP: 10.0.0.1, phase: Dreaming}\n");
    const struct kpod *p = kobj_pod(o);
    ck_assert_str_eq(o->meta.ns.p, "default");
    ck_assert_str_eq(p->service_account.p, "default");
    ck_assert_uint_eq(p->ips.n, 1);
    ck_assert_int_eq(p->phase, KPOD_PHASE_NONE);
    ck_assert(!kpod_ready(p));
    ck_assert_str_eq(round_trip(o),
                     "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\","
                     "\"namespace\":\"default\"},\"spec\":{\"serviceAccountName\":\"default\"},"
                     "\"status\":{\"podIPs\":[{\"ip\":\"10.0.0.1\"}]}}");
}
END_TEST

START_TEST(a_service)
{
    struct kobj *o AUTO(kobj_unref) =
        kobj_of("apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n"
                "spec:\n  type: LoadBalancer\n  clusterIP: 10.96.0.10\n"
                "  clusterIPs: [10.96.0.10, \"fd00:1::a\"]\n  ipFamilies: [IPv4, IPv6]\n"
                "  internalTrafficPolicy: Local\n  publishNotReadyAddresses: true\n"
                "  trafficDistribution: PreferClose\n  selector: {tier: front, app: web}\n"
                "  ports:\n  - {name: http, port: 80, targetPort: web}\n"
                "  - {name: dns, port: 53, protocol: UDP, targetPort: 5353}\n"
                "  - {name: plain, port: 81, appProtocol: kubernetes.io/h2c}\n");
    const struct kservice *s = kobj_service(o);
    ck_assert_int_eq(s->type, KSERVICE_LB);
    ck_assert_uint_eq(s->cluster_ips.n, 2);
    ck_assert_int_eq(s->internal_traffic_policy, KTRAFFIC_LOCAL);
    ck_assert_str_eq(s->selector.v[0].key.p, "app"); /* sorted */
    ck_assert_str_eq(s->ports.v[0].target.name.p, "web");
    ck_assert_uint_eq(s->ports.v[1].target.port, 5353);
    ck_assert_uint_eq(s->ports.v[2].target.port, 81);
    round_trip(o);
    struct kobj *headless AUTO(kobj_unref) =
        kobj_of("apiVersion: v1\nkind: Service\nmetadata: {name: db}\n"
                "spec: {clusterIP: None, clusterIPs: [None]}\n");
    ck_assert_uint_eq(kobj_service(headless)->cluster_ips.n, 0);
    round_trip(headless);
}
END_TEST

START_TEST(an_endpoint_slice)
{
    struct kobj *o AUTO(kobj_unref) =
        kobj_of("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
                "metadata: {name: web-1, namespace: shop,\n"
                "           labels: {kubernetes.io/service-name: web}}\n"
                "addressType: IPv4\nports: [{name: http, port: 8080}, {name: any}]\n"
                "endpoints:\n- addresses: [10.0.0.1]\n  conditions: {ready: false}\n"
                "  targetRef: {kind: Pod, namespace: shop, name: a, uid: u}\n"
                "- {addresses: [10.0.0.2], nodeName: n1, zone: z1}\n");
    const struct kendpoint_slice *s = kobj_endpoint_slice(o);
    ck_assert_uint_eq(s->endpoints.n, 2);
    ck_assert_int_eq(s->endpoints.v[0].ready, KTRI_FALSE);
    ck_assert_int_eq(s->endpoints.v[1].ready, KTRI_NONE);
    ck_assert_ptr_null(s->endpoints.v[1].target);
    ck_assert_str_eq(s->endpoints.v[0].target->uid.p, "u");
    ck_assert_uint_eq(s->ports.v[1].port, 0);
    round_trip(o);
}
END_TEST

static const char authz_yaml[] =
    "apiVersion: security.istio.io/v1beta1\nkind: AuthorizationPolicy\n"
    "metadata: {name: p, namespace: shop}\n"
    "spec:\n  selector: {matchLabels: {app: web}}\n  action: DENY\n  rules:\n"
    "  - from:\n"
    "    - source: {principals: ['*/sa/a'], notNamespaces: [b*], ipBlocks: [10.0.0.0/8, "
    "'fd00::1'],\n"
    "               serviceAccounts: [x, y/z], trustDomains: [td]}\n"
    "    - source: {requestPrincipals: ['*'], remoteIpBlocks: [1.2.3.4]}\n"
    "    to:\n    - operation: {ports: ['80', '65535'], notPorts: ['0'], methods: [GET], paths: "
    "['/{*}/a']}\n"
    "    when:\n    - {key: source.ip, values: [10.1.1.1], notValues: [10.0.0.0/9]}\n"
    "    - {key: 'request.headers[x-a]', values: ['b']}\n"
    "    - {key: destination.port, notValues: ['8080']}\n"
    "  - {}\n";

START_TEST(an_authorization_policy)
{
    struct kobj *o AUTO(kobj_unref) = kobj_of(authz_yaml);
    const struct kauthz *p = kobj_authz(o);
    ck_assert_int_eq(p->action, KAUTHZ_DENY);
    ck_assert_uint_eq(p->selector->labels.n, 1);
    ck_assert_uint_eq(p->rules.n, 2);
    ck_assert_uint_eq(p->rules.v[0].from.n, 2);
    ck_assert_uint_eq(p->rules.v[0].from.v[0].source.ip_blocks.v[0].bits, 8);
    ck_assert_uint_eq(p->rules.v[0].from.v[0].source.ip_blocks.v[1].bits, 128);
    ck_assert_uint_eq(p->rules.v[0].to.v[0].operation.ports.v[1], 65535);
    ck_assert_uint_eq(p->rules.v[1].from.n, 0);
    round_trip(o);
    struct kobj *t AUTO(kobj_unref) =
        kobj_of("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
                "metadata: {name: t}\nstatus: {anything: goes}\n"
                "spec: {targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: w}}\n");
    ck_assert_uint_eq(kobj_authz(t)->targets.n, 1);
    ck_assert_ptr_null(kobj_authz(t)->selector);
    ck_assert_ptr_nonnull(strstr(round_trip(t), "targetRefs"));
}
END_TEST

START_TEST(a_peer_authentication)
{
    struct kobj *o AUTO(kobj_unref) =
        kobj_of("apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
                "metadata: {name: p, namespace: shop}\n"
                "spec:\n  selector: {matchLabels: {app: web}}\n  mtls: {mode: STRICT}\n"
                "  portLevelMtls:\n    10080: {mode: DISABLE}\n    9090: {mode: PERMISSIVE}\n"
                "    \"80\": {}\n");
    const struct kpeer_auth *p = kobj_peer_auth(o);
    ck_assert_int_eq(p->mode, KMTLS_STRICT);
    ck_assert_uint_eq(p->ports.n, 3);
    ck_assert_uint_eq(p->ports.v[0].port, 80); /* by number, not by text */
    ck_assert_int_eq(p->ports.v[0].mode, KMTLS_UNSET);
    ck_assert_uint_eq(p->ports.v[2].port, 10080);
    round_trip(o);
}
END_TEST

START_TEST(kinds_of_metadata_only)
{
    static const char *const yaml[] = {
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {istio.io/dataplane-mode: "
        "ambient}}\n",
        "apiVersion: v1\nkind: Node\nmetadata: {name: n1.example, labels: {a: b}}\nspec: {x: 1}\n",
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a.b, namespace: shop}\n"};
    for (size_t i = 0; i < ARRAY_LEN(yaml); i++) {
        struct kobj *o AUTO(kobj_unref) = kobj_of(yaml[i]);
        round_trip(o);
        ck_assert_int_eq(o->meta.ns.n > 0, kobj_kind_namespaced(o->kind));
    }
}
END_TEST

/* -- refusals -- */

struct bad {
    const char *yaml;
    enum rc rc;
    unsigned line;
    const char *text; /* the whole message */
};

static void refuse(const struct bad *b, const char *yaml)
{
    struct arena a AUTO_ARENA;
    struct node *doc = NULL;
    struct errmsg e = {""};
    struct kobj *o = NULL;
    unsigned line = 0;
    arena_init(&a, 64u << 20);
    ck_assert_msg(yaml_parse(&a, str_of(yaml), &doc, NULL, &e) == RC_OK, "%s: %s", yaml, e.text);
    enum rc rc = kobj_decode(doc, &o, &line, &e);
    ck_assert_msg(rc == b->rc, "%s: %s %s", yaml, rc_name(rc), rc == RC_OK ? "" : e.text);
    ck_assert_str_eq(e.text, b->text);
    ck_assert_msg(line == b->line, "%s: line %u", yaml, line);
}

START_TEST(documents_that_say_not_what_they_are)
{
    static const struct bad bad[] = {
        {"[a]\n", RC_INVALID, 1, "the document is not a map"},
        {"a: b\n", RC_INVALID, 1, "kind: is required"},
        {"kind: [Pod]\napiVersion: v1\n", RC_INVALID, 1, "kind: is required"},
        {"kind: Pod\n", RC_INVALID, 1, "apiVersion: is required"},
        {"kind: Pod\napiVersion: v2\n", RC_INVALID, 2,
         "Pod: apiVersion: \"v2\" is not known, use v1"},
        {"kind: PeerAuthentication\napiVersion: security.istio.io/v1alpha1\n", RC_INVALID, 2,
         "PeerAuthentication: apiVersion: \"security.istio.io/v1alpha1\" is not known, use "
         "security.istio.io/v1"},
        {"apiVersion: security.istio.io/v1\nkind: AuthorizationPolcy\n", RC_INVALID, 2,
         "kind: \"AuthorizationPolcy\" is not known, did you mean AuthorizationPolicy?"},
        {"apiVersion: v1\nkind: Pod\nmetadata: {nmae: a}\n", RC_INVALID, 3,
         "Pod: metadata.name: is required, a string of 1 to 253 bytes"},
        {"apiVersion: v1\nkind: Pod\nmetadata: {name: 7}\n", RC_INVALID, 3,
         "Pod: metadata.name: is required, a string of 1 to 253 bytes"},
        {"apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  namespace: 1\n", RC_INVALID, 5,
         "Pod a: metadata.namespace: must be a string of no more than 63 bytes"},
        {"apiVersion: gateway.networking.k8s.io/v1\nkind: UDPRoute\n"
         "metadata: {name: r, namespace: shop}\n",
         RC_UNSUPPORTED, 1, "UDPRoute shop/r: this kind is not yet used"},
        {"apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: r}\n", RC_UNSUPPORTED,
         1, "Service r: this kind is not yet used"},
        {"apiVersion: install.istio.io/v1\nkind: IstioOperator\nmetadata: {name: r}\n",
         RC_UNSUPPORTED, 1, "IstioOperator r: this kind is not yet used"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        refuse(&bad[i], bad[i].yaml);
}
END_TEST

START_TEST(names_and_labels)
{
    static const char head[] = "apiVersion: v1\nkind: Pod\nmetadata:\n";
    static const struct bad bad[] = {
        {"  name: Web\n", RC_INVALID, 4,
         "Pod default/Web: metadata.name: \"Web\" must be lower case letters, digits, '-' and '.', "
         "and each part must start and end with a letter or digit"},
        {"  name: a..b\n", RC_INVALID, 4,
         "Pod default/a..b: metadata.name: \"a..b\" must be lower case letters, digits, '-' and "
         "'.', and each part must start and end with a letter or digit"},
        {"  name: a\n  namespace: a.b\n", RC_INVALID, 5,
         "Pod a.b/a: metadata.namespace: \"a.b\" must be lower case letters, digits and '-', and "
         "start and end with a letter or digit"},
        {"  name: a\n  labels: {app: 1}\n", RC_INVALID, 5,
         "Pod default/a: metadata.labels.app: is a number, must be a string: put it in quotes"},
        {"  name: a\n  labels:\n    app: on\n", RC_INVALID, 6,
         "Pod default/a: metadata.labels.app: is a boolean, must be a string: put it in quotes"},
        {"  name: a\n  labels: [a]\n", RC_INVALID, 5,
         "Pod default/a: metadata.labels: is a list, must be a map"},
        {"  name: a\n  labels: {'a b': c}\n", RC_INVALID, 5,
         "Pod default/a: metadata.labels.a b: key \"a b\" must be [PREFIX/]NAME, NAME 1 to 63 "
         "letters, digits, '-', '_' and '.', starting and ending with a letter or digit"},
        {"  name: a\n  labels: {A.example/b: c}\n", RC_INVALID, 5,
         "Pod default/a: metadata.labels.A.example/b: key \"A.example/b\" has a prefix that is not "
         "a DNS name in lower case"},
        {"  name: a\n  labels: {b: -c}\n", RC_INVALID, 5,
         "Pod default/a: metadata.labels.b: \"-c\" must be letters, digits, '-', '_' and '.', and "
         "start and end with a letter or digit"},
        {"  name: a\n  creationTimestamp: yesterday\n", RC_INVALID, 5,
         "Pod default/a: metadata.creationTimestamp: \"yesterday\" is not a time like "
         "2026-01-31T12:00:00Z"},
        {"  name: a\n  uid: \"a\\0b\"\n", RC_INVALID, 5,
         "Pod default/a: metadata.uid: contains a NUL character"},
        {"  name: a\nspec:\n  containers:\n  - {name: m}\n  - ports:\n    - {containerPort: "
         "70000}\n",
         RC_INVALID, 9,
         "Pod default/a: spec.containers[1].ports[0].containerPort: \"70000\" is not a port, 1 to "
         "65535"},
        {"  name: a\nspec:\n  containers:\n  - ports:\n    - {name: x}\n", RC_INVALID, 8,
         "Pod default/a: spec.containers[0].ports[0].containerPort: is required"},
        {"  name: a\nspec:\n  containers: [null]\n", RC_INVALID, 6,
         "Pod default/a: spec.containers[0]: must not be null"},
        {"  name: a\nspec: {hostNetwork: \"true\"}\n", RC_INVALID, 5,
         "Pod default/a: spec.hostNetwork: is a string, must be true or false"},
        {"  name: a\nstatus: {podIP: 10.0.0.300}\n", RC_INVALID, 5,
         "Pod default/a: status.podIP: \"10.0.0.300\" is not an IP address"},
        {"  name: a\nstatus:\n  podIPs:\n  - {ip: 010.0.0.1}\n", RC_INVALID, 7,
         "Pod default/a: status.podIPs[0].ip: \"010.0.0.1\" is not an IP address"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char *yaml AUTO_FREE = mem_printf("%s%s", head, bad[i].yaml);
        refuse(&bad[i], yaml);
    }
}
END_TEST

START_TEST(over_long_things)
{
    static const char head[] = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: ";
    char name[300], text[2000];
    memset(name, 'a', sizeof(name));
    memset(text, 'a', sizeof(text));
    struct bad b = {NULL, RC_INVALID, 4,
                    "Pod: metadata.name: is required, a string of 1 to 253 bytes"};
    char *yaml = mem_printf("%s%.254s\n", head, name);
    refuse(&b, yaml);
    mem_free(yaml);
    yaml = mem_printf("%s%.253s\n", head, name); /* a subdomain of that length is fine */
    struct kobj *o = kobj_of(yaml);
    ck_assert_uint_eq(o->meta.name.n, 253);
    kobj_unref(o);
    mem_free(yaml);
    yaml = mem_printf("%sa\n  labels: {b: %.64s}\n", head, name);
    b = (struct bad){NULL, RC_INVALID, 5, NULL};
    b.text = mem_printf("Pod default/a: metadata.labels.b: \"%.40s\" must be no more than 63 bytes",
                        name);
    refuse(&b, yaml);
    mem_free(yaml);
    mem_free((char *)(uintptr_t)b.text);
    yaml = mem_printf("apiVersion: v1\nkind: Service\nmetadata: {name: %.64s}\n", name);
    b = (struct bad){NULL, RC_INVALID, 3, NULL};
    b.text = mem_printf("Service default/%.64s: metadata.name: \"%.64s\" must be no more than 63 "
                        "bytes",
                        name, name);
    refuse(&b, yaml);
    mem_free(yaml);
    mem_free((char *)(uintptr_t)b.text);
    yaml = mem_printf("%sa\n  annotations: {b: '%.2000s'}\n", head, text);
    o = kobj_of(yaml); /* annotations are longer than other texts, and this one is dropped */
    ck_assert_uint_eq(o->meta.annotations.n, 0);
    kobj_unref(o);
    mem_free(yaml);
    yaml = mem_printf("%sa\n  ownerReferences: [{name: '%.2000s'}]\n", head, text);
    b = (struct bad){NULL, RC_INVALID, 5,
                     "Pod default/a: metadata.ownerReferences[0].name: is longer than 1024 bytes"};
    refuse(&b, yaml);
    mem_free(yaml);
}
END_TEST

START_TEST(lists_without_end)
{
    struct strbuf y AUTO_STRBUF;
    strbuf_init(&y, 8u << 20);
    strbuf_addz(&y, "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
                    "metadata: {name: p}\nspec:\n  rules:\n");
    for (int i = 0; i < 10000; i++)
        strbuf_addz(&y, "  - {}\n");
    struct bad b = {NULL, RC_INVALID, 6,
                    "AuthorizationPolicy default/p: spec.rules: has 10000 entries, more than 512"};
    refuse(&b, y.p);
    strbuf_reset(&y);
    strbuf_addz(&y, "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: p}\n"
                    "addressType: FQDN\nendpoints:\n");
    char text[1025];
    memset(text, 'a', sizeof(text));
    for (int i = 0; i < 40; i++) {
        strbuf_addz(&y, "- addresses:\n");
        for (int j = 0; j < 70; j++)
            strbuf_printf(&y, "  - %.1000s\n", text);
    }
    b = (struct bad){NULL, RC_LIMIT, 0, NULL};
    struct arena a AUTO_ARENA;
    struct node *doc;
    struct kobj *o;
    struct errmsg e;
    arena_init(&a, 64u << 20);
    ck_assert_rc(yaml_parse(&a, strbuf_str(&y), &doc, NULL, NULL), RC_OK);
    ck_assert_rc(kobj_decode(doc, &o, NULL, &e), RC_LIMIT);
    ck_assert_ptr_nonnull(strstr(e.text, "the object is larger than 2097152 bytes"));
}
END_TEST

START_TEST(policies_are_understood_whole_or_not_at_all)
{
    static const char head[] = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
                               "metadata: {name: p}\n";
#define P "AuthorizationPolicy default/p: "
    static const struct bad bad[] = {
        {"Spec: {}\n", RC_INVALID, 4, P "Spec: unknown field, did you mean spec?"},
        {"spec: {actoin: DENY}\n", RC_INVALID, 4,
         P "spec.actoin: unknown field, did you mean action?"},
        {"spec: {action: deny}\n", RC_INVALID, 4,
         P "spec.action: \"deny\" is none of ALLOW, DENY, AUDIT, CUSTOM"},
        {"spec: {action: DENY}\n", RC_INVALID, 1,
         P "spec.rules: is required: DENY without rules denies nothing; an empty rule {} denies "
           "all"},
        {"spec: {rules: [{form: []}]}\n", RC_INVALID, 4,
         P "spec.rules[0].form: unknown field, did you mean from?"},
        {"spec: {rules: [{from: []}]}\n", RC_INVALID, 4, P "spec.rules[0].from: must not be empty"},
        {"spec: {rules: [{from: [{}]}]}\n", RC_INVALID, 4,
         P "spec.rules[0].from[0].source: is required"},
        {"spec: {rules: [{from: [{source: {}}]}]}\n", RC_INVALID, 4,
         P "spec.rules[0].from[0].source: must have at least one field"},
        {"spec: {rules: [{to: [{operation: {ports: []}}]}]}\n", RC_INVALID, 4,
         P "spec.rules[0].to[0].operation: must have at least one field"},
        {"spec:\n  rules:\n  - from:\n    - source:\n        ipBlocks: [10.0.0.0/33]\n", RC_INVALID,
         8,
         P "spec.rules[0].from[0].source.ipBlocks[0]: \"10.0.0.0/33\" is not an IP address or "
           "CIDR"},
        {"spec: {rules: [{to: [{operation: {ports: [80]}}]}]}\n", RC_INVALID, 4,
         P "spec.rules[0].to[0].operation.ports[0]: is a number, must be a string: put it in "
           "quotes"},
        {"spec: {rules: [{to: [{operation: {ports: [http]}}]}]}\n", RC_INVALID, 4,
         P "spec.rules[0].to[0].operation.ports[0]: \"http\" is not a port, 0 to 65535"},
        {"spec: {rules: [{from: [{source: {principals: ['']}}]}]}\n", RC_INVALID, 4,
         P "spec.rules[0].from[0].source.principals[0]: \"\" must not be empty"},
        {"spec: {rules: [{from: [{source: {principals: ['spiffe://a/ns/b/sa/c']}}]}]}\n",
         RC_INVALID, 4,
         P "spec.rules[0].from[0].source.principals[0]: \"spiffe://a/ns/b/sa/c\" must be "
           "TRUST_DOMAIN/ns/NAMESPACE/sa/ACCOUNT, without spiffe://"},
        {"spec: {rules: [{from: [{source: {namespaces: ['a*b']}}]}]}\n", RC_INVALID, 4,
         P "spec.rules[0].from[0].source.namespaces[0]: \"a*b\" may have one '*', at its start or "
           "its end"},
        {"spec: {rules: [{from: [{source: {namespaces: ['*a*']}}]}]}\n", RC_INVALID, 4,
         P "spec.rules[0].from[0].source.namespaces[0]: \"*a*\" may have one '*', at its start or "
           "its end"},
        {"spec: {rules: [{from: [{source: {serviceAccounts: ['a/b/c']}}]}]}\n", RC_INVALID, 4,
         P "spec.rules[0].from[0].source.serviceAccounts[0]: \"a/b/c\" must be NAME or "
           "NAMESPACE/NAME, without patterns"},
        {"spec: {rules: [{when: [{key: source.ip}]}]}\n", RC_INVALID, 4,
         P "spec.rules[0].when[0]: must have values or notValues"},
        {"spec: {rules: [{when: [{key: source.sun, values: [a]}]}]}\n", RC_INVALID, 4,
         P "spec.rules[0].when[0].key: \"source.sun\" is not known"},
        {"spec: {rules: [{when: [{key: 'request.headers[]', values: [a]}]}]}\n", RC_INVALID, 4,
         P "spec.rules[0].when[0].key: \"request.headers[]\" is not known"},
        {"spec: {rules: [{when: [{key: source.ip, values: [1.1.1.1, x]}]}]}\n", RC_INVALID, 4,
         P "spec.rules[0].when[0].values[1]: \"x\" is not an IP address or CIDR"},
        {"spec: {rules: [{when: [{key: destination.port, notValues: ['-1']}]}]}\n", RC_INVALID, 4,
         P "spec.rules[0].when[0].notValues[0]: \"-1\" is not a port, 0 to 65535"},
        {"spec: {action: CUSTOM, rules: [{}]}\n", RC_INVALID, 1,
         P "spec.provider: is required with CUSTOM"},
        {"spec: {provider: {name: x}}\n", RC_INVALID, 1,
         P "spec.provider: goes with action CUSTOM only"},
        {"spec: {selector: {matchLabels: {app: '*'}}}\n", RC_INVALID, 4,
         P "spec.selector.matchLabels.app: \"*\" must be letters, digits, '-', '_' and '.', and "
           "start and end with a letter or digit"},
        {"spec: {selector: {matchExpressions: []}}\n", RC_INVALID, 4,
         P "spec.selector.matchExpressions: unknown field, did you mean matchLabels?"},
        {"spec: {selector: {}, targetRefs: [{kind: Service, name: a}]}\n", RC_INVALID, 1,
         P "spec.selector: and targetRefs can't both be set"},
        {"spec: {targetRef: {kind: Service, name: a}, targetRefs: [{kind: Service, name: a}]}\n",
         RC_INVALID, 1, P "spec.targetRef: and targetRefs can't both be set"},
        {"spec: {targetRefs: [{kind: Pod, name: a}]}\n", RC_INVALID, 4,
         P "spec.targetRefs[0].kind: must be Service, ServiceEntry, Gateway or GatewayClass of its "
           "group"},
        {"spec: {targetRefs: [{kind: Service, name: a, namespace: b}]}\n", RC_INVALID, 4,
         P "spec.targetRefs[0].namespace: must not be set: a policy can't reach into another one"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char *yaml AUTO_FREE = mem_printf("%s%s", head, bad[i].yaml);
        refuse(&bad[i], yaml);
    }
    /* the rest of the metadata is Kubernetes' and may grow */
    kobj_unref(kobj_of("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
                       "metadata: {name: p, managedFields: [], newField: 1}\nspec: {}\n"));
}
END_TEST

START_TEST(peer_authentications_too)
{
    static const char head[] = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
                               "metadata: {name: p}\n";
#undef P
#define P "PeerAuthentication default/p: "
    static const struct bad bad[] = {
        {"sepc: {}\n", RC_INVALID, 4, P "sepc: unknown field, did you mean spec?"},
        {"spec: {mtls: {mode: Strict}}\n", RC_INVALID, 4,
         P "spec.mtls.mode: \"Strict\" is none of UNSET, DISABLE, PERMISSIVE, STRICT"},
        {"spec: {mtls: STRICT}\n", RC_INVALID, 4, P "spec.mtls: is a string, must be a map"},
        {"spec: {portLevelMtls: {80: {mode: STRICT}}}\n", RC_INVALID, 1,
         P "spec.portLevelMtls: needs a selector with labels"},
        {"spec: {selector: {matchLabels: {a: b}}, portLevelMtls: {http: {}}}\n", RC_INVALID, 4,
         P "spec.portLevelMtls.http: \"http\" is not a port, 1 to 65535"},
        {"spec: {selector: {matchLabels: {a: b}}, portLevelMtls: {'080': {}}}\n", RC_INVALID, 4,
         P "spec.portLevelMtls.080: \"080\" is not a port, 1 to 65535"},
        {"spec: {selector: {matchLabels: {a: b}}, portLevelMtls: {80: {mod: STRICT}}}\n",
         RC_INVALID, 4, P "spec.portLevelMtls.80.mod: unknown field, did you mean mode?"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char *yaml AUTO_FREE = mem_printf("%s%s", head, bad[i].yaml);
        refuse(&bad[i], yaml);
    }
}
END_TEST

START_TEST(slices_and_scopes)
{
    static const struct bad bad[] = {
        {"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: p}\n", RC_INVALID,
         1, "EndpointSlice default/p: addressType: is required"},
        {"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: p}\n"
         "addressType: IPv6\nendpoints: [{addresses: ['::1']}, {addresses: [10.0.0.1]}]\n",
         RC_INVALID, 1,
         "EndpointSlice default/p: endpoints[1].addresses[0]: \"10.0.0.1\" is not an address of "
         "the type"},
        {"apiVersion: v1\nkind: Node\nmetadata: {name: p, namespace: q}\n", RC_INVALID, 3,
         "Node p: metadata.namespace: objects of this kind have none"},
        {"apiVersion: v1\nkind: Service\nmetadata: {name: p}\nspec: {type: Magic}\n", RC_INVALID, 4,
         "Service default/p: spec.type: \"Magic\" is none of ClusterIP, NodePort, LoadBalancer, "
         "ExternalName"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        refuse(&bad[i], bad[i].yaml);
}
END_TEST

START_TEST(maps)
{
    struct kobj *o AUTO(kobj_unref) = kobj_of(
        "apiVersion: v1\nkind: Node\nmetadata: {name: p, labels: {c: '3', a: '1', b: '2'}}\n");
    struct kobj *p AUTO(kobj_unref) =
        kobj_of("apiVersion: v1\nkind: Node\nmetadata: {name: p, labels: {c: '3', a: '1'}}\n");
    const struct kmap *m = &o->meta.labels, *sub = &p->meta.labels;
    static const struct kmap none;
    ck_assert(kmap_includes(m, sub));
    ck_assert(!kmap_includes(sub, m));
    ck_assert(kmap_includes(sub, &none));
    ck_assert(kmap_eq(m, m));
    ck_assert(!kmap_eq(m, sub));
    ck_assert(kmap_has(m, STR("b"), STR("2")));
    ck_assert(!kmap_has(m, STR("b"), STR("3")));
    ck_assert(!kobj_eq(o, p));
    ck_assert(kobj_same_name(o, p));
}
END_TEST

START_TEST(lists_of_objects)
{
    struct arena a AUTO_ARENA;
    struct node *doc;
    arena_init(&a, 1u << 20);
    ck_assert_rc(yaml_parse(&a,
                            STR("apiVersion: v1\nkind: List\nitems:\n"
                                "- {apiVersion: v1, kind: Node, metadata: {name: a}}\n"
                                "- {apiVersion: v1, kind: Node, metadata: {name: b}}\n"),
                            &doc, NULL, NULL),
                 RC_OK);
    const struct node *items = kobj_list_items(doc);
    ck_assert_ptr_nonnull(items);
    ck_assert_uint_eq(items->len, 2);
    ck_assert_ptr_null(kobj_list_items(items->child));
}
END_TEST

TEST_MAIN("kobj", a_pod, defaults_and_the_least_pod, a_service, an_endpoint_slice,
          an_authorization_policy, a_peer_authentication, kinds_of_metadata_only,
          documents_that_say_not_what_they_are, names_and_labels, over_long_things,
          lists_without_end, policies_are_understood_whole_or_not_at_all, peer_authentications_too,
          slices_and_scopes, maps, lists_of_objects)
