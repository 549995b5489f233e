/* Small HTTP/1.1 server for admin, metrics and readiness ports. Limits: 8 KiB of request head, no
 * request body over 64 KiB, 2 s for a head and 10 s for a body, 64 connections (the longest idle one
 * makes room for a new one); answers are built whole. Thread: one loop. */
#pragma once

#include "lib/base/str.h"
#include "lib/event/loop.h"

struct httpd;
struct httpd_request {
    struct str method, path, query, accept, body; /* path without query, percent-decoded */
};
struct httpd_response {
    int status;               /* 200 at first */
    const char *content_type; /* "text/plain; charset=utf-8" at first */
    struct strbuf body;       /* at most 256 MiB; a truncated one becomes a 500 */
};
typedef void httpd_fn(void *owner, const struct httpd_request *req, struct httpd_response *resp);

/* Listens on fd (taken; non-blocking). NULL (fd closed) when the loop takes no more descriptors. */
struct httpd *httpd_new(struct loop *l, int fd);
/* The exact path decides, else the longest that ends in '/' and starts it ("/" alone is exact).
 * methods: "GET" or "GET,POST"; others are answered 405, unknown paths 404. HEAD follows GET.
 * path and methods stay the caller's, for the server's life. */
void httpd_handle(struct httpd *h, const char *path, const char *methods, httpd_fn *fn,
                  void *owner);
void httpd_free(struct httpd *h); /* closes everything; not from inside a handler */
/* Value of key in a query string, percent-decoded and appended to out; false when absent or not
 * decodable. A key without '=' has the empty value. */
bool httpd_query(struct str query, const char *key, struct strbuf *out);
