#include "proxy/core/telemetry.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/hash.h"
#include "lib/base/htab.h"
#include "lib/base/list.h"
#include "lib/base/mem.h"
#include "lib/base/must.h"
#include "lib/hbone/hbone.h"
#include "lib/metric/metric.h"
#include "proxy/core/telemetry_priv.h"

#define IDLE_MAX 1024 /* entries without a connection */
#define LABELS_MAX \
    (1 << 20) /* more than all texts can be: nothing is cut; too much overflows there */

static const struct metric_family opened = {
    .name = "istio_tcp_connections_opened",
    .help = "The total number of TCP connections opened.",
    .type = METRIC_COUNTER,
};
static const struct metric_family closed = {
    .name = "istio_tcp_connections_closed",
    .help = "The total number of TCP connections closed.",
    .type = METRIC_COUNTER,
};
static const struct metric_family failed = {
    .name = "istio_tcp_connections_failed",
    .help = "The total number of TCP connections that failed to establish (unstable).",
    .type = METRIC_COUNTER,
};
static const struct metric_family received = {
    .name = "istio_tcp_received_bytes",
    .help = "The size of total bytes received during request in case of a TCP connection.",
    .type = METRIC_COUNTER,
};
static const struct metric_family sent = {
    .name = "istio_tcp_sent_bytes",
    .help = "The size of total bytes sent during response in case of a TCP connection.",
    .type = METRIC_COUNTER,
};
static const struct metric_family sockets = {
    .name = "istio_tcp_sockets_open",
    .help = "The current number of open TCP sockets (unstable).",
    .type = METRIC_GAUGE,
};

/* What makes two connections count as one kind. */
struct telemetry_series {
    struct hnode node;
    struct list idle; /* telemetry->idle while users is 0, least recently used first */
    unsigned users;
    struct conn_info ci; /* only what labels are made of; counted, texts are own copies */
    struct metric_series *opened, *received, *sent;
    struct metric_series *closed, *failed; /* of flag; NULL before the first */
    const char *flag; /* the last one; rc_flag() gives always the same pointer */
};

struct telemetry {
    struct htab series;
    struct list idle;
    size_t idle_n;
    struct metric_series *sockets[2];
};

/* -- labels -- */

static void side_of_workload(const struct workload *w, struct conn_side *s)
{
    s->known = true;
    s->name = workload_text(w, WL_NAME);
    s->workload = workload_text(w, WL_WORKLOAD_NAME);
    s->ns = workload_text(w, WL_NS);
    s->cluster = workload_text(w, WL_CLUSTER);
    s->service = workload_text(w, WL_CANONICAL_NAME);
    s->revision = workload_text(w, WL_CANONICAL_REVISION);
    s->app = s->service;
    s->region = workload_text(w, WL_REGION);
    s->zone = workload_text(w, WL_ZONE);
}

static void side_of_baggage(struct str text, bool source, struct conn_side *s)
{
    struct baggage b;
    baggage_parse(text, &b);
    s->known = true;
    s->name = source ? b.service : b.workload; /* as Istio's ztunnel does */
    s->workload = b.workload;
    s->ns = b.ns;
    s->cluster = b.cluster;
    s->service = b.service;
    s->revision = b.version;
    s->app = b.workload;
    s->region = b.region;
    s->zone = b.zone;
}

void conn_side_of(const struct conn_info *ci, bool source, struct conn_side *ret)
{
    const struct workload *w = source ? ci->src : ci->dst;
    struct str words = source ? ci->src_baggage : ci->dst_baggage;
    const struct identity *id = source ? ci->src_id : ci->dst_id;
    *ret = (struct conn_side){0};
    /* a source is who the address says, a destination who it says itself */
    if (w && (source || words.n == 0))
        side_of_workload(w, ret);
    else if (words.n)
        side_of_baggage(words, source, ret);
    if (!id && !source && w)
        id = workload_identity(w);
    if (id)
        ret->principal = id->uri;
}

static void label(struct strbuf *b, const char *key, struct str value)
{
    metric_label(b, key, value.n ? value : STR("unknown"));
}

