#include "lib/kobj/mesh_config.h"
#include "tests/helper/check.h"

static struct kmesh_config *parse(const char *yaml, struct strbuf *unread)
{
    struct kmesh_config *c = NULL;
    struct errmsg e = {""};
    ck_assert_msg(kmesh_config_parse(str_of(yaml), &c, unread, &e) == RC_OK, "%s", e.text);
    return c;
}

START_TEST(what_is_said)
{
    struct strbuf unread AUTO_STRBUF;
    strbuf_init(&unread, 1000);
    struct kmesh_config *c =
        parse("trustDomain: td\nrootNamespace: root\ntrustDomainAliases: [a, b]\n"
              "discoverySelectors: [{matchLabels: {mesh: 'on'}}, {matchExpressions: [{key: a, "
              "operator: Exists}]}]\n"
              "outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n"
              "serviceScopeConfigs: [{servicesSelector: {matchExpressions: [{key: istio.io/global, "
              "operator: In, values: "
              "['true']}]}, scope: GLOBAL}]\n"
              "extensionProviders:\n"
              "- {name: authz, envoyExtAuthzGrpc: {service: a.b.svc, port: 9000, timeout: 2s, "
              "includeRequestBodyInCheck: "
              "{maxRequestBytes: 10}}}\n"
              "- {name: web, envoyExtAuthzHttp: {service: c, port: 80, pathPrefix: /x, "
              "includeRequestHeadersInCheck: [h], "
              "includeAdditionalHeadersInCheck: {a: b}}}\n"
              "- {name: otel, opentelemetry: {service: d, port: 1}}\n"
              "defaultProviders: {metrics: [prometheus]}\ndefaultHttpRetryPolicy: {attempts: 0}\n"
              "accessLogFile: /dev/stdout\naccessLogEncoding: JSON\npathNormalization: "
              "{normalization: MERGE_SLASHES}\n"
              "enableAutoMtls: false\nconnectTimeout: 5s\n"
              "defaultConfig: {discoveryAddress: x}\ningressClass: istio\n",
              &unread);
    ck_assert_str_eq(c->trust_domain.p, "td");
    ck_assert_uint_eq(c->discovery_selectors.n, 2);
    ck_assert_int_eq(c->outbound, KOUTBOUND_REGISTRY_ONLY);
    ck_assert_ptr_null(c->scopes.v[0].namespaces);
    ck_assert_int_eq(c->scopes.v[0].scope, KSCOPE_GLOBAL);
    ck_assert_int_eq(c->providers.v[0].grpc->timeout_ms, 2000);
    ck_assert_int_eq(c->providers.v[0].grpc->body_max, 10);
    ck_assert_str_eq(c->providers.v[1].http->path_prefix.p, "/x");
    ck_assert(!c->providers.v[2].http && !c->providers.v[2].grpc);
    ck_assert_int_eq(c->default_retries->attempts, 0);
    ck_assert_int_eq(c->access_log_json, 1);
    ck_assert_int_eq(c->normalization, 3);
    ck_assert_int_eq(c->auto_mtls, KTRI_FALSE);
    ck_assert_int_eq(c->connect_ms, 5000);
    ck_assert_str_eq(unread.p, "defaultConfig, ingressClass");
    free(c);
}
END_TEST

START_TEST(what_is_not_said)
{
    static const char *const texts[] = {"", "{}", "# nothing\n"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct kmesh_config *c = parse(texts[i], NULL);
        ck_assert_str_eq(c->trust_domain.p, "cluster.local");
        ck_assert_str_eq(c->root_namespace.p, "istio-system");
        ck_assert_int_eq(c->connect_ms, -1);
        ck_assert_ptr_null(c->default_retries);
        free(c);
    }
}
END_TEST

START_TEST(what_is_refused)
{
    static const struct {
        const char *yaml, *why;
    } bad[] = {
        {"a: [\n", NULL},
        {"- a\n", "meshConfig line 1: is a list, must be a map"},
        {"trustDomain: 1\n",
         "meshConfig line 1: trustDomain: is a number, must be a string: put it in quotes"},
        {"\nrootNamespace: A\n",
         "meshConfig line 2: rootNamespace: \"A\" must be lower case letters, digits and '-', "
         "and start and end with a letter or digit"},
        {"outboundTrafficPolicy: {mode: NONE}\n", "meshConfig line 1: outboundTrafficPolicy.mode: "
                                                  "\"NONE\" is none of ALLOW_ANY, REGISTRY_ONLY"},
        {"extensionProviders: [{name: a, envoyExtAuthzGrpc: {service: s}}]\n",
         "meshConfig line 1: extensionProviders[0].envoyExtAuthzGrpc.port: is required"},
        {"extensionProviders: [{name: a, envoyExtAuthzHttp: {service: s, port: 1, failopen: "
         "true}}]\n",
         "meshConfig line 1: extensionProviders[0].envoyExtAuthzHttp.failopen: unknown field, did "
         "you mean failOpen?"},
        {"discoverySelectors: [{labels: {}}]\n",
         "meshConfig line 1: discoverySelectors[0].labels: unknown field"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct kmesh_config *c = NULL;
        struct errmsg e = {""};
        ck_assert_rc(kmesh_config_parse(str_of(bad[i].yaml), &c, NULL, &e), RC_INVALID);
        if (bad[i].why)
            ck_assert_str_eq(e.text, bad[i].why);
    }
}
END_TEST

TEST_MAIN("mesh_config", what_is_said, what_is_not_said, what_is_refused)
