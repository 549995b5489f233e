#include "cni/agent.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cni/agent_priv.h"
#include "cni/away.h"
#include "cni/door.h"
#include "cni/enrol.h"
#include "lib/base/mem.h"
#include "lib/log/log.h"
#include "lib/metric/metric.h"

#define SCOPE      "agent"
#define UNKNOWN_MS 2000       /* an ADD waits for the source to tell of its pod */
#define AWAY_MAX   (9u << 20) /* more than away_write() takes */

static const struct metric_family m_calls = {
    "mesh_cni_requests", "Requests of the plug-in by type and code.", METRIC_COUNTER, false};

/* -- what is wanted -- */

static bool is_excluded(const struct agent *g, struct str ns)
{
    struct str rest = g->o.excluded;
    if (str_eqz(ns, g->o.system_ns))
        return true;
    while (rest.n)
        if (str_eq(str_trim(str_split(rest, ',', &rest)), ns))
            return true;
    return false;
}

static enum enrol wanted(const struct agent *g, const struct kpod *p)
{
    struct str ns = p->obj.meta.ns;
    return enrol_pod(p, pods_namespace(g->pods, ns), is_excluded(g, ns));
}

const struct kpod *agent_pod_of(const struct agent *g, const struct attachment *a)
{
    const struct kpod *p = pods_find(g->pods, a->ns, a->name);
    bool same = p && (!a->uid.n || !p->obj.meta.uid.n || str_eq(p->obj.meta.uid, a->uid));
    return same ? p : NULL;
}

static bool is_wanted(const struct agent *g, const struct kpod *p)
{
    return wanted(g, p) == ENROL_YES && !kpod_terminal(p);
}

/* A pod the source does not tell of stays as it is: what was captured goes on being so. */
static void reconsider(struct capture *c)
{
    struct agent *g = c->agent;
    struct errmsg why = {""};
    const struct kpod *p = agent_pod_of(g, c->a);
    if (!p || c->superseded)
        return;
    if (!is_wanted(g, p)) {
        capture_end(c);
        return;
    }
    bool news = c->state == CAPTURE_OUT ? !capture_sibling(c) : !c->sa[0];
    if (news && capture_begin(c, p, &why) != CNI_OK)
        log_error(SCOPE, "%.*s/%.*s can't be captured: %s", STR_ARG(c->a->ns), STR_ARG(c->a->name),
                  why.text);
}

static void away_of(void *arg, const struct kobj *ns)
{
    void **args = arg;
    const struct agent *g = args[0];
    enum away_kind k = is_excluded(g, ns->meta.name) ? AWAY_EXCLUDED
                       : enrol_namespace(ns)         ? AWAY_ENROLLED
                                                     : AWAY_OPEN;
    away_add(args[1], k, ns->meta.name);
}

static void write_away(struct agent *g)
{
    struct strbuf list AUTO_STRBUF;
    struct errmsg why = {""};
    void *args[] = {g, &list};
    strbuf_init(&list, AWAY_MAX);
    away_begin(&list);
    pods_each_namespace(g->pods, away_of, args);
    if (g->away && strcmp(g->away, list.p) == 0)
        return;
    if (away_write(g->o.state, strbuf_str(&list), &why) != RC_OK) {
        log_error(SCOPE, "the plug-in's list of namespaces: %s", why.text);
        return;
    }
    mem_free(g->away);
    g->away = strbuf_take(&list);
}

/* -- the plug-in's requests -- */

static void count(enum wire_type t, enum cni_code code)
{
    static const char *const types[] = {"add", "del", "check", "status", "gc"};
    char labels[60];
    int n = snprintf(labels, sizeof(labels), "type=\"%s\",code=\"%d\"", types[t], (int)code);
    metric_add(metric_series(&m_calls, (struct str){labels, (size_t)n}), 1);
}

