/* The agent's side of ZDS: listens, announces its pods to each ztunnel that connects, then hands on what comes
 * and goes. Additions go to the newest ztunnel only, removals to all (an old one drains during an
 * upgrade); when the newest leaves, the one before it is told all additions again. A ztunnel that does not answer within 5 s is dropped. Thread: one loop. */
#pragma once

#include "lib/event/loop.h"
#include "lib/zds/zds.h"

#define ZDS_SERVER_CLIENTS 8
#define ZDS_ACK_MS         5000

struct zds_server;

/* error NULL: accepted. Once for each request; never from inside it. */
typedef void zds_done_fn(void *owner, const char *error);

struct zds_server_ops {
    /* A ztunnel connected: call add for every pod that is to be served. netns is borrowed; -1: the
     * namespace is not at hand, the ztunnel keeps what it has. */
    void (*each_pod)(void *owner, void (*add)(void *arg, const struct zds_request *r, int netns),
                     void *arg);
    /* A ztunnel refused a pod that was announced, or took it (error NULL). May be NULL. */
    void (*on_announced)(void *owner, struct str uid, const char *error);
    /* How many ztunnels are connected. May be NULL. */
    void (*on_clients)(void *owner, unsigned n);
};

/* NULL with ret_msg when the socket can't be made. */
struct zds_server *zds_server_new(struct loop *l, const char *path,
                                  const struct zds_server_ops *ops, void *owner,
                                  struct errmsg *ret_msg);
void zds_server_free(struct zds_server *s); /* waiting requests end with an error; NULL is legal */
/* r->kind ZDS_ADD: netns is borrowed. Errors at once too come through done, in the loop's next turn. */
void zds_server_add(struct zds_server *s, const struct zds_request *r, int netns, zds_done_fn *done,
                    void *owner);
/* To all; done (may be NULL) when the last one answered. */
void zds_server_del(struct zds_server *s, struct str uid, zds_done_fn *done, void *owner);
/* done is not called any more for this owner. */
void zds_server_forget(struct zds_server *s, void *owner);
unsigned zds_server_clients(const struct zds_server *s);
