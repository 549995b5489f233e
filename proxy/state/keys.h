/* Keys and operations of the snapshot's maps, shared by state.c and apply.c; for nobody else. */
#pragma once

#include "proxy/state/state.h"

struct ip_key { /* entry of by_ip and by_vip; name (a uid or service key) empty: any */
    struct str network;
    const struct addr *ip;
    struct str name;
};
struct pair_key { /* ns and name; name empty: any; third: the object's own key, empty: any */
    struct str a, b, own;
};
struct state_cert_entry {
    struct ref ref;
    struct identity *id;
    struct mtls_ctx *ctx;
};

uint64_t key_ip(struct str network, const struct addr *ip);
uint64_t key_pair(struct str a, struct str b);
extern const struct cowmap_ops ops_workloads, ops_by_ip, ops_local, ops_services, ops_by_vip,
    ops_by_host, ops_endpoints, ops_policies, ops_by_scope, ops_certs;
void state_init_maps(struct proxy_state *st);
void cidr_vips_unref(struct cidr_vips *c);
