#include "cni/plugin_in.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "cni/wire.h"
#include "lib/base/mem.h"

const char *const plugin_versions[] = {"0.3.1", "0.4.0", "1.0.0", "1.1.0", NULL};
enum { V_CHECK = 1, V_STATUS = 3 }; /* the first version that has CHECK; STATUS and GC */

static const struct verb {
    const char *word;
    bool container, netns, ifname, path; /* required variables */
    int since;                           /* index of plugin_versions */
} verbs[] = {
    [PLUGIN_NONE] = {"", false, false, false, false, 0},
    [PLUGIN_ADD] = {"ADD", true, true, true, false, 0},
    [PLUGIN_DEL] = {"DEL", true, false, true, false, 0},
    [PLUGIN_CHECK] = {"CHECK", true, true, true, false, V_CHECK},
    [PLUGIN_VERSION] = {"VERSION", false, false, false, false, 0},
    [PLUGIN_STATUS] = {"STATUS", false, false, false, false, V_STATUS},
    [PLUGIN_GC] = {"GC", false, false, false, true, V_STATUS},
};

void plugin_fail(struct plugin_error *err, unsigned code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    err->code = code;
    vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
    va_end(ap);
}

static bool empty(const char *s)
{
    return !s || !*s;
}

/* -- environment -- */

static bool parse_command(const struct plugin_env *env, struct plugin_in *in,
                          struct plugin_error *err)
{
    const char *word = env->command ? env->command : "";
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        if (strcmp(word, verbs[i].word) == 0) {
            in->verb = (enum plugin_verb)i;
            return true;
        }
    }
    plugin_fail(err, CNI_ENV, "unknown CNI_COMMAND: %.50s", word);
    return false;
}

static bool check_present(const struct plugin_env *env, const struct verb *v,
                          struct plugin_error *err)
{
    struct strbuf missing AUTO_STRBUF;
    strbuf_init(&missing, 200);
    const struct {
        const char *name, *value;
        bool required;
    } rows[] = {{"CNI_CONTAINERID", env->container, v->container},
                {"CNI_NETNS", env->netns, v->netns},
                {"CNI_IFNAME", env->ifname, v->ifname},
                {"CNI_PATH", env->path, v->path}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].required && empty(rows[i].value))
            strbuf_printf(&missing, "%s%s", missing.n ? "," : "", rows[i].name);
    if (missing.n == 0)
        return true;
    plugin_fail(err, CNI_ENV, "required env variables [%s] missing", missing.p);
    return false;
}

/* K=V;K=V, of which the pod's are taken. */
static bool parse_args(struct str args, struct attachment *a, struct plugin_error *err)
{
    while (args.n) {
        struct str value, pair = str_split(args, ';', &args), key = str_split(pair, '=', &value);
        if (pair.n == 0)
            continue;
        if (key.n == pair.n || str_find(value, '=') >= 0) {
            plugin_fail(err, CNI_ENV, "CNI_ARGS: \"%.*s\" is not KEY=VALUE",
                        (int)MIN(pair.n, (size_t)100), pair.p);
            return false;
        }
        struct str *to = str_eqz(key, "K8S_POD_NAMESPACE") ? &a->ns
                         : str_eqz(key, "K8S_POD_NAME")    ? &a->name
                         : str_eqz(key, "K8S_POD_UID")     ? &a->uid
                                                           : NULL;
        if (to && value.n && !attachment_pod_name_ok(value)) {
            plugin_fail(err, CNI_ENV, "CNI_ARGS: %.*s is not a name", STR_ARG(key));
            return false;
        }
        if (to)
            *to = value;
    }
    return true;
}

