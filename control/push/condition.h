/* What became of a policy, in Istio's terms and in plain words: one condition an object, served at
 * /debug/statusz, later written to the object's status. */
#pragma once

#include <stdbool.h>

#include "lib/base/str.h"

struct condition {
    const char *type;   /* "ZtunnelAccepted", "WaypointAccepted" */
    bool status;        /* ztunnel is sent it */
    const char *reason; /* "Accepted", "UnsupportedValue" … */
    char message[512];
};

/* Adds a sentence. */
void condition_say(struct condition *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
