/* All objects of one kind as the API server has them, decoded, with what changes told: once each, however
 * often streams break and lists begin anew. Memory is that of the objects kept; documents are cut, decoded
 * and dropped one at a time.
 * Thread: the loop of its kube. */
#pragma once

#include "lib/kobj/kobj.h"
#include "lib/kube/kube_crds.h"

struct informer;

struct informer_opts {
    enum kobj_kind kind;
    const char *ns;    /* NULL: all */
    const char *query; /* "fieldSelector=spec.nodeName%3Dn1", encoded; NULL */
    struct kube_crds
        *crds; /* a kind that is not there is looked for when its CRD comes; NULL: each minute */
};

struct informer_ops {
    /* old NULL: it is new. now NULL: it is gone. Never both, never equal. Reference what is kept. What was
     * deleted and made anew while nothing got through shows as a change, with another uid. */
    void (*on_change)(void *owner, struct kobj *old, struct kobj *now);
    /* Once: all that is there has been told, or there is no such kind (its CRD may come later). */
    void (*on_synced)(void *owner);
    /* An object that does not decode; what it was before stays in force. text NULL: it does now, or is
     * gone. May be NULL. */
    void (*on_problem)(void *owner, const struct kobj_id *id, const char *text);
    /* As of kube_watch. May be NULL. */
    void (*on_state)(void *owner, const char *problem);
};

/* Never calls back from inside. */
struct informer *informer_new(struct kube *k, const struct informer_opts *o,
                              const struct informer_ops *ops, void *owner);
/* Silent. Not from inside its own callbacks. NULL is legal. */
void informer_free(struct informer *i);
bool informer_synced(const struct informer *i);
size_t informer_count(const struct informer *i); /* objects in force */
/* NULL when there is none. Borrowed until the next turn. ns: empty for kinds without. */
struct kobj *informer_get(const struct informer *i, struct str ns, struct str name);
/* Calls fn with every object, in no order. */
void informer_each(const struct informer *i, void (*fn)(void *owner, struct kobj *o), void *owner);
