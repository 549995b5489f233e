/* TCP metrics of connections with Istio's names and labels (facts: ztunnel.md 20).
 *
 * The label sets of a connection are looked up in a small cache by what the connection is made of
 * (objects, not texts): for known peers that is one hash lookup. The cache belongs to one thread, holds
 * references, and is bounded: entries that no connection uses are evicted, least recently used first. */
#pragma once

#include <stdbool.h>

#include "proxy/state/state.h"

/* What a connection is, for metrics and access log. Pointers may be NULL (not known) and are counted by
 * the owner of the struct, as are the texts. */
struct conn_info {
    bool inbound, mtls;
    struct workload *src, *dst;
    struct service *svc;     /* that was asked for */
    struct identity *src_id; /* proven by TLS, or that we prove ourselves */
    struct identity *dst_id; /* the same; NULL: dst's */
    struct str src_baggage;  /* the peer's words, used where src is not known */
    struct str dst_baggage;  /* the same for dst; wins over dst (double HBONE) */
    struct addr src_addr;
    struct addr dst_addr;   /* the hop: with port 15008 when it is a tunnel */
    struct addr hbone_addr; /* what the tunnel's CONNECT names, or family 0 and */
    struct str hbone_host;  /* its host name (hbone_addr.port is the port); both none: no tunnel */
    uint64_t up, down;      /* bytes, client to server and back */
    int64_t start_us;       /* monotonic */
};

struct telemetry;
struct telemetry_series;

struct telemetry *telemetry_new(void);    /* one per thread, used on that thread */
void telemetry_free(struct telemetry *t); /* when all its connections are closed; NULL is legal */
size_t telemetry_kinds(const struct telemetry *t); /* entries of the cache */

/* Counts a connection as opened. The series are the connection's until telemetry_close(). */
struct telemetry_series *telemetry_open(struct telemetry *t, const struct conn_info *ci);
/* Adds to the byte counters what was carried since the last call: while the connection lives, so that
 * long ones show. */
void telemetry_bytes(struct telemetry_series *s, uint64_t up, uint64_t down);
/* Counts it as closed, and as failed when why has a response flag. Gives the series back. */
void telemetry_close(struct telemetry *t, struct telemetry_series *s, enum rc why);
/* istio_tcp_sockets_open: accepted sockets, by direction. */
void telemetry_socket(struct telemetry *t, bool inbound, int change);
