/* A service as xDS tells it (immutable, counted), and the endpoints that workloads make up for it, a
 * separate object: they come and go without the service. */
#pragma once

#include "proxy/state/workload.h"

#define SERVICE_PREFS 6

struct service_vip {
    struct str network;
    struct cidr cidr; /* all bits: a single address */
};

struct weighted_gateway {
    struct gateway_addr to;
    uint32_t weight;
};

struct service {
    struct ref ref;
    uint16_t n_vips, n_ports, n_sans, n_weighted;
    uint8_t mode;                          /* Istio__Workload__LoadBalancing__Mode */
    uint8_t families;                      /* Istio__Workload__IPFamilies */
    uint8_t n_prefs, prefs[SERVICE_PREFS]; /* …LoadBalancing__Scope */
    bool allow_unhealthy, canonical, namespace_only;
    struct str key; /* NAMESPACE/HOSTNAME */
    struct str ns, host, name;
    const struct service_vip *vips;
    const struct port_map *ports;
    struct identity **sans;              /* counted; extra identities that are accepted */
    const struct gateway_addr *waypoint; /* NULL: none */
    const struct weighted_gateway *weighted;
    char bytes[];
};

struct service *service_ref(struct service *s);
void service_unref(struct service *s);
/* Target port of the service's own port list; 0: named, or no such port (*ret_has tells). */
uint16_t service_port(const struct service *s, uint16_t port, bool *ret_has);
NODISCARD enum rc service_decode(const Istio__Workload__Service *m, struct service **ret,
                                 struct errmsg *ret_msg);

struct endpoint {
    struct workload *wl;                 /* counted */
    const struct wl_service *membership; /* inside wl */
};

struct endpoints {
    struct ref ref;
    char *key; /* of the service */
    size_t n;
    struct endpoint e[];
};
struct endpoints *endpoints_ref(struct endpoints *e);
void endpoints_unref(struct endpoints *e);
/* A copy of old (may be NULL) without the workload of this uid, and with wl unless that is NULL. NULL
 * when none would be left. */
struct endpoints *endpoints_edit(const struct endpoints *old, struct str key, struct str uid,
                                 struct workload *wl);
