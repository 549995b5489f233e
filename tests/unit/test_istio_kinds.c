/* Istio's kinds beside the two policies: what is read, what is refused, what survives the way through JSON. */
#include "lib/kobj/destination_rule.h"
#include "lib/kobj/entry.h"
#include "lib/kobj/known.h"
#include "lib/kobj/request_auth.h"
#include "lib/kobj/telemetry.h"
#include "lib/kobj/virtual_service.h"
#include "tests/helper/check.h"
#include "tests/helper/kobj.h"

#define NETWORKING(kind) \
    "apiVersion: networking.istio.io/v1\nkind: " kind "\nmetadata: {name: x, namespace: shop}\n"
#define SECURITY(kind) \
    "apiVersion: security.istio.io/v1\nkind: " kind "\nmetadata: {name: x, namespace: shop}\n"

START_TEST(a_service_entry)
{
    struct kobj *o AUTO(kobj_unref) = kobj_of(
        NETWORKING("ServiceEntry") "spec:\n"
                                   "  hosts: [a.example, '*.b.example']\n"
                                   "  addresses: [10.0.0.1, 'fd00::/64']\n"
                                   "  ports: [{number: 443, name: https, protocol: TLS, "
                                   "targetPort: 8443}, {number: 80, name: http}]\n"
                                   "  location: MESH_INTERNAL\n  resolution: STATIC\n"
                                   "  endpoints:\n"
                                   "  - {address: 1.2.3.4, ports: {https: 1, http: 2}, labels: {v: "
                                   "a}, network: n1, locality: r/z,\n"
                                   "     weight: 3, serviceAccount: sa}\n"
                                   "  - {address: 'unix:///run/s'}\n"
                                   "  exportTo: ['.']\n  subjectAltNames: ['spiffe://a/b']\n"
                                   "status: {addresses: [{value: 240.240.0.1, host: a.example}], "
                                   "conditions: [{type: A}]}\n");
    const struct kservice_entry *e = kobj_service_entry(o);
    ck_assert_int_eq(e->location, KLOCATION_INTERNAL);
    ck_assert_int_eq(e->resolution, KRESOLUTION_STATIC);
    ck_assert_uint_eq(e->addresses.v[1].bits, 64);
    ck_assert_uint_eq(e->ports.v[0].target, 8443);
    ck_assert_str_eq(e->endpoints.v[0].ports.v[0].key.p, "http"); /* sorted */
    ck_assert_int_eq(e->endpoints.v[0].ports.v[0].value, 2);
    ck_assert_int_eq(e->endpoints.v[0].weight, 3);
    ck_assert_str_eq(e->status_addresses.v[0].value.p, "240.240.0.1");
    round_trip(o);
    struct kobj *s AUTO(kobj_unref) = kobj_of(
        NETWORKING("ServiceEntry") "spec: {hosts: [a.b], workloadSelector: {labels: {app: a}}}\n");
    ck_assert_uint_eq(kobj_service_entry(s)->selector.n, 1);
    round_trip(s);
}
END_TEST

START_TEST(service_entries_that_are_refused)
{
    static const struct refusal v[] = {
        {"{}", "hosts: is required"},
        {"{hosts: []}", "hosts: must not be empty"},
        {"{hosts: ['*']}", "hosts[0]: \"*\" must not be a bare wildcard"},
        {"{hosts: [a.*.b]}", "hosts[0]: \"a.*.b\" must be a DNS name, which may begin with '*'"},
        {"{hosts: [a], endpoints: [{address: 1.1.1.1}]}",
         "endpoints: must be empty with resolution NONE"},
        {"{hosts: [a], resolution: STATIC, endpoints: [{address: 1.1.1.1}, {address: b.example}]}",
         "endpoints[1].address: must be an IP address with resolution STATIC"},
        {"{hosts: [a], resolution: STATIC, endpoints: [{address: 1.1.1.1}], workloadSelector: "
         "{labels: "
         "{a: b}}}",
         "workloadSelector: must not be set beside endpoints"},
        {"{hosts: [a], resolution: DNS, addresses: [10.0.0.0/8]}",
         "addresses: ranges are allowed with resolution NONE and STATIC only"},
        {"{hosts: [a], resolution: DNS_ROUND_ROBIN, endpoints: [{address: b}, {address: c}]}",
         "endpoints: must be one at most with resolution DNS_ROUND_ROBIN"},
        {"{hosts: [a], ports: [{number: 1, name: a}, {number: 1, name: b}]}",
         "ports: number 1 stands twice"},
        {"{hosts: [a], ports: [{number: 1, name: a}, {number: 2, name: a}]}",
         "ports: name \"a\" stands twice"},
        {"{hosts: [a], resolution: STATIC, endpoints: [{address: 'unix://x'}]}",
         "endpoints[0].address: must be unix:///PATH or unix://@NAME"},
        {"{hosts: [a], resolution: DNS, endpoints: [{ports: {a: 0}}]}",
         "endpoints[0].ports.a: \"0\" is not a whole number from 1 to 65535"},
        {"{hosts: [a], resolution: ROUND}",
         "resolution: \"ROUND\" is none of NONE, STATIC, DNS, DNS_ROUND_ROBIN, DYNAMIC_DNS"},
        {"{hosts: [a], endpoint: []}", "endpoint: unknown field, did you mean endpoints?"},
    };
    refused(NETWORKING("ServiceEntry"), v, ARRAY_LEN(v));
}
END_TEST

