/* The ztunnel's side of ZDS: dials the agent, reconnects for ever (20 ms doubling to 15 s, with jitter),
 * and hands each request to its owner, who answers it. Thread: one loop. */
#pragma once

#include "lib/event/loop.h"
#include "lib/zds/zds.h"

struct zds_client;

/* Each of on_add, on_del, on_keep, on_snapshot is answered by exactly one zds_client_ack(), at once or
 * later; a link that broke meanwhile makes that a no-op. One request is outstanding at a time. */
struct zds_client_ops {
    void (*on_add)(void *owner, struct zds_client *c, const struct zds_request *r,
                   int netns); /* netns taken */
    void (*on_del)(void *owner, struct zds_client *c, struct str uid);
    void (*on_keep)(void *owner, struct zds_client *c,
                    struct str uid); /* announced, without its namespace */
    /* Everything was announced: what was not is gone. */
    void (*on_snapshot)(void *owner, struct zds_client *c);
    /* Connected (a new series of announcements begins), or not and why. */
    void (*on_state)(void *owner, bool connected, const char *error);
};

struct zds_client *zds_client_new(struct loop *l, const char *path,
                                  const struct zds_client_ops *ops, void *owner);
void zds_client_start(struct zds_client *c);
void zds_client_ack(struct zds_client *c, const char *error); /* NULL: accepted */
void zds_client_free(struct zds_client *c);                   /* NULL is legal */