void agent_answer(struct agent_call *c, enum cni_code code, bool captured, const char *msg)
{
    struct wire_answer ans = {.code = code, .captured = captured, .msg = str_of(msg)};
    agent_call_cancel(c);
    count(c->type, code);
    c->done(c, &ans);
}

void agent_call_cancel(struct agent_call *c)
{
    list_del(&c->node);
    loop_timer_clear(&c->late);
    mem_free(c->a);
    c->a = NULL;
    if (c->netns >= 0)
        close(c->netns);
    c->netns = -1;
}

static enum cni_code check_netns(int netns, struct errmsg *msg)
{
    struct netns_id own, id;
    int self = -1;
    if (netns < 0 || netns_id(netns, &id) != RC_OK) {
        errmsg_set(msg, "no network namespace came with the request");
        return CNI_NETNS;
    }
    bool same = netns_self(&self) == RC_OK && netns_id(self, &own) == RC_OK && own.ino == id.ino &&
                own.dev == id.dev;
    if (self >= 0)
        close(self);
    if (same)
        errmsg_set(msg, "the network namespace is the node's own: the pod would capture the node");
    return same ? CNI_NETNS : CNI_OK;
}

static void pass(struct agent *g, struct agent_call *call, const struct kpod *p)
{
    struct errmsg why = {""};
    struct capture *c = capture_new(g, call->a, call->netns);
    call->netns = -1;
    capture_learn(c, p);
    if (attachment_save(g->o.state, c->a, &why) != RC_OK)
        log_warn(SCOPE, "%s: labels that come later are missed after a restart", why.text);
    agent_answer(call, CNI_OK, false, enrol_text(wanted(g, p)));
}

static void enrol(struct agent *g, struct agent_call *call, const struct kpod *p)
{
    struct errmsg why = {""};
    enum cni_code code = check_netns(call->netns, &why);
    if (code != CNI_OK) {
        agent_answer(call, code, false, why.text);
        return;
    }
    struct capture *c = capture_new(g, call->a, call->netns);
    call->netns = -1;
    struct capture *sibling = capture_sibling(c); /* another interface of the same pod */
    if (sibling && attachment_save(g->o.state, c->a, &why) != RC_OK)
        log_warn(SCOPE, "%s", why.text);
    if (sibling && sibling->state == CAPTURE_IN) {
        agent_answer(call, CNI_OK, true, "");
        return;
    }
    list_del(&call->node);
    list_push_back(sibling ? &sibling->calls : &c->calls, &call->node);
    if (sibling) {
        capture_announce(sibling);
        return;
    }
    code = capture_begin(c, p, &why);
    if (code == CNI_OK)
        return; /* the ztunnel's word will answer */
    list_del(&call->node);
    capture_free(c, "");
    agent_answer(call, code, false, why.text);
}

/* The source knows the pod: decide. */
static void add_known(struct agent *g, struct agent_call *call, const struct kpod *p)
{
    loop_timer_clear(&call->late);
    if (wanted(g, p) == ENROL_YES)
        enrol(g, call, p);
    else
        pass(g, call, p);
}

static void on_unknown(void *owner)
{
    struct agent_call *c = owner;
    char text[700];
    snprintf(text, sizeof(text), "pod %.*s/%.*s is not known to the source of this node's agent",
             STR_ARG(c->a->ns), STR_ARG(c->a->name));
    agent_answer(c, CNI_AGAIN, false, text);
}

static void forget(struct capture *c)
{
    attachment_remove(c->agent->o.state, c->a->container, c->a->ifname);
    if (!capture_hand_over(c))
        capture_end(c);
    capture_free(c, "the runtime has removed it");
}

static void on_add(struct agent *g, struct agent_call *call)
{
    const struct attachment *a = call->a;
    struct capture *before = capture_find(g, a->container, a->ifname);
    if (before)
        forget(before); /* the runtime tries again from the start */
    if (!a->ns.n || !a->name.n) {
        agent_answer(call, CNI_OK, false, "not a pod of Kubernetes");
        return;
    }
    if (is_excluded(g, a->ns)) {
        agent_answer(call, CNI_OK, false, enrol_text(ENROL_EXCLUDED));
        return;
    }
    const struct kpod *p = agent_pod_of(g, a);
    if (p) {
        add_known(g, call, p);
        return;
    }
    list_push_back(&g->waiting, &call->node);
    loop_timer_set(&call->late, UNKNOWN_MS);
}

