/* Port 15012: TLS with our own authority's certificate, HTTP/2, and on it the delta ADS and the certificate
 * service. A caller proves itself with its token in each call. Thread: main. */
#pragma once

#include "control/ca/ca_service.h"
#include "lib/xds/ads_server.h"

#define SERVER_CONNECTIONS_MAX 10000
#define SERVER_IDLE_MS         60000 /* a connection without calls is closed after that */
/* Connections that have not shown a valid token yet; a new one takes the place of the oldest. */
#define SERVER_STRANGERS_MAX   512
#define SERVER_STRANGERS_OF_IP 128 /* of one address */

struct server;

struct server_opts {
    struct addr at;
    struct ca *ca; /* all borrowed */
    struct ca_service *ca_service;
    struct tokens *tokens;
    struct ads_server *ads;
};

/* RC_IO and the like when the address can't be had. */
NODISCARD enum rc server_new(struct loop *l, const struct server_opts *o, struct server **ret,
                             struct errmsg *msg);
/* From now on callers are answered; until then they wait in the kernel's queue. Once. */
void server_open(struct server *s);
/* Closes the port and every connection; the loop has to turn once after it. NULL is legal. */
void server_free(struct server *s);
/* No new connections; those that are there are asked to go elsewhere (GOAWAY) and end by ms. */
void server_drain(struct server *s, int64_t ms);
void server_local(const struct server *s, struct addr *ret);
