/* RequestAuthentication: which JWTs are good (security.istio.io). Every field is known; what else a document holds is
 * refused, as with the other security policies. */
#pragma once

#include "lib/kobj/policy.h"

struct kjwt_header {
    struct str name, prefix; /* prefix as in "Bearer ", may be empty */
};

struct kclaim_header {
    struct str header, claim;
};

struct kjwt_rule {
    struct str issuer;
    struct kstrs audiences;                 /* empty: any */
    struct str jwks_uri, jwks;              /* both empty: the issuer's discovery document says */
    KLIST(struct kjwt_header) from_headers; /* no place at all: Authorization and access_token */
    struct kstrs from_params, from_cookies;
    struct str payload_header; /* empty: none */
    KLIST(struct kclaim_header) claim_headers;
    struct kstrs space_delimited;
    bool forward;       /* the token goes on to the backend */
    int64_t timeout_ms; /* of fetching keys; -1: none said */
};

struct krequest_auth {
    struct kobj obj;
    const struct kselector *selector;  /* NULL when absent */
    KLIST(struct ktarget_ref) target;  /* while decoding */
    KLIST(struct ktarget_ref) targets; /* targetRefs, or targetRef */
    KLIST(struct kjwt_rule) rules;
};
KOBJ_CAST(kobj_request_auth, krequest_auth, KOBJ_REQUEST_AUTHENTICATION)
