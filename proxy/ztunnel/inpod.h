/* The pods of this node as the agent hands them over (ZDS), on the main thread: listeners are made in the
 * pod's namespace, then the pod goes to a worker, then the agent gets its answer. */
#pragma once

#include "lib/zds/zds_client.h"
#include "proxy/ztunnel/zworker.h"

struct inpod;
struct inpod_ops {
    /* Ready: connected, everything announced, every announced pod served. */
    void (*on_ready)(void *owner, bool ready, const char *why_not);
    /* A pod came or went: certificates are wanted for it. */
    void (*on_pod)(void *owner, struct str ns, struct str name, struct str sa, bool come);
};

struct inpod *inpod_new(struct loop *l, struct workers *ws, const struct zconfig *cfg,
                        const char *zds_path, const struct inpod_ops *ops, void *owner);
void inpod_start(struct inpod *ip);
void inpod_free(struct inpod *ip); /* the workers' pods are theirs to close */
/* Is a pod of this namespace, name and account handed over? */
bool inpod_has(const struct inpod *ip, struct str ns, struct str name);
void inpod_dump(const struct inpod *ip, struct strbuf *out);
