#include "control/controller/controller.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "control/controller/server.h"
#include "control/push/push.h"
#include "control/source/src_kdir.h"
#include "lib/log/log.h"
#include "lib/metric/metric.h"

#define SCOPE           "controller"
#define QUIET_MS        10
#define MAX_WAIT_MS     100
#define TOKENS_CHECK_MS 5000
#define DRAIN_POLL_MS   20

static const struct metric_family m_rejects = {
    "pilot_total_xds_rejects", "Responses that a proxy refused.", METRIC_COUNTER, true};

struct controller {
    struct loop *loop;
    struct controller_opts o;
    struct ca *ca;
    struct tokens *tokens;
    struct ca_service *ca_service;
    struct model *model;
    struct ads_server *ads;
    struct push *push;
    struct src_kdir *source;
    struct server *server;
    struct loop_timer tokens_check, drain_poll;
    uint64_t roster; /* for which the tokens were made */
    bool have_tokens, told_ready;
    int64_t drain_until_ms;
    void (*drained)(void *owner);
    void *drained_owner;
};

/* -- tokens -- */

static void want_node(void *arg, struct str node)
{
    tokens_want_node(arg, node);
}

static void want_account(void *arg, const struct mobject *o)
{
    tokens_want_workload(arg, o->obj->meta.ns, o->obj->meta.name);
}

static void write_tokens(struct controller *c)
{
    struct errmsg why = {""};
    c->roster = model_roster(c->model);
    tokens_begin(c->tokens);
    model_each_node(c->model, want_node, c->tokens);
    model_each(c->model, KOBJ_SERVICE_ACCOUNT, want_account, c->tokens);
    c->have_tokens = tokens_commit(c->tokens, &why) == RC_OK;
    if (!c->have_tokens)
        log_error(SCOPE, "tokens: %s; tried again in %d s", why.text, TOKENS_CHECK_MS / 1000);
    loop_timer_set(&c->tokens_check, TOKENS_CHECK_MS);
}

static void settle_tokens(struct controller *c)
{
    if (!c->have_tokens || c->roster != model_roster(c->model))
        write_tokens(c);
}

/* Files that somebody removed or changed, or that could not be written. */
static void check_tokens(void *owner)
{
    write_tokens(owner);
}

/* -- between the parts -- */

static void on_model_change(void *owner)
{
    struct controller *c = owner;
    push_notify(c->push);
}

static void on_pushed(void *owner)
{
    struct controller *c = owner;
    settle_tokens(c); /* tokens are there before readiness */
    if (c->told_ready)
        return;
    c->told_ready = true;
    /* Not before: who is answered from an empty model is told that everything it has is gone. */
    server_open(c->server);
    log_info(SCOPE, "ready: %zu addresses, %zu policies",
             ads_server_resources(c->ads, PUSH_ADDRESS),
             ads_server_resources(c->ads, PUSH_AUTHORIZATION));
    c->o.on_ready(c->o.owner);
}

static bool node_runs(void *owner, struct str node, struct str ns, struct str sa)
{
    struct controller *c = owner;
    return model_node_runs(c->model, node, ns, sa);
}

static enum grpc_status on_client(void *owner, const struct ads_client_info *i, const char **text)
{
    (void)owner, (void)text;
    log_info(SCOPE, "connected: %.*s (%.*s)", STR_ARG(i->node_id), STR_ARG(i->peer));
    return GRPC_OK;
}

static void on_gone(void *owner, const struct ads_client_info *i)
{
    (void)owner;
    log_info(SCOPE, "disconnected: %.*s (%.*s)", STR_ARG(i->node_id), STR_ARG(i->peer));
}

static void on_nack(void *owner, const struct ads_client_info *i, const char *type_url,
                    struct str error)
{
    (void)owner;
    log_error(SCOPE, "%.*s (%.*s) refused %s: %.*s", STR_ARG(i->node_id), STR_ARG(i->peer),
              type_url, STR_ARG(error));
    metric_add(metric_series(&m_rejects, STR("")), 1);
}

static void on_lookup(void *owner, const char *type_url, struct str key,
                      void (*add)(void *arg, struct str name), void *arg)
{
    struct controller *c = owner;
    if (strcmp(type_url, push_types[PUSH_ADDRESS].url) == 0)
        push_lookup(c->push, key, add, arg);
}

/* -- life -- */

static enum rc make_state(const char *folder, struct errmsg *msg)
{
    if (mkdir(folder, 0755) == 0 || errno == EEXIST)
        return RC_OK;
    errmsg_set(msg, "--state %s: %s", folder, strerror(errno));
    return rc_from_errno(errno);
}

