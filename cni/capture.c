#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cni/agent_priv.h"
#include "cni/enrol.h"
#include "lib/base/mem.h"
#include "lib/log/log.h"
#include "lib/metric/metric.h"

#define SCOPE "pods"

static const struct metric_family m_pods = {"mesh_cni_pods", "Attachments of this node by state.",
                                            METRIC_GAUGE, false};
static const struct metric_family m_repairs = {
    "mesh_cni_rule_repairs", "Pods whose rules were not as intended and were written again.",
    METRIC_COUNTER, false};

static const char *const states[] = {"out", "pending", "captured"};

/* "shop/web-1 (container 0123, eth0)" */
struct label {
    char text[700];
};

static struct label label(const struct capture *c)
{
    struct label l;
    snprintf(l.text, sizeof(l.text), "%.*s/%.*s (container %.12s, %.*s)", STR_ARG(c->a->ns),
             STR_ARG(c->a->name), c->a->container.p, STR_ARG(c->a->ifname));
    return l;
}

void capture_count(const struct agent *g)
{
    int64_t n[3] = {0};
    struct capture *c;
    LIST_FOREACH (c, &g->captures, node)
        n[c->state]++;
    for (int i = 0; i < 3; i++) {
        char text[40];
        int len = snprintf(text, sizeof(text), "state=\"%s\"", states[i]);
        metric_set(metric_series(&m_pods, (struct str){text, (size_t)len}), n[i]);
    }
}

/* -- one of them -- */

struct capture *capture_new(struct agent *g, const struct attachment *a, int netns)
{
    struct capture *c = mem_new(struct capture);
    struct netns_id id;
    int named;
    c->agent = g;
    c->a = attachment_dup(a);
    c->netns = netns;
    c->rules = (struct rules_opts){.ipv6 = true};
    list_init(&c->calls);
    /* a pod without a uid goes by its sandbox's name */
    snprintf(c->uid, sizeof(c->uid), "%.*s", STR_ARG(a->uid.n ? a->uid : a->container));
    if (netns >= 0 && netns_id(netns, &id) == RC_OK)
        c->a->id = id;
    if (c->a->netns.n && netns_open(c->a->netns.p, &named) == RC_OK) {
        c->named =
            netns_id(named, &id) == RC_OK && id.ino == c->a->id.ino && id.dev == c->a->id.dev;
        close(named);
    }
    list_push_back(&g->captures, &c->node);
    return c;
}

static void answer_all(struct capture *c, enum cni_code code, bool captured, const char *msg)
{
    struct agent_call *call, *next;
    LIST_FOREACH_SAFE (call, next, &c->calls, node)
        agent_answer(call, code, captured, msg);
}

void capture_free(struct capture *c, const char *why)
{
    if (c->agent->zds)
        zds_server_forget(c->agent->zds, c);
    list_del(&c->node);
    answer_all(c, CNI_AGAIN, false, why);
    if (c->netns >= 0)
        close(c->netns);
    mem_free(c->a);
    mem_free(c);
}

struct capture *capture_find(const struct agent *g, struct str container, struct str ifname)
{
    struct capture *c;
    LIST_FOREACH (c, &g->captures, node)
        if (str_eq(c->a->container, container) && str_eq(c->a->ifname, ifname))
            return c;
    return NULL;
}

static bool same_netns(const struct capture *a, const struct capture *b)
{
    return a->a->id.ino && a->a->id.ino == b->a->id.ino && a->a->id.dev == b->a->id.dev;
}

struct capture *capture_sibling(const struct capture *c)
{
    struct capture *o;
    LIST_FOREACH (o, &c->agent->captures, node)
        if (o != c && same_netns(o, c) && o->state != CAPTURE_OUT)
            return o;
    return NULL;
}

/* -- the ztunnel -- */

static struct zds_request request_of(const struct capture *c)
{
    return (struct zds_request){.kind = ZDS_ADD,
                                .uid = str_of(c->uid),
                                .name = c->a->name,
                                .ns = c->a->ns,
                                .sa = str_of(c->sa),
                                .has_info = true};
}

static void settled(struct capture *c, const char *error)
{
    if (!error) {
        if (c->state == CAPTURE_PENDING)
            log_info(SCOPE, "captured: %s", label(c).text);
        c->state = CAPTURE_IN;
        answer_all(c, CNI_OK, true, "");
        return;
    }
    char text[400];
    snprintf(text, sizeof(text), "ztunnel: %.300s", error);
    log_warn(SCOPE, "not captured yet: %s: %s; its traffic is held back", label(c).text, text);
    c->state = CAPTURE_PENDING;
    answer_all(c, CNI_AGAIN, false, text);
}

