#include "proxy/state/workload.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/hash.h"
#include "lib/base/mem.h"
#include "lib/hbone/hbone.h"
#include "proxy/state/decode.h"

#define ADDRS_MAX    64
#define SERVICES_MAX 1024
#define POLICIES_MAX 1024
#define PORTS_MAX    8192 /* of all its services */
#define TEXT_MAX     2048 /* bytes of one text */
#define TEXTS_MAX    8192 /* of all its own texts */

static size_t aligned(size_t n)
{
    return (n + 7) & ~(size_t)7;
}

/* -- access to what follows the structs -- */

static const struct wl_service *template_services(const struct wl_template *t)
{
    return (const void *)(t + 1);
}

static struct atom *const *template_policies(const struct wl_template *t)
{
    return (const void *)(template_services(t) + t->n_services);
}

static const char *template_texts(const struct wl_template *t)
{
    const struct port_map *ports = (const void *)(template_policies(t) + t->n_policies);
    return (const void *)(ports + t->n_ports);
}

static size_t template_size(const struct wl_template *t)
{
    return (size_t)(template_texts(t) - (const char *)t) + t->texts_n;
}

const struct wl_service *workload_services(const struct workload *w)
{
    return template_services(w->t);
}

struct atom *const *workload_policies(const struct workload *w)
{
    return template_policies(w->t);
}

const struct addr *workload_addrs(const struct workload *w)
{
    return (const void *)((const char *)(w + 1) + aligned(w->texts_n));
}

struct str workload_text(const struct workload *w, enum wl_text t)
{
    switch (t) {
    case WL_NETWORK:            return w->place->network;
    case WL_CLUSTER:            return w->place->cluster;
    case WL_NODE:               return w->place->node;
    case WL_REGION:             return w->place->region;
    case WL_ZONE:               return w->place->zone;
    case WL_SUBZONE:            return w->place->subzone;
    case WL_SA:                 return w->t->id ? w->t->id->sa : STR("");
    case WL_TRUST_DOMAIN:       return w->t->id ? w->t->id->trust_domain : STR("");
    case WL_UID:
    case WL_HOSTNAME:
    case WL_NAME:               return (struct str){(const char *)(w + 1) + w->text[t].at, w->text[t].n};
    case WL_NS:
    case WL_WORKLOAD_NAME:
    case WL_CANONICAL_NAME:
    case WL_CANONICAL_REVISION: {
        const struct text_at *at = &w->t->text[t - WL_NS];
        return (struct str){template_texts(w->t) + at->at, at->n};
    }
    }
    return STR("");
}

