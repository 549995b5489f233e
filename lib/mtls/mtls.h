/* mTLS as a byte pipe over any other pipe, by OpenSSL with BIOs of our own.
 *
 * A mtls_ctx is what all sessions of one identity share (certificate, key, roots, options);
 * rotation makes a new one. A session (struct io) checks the peer as told by mtls_peer_check.
 * Writes: everything offered is taken and encrypted, unless earlier ciphertext still waits for the
 * pipe below (RC_AGAIN): so at most one write is ever buffered. */
#pragma once

#include <stdbool.h>

#include "lib/cert/cert.h"
#include "lib/event/loop.h"
#include "lib/net/io.h"

struct mtls_ctx;

enum mtls_mode {
    MTLS_MESH,          /* TLS 1.3, ALPN h2, both sides show SPIFFE certificates */
    MTLS_SERVER_PUBLIC, /* TLS 1.2 or later, ALPN h2, a client certificate is optional, checked if sent */
    MTLS_CLIENT_DNS, /* client without certificate; the server must prove a DNS name or IP address */
};

/* cert: own certificate, NULL only for MTLS_CLIENT_DNS. Counted, any thread. */
NODISCARD enum rc mtls_ctx_new(enum mtls_mode mode, struct cert *cert, struct trust *trust,
                               struct mtls_ctx **ret, struct errmsg *ret_msg);
struct mtls_ctx *mtls_ctx_ref(struct mtls_ctx *c);
void mtls_ctx_unref(struct mtls_ctx *c);
struct cert *mtls_ctx_cert(const struct mtls_ctx *c);   /* borrowed, may be NULL */
struct trust *mtls_ctx_trust(const struct mtls_ctx *c); /* borrowed */

/* What the peer has to be, beyond chain and purpose. */
struct mtls_peer_check {
    /* MTLS_MESH client: one of these identities. Server: any identity of trust_domain. */
    struct identity *const *any_of;
    size_t n_any_of;
    struct str trust_domain; /* server: required trust domain; empty = any */
    const char *dns_name; /* MTLS_CLIENT_DNS: name or address text to verify, and SNI if a name */
};

struct mtls_opts {
    bool server;
    int64_t handshake_ms;         /* deadline, 0 = 10,000 */
    struct mtls_peer_check check; /* copied */
};

/* Starts the handshake over lower (taken). The result's on_ready fires with IO_READ|IO_WRITE when the
 * handshake is done or failed; until then operations give RC_AGAIN, after a failure its reason
 * (RC_TLS, RC_CERT, RC_IDENTITY, RC_TIMEOUT, RC_RESET). Set io->on_ready and owner right after. */
struct io *mtls_start(struct loop *l, struct mtls_ctx *ctx, struct io *lower,
                      const struct mtls_opts *o);
bool mtls_ready(const struct io *io); /* handshake finished well */
struct identity *
mtls_peer(const struct io *io);              /* borrowed; NULL: no certificate or no SPIFFE SAN */
const char *mtls_error(const struct io *io); /* text for the log, "" when none */
