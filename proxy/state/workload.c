#include "proxy/state/workload.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/hbone/hbone.h"
#include "proxy/state/decode.h"

#define ADDRS_MAX          64
#define SERVICES_MAX       1024
#define POLICIES_MAX       1024
#define PORTS_MAX          1024
#define TEXTS_MAX          8192 /* bytes of all texts of a workload */
#define HBONE_PORT_DEFAULT 15008

struct str workload_type(const struct workload *w)
{
    switch ((Istio__Workload__WorkloadType)w->type) {
    case ISTIO__WORKLOAD__WORKLOAD_TYPE__DEPLOYMENT: return STR("deployment");
    case ISTIO__WORKLOAD__WORKLOAD_TYPE__CRONJOB:    return STR("cronjob");
    case ISTIO__WORKLOAD__WORKLOAD_TYPE__JOB:        return STR("job");
    default:                                         return STR("pod");
    }
}

struct workload *workload_ref(struct workload *w)
{
    ref_get(&w->ref);
    return w;
}

void workload_unref(struct workload *w)
{
    if (!w || !ref_put(&w->ref))
        return;
    identity_unref(w->id);
    free(w);
}

bool workload_has_addr(const struct workload *w, const struct addr *ip)
{
    for (size_t i = 0; i < w->n_addrs; i++)
        if (addr_eq_ip(&w->addrs[i], ip))
            return true;
    return false;
}

const struct wl_service *workload_service(const struct workload *w, struct str key)
{
    for (size_t i = 0; i < w->n_services; i++)
        if (str_eq(w->services[i].key, key))
            return &w->services[i];
    return NULL;
}

void workload_baggage(const struct workload *w, struct strbuf *out)
{
    struct baggage b = {
        .cluster = workload_text(w, WL_CLUSTER),
        .ns = workload_text(w, WL_NS),
        .workload_type = workload_type(w),
        .workload = workload_text(w, WL_WORKLOAD_NAME),
        .service = workload_text(w, WL_CANONICAL_NAME),
        .version = workload_text(w, WL_CANONICAL_REVISION),
        .region = workload_text(w, WL_REGION),
        .zone = workload_text(w, WL_ZONE),
    };
    baggage_format(&b, out);
}

/* -- decoding: pass 1 checks and adds up, pass 2 copies into one allocation -- */

enum rc decode_fail(struct errmsg *msg, const char *kind, const char *name, const char *field,
                    const char *why)
{
    errmsg_set(msg, "%s %s: %s: %s", kind, name, field, why);
    return RC_INVALID;
}

bool pack_str(struct pack *p, const char *s, struct str *ret)
{
    size_t n = s ? strlen(s) : 0;
    if (n > p->left)
        return false;
    if (n)
        memcpy(p->at, s, n);
    *ret = (struct str){p->at, n};
    p->at += n;
    p->left -= n;
    return true;
}

size_t gateway_bytes(const Istio__Workload__GatewayAddress *g)
{
    if (!g)
        return 0;
    if (g->destination_case == ISTIO__WORKLOAD__GATEWAY_ADDRESS__DESTINATION_HOSTNAME)
        return strlen(g->hostname->namespace_) + strlen(g->hostname->hostname);
    if (g->destination_case == ISTIO__WORKLOAD__GATEWAY_ADDRESS__DESTINATION_ADDRESS)
        return strlen(g->address->network);
    return 0;
}

bool gateway_decode(const Istio__Workload__GatewayAddress *g, struct pack *p,
                    struct gateway_addr *ret)
{
    struct gateway_addr a = {.set = true};
    if (g->hbone_mtls_port > 65535)
        return false;
    a.port = (uint16_t)(g->hbone_mtls_port ? g->hbone_mtls_port : HBONE_PORT_DEFAULT);
    switch (g->destination_case) {
    case ISTIO__WORKLOAD__GATEWAY_ADDRESS__DESTINATION_HOSTNAME:
        if (!pack_str(p, g->hostname->namespace_, &a.ns) ||
            !pack_str(p, g->hostname->hostname, &a.host) || a.host.n == 0)
            return false;
        break;
    case ISTIO__WORKLOAD__GATEWAY_ADDRESS__DESTINATION_ADDRESS:
        if (!pack_str(p, g->address->network, &a.network) ||
            addr_from_bytes(g->address->address.data, g->address->address.len, &a.ip) != RC_OK)
            return false;
        break;
    default: return false;
    }
    *ret = a;
    return true;
}

