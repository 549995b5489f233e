/* Table of Telemetry. */
#include "lib/kobj/telemetry.h"

#include "lib/kobj/ktable.h"

#define STRING(json, T, m) {.name = (json), .form = KF_STRING, AT(T, m), .max = 4096}
#define TRI(json, T, m)    {.name = (json), .form = KF_TRI, AT(T, m)}
#define LIST(json, T, m, item) \
    {.name = (json), .form = KF_LIST, AT(T, m), .max = 256, .of = &(item)}
#define INLINE(json, t) {.name = (json), .form = KF_STRUCT, .type = &(t)}

/* providers: [{name: N}], as the names. */
static const struct kfield provider_fields[] = {{.name = "name",
                                                 .form = KF_STRING,
                                                 .flags = KFL_REQUIRED,
                                                 .offset = 0,
                                                 .check = kcheck_not_empty},
                                                END};
static const struct ktype provider_type = {.size = sizeof(struct str), .fields = provider_fields};
static const struct kfield provider_item = {.form = KF_STRUCT, .type = &provider_type};

static const char *const modes[] = {"CLIENT_AND_SERVER", "CLIENT", "SERVER", NULL};
#define MODE(T)                                                               \
    static const struct kfield T##_match_fields[] = {                         \
        {.name = "mode", .form = KF_ENUM, AT(T, mode), .words = modes}, END}; \
    static const struct ktype T##_match_type = {.fields = T##_match_fields}
MODE(kaccess_logging);
MODE(ktracing);

/* -- access logging -- */

static const struct kfield filter_fields[] = {STRING("expression", kaccess_logging, filter), END};
static const struct ktype filter_type = {.fields = filter_fields};
static const struct kfield logging_fields[] = {
    INLINE("match", kaccess_logging_match_type),
    LIST("providers", kaccess_logging, providers, provider_item),
    TRI("disabled", kaccess_logging, disabled), INLINE("filter", filter_type), END};
static const struct ktype logging_type = {.size = sizeof(struct kaccess_logging),
                                          .fields = logging_fields};
static const struct kfield logging_item = {.form = KF_STRUCT, .type = &logging_type};

/* -- metrics -- */

static const char *const operations[] = {"UPSERT", "REMOVE", NULL};
static const struct kfield tag_override_fields[] = {
    {.name = "operation", .form = KF_ENUM, AT(ktag_override, remove), .words = operations},
    STRING("value", ktag_override, value),
    END};

static bool check_tag_override(void *obj, struct kwhy *why)
{
    const struct ktag_override *t = obj;
    return t->remove == (t->value.n == 0) ||
           kwhy_set(why, "value", "must be set with UPSERT, and only then");
}

static const struct ktype tag_override_type = {.size = sizeof(struct ktag_override),
                                               .fields = tag_override_fields,
                                               .check = check_tag_override};
static const struct kfield metric_match_fields[] = {
    {.name = "mode", .form = KF_ENUM, AT(kmetric_override, mode), .words = modes},
    {.name = "metric", .form = KF_STRING, AT(kmetric_override, metric), .text = "ALL_METRICS"},
    {.name = "customMetric",
     .form = KF_STRING,
     AT(kmetric_override, custom),
     .check = kcheck_not_empty},
    END};
static const struct ktype metric_match_type = {.fields = metric_match_fields};
static const struct kfield override_fields[] = {INLINE("match", metric_match_type),
                                                TRI("disabled", kmetric_override, disabled),
                                                {.name = "tagOverrides",
                                                 .form = KF_DICT,
                                                 AT(kmetric_override, tags),
                                                 .max = 256,
                                                 .type = &tag_override_type},
                                                END};

static bool check_override(void *obj, struct kwhy *why)
{
    static const char *const known[] = {
        "ALL_METRICS",        "REQUEST_COUNT",          "REQUEST_DURATION",       "REQUEST_SIZE",
        "RESPONSE_SIZE",      "TCP_OPENED_CONNECTIONS", "TCP_CLOSED_CONNECTIONS", "TCP_SENT_BYTES",
        "TCP_RECEIVED_BYTES", "GRPC_REQUEST_MESSAGES",  "GRPC_RESPONSE_MESSAGES"};
    const struct kmetric_override *o = obj;
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (str_eqz(o->metric, known[i]))
            return true;
    return kwhy_set(why, "match.metric", "\"%.*s\" is no metric", (int)MIN(o->metric.n, 40u),
                    o->metric.p);
}

static const struct ktype override_type = {
    .size = sizeof(struct kmetric_override), .fields = override_fields, .check = check_override};
