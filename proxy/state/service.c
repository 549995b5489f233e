#include "proxy/state/service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "proxy/state/decode.h"

#define VIPS_MAX     256
#define PORTS_MAX    1024
#define SANS_MAX     256
#define WEIGHTED_MAX 16
#define TEXT_MAX     512 /* bytes of hostname, namespace, name or network */

struct service *service_ref(struct service *s)
{
    ref_get(&s->ref);
    return s;
}

void service_unref(struct service *s)
{
    if (!s || !ref_put(&s->ref))
        return;
    for (size_t i = 0; i < s->n_sans; i++)
        identity_unref(s->sans[i]);
    for (size_t i = 0; i < s->n_weighted; i++)
        gateway_unref(s->weighted[i].to);
    gateway_unref(s->waypoint);
    atom_unref(s->atom);
    free(s);
}

bool service_passthrough(const struct service *s)
{
    return s->balance.mode == ISTIO__WORKLOAD__LOAD_BALANCING__MODE__PASSTHROUGH;
}

bool service_visible(const struct service *s, struct str client_ns)
{
    return !s->namespace_only || client_ns.n == 0 || str_eq(s->ns, client_ns);
}

uint16_t service_port(const struct service *s, uint16_t port, bool *ret_has)
{
    for (size_t i = 0; i < s->n_ports; i++) {
        if (s->ports[i].service == port) {
            *ret_has = true;
            return s->ports[i].target;
        }
    }
    *ret_has = false;
    return 0;
}

bool service_vip_is_prefix(const struct service_vip *v)
{
    return v->cidr.bits != addr_len(&v->cidr.base) * 8;
}

/* -- decoding -- */

struct dec {
    const Istio__Workload__Service *m;
    struct intern *in;
    struct errmsg *msg;
    char *at; /* texts, at the end of the service */
};

static enum rc fail(const struct dec *d, enum rc rc, const char *field, const char *why)
{
    char key[2 * TEXT_MAX + 2];
    snprintf(key, sizeof(key), "%.*s/%.*s", TEXT_MAX, d->m->namespace_, TEXT_MAX, d->m->hostname);
    return decode_fail(d->msg, rc, "service", key, field, why);
}

static enum rc check_balance(const struct dec *d)
{
    const Istio__Workload__LoadBalancing *lb = d->m->load_balancing;
    if (!lb)
        return RC_OK;
    if (!protobuf_c_enum_descriptor_get_value(&istio__workload__load_balancing__mode__descriptor,
                                              (int)lb->mode))
        return fail(d, RC_INVALID, "load_balancing.mode", "unknown value");
    if (lb->health_policy != ISTIO__WORKLOAD__LOAD_BALANCING__HEALTH_POLICY__ONLY_HEALTHY &&
        lb->health_policy != ISTIO__WORKLOAD__LOAD_BALANCING__HEALTH_POLICY__ALLOW_ALL)
        return fail(d, RC_INVALID, "load_balancing.health_policy", "unknown value");
    if (lb->n_routing_preference > SERVICE_PREFS)
        return fail(d, RC_LIMIT, "load_balancing.routing_preference", "more than 8");
    for (size_t i = 0; i < lb->n_routing_preference; i++)
        if (lb->routing_preference[i] ==
                ISTIO__WORKLOAD__LOAD_BALANCING__SCOPE__UNSPECIFIED_SCOPE ||
            !protobuf_c_enum_descriptor_get_value(
                &istio__workload__load_balancing__scope__descriptor,
                (int)lb->routing_preference[i]))
            return fail(d, RC_INVALID, "load_balancing.routing_preference", "unknown value");
    return RC_OK;
}

