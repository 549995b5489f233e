/* Between runtime.c and admin.c. */
#pragma once

#include "cmd/process.h"
#include "cmd/runtime.h"
#include "lib/base/list.h"

struct runtime_task {
    struct list node;
    const char *name;
    bool done;
};

struct runtime_dump {
    struct list node;
    const char *name;
    void (*fn)(void *owner, struct strbuf *out);
    void *owner;
};

struct runtime_page {
    struct list node;
    const char *path, *methods, *doc;
};

struct runtime {
    const struct role *role;
    const struct runtime_config *config;
    const void *cfg;
    struct loop *loop;
    struct loop_msg log_msg; /* "there are lines", from any thread */
    struct loop_timer log_timer;
    struct process_trim trim;
    struct httpd *admin, *metrics, *readiness;
    struct list tasks, dumps, pages;
    void (*drain_fn)(void *owner);
    void *drain_owner;
    bool draining, stopped;
    int status;
};

/* Puts the common paths on the ports that exist. */
void admin_setup(struct runtime *rt);
/* The beginning of the end, as by a signal. */
void runtime_drain(struct runtime *rt);
