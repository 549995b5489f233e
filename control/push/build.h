/* From objects to what the data plane is told: Istio's Workload API, byte for byte the same for the same
 * objects (facts: Istio's ambient index). Pure: reads the model, changes nothing. Thread: main.
 *
 * Not filled in by what is served so far: waypoints, network gateways, application tunnels, capacity,
 * ServiceEntry and WorkloadEntry. */
#pragma once

#include "control/model/model.h"
#include "control/push/condition.h"
#include "lib/xds/resource.h"

struct build_settings {
    const char *cluster_domain; /* "cluster.local" */
    const char *trust_domain;
};

/* NULL: there is no such resource (any more). Conditions may be NULL where nobody asks. */
struct resource *build_workload(const struct model *m, const struct build_settings *s,
                                const struct mobject *pod);
struct resource *build_service(const struct model *m, const struct build_settings *s,
                               const struct mobject *service);
/* One for each endpoint that is no pod of ours; calls fn, which takes the resource. */
void build_slice(const struct model *m, const struct build_settings *s, const struct mobject *slice,
                 void (*fn)(void *arg, struct resource *r), void *arg);
struct resource *build_authz(const struct model *m, const struct mobject *policy,
                             struct condition *ret);
struct resource *build_peer_auth(const struct model *m, const struct mobject *policy,
                                 struct condition *ret);
/* Refuses whoever comes without a certificate; there while any PeerAuthentication is. */
struct resource *build_static_strict(const struct model *m);

/* Names of resources, to be removed. Appended. */
void build_name_workload(const struct mobject *pod, struct strbuf *out);
void build_name_service(const struct build_settings *s, const struct mobject *service,
                        struct strbuf *out);
void build_name_authz(const struct mobject *policy, struct strbuf *out);
void build_name_peer_auth(const struct mobject *policy, struct strbuf *out);
void build_name_static_strict(const struct model *m, struct strbuf *out);
