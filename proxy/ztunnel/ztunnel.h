/* The node's layer-4 proxy: what its main thread does. It keeps the state that xDS tells, the certificates
 * of this node's workloads and the pods that the agent hands over, and gives each pod to a worker.
 * Thread: main; the workers are reached by worker_call() and snapshots. */
#pragma once

#include "lib/ca/ca_client.h"
#include "lib/xds/ads_client.h"
#include "proxy/ztunnel/zworker.h"

enum ztunnel_task { ZTUNNEL_STATE, ZTUNNEL_PODS, ZTUNNEL_TASKS }; /* what readiness waits for */

struct ztunnel_opts { /* borrowed until ztunnel_new() returned */
    struct zconfig z;
    unsigned workers; /* 0: one per four processors, at least one */
    const char *node; /* name of this node */
    const char *zds_path;
    const char *node_id; /* of xDS */
    const struct ads_meta *meta;
    size_t n_meta;
    struct channel_opts xds, ca;
    int64_t cert_valid_s;
    /* A part became ready, or stopped being so. */
    void (*on_task)(void *owner, enum ztunnel_task t, bool done, const char *why_not);
    void *owner;
};

struct ztunnel;
NODISCARD enum rc ztunnel_new(struct loop *l, const struct ztunnel_opts *o, struct ztunnel **ret,
                              struct errmsg *ret_msg);
/* Stops accepting; on_drained when the last connection ended, at the latest after drain_ms. */
void ztunnel_drain(struct ztunnel *z, void (*on_drained)(void *owner), void *owner);
void ztunnel_free(struct ztunnel *z); /* joins the workers */

/* The state under construction, for dumps; dies with the next turn. */
const struct proxy_state *ztunnel_state(const struct ztunnel *z);
/* Members of Istio's config_dump, each one JSON value; owner is the struct ztunnel (dump.c). */
void ztunnel_dump_workloads(void *owner, struct strbuf *out);
void ztunnel_dump_services(void *owner, struct strbuf *out);
void ztunnel_dump_policies(void *owner, struct strbuf *out);
void ztunnel_dump_certs(void *owner, struct strbuf *out);
void ztunnel_dump_pods(void *owner, struct strbuf *out); /* "workloadState" */
