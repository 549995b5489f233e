/* The Gateway API's kinds: what is read, what is refused, what survives the way through JSON. */
#include "lib/kobj/route.h"
#include "tests/helper/check.h"
#include "tests/helper/kobj.h"

#define HEAD(kind)                                          \
    "apiVersion: gateway.networking.k8s.io/v1\nkind: " kind \
    "\nmetadata: {name: x, namespace: shop}\n"

START_TEST(an_http_route)
{
    struct kobj *o AUTO(kobj_unref) = kobj_of(HEAD(
        "HTTPRoute") "spec:\n"
                     "  parentRefs: [{name: gw, sectionName: web}, {group: '', kind: Service, "
                     "name: cart, port: 80}]\n"
                     "  hostnames: [example.com, '*.example.com']\n"
                     "  rules:\n"
                     "  - name: first\n"
                     "    matches:\n"
                     "    - path: {type: Exact, value: /a}\n"
                     "      headers: [{name: X-A, value: '1'}, {type: RegularExpression, name: "
                     "x-b, value: a.*}]\n"
                     "      queryParams: [{name: q, value: ''}]\n"
                     "      method: GET\n"
                     "    - {}\n"
                     "    filters:\n"
                     "    - type: RequestHeaderModifier\n"
                     "      requestHeaderModifier: {set: [{name: a, value: b}], add: [{name: c, "
                     "value: d}], remove: [e]}\n"
                     "    - {type: RequestMirror, requestMirror: {backendRef: {name: m, port: 1}, "
                     "percent: 0}}\n"
                     "    - {type: RequestMirror, requestMirror: {backendRef: {name: m, port: 1},\n"
                     "       fraction: {numerator: 0}}}\n"
                     "    - type: URLRewrite\n"
                     "      urlRewrite: {hostname: h.example, path: {type: ReplaceFullPath, "
                     "replaceFullPath: ''}}\n"
                     "    - type: CORS\n"
                     "      cors: {allowOrigins: ['*'], allowMethods: [GET, POST], maxAge: 9, "
                     "allowCredentials: true}\n"
                     "    - {type: ExtensionRef, extensionRef: {group: g.example, kind: K, name: "
                     "e}}\n"
                     "    - type: ExternalAuth\n"
                     "      externalAuth: {protocol: HTTP, backendRef: {name: auth, port: 9}, "
                     "http: {path: /check,\n"
                     "        allowedHeaders: [a]}, forwardBody: {maxSize: 100}}\n"
                     "    backendRefs:\n"
                     "    - {name: v1, port: 80, weight: 0}\n"
                     "    - {name: v2, port: 81, namespace: other, filters: [{type: "
                     "ResponseHeaderModifier,\n"
                     "       responseHeaderModifier: {remove: [x]}}]}\n"
                     "    timeouts: {request: 1m30s, backendRequest: 0s}\n"
                     "    retry: {attempts: 3, backoff: 100ms, codes: [500, 503]}\n"
                     "    sessionPersistence: {sessionName: s, type: Header}\n"
                     "status: {parents: [{parentRef: {name: gw}, controllerName: a/b, conditions: "
                     "[{type: Accepted,\n"
                     "  status: 'True', reason: R, message: m, observedGeneration: 4, "
                     "lastTransitionTime: x}]}]}\n");
    const struct kroute *r = kobj_route(o);
    const struct kroute_rule *rule = &r->rules.v[0];
    const struct kroute_match *m = &rule->matches.v[0];
    ck_assert_str_eq(r->parents.v[0].group.p, GATEWAY_GROUP);
    ck_assert_str_eq(r->parents.v[0].kind.p, "Gateway");
    ck_assert_str_eq(r->parents.v[1].group.p, "");
    ck_assert_uint_eq(r->parents.v[1].port, 80);
    ck_assert_uint_eq(r->hostnames.n, 2);
    ck_assert_int_eq(m->path_type, KPATH_EXACT);
    ck_assert_int_eq(m->method, KMETHOD_GET);
    ck_assert_int_eq(m->headers.v[1].type, KMATCH_REGEX);
    ck_assert_str_eq(rule->matches.v[1].path.p, "/");
    ck_assert_int_eq(rule->matches.v[1].path_type, KPATH_PREFIX);
    ck_assert_int_eq(rule->filters.v[1].mirror->percent, 0);
    ck_assert_int_eq(rule->filters.v[2].mirror->percent, -1);
    ck_assert_int_eq(rule->filters.v[2].mirror->fraction->denominator, 100);
    ck_assert_int_eq(rule->filters.v[3].rewrite->path->type, KPATH_REPLACE_FULL);
    ck_assert_int_eq(rule->filters.v[4].cors->max_age_s, 9);
    ck_assert_str_eq(rule->filters.v[6].auth->http_path.p, "/check");
    ck_assert_int_eq(rule->backends.v[0].weight, 0);
    ck_assert_int_eq(rule->backends.v[1].weight, 1);
    ck_assert_str_eq(rule->backends.v[1].ref.kind.p, "Service");
    ck_assert_int_eq(rule->backends.v[1].filters.v[0].type, KFILTER_RESPONSE_HEADERS);
    ck_assert_int_eq(rule->timeout_ms, 90000);
    ck_assert_int_eq(rule->backend_timeout_ms, 0);
    ck_assert_int_eq(rule->retry->codes.v[1], 503);
    ck_assert_int_eq(rule->retry->backoff_ms, 100);
    ck_assert_int_eq(rule->session->type, KSESSION_HEADER);
    ck_assert_int_eq(rule->session->absolute_ms, -1);
    ck_assert_int_eq(r->parent_statuses.v[0].conditions.v[0].observed_generation, 4);
    round_trip(o);
}
END_TEST