static const struct kfield override_item = {.form = KF_STRUCT, .type = &override_type};
static const struct kfield metrics_fields[] = {
    LIST("providers", kmetrics, providers, provider_item),
    LIST("overrides", kmetrics, overrides, override_item),
    {.name = "reportingInterval", .form = KF_DURATION, AT(kmetrics, interval_ms)},
    END};

static bool check_metrics(void *obj, struct kwhy *why)
{
    const struct kmetrics *m = obj;
    return m->interval_ms != 0 || kwhy_set(why, "reportingInterval", "must be more than 0");
}

static const struct ktype metrics_type = {
    .size = sizeof(struct kmetrics), .fields = metrics_fields, .check = check_metrics};
static const struct kfield metrics_item = {.form = KF_STRUCT, .type = &metrics_type};

/* -- tracing -- */

#define TEXT(what, json, m)                                                    \
    static const struct kfield what##_fields[] = {{.name = (json),             \
                                                   .form = KF_STRING,          \
                                                   .flags = KFL_REQUIRED,      \
                                                   AT(kcustom_tag, m),         \
                                                   .check = kcheck_not_empty}, \
                                                  END};                        \
    static const struct ktype what##_type = {.fields = what##_fields}
TEXT(literal, "value", literal);
TEXT(formatter, "value", formatter);
#define SOURCE(what, m)                                   \
    static const struct kfield what##_fields[] = {        \
        {.name = "name",                                  \
         .form = KF_STRING,                               \
         .flags = KFL_REQUIRED,                           \
         AT(kcustom_tag, m),                              \
         .check = kcheck_not_empty},                      \
        STRING("defaultValue", kcustom_tag, m##_default), \
        END};                                             \
    static const struct ktype what##_type = {.fields = what##_fields}
SOURCE(environment, env);
SOURCE(header, header);
static const struct kfield tag_fields[] = {
    INLINE("literal", literal_type), INLINE("formatter", formatter_type),
    INLINE("environment", environment_type), INLINE("header", header_type), END};

static bool check_tag(void *obj, struct kwhy *why)
{
    const struct kcustom_tag *t = obj;
    int ways = (t->literal.n > 0) + (t->formatter.n > 0) + (t->env.n > 0) + (t->header.n > 0);
    return ways == 1 ||
           kwhy_set(why, "", "must have one of literal, environment, header and formatter");
}

static const struct ktype tag_type = {
    .size = sizeof(struct kcustom_tag), .fields = tag_fields, .check = check_tag};
static const struct kfield tracing_fields[] = {
    INLINE("match", ktracing_match_type),
    LIST("providers", ktracing, providers, provider_item),
    {.name = "randomSamplingPercentage", .form = KF_DECIMAL, AT(ktracing, sampling), .high = 100},
    TRI("disableSpanReporting", ktracing, disabled),
    TRI("useRequestIdForTraceSampling", ktracing, request_id),
    TRI("enableIstioTags", ktracing, istio_tags),
    {.name = "disableContextPropagation", .form = KF_BOOL, AT(ktracing, no_propagation)},
    {.name = "customTags", .form = KF_DICT, AT(ktracing, tags), .max = 256, .type = &tag_type},
    END};
static const struct ktype tracing_type = {.size = sizeof(struct ktracing),
                                          .fields = tracing_fields};
static const struct kfield tracing_item = {.form = KF_STRUCT, .type = &tracing_type};

/* -- the whole -- */

static const struct kfield spec_fields[] = {
    {.name = "selector", .form = KF_OPTION, AT(ktelemetry, selector), .type = &kselector_type},
    {.name = "targetRef", .form = KF_ONE, AT(ktelemetry, target), .of = &ktarget_item},
    {.name = "targetRefs",
     .form = KF_LIST,
     AT(ktelemetry, targets),
     .max = 16,
     .of = &ktarget_item},
    LIST("accessLogging", ktelemetry, logging, logging_item),
    LIST("metrics", ktelemetry, metrics, metrics_item),
    LIST("tracing", ktelemetry, tracing, tracing_item),
    END};
static const struct ktype spec_type = {.fields = spec_fields, .strict = true};
static const struct kfield fields[] = {
    KMETA_FIELD, {.name = "spec", .form = KF_STRUCT, .type = &spec_type}, END};

static bool check_telemetry(void *obj, struct kwhy *why)
{
    struct ktelemetry *t = obj;
    if (t->target.n && t->targets.n)
        return kwhy_set(why, "spec.targetRef", "must not be set beside targetRefs");
    if (t->target.n) {
        t->targets.n = t->target.n;
        t->targets.v = t->target.v;
    }
    return !t->selector || t->targets.n == 0 ||
           kwhy_set(why, "spec.selector", "must not be set beside targetRefs");
}

const struct ktype ktelemetry_type = {
    .size = sizeof(struct ktelemetry), .fields = fields, .check = check_telemetry};
