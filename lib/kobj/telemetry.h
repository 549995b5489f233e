/* Telemetry (telemetry.istio.io). Every field is known; what else a document holds is refused. */
#pragma once

#include "lib/kobj/policy.h"

enum ktelemetry_mode { KTELEMETRY_BOTH, KTELEMETRY_CLIENT, KTELEMETRY_SERVER };

struct kaccess_logging {
    uint8_t mode; /* enum ktelemetry_mode */
    struct kstrs providers;
    uint8_t disabled;  /* enum ktri */
    struct str filter; /* CEL; empty: all */
};

struct ktag_override {
    struct str key;
    bool remove;
    struct str value; /* CEL */
};

struct kmetric_override {
    uint8_t mode;      /* enum ktelemetry_mode */
    struct str metric; /* "REQUEST_COUNT", or "ALL_METRICS" when nothing is said */
    struct str custom; /* or this one */
    uint8_t disabled;  /* enum ktri */
    KLIST(struct ktag_override) tags;
};

struct kmetrics {
    struct kstrs providers;
    KLIST(struct kmetric_override) overrides;
    int64_t interval_ms; /* -1: none said */
};

struct kcustom_tag {
    struct str key;
    struct str literal, formatter;     /* one of these, */
    struct str env, env_default;       /* or this, */
    struct str header, header_default; /* or this */
};

struct ktracing {
    uint8_t mode; /* enum ktelemetry_mode */
    struct kstrs providers;
    int64_t sampling;                         /* millionths of a per cent; -1: none said */
    uint8_t disabled, request_id, istio_tags; /* enum ktri */
    bool no_propagation;
    KLIST(struct kcustom_tag) tags;
};

struct ktelemetry {
    struct kobj obj;
    const struct kselector *selector;  /* NULL when absent */
    KLIST(struct ktarget_ref) target;  /* while decoding */
    KLIST(struct ktarget_ref) targets; /* targetRefs, or targetRef */
    KLIST(struct kaccess_logging) logging;
    KLIST(struct kmetrics) metrics;
    KLIST(struct ktracing) tracing;
};
KOBJ_CAST(kobj_telemetry, ktelemetry, KOBJ_TELEMETRY)