START_TEST(workloads)
{
    struct kobj *e AUTO(kobj_unref) = kobj_of(NETWORKING(
        "WorkloadEntry") "spec: {address: 10.1.1.1, serviceAccount: sa, labels: {app: a}}\n"
                         "status: {conditions: [{type: Healthy, status: 'False'}, {type: B}]}\n");
    ck_assert_str_eq(kobj_workload_entry(e)->workload.address.p, "10.1.1.1");
    ck_assert_uint_eq(kobj_workload_entry(e)->conditions.n, 1);
    round_trip(e);
    struct kobj *g AUTO(kobj_unref) = kobj_of(NETWORKING(
        "WorkloadGroup") "spec: {metadata: {labels: {a: b}, annotations: {c: d}}, template: "
                         "{serviceAccount: sa, ports: {http: 80}}, probe: {tcpSocket: {port: "
                         "1}}}\n");
    ck_assert(kobj_workload_group(g)->probe);
    ck_assert_uint_eq(kobj_workload_group(g)->annotations.n, 1);
    round_trip(g);
    static const struct refusal v[] = {
        {"{labels: {a: b}}", "address: is required unless network is set"},
        {"{address: 'unix:///a/'}", "address: must not be a folder"},
        {"{address: a, prts: {}}", "prts: unknown field, did you mean ports?"}};
    refused(NETWORKING("WorkloadEntry"), v, ARRAY_LEN(v));
}
END_TEST

START_TEST(a_request_authentication)
{
    struct kobj *o AUTO(kobj_unref) = kobj_of(SECURITY(
        "RequestAuthentication") "spec:\n"
                                 "  targetRef: {kind: Service, name: s}\n"
                                 "  jwtRules:\n"
                                 "  - {issuer: 'https://a', audiences: [b], jwksUri: "
                                 "'https://a/keys', fromHeaders: [{name: x-t, prefix: 'J '}],\n"
                                 "     fromParams: [p], fromCookies: [c], outputPayloadToHeader: "
                                 "x-p, outputClaimToHeaders: [{header: h,\n"
                                 "     claim: d}], forwardOriginalToken: true, timeout: 1.5s, "
                                 "spaceDelimitedClaims: [scope]}\n"
                                 "  - {issuer: b, jwks: '{\"keys\":[]}'}\n");
    const struct krequest_auth *a = kobj_request_auth(o);
    ck_assert_uint_eq(a->targets.n, 1);
    ck_assert_int_eq(a->rules.v[0].timeout_ms, 1500);
    ck_assert_int_eq(a->rules.v[1].timeout_ms, -1);
    ck_assert_str_eq(a->rules.v[0].from_headers.v[0].prefix.p, "J ");
    round_trip(o);
    static const struct refusal v[] = {
        {"{jwtRules: [{}]}", "jwtRules[0].issuer: is required without jwksUri and jwks"},
        {"{jwtRules: [{issuer: a, jwksUri: 'ftp://a'}]}",
         "jwtRules[0].jwksUri: \"ftp://a\" must begin with https:// or http://"},
        {"{jwtRules: [{issuer: a, fromHeaders: [{}]}]}",
         "jwtRules[0].fromHeaders[0].name: is required"},
        {"{jwtRules: [{issuer: a, timeout: 0s}]}", "jwtRules[0].timeout: must be more than 0"},
        {"{jwtRules: [{issuer: a, audience: b}]}",
         "jwtRules[0].audience: unknown field, did you mean audiences?"},
        {"{selector: {}, targetRefs: [{kind: Service, name: s}]}",
         "selector: must not be set beside targetRefs"},
    };
    refused(SECURITY("RequestAuthentication"), v, ARRAY_LEN(v));
}
END_TEST