bool ports_decode(size_t n, Istio__Workload__Port **from, struct port_map *to)
{
    for (size_t i = 0; i < n; i++) {
        if (from[i]->service_port > 65535 || from[i]->target_port > 65535)
            return false;
        to[i] = (struct port_map){(uint16_t)from[i]->service_port, (uint16_t)from[i]->target_port};
    }
    return true;
}

struct sizes {
    size_t text, ports;
};

static enum rc check(const Istio__Workload__Workload *m, const char *const texts[WL_TEXTS],
                     struct sizes *ret, struct errmsg *msg)
{
    const char *uid = m->uid;
    if (uid[0] == '\0')
        return decode_fail(msg, "workload", m->name, "uid", "missing");
    if (m->n_addresses > ADDRS_MAX || m->n_services > SERVICES_MAX ||
        m->n_authorization_policies > POLICIES_MAX)
        return decode_fail(msg, "workload", uid, "addresses, services or policies", "too many");
    if (m->tunnel_protocol > ISTIO__WORKLOAD__TUNNEL_PROTOCOL__HBONE)
        return decode_fail(msg, "workload", uid, "tunnel_protocol", "not supported");
    if (m->status > ISTIO__WORKLOAD__WORKLOAD_STATUS__UNHEALTHY ||
        m->network_mode > ISTIO__WORKLOAD__NETWORK_MODE__HOST_NETWORK ||
        m->workload_type > ISTIO__WORKLOAD__WORKLOAD_TYPE__JOB)
        return decode_fail(msg, "workload", uid, "status, network_mode or workload_type",
                           "unknown value");
    if (m->application_tunnel &&
        (m->application_tunnel->protocol > ISTIO__WORKLOAD__APPLICATION_TUNNEL__PROTOCOL__PROXY ||
         m->application_tunnel->port > 65535))
        return decode_fail(msg, "workload", uid, "application_tunnel", "unknown protocol or port");
    struct sizes s = {0};
    for (int i = 0; i < WL_TEXTS; i++)
        s.text += texts[i] ? strlen(texts[i]) : 0;
    if (s.text > TEXTS_MAX)
        return decode_fail(msg, "workload", uid, "texts", "over the limit of 8192 bytes");
    for (size_t i = 0; i < m->n_authorization_policies; i++)
        s.text += strlen(m->authorization_policies[i]);
    for (size_t i = 0; i < m->n_services; i++) {
        const Istio__Workload__Workload__ServicesEntry *e = m->services[i];
        if (!strchr(e->key, '/'))
            return decode_fail(msg, "workload", uid, "services", "key without a slash");
        s.text += strlen(e->key);
        size_t n = e->value ? e->value->n_ports : 0;
        if (n > PORTS_MAX)
            return decode_fail(msg, "workload", uid, "services", "too many ports");
        s.ports += n;
    }
    s.text += gateway_bytes(m->waypoint) + gateway_bytes(m->network_gateway);
    *ret = s;
    return RC_OK;
}

static void *take(char **at, size_t n)
{
    void *p = *at;
    *at += (n + 7) & ~(size_t)7;
    return p;
}

static enum rc fill(struct workload *w, const Istio__Workload__Workload *m,
                    const char *const texts[WL_TEXTS], const struct sizes *s, char *at,
                    struct errmsg *msg)
{
    struct addr *addrs = take(&at, m->n_addresses * sizeof(*addrs));
    struct wl_service *services = take(&at, m->n_services * sizeof(*services));
    struct str *policies = take(&at, m->n_authorization_policies * sizeof(*policies));
    struct gateway_addr *wp = m->waypoint ? take(&at, sizeof(*wp)) : NULL;
    struct gateway_addr *gw = m->network_gateway ? take(&at, sizeof(*gw)) : NULL;
    struct port_map *ports = take(&at, s->ports * sizeof(*ports));
    struct pack p = {at, s->text};
    struct str t;
    w->text = at;
    for (int i = 0; i < WL_TEXTS; i++) {
        w->at[i] = (uint16_t)(p.at - at);
        (void)pack_str(&p, texts[i], &t);
    }
    w->at[WL_TEXTS] = (uint16_t)(p.at - at);
    for (size_t i = 0; i < m->n_addresses; i++)
        if (addr_from_bytes(m->addresses[i].data, m->addresses[i].len, &addrs[i]) != RC_OK)
            return decode_fail(msg, "workload", m->uid, "addresses", "not 4 or 16 bytes");
    for (size_t i = 0; i < m->n_services; i++) {
        const Istio__Workload__Workload__ServicesEntry *e = m->services[i];
        services[i].ports = ports;
        services[i].n_ports = (uint16_t)(e->value ? e->value->n_ports : 0);
        (void)pack_str(&p, e->key, &services[i].key);
        if (e->value && !ports_decode(e->value->n_ports, e->value->ports, ports))
            return decode_fail(msg, "workload", m->uid, "services", "port over 65535");
        ports += services[i].n_ports;
    }
    for (size_t i = 0; i < m->n_authorization_policies; i++)
        (void)pack_str(&p, m->authorization_policies[i], &policies[i]);
    if ((wp && !gateway_decode(m->waypoint, &p, wp)) ||
        (gw && !gateway_decode(m->network_gateway, &p, gw)))
        return decode_fail(msg, "workload", m->uid, "waypoint or network_gateway",
                           "no usable destination");
    w->addrs = addrs;
    w->services = services;
    w->policies = policies;
    w->waypoint = wp;
    w->network_gateway = gw;
    return RC_OK;
}

