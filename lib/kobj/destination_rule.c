/* Table of DestinationRule. */
#include "lib/kobj/destination_rule.h"

#include "lib/kobj/ktable.h"

#define STRING(json, T, m)    {.name = (json), .form = KF_STRING, AT(T, m), .max = 4096}
#define DURATION(json, T, m)  {.name = (json), .form = KF_DURATION, AT(T, m)}
#define BOOL(json, T, m)      {.name = (json), .form = KF_BOOL, AT(T, m)}
#define TRI(json, T, m)       {.name = (json), .form = KF_TRI, AT(T, m)}
#define OPTION(json, T, m, t) {.name = (json), .form = KF_OPTION, AT(T, m), .type = &(t)}
#define LIST(json, T, m, item) \
    {.name = (json), .form = KF_LIST, AT(T, m), .max = 1024, .of = &(item)}
#define INLINE(json, t)     {.name = (json), .form = KF_STRUCT, .type = &(t)}
#define INT(json, T, m)     {.name = (json), .form = KF_INT, AT(T, m)}
#define COUNT(json, T, m)   {.name = (json), .form = KF_INT, AT(T, m), .def = -1}
#define PERCENT(json, T, m) {.name = (json), .form = KF_INT, AT(T, m), .high = 100}
#define TYPE(what, T) \
    static const struct ktype what##_type = {.size = sizeof(struct T), .fields = what##_fields}
#define PART(what) static const struct ktype what##_type = {.fields = what##_fields}
#define ITEM(what) \
    static const struct kfield what##_item = {.form = KF_STRUCT, .type = &what##_type}

static const struct kfield string_item = {
    .form = KF_STRING, .max = 4096, .check = kcheck_not_empty};

/* -- load balancing -- */

static const struct kfield attribute_fields[] = {
    {.name = "name", .form = KF_STRING, .flags = KFL_REQUIRED, AT(kcookie_attribute, name)},
    STRING("value", kcookie_attribute, value),
    END};
TYPE(attribute, kcookie_attribute);
ITEM(attribute);
static const struct kfield cookie_fields[] = {
    {.name = "name",
     .form = KF_STRING,
     .flags = KFL_REQUIRED,
     AT(khash_cookie, name),
     .check = kcheck_header_name},
    STRING("path", khash_cookie, path),
    DURATION("ttl", khash_cookie, ttl_ms),
    LIST("attributes", khash_cookie, attributes, attribute_item),
    END};
TYPE(cookie, khash_cookie);
static const struct kfield ring_fields[] = {COUNT("minimumRingSize", kconsistent_hash, ring_min),
                                            END};
PART(ring);
static const struct kfield maglev_fields[] = {COUNT("tableSize", kconsistent_hash, maglev_size),
                                              END};
PART(maglev);
static const struct kfield hash_fields[] = {
    {.name = "httpHeaderName",
     .form = KF_STRING,
     AT(kconsistent_hash, header),
     .check = kcheck_header_name},
    STRING("httpQueryParameterName", kconsistent_hash, param),
    OPTION("httpCookie", kconsistent_hash, cookie, cookie_type),
    BOOL("useSourceIp", kconsistent_hash, source_ip),
    INLINE("ringHash", ring_type),
    INLINE("maglev", maglev_type),
    COUNT("minimumRingSize", kconsistent_hash, ring_min_old),
    END};

static bool check_hash(void *obj, struct kwhy *why)
{
    const struct kconsistent_hash *h = obj;
    int keys = (h->header.n > 0) + (h->param.n > 0) + !!h->cookie + h->source_ip;
    if (keys > 1)
        return kwhy_set(why, "",
                        "must have one of httpHeaderName, httpCookie, useSourceIp and "
                        "httpQueryParameterName");
    return h->ring_min < 0 || h->maglev_size < 0 ||
           kwhy_set(why, "maglev", "must not be set beside ringHash");
}

static const struct ktype hash_type = {
    .size = sizeof(struct kconsistent_hash), .fields = hash_fields, .check = check_hash};

static const struct kfield distribute_fields[] = {
    STRING("from", klocality_to, from),
    {.name = "to", .form = KF_NUMBERS, AT(klocality_to, to), .max = 1024, .high = 100},
    END};
TYPE(distribute, klocality_to);
ITEM(distribute);
static const struct kfield failover_fields[] = {STRING("from", klocality_failover, from),
                                                STRING("to", klocality_failover, to), END};
TYPE(failover, klocality_failover);
ITEM(failover);
static const struct kfield locality_fields[] = {
    LIST("distribute", klocality_lb, distribute, distribute_item),
    LIST("failover", klocality_lb, failover, failover_item),
    LIST("failoverPriority", klocality_lb, failover_priority, string_item),
    TRI("enabled", klocality_lb, enabled), END};
