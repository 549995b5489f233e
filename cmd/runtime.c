#include "cmd/runtime.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/runtime_priv.h"
#include "lib/base/mem.h"
#include "lib/log/log.h"
#include "lib/metric/metric.h"
#include "lib/net/addr.h"
#include "lib/net/sock.h"

/* Lines wait this long, so that one write takes many and a busy worker wakes the main thread seldom. */
#define LOG_BATCH_MS 5

const char *const runtime_log_formats[] = {"plain", "json", NULL};

/* -- the log -- */

static void on_log_timer(void *owner)
{
    struct runtime *rt = owner;
    int64_t again_ms = log_drain();
    if (again_ms >= 0)
        loop_timer_set(&rt->log_timer, again_ms);
}

static void on_log_msg(struct loop_msg *m)
{
    struct runtime *rt = container_of(m, struct runtime, log_msg);
    loop_timer_set(&rt->log_timer, LOG_BATCH_MS);
}

/* Any thread; the log calls it once per drain, so the message is never in the inbox twice. */
static void on_log_work(void *arg)
{
    struct runtime *rt = arg;
    loop_post(rt->loop, &rt->log_msg);
}

static bool log_setup(struct runtime *rt)
{
    struct errmsg e;
    const char *levels = rt->config->log_levels ? rt->config->log_levels : "info";
    if (log_levels_set(str_of(levels), &e) != RC_OK) {
        fprintf(stderr, "mesh %s: --log: %s\n", rt->role->name, e.text);
        return false;
    }
    log_json(rt->config->log_format == 1);
    return true;
}

/* -- the ports -- */

static bool port_open(struct runtime *rt, const char *flag, const char *at, struct httpd **ret)
{
    struct addr a, bound;
    int fd;
    if (!at)
        return true;
    if (addr_parse_port(str_of(at), &a) != RC_OK) {
        log_error("main", "--%s: \"%s\" is not an address and port", flag, at);
        return false;
    }
    if (a.family == AF_INET6 && addr_is_any(&a))
        a.family = 0; /* IPv4 too, and alone where the kernel has no IPv6 */
    if (sock_listen_tcp(&a, &SOCK_OPTS_DEFAULT, &fd) != RC_OK) {
        log_error("main", "can't listen on %s: %s; choose another address with --%s", at,
                  strerror(errno), flag);
        return false;
    }
    char text[ADDR_TEXT];
    sock_local(fd, &bound);
    addr_format(&bound, text);
    *ret = httpd_new(rt->loop, fd);
    if (!*ret) {
        log_error("main", "can't listen on %s: too many open files", at);
        return false;
    }
    struct log_line l;
    log_begin(&l, LOG_INFO, "main", "listening");
    log_str(&l, "port", str_of(flag));
    log_word(&l, "address", str_of(text));
    log_end(&l);
    return true;
}

static bool ports_open(struct runtime *rt)
{
    const struct runtime_config *c = rt->config;
    return port_open(rt, "admin", c->admin, &rt->admin) &&
           port_open(rt, "metrics", c->metrics, &rt->metrics) &&
           port_open(rt, "readiness", c->readiness, &rt->readiness);
}

/* -- the end -- */

void runtime_stop(struct runtime *rt, int status)
{
    rt->stopped = true;
    rt->status = status;
    loop_stop(rt->loop);
}

void runtime_drain(struct runtime *rt)
{
    if (rt->draining)
        return;
    rt->draining = true;
    if (rt->drain_fn)
        rt->drain_fn(rt->drain_owner);
    else
        runtime_stop(rt, EXIT_SUCCESS);
}

static void on_signal(void *owner, int signo)
{
    struct runtime *rt = owner;
    if (rt->draining) {
        log_warn("main", "%s again: ending at once", strsignal(signo));
        log_stop();
        _exit(128 + signo);
    }
    log_info("main", "%s: draining", strsignal(signo));
    runtime_drain(rt);
}