static const char *or_default(const char *s, const char *def)
{
    return s && s[0] ? s : def;
}

enum rc workload_decode(const Istio__Workload__Workload *m, identity_intern_fn *intern, void *arg,
                        struct workload **ret, struct errmsg *ret_msg)
{
    const Istio__Workload__Locality *l = m->locality;
    const char *const texts[WL_TEXTS] = {
        [WL_UID] = m->uid,
        [WL_NAME] = m->name,
        [WL_NS] = m->namespace_,
        [WL_SA] = or_default(m->service_account, "default"),
        [WL_NETWORK] = m->network,
        [WL_NODE] = m->node,
        [WL_CANONICAL_NAME] = m->canonical_name,
        [WL_CANONICAL_REVISION] = m->canonical_revision,
        [WL_WORKLOAD_NAME] = m->workload_name,
        [WL_CLUSTER] = or_default(m->cluster_id, "Kubernetes"),
        [WL_HOSTNAME] = m->hostname,
        [WL_REGION] = l ? l->region : NULL,
        [WL_ZONE] = l ? l->zone : NULL,
        [WL_SUBZONE] = l ? l->subzone : NULL,
    };
    struct sizes s = {0};
    enum rc rc = check(m, texts, &s, ret_msg);
    if (rc != RC_OK)
        return rc;
    size_t size = sizeof(struct workload) + 8 + m->n_addresses * sizeof(struct addr) + 8 +
                  m->n_services * sizeof(struct wl_service) +
                  m->n_authorization_policies * sizeof(struct str) +
                  (m->waypoint ? sizeof(struct gateway_addr) + 8 : 0) +
                  (m->network_gateway ? sizeof(struct gateway_addr) + 8 : 0) +
                  s.ports * sizeof(struct port_map) + 8 + s.text;
    struct workload *w = mem_zalloc(size);
    ref_init(&w->ref);
    w->n_addrs = (uint16_t)m->n_addresses;
    w->n_services = (uint16_t)m->n_services;
    w->n_policies = (uint16_t)m->n_authorization_policies;
    w->capacity = m->capacity ? m->capacity->value : 1;
    w->type = (uint8_t)m->workload_type;
    w->hbone = m->tunnel_protocol == ISTIO__WORKLOAD__TUNNEL_PROTOCOL__HBONE;
    w->healthy = m->status == ISTIO__WORKLOAD__WORKLOAD_STATUS__HEALTHY;
    w->host_network = m->network_mode == ISTIO__WORKLOAD__NETWORK_MODE__HOST_NETWORK;
    w->native_tunnel = m->native_tunnel;
    if (m->application_tunnel) {
        w->app_tunnel_port = (uint16_t)m->application_tunnel->port;
        w->app_tunnel_proxy =
            m->application_tunnel->protocol == ISTIO__WORKLOAD__APPLICATION_TUNNEL__PROTOCOL__PROXY;
    }
    char *at = (char *)w + ((sizeof(*w) + 7) & ~(size_t)7);
    rc = fill(w, m, texts, &s, at, ret_msg);
    if (rc == RC_OK)
        rc = intern(arg, str_of(or_default(m->trust_domain, "cluster.local")),
                    str_of(m->namespace_), str_of(texts[WL_SA]), &w->id);
    if (rc != RC_OK) {
        if (!w->id && ret_msg && !ret_msg->text[0])
            errmsg_set(ret_msg,
                       "workload %s: namespace, service_account or trust_domain: not usable in "
                       "an identity",
                       m->uid);
        workload_unref(w);
        return rc;
    }
    *ret = w;
    return RC_OK;
}
