#include "lib/ca/certs.h"

#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/hash.h"
#include "lib/base/htab.h"
#include "lib/base/list.h"
#include "lib/base/must.h"

#define CHECK_MS ((int64_t)3600 * 1000) /* the wall clock is looked at again at least so often */

/* What an identity does. */
enum want_state {
    WANT_QUEUED, /* waits for one of the flights */
    WANT_FLIGHT, /* a request is under way */
    WANT_REST,   /* for the time of renewal, or of the next attempt */
};

struct want {
    struct hnode node;
    struct certs *certs;
    struct identity *id;
    enum want_state state;
    enum certs_prio prio;
    struct list queue; /* while queued */
    void *request;     /* while in flight */
    struct loop_timer timer;
    struct mtls_ctx *ctx; /* in use, NULL: none yet, or expired */
    int64_t renew_at_s;   /* with ctx, when the last attempt succeeded */
    int64_t retry_at_ms;  /* after a failure */
    unsigned failures;    /* in a row */
    char *error;          /* of the last one */
};

struct certs {
    struct loop *loop;
    struct certs_opts o;
    struct htab wants;
    struct list queue[CERTS_PRIOS];
    size_t flights;
};

static int64_t wall_s(void)
{
    return clock_wall_us() / 1000000;
}

/* -- queue -- */

static void on_done(void *owner, const struct ca_result *r);
static void on_timer(void *owner);

static void pump(struct certs *c)
{
    for (int prio = 0; prio < CERTS_PRIOS; prio++) {
        while (c->flights < CERTS_FLIGHTS && !list_empty(&c->queue[prio])) {
            struct want *w = LIST_FIRST(&c->queue[prio], struct want, queue);
            list_del(&w->queue);
            c->flights++;
            w->state = WANT_FLIGHT;
            w->request = c->o.issuer.request(c->o.issuer.self, w->id, on_done, w);
        }
    }
}

static void enqueue(struct want *w, enum certs_prio prio)
{
    w->state = WANT_QUEUED;
    w->prio = prio;
    list_push_back(&w->certs->queue[prio], &w->queue);
}

/* -- time -- */

static bool due(const struct want *w, int64_t now_s)
{
    if (!w->failures)
        return !w->ctx || now_s >= w->renew_at_s;
    return loop_now(w->certs->loop) >= w->retry_at_ms;
}

static void arm(struct want *w, int64_t now_s)
{
    int64_t in_ms = CHECK_MS; /* and not further: the wall clock may be set meanwhile */
    if (w->state == WANT_REST && w->failures)
        in_ms = MIN(in_ms, w->retry_at_ms - loop_now(w->certs->loop));
    else if (w->state == WANT_REST)
        in_ms = MIN(in_ms, (w->renew_at_s - now_s) * 1000);
    if (w->ctx)
        in_ms = MIN(in_ms, (mtls_ctx_cert(w->ctx)->not_after_s - now_s) * 1000);
    loop_timer_set(&w->timer, MAX(in_ms, 1));
}

/* n ±percent %, uniformly. */
static int64_t jitter(int64_t n, unsigned percent)
{
    int64_t span = n * (int64_t)percent / 100;
    return n - span + (int64_t)rand_below((uint64_t)span * 2 + 1);
}

static int64_t backoff_ms(unsigned failures)
{
    int64_t ms = CERTS_BACKOFF_MS;
    for (unsigned i = 1; i < failures && ms < CERTS_BACKOFF_MAX; i++)
        ms *= 2;
    ms = jitter(MIN(ms, CERTS_BACKOFF_MAX), 20);
    return MIN(ms, CERTS_BACKOFF_MAX);
}

static void notify(struct want *w) /* the last thing a function does: w may be gone after it */
{
    struct certs *c = w->certs;
    struct identity *id = identity_ref(w->id);
    struct mtls_ctx *ctx = w->ctx ? mtls_ctx_ref(w->ctx) : NULL;
    char *error = mem_strdup(w->error);
    c->o.on_change(c->o.owner, id, ctx, error);
    mem_free(error);
    mtls_ctx_unref(ctx);
    identity_unref(id);
}

static void set_error(struct want *w, const char *error)
{
    char *copy = mem_strdup(error); /* error may be the old one */
    mem_free(w->error);
    w->error = copy;
}

