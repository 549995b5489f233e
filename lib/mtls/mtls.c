/* Sessions: OpenSSL between a byte pipe below and whoever reads and writes above.
 *
 * Ciphertext goes through two buffers of the thread, not of the session: an idle session holds
 * none. What an operation could not finish with (a record cut in two by the reader's limit, bytes
 * that the pipe below does not take) is copied to the session and served first the next time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "lib/base/mem.h"
#include "lib/base/must.h"
#include "lib/base/scratch.h"
#include "lib/mtls/mtls_priv.h"
#include "lib/net/addr.h"

#define CIPHER_IN_CAP  (256 * 1024)
/* one write of the layer above (256 KiB), its records' overhead, and room for handshake messages */
#define CIPHER_OUT_CAP (256 * 1024 + 64 * 1024)

struct held { /* bytes copied from a thread buffer */
    char *p;
    size_t at, n;
};

struct mtls {
    struct io io;
    struct loop *loop;
    struct mtls_ctx *ctx;
    SSL *ssl;
    struct io *lower;
    struct loop_timer deadline;
    struct loop_task told; /* IO edges to be told at the end of the turn */
    struct held in, out;
    struct identity *peer;
    struct identity **any_of; /* counted copies */
    size_t n_any_of;
    char *trust_domain, *dns_name;
    bool server, open, shut, lower_shut, lower_eof;
    enum rc failed; /* why the session is over, RC_OK while it is not */
    char error[160];
};

/* The buffers of a thread; one session uses them at a time, within one call. */
struct cipher_buf {
    struct mtls *user;
    size_t in_at, in_n, out_n;
    char in[CIPHER_IN_CAP];
    char out[CIPHER_OUT_CAP];
};
static _Thread_local struct cipher_buf *cipher;

static struct mtls *mtls_of(const struct io *io)
{
    return container_of((uintptr_t)io, struct mtls, io);
}

/* -- thread buffers -- */

static void cipher_begin(struct mtls *m)
{
    cipher = scratch_get(SCRATCH_TLS, sizeof(*cipher));
    MUST(!cipher->user);
    cipher->user = m;
    cipher->in_at = cipher->in_n = cipher->out_n = 0;
}

static void held_drop(struct held *h)
{
    free(h->p);
    *h = (struct held){0};
}

static void held_put(struct held *h, const char *p, size_t n)
{
    MUST(!h->p);
    if (n)
        *h = (struct held){.p = mem_dup(p, n), .n = n};
}

/* Ciphertext to the pipe below; what it does not take stays held. */
static enum rc push_out(struct mtls *m, const char *p, size_t n)
{
    for (size_t at = 0; at < n;) {
        struct io_result r = io_write(m->lower, p + at, n - at);
        if (r.rc != RC_OK) {
            if (r.rc == RC_AGAIN)
                held_put(&m->out, p + at, n - at);
            return r.rc;
        }
        at += r.n;
    }
    return RC_OK;
}

static enum rc push_held(struct mtls *m)
{
    if (!m->out.p)
        return RC_OK;
    struct held h = m->out;
    m->out = (struct held){0};
    enum rc rc = push_out(m, h.p + h.at, h.n - h.at);
    free(h.p);
    return rc;
}

/* Ends the use of the thread's buffers: sends what OpenSSL wrote, keeps what it has not read. */
static enum rc cipher_end(struct mtls *m)
{
    if (cipher->in_at < cipher->in_n) {
        MUST(!m->in.p);
        held_put(&m->in, cipher->in + cipher->in_at, cipher->in_n - cipher->in_at);
    }
    enum rc rc = RC_OK;
    size_t n = cipher->out_n;
    cipher->user = NULL;
    if (n && m->out.p) { /* an alert or key update behind bytes that still wait */
        struct held h = {.n = m->out.n - m->out.at + n};
        h.p = mem_alloc(h.n);
        memcpy(h.p, m->out.p + m->out.at, h.n - n);
        memcpy(h.p + h.n - n, cipher->out, n);
        free(m->out.p);
        m->out = h;
        rc = push_held(m);
    } else if (n) {
        rc = push_out(m, cipher->out, n);
    }
    return rc == RC_AGAIN ? RC_OK : rc;
}

