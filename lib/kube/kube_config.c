#include "lib/kube/kube_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "lib/base/file.h"
#include "lib/codec/node.h"

#define ACCOUNT_FOLDER "/var/run/secrets/kubernetes.io/serviceaccount"

static void secret_fini(struct kube_secret *s)
{
    if (s->text)
        explicit_bzero(s->text, strlen(s->text));
    free(s->path);
    free(s->text);
}

void kube_config_free(struct kube_config *c)
{
    if (!c)
        return;
    secret_fini(&c->ca);
    secret_fini(&c->cert);
    secret_fini(&c->key);
    secret_fini(&c->token);
    free(c->server);
    free(c->tls_server_name);
    free(c->ns);
    free(c);
}

/* -- in a pod -- */

enum rc kube_config_in_cluster(const char *folder, struct kube_config **ret, struct errmsg *ret_msg)
{
    const char *host = getenv("KUBERNETES_SERVICE_HOST"), *port = getenv("KUBERNETES_SERVICE_PORT");
    if (!host || !port || !host[0] || !port[0]) {
        errmsg_set(ret_msg, "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: not "
                            "in a pod; name a kubeconfig file");
        return RC_NOT_FOUND;
    }
    if (!folder)
        folder = ACCOUNT_FOLDER;
    struct kube_config *c AUTO(kube_config_free) = mem_new(struct kube_config);
    c->server = mem_printf(strchr(host, ':') ? "https://[%s]:%s" : "https://%s:%s", host, port);
    c->ca.path = mem_printf("%s/ca.crt", folder);
    c->token.path = mem_printf("%s/token", folder);
    char *ns_path AUTO_FREE = mem_printf("%s/namespace", folder);
    struct strbuf ns AUTO_STRBUF;
    strbuf_init(&ns, 256);
    enum rc rc = file_read(ns_path, 255, &ns, ret_msg);
    if (rc != RC_OK)
        return rc;
    if (access(c->token.path, R_OK) != 0 || access(c->ca.path, R_OK) != 0) {
        errmsg_set(ret_msg, "%s holds no token or ca.crt: is automountServiceAccountToken off?",
                   folder);
        return RC_NOT_FOUND;
    }
    c->ns = str_dup(str_trim(strbuf_str(&ns)));
    *ret = TAKE(c);
    return RC_OK;
}

/* -- kubeconfig -- */

struct kubeconfig {
    const char *path;
    const struct node *root;
    struct errmsg *msg;
    struct kube_config *out;
};

static enum rc wrong(struct kubeconfig *k, enum rc rc, const struct node *at, const char *what)
{
    errmsg_set(k->msg, "%s:%u: %s", k->path, at ? at->line : 1, what);
    return rc;
}

/* The named entry's map in a list like clusters: [{name: N, cluster: {…}}]. */
static enum rc find(struct kubeconfig *k, const char *list, const char *member, struct str name,
                    const struct node **ret)
{
    const struct node *items = node_get(k->root, list);
    NODE_FOREACH (item, items) {
        const struct node *body = node_get(item, member);
        if (!str_eq(node_str(node_get(item, "name")), name))
            continue;
        if (!body || body->kind != NODE_MAP) {
            char *what AUTO_FREE =
                mem_printf("%s[name=%.*s].%s is required and a map", list, STR_ARG(name), member);
            return wrong(k, RC_INVALID, item, what);
        }
        *ret = body;
        return RC_OK;
    }
    char *what AUTO_FREE = mem_printf("%s holds no entry \"%.*s\"", list, STR_ARG(name));
    return wrong(k, RC_NOT_FOUND, items, what);
}

static enum rc text_of(struct kubeconfig *k, const struct node *map, const char *field, char **ret)
{
    const struct node *n = node_get(map, field);
    if (!n || n->kind == NODE_NULL || (n->kind == NODE_STRING && n->text.n == 0))
        return RC_OK;
    if (n->kind != NODE_STRING || memchr(n->text.p, 0, n->text.n)) {
        char *what AUTO_FREE = mem_printf("%s must be a string", field);
        return wrong(k, RC_INVALID, n, what);
    }
    free(*ret);
    *ret = str_dup(n->text);
    return RC_OK;
}

static char *beside(const char *file, const char *path)
{
    const char *slash = strrchr(file, '/');
    if (path[0] == '/' || !slash)
        return mem_strdup(path);
    return mem_printf("%.*s/%s", (int)(slash - file), file, path);
}

static char *decode_base64(const char *text)
{
    size_t n = strlen(text);
    unsigned char *out = mem_zalloc(n / 4 * 3 + 4);
    EVP_ENCODE_CTX *ctx = EVP_ENCODE_CTX_new();
    int got = 0, rest = 0;
    EVP_DecodeInit(ctx);
    bool good = EVP_DecodeUpdate(ctx, out, &got, (const unsigned char *)text, (int)n) >= 0 &&
                EVP_DecodeFinal(ctx, out + got, &rest) >= 0;
    EVP_ENCODE_CTX_free(ctx);
    if (good && got + rest > 0 && strlen((char *)out) == (size_t)(got + rest))
        return (char *)out;
    free(out);
    return NULL;
}

