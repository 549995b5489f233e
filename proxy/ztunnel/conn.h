/* One connection of a pod through the proxy, in any direction: what it carries, whom it belongs to, and
 * what will be said of it in metrics and access log. */
#pragma once

#include "proxy/core/accesslog.h"
#include "proxy/core/authz.h"
#include "proxy/core/relay.h"
#include "proxy/core/relay_tcp.h"
#include "proxy/core/telemetry.h"
#include "proxy/ztunnel/pod.h"

enum conn_kind {
    CONN_TUNNEL_OUT, /* application to tunnel (outbound, HBONE) */
    CONN_TUNNEL_IN,  /* tunnel to application (inbound, HBONE) */
    CONN_PLAIN,      /* socket to socket (outbound or inbound, plaintext) */
};

/* What a connection waits for. */
enum conn_state {
    CONN_WAIT,  /* a workload, certificate or policy that has not arrived */
    CONN_DIAL,  /* connect() or the tunnel's answer */
    CONN_OPEN,  /* bytes, either way */
    CONN_CLOSED /* the end of the turn, to be freed */
};

struct conn {
    struct list node; /* pod->conns */
    struct pod *pod;
    enum conn_kind kind;
    enum conn_state state;
    struct conn_info info;           /* counted pointers inside */
    struct telemetry_series *series; /* NULL until it was counted as opened */
    uint64_t told_up, told_down;     /* of info's bytes: in the metrics already */
    struct pod_wait wait;
    struct loop_timer deadline; /* of connect() */
    struct loop_task free;
    uint64_t policy_generation; /* of the last check */
    char detail[192];
    int fd;               /* accepted, not yet given to a relay; -1 */
    struct addr orig_dst; /* outbound, plaintext inbound */
    bool relaying;        /* the relay has what is to be closed */
    union {
        struct relay relay;
        struct relay_tcp plain;
    };
};

/* Counts towards the worker's budget; linked into the pod. */
struct conn *conn_new(struct pod *p, enum conn_kind kind, int fd);
/* Relays ended, or there was none: counters, access line, freed at the end of the turn. */
void conn_finish(struct conn *c, enum rc why);
/* Ends it whatever state it is in. */
void conn_close(struct conn *c, enum rc why);
/* Every connection and inbound tunnel of the pod. */
void conns_close(struct pod *p, enum rc why);
/* The byte counters follow connections that stay open. */
void conns_tell_bytes(struct pod *p);
/* Open inbound connections that policy now forbids end. */
void conns_recheck(struct pod *p);
/* From here on it counts in the metrics. */
void conn_opened(struct conn *c);
/* What of a connection's end is worth a word in the log. */
void conn_detail(struct conn *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Takes new references, drops the old ones. */
void conn_set_src(struct conn *c, struct workload *w);
void conn_set_dst(struct conn *c, struct workload *w, struct service *s);
/* Is the peer allowed? RC_OK, RC_DENIED, RC_NO_POLICY; says why in detail. */
enum rc conn_authorize(struct conn *c, const struct addr *dst);
/* Inbound: a socket to the application, from the client's address where that can be kept. */
enum rc conn_dial(struct conn *c, const struct addr *to, bool spoof, struct io_tcp *t);

/* Plaintext leg: dials to and relays between it and the accepted socket. On failure the connection is
 * the caller's to finish. */
enum rc conn_open_plain(struct conn *c, const struct addr *to, bool spoof);

/* An inbound tunnel: an accepted connection to 15008. */
struct tunnel_in {
    struct list node; /* pod->tunnels_in */
    struct pod *pod;
    struct addr peer, local;
    struct h2_session *session; /* NULL while it waits for the certificate */
    struct io *tls;
    int fd;
    struct pod_wait wait;
    struct loop_task free;
};
void tunnel_in_close(struct tunnel_in *t, enum rc why);
void tunnels_in_drain(struct pod *p, int64_t deadline_ms);
