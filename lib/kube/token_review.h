/* Is a token good, and whose? Asked of the API server (authentication.k8s.io/v1 TokenReview).
 * Thread: the loop of its kube. */
#pragma once

#include "lib/kube/kube.h"

#define TOKEN_MAX (16u << 10) /* bytes; longer ones are not asked about */

struct token_review;

struct token_identity {
    /* RC_OK: it is good for one of the audiences. RC_UNAUTHENTICATED: it is not. Else the question could
     * not be answered: refuse, the caller may come again. */
    enum rc rc;
    const char *error; /* for people; "" with RC_OK. Never has the token */
    struct str username, uid;
    struct str ns, account;       /* of a ServiceAccount, else empty */
    struct str pod_name, pod_uid; /* that the token is bound to, or empty */
    struct str node_name;         /* of that pod, or empty */
};

/* Once, never from inside token_review_new(); views die with the call. */
typedef void token_review_fn(void *owner, const struct token_identity *id);

struct token_review *token_review_new(struct kube *k, struct str token,
                                      const char *const *audiences, size_t n_audiences,
                                      token_review_fn *fn, void *owner);
void token_review_cancel(struct token_review *t); /* silent, t is gone; not in its callback */
