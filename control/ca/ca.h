/* The certificate authority of file mode: a signing key in a folder, made on first use.
 *
 * FOLDER/ca-key.pem (0600), ca-cert.pem (the signer, then intermediates above it, if any) and
 * root-cert.pem (what is handed out as trust). Created when all are absent, one after the other, each
 * whole or not at all; a start that was interrupted is continued by the next. Anything else that is
 * missing or does not fit together is an error and is never overwritten. Thread: main. */
#pragma once

#include "lib/cert/cert.h"
#include "lib/mtls/mtls.h"

#define CA_ROOT_S         ((int64_t)3650 * 86400) /* validity of a root made here */
#define CA_LEAF_DEFAULT_S ((int64_t)86400)
#define CA_LEAF_MAX_S     ((int64_t)90 * 86400)
#define CA_SERVING_S      ((int64_t)86400)

struct ca;

struct ca_opts {
    const char *folder;      /* created (0755) when absent, its parent is not */
    struct str trust_domain; /* organization of a new root */
    const struct str *names; /* DNS names and IP addresses of the serving certificate, besides */
    size_t n_names;          /* istiod.istio-system.svc and its like, localhost, 127.0.0.1, ::1 */
    int64_t (*now_s)(void);  /* NULL: the wall clock */
};

/* RC_IO (with the disk's reason), RC_NOT_FOUND (the parent folder), RC_INVALID (a name, the mode of
 * the key file), RC_CERT (expired, mismatch, something missing). ret_msg: the file and the remedy. */
NODISCARD enum rc ca_open(const struct ca_opts *o, struct ca **ret, struct errmsg *ret_msg);
void ca_free(struct ca *ca); /* NULL is legal */
DEFINE_AUTO(struct ca *, ca_free)

/* A workload's certificate. valid_s is the caller's to limit. RC_CERT. */
NODISCARD enum rc ca_issue(struct ca *ca, EVP_PKEY *key, const struct identity *id, int64_t valid_s,
                           X509 **ret, struct errmsg *ret_msg);
/* What follows the leaf in an answer: one PEM text for each intermediate, last all roots. */
size_t ca_chain_len(const struct ca *ca);
struct str ca_chain_pem(const struct ca *ca, size_t i);
struct str ca_root_pem(const struct ca *ca);
struct trust *ca_trust(const struct ca *ca);        /* borrowed */
int64_t ca_root_not_after_s(const struct ca *ca);   /* of the root that ends first */
int64_t ca_signer_not_after_s(const struct ca *ca); /* of ca-cert.pem */
/* What port 15012 serves with: a certificate of this authority in memory, renewed when half of its
 * life is over. Ask again for each connection. Borrowed; NULL only when signing fails altogether. */
struct mtls_ctx *ca_serving(struct ca *ca, struct errmsg *ret_msg);