static void on_del(struct agent *g, struct agent_call *call, const struct attachment *a)
{
    struct capture *c = capture_find(g, a->container, a->ifname);
    if (c)
        forget(c);
    else /* what the plug-in let pass while no agent ran */
        attachment_remove(g->o.state, a->container, a->ifname);
    agent_answer(call, CNI_OK, false, "");
}

/* Nothing of what should be there is. */
static bool is_left_out(const struct capture *c)
{
    const struct kpod *p = agent_pod_of(c->agent, c->a);
    return c->state == CAPTURE_OUT && !c->superseded && p && is_wanted(c->agent, p) &&
           !capture_sibling(c);
}

static void on_check(struct agent *g, struct agent_call *call, const struct attachment *a)
{
    struct errmsg why = {""};
    const struct capture *c = capture_find(g, a->container, a->ifname);
    if (!c && !is_excluded(g, a->ns) && a->ns.n) {
        agent_answer(call, CNI_REFUSED, false, "the attachment is not known to the agent");
    } else if (c && is_left_out(c)) {
        agent_answer(call, CNI_AGAIN, false, "the pod is enrolled and could not be captured yet");
    } else if (!c || c->state == CAPTURE_OUT) {
        agent_answer(call, CNI_OK, false, "");
    } else if (c->state == CAPTURE_PENDING) {
        agent_answer(call, CNI_AGAIN, false, "the ztunnel has not taken the pod");
    } else if (rules_check(c->netns, &c->rules, &why) != RC_OK) {
        agent_answer(call, CNI_REFUSED, true, why.text);
    } else {
        agent_answer(call, CNI_OK, true, "");
    }
}

static bool is_valid(const struct node *valid, const struct attachment *a)
{
    NODE_FOREACH (v, valid) {
        struct str ifname, container = str_split(node_str(v), '/', &ifname);
        if (str_eq(container, a->container) && str_eq(ifname, a->ifname))
            return true;
    }
    return false;
}

static void on_gc(struct agent *g, struct agent_call *call, const struct node *valid)
{
    struct capture *c, *next;
    LIST_FOREACH_SAFE (c, next, &g->captures, node)
        if (!is_valid(valid, c->a))
            forget(c);
    agent_answer(call, CNI_OK, false, "");
}

void agent_call(struct agent *a, struct agent_call *c, const struct wire_request *r, int netns,
                void (*done)(struct agent_call *c, const struct wire_answer *ans))
{
    *c = (struct agent_call){.agent = a, .type = r->type, .netns = netns, .done = done};
    list_init(&c->node);
    loop_timer_init(&c->late, a->loop, on_unknown, c);
    switch (r->type) {
    case WIRE_ADD:
        c->a = attachment_dup(&r->a);
        on_add(a, c);
        break;
    case WIRE_DEL:   on_del(a, c, &r->a); break;
    case WIRE_CHECK: on_check(a, c, &r->a); break;
    case WIRE_GC:    on_gc(a, c, r->valid); break;
    case WIRE_STATUS:
        if (zds_server_clients(a->zds))
            agent_answer(c, CNI_OK, false, "");
        else
            agent_answer(c, CNI_UNAVAILABLE, false, "no ztunnel is connected to the agent");
        break;
    }
}

/* -- the source, the clock -- */

static void open_sockets(struct agent *g)
{
    static const struct zds_server_ops ops = {.each_pod = capture_each_pod,
                                              .on_announced = capture_announced};
    struct errmsg why = {""};
    g->open = true;
    capture_load(g);
    g->zds = zds_server_new(g->loop, g->o.zds_socket, &ops, g, &why);
    if (g->zds)
        g->door = door_new(g->loop, g->o.cni_socket, g, &why);
    if (!g->door)
        g->o.on_ready(g->o.owner, why.text);
}

