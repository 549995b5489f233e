#include "proxy/state/workload.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/hbone/hbone.h"
#include "proxy/state/decode.h"

#define ADDRS_MAX    64
#define SERVICES_MAX 1024
#define POLICIES_MAX 1024
#define PORTS_MAX    8192 /* of all its services */
#define TEXT_MAX     2048 /* bytes of one text */
#define TEXTS_MAX    8192 /* of all its own texts */

/* -- access to what follows the struct: texts first, then by alignment -- */

static size_t aligned(size_t n)
{
    return (n + 7) & ~(size_t)7;
}

const struct wl_service *workload_services(const struct workload *w)
{
    return (const void *)((const char *)(w + 1) + aligned(w->texts_n));
}

struct atom *const *workload_policies(const struct workload *w)
{
    return (const void *)(workload_services(w) + w->n_services);
}

const struct addr *workload_addrs(const struct workload *w)
{
    return (const void *)(workload_policies(w) + w->n_policies);
}

struct str workload_text(const struct workload *w, enum wl_text t)
{
    switch (t) {
    case WL_NETWORK:      return w->place->network;
    case WL_CLUSTER:      return w->place->cluster;
    case WL_NODE:         return w->place->node;
    case WL_REGION:       return w->place->region;
    case WL_ZONE:         return w->place->zone;
    case WL_SUBZONE:      return w->place->subzone;
    case WL_SA:           return w->id ? w->id->sa : STR("");
    case WL_TRUST_DOMAIN: return w->id ? w->id->trust_domain : STR("");
    case WL_UID:
    case WL_HOSTNAME:
    case WL_NAME:
    case WL_NS:
    case WL_WORKLOAD_NAME:
    case WL_CANONICAL_NAME:
    case WL_CANONICAL_REVISION:
        return (struct str){(const char *)(w + 1) + w->text[t].at, w->text[t].n};
    }
    return STR("");
}

struct str workload_type(const struct workload *w)
{
    switch ((Istio__Workload__WorkloadType)w->type) {
    case ISTIO__WORKLOAD__WORKLOAD_TYPE__CRONJOB: return STR("cronjob");
    case ISTIO__WORKLOAD__WORKLOAD_TYPE__POD:     return STR("pod");
    case ISTIO__WORKLOAD__WORKLOAD_TYPE__JOB:     return STR("job");
    default:                                      return STR("deployment");
    }
}

bool workload_has_addr(const struct workload *w, const struct addr *ip)
{
    for (size_t i = 0; i < w->n_addrs; i++)
        if (addr_eq_ip(&workload_addrs(w)[i], ip))
            return true;
    return false;
}

const struct wl_service *workload_service(const struct workload *w, struct str key)
{
    const struct wl_service *s = workload_services(w);
    for (size_t i = 0; i < w->n_services; i++)
        if (s[i].key->text == key.p || str_eq(atom_str(s[i].key), key))
            return &s[i];
    return NULL;
}