START_TEST(a_rule_without_anything)
{
    struct kobj *o AUTO(kobj_unref) = kobj_of(HEAD("HTTPRoute") "spec: {rules: [{}]}\n");
    const struct kroute_rule *rule = &kobj_route(o)->rules.v[0];
    ck_assert_int_eq(rule->timeout_ms, -1);
    ck_assert_int_eq(rule->backend_timeout_ms, -1);
    ck_assert_uint_eq(rule->matches.n, 0);
    ck_assert_str_eq(
        round_trip(o),
        "{\"apiVersion\":\"gateway.networking.k8s.io/v1\",\"kind\":\"HTTPRoute\",\"metadata\":{"
        "\"name\":\"x\",\"namespace\":\"shop\"},\"spec\":{\"rules\":[{}]}}");
}
END_TEST

START_TEST(http_routes_that_are_refused)
{
    static const struct refusal v[] = {
        {"{rules: [{matches: [{path: {value: a}}]}]}",
         "rules[0].matches[0].path.value: must begin with '/'"},
        {"{rules: [{matches: [{path: {value: /a//b}}]}]}",
         "rules[0].matches[0].path.value: must not contain '//'"},
        {"{rules: [{matches: [{path: {value: /a/..}}]}]}",
         "rules[0].matches[0].path.value: must not end with '/..' or '/.'"},
        {"{rules: [{matches: [{path: {value: '/a b'}}]}]}",
         "rules[0].matches[0].path.value: has a character that a path can't have"},
        {"{rules: [{matches: [{path: {type: Glob, value: /}}]}]}",
         "rules[0].matches[0].path.type: \"Glob\" is none of PathPrefix, Exact, RegularExpression"},
        {"{rules: [{matches: [{headers: [{name: A, value: x}, {name: a, value: z}]}]}]}",
         "rules[0].matches[0].headers: has \"a\" twice"},
        {"{rules: [{matches: [{cookies: []}]}]}", "rules[0].matches[0].cookies: unknown field"},
        {"{rules: [{filters: [{type: Teleport}]}]}",
         "rules[0].filters[0].type: \"Teleport\" is none of RequestHeaderModifier, "
         "ResponseHeaderModifier, RequestMirror, RequestRedirect, URLRewrite, ExtensionRef, CORS, "
         "ExternalAuth"},
        {"{rules: [{filters: [{type: CORS}]}]}",
         "rules[0].filters[0].cors: is required with type CORS"},
        {"{rules: [{filters: [{type: CORS, cors: {}, urlRewrite: {}}]}]}",
         "rules[0].filters[0].urlRewrite: may be set with type URLRewrite only"},
        {"{rules: [{filters: [{type: CORS, cors: {}}, {type: CORS, cors: {}}]}]}",
         "rules[0].filters: must not have CORS twice"},
        {"{rules: [{filters: [{type: URLRewrite, urlRewrite: {}}, {type: RequestRedirect, "
         "requestRedirect: {}}]}]}",
         "rules[0].filters: must not have both RequestRedirect and URLRewrite"},
        {"{rules: [{filters: [{type: RequestRedirect, requestRedirect: {statusCode: 305}}]}]}",
         "rules[0].filters[0].requestRedirect.statusCode: must be 301, 302, 303, 307 or 308"},
        {"{rules: [{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: "
         "a, "
         "value: \"b\\nc\"}]}}]}]}",
         "rules[0].filters[0].requestHeaderModifier.set[0].value: \"b?c\" has a control character"},
        {"{rules: [{backendRefs: [{name: a}]}]}",
         "rules[0].backendRefs[0].port: is required for a Service"},
        {"{rules: [{backendRefs: [{name: a, port: 1, weight: -1}]}]}",
         "rules[0].backendRefs[0].weight: \"-1\" is not a whole number from 0 to 1000000"},
        {"{rules: [{timeouts: {request: 1s, backendRequest: 2s}}]}",
         "rules[0].timeouts.backendRequest: must be no longer than request"},
        {"{rules: [{timeouts: {request: 1.5s}}]}",
         "rules[0].timeouts.request: \"1.5s\" must be one to four times a number of up to 5 digits "
         "and "
         "h, m, s or ms"},
        {"{rules: [{retry: {codes: [200]}}]}",
         "rules[0].retry.codes[0]: \"200\" is not a whole number from 400 to 599"},
        {"{hostnames: ['a*.b']}",
         "hostnames[0]: \"a*.b\" must be a DNS name in lower case, whose first "
         "label may be '*'"},
        {"{parentRefs: [{}]}", "parentRefs[0].name: is required"},
        {"{rulez: []}", "rulez: unknown field, did you mean rules?"},
    };
    refused(HEAD("HTTPRoute"), v, ARRAY_LEN(v));
}
END_TEST

