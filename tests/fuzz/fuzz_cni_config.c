/* What a runtime gives the plug-in. The input: five variables, each ended by a NUL, then standard input. */
#include "cni/plugin_in.h"
#include "cni/wire.h"
#include "lib/base/mem.h"
#include "lib/base/must.h"
#include "tests/helper/fuzz.h"

enum { COMMAND, CONTAINER, IFNAME, ARGS, NETNS, VARIABLES };

static void accepted(const struct plugin_in *in, struct str input)
{
    const struct attachment *a = &in->a;
    MUST(in->verb <= PLUGIN_GC);
    if (in->verb == PLUGIN_ADD || in->verb == PLUGIN_DEL || in->verb == PLUGIN_CHECK)
        MUST(attachment_container_ok(a->container) && attachment_ifname_ok(a->ifname));
    MUST(a->ns.n == 0 || attachment_pod_name_ok(a->ns));
    MUST(a->name.n == 0 || attachment_pod_name_ok(a->name));
    MUST(a->n_ips <= ATTACHMENT_IPS_MAX);
    if (!in->has_prev)
        return;
    struct arena arena AUTO_ARENA;
    struct node *n;
    arena_init(&arena, 16u << 20);
    MUST(in->prev.p >= input.p && in->prev.p + in->prev.n <= input.p + input.n);
    MUST(json_parse(&arena, in->prev, &n, NULL) == RC_OK && n->kind == NODE_MAP);
}

/* What the plug-in hands on, the agent understands as the same. */
static void handed_on(const struct plugin_in *in)
{
    struct arena arena AUTO_ARENA;
    struct strbuf b AUTO_STRBUF;
    struct wire_request r;
    arena_init(&arena, 16u << 20);
    strbuf_init(&b, 1u << 20);
    wire_request_format(WIRE_ADD, &in->a, STR(""), &b);
    if (!str_is_utf8(in->a.netns) || in->a.netns.n > 4095)
        return;
    MUST(wire_request_parse(&arena, strbuf_str(&b), &r, NULL) == RC_OK);
    MUST(str_eq(r.a.container, in->a.container) && str_eq(r.a.ifname, in->a.ifname));
    MUST(str_eq(r.a.netns, in->a.netns) && str_eq(r.a.name, in->a.name));
    MUST(r.a.n_ips == in->a.n_ips);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str rest = {(const char *)data, n};
    char *v[VARIABLES];
    for (int i = 0; i < VARIABLES; i++)
        v[i] = str_dup(str_split(rest, '\0', &rest));
    struct plugin_env env = {v[COMMAND], v[CONTAINER], v[NETNS], v[IFNAME], v[ARGS], "/opt", NULL};
    struct arena arena AUTO_ARENA;
    struct plugin_in in;
    struct plugin_error err;
    arena_init(&arena, 16u << 20);
    if (plugin_in_parse(&arena, &env, rest, &in, &err)) {
        accepted(&in, rest);
        if (in.verb == PLUGIN_ADD)
            handed_on(&in);
    } else {
        MUST(err.code == CNI_VERSION || err.code == CNI_ENV || err.code == CNI_DECODE ||
             err.code == CNI_CONFIG);
        MUST(err.msg[0] && strlen(err.msg) < sizeof(err.msg));
    }
    for (size_t i = 0; i < in.version.n; i++) /* goes into every answer as it is */
        MUST((in.version.p[i] >= '0' && in.version.p[i] <= '9') || in.version.p[i] == '.');
    for (int i = 0; i < VARIABLES; i++)
        mem_free(v[i]);
    return 0;
}
