/* The objects of one collection of the API, as they are and as they change: LIST and WATCH with all that
 * goes wrong in between (Kubernetes API concepts, "Efficient detection of changes").
 *
 * It begins with a streaming list (a watch with sendInitialEvents) where the server has that, else with a
 * list in pages; both are cut into objects while they arrive. Then it watches, with bookmarks. A stream that
 * breaks goes on from the last version seen; a version that is too old (410) begins anew. What fails is
 * tried again for ever, after waits with jitter that double.
 * Thread: the loop of its kube. */
#pragma once

#include "lib/kube/kube.h"

struct kube_watch;

struct kube_watch_opts {
    /* "/apis/security.istio.io/v1/authorizationpolicies", the preferred first, NULL-ended; the next one
     * serves where one is not found (404). Copied. */
    const char *const *paths;
    const char *query; /* "fieldSelector=spec.nodeName%3Dn1", encoded; NULL */
    bool metadata;     /* objects with nothing but their metadata */
};

struct kube_watch_ops {
    /* All objects follow, by on_object, until on_listed: what is not among them is gone. Several times in
     * a row when a list breaks off. */
    void (*on_begin)(void *owner);
    /* It is there, with this content. May come again unchanged. The tree dies with the call. */
    void (*on_object)(void *owner, const struct node *object);
    void (*on_deleted)(void *owner, const struct node *object);
    void (*on_listed)(void *owner);
    /* Text: it does not get through (again: another reason), NULL: it does again. No path was found: the
     * text says so, and on_begin and on_listed came before. May be NULL. */
    void (*on_state)(void *owner, const char *problem);
};

/* Begins at once; never calls back from inside. */
struct kube_watch *kube_watch_new(struct kube *k, const struct kube_watch_opts *o,
                                  const struct kube_watch_ops *ops, void *owner);
/* Silent. Not from inside its own callbacks. NULL is legal. */
void kube_watch_free(struct kube_watch *w);
/* Something has changed (a CRD): what is not found is asked for again now. */
void kube_watch_poke(struct kube_watch *w);
