/* One object of the API: its path, and what is done to it. Thread: the loop of its kube. */
#pragma once

#include "lib/kube/kube.h"

struct kube_target {
    const char *group; /* "" is the core one */
    const char *version, *plural;
    struct str ns, name;     /* ns empty: of the cluster, or all; name empty: the collection */
    const char *subresource; /* "status"; NULL */
};

/* "/apis/GROUP/VERSION/namespaces/NS/PLURAL/NAME/SUBRESOURCE", encoded; the caller's. */
char *kube_path(const struct kube_target *t);

/* Each gives the server's newest state of the object in reply.body. Reading, applying and merging are
 * tried again when the server is busy or away; creating, replacing and JSON patches, which may have
 * taken effect unseen, only after 429. manager: names us in metadata.managedFields. */
struct kube_call *kube_get(struct kube *k, const struct kube_target *t, kube_reply_fn *fn,
                           void *owner);
struct kube_call *kube_create(struct kube *k, const struct kube_target *t, struct str object,
                              const char *manager, kube_reply_fn *fn, void *owner);
/* With metadata.resourceVersion in object: RC_EXISTS when somebody was faster. */
struct kube_call *kube_replace(struct kube *k, const struct kube_target *t, struct str object,
                               const char *manager, kube_reply_fn *fn, void *owner);
/* uid: only that one (RC_EXISTS: it is another); empty: whatever has the name. */
struct kube_call *kube_delete(struct kube *k, const struct kube_target *t, struct str uid,
                              kube_reply_fn *fn, void *owner);

enum kube_patch_type {
    KUBE_APPLY,       /* server-side apply: object has exactly the fields that are the manager's */
    KUBE_APPLY_FORCE, /* the same, and takes fields from other managers (else RC_EXISTS) */
    KUBE_MERGE,       /* RFC 7386 */
    KUBE_JSON,        /* RFC 6902 */
};
struct kube_call *kube_patch(struct kube *k, const struct kube_target *t, enum kube_patch_type type,
                             struct str patch, const char *manager, kube_reply_fn *fn, void *owner);