/* -- the BIO under OpenSSL -- */

static int bio_write(BIO *bio, const char *p, size_t n, size_t *ret_n)
{
    (void)bio;
    if (n > CIPHER_OUT_CAP - cipher->out_n)
        return 0; /* can't happen: writes are cut to what fits */
    memcpy(cipher->out + cipher->out_n, p, n);
    cipher->out_n += n;
    *ret_n = n;
    return 1;
}

static int bio_read(BIO *bio, char *dst, size_t cap, size_t *ret_n)
{
    struct mtls *m = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (m->in.p) {
        *ret_n = MIN(cap, m->in.n - m->in.at);
        memcpy(dst, m->in.p + m->in.at, *ret_n);
        if ((m->in.at += *ret_n) == m->in.n)
            held_drop(&m->in);
        return 1;
    }
    if (cipher->in_at == cipher->in_n) {
        struct io_result r = io_read(m->lower, cipher->in, CIPHER_IN_CAP);
        if (r.rc != RC_OK) {
            *ret_n = 0;
            if (r.rc == RC_AGAIN)
                BIO_set_retry_read(bio);
            else if (r.rc == RC_EOF)
                m->lower_eof = true;
            else
                m->failed = r.rc;
            return 0;
        }
        cipher->in_at = 0;
        cipher->in_n = r.n;
    }
    *ret_n = MIN(cap, cipher->in_n - cipher->in_at);
    memcpy(dst, cipher->in + cipher->in_at, *ret_n);
    cipher->in_at += *ret_n;
    return 1;
}

static long bio_ctrl(BIO *bio, int cmd, long n, void *p)
{
    (void)n, (void)p;
    const struct mtls *m = BIO_get_data(bio);
    switch (cmd) {
    case BIO_CTRL_FLUSH: return 1;
    case BIO_CTRL_EOF:   return m->lower_eof;
    default:             return 0;
    }
}

static BIO_METHOD *bio_method;

__attribute__((constructor)) static void bio_method_make(void)
{
    bio_method = BIO_meth_new(BIO_TYPE_SOURCE_SINK | 99, "mesh io");
    MUST(bio_method);
    BIO_meth_set_write_ex(bio_method, bio_write);
    BIO_meth_set_read_ex(bio_method, bio_read);
    BIO_meth_set_ctrl(bio_method, bio_ctrl);
}

/* -- failures -- */

static enum rc fail(struct mtls *m, enum rc why)
{
    if (m->failed == RC_OK)
        m->failed = why;
    return m->failed;
}

/* After an OpenSSL call that did not succeed: RC_AGAIN, RC_EOF or the failure. */
static enum rc ssl_outcome(struct mtls *m, int ret)
{
    struct errmsg msg = {""};
    int err = SSL_get_error(m->ssl, ret);
    switch (err) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:  return RC_AGAIN;
    case SSL_ERROR_ZERO_RETURN: return RC_EOF;
    default:                    ERR_clear_error(); return fail(m, RC_RESET);
    case SSL_ERROR_SSL:
        if (m->failed != RC_OK) { /* the pipe below told more than OpenSSL knows */
            ERR_clear_error();
            return m->failed;
        }
        if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
            ERR_clear_error();
            snprintf(m->error, sizeof(m->error), "the peer closed the connection %s",
                     m->open ? "without close_notify" : "during the handshake");
            return fail(m, m->open ? RC_RESET : RC_TLS);
        }
        enum rc rc = mtls_failure(m->ssl, &msg);
        snprintf(m->error, sizeof(m->error), "%.150s", msg.text);
        return fail(m, m->open ? RC_TLS : rc);
    }
}

/* -- handshake -- */

static void tell(struct mtls *m)
{
    loop_defer(m->loop, &m->told, LOOP_WORK);
}

static void on_told(void *owner)
{
    struct mtls *m = owner;
    if (m->io.on_ready)
        m->io.on_ready(m->io.owner, IO_READ | IO_WRITE);
}