START_TEST(other_routes)
{
    struct kobj *g AUTO(kobj_unref) = kobj_of(
        HEAD("GRPCRoute") "spec: {rules: [{matches: [{method: {service: a.B, method: C}}, {method: "
                          "{type: RegularExpression, method: .*}}], backendRefs: [{name: b, port: "
                          "1}]}]}\n");
    ck_assert_str_eq(kobj_route(g)->rules.v[0].matches.v[0].grpc->service.p, "a.B");
    round_trip(g);
    struct kobj *t AUTO(kobj_unref) =
        kobj_of(HEAD("TLSRoute") "spec: {hostnames: [a.example], rules: [{backendRefs: [{name: b, "
                                 "port: 1}]}]}\n");
    ck_assert_int_eq(t->kind, KOBJ_TLS_ROUTE);
    round_trip(t);
    static const struct refusal grpc[] = {
        {"{rules: [{matches: [{method: {}}]}]}",
         "rules[0].matches[0].method: must have a service or a method"},
        {"{rules: [{filters: [{type: URLRewrite}]}]}",
         "rules[0].filters[0].type: \"URLRewrite\" is none of RequestHeaderModifier, "
         "ResponseHeaderModifier, RequestMirror, ExtensionRef"},
        {"{rules: [{timeouts: {}}]}", "rules[0].timeouts: unknown field"},
    };
    refused(HEAD("GRPCRoute"), grpc, ARRAY_LEN(grpc));
    static const struct refusal tcp[] = {
        {"{rules: [{matches: []}]}", "rules[0].matches: unknown field"}};
    refused(HEAD("TCPRoute"), tcp, ARRAY_LEN(tcp));
}
END_TEST

START_TEST(gateways)
{
    struct kobj *o AUTO(kobj_unref) = kobj_of(
        HEAD("Gateway") "spec:\n"
                        "  gatewayClassName: istio-waypoint\n"
                        "  listeners:\n"
                        "  - {name: mesh, port: 15008, protocol: HBONE, allowedRoutes: "
                        "{namespaces: {from: Selector,\n"
                        "     selector: {matchExpressions: [{key: a, operator: In, values: [b, "
                        "c]}]}}, kinds: [{kind: HTTPRoute}]}}\n"
                        "  - {name: tls, port: 443, protocol: HTTPS, hostname: '*.a.example', tls: "
                        "{certificateRefs: [{name: s}],\n"
                        "     frontendValidation: {caCertificateRefs: []}}}\n"
                        "  addresses: [{value: 10.0.0.1}, {type: Hostname, value: a.example}]\n"
                        "  infrastructure: {labels: {a: b}, annotations: {c: d}, parametersRef: "
                        "{group: '', kind: ConfigMap, name: p}}\n"
                        "  allowedListeners: {namespaces: {from: All}}\n"
                        "  tls: {frontend: {default: {}}}\n"
                        "  somethingNew: {a: 1}\n"
                        "status: {addresses: [{value: 10.0.0.1}], listeners: [{name: mesh, "
                        "attachedRoutes: 2, conditions: []}]}\n");
    const struct kgateway *g = kobj_gateway(o);
    ck_assert_int_eq(g->listeners.v[0].allowed.from, KALLOWED_SELECTOR);
    ck_assert_str_eq(g->listeners.v[0].kinds.v[0].group.p, GATEWAY_GROUP);
    ck_assert_int_eq(g->listeners.v[1].allowed.from, KALLOWED_SAME);
    ck_assert_str_eq(g->listeners.v[1].tls->certificates.v[0].kind.p, "Secret");
    ck_assert(g->listeners.v[1].tls->validates);
    ck_assert(g->frontend_tls && !g->backend_tls);
    ck_assert_int_eq(g->allowed_sets.from, KALLOWED_ALL);
    ck_assert_int_eq(g->listener_statuses.v[0].attached_routes, 2);
    round_trip(o);
    struct kpair pair = {STR("a"), STR("c")};
    struct kmap with = {1, &pair}, without = {0, NULL};
    ck_assert(klabel_selector_matches(g->listeners.v[0].allowed.selector, &with));
    ck_assert(!klabel_selector_matches(g->listeners.v[0].allowed.selector, &without));
    ck_assert(!klabel_selector_matches(NULL, &without));
    static const struct refusal v[] = {
        {"{gatewayClassName: c, listeners: []}", "listeners: must not be empty"},
        {"{gatewayClassName: c, listeners: [{name: a, port: 1, protocol: TCP, tls: {}}]}",
         "listeners[0].tls: must not be set with protocol TCP"},
        {"{gatewayClassName: c, listeners: [{name: a, port: 1, protocol: HTTP}, {name: a, port: 2, "
         "protocol: HTTP}]}",
         "listeners: two have the name \"a\""},
        {"{gatewayClassName: c, listeners: [{name: a, port: 1, protocol: HTTP, allowedRoutes: "
         "{namespaces: {from: Selector}}}]}",
         "listeners[0].allowedRoutes.namespaces.selector: is required with from Selector"},
        {"{gatewayClassName: c, listeners: [{name: a, port: 1, protocol: HTTP, allowedRoutes: "
         "{namespaces: "
         "{from: Selector, selector: {matchExpressions: [{key: a, operator: In}]}}}}]}",
         "listeners[0].allowedRoutes.namespaces.selector.matchExpressions[0].values: must not be "
         "empty "
         "with In and NotIn"},
        {"{gatewayClassName: c, listeners: [{name: a, port: 1, protocol: HTTP}], addresses: "
         "[{value: x}]}",
         "addresses[0].value: \"x\" is not an IP address"},
    };
    refused(HEAD("Gateway"), v, ARRAY_LEN(v));
}
END_TEST