struct str workload_type(const struct workload *w)
{
    switch ((Istio__Workload__WorkloadType)w->t->type) {
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
    for (size_t i = 0; i < w->t->n_services; i++)
        if (s[i].key->text == key.p || str_eq(atom_str(s[i].key), key))
            return &s[i];
    return NULL;
}

uint16_t workload_port(const struct wl_service *m, uint16_t port)
{
    const struct port_map *p = wl_service_ports(m);
    for (size_t i = 0; i < m->n_ports; i++)
        if (p[i].service == port)
            return p[i].target;
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
    interned_unref(&w->t->in);
    place_unref(w->place);
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

/* Texts, each as a part of the ones before where it is one: most of a pod's are part of its uid. */
struct texts {
    struct text_at *at;
    size_t n;
    char bytes[TEXTS_MAX];
};

struct dec {
    const Istio__Workload__Workload *m;
    struct intern *in;
    struct errmsg *msg;
    struct text_at own_at[WL_OWN_TEXTS], common_at[WL_PACKED_TEXTS - WL_NS];
    struct texts own, common;
};

static enum rc fail(const struct dec *d, enum rc rc, const char *field, const char *why)
{
    return decode_fail(d->msg, rc, "workload", d->m->uid, field, why);
}

static bool text_add(struct texts *t, size_t i, const char *s)
{
    size_t n = strlen(s);
    const char *have = memmem(t->bytes, t->n, s, n);
    if (!have) {
        if (n > TEXT_MAX || n > sizeof(t->bytes) - t->n)
            return false;
        have = memcpy(t->bytes + t->n, s, n);
        t->n += n;
    }
    t->at[i] = (struct text_at){(uint16_t)(have - t->bytes), (uint16_t)n};
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
    d->own.at = d->own_at;
    d->common.at = d->common_at;
    if (!text_add(&d->own, WL_UID, m->uid) || !text_add(&d->own, WL_HOSTNAME, m->hostname) ||
        !text_add(&d->own, WL_NAME, m->name) || !text_add(&d->common, 0, m->namespace_) ||
        !text_add(&d->common, WL_WORKLOAD_NAME - WL_NS, m->workload_name) ||
        !text_add(&d->common, WL_CANONICAL_NAME - WL_NS, m->canonical_name) ||
        !text_add(&d->common, WL_CANONICAL_REVISION - WL_NS, m->canonical_revision) ||
        !short_texts(m))
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
    struct member {
        struct atom *key;
        size_t port, n_ports;
    } *member;
    struct port_map *port;
    size_t n, n_ports;
};

static void lists_fini(struct lists *l)
{
    for (size_t i = 0; i < l->n; i++)
        atom_unref(l->member[i].key);
    free(l->member);
    free(l->port);
}

/* A map may come with the same key twice: the last one counts. Keys are interned: equal is same. */
static void forget(struct lists *l, const struct atom *key)
{
    for (size_t i = 0; i < l->n; i++) {
        if (l->member[i].key != key)
            continue;
        atom_unref(l->member[i].key);
        l->member[i] = l->member[--l->n];
        return;
    }
}

/* In the order of their keys: a map has none of its own, and equal templates shall be found. */
static int by_key(const void *a, const void *b)
{
    return str_cmp(atom_str(((const struct member *)a)->key),
                   atom_str(((const struct member *)b)->key));
}

static enum rc services_decode(const struct dec *d, struct lists *l)
{
    for (size_t i = 0; i < d->m->n_services; i++) {
        const Istio__Workload__Workload__ServicesEntry *e = d->m->services[i];
        struct member s = {intern_atom(d->in, str_of(e->key)), l->n_ports, 0};
        uint16_t n = 0;
        forget(l, s.key);
        bool ok =
            !e->value || ports_decode(e->value->n_ports, e->value->ports, l->port + l->n_ports, &n);
        s.n_ports = n;
        l->member[l->n++] = s;
        l->n_ports += n;
        if (!ok)
            return fail(d, RC_INVALID, "services", "a port over 65535");
    }
    qsort(l->member, l->n, sizeof(*l->member), by_key);
    return RC_OK;
}

static void *skip(char **at, size_t n)
{
    void *p = *at;
    *at += n;
    return p;
}

/* -- templates -- */

static uint64_t template_hash(const struct wl_template *t)
{
    return hash_bytes((const char *)t + sizeof(t->in), template_size(t) - sizeof(t->in));
}

static bool template_same(const struct interned *i, const void *like)
{
    const struct wl_template *a = container_of(i, const struct wl_template, in), *b = like;
    size_t n = template_size(b);
    return n == template_size(a) && memcmp((const char *)a + sizeof(a->in),
                                           (const char *)b + sizeof(b->in), n - sizeof(a->in)) == 0;
}

static void template_free(struct interned *i)
{
    struct wl_template *t = container_of(i, struct wl_template, in);
    for (size_t k = 0; k < t->n_services; k++)
        atom_unref(template_services(t)[k].key);
    for (size_t k = 0; k < t->n_policies; k++)
        atom_unref(template_policies(t)[k]);
    identity_unref(t->id);
    gateway_unref(t->waypoint);
    gateway_unref(t->network_gateway);
    free(t);
}

static const struct interned_ops templates = {template_same, template_free, NULL};

/* Takes the references that l has. */
static struct wl_template *template_build(const struct dec *d, struct lists *l)
{
    const Istio__Workload__Workload *m = d->m;
    size_t n_ports = 0;
    for (size_t i = 0; i < l->n; i++)
        n_ports += l->member[i].n_ports;
    struct wl_template *t = mem_zalloc(sizeof(*t) + l->n * sizeof(struct wl_service) +
                                       m->n_authorization_policies * sizeof(struct atom *) +
                                       n_ports * sizeof(struct port_map) + d->common.n);
    t->n_services = (uint16_t)l->n;
    t->n_policies = (uint16_t)m->n_authorization_policies;
    t->n_ports = (uint16_t)n_ports;
    t->texts_n = (uint16_t)d->common.n;
    memcpy(t->text, d->common_at, sizeof(t->text));
    char *at = (char *)(t + 1);
    struct wl_service *service = skip(&at, l->n * sizeof(*service));
    struct atom **policy = skip(&at, t->n_policies * sizeof(*policy));
    for (size_t i = 0; i < l->n; i++) {
        size_t bytes = l->member[i].n_ports * sizeof(struct port_map);
        service[i].key = l->member[i].key;
        service[i].n_ports = (uint16_t)l->member[i].n_ports;
        service[i].ports_at = (uint32_t)(at - (char *)&service[i]);
        memcpy(skip(&at, bytes), l->port + l->member[i].port, bytes);
    }
    l->n = 0;
    for (size_t i = 0; i < t->n_policies; i++)
        policy[i] = intern_atom(d->in, str_of(m->authorization_policies[i]));
    memcpy(at, d->common.bytes, d->common.n);
    return t;
}

static const char *or_default(const char *s, const char *def)
{
    return s[0] ? s : def;
}

static enum rc template_values(const struct dec *d, struct wl_template *t)
{
    const Istio__Workload__Workload *m = d->m;
    t->id =
        intern_identity(d->in, str_of(or_default(m->trust_domain, "cluster.local")),
                        str_of(m->namespace_), str_of(or_default(m->service_account, "default")));
    t->capacity = m->capacity ? m->capacity->value : 1;
    t->type = (uint8_t)m->workload_type; /* for labels only: what is unknown is a deployment */
    t->hbone = m->tunnel_protocol == ISTIO__WORKLOAD__TUNNEL_PROTOCOL__HBONE;
    t->host_network = m->network_mode == ISTIO__WORKLOAD__NETWORK_MODE__HOST_NETWORK;
    t->native_tunnel = m->native_tunnel;
    if (m->application_tunnel) {
        t->app_tunnel = true;
        t->app_tunnel_port = (uint16_t)m->application_tunnel->port;
        t->app_tunnel_proxy =
            m->application_tunnel->protocol == ISTIO__WORKLOAD__APPLICATION_TUNNEL__PROTOCOL__PROXY;
    }
    if (m->waypoint && !(t->waypoint = gateway_decode(m->waypoint, d->in)))
        return fail(d, RC_INVALID, "waypoint", "no usable destination");
    if (m->network_gateway && !(t->network_gateway = gateway_decode(m->network_gateway, d->in)))
        return fail(d, RC_INVALID, "network_gateway", "no usable destination");
    return RC_OK;
}

static enum rc template_decode(const struct dec *d, size_t ports, struct wl_template **ret)
{
    struct lists l __attribute__((cleanup(lists_fini))) = {
        .member = mem_calloc(d->m->n_services + 1, sizeof(*l.member)),
        .port = mem_calloc(ports + 1, sizeof(*l.port)),
    };
    enum rc rc = services_decode(d, &l);
    if (rc != RC_OK)
        return rc;
    struct wl_template *t = template_build(d, &l);
    rc = template_values(d, t);
    if (rc != RC_OK) {
        template_free(&t->in);
        return rc;
    }
    uint64_t hash = template_hash(t);
    struct interned *known = intern_find(d->in, &templates, hash, t);
    if (known) {
        template_free(&t->in);
        t = container_of(known, struct wl_template, in);
    } else {
        intern_add(d->in, &t->in, &templates, hash);
    }
    *ret = t;
    return RC_OK;
}

/* -- workloads -- */

static struct place *place_decode(const struct dec *d)
{
    const Istio__Workload__Locality *l = d->m->locality;
    const struct place place = {
        .network = str_of(d->m->network),
        .cluster = str_of(or_default(d->m->cluster_id, "Kubernetes")),
        .node = str_of(d->m->node),
        .region = str_of(l ? l->region : ""),
        .zone = str_of(l ? l->zone : ""),
        .subzone = str_of(l ? l->subzone : ""),
    };
    return intern_place(d->in, &place);
}

enum rc workload_decode(const Istio__Workload__Workload *m, struct intern *in,
                        struct workload **ret, struct errmsg *ret_msg)
{
    struct dec d = {.m = m, .in = in, .msg = ret_msg};
    struct addr addrs[ADDRS_MAX];
    size_t ports = 0;
    enum rc rc = check_texts(&d);
    if (rc == RC_OK)
        rc = check_values(&d);
    if (rc == RC_OK)
        rc = check_lists(&d, &ports);
    for (size_t i = 0; rc == RC_OK && i < m->n_addresses; i++)
        if (addr_from_bytes(m->addresses[i].data, m->addresses[i].len, &addrs[i]) != RC_OK)
            rc = fail(&d, RC_INVALID, "addresses", "not 4 or 16 bytes");
    struct wl_template *t = NULL;
    if (rc == RC_OK)
        rc = template_decode(&d, ports, &t);
    if (rc != RC_OK)
        return rc;
    struct workload *w =
        mem_zalloc(sizeof(*w) + aligned(d.own.n) + m->n_addresses * sizeof(struct addr));
    ref_init(&w->ref);
    w->t = t;
    w->place = place_decode(&d);
    w->healthy = m->status == ISTIO__WORKLOAD__WORKLOAD_STATUS__HEALTHY;
    w->pod = strstr(m->uid, "//Pod/");
    w->n_addrs = (uint16_t)m->n_addresses;
    w->texts_n = (uint16_t)d.own.n;
    memcpy(w->text, d.own_at, sizeof(w->text));
    memcpy(w + 1, d.own.bytes, d.own.n);
    char *at = (char *)(w + 1) + aligned(d.own.n);
    memcpy(at, addrs, m->n_addresses * sizeof(struct addr));
    *ret = w;
    return RC_OK;
}