static enum rc open_authority(struct controller *c, struct errmsg *msg)
{
    struct ca_opts co = {.folder = c->o.state,
                         .trust_domain = str_of(c->o.trust_domain),
                         .names = c->o.names,
                         .n_names = c->o.n_names};
    enum rc rc = make_state(c->o.state, msg);
    rc = rc ? rc : ca_open(&co, &c->ca, msg);
    rc = rc ? rc : tokens_open(c->o.state, &c->tokens, msg);
    if (rc != RC_OK)
        return rc;
    struct ca_service_opts so = {.csr = {.ca = c->ca,
                                         .trust_domain = str_of(c->o.trust_domain),
                                         .node_runs = node_runs,
                                         .owner = c},
                                 .tokens = c->tokens};
    c->ca_service = ca_service_new(&so);
    return RC_OK;
}

static void connect_parts(struct controller *c)
{
    static const struct ads_server_ops ads_ops = {on_client, on_nack, on_gone, on_lookup};
    struct model_opts mo = {.root_ns = c->o.root_ns,
                            .system_ns = c->o.root_ns,
                            .on_change = on_model_change,
                            .owner = c};
    c->model = model_new(&mo);
    c->ads = ads_server_new(c->loop, push_types, PUSH_TYPES, &ads_ops, c);
    struct push_opts po = {.model = c->model,
                           .ads = c->ads,
                           .build = {c->o.cluster_domain, c->o.trust_domain},
                           .quiet_ms = QUIET_MS,
                           .max_ms = MAX_WAIT_MS,
                           .on_pushed = on_pushed,
                           .owner = c};
    c->push = push_new(c->loop, &po);
    char keep[4096];
    snprintf(keep, sizeof(keep), "%s/objects", c->o.state);
    struct src_kdir_opts so = {.folder = c->o.source, .keep = keep};
    c->source = src_kdir_new(c->loop, &so, model_cluster(c->model, c->o.cluster_id));
}

enum rc controller_new(struct loop *l, const struct controller_opts *o, struct controller **ret,
                       struct errmsg *msg)
{
    struct controller *c = mem_new(struct controller);
    c->loop = l;
    c->o = *o;
    loop_timer_init(&c->tokens_check, l, check_tokens, c);
    enum rc rc = open_authority(c, msg);
    if (rc == RC_OK) {
        connect_parts(c);
        struct server_opts so = {.at = o->at,
                                 .ca = c->ca,
                                 .ca_service = c->ca_service,
                                 .tokens = c->tokens,
                                 .ads = c->ads};
        rc = server_new(l, &so, &c->server, msg);
    }
    if (rc != RC_OK) {
        controller_free(c);
        return rc;
    }
    *ret = c;
    return RC_OK;
}

void controller_free(struct controller *c)
{
    if (!c)
        return;
    loop_timer_clear(&c->tokens_check);
    loop_timer_clear(&c->drain_poll);
    src_kdir_free(c->source);
    push_free(c->push);
    if (c->ads)
        ads_server_free(c->ads);
    ca_service_free(c->ca_service);
    server_free(c->server);
    model_free(c->model);
    tokens_free(c->tokens);
    ca_free(c->ca);
    mem_free(c);
}

static void poll_drained(void *owner)
{
    struct controller *c = owner;
    if (ads_server_clients(c->ads) == 0 || loop_now(c->loop) >= c->drain_until_ms)
        c->drained(c->drained_owner);
    else
        loop_timer_set(&c->drain_poll, DRAIN_POLL_MS);
}

void controller_drain(struct controller *c, int64_t ms, void (*fn)(void *owner), void *owner)
{
    c->drained = fn;
    c->drained_owner = owner;
    c->drain_until_ms = loop_now(c->loop) + ms;
    server_drain(c->server, ms);
    loop_timer_init(&c->drain_poll, c->loop, poll_drained, c);
    loop_timer_set(&c->drain_poll, 0);
}

void controller_local(const struct controller *c, struct addr *ret)
{
    server_local(c->server, ret);
}

void controller_status(void *controller, struct strbuf *out)
{
    struct controller *c = controller;
    strbuf_printf(out, "{\"ready\":%s,\"addresses\":%zu,\"policies\":%zu,\"problems\":",
                  c->told_ready ? "true" : "false", ads_server_resources(c->ads, PUSH_ADDRESS),
                  ads_server_resources(c->ads, PUSH_AUTHORIZATION));
    src_kdir_problems(c->source, out);
    strbuf_addz(out, ",\"conditions\":");
    push_conditions(c->push, out);
    strbuf_addz(out, ",\"clients\":");
    ads_server_dump(c->ads, out);
    strbuf_addz(out, "}");
}
