/* SPIFFE identity of a workload: spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT.
 * Immutable and counted; any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/rc.h"
#include "lib/base/ref.h"
#include "lib/base/str.h"

struct identity {
    struct ref ref;
    uint64_t hash;                   /* of uri */
    struct str trust_domain, ns, sa; /* views into uri */
    struct str principal;            /* uri without "spiffe://": what policies match */
    struct str uri;                  /* NUL-terminated */
};

#define IDENTITY_MAX 2048 /* bytes of the whole URI (SPIFFE-ID 2.3) */

/* Exactly five segments, characters of RFC 3986 segments only; else RC_INVALID. */
NODISCARD enum rc identity_parse(struct str uri, struct identity **ret);
NODISCARD enum rc identity_make(struct str trust_domain, struct str ns, struct str sa,
                                struct identity **ret);
struct identity *identity_ref(struct identity *id);
void identity_unref(struct identity *id); /* NULL is legal */
bool identity_eq(const struct identity *a, const struct identity *b);
