/* What ads_server.c (resources) and ads_stream.c (clients) share; for nobody else. */
#pragma once

#include "lib/base/hash.h"
#include "lib/base/htab.h"
#include "lib/base/list.h"
#include "lib/codec/pb_stream.h"
#include "lib/xds/ads_server.h"

struct ads_slot {
    struct hnode node;
    struct list order;  /* by seq */
    uint64_t seq;       /* of the last change */
    struct str name;    /* view into r, or own_name */
    struct resource *r; /* NULL: a tombstone */
    char *own_name;
};

struct ads_set { /* the resources of a type */
    struct ads_type type;
    struct htab slots;
    struct list order;
    size_t live;
};

struct ads_server {
    struct loop *loop;
    const struct ads_server_ops *ops;
    void *owner;
    struct ads_set sets[ADS_TYPES_MAX];
    size_t n_sets;
    struct list streams;
    uint64_t seq, swept;
};

struct ads_name { /* subscribed by name */
    struct hnode node;
    struct str name;
    bool fresh; /* not answered yet */
    char text[];
};

struct ads_sub { /* what a client wants of a type */
    bool on, wildcard, answered;
    uint64_t seq;         /* all changes up to here were sent */
    uint64_t seq_removed; /* and all removals up to here */
    struct htab names;    /* struct ads_name */
    size_t fresh;         /* names that wait for their first answer */
    uint64_t *skip;       /* hashes of names whose version the client has; sorted */
    size_t n_skip;
    char **removed; /* names that the client has and we have not */
    size_t n_removed, cap_removed;
    uint64_t nonce; /* of the last response */
    uint64_t sent, acked, nacked;
    char error[256];
};

struct ads_held { /* initial_resource_versions of the request being read */
    char *text;   /* name\0version\0… */
    size_t n, cap, count;
};

struct ads_request { /* being read */
    char *node_id, *node_name, *ns;
    char *type_url;
    char *nonce, *error;
    bool has_error, malformed;
    char **subscribe, **unsubscribe;
    size_t n_subscribe, cap_subscribe, n_unsubscribe, cap_unsubscribe;
    struct ads_held held;
    size_t names;
};

struct ads_stream {
    struct list node; /* server->streams */
    struct ads_server *server;
    struct grpc_call *call;
    char *peer, *node_id, *node_name, *ns;
    bool known; /* the first request was accepted */
    struct pb_stream in;
    struct ads_request req;
    struct ads_sub sub[ADS_TYPES_MAX];
};

struct ads_slot *ads_slot_find(const struct ads_set *set, struct str name);
void ads_stream_send(struct ads_stream *st);
void ads_stream_end(struct ads_stream *st, enum grpc_status status, const char *why);

/* -- reading requests (ads_request.c) -- */
void ads_request_init(struct ads_stream *st);
void ads_request_reset(struct ads_request *r);
enum rc ads_request_field(void *stream, const struct pb_field *f);