static const char *reporter(bool inbound)
{
    return inbound ? "destination" : "source";
}

static void labels_make(const struct conn_info *ci, const char *flag, struct strbuf *b)
{
    struct conn_side src, dst;
    conn_side_of(ci, true, &src);
    conn_side_of(ci, false, &dst);
    const struct service *s = ci->svc;
    metric_label(b, "reporter", str_of(reporter(ci->inbound)));
    label(b, "source_workload", src.workload);
    label(b, "source_canonical_service", src.service);
    label(b, "source_canonical_revision", src.revision);
    label(b, "source_workload_namespace", src.ns);
    label(b, "source_principal", src.principal);
    label(b, "source_app", src.app);
    label(b, "source_version", src.revision);
    label(b, "source_cluster", src.cluster);
    label(b, "destination_service", s ? s->host : STR(""));
    label(b, "destination_service_namespace", s ? s->ns : STR(""));
    label(b, "destination_service_name", s ? s->name : STR(""));
    label(b, "destination_workload", dst.workload);
    label(b, "destination_canonical_service", dst.service);
    label(b, "destination_canonical_revision", dst.revision);
    label(b, "destination_workload_namespace", dst.ns);
    label(b, "destination_principal", dst.principal);
    label(b, "destination_app", dst.app);
    label(b, "destination_version", dst.revision);
    label(b, "destination_cluster", dst.cluster);
    metric_label(b, "request_protocol", STR("tcp"));
    metric_label(b, "response_flags", str_of(flag));
    metric_label(b, "connection_security_policy", ci->mtls ? STR("mutual_tls") : STR("unknown"));
    if (!src.known && !dst.known)
        return;
    label(b, "source_region", src.region);
    label(b, "source_zone", src.zone);
    label(b, "destination_region", dst.region);
    label(b, "destination_zone", dst.zone);
}

/* -- the cache -- */

static uint64_t hash_ptr(uint64_t h, const void *p)
{
    return hash_mix(h, (uint64_t)(uintptr_t)p);
}

/* Objects by their address (the entry holds them), identities and words by what they say: a TLS session
 * brings its own. */
static uint64_t kind_hash(const struct conn_info *ci)
{
    uint64_t h = hash_ptr((uint64_t)ci->inbound << 1 | ci->mtls, ci->src);
    h = hash_ptr(hash_ptr(h, ci->dst), ci->svc);
    h = hash_mix(h, ci->src_id ? ci->src_id->hash : 0);
    h = hash_mix(h, ci->dst_id ? ci->dst_id->hash : 0);
    if (ci->src_baggage.n)
        h = hash_mix(h, hash_str(ci->src_baggage));
    return ci->dst_baggage.n ? hash_mix(h, hash_str(ci->dst_baggage) + 1) : h;
}

static bool same_id(const struct identity *a, const struct identity *b)
{
    return a == b || (a && b && identity_eq(a, b));
}

static bool is_kind(const struct hnode *n, const void *key)
{
    const struct conn_info *a = &container_of(n, const struct telemetry_series, node)->ci;
    const struct conn_info *b = key;
    return a->inbound == b->inbound && a->mtls == b->mtls && a->src == b->src && a->dst == b->dst &&
           a->svc == b->svc && same_id(a->src_id, b->src_id) && same_id(a->dst_id, b->dst_id) &&
           str_eq(a->src_baggage, b->src_baggage) && str_eq(a->dst_baggage, b->dst_baggage);
}

static struct str text_dup(struct str s)
{
    return (struct str){s.n ? mem_dup(s.p, s.n) : NULL, s.n};
}