uint16_t workload_port(const struct wl_service *m, uint16_t port)
{
    for (size_t i = 0; i < m->n_ports; i++)
        if (m->ports[i].service == port)
            return m->ports[i].target;
    return 0;
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

struct workload *workload_ref(struct workload *w)
{
    ref_get(&w->ref);
    return w;
}

void workload_unref(struct workload *w)
{
    if (!w || !ref_put(&w->ref))
        return;
    for (size_t i = 0; i < w->n_services; i++)
        atom_unref(workload_services(w)[i].key);
    for (size_t i = 0; i < w->n_policies; i++)
        atom_unref(workload_policies(w)[i]);
    identity_unref(w->id);
    place_unref(w->place);
    gateway_unref(w->waypoint);
    gateway_unref(w->network_gateway);
    free(w);
}

/* -- decoding, shared with services -- */

enum rc decode_fail(struct errmsg *msg, enum rc rc, const char *kind, const char *name,
                    const char *field, const char *why)
{
    errmsg_set(msg, "%s %s: %s: %s", kind, name, field, why);
    return rc;
}

struct gateway_addr *gateway_decode(const Istio__Workload__GatewayAddress *g, struct intern *in)
{
    struct gateway_addr a = {.port = HBONE_PORT};
    char key[2 * TEXT_MAX];
    if (g->hbone_mtls_port > 65535)
        return NULL;
    if (g->hbone_mtls_port)
        a.port = (uint16_t)g->hbone_mtls_port;
    switch (g->destination_case) {
    case ISTIO__WORKLOAD__GATEWAY_ADDRESS__DESTINATION_HOSTNAME: {
        size_t ns = strlen(g->hostname->namespace_), host = strlen(g->hostname->hostname);
        if (host == 0 || ns + 1 + host > sizeof(key) || strchr(g->hostname->namespace_, '/'))
            return NULL;
        memcpy(key, g->hostname->namespace_, ns);
        key[ns] = '/';
        memcpy(key + ns + 1, g->hostname->hostname, host);
        a.key = (struct str){key, ns + 1 + host};
        break;
    }
    case ISTIO__WORKLOAD__GATEWAY_ADDRESS__DESTINATION_ADDRESS:
        a.network = str_of(g->address->network);
        if (a.network.n > TEXT_MAX ||
            addr_from_bytes(g->address->address.data, g->address->address.len, &a.ip) != RC_OK)
            return NULL;
        break;
    default: return NULL;
    }
    return intern_gateway(in, &a);
}

bool ports_decode(size_t n, Istio__Workload__Port *const *from, struct port_map *to,
                  uint16_t *ret_n)
{
    uint16_t used = 0;
    for (size_t i = 0; i < n; i++) {
        if (from[i]->service_port > 65535 || from[i]->target_port > 65535)
            return false;
        uint16_t k = 0;
        while (k < used && to[k].service != from[i]->service_port)
            k++;
        to[k] = (struct port_map){(uint16_t)from[i]->service_port, (uint16_t)from[i]->target_port};
        used = k == used ? (uint16_t)(used + 1) : used;
    }
    *ret_n = used;
    return true;
}

/* -- decoding -- */

struct dec {
    const Istio__Workload__Workload *m;
    struct intern *in;
    struct errmsg *msg;
    struct text_at text[WL_OWN_TEXTS];
    char texts[TEXTS_MAX];
    size_t texts_n;
};

static enum rc fail(const struct dec *d, enum rc rc, const char *field, const char *why)
{
    return decode_fail(d->msg, rc, "workload", d->m->uid, field, why);
}

/* Most texts of a pod are part of its uid: a text that is there already is not added again. */
static bool text_add(struct dec *d, enum wl_text t, const char *s)
{
    size_t n = strlen(s);
    const char *have = memmem(d->texts, d->texts_n, s, n);
    if (!have) {
        if (n > TEXT_MAX || n > sizeof(d->texts) - d->texts_n)
            return false;
        have = memcpy(d->texts + d->texts_n, s, n);
        d->texts_n += n;
    }
    d->text[t] = (struct text_at){(uint16_t)(have - d->texts), (uint16_t)n};
    return true;
}

static bool short_texts(const Istio__Workload__Workload *m)
{
    const Istio__Workload__Locality *l = m->locality;
    const char *const texts[] = {m->network,         m->cluster_id,    m->node,
                                 l ? l->region : "", l ? l->zone : "", l ? l->subzone : ""};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (strlen(texts[i]) > TEXT_MAX)
            return false;
    return true;
}

static enum rc check_texts(struct dec *d)
{
    const Istio__Workload__Workload *m = d->m;
    if (m->uid[0] == '\0')
        return decode_fail(d->msg, RC_INVALID, "workload", m->name, "uid", "missing");
    if (!text_add(d, WL_UID, m->uid) || !text_add(d, WL_HOSTNAME, m->hostname) ||
        !text_add(d, WL_NAME, m->name) || !text_add(d, WL_NS, m->namespace_) ||
        !text_add(d, WL_WORKLOAD_NAME, m->workload_name) ||
        !text_add(d, WL_CANONICAL_NAME, m->canonical_name) ||
        !text_add(d, WL_CANONICAL_REVISION, m->canonical_revision) || !short_texts(m))
        return fail(d, RC_LIMIT, "texts", "one over 2048 bytes, or all over 8192");
    return RC_OK;
}

static enum rc check_values(const struct dec *d)
{
    const Istio__Workload__Workload *m = d->m;
    const Istio__Workload__ApplicationTunnel *t = m->application_tunnel;
    if (m->tunnel_protocol != ISTIO__WORKLOAD__TUNNEL_PROTOCOL__NONE &&
        m->tunnel_protocol != ISTIO__WORKLOAD__TUNNEL_PROTOCOL__HBONE)
        return fail(d, RC_INVALID, "tunnel_protocol", "not supported");
    if (m->status != ISTIO__WORKLOAD__WORKLOAD_STATUS__HEALTHY &&
        m->status != ISTIO__WORKLOAD__WORKLOAD_STATUS__UNHEALTHY)
        return fail(d, RC_INVALID, "status", "unknown value");
    if (m->network_mode != ISTIO__WORKLOAD__NETWORK_MODE__STANDARD &&
        m->network_mode != ISTIO__WORKLOAD__NETWORK_MODE__HOST_NETWORK)
        return fail(d, RC_INVALID, "network_mode", "unknown value");
    if (t && t->protocol != ISTIO__WORKLOAD__APPLICATION_TUNNEL__PROTOCOL__NONE &&
        t->protocol != ISTIO__WORKLOAD__APPLICATION_TUNNEL__PROTOCOL__PROXY)
        return fail(d, RC_INVALID, "application_tunnel.protocol", "unknown value");
    if (t && t->port > 65535)
        return fail(d, RC_INVALID, "application_tunnel.port", "over 65535");
    return RC_OK;
}

/* *ret_ports: how many port pairs it may have. */
static enum rc check_lists(const struct dec *d, size_t *ret_ports)
{
    const Istio__Workload__Workload *m = d->m;
    if (m->n_addresses > ADDRS_MAX)
        return fail(d, RC_LIMIT, "addresses", "more than 64");
    if (m->n_services > SERVICES_MAX)
        return fail(d, RC_LIMIT, "services", "more than 1024");
    if (m->n_authorization_policies > POLICIES_MAX)
        return fail(d, RC_LIMIT, "authorization_policies", "more than 1024");
    for (size_t i = 0; i < m->n_authorization_policies; i++)
        if (strlen(m->authorization_policies[i]) > TEXT_MAX)
            return fail(d, RC_LIMIT, "authorization_policies", "a name over 2048 bytes");
    *ret_ports = 0;
    for (size_t i = 0; i < m->n_services; i++) {
        const Istio__Workload__Workload__ServicesEntry *e = m->services[i];
        if (!strchr(e->key, '/'))
            return fail(d, RC_INVALID, "services", "a key without a slash");
        if (strlen(e->key) > TEXT_MAX)
            return fail(d, RC_LIMIT, "services", "a key over 2048 bytes");
        *ret_ports += e->value ? e->value->n_ports : 0;
        if (*ret_ports > PORTS_MAX)
            return fail(d, RC_LIMIT, "services", "more than 8192 ports");
    }
    return RC_OK;
}

/* Memberships and their ports, before it is known how much room they take. */
struct lists {
    struct wl_service *service;
    struct port_map *port;
    size_t n, n_ports;
};

static void lists_fini(struct lists *l)
{
    for (size_t i = 0; i < l->n; i++)
        atom_unref(l->service[i].key);
    free(l->service);
    free(l->port);
}

/* A map may come with the same key twice: the last one counts. Keys are interned: equal is same. */
static void forget(struct lists *l, const struct atom *key)
{
    for (size_t i = 0; i < l->n; i++) {
        if (l->service[i].key != key)
            continue;
        atom_unref(l->service[i].key);
        l->service[i] = l->service[--l->n];
        return;
    }
}

static enum rc services_decode(const struct dec *d, struct lists *l)
{
    for (size_t i = 0; i < d->m->n_services; i++) {
        const Istio__Workload__Workload__ServicesEntry *e = d->m->services[i];
        struct wl_service s = {.key = intern_atom(d->in, str_of(e->key)),
                               .ports = l->port + l->n_ports};
        forget(l, s.key);
        bool ok = !e->value || ports_decode(e->value->n_ports, e->value->ports,
                                            l->port + l->n_ports, &s.n_ports);
        l->service[l->n++] = s;
        l->n_ports += s.n_ports;
        if (!ok)
            return fail(d, RC_INVALID, "services", "a port over 65535");
    }
    return RC_OK;
}

static void *skip(char **at, size_t n)
{
    void *p = *at;
    *at += n;
    return p;
}

/* Takes the references that l has. */
static struct workload *build(const struct dec *d, struct lists *l)
{
    const Istio__Workload__Workload *m = d->m;
    struct workload *w =
        mem_zalloc(sizeof(*w) + aligned(d->texts_n) + l->n * sizeof(struct wl_service) +
                   m->n_authorization_policies * sizeof(struct atom *) +
                   m->n_addresses * sizeof(struct addr) + l->n_ports * sizeof(struct port_map));
    ref_init(&w->ref);
    w->texts_n = (uint16_t)d->texts_n;
    w->n_services = (uint16_t)l->n;
    w->n_policies = (uint16_t)m->n_authorization_policies;
    w->n_addrs = (uint16_t)m->n_addresses;
    memcpy(w->text, d->text, sizeof(w->text));
    char *at = (char *)(w + 1);
    memcpy(skip(&at, aligned(d->texts_n)), d->texts, d->texts_n);
    struct wl_service *service = skip(&at, l->n * sizeof(*service));
    struct atom **policy = skip(&at, w->n_policies * sizeof(*policy));
    skip(&at, w->n_addrs * sizeof(struct addr));
    for (size_t i = 0; i < l->n; i++) {
        service[i] = l->service[i];
        service[i].ports = memcpy(skip(&at, service[i].n_ports * sizeof(struct port_map)),
                                  service[i].ports, service[i].n_ports * sizeof(struct port_map));
    }
    l->n = 0;
    for (size_t i = 0; i < w->n_policies; i++)
        policy[i] = intern_atom(d->in, str_of(m->authorization_policies[i]));
    return w;
}

static const char *or_default(const char *s, const char *def)
{
    return s[0] ? s : def;
}

static void values_fill(const struct dec *d, struct workload *w)
{
    const Istio__Workload__Workload *m = d->m;
    const Istio__Workload__Locality *l = m->locality;
    const struct place place = {
        .network = str_of(m->network),
        .cluster = str_of(or_default(m->cluster_id, "Kubernetes")),
        .node = str_of(m->node),
        .region = str_of(l ? l->region : ""),
        .zone = str_of(l ? l->zone : ""),
        .subzone = str_of(l ? l->subzone : ""),
    };
    w->place = intern_place(d->in, &place);
    w->id =
        intern_identity(d->in, str_of(or_default(m->trust_domain, "cluster.local")),
                        str_of(m->namespace_), str_of(or_default(m->service_account, "default")));
    w->capacity = m->capacity ? m->capacity->value : 1;
    w->type = (uint8_t)m->workload_type; /* for labels only: what is unknown is a deployment */
    w->hbone = m->tunnel_protocol == ISTIO__WORKLOAD__TUNNEL_PROTOCOL__HBONE;
    w->healthy = m->status == ISTIO__WORKLOAD__WORKLOAD_STATUS__HEALTHY;
    w->host_network = m->network_mode == ISTIO__WORKLOAD__NETWORK_MODE__HOST_NETWORK;
    w->native_tunnel = m->native_tunnel;
    w->pod = strstr(m->uid, "//Pod/");
    if (m->application_tunnel) {
        w->app_tunnel = true;
        w->app_tunnel_port = (uint16_t)m->application_tunnel->port;
        w->app_tunnel_proxy =
            m->application_tunnel->protocol == ISTIO__WORKLOAD__APPLICATION_TUNNEL__PROTOCOL__PROXY;
    }
}

static enum rc addresses_fill(const struct dec *d, struct workload *w)
{
    const Istio__Workload__Workload *m = d->m;
    struct addr *to = (struct addr *)(uintptr_t)workload_addrs(w);
    for (size_t i = 0; i < m->n_addresses; i++)
        if (addr_from_bytes(m->addresses[i].data, m->addresses[i].len, &to[i]) != RC_OK)
            return fail(d, RC_INVALID, "addresses", "not 4 or 16 bytes");
    if (m->waypoint && !(w->waypoint = gateway_decode(m->waypoint, d->in)))
        return fail(d, RC_INVALID, "waypoint", "no usable destination");
    if (m->network_gateway && !(w->network_gateway = gateway_decode(m->network_gateway, d->in)))
        return fail(d, RC_INVALID, "network_gateway", "no usable destination");
    return RC_OK;
}

enum rc workload_decode(const Istio__Workload__Workload *m, struct intern *in,
                        struct workload **ret, struct errmsg *ret_msg)
{
    struct dec d = {.m = m, .in = in, .msg = ret_msg};
    size_t ports = 0;
    enum rc rc = check_texts(&d);
    if (rc == RC_OK)
        rc = check_values(&d);
    if (rc == RC_OK)
        rc = check_lists(&d, &ports);
    if (rc != RC_OK)
        return rc;
    struct lists l __attribute__((cleanup(lists_fini))) = {
        .service = mem_calloc(m->n_services + 1, sizeof(*l.service)),
        .port = mem_calloc(ports + 1, sizeof(*l.port)),
    };
    rc = services_decode(&d, &l);
    if (rc != RC_OK)
        return rc;
    struct workload *w = build(&d, &l);
    values_fill(&d, w);
    rc = addresses_fill(&d, w);
    if (rc != RC_OK) {
        workload_unref(w);
        return rc;
    }
    *ret = w;
    return RC_OK;
}
