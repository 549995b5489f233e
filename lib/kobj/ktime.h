/* Times as Kubernetes writes them (RFC 3339). Private to lib/kobj. */
#pragma once

#include "lib/base/str.h"

/* "2026-01-31T12:00:00Z", a fraction (dropped) and an offset allowed; years 1970 to 9999. */
NODISCARD bool ktime_parse(struct str s, int64_t *ret_s);
void ktime_print(int64_t s, struct strbuf *out); /* UTC, whole seconds */
