/* In-pod capture: what has to be in a pod's network namespace so that its TCP goes through the ztunnel.
 * The intent is code (nothing remembers what was written); the kernel is compared with it.
 *
 * nft table `inet mesh` and, for each address family of the pod, a policy rule and a route: connections that the
 * ztunnel makes to the application keep the client's address; the application's answers are marked and
 * delivered locally, to the ztunnel. No source address is exempt (design: probes are recognised by ztunnel).
 * Thread: any; blocks for a few netlink exchanges. */
#pragma once

#include <stdbool.h>

#include "lib/base/rc.h"

#define RULES_TABLE       "mesh"
#define RULES_PROXY_MARK  0x539
#define RULES_CONN_MARK   0x111
#define RULES_MARK_MASK   0xfff
#define RULES_ROUTE_TABLE 100
#define RULES_PRIORITY    32764

struct rules_opts {
    bool ipv6;           /* the pod may have IPv6: skipped silently when its namespace has none */
    bool bypass_inbound; /* ambient.istio.io/bypass-inbound-capture: inbound is not captured */
};

/* Makes it so, in one transaction; what is there already is replaced, nothing is open in between. */
NODISCARD enum rc rules_apply(int netns, const struct rules_opts *o, struct errmsg *ret_msg);
/* RC_OK: the kernel has exactly what is intended. RC_INVALID: something is missing or different. */
NODISCARD enum rc rules_check(int netns, const struct rules_opts *o, struct errmsg *ret_msg);
/* Takes everything away; what is not there is fine. */
NODISCARD enum rc rules_remove(int netns, struct errmsg *ret_msg);
/* Is a table of ours there, in whatever state? */
bool rules_present(int netns);
