/* Names of our own configuration (the controller, a token's issuer) to addresses: /etc/hosts, then
 * the servers of /etc/resolv.conf, by c-ares; both files are read anew each time. Never the
 * libc's resolver, which loads libraries at run time. Thread: one loop. */
#pragma once

#include "lib/event/loop.h"
#include "lib/net/addr.h"

#define DNS_ADDRS_MAX 16

struct dns_query;
/* rc: RC_OK with n > 0 addresses (port 0) in the order to be tried, RC_NOT_FOUND, RC_TIMEOUT, RC_IO.
 * Once for each query, never from inside dns_resolve(). */
typedef void dns_done_fn(void *owner, enum rc rc, const struct addr *addrs, size_t n);

/* name: a host name or the text of an address. The answer comes within about 10 s. */
struct dns_query *dns_resolve(struct loop *l, struct str name, dns_done_fn *fn, void *owner);
void dns_cancel(struct dns_query *q); /* before done was called */
