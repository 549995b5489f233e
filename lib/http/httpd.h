/* Small HTTP/1.1 server for admin, metrics and readiness ports. Limits: 8 KiB of request head, no
 * request body over 64 KiB, 2 s for a head, 64 connections; answers are built whole. Thread: one loop. */
#pragma once

#include "lib/base/str.h"
#include "lib/event/loop.h"
#include "lib/net/addr.h"

struct httpd;
struct httpd_request {
    struct str method, path, query, accept, body; /* path without query, percent-decoded */
};
struct httpd_response {
    int status;               /* 200 at first */
    const char *content_type; /* "text/plain; charset=utf-8" at first */
    struct strbuf body;
};
typedef void httpd_fn(void *owner, const struct httpd_request *req, struct httpd_response *resp);

/* Listens on fd (taken). */
struct httpd *httpd_new(struct loop *l, int fd);
/* Longest prefix of the path decides; the exact path unless it ends in '/'. methods: "GET" or
 * "GET,POST"; others are answered 405, unknown paths 404. HEAD follows GET. */
void httpd_handle(struct httpd *h, const char *path, const char *methods, httpd_fn *fn,
                  void *owner);
void httpd_free(struct httpd *h);
/* Value of key in a query string, percent-decoded into out; false when absent. */
bool httpd_query(struct str query, const char *key, struct strbuf *out);