START_TEST(what_is_known_only)
{
    struct kobj *g AUTO(kobj_unref) =
        kobj_of(NETWORKING("Gateway") "spec: {selector: {istio: ingress}, servers: []}\n");
    ck_assert_int_eq(g->kind, KOBJ_ISTIO_GATEWAY);
    ck_assert_uint_eq(kobj_known(g)->selector.n, 1);
    round_trip(g);
    struct kobj *f AUTO(kobj_unref) = kobj_of(
        "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {name: x}\nspec: "
        "{workloadSelector: {labels: {a: b}}, targetRefs: [{kind: Gateway, name: w}], "
        "configPatches: [1]}\n");
    ck_assert_uint_eq(kobj_known(f)->targets.n, 1);
    round_trip(f);
}
END_TEST

START_TEST(bytes_of_a_secret)
{
    struct kobj *s AUTO(kobj_unref) = kobj_of("apiVersion: v1\nkind: Secret\nmetadata: {name: "
                                              "x}\ntype: Opaque\ndata: {a: AAEC/w==, b: ''}\n");
    ck_assert_uint_eq(kobj_secret(s)->data.v[0].value.n, 4);
    ck_assert_mem_eq(kobj_secret(s)->data.v[0].value.p, "\0\1\2\xff", 4);
    round_trip(s);
    struct kobj *c AUTO(kobj_unref) = kobj_of("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: "
                                              "x}\ndata: {a.pem: text}\nbinaryData: {b: AA==}\n");
    ck_assert_str_eq(kmap_get(&kobj_config_map(c)->data, "a.pem").p, "text");
    round_trip(c);
    ck_assert_str_eq(
        refusal_of("apiVersion: v1\nkind: Secret\nmetadata: {name: x}\ndata: {a: '!'}\n"),
        "Secret default/x: data.a: is not base64");
    ck_assert_str_eq(
        refusal_of("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a/b: ''}\n"),
        "ConfigMap default/x: data.a/b: key \"a/b\" must be letters, digits, '-', '_' and '.'");
}
END_TEST

