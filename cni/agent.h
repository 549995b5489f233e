/* The node agent: captures the pods of this node that are enrolled, checks that they stay captured, hands them
 * to the ztunnel (ZDS), and answers the plug-in.
 *
 * An attachment is captured in this order: rules in the pod's namespace, the file that remembers it, the
 * ztunnel's word that its listeners are there. From the first on nothing leaves the pod in plaintext. What
 * the kernel holds is compared with what is intended at start and ever again. Thread: one loop; rules are
 * written by short blocking exchanges with the kernel. */
#pragma once

#include "cni/wire.h"
#include "lib/event/loop.h"

struct agent;

struct agent_opts {
    const char *source;     /* folder of objects */
    const char *node;       /* name of this node */
    const char *state;      /* folder of ours */
    const char *cni_socket; /* for the plug-in */
    const char *zds_socket; /* for the ztunnel */
    const char *system_ns;
    struct str excluded; /* namespaces that are left alone, separated by commas */
    int64_t verify_ms;   /* how often the kernel is compared with what is intended */
    void (*on_ready)(void *owner,
                     const char *error); /* error: the sockets can't be made; NULL: fine */
    void *owner;
};

/* Texts are borrowed for its life. */
NODISCARD enum rc agent_new(struct loop *l, const struct agent_opts *o, struct agent **ret,
                            struct errmsg *msg);
/* Nothing is released: pods stay captured. NULL is legal. */
void agent_free(struct agent *a);
void agent_dump_pods(void *agent, struct strbuf *out); /* JSON list */

/* -- for door.c: requests of the plug-in -- */
struct agent_call {
    struct list node; /* of the agent, while it waits */
    struct agent *agent;
    enum wire_type type;
    struct loop_timer late;
    struct attachment *a; /* ADD that waits for its pod; owned */
    int netns;            /* the same */
    void (*done)(struct agent_call *c, const struct wire_answer *ans);
};
/* netns is taken. done is called once, perhaps before this returns; then the call may be used again. */
void agent_call(struct agent *a, struct agent_call *c, const struct wire_request *r, int netns,
                void (*done)(struct agent_call *c, const struct wire_answer *ans));
/* done is not called any more. What the call has brought about stays. */
void agent_call_cancel(struct agent_call *c);
