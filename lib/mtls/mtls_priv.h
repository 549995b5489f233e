/* Between the two files of this folder: how sessions are configured (mtls_ctx.c) and how their
 * bytes move (mtls.c). */
#pragma once

#include <openssl/ssl.h>

#include "lib/mtls/mtls.h"

/* What SSL_new() is given. Serves both roles: SSL_set_accept_state() or SSL_set_connect_state()
 * choose. Borrowed; an SSL holds a reference of its own. Any thread. */
SSL_CTX *mtls_ctx_ssl(const struct mtls_ctx *c, bool server);

/* After SSL_do_handshake() gave 1 and before any byte is sent or read: ALPN, then who the peer is.
 * check is looked at as its mode says (see mtls_mode). *ret_peer is a new reference or NULL (no
 * certificate, or none with a SPIFFE SAN, where that is legal).
 * RC_TLS: no ALPN h2. RC_CERT: no certificate, another name. RC_IDENTITY: another identity. */
NODISCARD enum rc mtls_verify_peer(SSL *ssl, const struct mtls_peer_check *check, bool server,
                                   struct identity **ret_peer, struct errmsg *ret_msg);

/* After a failure (SSL_ERROR_SSL) of a handshake or of a later read: RC_CERT when a certificate was
 * the reason, ours in the peer's eyes or the peer's in ours, else RC_TLS; with the reason for the
 * log. Empties this thread's error queue. */
enum rc mtls_failure(const SSL *ssl, struct errmsg *ret_msg);
