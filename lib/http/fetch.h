/* HTTP client for what is not traffic of the mesh: the Kubernetes API, key sets, exporters. By libcurl on
 * the loop: HTTP/1.1 and HTTP/2 (RFC 9110, 9112, 9113), requests to one server share a connection where it
 * allows that. No redirects, no proxies, no cookies, no compression; TLS 1.2 or newer.
 * Thread: the loop's. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/mem.h"
#include "lib/base/str.h"
#include "lib/event/loop.h"

#define FETCH_HEADERS 16
#define FETCH_PIECE   2048 /* bytes that on_body gets at once, at most */

/* -- whom to trust and who we are: immutable, counted -- */

struct fetch_tls;
struct fetch_tls_opts {
    struct str roots;     /* PEM; empty: nobody is trusted */
    struct str cert, key; /* PEM of the client's certificate; both or none */
    bool insecure;        /* the server is not checked at all */
};
struct fetch_tls *fetch_tls_new(const struct fetch_tls_opts *o); /* copies */
struct fetch_tls *fetch_tls_ref(struct fetch_tls *t);
void fetch_tls_unref(struct fetch_tls *t); /* NULL is legal */

/* -- requests -- */

struct fetcher; /* open connections, names already looked up */
struct fetcher *fetcher_new(struct loop *l);
/* Running requests are dropped silently. NULL is legal. Not from inside on_head or on_body. */
void fetcher_free(struct fetcher *f);

struct fetch_request {          /* everything is copied, tls referenced */
    const char *method;         /* "GET" */
    const char *url;            /* http:// or https:// */
    const char *connect_to;     /* "HOST:PORT" to connect to instead of the URL's; NULL */
    const char *const *headers; /* "name: value" without line ends, at most FETCH_HEADERS */
    size_t n_headers;
    struct str body;       /* p NULL: none */
    struct fetch_tls *tls; /* NULL: https can't be asked */
    size_t max_bytes;      /* of an answer that is collected: then RC_LIMIT */
    int64_t connect_ms;    /* name, TCP and TLS; 0: 10 s */
    int64_t total_ms;      /* until the last byte; 0: no limit, for streams */
};

struct fetch;
struct fetch_end {
    enum rc rc;        /* RC_OK: an answer with any status is there, whole */
    int status;        /* 0: none came */
    struct str body;   /* of answers that are collected */
    const char *error; /* for people, names the URL's host; "" with RC_OK */
};
struct fetch_ops {
    /* The status line and all headers (not of 1xx) are there. May be NULL. */
    void (*on_head)(void *owner, struct fetch *t, int status);
    /* Some bytes of the body. Anything but RC_OK ends the request with it. NULL: the body is
     * collected. */
    enum rc (*on_body)(void *owner, struct fetch *t, struct str part);
    /* Once, last, never from inside fetch_start(); all views in end die with the call. */
    void (*on_done)(void *owner, const struct fetch_end *end);
};

/* Never calls back from inside. What is wrong with the request is told by on_done. */
struct fetch *fetch_start(struct fetcher *f, const struct fetch_request *r,
                          const struct fetch_ops *ops, void *owner);
/* Silent; t is gone. Legal in every callback, on_done (where it does nothing) excepted. */
void fetch_cancel(struct fetch *t);
/* A header of the answer, the last of its name; in on_head, on_body and on_done. Valid in the callback. */
struct str fetch_header(struct fetch *t, const char *name);
