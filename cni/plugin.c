#include "cni/plugin.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cni/away.h"
#include "cni/plugin_in.h"
#include "cni/wire.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"

#define INPUT_MAX (4u << 20)
#define INPUT_MS  10000
#define TREE_MAX  (64u << 20)
#define ASK_MS    20000 /* an ADD while 50 others are under way */

/* -- input and output -- */

static bool read_input(struct strbuf *in, struct plugin_error *err)
{
    int64_t end = clock_mono_ms() + INPUT_MS;
    for (;;) {
        char buf[16384];
        struct pollfd p = {.fd = 0, .events = POLLIN};
        int64_t left = end - clock_mono_ms();
        if (left <= 0 || poll(&p, 1, (int)left) == 0) {
            plugin_fail(err, CNI_IO, "standard input did not end within %d s", INPUT_MS / 1000);
            return false;
        }
        ssize_t n = read(0, buf, sizeof(buf));
        if (n == 0)
            return true;
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n < 0 || in->n + (size_t)n > INPUT_MAX) {
            plugin_fail(err, CNI_IO,
                        n < 0 ? "standard input: %s" : "standard input: over 4 MiB%.0s",
                        strerror(errno));
            return false;
        }
        strbuf_add(in, buf, (size_t)n);
    }
}

static bool write_all(struct str s)
{
    while (s.n) {
        ssize_t n = write(1, s.p, s.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        s.p += n;
        s.n -= (size_t)n;
    }
    return true;
}

static int print_error(const struct plugin_in *in, const struct plugin_error *err)
{
    struct strbuf out AUTO_STRBUF;
    strbuf_init(&out, 16384);
    strbuf_printf(&out, "{\n    \"cniVersion\": \"%.*s\",\n    \"code\": %u,\n    \"msg\": \"",
                  STR_ARG(in->version), err->code);
    strbuf_add_json(&out, str_of(err->msg));
    strbuf_addc(&out, '"');
    if (err->details[0]) {
        strbuf_addz(&out, ",\n    \"details\": \"");
        strbuf_add_json(&out, str_of(err->details));
        strbuf_addc(&out, '"');
    }
    strbuf_addz(&out, "\n}\n");
    (void)!write_all(strbuf_str(&out));
    return 1;
}

static int print_version(const struct plugin_in *in)
{
    struct strbuf out AUTO_STRBUF;
    strbuf_init(&out, 4096);
    strbuf_printf(&out, "{\"cniVersion\":\"%.*s\",\"supportedVersions\":[", STR_ARG(in->version));
    for (int i = 0; plugin_versions[i]; i++)
        strbuf_printf(&out, "%s\"%s\"", i ? "," : "", plugin_versions[i]);
    strbuf_addz(&out, "]}\n");
    return write_all(strbuf_str(&out)) ? 0 : 1;
}

/* What came from the plug-in before, as it came. */
static int print_result(const struct plugin_in *in)
{
    struct strbuf out AUTO_STRBUF;
    strbuf_init(&out, INPUT_MAX + 4096);
    if (in->has_prev)
        strbuf_adds(&out, in->prev);
    else
        strbuf_printf(&out, "{\"cniVersion\":\"%.*s\"}", STR_ARG(in->version));
    strbuf_addc(&out, '\n');
    return write_all(strbuf_str(&out)) ? 0 : 1;
}

/* -- the verbs -- */

struct run {
    struct plugin_in in;
    struct plugin_error err;
    char *socket, *state, *system_ns; /* owned */
};

/* False: nobody answered; why says how. */
static bool ask(const struct run *r, enum wire_type type, struct str valid, int netns,
                struct arena *arena, struct wire_answer *ret, struct errmsg *why)
{
    struct strbuf request AUTO_STRBUF;
    struct strbuf answer AUTO_STRBUF;
    bool keyed = type == WIRE_ADD || type == WIRE_DEL || type == WIRE_CHECK;
    strbuf_init(&request, WIRE_PACKET_MAX);
    strbuf_init(&answer, WIRE_ANSWER_MAX);
    wire_request_format(type, keyed ? &r->in.a : NULL, valid, &request);
    enum rc rc = request.n >= WIRE_PACKET_MAX ? RC_LIMIT
                                              : wire_ask(r->socket, strbuf_str(&request), netns,
                                                         clock_mono_ms() + ASK_MS, &answer, why);
    if (rc == RC_LIMIT)
        errmsg_set(why, "the request is over %u bytes", WIRE_PACKET_MAX);
    bool ok = rc == RC_OK && wire_answer_parse(arena, strbuf_str(&answer), ret) == RC_OK;
    if (rc == RC_OK && !ok)
        errmsg_set(why, "the agent's answer is not understood");
    if (ok) { /* views, which must outlive the text */
        ret->msg.p = arena_strndup(arena, ret->msg.p, ret->msg.n);
        ret->details.p = arena_strndup(arena, ret->details.p, ret->details.n);
    }
    return ok;
}

static bool refused(struct run *r, const struct wire_answer *a)
{
    if (a->code == CNI_OK)
        return false;
    plugin_fail(&r->err, (unsigned)a->code, "%.*s", (int)MIN(a->msg.n, (size_t)390), a->msg.p);
    return true;
}

static bool open_netns(struct run *r, int *ret)
{
    struct netns_id own, id;
    char *path AUTO_FREE = str_dup(r->in.a.netns);
    if (netns_open(path, ret) != RC_OK) {
        plugin_fail(&r->err, CNI_NETNS, "CNI_NETNS %.300s: %s", path,
                    errno ? strerror(errno) : "not a network namespace");
        return false;
    }
    int self = -1;
    bool same = netns_self(&self) == RC_OK && netns_id(self, &own) == RC_OK &&
                netns_id(*ret, &id) == RC_OK && own.ino == id.ino && own.dev == id.dev;
    if (self >= 0)
        close(self);
    (void)!netns_id(*ret, &r->in.a.id);
    if (!same || r->in.foreign_netns)
        return true;
    plugin_fail(&r->err, CNI_NETNS, "CNI_NETNS %.300s is the plug-in's own namespace", path);
    return false;
}

/* Nobody answers: only what needs no capture may start. */
static bool pass_alone(struct run *r, const struct errmsg *why)
{
    enum away_kind kind;
    struct errmsg reason = {""};
    struct attachment *a = &r->in.a;
    if (!a->ns.n || !a->name.n)
        return true;
    if (away_ask(r->state, a->ns, r->system_ns, &kind, &reason) != RC_OK) {
        plugin_fail(&r->err, CNI_AGAIN, "%.200s; %.180s", why->text, reason.text);
        return false;
    }
    a->passed = true;
    if (kind == AWAY_OPEN && attachment_save(r->state, a, &reason) != RC_OK) {
        plugin_fail(&r->err, CNI_IO, "%.390s", reason.text);
        return false;
    }
    return true;
}

static int add(struct run *r, struct arena *arena)
{
    struct wire_answer a;
    struct errmsg why = {""};
    int netns = -1;
    if (!open_netns(r, &netns))
        return print_error(&r->in, &r->err);
    bool answered = ask(r, WIRE_ADD, STR(""), netns, arena, &a, &why);
    close(netns);
    if (answered ? refused(r, &a) : !pass_alone(r, &why))
        return print_error(&r->in, &r->err);
    return print_result(&r->in);
}

/* Best effort, as the specification asks: the agent finds out by itself what it was not told. */
static int del(struct run *r, struct arena *arena)
{
    struct wire_answer a;
    struct errmsg why = {""};
    if (!ask(r, WIRE_DEL, STR(""), -1, arena, &a, &why))
        attachment_remove(r->state, r->in.a.container, r->in.a.ifname);
    return 0;
}

static int check(struct run *r, struct arena *arena)
{
    struct wire_answer a;
    struct errmsg why = {""};
    if (!r->in.has_prev) {
        plugin_fail(&r->err, CNI_CONFIG, "prevResult: required by CHECK");
    } else if (!ask(r, WIRE_CHECK, STR(""), -1, arena, &a, &why)) {
        plugin_fail(&r->err, CNI_AGAIN, "%.390s", why.text);
    } else if (!refused(r, &a)) {
        return 0;
    }
    return print_error(&r->in, &r->err);
}

static int status(struct run *r, struct arena *arena)
{
    struct wire_answer a;
    struct errmsg why = {""};
    if (!ask(r, WIRE_STATUS, STR(""), -1, arena, &a, &why))
        plugin_fail(&r->err, CNI_UNAVAILABLE, "%.390s", why.text);
    else if (!refused(r, &a))
        return 0;
    return print_error(&r->in, &r->err);
}

static int gc(struct run *r, struct arena *arena)
{
    struct strbuf valid AUTO_STRBUF;
    struct wire_answer a;
    struct errmsg why = {""};
    strbuf_init(&valid, WIRE_PACKET_MAX);
    if (!r->in.has_valid)
        return 0;
    strbuf_addc(&valid, '[');
    NODE_FOREACH (v, r->in.valid) {
        struct str c = node_str(node_get(v, "containerID")), i = node_str(node_get(v, "ifname"));
        strbuf_addz(&valid, valid.n > 1 ? ",\"" : "\"");
        strbuf_add_json(&valid, c);
        strbuf_addc(&valid, '/');
        strbuf_add_json(&valid, i);
        strbuf_addc(&valid, '"');
    }
    strbuf_addc(&valid, ']');
    if (!ask(r, WIRE_GC, strbuf_str(&valid), -1, arena, &a, &why))
        plugin_fail(&r->err, CNI_AGAIN, "%.390s", why.text);
    else if (!refused(r, &a))
        return 0;
    return print_error(&r->in, &r->err);
}

static int about(void)
{
    fprintf(stderr, "mesh " MESH_VERSION ": CNI plug-in, to be executed by a container runtime "
                    "(CNI_COMMAND is not set).\nCNI versions:");
    for (int i = 0; plugin_versions[i]; i++)
        fprintf(stderr, " %s", plugin_versions[i]);
    fprintf(stderr, "\nThe node agent is: mesh cni agent\n");
    return 0;
}

static int run(struct run *r, struct arena *arena)
{
    if (r->in.verb == PLUGIN_NONE)
        return about();
    if (r->in.verb == PLUGIN_VERSION)
        return print_version(&r->in);
    if (netns_init() != RC_OK) {
        plugin_fail(&r->err, CNI_IO, "the own network namespace can't be found");
        return print_error(&r->in, &r->err);
    }
    r->socket = r->in.socket.n ? str_dup(r->in.socket) : mem_strdup(WIRE_SOCKET);
    r->state = r->in.state.n ? str_dup(r->in.state) : mem_strdup(WIRE_STATE);
    r->system_ns = r->in.system_ns.n ? str_dup(r->in.system_ns) : mem_strdup("istio-system");
    int status_code = 1;
    switch (r->in.verb) {
    case PLUGIN_ADD:     status_code = add(r, arena); break;
    case PLUGIN_DEL:     status_code = del(r, arena); break;
    case PLUGIN_CHECK:   status_code = check(r, arena); break;
    case PLUGIN_STATUS:  status_code = status(r, arena); break;
    case PLUGIN_GC:      status_code = gc(r, arena); break;
    case PLUGIN_VERSION:
    case PLUGIN_NONE:    break;
    }
    mem_free(r->socket);
    mem_free(r->state);
    mem_free(r->system_ns);
    return status_code;
}

int plugin_run(void)
{
    struct run r = {.in = {.version = STR("1.1.0")}};
    struct arena arena AUTO_ARENA;
    struct strbuf input AUTO_STRBUF;
    const struct plugin_env env = {.command = getenv("CNI_COMMAND"),
                                   .container = getenv("CNI_CONTAINERID"),
                                   .netns = getenv("CNI_NETNS"),
                                   .ifname = getenv("CNI_IFNAME"),
                                   .args = getenv("CNI_ARGS"),
                                   .path = getenv("CNI_PATH"),
                                   .netns_override = getenv("CNI_NETNS_OVERRIDE")};
    bool by_hand = !env.command || !*env.command;
    arena_init(&arena, TREE_MAX);
    strbuf_init(&input, INPUT_MAX + 1);
    if (!by_hand && !read_input(&input, &r.err))
        return print_error(&r.in, &r.err);
    if (!plugin_in_parse(&arena, &env, strbuf_str(&input), &r.in, &r.err))
        return print_error(&r.in, &r.err);
    return run(&r, &arena);
}