static void opened(struct mtls *m)
{
    struct errmsg msg = {""};
    struct mtls_peer_check check = {
        .any_of = m->any_of,
        .n_any_of = m->n_any_of,
        .trust_domain = str_of(m->trust_domain),
        .dns_name = m->dns_name,
    };
    enum rc rc = mtls_verify_peer(m->ssl, &check, m->server, &m->peer, &msg);
    if (rc != RC_OK) {
        snprintf(m->error, sizeof(m->error), "%.150s", msg.text);
        fail(m, rc);
        return;
    }
    m->open = true;
}

static void handshake(struct mtls *m)
{
    cipher_begin(m);
    int ret = SSL_do_handshake(m->ssl);
    enum rc rc = ret == 1 ? RC_OK : ssl_outcome(m, ret);
    if (rc == RC_OK)
        opened(m);
    enum rc out = cipher_end(m); /* alerts too */
    if (out != RC_OK)
        fail(m, out);
    if (rc == RC_AGAIN && m->failed == RC_OK)
        return;
    if (rc == RC_EOF)
        fail(m, RC_TLS);
    loop_timer_clear(&m->deadline);
    tell(m);
}

static void on_deadline(void *owner)
{
    struct mtls *m = owner;
    snprintf(m->error, sizeof(m->error), "no answer within the handshake's deadline");
    fail(m, RC_TIMEOUT);
    tell(m);
}

static void on_lower(void *owner, unsigned ready)
{
    struct mtls *m = owner;
    if (m->failed != RC_OK)
        return;
    if (ready & IO_WRITE) {
        enum rc rc = push_held(m);
        if (rc != RC_OK && rc != RC_AGAIN)
            fail(m, rc);
        else if (rc == RC_OK && m->shut && !m->lower_shut)
            m->lower_shut = io_shut_write(m->lower) == RC_OK;
    }
    if (!m->open && m->failed == RC_OK) {
        handshake(m);
        return;
    }
    if (m->io.on_ready)
        m->io.on_ready(m->io.owner, (ready & IO_READ) | (m->out.p ? 0 : ready & IO_WRITE) |
                                        (m->failed ? IO_READ | IO_WRITE : 0));
}

/* -- the pipe's operations -- */

static struct io_result mtls_read(struct io *io, void *dst, size_t cap)
{
    struct mtls *m = mtls_of(io);
    if (!m->open || m->failed != RC_OK)
        return (struct io_result){0, m->failed != RC_OK ? m->failed : RC_AGAIN};
    cipher_begin(m);
    size_t n = 0;
    enum rc rc = RC_OK;
    while (n < cap) {
        size_t got;
        int ret = SSL_read_ex(m->ssl, (char *)dst + n, cap - n, &got);
        if (ret != 1) {
            rc = ssl_outcome(m, ret);
            break;
        }
        n += got;
    }
    enum rc out = cipher_end(m);
    if (out != RC_OK)
        fail(m, out);
    if (n) /* what came before an end is told first; the end shows at the next read */
        return (struct io_result){n, RC_OK};
    return (struct io_result){0, rc};
}

static struct io_result mtls_writev(struct io *io, const struct iovec *iov, int cnt)
{
    struct mtls *m = mtls_of(io);
    if (m->failed != RC_OK)
        return (struct io_result){0, m->failed};
    if (!m->open || m->out.p)
        return (struct io_result){0, RC_AGAIN};
    cipher_begin(m);
    size_t total = 0;
    enum rc rc = RC_OK;
    for (int i = 0; i < cnt; i++) {
        /* 16 KiB a record, 22 bytes more each; what would not fit is not taken */
        size_t n = MIN(iov[i].iov_len, (size_t)256 * 1024 - total);
        for (size_t at = 0, took; at < n && rc == RC_OK; at += took, total += took) {
            int ret = SSL_write_ex(m->ssl, (char *)iov[i].iov_base + at, n - at, &took);
            if (ret != 1) {
                rc = ssl_outcome(m, ret);
                took = 0;
            }
        }
    }
    enum rc out = cipher_end(m);
    if (out != RC_OK)
        rc = fail(m, out);
    if (rc != RC_OK && rc != RC_AGAIN)
        return (struct io_result){0, rc};
    return (struct io_result){total, total ? RC_OK : RC_AGAIN};
}

