/* What metrics and access log say about one end of a connection; for nobody else. */
#pragma once

#include "proxy/core/telemetry.h"

struct conn_side {
    struct str name; /* of the pod, or what comes nearest */
    struct str workload, ns, cluster;
    struct str service, revision; /* canonical */
    struct str app;
    struct str principal; /* URI */
    struct str region, zone;
    bool known; /* a workload, or its own words */
};

/* Texts are views into ci and its objects; empty: unknown. */
void conn_side_of(const struct conn_info *ci, bool source, struct conn_side *ret);
