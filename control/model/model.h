/* Everything the sources have told, indexed, and which of it has to be translated anew. The cost of a
 * change is that of what depends on it, never of the whole.
 *
 * Objects of several clusters may be in here; policies count for all of them. A name within a cluster
 * and kind is one mobject for as long as it exists or its end has not been seen by model_next().
 * Thread: main. */
#pragma once

#include "control/model/mindex.h"
#include "control/model/object.h"
#include "lib/kobj/core.h"
#include "lib/kobj/policy.h"

struct model;

struct mcluster {
    struct list node;
    struct model *model;
    const char *id;
    bool synced; /* all there is has been told */
};

struct mobject {
    struct hnode by_name;
    struct list touched; /* to be translated */
    struct mcluster *cluster;
    struct kobj *obj; /* as it is, or as it last was */
    bool gone;
    struct mentry *entries; /* in the indices */
    uint32_t n_entries;
};

struct model_opts {
    const char *root_ns;            /* policies there count for the whole mesh */
    const char *system_ns;          /* its label names the cluster's network */
    void (*on_change)(void *owner); /* a batch ended: there may be something for model_next() */
    void *owner;
};

struct model *model_new(const struct model_opts *o); /* texts are copied */
void model_free(struct model *m);
struct str model_root_ns(const struct model *m);

/* The place for one source's objects. id is copied. */
struct object_sink model_cluster(struct model *m, const char *id);
bool model_synced(const struct model *m); /* every cluster is */

/* The next object to be translated, NULL when there is none. One that is gone exists until the call
 * after. */
const struct mobject *model_next(struct model *m);
bool model_pending(const struct model *m);
uint64_t model_generation(const struct model *m); /* counts the changes */
size_t model_count(const struct model *m, enum kobj_kind kind);

/* -- questions -- */
typedef void model_fn(void *arg, const struct mobject *o);

/* NULL when absent. */
const struct kobj *model_find(const struct model *m, const struct mcluster *c, enum kobj_kind kind,
                              struct str ns, struct str name);
void model_each(const struct model *m, enum kobj_kind kind, model_fn *fn, void *arg);
/* Services of the pod's cluster and namespace that have it as an endpoint: by selector, or, without
 * one, by an EndpointSlice. Each once, in no order. */
void model_services_of_pod(const struct model *m, const struct mobject *pod, model_fn *fn,
                           void *arg);
/* The other way round, for a Service with a selector. */
void model_pods_of_service(const struct model *m, const struct mobject *service, model_fn *fn,
                           void *arg);
/* AuthorizationPolicies that are bound to it by their selector and enforced at the node. */
void model_policies_of_pod(const struct model *m, const struct mobject *pod, model_fn *fn,
                           void *arg);
/* A selector binds it, and the node enforces it: then workloads name it. */
bool model_authz_is_listed(const struct kauthz *p);
/* ztunnel is sent the policy: it has no targetRefs and is meant to be enforced. */
bool model_authz_at_node(const struct kauthz *p);
bool model_authz_is_dry_run(const struct kauthz *p);
/* Label topology.istio.io/network of the system namespace; "" when absent. */
struct str model_network(const struct model *m, const struct mcluster *c);

/* The PeerAuthentications that count, the oldest of each level; NULL where there is none. */
struct model_mtls {
    const struct kpeer_auth *mesh, *ns, *workload;
};
/* labels: of the workload, NULL for none. */
struct model_mtls model_mtls(const struct model *m, struct str ns, const struct kmap *labels);
bool model_has_mtls(const struct model *m); /* any PeerAuthentication exists */

/* Does this node (of any cluster) run a pod of this account that has not failed? */
bool model_node_runs(const struct model *m, struct str node, struct str ns, struct str sa);
/* Every node there is an object of, or a pod on; some more than once. */
void model_each_node(const struct model *m, void (*fn)(void *arg, struct str node), void *arg);
/* Changes when the set of nodes or of ServiceAccounts may have changed. */
uint64_t model_roster(const struct model *m);
/* Pods, then Services, that have this address. */
void model_by_addr(const struct model *m, const struct addr *a, model_fn *fn, void *arg);