static void expire(struct want *w)
{
    mtls_ctx_unref(TAKE(w->ctx));
    char *text =
        mem_printf("the certificate expired%s%s", w->error ? ": " : "", w->error ? w->error : "");
    set_error(w, text);
    mem_free(text);
}

static void on_timer(void *owner)
{
    struct want *w = owner;
    int64_t now_s = w->certs->o.now_s();
    bool expired = w->ctx && now_s >= mtls_ctx_cert(w->ctx)->not_after_s;
    if (expired)
        expire(w);
    if (w->state == WANT_REST && (expired || due(w, now_s)))
        enqueue(w, w->ctx ? CERTS_RENEWAL : CERTS_WARM_UP);
    arm(w, now_s);
    pump(w->certs);
    if (expired)
        notify(w);
}

/* -- results -- */

static enum rc adopt(struct want *w, const struct ca_result *r, int64_t now_s,
                     struct errmsg *ret_msg)
{
    struct mtls_ctx *ctx = NULL;
    enum rc rc = mtls_ctx_new(MTLS_MESH, r->cert, r->trust, &ctx, ret_msg);
    if (rc != RC_OK)
        return rc;
    mtls_ctx_unref(w->ctx);
    w->ctx = ctx;
    w->failures = 0;
    set_error(w, NULL);
    /* half of what remains, not of the whole: short-lived ones are dated back by minutes */
    int64_t rest_s = jitter((r->cert->not_after_s - now_s) / 2, 10);
    w->renew_at_s = now_s + MAX(rest_s, 1);
    return RC_OK;
}

static void on_done(void *owner, const struct ca_result *r)
{
    struct want *w = owner;
    struct certs *c = w->certs;
    struct errmsg msg;
    int64_t now_s = c->o.now_s();
    c->flights--;
    w->request = NULL;
    w->state = WANT_REST;
    const char *error = r->error;
    enum rc rc = r->rc;
    if (rc == RC_OK) {
        rc = adopt(w, r, now_s, &msg);
        error = msg.text;
    }
    if (rc != RC_OK) {
        w->failures++;
        w->retry_at_ms = loop_now(c->loop) + backoff_ms(w->failures);
        set_error(w, error);
    }
    arm(w, now_s);
    pump(c);
    notify(w);
}

/* -- the wanted set -- */

static bool want_eq(const struct hnode *n, const void *key)
{
    return identity_eq(container_of(n, struct want, node)->id, key);
}

static struct want *find(const struct certs *c, const struct identity *id)
{
    struct hnode *n = htab_find(&c->wants, id->hash, want_eq, id);
    return n ? container_of(n, struct want, node) : NULL;
}

static struct want *want_new(struct certs *c, struct identity *id, enum certs_prio prio)
{
    struct want *w = mem_new(struct want);
    w->certs = c;
    w->id = identity_ref(id);
    loop_timer_init(&w->timer, c->loop, on_timer, w);
    htab_insert(&c->wants, &w->node, id->hash);
    enqueue(w, prio);
    return w;
}

static void want_free(struct want *w)
{
    struct certs *c = w->certs;
    if (w->state == WANT_FLIGHT) {
        c->o.issuer.cancel(c->o.issuer.self, w->request);
        c->flights--;
    }
    list_del(&w->queue);
    loop_timer_clear(&w->timer);
    htab_del(&c->wants, &w->node);
    identity_unref(w->id);
    mtls_ctx_unref(w->ctx);
    mem_free(w->error);
    mem_free(w);
}

enum rc certs_want(struct certs *c, struct identity *id, enum certs_prio prio,
                   struct mtls_ctx **ret, struct errmsg *ret_msg)
{
    struct want *w = find(c, id);
    if (!w && c->wants.len >= CERTS_MAX) {
        errmsg_set(ret_msg, "%d identities are in use already", CERTS_MAX);
        return RC_LIMIT;
    }
    if (!w) {
        want_new(c, id, prio);
        pump(c);
        return RC_AGAIN;
    }
    if (w->state == WANT_QUEUED && prio < w->prio) {
        list_del(&w->queue);
        enqueue(w, prio);
    }
    if (w->ctx) {
        *ret = w->ctx;
        return RC_OK;
    }
    if (!w->error)
        return RC_AGAIN;
    errmsg_set(ret_msg, "%s", w->error);
    return RC_NO_CERT;
}