void runtime_on_drain(struct runtime *rt, void (*fn)(void *owner), void *owner)
{
    rt->drain_fn = fn;
    rt->drain_owner = owner;
}

/* -- readiness -- */

struct runtime_task *runtime_task_new(struct runtime *rt, const char *name)
{
    struct runtime_task *t = mem_new(struct runtime_task);
    t->name = name;
    list_push_back(&rt->tasks, &t->node);
    return t;
}

void runtime_task_done(struct runtime_task *t)
{
    if (!t->done)
        log_info("main", "task done: %s", t->name);
    t->done = true;
}

void runtime_task_undone(struct runtime_task *t)
{
    if (t->done)
        log_warn("main", "task pending again: %s", t->name);
    t->done = false;
}

bool runtime_ready(const struct runtime *rt)
{
    const struct runtime_task *t;
    LIST_FOREACH (t, &rt->tasks, node)
        if (!t->done)
            return false;
    return !rt->draining;
}

/* -- life -- */

void runtime_on_dump(struct runtime *rt, const char *name,
                     void (*fn)(void *owner, struct strbuf *out), void *owner)
{
    struct runtime_dump *d = mem_new(struct runtime_dump);
    *d = (struct runtime_dump){.name = name, .fn = fn, .owner = owner};
    list_push_back(&rt->dumps, &d->node);
}

struct loop *runtime_loop(struct runtime *rt)
{
    return rt->loop;
}

struct httpd *runtime_metrics(struct runtime *rt)
{
    return rt->metrics;
}

struct httpd *runtime_readiness(struct runtime *rt)
{
    return rt->readiness;
}

struct runtime *runtime_new(const struct role *role, const struct runtime_config *c,
                            const void *cfg)
{
    process_setup();
    struct runtime *rt = mem_new(struct runtime);
    rt->role = role;
    rt->config = c;
    rt->cfg = cfg;
    list_init(&rt->tasks);
    list_init(&rt->dumps);
    list_init(&rt->pages);
    rt->loop = loop_new();
    rt->log_msg.fn = on_log_msg;
    loop_timer_init(&rt->log_timer, rt->loop, on_log_timer, rt);
    process_trim_start(&rt->trim, rt->loop);
    if (!log_setup(rt)) {
        runtime_free(rt);
        return NULL;
    }
    log_start(on_log_work, rt);
    log_info("main", "mesh %s, version %s", role->name, MESH_VERSION);
    loop_signal(rt->loop, SIGTERM, on_signal, rt);
    loop_signal(rt->loop, SIGINT, on_signal, rt);
    if (!ports_open(rt)) {
        runtime_free(rt);
        return NULL;
    }
    metric_process();
    admin_setup(rt);
    return rt;
}

int runtime_run(struct runtime *rt)
{
    if (!rt->stopped)
        loop_run(rt->loop);
    return rt->status;
}

static void lists_free(struct runtime *rt)
{
    while (!list_empty(&rt->tasks)) {
        struct runtime_task *t = LIST_FIRST(&rt->tasks, struct runtime_task, node);
        list_del(&t->node);
        free(t);
    }
    while (!list_empty(&rt->dumps)) {
        struct runtime_dump *d = LIST_FIRST(&rt->dumps, struct runtime_dump, node);
        list_del(&d->node);
        free(d);
    }
    while (!list_empty(&rt->pages)) {
        struct runtime_page *p = LIST_FIRST(&rt->pages, struct runtime_page, node);
        list_del(&p->node);
        free(p);
    }
}

void runtime_free(struct runtime *rt)
{
    if (!rt)
        return;
    httpd_free(rt->admin);
    httpd_free(rt->metrics);
    httpd_free(rt->readiness);
    log_stop();
    process_trim_stop(&rt->trim);
    loop_timer_clear(&rt->log_timer);
    for (int i = 0; i < 3; i++) /* what was closed last is freed at the end of a turn */
        loop_turn(rt->loop, 0);
    loop_free(rt->loop);
    lists_free(rt);
    free(rt);
}
