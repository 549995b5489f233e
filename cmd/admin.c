/* The common paths of the admin, metrics and readiness ports. */
#include <stdlib.h>

#include "cmd/runtime_priv.h"
#include "lib/base/mem.h"
#include "lib/log/log.h"
#include "lib/metric/metric.h"

static void on_metrics(void *owner, const struct httpd_request *req, struct httpd_response *resp)
{
    (void)owner;
    struct str open = STR("application/openmetrics-text");
    bool openmetrics = memmem(req->accept.p, req->accept.n, open.p, open.n) != NULL;
    resp->content_type = openmetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                                     : "text/plain; version=0.0.4; charset=utf-8";
    metric_expose(&resp->body, openmetrics);
}

static void on_ready(void *owner, const struct httpd_request *req, struct httpd_response *resp)
{
    (void)req;
    const struct runtime *rt = owner;
    if (runtime_ready(rt)) {
        strbuf_addz(&resp->body, "ready");
        return;
    }
    resp->status = 500;
    strbuf_addz(&resp->body, "not ready, pending: ");
    const struct runtime_task *t;
    const char *comma = "";
    LIST_FOREACH (t, &rt->tasks, node) {
        if (!t->done) {
            strbuf_printf(&resp->body, "%s%s", comma, t->name);
            comma = ", ";
        }
    }
    if (rt->draining)
        strbuf_printf(&resp->body, "%sdraining", comma);
}

static void on_alive(void *owner, const struct httpd_request *req, struct httpd_response *resp)
{
    (void)owner, (void)req;
    strbuf_addz(&resp->body, "ok");
}

static void on_dump(void *owner, const struct httpd_request *req, struct httpd_response *resp)
{
    (void)req;
    const struct runtime *rt = owner;
    resp->content_type = "application/json";
    strbuf_addz(&resp->body, "{\"version\": {\"version\": \"" MESH_VERSION "\"},\n\"config\": ");
    config_dump(rt->role->settings, rt->cfg, &resp->body);
    const struct runtime_dump *d;
    LIST_FOREACH (d, &rt->dumps, node) {
        strbuf_printf(&resp->body, ",\n\"%s\": ", d->name);
        d->fn(d->owner, &resp->body);
    }
    strbuf_addz(&resp->body, "}\n");
}

/* ?level=xds=debug (or a bare level) adds to what is set; ?reset= goes back to the start's first. */
static void on_logging(void *owner, const struct httpd_request *req, struct httpd_response *resp)
{
    const struct runtime *rt = owner;
    struct strbuf level AUTO_STRBUF, reset AUTO_STRBUF;
    strbuf_init(&level, 4096);
    strbuf_init(&reset, 16);
    bool has_level = httpd_query(req->query, "level", &level);
    bool has_reset = httpd_query(req->query, "reset", &reset);
    struct errmsg e = {.text = "expected ?level=LEVEL, ?level=SCOPE=LEVEL or ?reset="};
    enum rc rc = req->query.n && !has_level && !has_reset ? RC_INVALID : RC_OK;
    struct strbuf before AUTO_STRBUF;
    strbuf_init(&before, 8192);
    log_levels_get(&before);
    if (rc == RC_OK && has_reset)
        rc = log_levels_set(str_of(rt->config->log_levels ? rt->config->log_levels : "info"), &e);
    if (rc == RC_OK && has_level)
        rc = log_levels_add(strbuf_str(&level), &e);
    if (rc != RC_OK) {
        if (log_levels_set(strbuf_str(&before), NULL) != RC_OK)
            log_warn("main", "the log levels could not be put back");
        resp->status = 400;
        strbuf_printf(&resp->body, "%s\n", e.text);
        return;
    }
    strbuf_addz(&resp->body, "current log level is ");
    log_levels_get(&resp->body);
    strbuf_addc(&resp->body, '\n');
}

static void on_quit(void *owner, const struct httpd_request *req, struct httpd_response *resp)
{
    (void)req;
    log_info("main", "POST /quitquitquit: draining");
    strbuf_addz(&resp->body, "shutdown now\n");
    runtime_drain(owner);
}

static void on_index(void *owner, const struct httpd_request *req, struct httpd_response *resp)
{
    (void)req;
    const struct runtime *rt = owner;
    resp->content_type = "text/html; charset=utf-8";
    strbuf_printf(&resp->body,
                  "<!DOCTYPE html>\n<title>mesh %s</title>\n<h1>mesh %s " MESH_VERSION
                  "</h1>\n<table>\n",
                  rt->role->name, rt->role->name);
    const struct runtime_page *p;
    LIST_FOREACH (p, &rt->pages, node)
        strbuf_printf(&resp->body, "<tr><td><a href=\"%s\">%s</a><td>%s<td>%s\n", p->path, p->path,
                      p->methods, p->doc);
    strbuf_addz(&resp->body, "</table>\n");
}

void runtime_admin_page(struct runtime *rt, const char *path, const char *methods, const char *doc,
                        httpd_fn *fn, void *owner)
{
    if (!rt->admin)
        return;
    httpd_handle(rt->admin, path, methods, fn, owner);
    struct runtime_page *p = mem_new(struct runtime_page);
    *p = (struct runtime_page){.path = path, .methods = methods, .doc = doc};
    list_push_back(&rt->pages, &p->node);
}

void admin_setup(struct runtime *rt)
{
    if (rt->admin)
        httpd_handle(rt->admin, "/", "GET", on_index, rt);
    runtime_admin_page(rt, "/config_dump", "GET", "state and settings as JSON", on_dump, rt);
    runtime_admin_page(rt, "/logging", "POST", "log levels: ?level=xds=debug, ?reset=", on_logging,
                       rt);
    runtime_admin_page(rt, "/metrics", "GET", "metrics", on_metrics, rt);
    runtime_admin_page(rt, "/quitquitquit", "POST", "drain and end", on_quit, rt);
    if (rt->metrics) {
        httpd_handle(rt->metrics, "/metrics", "GET", on_metrics, rt);
        httpd_handle(rt->metrics, "/stats/prometheus", "GET", on_metrics, rt);
    }
    if (rt->readiness) {
        httpd_handle(rt->readiness, "/healthz/ready", "GET", on_ready, rt);
        httpd_handle(rt->readiness, "/ready", "GET", on_ready, rt);  /* istiod's path */
        httpd_handle(rt->readiness, "/readyz", "GET", on_ready, rt); /* the node agent's */
        httpd_handle(rt->readiness, "/healthz", "GET", on_alive, rt);
    }
}