TYPE(locality, klocality_lb);
static const struct kfield warmup_fields[] = {
    {.name = "duration", .form = KF_DURATION, .flags = KFL_REQUIRED, AT(kwarmup, duration_ms)},
    {.name = "minimumPercent", .form = KF_DECIMAL, AT(kwarmup, minimum_percent), .high = 100},
    {.name = "aggression", .form = KF_DECIMAL, AT(kwarmup, aggression), .high = 1000000},
    END};
TYPE(warmup, kwarmup);
static const char *const simples[] = {"UNSPECIFIED", "LEAST_CONN",    "RANDOM", "PASSTHROUGH",
                                      "ROUND_ROBIN", "LEAST_REQUEST", NULL};
static const struct kfield lb_fields[] = {
    {.name = "simple", .form = KF_ENUM, AT(kload_balancer, simple), .words = simples},
    OPTION("consistentHash", kload_balancer, hash, hash_type),
    OPTION("localityLbSetting", kload_balancer, locality, locality_type),
    OPTION("warmup", kload_balancer, warmup, warmup_type),
    DURATION("warmupDurationSecs", kload_balancer, warmup_old_ms),
    {.name = "zoneAwareLbSetting", .form = KF_FOUND, AT(kload_balancer, zone_aware)},
    END};

static bool check_lb(void *obj, struct kwhy *why)
{
    const struct kload_balancer *lb = obj;
    return !lb->hash || !lb->simple ||
           kwhy_set(why, "simple", "must not be set beside consistentHash");
}

static const struct ktype lb_type = {
    .size = sizeof(struct kload_balancer), .fields = lb_fields, .check = check_lb};

/* -- connections -- */

static const struct kfield keepalive_fields[] = {
    COUNT("probes", kkeepalive, probes), DURATION("time", kkeepalive, time_ms),
    DURATION("interval", kkeepalive, interval_ms), END};
TYPE(keepalive, kkeepalive);
static const struct kfield tcp_fields[] = {
    INT("maxConnections", kconnection_pool, max_connections),
    DURATION("connectTimeout", kconnection_pool, connect_ms),
    DURATION("idleTimeout", kconnection_pool, tcp_idle_ms),
    DURATION("maxConnectionDuration", kconnection_pool, max_duration_ms),
    OPTION("tcpKeepalive", kconnection_pool, keepalive, keepalive_type),
    END};
PART(tcp);
static const struct kfield ping_fields[] = {
    DURATION("interval", kconnection_pool, ping_interval_ms),
    DURATION("timeout", kconnection_pool, ping_timeout_ms), END};
PART(ping);
static const char *const upgrades[] = {"DEFAULT", "DO_NOT_UPGRADE", "UPGRADE", NULL};
static const struct kfield http_fields[] = {
    INT("http1MaxPendingRequests", kconnection_pool, http1_pending),
    INT("http2MaxRequests", kconnection_pool, http2_requests),
    INT("maxRequestsPerConnection", kconnection_pool, requests_per_connection),
    INT("maxRetries", kconnection_pool, retries),
    INT("maxConcurrentStreams", kconnection_pool, streams),
    DURATION("idleTimeout", kconnection_pool, http_idle_ms),
    INLINE("http2KeepAlive", ping_type),
    {.name = "h2UpgradePolicy",
     .form = KF_ENUM,
     AT(kconnection_pool, h2_upgrade),
     .words = upgrades},
    BOOL("useClientProtocol", kconnection_pool, client_protocol),
    END};
PART(http);
static const struct kfield pool_fields[] = {INLINE("tcp", tcp_type), INLINE("http", http_type),
                                            END};
TYPE(pool, kconnection_pool);

/* -- outliers, TLS, the rest -- */

static const struct kfield code_item = {.form = KF_INT, .low = 100, .high = 599};
static const struct kfield outlier_fields[] = {
    COUNT("consecutive5xxErrors", koutlier, consecutive_5xx),
    COUNT("consecutiveGatewayErrors", koutlier, gateway_errors),
    COUNT("consecutiveLocalOriginFailures", koutlier, local_failures),
    COUNT("consecutiveErrors", koutlier, consecutive_old),
    DURATION("interval", koutlier, interval_ms),
    DURATION("baseEjectionTime", koutlier, ejection_ms),
    PERCENT("maxEjectionPercent", koutlier, max_ejection_percent),
    PERCENT("minHealthPercent", koutlier, min_health_percent),
    BOOL("splitExternalLocalOriginErrors", koutlier, split_local),
    LIST("outlierDetectionHttpErrorCodes", koutlier, codes, code_item),
    END};
TYPE(outlier, koutlier);

