/* One captured pod on its worker. */
#pragma once

#include "proxy/ztunnel/zworker.h"

struct pod_listener {
    struct pod *pod;
    enum pod_port port;
    int fd; /* -1 when closed */
    struct loop_fd watch;
    struct loop_timer retry; /* descriptors were used up: try again soon */
};

/* A connection that waits for something the snapshot does not have yet. */
struct pod_wait {
    struct list node; /* in pod->waits, oldest first: deadlines are in order */
    int64_t until_ms;
    enum rc why;                /* what is missing: the reason when it does not come in time */
    void (*retry)(void *owner); /* the snapshot or the certificate changed */
    void (*give_up)(void *owner, enum rc why);
    void *owner;
};

struct pod {
    struct list node; /* zworker->pods */
    struct zworker *zw;
    char *uid, *name, *ns, *sa;
    int netns;
    bool transparent, closing;
    struct pod_listener listener[POD_PORTS];
    struct pool *pool;
    struct workload *wl;    /* counted; NULL until xDS told it */
    struct mtls_ctx *ctx;   /* counted; NULL until the certificate is there */
    struct strbuf baggage;  /* of wl */
    struct list conns;      /* struct conn.node */
    struct list tunnels_in; /* struct tunnel_in.node */
    struct list waits;
    struct loop_timer wait_timer;
    unsigned refs; /* conns and inbound tunnels, and the worker's own */
};

struct pod *pod_new(struct zworker *zw, struct pod_spec *spec);
/* Ends everything of the pod with why; the struct goes when the last connection let go. */
void pod_close(struct pod *p, enum rc why);
void pod_unref(struct pod *p);
/* Stops accepting; what is open goes on. */
void pod_stop_accepting(struct pod *p);
/* The worker has a new snapshot. */
void pod_refresh(struct pod *p);

/* Queue w until the next snapshot, for at most cfg->wait_ms from now on. */
void pod_wait_start(struct pod *p, struct pod_wait *w, enum rc why);
void pod_wait_stop(struct pod_wait *w);
bool pod_port_is_ours(uint16_t port); /* a target that would loop */

/* Accepted sockets, by listener. fd is taken. */
void outbound_accept(struct pod *p, int fd, const struct addr *peer);
void inbound_accept(struct pod *p, int fd, const struct addr *peer);     /* HBONE */
void passthrough_accept(struct pod *p, int fd, const struct addr *peer); /* plaintext */
