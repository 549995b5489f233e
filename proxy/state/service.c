#include "proxy/state/service.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "proxy/state/decode.h"

#define VIPS_MAX     256
#define PORTS_MAX    1024
#define SANS_MAX     256
#define WEIGHTED_MAX 16

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
    free(s);
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

/* -- decoding -- */

static enum rc check(const Istio__Workload__Service *m, struct errmsg *msg)
{
    const Istio__Workload__LoadBalancing *lb = m->load_balancing;
    if (!m->hostname[0] || strlen(m->hostname) > 255 || strlen(m->namespace_) > 255 ||
        strlen(m->name) > 255)
        return decode_fail(msg, "service", m->hostname, "hostname, namespace or name",
                           "missing or over 255 bytes");
    if (m->n_addresses > VIPS_MAX || m->n_ports > PORTS_MAX || m->n_subject_alt_names > SANS_MAX ||
        m->n_weighted_waypoints > WEIGHTED_MAX)
        return decode_fail(msg, "service", m->hostname, "addresses, ports or names", "too many");
    if (m->ip_families > ISTIO__WORKLOAD__IPFAMILIES__DUAL)
        return decode_fail(msg, "service", m->hostname, "ip_families", "unknown value");
    if (!lb)
        return RC_OK;
    if (lb->mode > ISTIO__WORKLOAD__LOAD_BALANCING__MODE__PASSTHROUGH ||
        lb->health_policy > ISTIO__WORKLOAD__LOAD_BALANCING__HEALTH_POLICY__ALLOW_ALL ||
        lb->n_routing_preference > SERVICE_PREFS)
        return decode_fail(msg, "service", m->hostname, "load_balancing", "unknown value");
    for (size_t i = 0; i < lb->n_routing_preference; i++)
        if (lb->routing_preference[i] == 0 ||
            lb->routing_preference[i] > ISTIO__WORKLOAD__LOAD_BALANCING__SCOPE__NETWORK)
            return decode_fail(msg, "service", m->hostname, "load_balancing.routing_preference",
                               "unknown value");
    return RC_OK;
}

static enum rc vips_decode(const Istio__Workload__Service *m, struct pack *p,
                           struct service_vip *vips, struct errmsg *msg)
{
    for (size_t i = 0; i < m->n_addresses; i++) {
        const Istio__Workload__NetworkAddress *a = m->addresses[i];
        struct addr ip;
        (void)pack_str(p, a->network, &vips[i].network);
        if (addr_from_bytes(a->address.data, a->address.len, &ip) != RC_OK)
            return decode_fail(msg, "service", m->hostname, "addresses", "not 4 or 16 bytes");
        unsigned bits = (unsigned)addr_len(&ip) * 8;
        if (a->prefix_case == ISTIO__WORKLOAD__NETWORK_ADDRESS__PREFIX_LENGTH)
            bits = a->length;
        if (cidr_make(&ip, bits, &vips[i].cidr) != RC_OK)
            return decode_fail(msg, "service", m->hostname, "addresses", "prefix too long");
    }
    return RC_OK;
}

static size_t text_bytes(const Istio__Workload__Service *m)
{
    size_t n = 2 * (strlen(m->namespace_) + strlen(m->hostname)) + 1 + strlen(m->name);
    for (size_t i = 0; i < m->n_addresses; i++)
        n += strlen(m->addresses[i]->network);
    n += gateway_bytes(m->waypoint);
    for (size_t i = 0; i < m->n_weighted_waypoints; i++)
        n += gateway_bytes(m->weighted_waypoints[i]->destination);
    return n;
}

static void *take(char **at, size_t n)
{
    void *p = *at;
    *at += (n + 7) & ~(size_t)7;
    return p;
}

