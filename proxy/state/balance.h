/* Which endpoint of a service takes a connection, at which address and port (facts: ztunnel.md 9, 10).
 * Health policy, locality, capacity and address families decide; among equals chance does. Constant time
 * but where an endpoint does not qualify or the client is not at the place the candidates were sorted
 * for. No state: what is borrowed lives as long as the snapshot. */
#pragma once

#include "proxy/state/state.h"

struct balance_request {
    const struct workload *client; /* who connects */
    const struct service *service;
    uint16_t port;     /* of the service */
    struct addr asked; /* what the client dialled: an endpoint that has it is asked there, else its
                          family is preferred; family 0: none */
    bool waypoint; /* the service is a waypoint or gateway: the application tunnel may stand for the
                         port */
    struct workload *const *failed; /* these were tried: not again (compared by uid) */
    size_t n_failed;
};

struct balance_choice {
    struct workload *wl;
    struct addr addr; /* with the target port. Family 0: the workload has no usable address: resolve
                            its WL_HOSTNAME, or when that is empty go through its network_gateway */
    uint16_t port;    /* target port, also in addr */
};

/* RC_NO_UPSTREAM: no endpoint qualifies. Not for services in PASSTHROUGH mode (service_passthrough). */
NODISCARD enum rc balance_pick(const struct proxy_state *st, const struct balance_request *r,
                               struct balance_choice *ret);
/* The same for a workload that is addressed itself, on port. RC_NO_UPSTREAM: it has neither a usable
 * address nor a name nor a gateway. */
NODISCARD enum rc balance_workload(struct workload *wl, const struct addr *asked, uint16_t port,
                                   struct balance_choice *ret);
/* The waypoint for one connection to the service: of the weighted ones by chance (all weights 0: as if
 * there were none), else the single one; NULL: the service has none. */
const struct gateway_addr *balance_waypoint(const struct service *s);
/* The service that a connection to a pod's port was most likely meant for: of the pod's services the one
 * named host (may be empty), else the first with that target port. For labels, never for decisions. */
struct service *balance_guess_service(const struct proxy_state *st, const struct workload *wl,
                                      struct str host, uint16_t port);
