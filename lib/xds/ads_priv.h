/* What ads_server.c (resources), ads_stream.c (clients), ads_sub.c (what they want), ads_send.c
 * (responses) and ads_request.c share; for nobody else. */
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
    struct list fresh; /* linked: not answered yet */
    struct str name;
    char text[];
};

struct ads_sub { /* what a client wants of a type */
    bool on, wildcard, answered;
    uint64_t start;       /* the state that the client's first request was compared with */
    uint64_t seq;         /* all changes up to here were sent */
    uint64_t seq_removed; /* and all removals up to here */
    struct htab names;    /* struct ads_name */
    struct list fresh;    /* names that wait for their first answer */
    uint64_t *skip;       /* hashes of names whose version (as of start) the client has; sorted */
    size_t n_skip;
    char **removed; /* names that the client has and we have not */
    size_t n_removed, cap_removed;
    uint64_t nonce, acked_nonce;           /* of the last response, of the last answer to one */
    uint64_t sent, acked, nacked;          /* responses */
    uint64_t sent_resources, sent_removed; /* in them */
    char error[256];
};

struct ads_out { /* a response that is under way: its pieces follow as the client takes them */
    bool on;
    size_t type;
    struct resource **r; /* counted; from at on to be sent */
    size_t n, cap, at;
    size_t bytes;       /* of the resources, encoded */
    struct strbuf tail; /* what follows them */
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
    struct ads_out out;
    struct loop_task send;   /* what the requests of this turn ask for */
    struct loop_timer stall; /* armed while the client owes us the reading of something */
};

struct ads_slot *ads_slot_find(const struct ads_set *set, struct str name);
void ads_stream_end(struct ads_stream *st, enum grpc_status status, const char *why);

/* -- subscriptions (ads_sub.c) -- */
void ads_sub_fini(struct ads_sub *sub);
/* The request just read. RC_LIMIT: too many names. */
NODISCARD enum rc ads_sub_apply(struct ads_stream *st, size_t type);
bool ads_sub_wants(const struct ads_sub *sub, const struct ads_slot *slot);
bool ads_sub_has(const struct ads_sub *sub, const struct ads_slot *slot); /* in this version */
void ads_sub_told(struct ads_sub *sub); /* what the client had needs no more comparing */

/* -- responses (ads_send.c) -- */
/* All that is owed, in order, until the client is slow. */
void ads_stream_send(struct ads_stream *st);
void ads_out_fini(struct ads_out *out);

/* -- reading requests (ads_request.c) -- */
void ads_request_init(struct ads_stream *st);
void ads_request_reset(struct ads_request *r);
enum rc ads_request_field(void *stream, const struct pb_field *f);