static void on_added(void *owner, const char *error)
{
    struct capture *c = owner;
    c->adding = false;
    settled(c, error);
}

void capture_announce(struct capture *c)
{
    struct zds_request r = request_of(c);
    if (c->adding)
        return;
    c->adding = true;
    zds_server_add(c->agent->zds, &r, c->netns, on_added, c);
}

void capture_each_pod(void *agent, void (*add)(void *arg, const struct zds_request *r, int netns),
                      void *arg)
{
    struct agent *g = agent;
    struct capture *c;
    LIST_FOREACH (c, &g->captures, node) {
        struct zds_request r = request_of(c);
        if (c->state == CAPTURE_OUT || !c->uid[0])
            continue;
        if (c->netns < 0 || !c->sa[0])
            r.kind = ZDS_KEEP; /* what the ztunnel has of it is more than we know */
        add(arg, &r, r.kind == ZDS_ADD ? c->netns : -1);
    }
}

void capture_announced(void *agent, struct str uid, const char *error)
{
    struct agent *g = agent;
    struct capture *c;
    LIST_FOREACH (c, &g->captures, node)
        if (c->state != CAPTURE_OUT && str_eqz(uid, c->uid) && !c->adding)
            settled(c, error);
}

/* -- in and out -- */

static enum rc write_rules(struct capture *c, struct errmsg *msg)
{
    return c->netns < 0 ? RC_NOT_FOUND : rules_apply(c->netns, &c->rules, msg);
}

/* A sandbox that replaces another of the same pod: the ztunnel moves over to it. */
static void supersede(struct capture *c)
{
    struct capture *o;
    LIST_FOREACH (o, &c->agent->captures, node)
        if (o != c && o->state != CAPTURE_OUT && strcmp(o->uid, c->uid) == 0 && !same_netns(o, c)) {
            zds_server_forget(c->agent->zds, o);
            o->adding = false;
            o->state = CAPTURE_OUT;
            o->superseded = true;
        }
}

void capture_learn(struct capture *c, const struct kpod *p)
{
    struct str uid = p->obj.meta.uid;
    if (attachment_pod_name_ok(uid) && !str_eq(uid, c->a->uid)) {
        struct attachment a = *c->a, *before = c->a;
        a.uid = uid;
        c->a = attachment_dup(&a);
        mem_free(before);
        snprintf(c->uid, sizeof(c->uid), "%.*s", STR_ARG(uid));
    }
    snprintf(c->sa, sizeof(c->sa), "%.*s", STR_ARG(p->service_account));
    c->rules.bypass_inbound = enrol_bypass_inbound(p);
}

enum cni_code capture_begin(struct capture *c, const struct kpod *p, struct errmsg *msg)
{
    struct errmsg why = {""};
    capture_learn(c, p);
    c->a->passed = false;
    c->superseded = false;
    if (write_rules(c, &why) != RC_OK) {
        errmsg_set(msg, "rules of the pod: %.300s", why.text);
        return CNI_NETNS;
    }
    if (attachment_save(c->agent->o.state, c->a, &why) != RC_OK) {
        errmsg_set(msg, "%.300s", why.text);
        (void)!rules_remove(c->netns, NULL);
        return CNI_IO;
    }
    supersede(c);
    c->state = CAPTURE_PENDING;
    capture_announce(c);
    return CNI_OK;
}

void capture_end(struct capture *c)
{
    struct errmsg why = {""};
    if (c->state == CAPTURE_OUT)
        return;
    zds_server_forget(c->agent->zds, c);
    c->adding = false;
    c->state = CAPTURE_OUT;
    if (c->netns >= 0 && rules_remove(c->netns, &why) != RC_OK)
        log_error(SCOPE, "rules of %s stay: %s", label(c).text, why.text);
    zds_server_del(c->agent->zds, str_of(c->uid), NULL, NULL);
    answer_all(c, CNI_AGAIN, false, "the pod has gone meanwhile");
    log_info(SCOPE, "released: %s", label(c).text);
}

