#include "lib/hbone/hbone.h"

#include <string.h>

#include "lib/base/hash.h"
#include "lib/base/mem.h"

static enum rc authority_parse(struct str a, struct hbone_request *r)
{
    if (addr_parse_port(a, &r->addr) == RC_OK) {
        r->port = r->addr.port;
        return r->port ? RC_OK : RC_INVALID;
    }
    struct str port, host = str_split(a, ':', &port);
    uint64_t v;
    if (host.n == 0 || host.n > 253 || !str_to_u64(port, 65535, &v) || v == 0)
        return RC_INVALID;
    for (size_t i = 0; i < host.n; i++) { /* letters, digits, '-', '.', '_', '*' */
        char c = host.p[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '.' || c == '_' || c == '*';
        if (!ok)
            return RC_INVALID;
    }
    r->host = host;
    r->port = (uint16_t)v;
    return RC_OK;
}

static struct str header(const struct h2_headers *hs, const char *name)
{
    struct str v = h2_header_get(hs, name);
    return v.n <= HBONE_HEADER_MAX ? v : (struct str){NULL, 0};
}

enum rc hbone_request_parse(const struct h2_headers *hs, struct hbone_request *ret)
{
    struct hbone_request r = {
        .authority = header(hs, ":authority"),
        .baggage = header(hs, "baggage"),
        .forwarded = header(hs, "forwarded"),
        .traceparent = header(hs, "traceparent"),
        .forwarded_network = header(hs, "x-forwarded-network"),
        .istio_source = header(hs, "x-istio-source"),
    };
    if (!str_eqz(h2_header_get(hs, ":method"), "CONNECT"))
        return RC_INVALID;
    enum rc rc = authority_parse(r.authority, &r);
    if (rc == RC_OK)
        *ret = r;
    return rc;
}

/* -- baggage -- */

static const struct {
    const char *key;
    size_t offset;
} baggage_keys[] = {
    {"k8s.cluster.name", offsetof(struct baggage, cluster)},
    {"k8s.namespace.name", offsetof(struct baggage, ns)},
    {"service.name", offsetof(struct baggage, service)},
    {"service.version", offsetof(struct baggage, version)},
    {"cloud.region", offsetof(struct baggage, region)},
    {"cloud.availability_zone", offsetof(struct baggage, zone)},
};
/* k8s.<type>.name names the workload (ztunnel: baggage.rs) */
static const char *const workload_types[] = {"deployment", "cronjob", "pod", "job"};

static void baggage_put(struct baggage *b, struct str key, struct str value)
{
    for (size_t i = 0; i < ARRAY_LEN(baggage_keys); i++) {
        if (str_eqz(key, baggage_keys[i].key)) {
            memcpy((char *)b + baggage_keys[i].offset, &value, sizeof(value));
            return;
        }
    }
    if (!str_starts(key, STR("k8s.")) || !str_ends(key, STR(".name")) || key.n < 9)
        return;
    struct str type = {key.p + 4, key.n - 9};
    for (size_t i = 0; i < ARRAY_LEN(workload_types); i++) {
        if (str_eqz(type, workload_types[i])) {
            b->workload_type = type;
            b->workload = value;
        }
    }
}

void baggage_parse(struct str value, struct baggage *ret)
{
    *ret = (struct baggage){0};
    while (value.n) {
        struct str v, item = str_split(value, ',', &value), key = str_split(item, '=', &v);
        baggage_put(ret, str_trim(key), str_trim(v));
    }
}

/* Separators in a value would forge another key: such a value is left out. */
static void baggage_add(struct strbuf *out, const char *key, struct str v)
{
    if (v.n == 0)
        return;
    for (size_t i = 0; i < v.n; i++)
        if (v.p[i] == ',' || v.p[i] == '=' || v.p[i] == ';' || v.p[i] <= ' ' || v.p[i] > '~')
            return;
    if (out->n)
        strbuf_addc(out, ',');
    strbuf_addz(out, key);
    strbuf_addc(out, '=');
    strbuf_adds(out, v);
}

void baggage_format(const struct baggage *b, struct strbuf *out)
{
    char key[64] = "k8s.pod.name";
    if (b->workload_type.n && b->workload_type.n < 32) {
        memcpy(key + 4, b->workload_type.p, b->workload_type.n);
        memcpy(key + 4 + b->workload_type.n, ".name", 6);
    }
    baggage_add(out, "k8s.cluster.name", b->cluster);
    baggage_add(out, "k8s.namespace.name", b->ns);
    baggage_add(out, key, b->workload);
    baggage_add(out, "service.name", b->service);
    baggage_add(out, "service.version", b->version);
    baggage_add(out, "cloud.region", b->region);
    baggage_add(out, "cloud.availability_zone", b->zone);
}

/* -- forwarded (RFC 7239) -- */

void forwarded_format(const struct addr *client, struct str service_host, struct strbuf *out)
{
    char text[ADDR_TEXT];
    size_t n = addr_format(client, text);
    strbuf_addz(out, "for=\"");
    strbuf_add(out, text, n);
    strbuf_addc(out, '"');
    if (service_host.n) {
        strbuf_addz(out, ";host=");
        strbuf_adds(out, service_host);
    }
}

struct str forwarded_host(struct str value)
{
    struct str first = str_split(value, ',', &(struct str){0});
    while (first.n) {
        struct str v, pair = str_split(first, ';', &first), key = str_split(pair, '=', &v);
        if (!str_ieq(str_trim(key), STR("host")))
            continue;
        v = str_trim(v);
        if (v.n >= 2 && v.p[0] == '"' && v.p[v.n - 1] == '"')
            v = (struct str){v.p + 1, v.n - 2};
        return v;
    }
    return (struct str){"", 0};
}

void traceparent_make(char out[56])
{
    static const char hex[] = "0123456789abcdef";
    uint64_t r[3] = {rand_u64() | 1, rand_u64(), rand_u64() | 1}; /* all zero is invalid */
    char *p = out;
    *p++ = '0', *p++ = '0', *p++ = '-';
    for (int i = 0; i < 48; i++) {
        if (i == 32)
            *p++ = '-';
        *p++ = hex[r[i / 16] >> (i % 16 * 4) & 15];
    }
    memcpy(p, "-00", 4);
}