START_TEST(a_virtual_service)
{
    struct kobj *o AUTO(kobj_unref) = kobj_of(NETWORKING(
        "VirtualService") "spec:\n"
                          "  hosts: [a, b.example]\n  gateways: [mesh]\n  exportTo: ['.']\n"
                          "  http:\n"
                          "  - name: one\n"
                          "    match: [{uri: {prefix: /a}, headers: {x-a: {exact: ''}, x-b: "
                          "{regex: c}}, port: 80, ignoreUriCase: true,\n"
                          "      sourceLabels: {app: c}, queryParams: {q: {}}, withoutHeaders: {d: "
                          "{}}}]\n"
                          "    route:\n"
                          "    - {destination: {host: a, subset: v1, port: {number: 8080}}, "
                          "weight: 90, headers: {request: {set: {x: 'y'}}}}\n"
                          "    - {destination: {host: a, subset: v2}, weight: 10}\n"
                          "    timeout: 0s\n"
                          "    retries: {attempts: 3, perTryTimeout: 2s, retryOn: '5xx,503', "
                          "retryIgnorePreviousHosts: false}\n"
                          "    fault: {delay: {percentage: {value: 0.1}, fixedDelay: 5s}, abort: "
                          "{httpStatus: 503, percentage: {value: 100}}}\n"
                          "    mirror: {host: m}\n    mirrorPercentage: {value: 0}\n"
                          "    corsPolicy: {allowOrigins: [{exact: 'https://a'}], maxAge: 24h, "
                          "allowCredentials: false}\n"
                          "    headers: {response: {remove: [server]}}\n"
                          "    rewrite: {uriRegexRewrite: {match: ^/a(.*), rewrite: '\\1'}}\n"
                          "  - {redirect: {uri: /x, redirectCode: 308, derivePort: "
                          "FROM_REQUEST_PORT}}\n"
                          "  - {directResponse: {status: 503, body: {bytes: AAE=}}}\n"
                          "  - {delegate: {name: d, namespace: e}}\n"
                          "  tls: [{match: [{sniHosts: [a], port: 443}], route: [{destination: "
                          "{host: a}}]}]\n"
                          "  tcp: [{match: [{destinationSubnets: [10.0.0.0/8], sourceSubnet: "
                          "10.1.0.0/16}], route: [{destination: {host: t}}]}]\n");
    const struct kvirtual_service *v = kobj_virtual_service(o);
    const struct kvs_http *h = &v->http.v[0];
    ck_assert_str_eq(h->matches.v[0].uri->prefix.p, "/a");
    ck_assert_str_eq(h->matches.v[0].headers.v[1].key.p, "x-b");
    ck_assert_str_eq(h->matches.v[0].headers.v[1].match.regex.p, "c");
    ck_assert_uint_eq(h->routes.v[0].destination.port, 8080);
    ck_assert_int_eq(h->timeout_ms, 0);
    ck_assert_int_eq(h->retries->per_try_ms, 2000);
    ck_assert_int_eq(h->retries->ignore_previous, KTRI_FALSE);
    ck_assert_int_eq(h->delay->percent, 100000);
    ck_assert_int_eq(h->abort->percent, 100000000);
    ck_assert_int_eq(h->mirror_percent, 0);
    ck_assert_int_eq(h->mirror_percent_old, -1);
    ck_assert_int_eq(v->http.v[1].timeout_ms, -1);
    ck_assert_int_eq(v->http.v[1].redirect->code, 308);
    ck_assert_uint_eq(v->http.v[2].direct->bytes.n, 2);
    ck_assert_str_eq(v->http.v[3].delegate.p, "d");
    ck_assert_str_eq(v->tcp.v[0].matches.v[0].source_subnet.p, "10.1.0.0/16");
    round_trip(o);
    static const struct refusal bad[] = {
        {"{hosts: [a], http: [{}]}",
         "http[0]: must have route, redirect, directResponse or delegate"},
        {"{hosts: [a], http: [{redirect: {}, directResponse: {status: 200}}]}",
         "http[0]: must have one of route, redirect and directResponse"},
        {"{hosts: [a], http: [{delegate: {name: d}, match: [{uri: {exact: a, prefix: b}}]}]}",
         "http[0].match[0].uri: must have one of exact, prefix and regex"},
        {"{hosts: [a], http: [{delegate: {name: d}, fault: {delay: {percentage: {value: "
         "100.5}}}}]}",
         "http[0].fault.delay.percentage.value: \"100.5\" is not a number from 0 to 100"},
        {"{hosts: [a], http: [{delegate: {name: d}, timeout: soon}]}",
         "http[0].timeout: \"soon\" is not a duration like 1m30s"},
        {"{hosts: [a], tls: [{route: []}]}", "tls[0].match: is required"},
        {"{hosts: [a], http: [{delegate: {name: d}, websocketUpgrade: true}]}",
         "http[0].websocketUpgrade: unknown field"},
    };
    refused(NETWORKING("VirtualService"), bad, ARRAY_LEN(bad));
}
END_TEST

START_TEST(a_destination_rule)
{
    struct kobj *o AUTO(kobj_unref) = kobj_of(NETWORKING(
        "DestinationRule") "spec:\n"
                           "  host: a.example\n"
                           "  trafficPolicy:\n"
                           "    loadBalancer: {consistentHash: {httpCookie: {name: c, ttl: 0s}, "
                           "maglev: {tableSize: 7}},\n"
                           "      localityLbSetting: {enabled: false, distribute: [{from: a/*, to: "
                           "{b/*: 80, a/*: 20}}]},\n"
                           "      warmup: {duration: 10s, aggression: 1.5}}\n"
                           "    connectionPool: {tcp: {maxConnections: 5, connectTimeout: 30ms, "
                           "tcpKeepalive: {time: 7200s}},\n"
                           "      http: {http2MaxRequests: 9, h2UpgradePolicy: UPGRADE, "
                           "http2KeepAlive: {interval: 5s}}}\n"
                           "    outlierDetection: {consecutive5xxErrors: 0, baseEjectionTime: 3m, "
                           "maxEjectionPercent: 100}\n"
                           "    tls: {mode: SIMPLE, sni: s, subjectAltNames: [x]}\n"
                           "    portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: "
                           "ROUND_ROBIN}}]\n"
                           "    retryBudget: {percent: 12.5}\n    proxyProtocol: {version: V2}\n"
                           "    tunnel: {protocol: CONNECT, targetHost: t, targetPort: 1}\n"
                           "  subsets: [{name: v1, labels: {version: v1}, trafficPolicy: "
                           "{loadBalancer: {simple: RANDOM}}}]\n"
                           "  workloadSelector: {matchLabels: {a: b}}\n");
    const struct kdestination_rule *d = kobj_destination_rule(o);
    ck_assert_int_eq(d->policy->part.lb->hash->cookie->ttl_ms, 0);
    ck_assert_int_eq(d->policy->part.lb->hash->ring_min, -1);
    ck_assert_int_eq(d->policy->part.lb->locality->enabled, KTRI_FALSE);
    ck_assert_int_eq(d->policy->part.lb->locality->distribute.v[0].to.v[0].value, 20);
    ck_assert_int_eq(d->policy->part.lb->warmup->aggression, 1500000);
    ck_assert_int_eq(d->policy->part.pool->keepalive->probes, -1);
    ck_assert_int_eq(d->policy->part.outlier->consecutive_5xx, 0);
    ck_assert_int_eq(d->policy->part.outlier->gateway_errors, -1);
    ck_assert_uint_eq(d->policy->ports.v[0].port, 80);
    ck_assert_int_eq(d->policy->retry_budget->percent, 12500000);
    ck_assert_int_eq(d->subsets.v[0].policy->part.lb->simple, KLB_RANDOM);
    round_trip(o);
    static const struct refusal bad[] = {
        {"{}", "host: is required"},
        {"{host: a, trafficPolicy: {loadBalancer: {simple: RANDOM, consistentHash: {useSourceIp: "
         "true}}}}",
         "trafficPolicy.loadBalancer.simple: must not be set beside consistentHash"},
        {"{host: a, trafficPolicy: {tls: {mode: MUTUAL}}}",
         "trafficPolicy.tls: must have clientCertificate and privateKey, or credentialName, with "
         "MUTUAL"},
        {"{host: a, trafficPolicy: {outlierDetection: {maxEjectionPercent: 101}}}",
         "trafficPolicy.outlierDetection.maxEjectionPercent: \"101\" is not a whole number from 0 "
         "to 100"},
        {"{host: a, subset: []}", "subset: unknown field, did you mean subsets?"},
    };
    refused(NETWORKING("DestinationRule"), bad, ARRAY_LEN(bad));
}
END_TEST