static enum rc check(const struct dec *d)
{
    const Istio__Workload__Service *m = d->m;
    if (m->hostname[0] == '\0')
        return fail(d, RC_INVALID, "hostname", "missing");
    if (strchr(m->namespace_, '/'))
        return fail(d, RC_INVALID, "namespace", "has a slash");
    if (strlen(m->hostname) > TEXT_MAX || strlen(m->namespace_) > TEXT_MAX ||
        strlen(m->name) > TEXT_MAX)
        return fail(d, RC_LIMIT, "hostname, namespace or name", "over 512 bytes");
    if (m->n_addresses > VIPS_MAX)
        return fail(d, RC_LIMIT, "addresses", "more than 256");
    for (size_t i = 0; i < m->n_addresses; i++)
        if (strlen(m->addresses[i]->network) > TEXT_MAX)
            return fail(d, RC_LIMIT, "addresses.network", "over 512 bytes");
    if (m->n_ports > PORTS_MAX)
        return fail(d, RC_LIMIT, "ports", "more than 1024");
    if (m->n_subject_alt_names > SANS_MAX)
        return fail(d, RC_LIMIT, "subject_alt_names", "more than 256");
    if (m->n_weighted_waypoints > WEIGHTED_MAX)
        return fail(d, RC_LIMIT, "weighted_waypoints", "more than 16");
    if (!protobuf_c_enum_descriptor_get_value(&istio__workload__ipfamilies__descriptor,
                                              (int)m->ip_families))
        return fail(d, RC_INVALID, "ip_families", "unknown value");
    return check_balance(d);
}

/* The text as part of the key or of the VIP before, or copied. */
static struct str text_add(struct dec *d, struct str key, struct str before, const char *s)
{
    size_t n = strlen(s);
    const char *part = n ? memmem(key.p, key.n, s, n) : NULL;
    if (part || n == 0)
        return (struct str){part ? part : "", n};
    if (str_eqz(before, s))
        return before;
    char *to = memcpy(d->at, s, n);
    d->at += n;
    return (struct str){to, n};
}

static enum rc vips_fill(struct dec *d, struct service *s, struct service_vip *vips)
{
    const Istio__Workload__Service *m = d->m;
    for (size_t i = 0; i < m->n_addresses; i++) {
        const Istio__Workload__NetworkAddress *a = m->addresses[i];
        struct addr ip;
        if (addr_from_bytes(a->address.data, a->address.len, &ip) != RC_OK)
            return fail(d, RC_INVALID, "addresses", "not 4 or 16 bytes");
        unsigned most = (unsigned)a->address.len * 8, bits = most;
        if (a->prefix_case == ISTIO__WORKLOAD__NETWORK_ADDRESS__PREFIX_LENGTH)
            bits = a->length;
        unsigned mapped = most - (unsigned)addr_len(&ip) * 8; /* IPv4 in IPv6 */
        if (bits > most || bits < mapped || cidr_make(&ip, bits - mapped, &vips[i].cidr) != RC_OK)
            return fail(d, RC_INVALID, "addresses", "not a prefix length");
        vips[i].network =
            text_add(d, s->key, i ? vips[i - 1].network : (struct str){"", 0}, a->network);
    }
    s->n_vips = (uint16_t)m->n_addresses;
    return RC_OK;
}

static enum rc gateways_fill(const struct dec *d, struct service *s, struct weighted_gateway *to)
{
    const Istio__Workload__Service *m = d->m;
    if (m->waypoint && !(s->waypoint = gateway_decode(m->waypoint, d->in)))
        return fail(d, RC_INVALID, "waypoint", "no usable destination");
    for (size_t i = 0; i < m->n_weighted_waypoints; i++) {
        const Istio__Workload__WeightedWaypoint *w = m->weighted_waypoints[i];
        if (!w->destination || !(to[i].to = gateway_decode(w->destination, d->in)))
            return fail(d, RC_INVALID, "weighted_waypoints", "no usable destination");
        to[i].weight = w->weight;
        s->n_weighted++;
    }
    return RC_OK;
}