static void verify_all(struct agent *g)
{
    struct capture *c, *next;
    LIST_FOREACH_SAFE (c, next, &g->captures, node)
        if (capture_verify(c))
            reconsider(c); /* what failed before */
}

static void on_source(void *owner)
{
    struct agent *g = owner;
    struct capture *c, *next;
    struct agent_call *call, *next_call;
    bool first = !g->open;
    if (first)
        open_sockets(g);
    if (!g->door)
        return;
    write_away(g);
    LIST_FOREACH_SAFE (c, next, &g->captures, node)
        reconsider(c);
    LIST_FOREACH_SAFE (call, next_call, &g->waiting, node) {
        const struct kpod *p = agent_pod_of(g, call->a);
        if (p)
            add_known(g, call, p);
    }
    if (first) {
        verify_all(g);
        g->o.on_ready(g->o.owner, NULL);
    }
}

static void on_verify(void *owner)
{
    struct agent *g = owner;
    if (g->door) {
        write_away(g); /* a disk that was full */
        verify_all(g);
    }
    loop_timer_set(&g->verify, g->o.verify_ms);
}

static void on_scrape(void *owner)
{
    capture_count(owner);
}

/* -- what it shows -- */

void agent_dump_pods(void *agent, struct strbuf *out)
{
    static const char *const states[] = {"out", "pending", "captured"};
    const struct agent *g = agent;
    struct capture *c;
    const char *sep = "";
    strbuf_addc(out, '[');
    LIST_FOREACH (c, &g->captures, node) {
        strbuf_printf(out, "%s{\"uid\":\"", sep);
        strbuf_add_json(out, str_of(c->uid));
        strbuf_printf(out, "\",\"state\":\"%s\",\"serviceAccount\":\"%s\",\"attachment\":",
                      states[c->state], c->sa);
        attachment_format(c->a, out);
        strbuf_addc(out, '}');
        sep = ",";
    }
    strbuf_addc(out, ']');
}

/* -- life -- */

enum rc agent_new(struct loop *l, const struct agent_opts *o, struct agent **ret,
                  struct errmsg *msg)
{
    struct agent *g = mem_new(struct agent);
    char keep[4096];
    enum rc rc = netns_init();
    if (rc != RC_OK) {
        errmsg_set(msg, "the own network namespace can't be found: is CAP_NET_ADMIN missing?");
        mem_free(g);
        return rc;
    }
    g->loop = l;
    g->o = *o;
    list_init(&g->captures);
    list_init(&g->waiting);
    snprintf(keep, sizeof(keep), "%s/objects", o->state);
    (void)!(mkdir(o->state, 0700)); /* a failure shows when something is written there */
    struct pods_opts po = {
        .folder = o->source, .keep = keep, .node = o->node, .on_change = on_source, .owner = g};
    g->pods = pods_new(l, &po);
    loop_timer_init(&g->verify, l, on_verify, g);
    loop_timer_set(&g->verify, o->verify_ms);
    metric_on_scrape(on_scrape, g);
    *ret = g;
    return RC_OK;
}

void agent_free(struct agent *g)
{
    struct capture *c, *next;
    struct agent_call *call, *next_call;
    if (!g)
        return;
    metric_off_scrape(on_scrape, g);
    loop_timer_clear(&g->verify);
    LIST_FOREACH_SAFE (c, next, &g->captures, node)
        capture_free(c, "the agent ends");
    LIST_FOREACH_SAFE (call, next_call, &g->waiting, node)
        agent_answer(call, CNI_AGAIN, false, "the agent ends");
    door_free(g->door);
    zds_server_free(g->zds);
    pods_free(g->pods);
    mem_free(g->away);
    mem_free(g);
}