/* FIELD-data (base64) wins over FIELD (a path), as in kubectl. */
static enum rc pem_of(struct kubeconfig *k, const struct node *map, const char *field,
                      struct kube_secret *ret)
{
    char *path AUTO_FREE = NULL, *data AUTO_FREE = NULL;
    char *data_field AUTO_FREE = mem_printf("%s-data", field);
    enum rc rc = text_of(k, map, field, &path);
    if (rc == RC_OK)
        rc = text_of(k, map, data_field, &data);
    if (rc != RC_OK)
        return rc;
    if (data) {
        ret->text = decode_base64(data);
        explicit_bzero(data, strlen(data));
        char *what AUTO_FREE = mem_printf("%s is not base64 of text", data_field);
        return ret->text ? RC_OK : wrong(k, RC_INVALID, node_get(map, data_field), what);
    }
    if (path)
        ret->path = beside(k->path, path);
    return RC_OK;
}

static enum rc read_cluster(struct kubeconfig *k, const struct node *c)
{
    const struct node *insecure = node_get(c, "insecure-skip-tls-verify");
    if (node_str(node_get(c, "proxy-url")).n)
        return wrong(k, RC_UNSUPPORTED, node_get(c, "proxy-url"),
                     "proxy-url: proxies are not supported");
    enum rc rc = text_of(k, c, "server", &k->out->server);
    if (rc == RC_OK)
        rc = text_of(k, c, "tls-server-name", &k->out->tls_server_name);
    if (rc == RC_OK)
        rc = pem_of(k, c, "certificate-authority", &k->out->ca);
    if (rc != RC_OK)
        return rc;
    struct str s = str_of(k->out->server);
    if (!str_starts(s, STR("https://")) && !str_starts(s, STR("http://")))
        return wrong(k, RC_INVALID, c, "server is required and begins with https://");
    while (str_ends(s, STR("/")))
        k->out->server[--s.n] = '\0';
    k->out->insecure = insecure && str_eqz(insecure->text, "true");
    return RC_OK;
}

static enum rc read_user(struct kubeconfig *k, const struct node *u)
{
    static const char *const no[] = {"exec", "auth-provider", "username", "password", NULL};
    for (const char *const *f = no; *f; f++) {
        const struct node *n = node_get(u, *f);
        char *what AUTO_FREE =
            mem_printf("user.%s is not supported: use a token, a token file or a client "
                       "certificate",
                       *f);
        if (n && n->kind != NODE_NULL)
            return wrong(k, RC_UNSUPPORTED, n, what);
    }
    char *path AUTO_FREE = NULL;
    enum rc rc = text_of(k, u, "token", &k->out->token.text);
    if (rc == RC_OK)
        rc = text_of(k, u, "tokenFile", &path);
    if (rc == RC_OK)
        rc = pem_of(k, u, "client-certificate", &k->out->cert);
    if (rc == RC_OK)
        rc = pem_of(k, u, "client-key", &k->out->key);
    if (rc == RC_OK && path)
        k->out->token.path = beside(k->path, path);
    bool cert = k->out->cert.path || k->out->cert.text, key = k->out->key.path || k->out->key.text;
    if (rc == RC_OK && cert != key)
        return wrong(k, RC_INVALID, u, "client-certificate and client-key go together");
    return rc;
}

static enum rc read_all(struct kubeconfig *k, const char *context)
{
    const struct node *ctx, *cluster, *user;
    struct str name = context ? str_of(context) : node_str(node_get(k->root, "current-context"));
    if (name.n == 0)
        return wrong(k, RC_INVALID, k->root, "current-context is required");
    enum rc rc = find(k, "contexts", "context", name, &ctx);
    if (rc == RC_OK)
        rc = find(k, "clusters", "cluster", node_str(node_get(ctx, "cluster")), &cluster);
    if (rc == RC_OK)
        rc = read_cluster(k, cluster);
    if (rc == RC_OK && node_str(node_get(ctx, "user")).n) {
        rc = find(k, "users", "user", node_str(node_get(ctx, "user")), &user);
        if (rc == RC_OK)
            rc = read_user(k, user);
    }
    if (rc == RC_OK)
        rc = text_of(k, ctx, "namespace", &k->out->ns);
    if (!k->out->ns)
        k->out->ns = mem_strdup("default");
    return rc;
}

enum rc kube_config_load(const char *path, const char *context, struct kube_config **ret,
                         struct errmsg *ret_msg)
{
    struct strbuf text AUTO_STRBUF;
    struct arena arena AUTO_ARENA;
    struct node *root = NULL;
    struct errmsg why = {""};
    unsigned line = 0;
    strbuf_init(&text, KUBE_CONFIG_MAX + 1);
    arena_init(&arena, 16 * KUBE_CONFIG_MAX);
    enum rc rc = file_read(path, KUBE_CONFIG_MAX, &text, ret_msg);
    if (rc != RC_OK)
        return rc;
    rc = yaml_parse(&arena, strbuf_str(&text), &root, &line, &why);
    explicit_bzero(text.p, text.n);
    if (rc != RC_OK || !root || root->kind != NODE_MAP) {
        errmsg_set(ret_msg, "%s:%u: %s", path, line, rc != RC_OK ? why.text : "not a kubeconfig");
        return RC_INVALID;
    }
    struct kube_config *c AUTO(kube_config_free) = mem_new(struct kube_config);
    struct kubeconfig k = {.path = path, .root = root, .msg = ret_msg, .out = c};
    rc = read_all(&k, context);
    if (rc == RC_OK)
        *ret = TAKE(c);
    return rc;
}
