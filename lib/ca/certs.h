/* The certificates of this node: one for each identity that is wanted, renewed in time.
 *
 * At most CERTS_FLIGHTS requests are under way, one for an identity; who waits goes first. Renewal at
 * half of the remaining life ±10 %. Failures are repeated after 1 s, 2 s, 4 s … 150 s, ±20 %, at the
 * latest when the old certificate ends; until then it stays in use. Thread: main. */
#pragma once

#include "lib/ca/issuer.h"
#include "lib/event/loop.h"
#include "lib/mtls/mtls.h"

#define CERTS_FLIGHTS     8
#define CERTS_MAX         10000 /* identities; a node has a few hundred pods */
#define CERTS_BACKOFF_MS  1000
#define CERTS_BACKOFF_MAX 150000 /* ms */

enum certs_prio {
    CERTS_WAITING, /* a connection waits for it */
    CERTS_WARM_UP, /* a pod that may soon need it */
    CERTS_RENEWAL,
    CERTS_PRIOS
};

/* ctx: what to use from now on (MTLS_MESH), or NULL: none, and error says why. Both: the renewal failed
 * and the old one stays. Borrowed. May call anything of this header. */
typedef void certs_change_fn(void *owner, struct identity *id, struct mtls_ctx *ctx,
                             const char *error);

struct certs_opts {
    struct ca_issuer issuer;
    certs_change_fn *on_change;
    void *owner;
    int64_t (*now_s)(void); /* NULL: the wall clock */
};

struct certs;
struct certs *certs_new(struct loop *l, const struct certs_opts *o);
void certs_free(struct certs *c); /* cancels what is under way; before the issuer */

/* This identity is wanted, from now until certs_forget(). RC_OK: *ret (borrowed). RC_AGAIN: it is on
 * its way, on_change will tell. RC_NO_CERT: the last attempt failed, the next one comes by itself.
 * RC_LIMIT. Repeating it is cheap and may raise the priority. */
NODISCARD enum rc certs_want(struct certs *c, struct identity *id, enum certs_prio prio,
                             struct mtls_ctx **ret, struct errmsg *ret_msg);
/* Its last pod left: the certificate goes, a request under way is dropped. No callback. */
void certs_forget(struct certs *c, const struct identity *id);
size_t certs_count(const struct certs *c);
size_t certs_flights(const struct certs *c);

/* "certificates" of Istio's config_dump: a JSON list sorted by identity. */
void certs_dump(const struct certs *c, struct strbuf *out);