static struct telemetry_series *series_new(const struct conn_info *ci)
{
    struct telemetry_series *s = mem_new(struct telemetry_series);
    s->ci = (struct conn_info){
        .inbound = ci->inbound,
        .mtls = ci->mtls,
        .src = ci->src ? workload_ref(ci->src) : NULL,
        .dst = ci->dst ? workload_ref(ci->dst) : NULL,
        .svc = ci->svc ? service_ref(ci->svc) : NULL,
        .src_id = ci->src_id ? identity_ref(ci->src_id) : NULL,
        .dst_id = ci->dst_id ? identity_ref(ci->dst_id) : NULL,
        .src_baggage = text_dup(ci->src_baggage),
        .dst_baggage = text_dup(ci->dst_baggage),
    };
    struct strbuf b AUTO_STRBUF;
    strbuf_init(&b, LABELS_MAX);
    labels_make(ci, rc_flag(RC_OK), &b);
    s->opened = metric_series(&opened, strbuf_str(&b));
    s->received = metric_series(&received, strbuf_str(&b));
    s->sent = metric_series(&sent, strbuf_str(&b));
    return s;
}

static void series_free(struct telemetry *t, struct telemetry_series *s)
{
    htab_del(&t->series, &s->node);
    list_del(&s->idle);
    workload_unref(s->ci.src);
    workload_unref(s->ci.dst);
    service_unref(s->ci.svc);
    identity_unref(s->ci.src_id);
    identity_unref(s->ci.dst_id);
    free((char *)(uintptr_t)s->ci.src_baggage.p);
    free((char *)(uintptr_t)s->ci.dst_baggage.p);
    free(s);
}

struct telemetry_series *telemetry_open(struct telemetry *t, const struct conn_info *ci)
{
    uint64_t hash = kind_hash(ci);
    struct hnode *n = htab_find(&t->series, hash, is_kind, ci);
    struct telemetry_series *s = n ? container_of(n, struct telemetry_series, node) : NULL;
    if (!s) {
        s = series_new(ci);
        htab_insert(&t->series, &s->node, hash);
    } else if (s->users == 0) {
        list_del(&s->idle);
        t->idle_n--;
    }
    s->users++;
    metric_add(s->opened, 1);
    return s;
}

void telemetry_bytes(struct telemetry_series *s, uint64_t up, uint64_t down)
{
    metric_add(s->received, (int64_t)up);
    metric_add(s->sent, (int64_t)down);
}

/* An end with a flag is another label set; ends of one kind tend to be alike. */
static void series_flag(struct telemetry_series *s, const char *flag)
{
    if (s->flag == flag)
        return;
    struct strbuf b AUTO_STRBUF;
    strbuf_init(&b, LABELS_MAX);
    labels_make(&s->ci, flag, &b);
    s->flag = flag;
    s->closed = metric_series(&closed, strbuf_str(&b));
    s->failed = str_eqz(STR("-"), flag) ? NULL : metric_series(&failed, strbuf_str(&b));
}

void telemetry_close(struct telemetry *t, struct telemetry_series *s, enum rc why)
{
    series_flag(s, rc_flag(why));
    metric_add(s->closed, 1);
    if (s->failed)
        metric_add(s->failed, 1);
    MUST(s->users > 0);
    if (--s->users)
        return;
    list_push_back(&t->idle, &s->idle);
    if (++t->idle_n > IDLE_MAX) {
        series_free(t, LIST_FIRST(&t->idle, struct telemetry_series, idle));
        t->idle_n--;
    }
}

void telemetry_socket(struct telemetry *t, bool inbound, int change)
{
    if (!t->sockets[inbound]) {
        struct strbuf b AUTO_STRBUF;
        strbuf_init(&b, 100);
        metric_label(&b, "reporter", str_of(reporter(inbound)));
        t->sockets[inbound] = metric_series(&sockets, strbuf_str(&b));
    }
    metric_add(t->sockets[inbound], change);
}

size_t telemetry_kinds(const struct telemetry *t)
{
    return t->series.len;
}

struct telemetry *telemetry_new(void)
{
    struct telemetry *t = mem_new(struct telemetry);
    htab_init(&t->series);
    list_init(&t->idle);
    return t;
}

void telemetry_free(struct telemetry *t)
{
    if (!t)
        return;
    struct telemetry_series *s;
    while ((s = LIST_FIRST(&t->idle, struct telemetry_series, idle)))
        series_free(t, s);
    MUST(t->series.len == 0); /* no connection outlives its worker */
    htab_fini(&t->series);
    free(t);
}
