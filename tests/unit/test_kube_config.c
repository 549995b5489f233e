/* kubeconfig files, and the files in a pod. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/kube/kube_config.h"
#include "tests/helper/check.h"

static char folder[64], path[100];

static void start(void)
{
    snprintf(folder, sizeof(folder), "/tmp/test-kube-config-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/config", folder);
    unsetenv("KUBERNETES_SERVICE_HOST");
    unsetenv("KUBERNETES_SERVICE_PORT");
}

static void put(const char *name, const char *text)
{
    char *to AUTO_FREE = mem_printf("%s/%s", folder, name);
    ck_assert_rc(file_replace(to, 0600, str_of(text), NULL), RC_OK);
}

static void stop(void)
{
    static const char *const names[] = {"config", "token", "ca.crt", "namespace"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char *file AUTO_FREE = mem_printf("%s/%s", folder, names[i]);
        (void)!unlink(file);
    }
    ck_assert_int_eq(rmdir(folder), 0);
}

#define CLUSTER "clusters: [{name: c, cluster: {server: 'https://10.0.0.1:6443/'}}]\n"
#define CONTEXT "contexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n"

START_TEST(a_kubeconfig)
{
    struct kube_config *c AUTO(kube_config_free) = NULL;
    put("config",
        "apiVersion: v1\nkind: Config\ncurrent-context: b\n"
        "clusters:\n- name: c\n  cluster:\n    server: https://api.example/\n"
        "    certificate-authority: pki/ca.crt\n    tls-server-name: kubernetes\n"
        "- {name: d, cluster: {server: 'https://[::1]:6443', certificate-authority-data: cGVt, "
        "insecure-skip-tls-verify: true}}\n"
        "users:\n- name: u\n  user: {client-certificate: /a/crt, client-key-data: a2V5}\n"
        "- {name: v, user: {tokenFile: token, token: old}}\n"
        "contexts:\n- {name: a, context: {cluster: c, user: u, namespace: shop}}\n"
        "- {name: b, context: {cluster: d, user: v}}\n- {name: e, context: {cluster: c}}\n");
    struct errmsg e = {""};
    ck_assert_msg(kube_config_load(path, "a", &c, &e) == RC_OK, "%s", e.text);
    char *ca AUTO_FREE = mem_printf("%s/pki/ca.crt", folder),
             *token AUTO_FREE = mem_printf("%s/token", folder);
    ck_assert_str_eq(c->server, "https://api.example");
    ck_assert_str_eq(c->tls_server_name, "kubernetes");
    ck_assert_str_eq(c->ca.path, ca);
    ck_assert_str_eq(c->cert.path, "/a/crt");
    ck_assert_str_eq(c->key.text, "key");
    ck_assert_str_eq(c->ns, "shop");
    ck_assert(!c->insecure);
    kube_config_free(c);
    c = NULL;
    ck_assert_rc(kube_config_load(path, NULL, &c, &e), RC_OK);
    ck_assert_str_eq(c->server, "https://[::1]:6443");
    ck_assert_str_eq(c->ca.text, "pem");
    ck_assert_str_eq(c->token.path, token); /* the file wins while it can be read */
    ck_assert_str_eq(c->token.text, "old");
    ck_assert_str_eq(c->ns, "default");
    ck_assert(c->insecure);
    kube_config_free(c);
    c = NULL;
    ck_assert_rc(kube_config_load(path, "e", &c, &e), RC_OK);
    ck_assert_ptr_null(c->token.text);
}
END_TEST

START_TEST(kubeconfigs_that_are_refused)
{
    static const struct {
        const char *text;
        enum rc rc;
        const char *why; /* after the path */
    } bad[] = {
        {"", RC_INVALID, ":0: not a kubeconfig"},
        {"- a\n", RC_INVALID, ":0: not a kubeconfig"},
        {"a: b\n", RC_INVALID, ":1: current-context is required"},
        {"current-context: x\n", RC_NOT_FOUND, ":1: contexts holds no entry \"x\""},
        {CONTEXT, RC_NOT_FOUND, ":1: clusters holds no entry \"c\""},
        {CLUSTER CONTEXT, RC_NOT_FOUND, ":1: users holds no entry \"u\""},
        {CONTEXT "clusters: [{name: c}]\n", RC_INVALID,
         ":3: clusters[name=c].cluster is required and a map"},
        {CONTEXT "clusters: [{name: c, cluster: {}}]\n", RC_INVALID,
         ":3: server is required and begins with https://"},
        {CONTEXT "clusters: [{name: c, cluster: {server: 7}}]\n", RC_INVALID,
         ":3: server must be a string"},
        {CONTEXT "clusters: [{name: c, cluster: {server: 'https://a', proxy-url: 'http://b'}}]\n",
         RC_UNSUPPORTED, ":3: proxy-url: proxies are not supported"},
        {CONTEXT
         "clusters: [{name: c, cluster: {server: 'https://a', certificate-authority-data: '!'}}]\n",
         RC_INVALID, ":3: certificate-authority-data is not base64 of text"},
        {CLUSTER CONTEXT "users: [{name: u, user: {exec: {command: a}}}]\n", RC_UNSUPPORTED,
         ":4: user.exec is not supported: use a token, a token file or a client certificate"},
        {CLUSTER CONTEXT "users: [{name: u, user: {username: a}}]\n", RC_UNSUPPORTED,
         ":4: user.username is not supported: use a token, a token file or a client certificate"},
        {CLUSTER CONTEXT "users: [{name: u, user: {client-key: a}}]\n", RC_INVALID,
         ":4: client-certificate and client-key go together"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct kube_config *c = NULL;
        struct errmsg e = {""};
        put("config", bad[i].text);
        ck_assert_msg(kube_config_load(path, NULL, &c, &e) == bad[i].rc, "%s: %s", bad[i].text,
                      e.text);
        ck_assert_ptr_null(c);
        ck_assert_int_eq(strncmp(e.text, path, strlen(path)), 0);
        ck_assert_str_eq(e.text + strlen(path), bad[i].why);
    }
    struct kube_config *c = NULL;
    ck_assert_rc(kube_config_load("/nowhere/config", NULL, &c, NULL), RC_NOT_FOUND);
}
END_TEST

START_TEST(in_a_pod)
{
    struct kube_config *c AUTO(kube_config_free) = NULL;
    struct errmsg e = {""};
    ck_assert_rc(kube_config_in_cluster(folder, &c, &e), RC_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(e.text, "not in a pod"));
    setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1);
    setenv("KUBERNETES_SERVICE_PORT", "443", 1);
    ck_assert_rc(kube_config_in_cluster(folder, &c, &e), RC_NOT_FOUND);
    put("namespace", "mesh-system\n");
    ck_assert_rc(kube_config_in_cluster(folder, &c, &e), RC_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(e.text, "is automountServiceAccountToken off?"));
    put("token", "t");
    put("ca.crt", "c");
    ck_assert_rc(kube_config_in_cluster(folder, &c, &e), RC_OK);
    ck_assert_str_eq(c->server, "https://[fd00::1]:443");
    ck_assert_str_eq(c->ns, "mesh-system");
}
END_TEST

TEST_MAIN_FIXTURE("kube_config", start, stop, a_kubeconfig, kubeconfigs_that_are_refused, in_a_pod)