void certs_forget(struct certs *c, const struct identity *id)
{
    struct want *w = find(c, id);
    if (!w)
        return;
    want_free(w);
    pump(c);
}

size_t certs_count(const struct certs *c)
{
    return c->wants.len;
}

size_t certs_flights(const struct certs *c)
{
    return c->flights;
}

struct certs *certs_new(struct loop *l, const struct certs_opts *o)
{
    struct certs *c = mem_new(struct certs);
    c->loop = l;
    c->o = *o;
    if (!c->o.now_s)
        c->o.now_s = wall_s;
    htab_init(&c->wants);
    for (int i = 0; i < CERTS_PRIOS; i++)
        list_init(&c->queue[i]);
    return c;
}

void certs_free(struct certs *c)
{
    if (!c)
        return;
    struct htab_iter it;
    HTAB_FOREACH (n, &c->wants, &it)
        want_free(container_of(n, struct want, node));
    htab_fini(&c->wants);
    mem_free(c);
}

/* -- dump -- */

static void dump_time(struct strbuf *out, const char *key, const ASN1_TIME *t)
{
    char text[32];
    int64_t s;
    if (cert_time(t, &s) != RC_OK)
        s = 0;
    clock_format(text, sizeof(text), s * 1000000);
    strbuf_printf(out, "\"%s\":\"%.19sZ\"", key, text); /* without the fraction */
}

static void dump_cert(struct strbuf *out, X509 *x)
{
    struct strbuf pem AUTO_STRBUF;
    strbuf_init(&pem, CERT_PEM_MAX);
    cert_to_pem(x, &pem);
    unsigned char *b64 AUTO_FREE = mem_alloc(pem.n * 4 / 3 + 8);
    EVP_EncodeBlock(b64, (const unsigned char *)pem.p, (int)pem.n);
    strbuf_printf(out, "{\"pem\":\"%s\",\"serialNumber\":\"", (const char *)b64);
    cert_serial_decimal(x, out);
    strbuf_addz(out, "\",");
    dump_time(out, "validFrom", X509_get0_notBefore(x));
    strbuf_addc(out, ',');
    dump_time(out, "expirationTime", X509_get0_notAfter(x));
    strbuf_addc(out, '}');
}

static void dump_list(struct strbuf *out, const char *key, X509 *first, STACK_OF(X509) * more)
{
    strbuf_printf(out, ",\"%s\":[", key);
    if (first)
        dump_cert(out, first);
    for (int i = 0; i < sk_X509_num(more); i++) {
        if (first || i)
            strbuf_addc(out, ',');
        dump_cert(out, sk_X509_value(more, i));
    }
    strbuf_addc(out, ']');
}

static void dump_want(struct strbuf *out, const struct want *w)
{
    strbuf_addz(out, "{\"identity\":\"");
    strbuf_add_json(out, w->id->uri);
    strbuf_addz(out, "\",\"state\":\"");
    if (w->ctx) {
        strbuf_addz(out, "Available");
    } else if (w->error) {
        strbuf_addz(out, "Unavailable: ");
        strbuf_add_json(out, str_of(w->error));
    } else {
        strbuf_addz(out, "Initializing");
    }
    strbuf_addc(out, '"');
    const struct cert *c = w->ctx ? mtls_ctx_cert(w->ctx) : NULL;
    dump_list(out, "certChain", c ? c->leaf : NULL, c ? c->chain : NULL);
    dump_list(out, "rootCerts", NULL, c ? mtls_ctx_trust(w->ctx)->roots : NULL);
    strbuf_addc(out, '}');
}

static int by_uri(const void *a, const void *b)
{
    const struct want *const *x = a, *const *y = b;
    return str_cmp((*x)->id->uri, (*y)->id->uri);
}

void certs_dump(const struct certs *c, struct strbuf *out)
{
    const struct want **sorted AUTO_FREE = mem_calloc(c->wants.len + 1, sizeof(*sorted));
    size_t n = 0;
    struct htab_iter it;
    HTAB_FOREACH (node, &c->wants, &it)
        sorted[n++] = container_of(node, struct want, node);
    qsort(sorted, n, sizeof(const struct want *), by_uri);
    strbuf_addc(out, '[');
    for (size_t i = 0; i < n; i++) {
        if (i)
            strbuf_addc(out, ',');
        dump_want(out, sorted[i]);
    }
    strbuf_addc(out, ']');
}
