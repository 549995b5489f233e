/* A service as xDS tells it: immutable, counted, one allocation. Its endpoints are another object
 * (endpoints.h): they come and go without the service. */
#pragma once

#include "proxy/state/workload.h"

#define SERVICE_PREFS 8

struct service_vip {
    struct str network;
    struct cidr cidr; /* all bits: a single address */
};

struct weighted_gateway {
    struct gateway_addr *to; /* counted */
    uint32_t weight;
};

/* How a service's endpoints are chosen. */
struct balance_policy {
    uint8_t mode; /* Istio__Workload__LoadBalancing__Mode */
    bool allow_unhealthy;
    uint8_t n_prefs, prefs[SERVICE_PREFS]; /* …LoadBalancing__Scope */
};

struct service {
    struct ref ref;
    uint16_t n_vips, n_ports, n_sans, n_weighted;
    uint8_t families; /* Istio__Workload__IPFamilies */
    bool canonical, namespace_only;
    struct balance_policy balance;
    uint64_t digest;   /* of the message it was made of */
    struct atom *atom; /* the key, counted */
    struct str key;    /* NAMESPACE/HOSTNAME */
    struct str ns, host, name;
    const struct service_vip *vips;
    const struct port_map *ports;
    struct identity *const *sans;  /* counted; extra identities that are accepted */
    struct gateway_addr *waypoint; /* NULL: none */
    const struct weighted_gateway *weighted;
    char bytes[];
};

struct service *service_ref(struct service *s);
void service_unref(struct service *s); /* NULL is legal */
/* Traffic goes where it was addressed to: no endpoint is chosen. */
bool service_passthrough(const struct service *s);
/* May a client of this namespace know it? An empty namespace stands for any. */
bool service_visible(const struct service *s, struct str client_ns);
/* Target port of the service's own port list; 0: named, or no such port (*ret_has tells). */
uint16_t service_port(const struct service *s, uint16_t port, bool *ret_has);
bool service_vip_is_prefix(const struct service_vip *v);

/* From xDS. RC_INVALID or RC_LIMIT with "service NAMESPACE/HOSTNAME: FIELD: WHY". Names among the
 * subject_alt_names that are no SPIFFE identities can't be met by a peer and are left out. */
NODISCARD enum rc service_decode(const Istio__Workload__Service *m, struct intern *in,
                                 struct service **ret, struct errmsg *ret_msg);
