/* A workload as xDS tells it: immutable, counted, compact (a mesh has 100,000 of them): one allocation
 * with all its texts, addresses and service memberships. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/ref.h"
#include "lib/base/str.h"
#include "lib/cert/identity.h"
#include "lib/net/addr.h"
#include "lib/proto/workload.pb-c.h"

/* Where traffic for something goes first: a waypoint or a network gateway. */
struct gateway_addr {
    bool set;
    uint16_t port;       /* of HBONE */
    struct str ns, host; /* a service's, or */
    struct str network;  /* of ip */
    struct addr ip;      /* family 0 when named by host */
};

struct port_map {
    uint16_t service, target; /* target 0: none */
};

/* Membership in a service. */
struct wl_service {
    struct str key; /* NAMESPACE/HOSTNAME */
    const struct port_map *ports;
    uint16_t n_ports;
};

enum wl_text { /* the texts of a workload */
               WL_UID,
               WL_NAME,
               WL_NS,
               WL_SA,
               WL_NETWORK,
               WL_NODE,
               WL_CANONICAL_NAME,
               WL_CANONICAL_REVISION,
               WL_WORKLOAD_NAME,
               WL_CLUSTER,
               WL_HOSTNAME,
               WL_REGION,
               WL_ZONE,
               WL_SUBZONE,
               WL_TEXTS
};

struct workload {
    struct ref ref;
    uint16_t n_addrs, n_services, n_policies;
    uint16_t app_tunnel_port; /* 0: none */
    uint32_t capacity;        /* relative weight, 0 = never chosen */
    uint8_t type;             /* Istio__Workload__WorkloadType */
    bool hbone, healthy, host_network, native_tunnel, app_tunnel_proxy;
    uint16_t at[WL_TEXTS + 1]; /* text i is [at[i], at[i+1]) of text */
    struct identity *id;       /* counted */
    const struct addr *addrs;
    const struct wl_service *services;
    const struct str *policies;                            /* NAMESPACE/NAME */
    const struct gateway_addr *waypoint, *network_gateway; /* NULL: none */
    const char *text;
};

static inline struct str workload_text(const struct workload *w, enum wl_text t)
{
    return (struct str){w->text + w->at[t], (size_t)(w->at[t + 1] - w->at[t])};
}
/* "deployment", "cronjob", "pod", "job" */
struct str workload_type(const struct workload *w);
static inline struct identity *workload_identity(const struct workload *w)
{
    return w->id;
}
struct workload *workload_ref(struct workload *w);
void workload_unref(struct workload *w);
bool workload_has_addr(const struct workload *w, const struct addr *ip);
const struct wl_service *workload_service(const struct workload *w, struct str key);
/* Value of the baggage header. */
void workload_baggage(const struct workload *w, struct strbuf *out);

/* Identities are shared: asked for by workload_decode(). Returns a new reference. */
typedef enum rc identity_intern_fn(void *arg, struct str trust_domain, struct str ns, struct str sa,
                                   struct identity **ret);
/* From xDS; refuses (with resource and field in ret_msg) what workload-api says is to be refused. */
NODISCARD enum rc workload_decode(const Istio__Workload__Workload *m, identity_intern_fn *intern,
                                  void *arg, struct workload **ret, struct errmsg *ret_msg);
