/* A workload as xDS tells it: immutable, counted, compact (a mesh has 100,000 of them). What it has in
 * common with its replicas is one interned object, and texts that are part of another are kept once. */
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
    struct atom *key;  /* NAMESPACE/HOSTNAME, counted */
    uint32_t ports_at; /* bytes from here */
    uint16_t n_ports, unused;
};
static inline const struct port_map *wl_service_ports(const struct wl_service *m)
{
    return (const void *)((const char *)m + m->ports_at);
}

enum wl_text {
    /* its own */
    WL_UID,
    WL_HOSTNAME,
    WL_NAME,
    WL_OWN_TEXTS,
    /* of its template */
    WL_NS = WL_OWN_TEXTS,
    WL_WORKLOAD_NAME,
    WL_CANONICAL_NAME,
    WL_CANONICAL_REVISION,
    WL_PACKED_TEXTS,
    /* of its identity; empty when it has none */
    WL_SA = WL_PACKED_TEXTS,
    WL_TRUST_DOMAIN,
    /* of its place */
    WL_NETWORK,
    WL_CLUSTER,
    WL_NODE,
    WL_REGION,
    WL_ZONE,
    WL_SUBZONE,
};
struct text_at { /* in the texts that follow its struct */
    uint16_t at, n;
};

/* What replicas have in common. Interned; no pointers but to what is interned, so bytes compare. */
struct wl_template {
    struct interned in;
    struct identity *id;                             /* counted, like the next two; may be NULL */
    struct gateway_addr *waypoint, *network_gateway; /* NULL: none */
    uint32_t capacity;                               /* relative weight, 0 = never chosen */
    uint16_t n_services, n_policies, n_ports;
    uint16_t app_tunnel_port; /* 0: none */
    uint8_t type;             /* Istio__Workload__WorkloadType */
    bool hbone : 1, host_network : 1, native_tunnel : 1;
    bool app_tunnel : 1, app_tunnel_proxy : 1; /* has one; it speaks PROXY */
    uint16_t texts_n;                          /* bytes */
    struct text_at text[WL_PACKED_TEXTS - WL_NS];
    /* services, policies, ports and texts follow */
};

struct workload {
    struct ref ref;
    uint16_t n_addrs;
    bool healthy : 1;
    bool pod : 1;          /* its uid says so: more to be trusted than other entries */
    uint64_t digest;       /* of the message it was made of */
    struct wl_template *t; /* counted */
    struct place *place;   /* counted */
    uint16_t texts_n;      /* bytes */
    struct text_at text[WL_OWN_TEXTS];
    /* texts and addresses follow */
};

struct str workload_text(const struct workload *w, enum wl_text t);
/* "deployment", "cronjob", "pod", "job" */
struct str workload_type(const struct workload *w);
/* NULL when its namespace and service account make no identity: it can't be reached in a tunnel. */
static inline struct identity *workload_identity(const struct workload *w)
{
    return w->t->id;
}
static inline bool workload_hbone(const struct workload *w)
{
    return w->t->hbone;
}
static inline const struct gateway_addr *workload_waypoint(const struct workload *w)
{
    return w->t->waypoint;
}
static inline const struct gateway_addr *workload_gateway(const struct workload *w)
{
    return w->t->network_gateway;
}
const struct wl_service *workload_services(const struct workload *w); /* t->n_services */
struct atom *const *workload_policies(const struct workload *w); /* t->n_policies, NAMESPACE/NAME */
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
