/* What every daemon role shares: the main thread's loop, log and metrics wired to it, signals, the
 * admin, metrics and readiness ports, readiness itself, the end. One per process, main thread only.
 *
 *   struct config c;                      // has a struct runtime_config
 *   if (!role_settings(&role_x, &c, argc, argv)) return 2;
 *   struct runtime *rt = runtime_new(&role_x, &c.runtime, &c);
 *   if (!rt) return 1;                    // said why
 *   struct runtime_task *t = runtime_task_new(rt, "state manager");
 *   … build the role on runtime_loop(rt); runtime_task_done(t) when it is ready …
 *   int status = runtime_run(rt);         // until runtime_stop()
 *   … tear the role down; its threads are joined …
 *   runtime_free(rt); */
#pragma once

#include "cmd/roles.h"
#include "lib/event/loop.h"
#include "lib/http/httpd.h"

struct runtime_config {
    const char *log_levels;
    int log_format; /* 0 plain, 1 json */
    const char *admin, *metrics, *readiness;
};

/* Rows for a role's table: config_t has a struct runtime_config called member. The last three are
 * default addresses. */
extern const char *const runtime_log_formats[];
#define RUNTIME_SETTINGS(config_t, member, admin_at, metrics_at, readiness_at)                   \
    {.name = "log",                                                                              \
     .type = CONFIG_STRING,                                                                      \
     .offset = offsetof(config_t, member.log_levels),                                            \
     .text = "info",                                                                             \
     .env = "LOG_LEVEL|RUST_LOG",                                                                \
     .unit = "LEVELS",                                                                           \
     .doc = "Log level, and levels of single scopes: off, error, warn, info, debug or trace, "   \
            "e.g. info,access=off,xds=debug. Can be changed at /logging of the admin port."},    \
        {.name = "log-format",                                                                   \
         .type = CONFIG_ENUM,                                                                    \
         .offset = offsetof(config_t, member.log_format),                                        \
         .text = "plain",                                                                        \
         .env = "LOG_FORMAT",                                                                    \
         .words = runtime_log_formats,                                                           \
         .doc = "Form of the log's lines."},                                                     \
        {.name = "admin",                                                                        \
         .type = CONFIG_ADDRESS,                                                                 \
         .offset = offsetof(config_t, member.admin),                                             \
         .text = admin_at,                                                                       \
         .doc = "Where the admin page listens; keep it on the loopback. Empty: nowhere."},       \
        {.name = "metrics",                                                                      \
         .type = CONFIG_ADDRESS,                                                                 \
         .offset = offsetof(config_t, member.metrics),                                           \
         .text = metrics_at,                                                                     \
         .doc = "Where metrics are served, at /metrics and /stats/prometheus. Empty: nowhere."}, \
    {                                                                                            \
        .name = "readiness", .type = CONFIG_ADDRESS,                                             \
        .offset = offsetof(config_t, member.readiness), .text = readiness_at,                    \
        .doc = "Where readiness is served, at /healthz/ready. Empty: nowhere."                   \
    }

struct runtime;

/* Sets the process up and opens the ports. cfg: the role's whole settings, for the dump; it and role
 * must live as long. NULL after a line on standard error or in the log. */
struct runtime *runtime_new(const struct role *role, const struct runtime_config *c,
                            const void *cfg);
void runtime_free(struct runtime *rt); /* NULL is legal; writes the log's rest */
struct loop *runtime_loop(struct runtime *rt);
/* Runs the loop until runtime_stop(); returns its status. */
int runtime_run(struct runtime *rt);
void runtime_stop(struct runtime *rt, int status); /* legal before runtime_run() too */

/* fn is called once, on the first SIGTERM, SIGINT or POST /quitquitquit: the role drains and calls
 * runtime_stop() when that is done. Without it the loop just ends. From then on readiness says no. A
 * second signal ends the process at once. */
void runtime_on_drain(struct runtime *rt, void (*fn)(void *owner), void *owner);

/* Readiness: 200 "ready" when every task is done, else 500 "not ready, pending: a, b". */
struct runtime_task;
struct runtime_task *runtime_task_new(struct runtime *rt,
                                      const char *name); /* pending; static name */
void runtime_task_done(struct runtime_task *t);
void runtime_task_undone(struct runtime_task *t);
bool runtime_ready(const struct runtime *rt);

/* A member of /config_dump besides "version" and "config": fn appends one JSON value. */
void runtime_on_dump(struct runtime *rt, const char *name,
                     void (*fn)(void *owner, struct strbuf *out), void *owner);
/* For a role's own paths; NULL when its address is empty. Give admin paths a line for the index with
 * runtime_admin_page() instead. */
struct httpd *runtime_metrics(struct runtime *rt);
struct httpd *runtime_readiness(struct runtime *rt);
/* A path of the admin port, listed on its index page. Does nothing without an admin port. */
void runtime_admin_page(struct runtime *rt, const char *path, const char *methods, const char *doc,
                        httpd_fn *fn, void *owner);
