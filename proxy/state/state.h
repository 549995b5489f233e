/* What a worker knows: an immutable snapshot. Pointers found in it die with the callback that found
 * them, unless they are _ref()ed.
 *
 * Policies, workloads and services of one xDS response appear together: there are no half-applied
 * states. Built by proxy/state/apply. */
#pragma once

#include "lib/mtls/mtls.h"
#include "lib/snap/cowmap.h"
#include "lib/snap/snapshot.h"
#include "proxy/state/endpoints.h"
#include "proxy/state/policy.h"
#include "proxy/state/service.h"
#include "proxy/state/workload.h"

struct cidr_vips { /* services reached by a prefix; few */
    struct ref ref;
    size_t n;
    struct cidr_vip {
        const struct service_vip *vip; /* inside service */
        struct service *service;       /* counted */
    } v[];
};

struct proxy_state {
    struct snapshot base;
    uint64_t generation;         /* of workloads and services */
    uint64_t policy_generation;  /* of policies */
    struct cowmap workloads;     /* by uid */
    struct cowmap by_ip;         /* workloads by network and address */
    struct cowmap local;         /* workloads of this node by namespace and name */
    struct cowmap services;      /* by key */
    struct cowmap by_vip;        /* services by network and address */
    struct cowmap by_host;       /* services by host name */
    struct cowmap endpoints;     /* by service key */
    struct cowmap policies;      /* by key */
    struct cowmap by_scope;      /* policies of scope namespace by it, of scope global by "" */
    struct cowmap certs;         /* struct state_cert_entry by identity */
    struct cidr_vips *cidr_vips; /* NULL: none */
};

/* -- lookups; NULL when absent; all borrowed -- */
struct workload *state_workload(const struct proxy_state *st, struct str uid);
struct workload *state_workload_by_ip(const struct proxy_state *st, struct str network,
                                      const struct addr *ip);
/* A pod of this node. An empty sa matches any. */
struct workload *state_local_workload(const struct proxy_state *st, struct str ns, struct str name,
                                      struct str sa);
struct service *state_service(const struct proxy_state *st, struct str ns, struct str host);
/* The service that a gateway address names. */
struct service *state_service_of(const struct proxy_state *st, const struct gateway_addr *g);
struct service *state_service_by_key(const struct proxy_state *st, struct str key);
/* Seen from a client namespace (empty: none, everything is visible): services that are not visible to it
 * are skipped; its own namespace wins, then the canonical one, then the first by key. Exact addresses
 * before prefixes; of prefixes its own namespace's, then the longest, then the canonical one. */
struct service *state_service_by_vip(const struct proxy_state *st, struct str network,
                                     const struct addr *ip, struct str client_ns);
struct service *state_service_by_host(const struct proxy_state *st, struct str host,
                                      struct str client_ns);
const struct endpoints *state_endpoints(const struct proxy_state *st, const struct service *s);
struct policy *state_policy(const struct proxy_state *st, struct str key);
struct policy *state_policy_of(const struct proxy_state *st, const struct atom *key); /* faster */
/* Policies of scope namespace (ns) or global (""), one a call: *pos starts at 0. */
struct policy *state_scope_policy(const struct proxy_state *st, struct str ns, uint32_t *pos);
struct mtls_ctx *state_cert(const struct proxy_state *st, const struct identity *id);
