/* Who may ask for which identity: the decision about one signing request, and its answer. No I/O.
 * Thread: main. */
#pragma once

#include "control/ca/ca.h"
#include "control/ca/tokens.h"
#include "lib/http/grpc.h"

/* All that an unauthorised caller is told: Istio's words. */
#define CSR_NOT_AUTHORIZED "request authenticate failure"

/* Does this node run a pod (not a failed one) of this service account? Asked of the model. */
typedef bool csr_node_runs_fn(void *owner, struct str node, struct str ns, struct str sa);

struct csr_service {
    struct ca *ca;
    struct str trust_domain;
    csr_node_runs_fn *node_runs;
    void *owner;
};

struct csr_request {
    const struct caller *caller;
    struct str csr;          /* PEM */
    struct str impersonated; /* ImpersonatedIdentity of the request, empty: the caller's own */
    int64_t valid_s;         /* 0 or less: CA_LEAF_DEFAULT_S; over CA_LEAF_MAX_S is an error */
};

/* Why a request was refused; the label of the metric. */
enum csr_refusal {
    CSR_GRANTED,
    CSR_AUTHENTICATION, /* no such caller */
    CSR_IDENTITY,       /* not an identity, or not the caller's */
    CSR_TRUST_DOMAIN,   /* an identity of another trust domain */
    CSR_NODE,           /* the caller's node runs no such pod (perhaps: not yet) */
    CSR_REQUEST,        /* malformed, weak key, bad signature */
    CSR_VALIDITY,       /* asked for too long a life */
    CSR_SIGNING,        /* our fault */
    CSR_REFUSALS
};
const char *csr_refusal_name(enum csr_refusal r);

struct csr_answer {
    enum csr_refusal refusal;
    enum grpc_status status;
    const char *client_text; /* what the caller is told: nothing it could learn from */
    struct errmsg reason;    /* for our log */
    struct identity *id;     /* whom it was about, NULL when that is not known */
    X509 *leaf;              /* when granted */
};

/* Fills in *ret, whatever comes. */
void csr_decide(const struct csr_service *s, const struct csr_request *r, struct csr_answer *ret);
void csr_answer_fini(struct csr_answer *a);