bool capture_hand_over(struct capture *c)
{
    struct capture *o;
    LIST_FOREACH (o, &c->agent->captures, node) {
        if (o == c || c->state == CAPTURE_OUT || !same_netns(o, c))
            continue;
        o->state = c->state;
        o->rules = c->rules;
        memcpy(o->uid, c->uid, sizeof(o->uid));
        memcpy(o->sa, c->sa, sizeof(o->sa));
        zds_server_forget(c->agent->zds, c);
        if (c->adding)
            capture_announce(o);
        c->adding = false;
        c->state = CAPTURE_OUT;
        return true;
    }
    return false;
}

/* -- what is, against what is intended -- */

/* The runtime removes a sandbox's namespace by its path; ours is only one more reference to it. */
static bool path_gone(const struct capture *c)
{
    struct netns_id id;
    int fd;
    if (!c->named)
        return false;
    enum rc rc = netns_open(c->a->netns.p, &fd);
    if (rc != RC_OK) /* any other failure says nothing about it */
        return rc == RC_NOT_FOUND || rc == RC_INVALID;
    bool other = netns_id(fd, &id) != RC_OK || id.ino != c->a->id.ino || id.dev != c->a->id.dev;
    close(fd);
    return other;
}

bool capture_verify(struct capture *c)
{
    struct errmsg why = {""};
    if (path_gone(c)) {
        log_warn(SCOPE, "the network namespace of %s has vanished", label(c).text);
        attachment_remove(c->agent->o.state, c->a->container, c->a->ifname);
        if (c->state != CAPTURE_OUT && !capture_sibling(c))
            zds_server_del(c->agent->zds, str_of(c->uid), NULL, NULL);
        capture_free(c, "its network namespace has vanished");
        return false;
    }
    if (c->state == CAPTURE_OUT || c->netns < 0)
        return true;
    enum rc rc = rules_check(c->netns, &c->rules, &why);
    if (rc != RC_OK && rc != RC_INVALID) {
        log_error(SCOPE, "rules of %s can't be compared: %s", label(c).text, why.text);
    } else if (rc != RC_OK) {
        log_warn(SCOPE, "rules of %s were not as intended: %s", label(c).text, why.text);
        if (rules_apply(c->netns, &c->rules, &why) == RC_OK)
            metric_add(metric_series(&m_repairs, STR("")), 1);
        else
            log_error(SCOPE, "rules of %s can't be repaired: %s", label(c).text, why.text);
    }
    if (c->state == CAPTURE_PENDING && zds_server_clients(c->agent->zds) && c->sa[0])
        capture_announce(c);
    return true;
}

/* -- after a restart -- */

/* Opens the namespace. RC_NOT_FOUND: its path does not lead to it any more. */
static enum rc reopen(const struct attachment *a, int *ret)
{
    char *path AUTO_FREE = str_dup(a->netns);
    struct netns_id id;
    int fd;
    enum rc rc = a->netns.n ? netns_open(path, &fd) : RC_NOT_FOUND;
    if (rc != RC_OK)
        return rc == RC_INVALID ? RC_NOT_FOUND : rc;
    rc = netns_id(fd, &id);
    if (rc == RC_OK && a->id.ino && (id.ino != a->id.ino || id.dev != a->id.dev))
        rc = RC_NOT_FOUND;
    if (rc == RC_OK)
        *ret = fd;
    else
        close(fd);
    return rc;
}

/* Only the kernel knows whether a pod was captured. */
static void load_one(void *owner, const struct attachment *a, const char *file)
{
    struct agent *g = owner;
    if (!a) {
        log_warn(SCOPE, "%s/pods/%s can not be read as an attachment", g->o.state, file);
        return;
    }
    int netns = -1;
    enum rc rc = reopen(a, &netns);
    if (rc == RC_NOT_FOUND) {
        log_info(SCOPE, "%.*s/%.*s went while no agent ran", STR_ARG(a->ns), STR_ARG(a->name));
        attachment_remove(g->o.state, a->container, a->ifname);
        return;
    }
    struct capture *c = capture_new(g, a, netns);
    const struct kpod *p = agent_pod_of(g, a);
    if (p)
        capture_learn(c, p);
    if (rc != RC_OK)
        log_error(SCOPE, "the network namespace of %s can't be opened: %s", label(c).text,
                  rc_text(rc));
    if (!a->passed && !capture_sibling(c) && (netns < 0 || rules_present(netns)))
        c->state = CAPTURE_PENDING; /* agent.c looks what the source wants */
}

void capture_load(struct agent *g)
{
    attachment_each(g->o.state, load_one, g);
}
