#include "lib/ca/ca_client.h"

#include <stdio.h>

#include "lib/base/must.h"
#include "lib/ca/ca_msg.h"

#define VALID_S 86400

struct ca_client {
    struct loop *loop;
    struct channel *channel;
    int64_t valid_s;
    bool impersonate;
    struct list requests;
};

struct ca_request {
    struct ca_client *client;
    struct list node;
    struct identity *id;
    ca_done_fn *done;
    void *owner;
    EVP_PKEY *key;
    struct channel_wait wait;
    struct grpc_call *call; /* NULL: waits for the channel */
    struct loop_timer deadline;
    struct strbuf answer;
};

static void request_free(struct ca_request *r)
{
    list_del(&r->node);
    channel_wait_cancel(&r->wait);
    if (r->call)
        grpc_cancel(r->call);
    loop_timer_clear(&r->deadline);
    strbuf_fini(&r->answer);
    EVP_PKEY_free(r->key);
    identity_unref(r->id);
    mem_free(r);
}

static void finish(struct ca_request *r, const struct ca_result *result)
{
    ca_done_fn *done = r->done;
    void *owner = r->owner;
    request_free(r);
    done(owner, result);
}

static void fail(struct ca_request *r, enum rc rc, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void fail(struct ca_request *r, enum rc rc, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    finish(r, &(struct ca_result){.rc = rc, .error = text});
}

/* -- the answer -- */

static void x509_list_free(STACK_OF(X509) * s)
{
    OSSL_STACK_OF_X509_free(s);
}
DEFINE_AUTO(STACK_OF(X509) *, x509_list_free)

/* All elements but the last: leaf first. */
static enum rc join_chain(const struct ca_chain *m, STACK_OF(X509) * *ret, struct errmsg *ret_msg)
{
    STACK_OF(X509) * all AUTO(x509_list_free) = sk_X509_new_null();
    MUST(all);
    for (size_t i = 0; i + 1 < m->n; i++) {
        STACK_OF(X509) * part AUTO(x509_list_free) = NULL;
        enum rc rc = cert_list_parse(m->pem[i], CERT_CHAIN_MAX, &part, ret_msg);
        if (rc != RC_OK)
            return rc;
        X509 *x;
        while ((x = sk_X509_shift(part)))
            MUST(sk_X509_push(all, x) > 0);
    }
    *ret = TAKE(all);
    return RC_OK;
}

static enum rc check_cert(const struct cert *c, const struct identity *want,
                          const struct trust *trust, struct errmsg *ret_msg)
{
    if (!c->id || !identity_eq(c->id, want)) {
        errmsg_set(ret_msg, "it names %.*s",
                   STR_ARG(c->id ? c->id->uri : STR("no identity of a workload")));
        return RC_CERT;
    }
    enum rc rc = cert_verify(c->leaf, c->chain, trust, X509_PURPOSE_SSL_CLIENT, ret_msg);
    if (rc == RC_OK)
        rc = cert_verify(c->leaf, c->chain, trust, X509_PURPOSE_SSL_SERVER, ret_msg);
    return rc;
}

static enum rc read_answer(const struct ca_request *r, struct cert **ret_cert,
                           struct trust **ret_trust, struct errmsg *ret_msg)
{
    struct ca_chain m;
    STACK_OF(X509) * chain AUTO(x509_list_free) = NULL;
    struct cert *cert AUTO(cert_unref) = NULL;
    struct trust *trust AUTO(trust_unref) = NULL;
    enum rc rc = ca_chain_decode(strbuf_str(&r->answer), &m);
    if (rc != RC_OK) {
        errmsg_set(ret_msg, "it is malformed");
        return rc;
    }
    if (m.n < 2) {
        errmsg_set(ret_msg, m.n ? "it holds no trust roots" : "it is empty");
        return RC_CERT;
    }
    rc = join_chain(&m, &chain, ret_msg);
    if (rc == RC_OK)
        rc = trust_parse(m.pem[m.n - 1], &trust, ret_msg);
    if (rc == RC_OK)
        rc = cert_make(chain, r->key, &cert, ret_msg);
    if (rc == RC_OK)
        rc = check_cert(cert, r->id, trust, ret_msg);
    if (rc != RC_OK)
        return rc;
    *ret_cert = TAKE(cert);
    *ret_trust = TAKE(trust);
    return RC_OK;
}

static void on_part(void *owner, const void *p, size_t n, size_t at, size_t total)
{
    (void)total;
    struct ca_request *r = owner;
    if (at == 0)
        strbuf_reset(&r->answer);
    strbuf_add(&r->answer, p, n);
}

static void on_done(void *owner, enum grpc_status status, struct str message)
{
    struct ca_request *r = owner;
    const char *url = channel_url(r->client->channel);
    struct cert *cert AUTO(cert_unref) = NULL;
    struct trust *trust AUTO(trust_unref) = NULL;
    struct errmsg msg = {""};
    r->call = NULL;
    if (status != GRPC_OK) {
        enum rc rc = RC_STATUS;
        if (status == GRPC_UNAUTHENTICATED || status == GRPC_PERMISSION_DENIED)
            rc = RC_UNAUTHENTICATED;
        if (status == GRPC_UNAVAILABLE)
            rc = RC_IO;
        fail(r, rc, "%s refused: %s: %.*s", url, grpc_status_name(status), STR_ARG(message));
        return;
    }
    if (read_answer(r, &cert, &trust, &msg) != RC_OK) {
        fail(r, RC_CERT, "the answer of %s can't be used: %s", url, msg.text);
        return;
    }
    finish(r, &(struct ca_result){.rc = RC_OK, .cert = cert, .trust = trust, .error = ""});
}

static const struct grpc_ops call_ops = {.on_part = on_part, .on_done = on_done};

/* -- the request -- */

static void on_deadline(void *owner)
{
    struct ca_request *r = owner;
    fail(r, RC_TIMEOUT, "%s gave no answer within %d s", channel_url(r->client->channel),
         CA_DEADLINE_MS / 1000);
}

static void on_ready(void *owner, struct h2_session *s, const char *error)
{
    struct ca_request *r = owner;
    struct ca_client *c = r->client;
    struct errmsg msg = {""};
    struct strbuf csr AUTO_STRBUF, bytes AUTO_STRBUF;
    strbuf_init(&csr, CSR_PEM_MAX);
    strbuf_init(&bytes, CA_REQUEST_MAX);
    if (!s) {
        fail(r, RC_IO, "%s", error);
        return;
    }
    if (key_new(&r->key) != RC_OK || csr_make(r->key, r->id, &csr) != RC_OK) {
        fail(r, RC_CERT, "a key or signing request can't be made");
        return;
    }
    r->call = channel_call(c->channel, s, CA_PATH, CA_RESPONSE_MAX, &call_ops, r, &msg);
    if (!r->call) {
        fail(r, RC_IO, "%s", msg.text);
        return;
    }
    struct ca_csr m = {.csr = strbuf_str(&csr), .valid_s = c->valid_s};
    if (c->impersonate)
        m.impersonated = r->id->uri;
    ca_csr_encode(&m, &bytes);
    grpc_send(r->call, bytes.p, bytes.n);
    grpc_half_close(r->call);
}

static void *request(void *self, struct identity *id, ca_done_fn *done, void *owner)
{
    struct ca_client *c = self;
    struct ca_request *r = mem_new(struct ca_request);
    r->client = c;
    r->id = identity_ref(id);
    r->done = done;
    r->owner = owner;
    list_push_back(&c->requests, &r->node);
    strbuf_init(&r->answer, CA_RESPONSE_MAX);
    loop_timer_init(&r->deadline, c->loop, on_deadline, r);
    loop_timer_set(&r->deadline, CA_DEADLINE_MS);
    channel_get(c->channel, &r->wait, on_ready, r);
    return r;
}

static void cancel(void *self, void *handle)
{
    (void)self;
    request_free(handle);
}

enum rc ca_client_new(struct loop *l, const struct ca_client_opts *o, struct ca_client **ret,
                      struct errmsg *ret_msg)
{
    struct channel *ch = NULL;
    enum rc rc = channel_new(l, &o->channel, &ch, ret_msg);
    if (rc != RC_OK)
        return rc;
    struct ca_client *c = mem_new(struct ca_client);
    c->loop = l;
    c->channel = ch;
    c->valid_s = o->valid_s ? o->valid_s : VALID_S;
    c->impersonate = o->impersonate;
    list_init(&c->requests);
    *ret = c;
    return RC_OK;
}

void ca_client_free(struct ca_client *c)
{
    if (!c)
        return;
    MUST(list_empty(&c->requests)); /* their owner would wait for ever */
    channel_free(c->channel);
    mem_free(c);
}

struct ca_issuer ca_client_issuer(struct ca_client *c)
{
    return (struct ca_issuer){.self = c, .request = request, .cancel = cancel};
}
