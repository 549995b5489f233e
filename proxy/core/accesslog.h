/* One line per connection, with the fields of Istio's ztunnel in its order (facts: ztunnel.md 21). */
#pragma once

#include "proxy/core/telemetry.h"

/* At the end of a connection: "connection complete", at error with error= when it failed. detail: more
 * about the failure (which policy refused, what TLS said), or NULL. */
void accesslog_line(const struct conn_info *ci, enum rc why, const char *detail);
/* At its start, at debug: "connection opened". */
void accesslog_opened(const struct conn_info *ci);
/* A refusal before anything is known but the addresses: "connection failed", at warn. */
void accesslog_refused(bool inbound, const struct addr *src, const struct addr *dst, enum rc why,
                       const char *detail);