static bool parse_env(const struct plugin_env *env, struct plugin_in *in, struct plugin_error *err)
{
    struct attachment *a = &in->a;
    const char *o = env->netns_override ? env->netns_override : "";
    a->container = str_of(env->container);
    a->ifname = str_of(env->ifname);
    a->netns = str_of(env->netns);
    in->foreign_netns = strcmp(o, "1") == 0 || str_ieq(str_of(o), STR("true"));
    if (verbs[in->verb].container && !attachment_container_ok(a->container)) {
        plugin_fail(err, CNI_ENV, "invalid characters in CNI_CONTAINERID, or over 200 of them");
        return false;
    }
    if (verbs[in->verb].ifname && !attachment_ifname_ok(a->ifname)) {
        plugin_fail(err, CNI_ENV, "CNI_IFNAME is not an interface's name");
        return false;
    }
    return parse_args(str_of(env->args), a, err);
}

/* -- configuration -- */

static size_t skip_string(struct str s, size_t at) /* at: after the opening quote */
{
    while (at < s.n && s.p[at] != '"')
        at += s.p[at] == '\\' ? 2 : 1;
    return at + 1;
}

/* Where the value that begins at `at` ends: valid JSON, so brackets match outside strings. */
static size_t skip_value(struct str s, size_t at)
{
    size_t depth = 0;
    while (at < s.n) {
        char c = s.p[at];
        if (c == '"') {
            at = skip_string(s, at + 1);
        } else if (c == '{' || c == '[') {
            depth++;
            at++;
        } else if ((c == '}' || c == ']' || c == ',') && depth == 0) {
            return at;
        } else {
            depth -= c == '}' || c == ']';
            at++;
        }
    }
    return MIN(at, s.n);
}

struct str plugin_raw_member(struct str json, const char *key)
{
    size_t at = 0;
    while (at < json.n && json.p[at++] != '{')
        ;
    while (at < json.n) {
        while (at < json.n && json.p[at] != '"' && json.p[at] != '}')
            at++;
        if (at >= json.n || json.p[at] == '}')
            break;
        size_t name = at + 1, end = skip_string(json, name);
        for (at = end; at < json.n && json.p[at] != ':';)
            at++;
        size_t value = ++at;
        at = skip_value(json, MIN(value, json.n));
        if (str_eqz((struct str){json.p + name, end - 1 - name}, key))
            return str_trim((struct str){json.p + value, at - value});
    }
    return (struct str){NULL, 0};
}

/* A text member: absent or null is empty; anything else is an error. */
static bool text_member(const struct node *conf, const char *key, struct str *ret,
                        struct plugin_error *err)
{
    const struct node *n = node_get(conf, key);
    *ret = node_str(n);
    if (!n || n->kind == NODE_NULL || (n->kind == NODE_STRING && !memchr(ret->p, 0, ret->n)))
        return true;
    plugin_fail(err, CNI_DECODE, "%s: must be a text, not %s", key, node_kind_name(n->kind));
    return false;
}

static bool is_version(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((s.p[i] < '0' || s.p[i] > '9') && s.p[i] != '.')
            return false;
    return s.n > 0 && s.n <= 20;
}

static bool check_version(struct plugin_in *in, struct str version, struct plugin_error *err)
{
    if (version.n == 0)
        version = STR("0.1.0"); /* what a configuration without one means */
    if (is_version(version))
        in->version = version;
    int i = 0;
    while (plugin_versions[i] && !str_eqz(version, plugin_versions[i]))
        i++;
    if (plugin_versions[i] && i >= verbs[in->verb].since)
        return true;
    if (plugin_versions[i])
        plugin_fail(err, CNI_VERSION, "config version does not allow %s", verbs[in->verb].word);
    else
        plugin_fail(err, CNI_VERSION, "incompatible CNI versions");
    snprintf(err->details, sizeof(err->details),
             "config is \"%.*s\", plugin supports [\"0.3.1\" \"0.4.0\" \"1.0.0\" \"1.1.0\"]",
             (int)MIN(version.n, (size_t)20), version.p);
    return false;
}

