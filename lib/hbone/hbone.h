/* HBONE: TCP over HTTP/2 CONNECT over mTLS, port 15008 (facts: Istio ztunnel's wire).
 * Helpers for both sides on top of h2_session: the headers, their checks, their text forms. */
#pragma once

#include "lib/http/h2_session.h"
#include "lib/net/addr.h"

#define HBONE_PORT       15008
#define HBONE_HEADER_MAX 4096 /* bytes of any one header value that we read */

/* What a CONNECT says. Views into the headers. */
struct hbone_request {
    struct str authority;
    struct addr addr; /* authority as address, family 0 when it is a host name */
    struct str host;  /* authority as host name (empty when an address) */
    uint16_t port;
    struct str baggage, forwarded, traceparent, forwarded_network, istio_source;
};
/* RC_INVALID when it is no CONNECT of ours (400). */
NODISCARD enum rc hbone_request_parse(const struct h2_headers *hs, struct hbone_request *ret);

/* baggage: "k8s.cluster.name=…,k8s.namespace.name=…" (W3C Baggage, without escaping, as ztunnel does) */
struct baggage {
    struct str cluster, ns, workload_type, workload, service, version, region, zone;
};
void baggage_parse(struct str value, struct baggage *ret); /* unknown keys are ignored */
void baggage_format(const struct baggage *b, struct strbuf *out);
/* forwarded: for="ip:port";host=name */
void forwarded_format(const struct addr *client, struct str service_host, struct strbuf *out);
struct str forwarded_host(struct str value); /* empty when absent */
/* "00-<32 hex>-<16 hex>-00" of random bytes; out has 56 bytes. */
void traceparent_make(char out[56]);
