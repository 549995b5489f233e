/* Layer-4 authorization of one connection (facts: Istio ztunnel's rbac).
 *
 * Policies of the workload's namespace, of the mesh and of the workload's own list apply. Any DENY that
 * matches denies; then, if there are ALLOW policies, one has to match. Dry-run policies decide nothing.
 * What is not known or not understood refuses: a policy the workload names that has not been received
 * (RC_NO_POLICY: wait for it, then refuse), and one that was received but not understood (RC_DENIED).
 * Thread: any, on its own snapshot. */
#pragma once

#include "proxy/state/state.h"

#define AUTHZ_KEY_MAX 384 /* bytes of a policy's key that are kept: namespace 63, name 253 */

struct authz_conn {
    const struct identity *peer; /* NULL: not authenticated */
    struct addr src;             /* the peer's address */
    struct addr dst;             /* what is connected to, with the port */
};

struct authz_result {
    char policy
        [AUTHZ_KEY_MAX]; /* NAMESPACE/NAME of what decided or is missing; "" when nothing did */
    int rule;            /* of policy; -1 when no rule of it matched */
    const char *why;     /* for the log, static; never NULL */
    char dry_run[AUTHZ_KEY_MAX]; /* the first dry-run DENY that would have refused, or "" */
};

/* RC_OK, RC_DENIED, RC_NO_POLICY. ret is written in all cases. */
NODISCARD enum rc authz_check(const struct proxy_state *st, const struct workload *dst,
                              const struct authz_conn *c, struct authz_result *ret);