/* The addresses of prevResult, of any version that is supported: ips[].address with its prefix. */
static bool parse_prev(struct plugin_in *in, const struct node *prev, struct plugin_error *err)
{
    if (!prev || prev->kind == NODE_NULL)
        return true;
    if (prev->kind != NODE_MAP) {
        plugin_fail(err, CNI_DECODE, "prevResult: must be a map");
        return false;
    }
    in->has_prev = true;
    NODE_FOREACH (ip, node_get(prev, "ips")) {
        struct str bits, text = str_split(node_str(node_get(ip, "address")), '/', &bits);
        if (in->a.n_ips == ATTACHMENT_IPS_MAX ||
            addr_parse_ip(text, &in->a.ips[in->a.n_ips++]) != RC_OK) {
            plugin_fail(err, CNI_DECODE, "prevResult: ips: not an address, or over %d of them",
                        ATTACHMENT_IPS_MAX);
            return false;
        }
    }
    return true;
}

static bool parse_valid(struct plugin_in *in, const struct node *conf, struct plugin_error *err)
{
    in->valid = node_get(conf, "cni.dev/valid-attachments");
    if (!in->valid)
        in->valid = node_get(conf, "cni.dev/attachments"); /* for plug-ins of before the rename */
    if (!in->valid || in->valid->kind == NODE_NULL)
        return true; /* nobody said what is valid: nothing is known to be invalid */
    in->has_valid = true;
    bool ok = in->valid->kind == NODE_LIST;
    NODE_FOREACH (v, in->valid)
        ok = ok && attachment_container_ok(node_str(node_get(v, "containerID"))) &&
             attachment_ifname_ok(node_str(node_get(v, "ifname")));
    if (!ok)
        plugin_fail(err, CNI_CONFIG,
                    "cni.dev/valid-attachments: must be a list of containerID and ifname");
    return ok;
}

static bool parse_conf(struct arena *arena, struct str input, struct plugin_in *in,
                       struct plugin_error *err, const struct node **ret_conf,
                       struct str *ret_version)
{
    struct node *conf;
    struct errmsg why;
    struct str name;
    if (json_parse(arena, input, &conf, &why) != RC_OK) {
        plugin_fail(err, CNI_DECODE, "network configuration: %.300s", why.text);
        return false;
    }
    if (conf->kind != NODE_MAP) {
        plugin_fail(err, CNI_DECODE, "network configuration: must be a map, not %s",
                    node_kind_name(conf->kind));
        return false;
    }
    if (!text_member(conf, "name", &name, err) ||
        !text_member(conf, "cniVersion", ret_version, err) ||
        !text_member(conf, "socket", &in->socket, err) ||
        !text_member(conf, "state", &in->state, err) ||
        !text_member(conf, "system_namespace", &in->system_ns, err))
        return false;
    if (is_version(*ret_version))
        in->version = *ret_version;
    if (!attachment_container_ok(name)) {
        plugin_fail(err, CNI_CONFIG, "%s network name",
                    name.n ? "invalid characters in" : "missing");
        return false;
    }
    *ret_conf = conf;
    return true;
}

bool plugin_in_parse(struct arena *arena, const struct plugin_env *env, struct str input,
                     struct plugin_in *ret, struct plugin_error *err)
{
    const struct node *conf;
    struct str version;
    *err = (struct plugin_error){0};
    *ret = (struct plugin_in){.version = STR("1.1.0")};
    if (!parse_command(env, ret, err) || !check_present(env, &verbs[ret->verb], err))
        return false;
    if (ret->verb == PLUGIN_NONE)
        return true;
    if (ret->verb == PLUGIN_VERSION) { /* whatever the input is, this can be answered */
        struct node *n;
        if (json_parse(arena, input, &n, NULL) == RC_OK &&
            is_version(node_str(node_get(n, "cniVersion"))))
            ret->version = node_str(node_get(n, "cniVersion"));
        return true;
    }
    if (!parse_conf(arena, input, ret, err, &conf, &version) || !parse_env(env, ret, err) ||
        !check_version(ret, version, err) || !parse_prev(ret, node_get(conf, "prevResult"), err))
        return false;
    if (ret->has_prev) {
        ret->prev = plugin_raw_member(input, "prevResult");
        if (!ret->prev.p) {
            plugin_fail(err, CNI_DECODE, "prevResult: its name is written with escapes");
            return false;
        }
    }
    return ret->verb != PLUGIN_GC || parse_valid(ret, conf, err);
}
