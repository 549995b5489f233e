/* From changes of the model to resources at the ADS server: waits until changes have been quiet for a
 * moment, translates what depends on them, a few milliseconds a turn, then sends all of it as one push
 * (whose order is the ADS server's). Also knows what became of each policy. Thread: main. */
#pragma once

#include "control/push/build.h"
#include "lib/event/loop.h"
#include "lib/xds/ads_server.h"

struct push;

/* The types of the ADS server, in the order of a push. */
enum push_type { PUSH_AUTHORIZATION, PUSH_ADDRESS, PUSH_TYPES };
extern const struct ads_type push_types[PUSH_TYPES];

struct push_opts {
    struct model *model;            /* borrowed */
    struct ads_server *ads;         /* borrowed */
    struct build_settings build;    /* texts are borrowed */
    int64_t quiet_ms, max_ms;       /* of waiting */
    void (*on_pushed)(void *owner); /* after each push; the first: all there is can be served */
    void *owner;
};

struct push *push_new(struct loop *l, const struct push_opts *o);
void push_free(struct push *p); /* NULL is legal */
/* The model has changed. */
void push_notify(struct push *p);
bool push_ready(const struct push *p); /* everything the sources first told has been translated */

/* On demand: NETWORK/ADDRESS → the names of what has it, with all workloads of a service. For
 * ads_server_ops. */
void push_lookup(struct push *p, struct str key, void (*add)(void *arg, struct str name),
                 void *arg);
/* JSON list: kind, namespace, name, and the condition. */
void push_conditions(const struct push *p, struct strbuf *out);
