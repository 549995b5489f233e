/* A delta-ADS client without a mind: sends what the test says, writes down what comes. Over a pipe in
 * memory, so that it can be as slow as the test wants, or over a channel to a real controller. */
#pragma once

#include "lib/http/channel.h"
#include "lib/xds/ads_response.h"
#include "lib/xds/ads_server.h"

struct ads_peer {
    struct loop *loop;
    struct ads_server *ads;
    struct io *io; /* the client's end: io_mem_hold() makes it slow */
    struct h2_session *client, *server;
    struct channel *channel; /* borrowed */
    struct channel_wait wait;
    struct grpc_call *call;
    struct ads_response in;
    bool ack; /* acknowledge each response */
    /* May be NULL; version is empty when the name was removed. */
    void (*on_change)(struct str url, struct str name, struct str version);
    /* "<Address +a -b>", in the order of coming; versions and bytes left out */
    struct strbuf log;
    size_t responses, resources, bytes, largest; /* largest message */
    char nonce[64];                              /* of the last response */
    bool done;
    enum grpc_status status;
    char message[200];
};

/* pipe: bytes in flight. */
void ads_peer_open(struct ads_peer *p, struct loop *l, struct ads_server *ads, size_t pipe);
/* The call is there in a later turn, or done says that it failed. */
void ads_peer_dial(struct ads_peer *p, struct loop *l, struct channel *ch);
void ads_peer_send(struct ads_peer *p, struct str message);
void ads_peer_close(struct ads_peer *p);

/* Requests: put what is wanted between begin and send. */
void ads_peer_begin(struct strbuf *m, const char *url, const char *node_id);
void ads_peer_name(struct strbuf *m, uint32_t field, const char *name); /* 3, 4: (un)subscribe */
void ads_peer_held(struct strbuf *m, const char *name, const char *version);
