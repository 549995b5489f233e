/* Wakes up whom a CustomResourceDefinition concerns when it comes or changes, so that kinds installed later
 * are found at once. Only metadata is asked for: schemas are megabytes.
 * Thread: the loop of its kube. */
#pragma once

#include "lib/base/list.h"
#include "lib/kube/kube.h"

struct kube_crds;

struct kube_crd_waiter {
    struct list node;
    const char *group, *plural; /* the waiter's */
    void (*fn)(void *owner);
    void *owner;
};

/* on_state: as of kube_watch; without CRDs to watch waiters still look again by themselves, later. */
struct kube_crds *kube_crds_new(struct kube *k, void (*on_state)(void *owner, const char *problem),
                                void *owner);
void kube_crds_free(struct kube_crds *c); /* waiters must be gone; NULL is legal */
void kube_crds_wait(struct kube_crds *c, struct kube_crd_waiter *w);
void kube_crds_unwait(struct kube_crd_waiter *w); /* legal when not waiting */
