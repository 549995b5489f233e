/* How sessions are configured: one SSL_CTX for each certificate, shared by both directions. */
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "lib/base/must.h"
#include "lib/mtls/mtls_priv.h"

/* X25519 first: it is the only key share in our ClientHello (OpenSSL's default would add ML-KEM, 1.2 kB
 * that no peer of the mesh needs); P-384 is there for peers that have nothing else in common. */
#define GROUPS         "X25519:P-256:P-384"
#define SUITES_TLS13   "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384"
#define CIPHERS_TLS12  "ECDHE+AESGCM"
/* Bytes of certificates a peer may send; a chain of 8 with RSA keys needs about 16 kB. */
#define PEER_CERTS_MAX (64 * 1024)

struct mtls_ctx {
    struct ref ref;
    enum mtls_mode mode;
    struct cert *cert;
    struct trust *trust;
    SSL_CTX *ssl;
};

static const unsigned char alpn_h2[] = {2, 'h', '2'};

/* A client that offers protocols has to offer h2; one that offers none is caught afterwards. */
static int select_h2(SSL *ssl, const unsigned char **out, unsigned char *outlen,
                     const unsigned char *in, unsigned inlen, void *arg)
{
    (void)ssl, (void)arg;
    for (unsigned i = 0; i < inlen; i += in[i] + 1u) {
        if (in[i] == 2 && i + 2 < inlen && memcmp(in + i + 1, "h2", 2) == 0) {
            *out = in + i + 1;
            *outlen = 2;
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static bool set_protocol(SSL_CTX *ssl, enum mtls_mode mode)
{
    SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    /* NO_AUTO_CHAIN: else OpenSSL completes the chain from the trust roots and sends them along */
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN |
                              SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_security_level(ssl, 2);
    SSL_CTX_set_max_cert_list(ssl, PEER_CERTS_MAX);
    SSL_CTX_set_alpn_select_cb(ssl, select_h2, NULL);
    char groups[] = GROUPS; /* the macro below casts const away */
    int least = mode == MTLS_MESH ? TLS1_3_VERSION : TLS1_2_VERSION;
    return SSL_CTX_set_num_tickets(ssl, 0) && SSL_CTX_set_min_proto_version(ssl, least) &&
           SSL_CTX_set_ciphersuites(ssl, SUITES_TLS13) &&
           SSL_CTX_set_cipher_list(ssl, CIPHERS_TLS12) && SSL_CTX_set1_groups_list(ssl, groups) &&
           SSL_CTX_set_alpn_protos(ssl, alpn_h2, sizeof(alpn_h2)) == 0;
}

/* The purpose (clientAuth of clients, serverAuth of servers) is OpenSSL's default for the role. */
static bool set_trust(SSL_CTX *ssl, enum mtls_mode mode, const struct trust *trust)
{
    int verify = SSL_VERIFY_PEER;
    if (mode == MTLS_MESH)
        verify |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(ssl, verify, NULL);
    SSL_CTX_set_verify_depth(ssl, CERT_DEPTH_MAX);
    X509_STORE *store = SSL_CTX_get_cert_store(ssl);
    for (int i = 0; i < sk_X509_num(trust->roots); i++)
        if (!X509_STORE_add_cert(store, sk_X509_value(trust->roots, i)))
            return false;
    /* whatever the operator lists is an anchor, self-signed or not: so do Istio's proxies */
    return X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN) == 1;
}

enum rc mtls_ctx_new(enum mtls_mode mode, struct cert *cert, struct trust *trust,
                     struct mtls_ctx **ret, struct errmsg *ret_msg)
{
    MUST(cert || mode == MTLS_CLIENT_DNS);
    cert_init();
    struct mtls_ctx *c = mem_new(struct mtls_ctx);
    ref_init(&c->ref);
    c->mode = mode;
    c->cert = cert ? cert_ref(cert) : NULL;
    c->trust = trust_ref(trust);
    c->ssl = SSL_CTX_new(TLS_method());
    if (!c->ssl || !set_protocol(c->ssl, mode) || !set_trust(c->ssl, mode, trust) ||
        (cert && !SSL_CTX_use_cert_and_key(c->ssl, cert->leaf, cert->key, cert->chain, 1))) {
        cert_errmsg(ret_msg, "the TLS library refuses the certificate");
        mtls_ctx_unref(c);
        return RC_CERT;
    }
    SSL_CTX_set_app_data(c->ssl, (void *)(intptr_t)mode);
    ERR_clear_error();
    *ret = c;
    return RC_OK;
}

struct mtls_ctx *mtls_ctx_ref(struct mtls_ctx *c)
{
    ref_get(&c->ref);
    return c;
}

void mtls_ctx_unref(struct mtls_ctx *c)
{
    if (!c || !ref_put(&c->ref))
        return;
    SSL_CTX_free(c->ssl);
    cert_unref(c->cert);
    trust_unref(c->trust);
    mem_free(c);
}

struct cert *mtls_ctx_cert(const struct mtls_ctx *c)
{
    return c->cert;
}

struct trust *mtls_ctx_trust(const struct mtls_ctx *c)
{
    return c->trust;
}

SSL_CTX *mtls_ctx_ssl(const struct mtls_ctx *c, bool server)
{
    MUST(server ? c->mode != MTLS_CLIENT_DNS : c->mode != MTLS_SERVER_PUBLIC);
    return c->ssl;
}

/* -- who the peer is -- */

struct peer_search {
    const struct mtls_peer_check *check;
    bool server;
    struct identity *first, *match; /* references */
};

/* Several SPIFFE names in one certificate are unusual but legal in Istio: the one that fits counts. */
static bool peer_fits(void *arg, struct identity *id)
{
    struct peer_search *s = arg;
    if (!s->first)
        s->first = identity_ref(id);
    bool fits = false;
    if (s->server) {
        fits = s->check->trust_domain.n == 0 || str_eq(s->check->trust_domain, id->trust_domain);
    } else {
        for (size_t i = 0; !fits && i < s->check->n_any_of; i++)
            fits = identity_eq(s->check->any_of[i], id);
    }
    if (fits)
        s->match = identity_ref(id);
    return fits;
}

static enum rc verify_spiffe(X509 *x, const struct mtls_peer_check *check, bool server,
                             struct identity **ret_peer, struct errmsg *ret_msg)
{
    struct peer_search s = {.check = check, .server = server};
    enum rc rc = cert_each_identity(x, peer_fits, &s) ? RC_OK : RC_IDENTITY;
    if (rc == RC_OK)
        *ret_peer = s.match;
    else if (!s.first)
        errmsg_set(ret_msg, "the peer's certificate has no SPIFFE identity");
    else if (server)
        errmsg_set(ret_msg, "the peer is %.*s, trust domain %.*s is required",
                   STR_ARG(s.first->uri), STR_ARG(check->trust_domain));
    else
        errmsg_set(ret_msg, "the peer is %.*s, expected %.*s%s", STR_ARG(s.first->uri),
                   STR_ARG(check->n_any_of ? check->any_of[0]->uri : STR("nobody")),
                   check->n_any_of > 1 ? " or another of the service" : "");
    identity_unref(s.first);
    return rc;
}

static enum rc verify_name(X509 *x, const char *name, struct errmsg *ret_msg)
{
    enum { NOT_AN_ADDRESS = -2 };
    int match = name ? X509_check_ip_asc(x, name, 0) : 0;
    if (match == NOT_AN_ADDRESS)
        match = X509_check_host(
            x, name, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT,
            NULL);
    ERR_clear_error();
    if (match == 1)
        return RC_OK;
    errmsg_set(ret_msg, "the server's certificate is not for \"%s\"", name ? name : "");
    return RC_CERT;
}

enum rc mtls_verify_peer(SSL *ssl, const struct mtls_peer_check *check, bool server,
                         struct identity **ret_peer, struct errmsg *ret_msg)
{
    enum mtls_mode mode = (enum mtls_mode)(intptr_t)SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    *ret_peer = NULL;
    const unsigned char *alpn = NULL;
    unsigned n = 0;
    SSL_get0_alpn_selected(ssl, &alpn, &n);
    if (n != 2 || memcmp(alpn, "h2", 2) != 0) {
        errmsg_set(ret_msg, "the peer does not speak HTTP/2 (no ALPN h2)");
        return RC_TLS;
    }
    X509 *x = SSL_get0_peer_certificate(ssl);
    if (!x && mode == MTLS_SERVER_PUBLIC)
        return RC_OK;
    if (!x || SSL_get_verify_result(ssl) != X509_V_OK) {
        errmsg_set(ret_msg, "no verified certificate of the peer");
        return RC_CERT;
    }
    switch (mode) {
    case MTLS_MESH: return verify_spiffe(x, check, server, ret_peer, ret_msg);
    case MTLS_SERVER_PUBLIC:
        if (check->trust_domain.n)
            return verify_spiffe(x, check, true, ret_peer, ret_msg);
        if (cert_identity(x, ret_peer) != RC_OK)
            *ret_peer = NULL; /* a certificate without identity proves nothing we use */
        return RC_OK;
    case MTLS_CLIENT_DNS: return verify_name(x, check->dns_name, ret_msg);
    }
    return RC_CERT;
}

/* -- why it failed -- */

static bool about_certificates(int reason)
{
    switch (reason) {
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:     return true;
    default:                                        return false;
    }
}

enum rc mtls_failure(const SSL *ssl, struct errmsg *ret_msg)
{
    int reason = ERR_GET_REASON(ERR_peek_error());
    long verify = SSL_get_verify_result(ssl);
    if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED && verify != X509_V_OK) {
        errmsg_set(ret_msg, "the peer's certificate is refused: %s",
                   X509_verify_cert_error_string(verify));
        ERR_clear_error();
        return RC_CERT;
    }
    const char *text = ERR_reason_error_string(ERR_peek_error());
    errmsg_set(ret_msg, "%s", text ? text : "the peer broke the TLS session");
    ERR_clear_error();
    return about_certificates(reason) ? RC_CERT : RC_TLS;
}