static const char *const tls_modes[] = {"DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL", NULL};
static const struct kfield tls_fields[] = {
    {.name = "mode", .form = KF_ENUM, AT(kdr_tls, mode), .words = tls_modes},
    STRING("clientCertificate", kdr_tls, cert),
    STRING("privateKey", kdr_tls, key),
    STRING("caCertificates", kdr_tls, ca),
    STRING("caCrl", kdr_tls, crl),
    STRING("credentialName", kdr_tls, credential),
    STRING("sni", kdr_tls, sni),
    LIST("subjectAltNames", kdr_tls, sans, string_item),
    TRI("insecureSkipVerify", kdr_tls, insecure),
    END};

static bool check_tls(void *obj, struct kwhy *why)
{
    const struct kdr_tls *t = obj;
    bool files = t->cert.n && t->key.n;
    if (t->mode == KDR_TLS_MUTUAL && !files && t->credential.n == 0)
        return kwhy_set(
            why, "", "must have clientCertificate and privateKey, or credentialName, with MUTUAL");
    if (t->mode == KDR_TLS_ISTIO_MUTUAL && (t->cert.n || t->key.n || t->ca.n))
        return kwhy_set(why, "", "must have no certificates with ISTIO_MUTUAL");
    return true;
}

static const struct ktype tls_type = {
    .size = sizeof(struct kdr_tls), .fields = tls_fields, .check = check_tls};
static const struct kfield tunnel_fields[] = {
    STRING("protocol", kdr_tunnel, protocol),
    {.name = "targetHost", .form = KF_STRING, .flags = KFL_REQUIRED, AT(kdr_tunnel, host)},
    {.name = "targetPort", .form = KF_PORT, .flags = KFL_REQUIRED, AT(kdr_tunnel, port)},
    END};
TYPE(tunnel, kdr_tunnel);
static const struct kfield budget_fields[] = {
    {.name = "percent", .form = KF_DECIMAL, AT(kretry_budget, percent), .high = 100},
    COUNT("minRetryConcurrency", kretry_budget, min_concurrency),
    DURATION("budgetInterval", kretry_budget, interval_ms),
    END};
TYPE(budget, kretry_budget);

/* -- policies -- */

#define PARTS(T)                                                   \
    OPTION("loadBalancer", T, part.lb, lb_type),                   \
        OPTION("connectionPool", T, part.pool, pool_type),         \
        OPTION("outlierDetection", T, part.outlier, outlier_type), \
        OPTION("tls", T, part.tls, tls_type)
static const struct kfield number_fields[] = {
    {.name = "number", .form = KF_PORT, AT(kport_policy, port)}, END};
PART(number);
static const struct kfield port_fields[] = {PARTS(kport_policy), INLINE("port", number_type), END};
TYPE(port, kport_policy);
ITEM(port);
static const char *const proxy_versions[] = {"", "V1", "V2", NULL};
static const struct kfield proxy_fields[] = {
    {.name = "version", .form = KF_ENUM, AT(kdr_policy, proxy_protocol), .words = proxy_versions},
    END};
PART(proxy);
static const struct kfield policy_fields[] = {
    PARTS(kdr_policy),
    LIST("portLevelSettings", kdr_policy, ports, port_item),
    OPTION("tunnel", kdr_policy, tunnel, tunnel_type),
    OPTION("retryBudget", kdr_policy, retry_budget, budget_type),
    INLINE("proxyProtocol", proxy_type),
    END};
TYPE(policy, kdr_policy);

static const struct kfield subset_fields[] = {
    {.name = "name",
     .form = KF_STRING,
     .flags = KFL_REQUIRED,
     AT(ksubset, name),
     .check = kcheck_not_empty},
    {.name = "labels", .form = KF_MAP, AT(ksubset, labels), .map = &klabels_rule},
    OPTION("trafficPolicy", ksubset, policy, policy_type),
    END};
TYPE(subset, ksubset);
ITEM(subset);

static const struct kfield spec_fields[] = {
    {.name = "host",
     .form = KF_STRING,
     .flags = KFL_REQUIRED,
     AT(kdestination_rule, host),
     .max = 253,
     .check = kcheck_not_empty},
    OPTION("trafficPolicy", kdestination_rule, policy, policy_type),
    LIST("subsets", kdestination_rule, subsets, subset_item),
    LIST("exportTo", kdestination_rule, export_to, string_item),
    OPTION("workloadSelector", kdestination_rule, selector, kselector_type),
    END};
static const struct ktype spec_type = {.fields = spec_fields, .strict = true};
static const struct kfield fields[] = {
    KMETA_FIELD,
    {.name = "spec", .form = KF_STRUCT, .flags = KFL_REQUIRED, .type = &spec_type},
    END};
const struct ktype kdestination_rule_type = {.size = sizeof(struct kdestination_rule),
                                             .fields = fields};
