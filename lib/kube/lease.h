/* Leader election by a Lease (coordination.k8s.io/v1), by the rules of client-go's leaderelection, so that
 * both can contend for one: a record that has not changed for its own duration, by our clock, may be taken.
 * Thread: the loop of its kube. */
#pragma once

#include "lib/kube/kube.h"

struct lease;

struct lease_opts { /* all texts copied */
    const char *ns, *name;
    const char *identity; /* who holds it: unique, as the pod's name */
    int64_t duration_ms;  /* 0: 15 s; others take it after so long without a renewal */
    int64_t renew_ms;     /* 0: 10 s; we give up after so long without one; less than duration_ms */
    int64_t retry_ms;     /* 0: 2 s */
};

struct lease_ops {
    void (*on_gained)(void *owner);
    /* What needs the lease has to stop before duration_ms - renew_ms have passed. */
    void (*on_lost)(void *owner, const char *why);
    void (*on_released)(void *owner); /* once, after lease_release(); it did or did not work */
};

/* Contends until it is freed; after a loss again. Never calls back from inside. */
struct lease *lease_new(struct kube *k, const struct lease_opts *o, const struct lease_ops *ops,
                        void *owner);
/* Silent; a lease that is held is left to run out. NULL is legal. Legal in on_released. */
void lease_free(struct lease *l);
/* True until the moment from which on somebody else could hold it, however late timers run. */
bool lease_held(const struct lease *l);
/* Who holds it, as last seen; empty: nobody. Valid until the next turn. */
struct str lease_holder(const struct lease *l);
/* Ends contending and gives it up, so that the next one need not wait. No on_lost. */
void lease_release(struct lease *l);