#define TELEMETRY \
    "apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {name: x, namespace: shop}\n"

START_TEST(a_telemetry)
{
    struct kobj *o AUTO(kobj_unref) =
        kobj_of(TELEMETRY "spec:\n"
                          "  targetRefs: [{kind: Service, name: s}]\n"
                          "  accessLogging: [{match: {mode: SERVER}, providers: [{name: otel}], "
                          "disabled: false, filter: {expression: e}}]\n"
                          "  metrics: [{providers: [{name: prometheus}], reportingInterval: 5s, "
                          "overrides: [{match: {metric: REQUEST_COUNT,\n"
                          "    mode: CLIENT}, tagOverrides: {a: {operation: REMOVE}, b: {value: "
                          "c}}}, {disabled: true}]}]\n"
                          "  tracing: [{randomSamplingPercentage: 0.05, customTags: {t: {literal: "
                          "{value: l}}, u: {header: {name: h,\n"
                          "    defaultValue: d}}}, disableSpanReporting: true}]\n");
    const struct ktelemetry *t = kobj_telemetry(o);
    ck_assert_int_eq(t->logging.v[0].mode, KTELEMETRY_SERVER);
    ck_assert_str_eq(t->logging.v[0].providers.v[0].p, "otel");
    ck_assert_int_eq(t->logging.v[0].disabled, KTRI_FALSE);
    ck_assert(t->metrics.v[0].overrides.v[0].tags.v[0].remove);
    ck_assert_str_eq(t->metrics.v[0].overrides.v[1].metric.p, "ALL_METRICS");
    ck_assert_int_eq(t->tracing.v[0].sampling, 50000);
    ck_assert_str_eq(t->tracing.v[0].tags.v[1].header_default.p, "d");
    round_trip(o);
    static const struct refusal bad[] = {
        {"{metrics: [{overrides: [{match: {metric: ALL}}]}]}",
         "metrics[0].overrides[0].match.metric: \"ALL\" is no metric"},
        {"{tracing: [{customTags: {a: {}}}]}",
         "tracing[0].customTags.a: must have one of literal, environment, header and formatter"},
        {"{tracing: [{randomSamplingPercentage: 101}]}",
         "tracing[0].randomSamplingPercentage: \"101\" is not a number from 0 to 100"},
        {"{accessLog: []}", "accessLog: unknown field, did you mean accessLogging?"},
    };
    refused(TELEMETRY, bad, ARRAY_LEN(bad));
}
END_TEST

TEST_MAIN("istio_kinds", a_virtual_service, a_destination_rule, a_telemetry, a_service_entry,
          service_entries_that_are_refused, workloads, a_request_authentication, what_is_known_only,
          bytes_of_a_secret)
