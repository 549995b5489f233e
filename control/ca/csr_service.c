#include "control/ca/csr_service.h"

#include "lib/base/must.h"

const char *csr_refusal_name(enum csr_refusal r)
{
    switch (r) {
    case CSR_GRANTED:        return "granted";
    case CSR_AUTHENTICATION: return "authentication";
    case CSR_IDENTITY:       return "identity";
    case CSR_TRUST_DOMAIN:   return "trust_domain";
    case CSR_NODE:           return "node";
    case CSR_REQUEST:        return "csr";
    case CSR_VALIDITY:       return "validity";
    case CSR_SIGNING:        return "signing";
    case CSR_REFUSALS:       break;
    }
    return "unknown";
}

static void refuse(struct csr_answer *a, enum csr_refusal why)
{
    a->refusal = why;
    switch (why) {
    case CSR_AUTHENTICATION:
    case CSR_IDENTITY:
    case CSR_TRUST_DOMAIN:
    case CSR_NODE:
        a->status = GRPC_UNAUTHENTICATED;
        a->client_text = CSR_NOT_AUTHORIZED;
        return;
    case CSR_REQUEST:
        a->status = GRPC_INVALID_ARGUMENT;
        a->client_text = "bad certificate signing request";
        return;
    case CSR_VALIDITY:
        a->status = GRPC_INVALID_ARGUMENT;
        a->client_text = "validity_duration is over the maximum";
        return;
    case CSR_SIGNING:
        a->status = GRPC_INTERNAL;
        a->client_text = "signing failed";
        return;
    case CSR_GRANTED:
    case CSR_REFUSALS: break;
    }
    must_die("refusal %d has no answer", (int)why);
}

/* Whom the certificate is to name; false when there is nobody. */
static bool find_identity(const struct csr_service *s, const struct csr_request *r,
                          struct csr_answer *a)
{
    const struct caller *c = r->caller;
    if (r->impersonated.n) {
        if (identity_parse(r->impersonated, &a->id) == RC_OK)
            return true;
        errmsg_set(&a->reason, "ImpersonatedIdentity is not a SPIFFE identity of a workload");
    } else if (c->kind == CALLER_NODE) {
        errmsg_set(&a->reason, "node %.*s asked without ImpersonatedIdentity", STR_ARG(c->node));
    } else if (identity_make(s->trust_domain, c->ns, c->sa, &a->id) == RC_OK) {
        return true;
    } else {
        errmsg_set(&a->reason, "%.*s/%.*s can't be an identity", STR_ARG(c->ns), STR_ARG(c->sa));
    }
    refuse(a, CSR_IDENTITY);
    return false;
}

static bool may_have(const struct csr_service *s, const struct csr_request *r, struct csr_answer *a)
{
    const struct caller *c = r->caller;
    const struct identity *id = a->id;
    if (!str_eq(id->trust_domain, s->trust_domain)) {
        errmsg_set(&a->reason, "%.*s is not of trust domain %.*s", STR_ARG(id->uri),
                   STR_ARG(s->trust_domain));
        refuse(a, CSR_TRUST_DOMAIN);
        return false;
    }
    switch (c->kind) {
    case CALLER_NODE:
        if (s->node_runs(s->owner, c->node, id->ns, id->sa))
            return true;
        errmsg_set(&a->reason, "node %.*s runs no pod of %.*s", STR_ARG(c->node),
                   STR_ARG(id->principal));
        refuse(a, CSR_NODE);
        return false;
    case CALLER_WORKLOAD:
        if (str_eq(c->ns, id->ns) && str_eq(c->sa, id->sa))
            return true;
        errmsg_set(&a->reason, "the token of %.*s/%.*s does not stand for %.*s", STR_ARG(c->ns),
                   STR_ARG(c->sa), STR_ARG(id->principal));
        refuse(a, CSR_IDENTITY);
        return false;
    }
    return false;
}

static void sign(const struct csr_service *s, const struct csr_request *r, struct csr_answer *a)
{
    EVP_PKEY *key AUTO(EVP_PKEY_free) = NULL;
    int64_t valid_s = r->valid_s > 0 ? r->valid_s : CA_LEAF_DEFAULT_S;
    if (valid_s > CA_LEAF_MAX_S) {
        errmsg_set(&a->reason, "asked for %lld s, at most %lld s are granted", (long long)valid_s,
                   (long long)CA_LEAF_MAX_S);
        refuse(a, CSR_VALIDITY);
    } else if (csr_parse(r->csr, &key, &a->reason) != RC_OK) {
        refuse(a, CSR_REQUEST);
    } else if (ca_issue(s->ca, key, a->id, valid_s, &a->leaf, &a->reason) != RC_OK) {
        refuse(a, CSR_SIGNING);
    }
}

void csr_decide(const struct csr_service *s, const struct csr_request *r, struct csr_answer *ret)
{
    *ret = (struct csr_answer){.refusal = CSR_GRANTED, .status = GRPC_OK, .client_text = ""};
    if (find_identity(s, r, ret) && may_have(s, r, ret))
        sign(s, r, ret);
}

void csr_answer_fini(struct csr_answer *a)
{
    identity_unref(a->id);
    X509_free(a->leaf);
    *a = (struct csr_answer){0};
}