START_TEST(grants_and_policies)
{
    struct kobj *grant AUTO(kobj_unref) =
        kobj_of(HEAD("ReferenceGrant") "spec: {from: [{group: " GATEWAY_GROUP
                                       ", kind: HTTPRoute, namespace: a}], "
                                       "to: [{group: '', kind: Service}]}\n");
    ck_assert_str_eq(kobj_reference_grant(grant)->to.v[0].name.p, "");
    round_trip(grant);
    static const struct refusal g[] = {
        {"{from: [{group: a.b, kind: C, namespace: d}], to: [{group: '', kind: S}], when: x}",
         "when: unknown field"},
        {"{from: [{group: a.b, kind: C, namespace: '*'}], to: [{group: '', kind: S}]}",
         "from[0].namespace: \"*\" must be lower case letters, digits and '-', and start and end "
         "with a "
         "letter or digit"}};
    refused(HEAD("ReferenceGrant"), g, ARRAY_LEN(g));
    struct kobj *tls AUTO(kobj_unref) = kobj_of(
        HEAD("BackendTLSPolicy") "spec: {targetRefs: [{group: '', kind: Service, name: s, "
                                 "sectionName: web}],\n"
                                 "  validation: {hostname: a.example, wellKnownCACertificates: "
                                 "System, subjectAltNames: [{type: URI,\n"
                                 "  uri: 'spiffe://a/b'}]}}\n");
    ck_assert_str_eq(kobj_backend_tls(tls)->sans.v[0].uri.p, "spiffe://a/b");
    round_trip(tls);
    static const struct refusal t[] = {
        {"{targetRefs: [{group: '', kind: S, name: s}], validation: {hostname: a}}",
         "validation: must have caCertificateRefs or wellKnownCACertificates, not both"},
        {"{targetRefs: [{group: '', kind: S, name: s}], validation: {hostname: a, "
         "wellKnownCACertificates: System, subjectAltNames: [{type: URI, hostname: b}]}}",
         "validation.subjectAltNames[0].hostname: must be set with type Hostname, and only then"}};
    refused(HEAD("BackendTLSPolicy"), t, ARRAY_LEN(t));
    struct kobj *class AUTO(kobj_unref) = kobj_of(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: c}\nspec: "
        "{controllerName: mesh.internal/x}\nstatus: {supportedFeatures: [{name: A}]}\n");
    ck_assert_str_eq(kobj_gateway_class(class)->features.v[0].name.p, "A");
    round_trip(class);
    struct kobj *set AUTO(kobj_unref) =
        kobj_of(HEAD("ListenerSet") "spec: {parentRef: {name: g}, listeners: [{name: a, port: 1, "
                                    "protocol: HTTP}]}\n");
    ck_assert_str_eq(kobj_listener_set(set)->parent.kind.p, "Gateway");
    round_trip(set);
}
END_TEST

TEST_MAIN("gateway", an_http_route, a_rule_without_anything, http_routes_that_are_refused,
          other_routes, gateways, grants_and_policies)
