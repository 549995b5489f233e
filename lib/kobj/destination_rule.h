/* DestinationRule (networking.istio.io). Every field is known; what else a document holds is refused. Numbers that were
 * not said are -1 where 0 has a meaning. */
#pragma once

#include "lib/kobj/policy.h"

enum klb { /* of loadBalancer.simple */
           KLB_UNSPECIFIED,
           KLB_LEAST_CONN,
           KLB_RANDOM,
           KLB_PASSTHROUGH,
           KLB_ROUND_ROBIN,
           KLB_LEAST_REQUEST,
};

struct kcookie_attribute {
    struct str name, value;
};

struct khash_cookie {
    struct str name, path;
    int64_t ttl_ms; /* -1: none said */
    KLIST(struct kcookie_attribute) attributes;
};

struct kconsistent_hash {
    struct str header, param;          /* the key, or */
    const struct khash_cookie *cookie; /* this, or */
    bool source_ip;
    int32_t ring_min, ring_min_old, maglev_size; /* -1: none said */
    bool ring, maglev;
};

struct klocality_to {
    struct str from;
    KLIST(struct knumber) to; /* weights */
};
struct klocality_failover {
    struct str from, to;
};
struct klocality_lb {
    KLIST(struct klocality_to) distribute;
    KLIST(struct klocality_failover) failover;
    struct kstrs failover_priority;
    uint8_t enabled; /* enum ktri */
};

struct kwarmup {
    int64_t duration_ms;
    int64_t minimum_percent, aggression; /* millionths; -1: none said */
};

struct kload_balancer {
    uint8_t simple; /* enum klb */
    const struct kconsistent_hash *hash;
    const struct klocality_lb *locality;
    const struct kwarmup *warmup;
    int64_t warmup_old_ms; /* -1: none said */
    bool zone_aware;       /* it has that part, of which nothing is read */
};

struct kkeepalive {
    int32_t probes; /* -1: none said */
    int64_t time_ms, interval_ms;
};

struct kconnection_pool {
    int32_t max_connections;                          /* 0: none said, here and below */
    int64_t connect_ms, tcp_idle_ms, max_duration_ms; /* -1: none said */
    const struct kkeepalive *keepalive;
    int32_t http1_pending, http2_requests, requests_per_connection, retries, streams;
    int64_t http_idle_ms, ping_interval_ms, ping_timeout_ms;
    uint8_t h2_upgrade; /* 0: default, 1: no, 2: yes */
    bool client_protocol;
};

struct koutlier {
    int32_t consecutive_5xx, gateway_errors, local_failures; /* -1: none said */
    int32_t consecutive_old;
    int64_t interval_ms, ejection_ms;
    int32_t max_ejection_percent, min_health_percent; /* 0: none said */
    bool split_local;
    KLIST(int32_t) codes;
};

enum kdr_tls_mode { KDR_TLS_DISABLE, KDR_TLS_SIMPLE, KDR_TLS_MUTUAL, KDR_TLS_ISTIO_MUTUAL };

struct kdr_tls {
    uint8_t mode; /* enum kdr_tls_mode */
    struct str cert, key, ca, crl, credential, sni;
    struct kstrs sans;
    uint8_t insecure; /* enum ktri */
};

struct kdr_tunnel {
    struct str protocol, host;
    uint16_t port;
};

struct kretry_budget {
    int64_t percent; /* millionths of a per cent; -1: none said */
    int32_t min_concurrency;
    int64_t interval_ms;
};

struct ktraffic_part {               /* of a policy, and of a port, which replaces the whole */
    const struct kload_balancer *lb; /* each NULL when absent */
    const struct kconnection_pool *pool;
    const struct koutlier *outlier;
    const struct kdr_tls *tls;
};

struct kport_policy {
    uint16_t port;
    struct ktraffic_part part;
};

struct kdr_policy {
    struct ktraffic_part part;
    KLIST(struct kport_policy) ports;
    const struct kdr_tunnel *tunnel;
    const struct kretry_budget *retry_budget;
    uint8_t proxy_protocol; /* 0: none, 1, 2 */
};

struct ksubset {
    struct str name;
    struct kmap labels;
    const struct kdr_policy *policy;
};

struct kdestination_rule {
    struct kobj obj;
    struct str host;
    const struct kdr_policy *policy;
    KLIST(struct ksubset) subsets;
    struct kstrs export_to;
    const struct kselector *selector;
};
KOBJ_CAST(kobj_destination_rule, kdestination_rule, KOBJ_DESTINATION_RULE)
