/* The head of an HTTP/1.x request, strictly (RFC 9112): CRLF only, no folded lines, no space before
 * a colon, one Host, one Content-Length. What two parsers could read differently is refused.
 * Pure; the result points into the input. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/rc.h"
#include "lib/base/str.h"

#define H1_HEADERS_MAX 64

struct h1_header {
    struct str name, value; /* the value without spaces at its ends */
};

struct h1_request {
    struct str method;      /* a token, as sent */
    struct str path, query; /* of the target, still percent-encoded; query without '?' */
    bool keep_alive;        /* HTTP/1.1 without "close" */
    bool expects;           /* has an Expect header */
    uint64_t body_len;      /* Content-Length, 0 without one */
    size_t headers_n;
    struct h1_header headers[H1_HEADERS_MAX];
};

/* RC_OK: *ret_len bytes of head, with the empty line. RC_AGAIN: it goes on. RC_INVALID: 400.
 * RC_LIMIT: too many headers (431). RC_UNSUPPORTED: a transfer coding, or no HTTP/1.x (501, 505). */
NODISCARD enum rc h1_request_parse(struct str in, struct h1_request *ret, size_t *ret_len);
/* The first header of that name (any case), or the empty string. */
struct str h1_request_header(const struct h1_request *r, const char *name);