static enum rc mtls_shut_write(struct io *io)
{
    struct mtls *m = mtls_of(io);
    if (m->failed != RC_OK)
        return m->failed;
    if (m->shut)
        return RC_OK;
    m->shut = true;
    if (m->open) {
        cipher_begin(m);
        SSL_shutdown(m->ssl);
        ERR_clear_error();
        enum rc rc = cipher_end(m);
        if (rc != RC_OK)
            return fail(m, rc);
    }
    if (!m->out.p)
        m->lower_shut = io_shut_write(m->lower) == RC_OK;
    return RC_OK;
}

static void mtls_close(struct io *io, enum rc why)
{
    struct mtls *m = mtls_of(io);
    if (m->failed == RC_OK && m->open && !m->shut)
        (void)mtls_shut_write(io);
    loop_timer_clear(&m->deadline);
    loop_task_cancel(&m->told);
    SSL_free(m->ssl);
    io_close(m->lower, why);
    held_drop(&m->in);
    held_drop(&m->out);
    identity_unref(m->peer);
    for (size_t i = 0; i < m->n_any_of; i++)
        identity_unref(m->any_of[i]);
    free(m->any_of);
    free(m->trust_domain);
    free(m->dns_name);
    mtls_ctx_unref(m->ctx);
    free(m);
}

static const struct io_ops mtls_ops = {
    .name = "mtls",
    .read = mtls_read,
    .writev = mtls_writev,
    .shut_write = mtls_shut_write,
    .close = mtls_close,
};

/* -- start -- */

static void copy_check(struct mtls *m, const struct mtls_peer_check *c)
{
    m->any_of = mem_calloc(c->n_any_of, sizeof(struct identity *));
    m->n_any_of = c->n_any_of;
    for (size_t i = 0; i < c->n_any_of; i++)
        m->any_of[i] = identity_ref(c->any_of[i]);
    m->trust_domain = c->trust_domain.n ? str_dup(c->trust_domain) : NULL;
    m->dns_name = mem_strdup(c->dns_name);
}

struct io *mtls_start(struct loop *l, struct mtls_ctx *ctx, struct io *lower,
                      const struct mtls_opts *o)
{
    struct mtls *m = mem_new(struct mtls);
    m->io.ops = &mtls_ops;
    m->loop = l;
    m->ctx = mtls_ctx_ref(ctx);
    m->lower = lower;
    m->server = o->server;
    copy_check(m, &o->check);
    loop_timer_init(&m->deadline, l, on_deadline, m);
    loop_task_init(&m->told, on_told, m);
    m->ssl = SSL_new(mtls_ctx_ssl(ctx, o->server));
    BIO *bio = BIO_new(bio_method);
    MUST(m->ssl && bio);
    BIO_set_data(bio, m);
    BIO_set_init(bio, 1);
    SSL_set_bio(m->ssl, bio, bio);
    struct addr ip;
    if (m->dns_name && addr_parse_ip(str_of(m->dns_name), &ip) != RC_OK)
        MUST(SSL_set_tlsext_host_name(m->ssl, m->dns_name) == 1);
    if (o->server)
        SSL_set_accept_state(m->ssl);
    else
        SSL_set_connect_state(m->ssl);
    loop_timer_set(&m->deadline, o->handshake_ms ? o->handshake_ms : 10000);
    lower->on_ready = on_lower;
    lower->owner = m;
    handshake(m); /* a client speaks first; a server's bytes may be there */
    return &m->io;
}

bool mtls_ready(const struct io *io)
{
    const struct mtls *m = mtls_of(io);
    return m->open && m->failed == RC_OK;
}

struct identity *mtls_peer(const struct io *io)
{
    return mtls_of(io)->peer;
}

const char *mtls_error(const struct io *io)
{
    return mtls_of(io)->error;
}