static void sans_fill(const struct dec *d, struct service *s, struct identity **to)
{
    for (size_t i = 0; i < d->m->n_subject_alt_names; i++) {
        to[s->n_sans] = intern_identity_uri(d->in, str_of(d->m->subject_alt_names[i]));
        if (to[s->n_sans])
            s->n_sans++;
    }
}

static void values_fill(const struct dec *d, struct service *s)
{
    const Istio__Workload__Service *m = d->m;
    const Istio__Workload__LoadBalancing *lb = m->load_balancing;
    s->families = (uint8_t)m->ip_families;
    s->canonical = m->canonical;
    s->namespace_only = m->visibility == ISTIO__WORKLOAD__SERVICE__VISIBILITY__NAMESPACE;
    if (!lb)
        return;
    s->balance.mode = (uint8_t)lb->mode;
    s->balance.allow_unhealthy =
        lb->health_policy == ISTIO__WORKLOAD__LOAD_BALANCING__HEALTH_POLICY__ALLOW_ALL;
    s->balance.n_prefs = (uint8_t)lb->n_routing_preference;
    for (size_t i = 0; i < lb->n_routing_preference; i++)
        s->balance.prefs[i] = (uint8_t)lb->routing_preference[i];
}

static void key_fill(const struct dec *d, struct service *s)
{
    char key[2 * TEXT_MAX + 2];
    int n = snprintf(key, sizeof(key), "%s/%s", d->m->namespace_, d->m->hostname);
    s->atom = intern_atom(d->in, (struct str){key, (size_t)n});
    s->key = atom_str(s->atom);
    s->ns = str_split(s->key, '/', &s->host);
}

static void *skip(char **at, size_t n)
{
    void *p = *at;
    *at += n;
    return p;
}

/* The most its texts may take. */
static size_t texts_len(const Istio__Workload__Service *m)
{
    size_t n = strlen(m->name);
    for (size_t i = 0; i < m->n_addresses; i++)
        if (i == 0 || strcmp(m->addresses[i]->network, m->addresses[i - 1]->network) != 0)
            n += strlen(m->addresses[i]->network);
    return strstr(m->hostname, m->name) ? n - strlen(m->name) : n;
}

enum rc service_decode(const Istio__Workload__Service *m, struct intern *in, struct service **ret,
                       struct errmsg *ret_msg)
{
    struct dec d = {.m = m, .in = in, .msg = ret_msg};
    enum rc rc = check(&d);
    if (rc != RC_OK)
        return rc;
    struct service *s = mem_zalloc(sizeof(*s) + m->n_addresses * sizeof(struct service_vip) +
                                   m->n_subject_alt_names * sizeof(struct identity *) +
                                   m->n_weighted_waypoints * sizeof(struct weighted_gateway) +
                                   m->n_ports * sizeof(struct port_map) + texts_len(m));
    ref_init(&s->ref);
    char *at = (char *)(s + 1);
    struct service_vip *vips = skip(&at, m->n_addresses * sizeof(*vips));
    struct identity **sans = skip(&at, m->n_subject_alt_names * sizeof(*sans));
    struct weighted_gateway *weighted = skip(&at, m->n_weighted_waypoints * sizeof(*weighted));
    struct port_map *ports = skip(&at, m->n_ports * sizeof(*ports));
    d.at = at;
    s->vips = vips;
    s->sans = sans;
    s->weighted = weighted;
    s->ports = ports;
    key_fill(&d, s);
    s->name = text_add(&d, s->key, (struct str){"", 0}, m->name);
    values_fill(&d, s);
    sans_fill(&d, s, sans);
    rc = vips_fill(&d, s, vips);
    if (rc == RC_OK)
        rc = gateways_fill(&d, s, weighted);
    if (rc == RC_OK && !ports_decode(m->n_ports, m->ports, ports, &s->n_ports))
        rc = fail(&d, RC_INVALID, "ports", "over 65535");
    if (rc != RC_OK) {
        service_unref(s);
        return rc;
    }
    *ret = s;
    return RC_OK;
}
