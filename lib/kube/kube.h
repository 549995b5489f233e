/* Client of a Kubernetes API server: one request, its answer; and answers that don't end. Credentials are
 * read anew for each request, so rotated ones take effect; one refused (401) is read and tried once more.
 * Borrowed by everything else in this folder. Thread: one loop. */
#pragma once

#include "lib/codec/node.h"
#include "lib/http/fetch.h"
#include "lib/kube/kube_config.h"

#define KUBE_ANSWER_MAX \
    (8u << 20) /* bytes of an answer that is read whole, and of one object of a stream */
#define KUBE_CALL_MS 30000

struct kube;

/* Takes config. agent: the user agent, "mesh-controller/0.1"; copied. */
struct kube *kube_new(struct loop *l, struct kube_config *config, const char *agent);
/* Its calls and streams are gone, silently; informers, elections and the like must be freed before. NULL
 * is legal. Not from inside a stream's on_head or on_body. */
void kube_free(struct kube *k);
const struct kube_config *kube_config(const struct kube *k);
struct loop *kube_loop(const struct kube *k);

/* -- one request, one answer -- */

struct kube_request {
    const char *method;       /* "GET" */
    const char *path;         /* "/api/v1/pods?limit=500", encoded */
    const char *content_type; /* of body, NULL: application/json */
    struct str body;          /* p NULL: none */
    unsigned retries;         /* after 429, 5xx and broken connections, with back-off */
    bool once;          /* must not take effect twice: only after 429, which says it did not */
    int64_t timeout_ms; /* each try; 0: KUBE_CALL_MS */
};

struct kube_reply {
    /* RC_OK: 2xx. RC_UNAUTHENTICATED 401, RC_DENIED 403, RC_NOT_FOUND 404, RC_EXISTS 409 (a conflict, or
     * it exists), RC_INVALID other 4xx, RC_AGAIN 429, RC_IO 5xx; else as in fetch.h: no answer. */
    enum rc rc;
    int status;              /* of HTTP; 0: none came */
    const struct node *body; /* NULL when there is none or it is not JSON */
    struct str reason; /* of metav1.Status: "Conflict", "AlreadyExists", "Expired"; or empty */
    const char *error; /* for people: method, path, reason; "" with RC_OK */
};

struct kube_call;
/* Once, never from inside kube_call(). All views die with it. */
typedef void kube_reply_fn(void *owner, const struct kube_reply *r);
struct kube_call *kube_call(struct kube *k, const struct kube_request *r, kube_reply_fn *fn,
                            void *owner);
void kube_call_cancel(struct kube_call *c); /* silent, c is gone; not in its own callback */

/* -- an answer in pieces -- */

struct kube_stream;
struct kube_stream_ops {
    void (*on_open)(void *owner); /* a 2xx has begun; may be NULL */
    /* Of a 2xx only. Anything but RC_OK ends the stream with it. */
    enum rc (*on_body)(void *owner, struct str part);
    /* Once, last. A status other than 2xx is in r; RC_OK: the answer ended as it should. */
    void (*on_done)(void *owner, const struct kube_reply *r, int64_t retry_after_ms);
};
/* GET path. accept: NULL is "application/json". total_ms: until its end. No retries but after 401. */
struct kube_stream *kube_stream(struct kube *k, const char *path, const char *accept,
                                int64_t total_ms, const struct kube_stream_ops *ops, void *owner);
void kube_stream_cancel(struct kube_stream *s); /* silent, s is gone; not in on_open, on_done */

/* -- waiting before the next try -- */

struct kube_backoff {
    int64_t ms; /* of the last wait, without jitter; 0 after success */
};
/* Doubles from 100 ms to 30 s, plus up to as much again, so that many clients don't come at once. */
int64_t kube_backoff_next(struct kube_backoff *b);

/* Percent-encodes a query value or a path segment. */
void kube_escape(struct strbuf *out, struct str s);
