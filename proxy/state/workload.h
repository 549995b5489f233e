/* A workload as xDS tells it: immutable, counted, compact (a mesh has 100,000 of them): one allocation,
 * what it has in common with others is interned, and texts that are part of another are kept once. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/ref.h"
#include "lib/base/str.h"
#include "lib/cert/identity.h"
#include "lib/net/addr.h"
#include "lib/proto/workload.pb-c.h"
#include "proxy/state/intern.h"

struct port_map {
    uint16_t service, target; /* target 0: none */
};

/* Membership in a service. */
struct wl_service {
    struct atom *key; /* NAMESPACE/HOSTNAME, counted */
    const struct port_map *ports;
    uint16_t n_ports;
};

enum wl_text {
    /* its own */
    WL_UID,
    WL_HOSTNAME,
    WL_NAME,
    WL_NS,
    WL_WORKLOAD_NAME,
    WL_CANONICAL_NAME,
    WL_CANONICAL_REVISION,
    WL_OWN_TEXTS,
    /* of its identity; empty when it has none */
    WL_SA = WL_OWN_TEXTS,
    WL_TRUST_DOMAIN,
    /* of its place */
    WL_NETWORK,
    WL_CLUSTER,
    WL_NODE,
    WL_REGION,
    WL_ZONE,
    WL_SUBZONE,
};

struct workload {
    struct ref ref;
    uint32_t capacity;   /* relative weight, 0 = never chosen */
    uint64_t digest;     /* of the message it was made of */
    struct identity *id; /* counted, like the next three */
    struct place *place;
    struct gateway_addr *waypoint, *network_gateway; /* NULL: none */
    uint16_t n_addrs, n_services, n_policies;
    uint16_t app_tunnel_port; /* 0: none */
    uint8_t type;             /* Istio__Workload__WorkloadType */
    bool hbone : 1, healthy : 1, host_network : 1, native_tunnel : 1;
    bool app_tunnel : 1, app_tunnel_proxy : 1; /* has one; it speaks PROXY */
    bool pod : 1;                              /* uid says it is a pod: more to be trusted */
    uint16_t texts_n;                          /* bytes */
    struct text_at {
        uint16_t at, n;
    } text[WL_OWN_TEXTS];
    /* texts, services, policies, addresses and ports follow */
};

struct str workload_text(const struct workload *w, enum wl_text t);
/* "deployment", "cronjob", "pod", "job" */
struct str workload_type(const struct workload *w);
/* NULL when its namespace and service account make no identity: it can't be reached in a tunnel. */
static inline struct identity *workload_identity(const struct workload *w)
{
    return w->id;
}
const struct wl_service *workload_services(const struct workload *w); /* n_services */
struct atom *const *workload_policies(const struct workload *w); /* n_policies, NAMESPACE/NAME */
const struct addr *workload_addrs(const struct workload *w);     /* n_addrs, without port */
bool workload_has_addr(const struct workload *w, const struct addr *ip);
/* Its membership in the service, or NULL. */
const struct wl_service *workload_service(const struct workload *w, struct str key);
/* What the membership says about the service's port; 0: nothing. */
uint16_t workload_port(const struct wl_service *m, uint16_t port);
/* Value of the baggage header. */
void workload_baggage(const struct workload *w, struct strbuf *out);

struct workload *workload_ref(struct workload *w);
void workload_unref(struct workload *w); /* NULL is legal */

/* From xDS. RC_INVALID (unknown values, addresses, keys …) or RC_LIMIT with "workload UID: FIELD: WHY". */
NODISCARD enum rc workload_decode(const Istio__Workload__Workload *m, struct intern *in,
                                  struct workload **ret, struct errmsg *ret_msg);