static enum rc fill(struct service *s, const Istio__Workload__Service *m, size_t text,
                    struct errmsg *msg)
{
    char *at = (char *)s + ((sizeof(*s) + 7) & ~(size_t)7);
    struct service_vip *vips = take(&at, m->n_addresses * sizeof(*vips));
    struct port_map *ports = take(&at, m->n_ports * sizeof(*ports));
    s->sans = take(&at, m->n_subject_alt_names * sizeof(*s->sans));
    struct gateway_addr *wp = m->waypoint ? take(&at, sizeof(*wp)) : NULL;
    struct weighted_gateway *weighted = take(&at, m->n_weighted_waypoints * sizeof(*weighted));
    struct pack p = {at, text};
    struct str sep, host;
    (void)pack_str(&p, m->namespace_, &s->key);
    (void)pack_str(&p, "/", &sep);
    (void)pack_str(&p, m->hostname, &host);
    s->ns = s->key;
    s->host = host;
    s->key.n += 1 + host.n;
    (void)pack_str(&p, m->name, &s->name);
    enum rc rc = vips_decode(m, &p, vips, msg);
    if (rc != RC_OK)
        return rc;
    if (!ports_decode(m->n_ports, m->ports, ports))
        return decode_fail(msg, "service", m->hostname, "ports", "over 65535");
    for (size_t i = 0; i < m->n_subject_alt_names; i++) {
        if (identity_parse(str_of(m->subject_alt_names[i]), &s->sans[i]) != RC_OK)
            return decode_fail(msg, "service", m->hostname, "subject_alt_names",
                               "not a SPIFFE identity");
        s->n_sans++;
    }
    if (wp && !gateway_decode(m->waypoint, &p, wp))
        return decode_fail(msg, "service", m->hostname, "waypoint", "no usable destination");
    for (size_t i = 0; i < m->n_weighted_waypoints; i++) {
        const Istio__Workload__WeightedWaypoint *w = m->weighted_waypoints[i];
        if (!w->destination || !gateway_decode(w->destination, &p, &weighted[i].to))
            return decode_fail(msg, "service", m->hostname, "weighted_waypoints",
                               "no usable destination");
        weighted[i].weight = w->weight;
    }
    s->vips = vips;
    s->ports = ports;
    s->waypoint = wp;
    s->weighted = weighted;
    return RC_OK;
}

enum rc service_decode(const Istio__Workload__Service *m, struct service **ret,
                       struct errmsg *ret_msg)
{
    enum rc rc = check(m, ret_msg);
    if (rc != RC_OK)
        return rc;
    size_t text = text_bytes(m);
    struct service *s = mem_zalloc(
        sizeof(*s) + 48 + m->n_addresses * sizeof(struct service_vip) +
        m->n_ports * sizeof(struct port_map) + m->n_subject_alt_names * sizeof(struct identity *) +
        sizeof(struct gateway_addr) + m->n_weighted_waypoints * sizeof(struct weighted_gateway) +
        text);
    ref_init(&s->ref);
    const Istio__Workload__LoadBalancing *lb = m->load_balancing;
    s->families = (uint8_t)m->ip_families;
    s->canonical = m->canonical;
    s->namespace_only = m->visibility == ISTIO__WORKLOAD__SERVICE__VISIBILITY__NAMESPACE;
    if (lb) {
        s->mode = (uint8_t)lb->mode;
        s->allow_unhealthy =
            lb->health_policy == ISTIO__WORKLOAD__LOAD_BALANCING__HEALTH_POLICY__ALLOW_ALL;
        s->n_prefs = (uint8_t)lb->n_routing_preference;
        for (size_t i = 0; i < lb->n_routing_preference; i++)
            s->prefs[i] = (uint8_t)lb->routing_preference[i];
    }
    s->n_vips = (uint16_t)m->n_addresses;
    s->n_ports = (uint16_t)m->n_ports;
    s->n_weighted = (uint16_t)m->n_weighted_waypoints;
    rc = fill(s, m, text, ret_msg);
    if (rc != RC_OK) {
        service_unref(s);
        return rc;
    }
    *ret = s;
    return RC_OK;
}

/* -- endpoints -- */

struct endpoints *endpoints_ref(struct endpoints *e)
{
    ref_get(&e->ref);
    return e;
}

void endpoints_unref(struct endpoints *e)
{
    if (!e || !ref_put(&e->ref))
        return;
    for (size_t i = 0; i < e->n; i++)
        workload_unref(e->e[i].wl);
    free(e->key);
    free(e);
}

struct endpoints *endpoints_edit(const struct endpoints *old, struct str key, struct str uid,
                                 struct workload *wl)
{
    size_t most = (old ? old->n : 0) + (wl != NULL);
    struct endpoints *e = mem_zalloc(sizeof(*e) + most * sizeof(e->e[0]));
    ref_init(&e->ref);
    for (size_t i = 0; old && i < old->n; i++) {
        if (str_eq(workload_text(old->e[i].wl, WL_UID), uid))
            continue;
        e->e[e->n] = old->e[i];
        workload_ref(e->e[e->n++].wl);
    }
    if (wl)
        e->e[e->n++] = (struct endpoint){workload_ref(wl), workload_service(wl, key)};
    e->key = str_dup(key);
    if (e->n)
        return e;
    endpoints_unref(e);
    return NULL;
}
