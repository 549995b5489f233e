/* Delta ADS, serving side (envoy.service.discovery.v3, DeltaAggregatedResources).
 *
 * Every change has a sequence number, and each type keeps its resources in the order of their last
 * change. A client is a position in that order: what changes twice while it is slow is sent once, and
 * it costs no more memory than the one response that is under way (references, and what it pins of
 * resources that were replaced). Names that went stay as tombstones until all clients have passed
 * them. A client that takes nothing for ADS_STALL_MS is dropped.
 *
 * Order of one push: additions and changes of type 0, then of type 1 …, then removals of those types
 * whose removals come last. Requests that arrive together are answered in that order too.
 *
 * A client's first request for a type is always answered, even by an empty response, and by one
 * response however large: ztunnel is ready after it, and carries traffic to what it does not know
 * as plain text. Later pushes are cut at about ADS_PUSH_MAX. Thread: main. */
#pragma once

#include "lib/http/grpc.h"
#include "lib/xds/resource.h"

#define ADS_TYPES_MAX   8
#define ADS_REQUEST_MAX (64u << 20)  /* bytes of a request: initial versions of a large mesh */
#define ADS_NAMES_MAX   1000000      /* names in a request, and subscribed of one type */
#define ADS_FIRST_MAX   (128u << 20) /* ztunnel takes 200 MiB */
#define ADS_PUSH_MAX    (1u << 20)
#define ADS_STALL_MS    60000

struct ads_type {
    const char *url;
    bool removals_last; /* policies: workloads must have stopped naming them */
};

struct ads_server;
struct ads_stream; /* one client */

struct ads_client_info { /* who a stream belongs to; borrowed views */
    struct str peer;     /* as given to ads_server_accept(): who was authenticated */
    struct str node_id;
    struct str node_name, ns; /* of the node's metadata, empty when absent */
};

struct ads_server_ops {
    /* The first request of a stream: may it stay? GRPC_OK, or the status it ends with (*text: why). */
    enum grpc_status (*on_client)(void *owner, const struct ads_client_info *c, const char **text);
    /* The client refused (part of) a response; error is its text. May be NULL. */
    void (*on_nack)(void *owner, const struct ads_client_info *c, const char *type_url,
                    struct str error);
    /* The stream is over; may be NULL. Only after on_client said GRPC_OK. */
    void (*on_gone)(void *owner, const struct ads_client_info *c);
    /* A client asked for a key: call add for each resource that goes with it (the workload at an
     * address, the workloads of a service). A key that is itself the name of a resource needs no add,
     * one that is not is told as removed, besides. May be NULL. */
    void (*on_lookup)(void *owner, const char *type_url, struct str key,
                      void (*add)(void *arg, struct str name), void *arg);
};

struct ads_server *ads_server_new(struct loop *l, const struct ads_type *types, size_t n,
                                  const struct ads_server_ops *ops, void *owner);
void ads_server_free(struct ads_server *s); /* ends all streams */
/* Adds or replaces; one of the same version changes nothing. Counts up, takes nothing. */
void ads_server_set(struct ads_server *s, size_t type, struct resource *r);
void ads_server_remove(struct ads_server *s, size_t type, struct str name);
/* Sends what has changed since to everybody. */
void ads_server_push(struct ads_server *s);
/* A call of XDS_DELTA_PATH. peer (copied) describes who was authenticated. */
void ads_server_accept(struct ads_server *s, struct h2_stream *st, const struct h2_headers *hs,
                       struct str peer);
size_t ads_server_clients(const struct ads_server *s);
size_t ads_server_resources(const struct ads_server *s, size_t type);
const struct resource *ads_server_find(const struct ads_server *s, size_t type, struct str name);
/* JSON list of clients: peer, node, and per type what is subscribed, sent, acknowledged, refused. */
void ads_server_dump(const struct ads_server *s, struct strbuf *out);
