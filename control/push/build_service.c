/* Kubernetes Service → Service. */
#include "control/push/build_priv.h"

typedef Istio__Workload__Service Service;

/* -- protocol of a port: appProtocol, else the port's name up to '-', else the number -- */

static Istio__Workload__AppProtocol by_word(struct str s)
{
    static const struct {
        const char *word;
        Istio__Workload__AppProtocol protocol;
    } words[] = {
        {"http", ISTIO__WORKLOAD__APP_PROTOCOL__HTTP11},
        {"http2", ISTIO__WORKLOAD__APP_PROTOCOL__HTTP2},
        {"grpc", ISTIO__WORKLOAD__APP_PROTOCOL__GRPC},
        {"tcp", ISTIO__WORKLOAD__APP_PROTOCOL__TCP},
        {"tls", ISTIO__WORKLOAD__APP_PROTOCOL__TLS},
        {"https", ISTIO__WORKLOAD__APP_PROTOCOL__TLS},
        {"kubernetes.io/h2c", ISTIO__WORKLOAD__APP_PROTOCOL__HTTP2},
        {"kubernetes.io/ws", ISTIO__WORKLOAD__APP_PROTOCOL__HTTP11},
        {"kubernetes.io/wss", ISTIO__WORKLOAD__APP_PROTOCOL__TLS},
    };
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_ieq(s, str_of(words[i].word)))
            return words[i].protocol;
    return ISTIO__WORKLOAD__APP_PROTOCOL__UNKNOWN;
}

/* Names that are known, but have no word of their own on the wire. */
static bool is_known(struct str s)
{
    static const char *const words[] = {"udp",   "grpc-web", "hbone", "mongo",
                                        "redis", "mysql",    NULL};
    for (const char *const *w = words; *w; w++)
        if (str_ieq(s, str_of(*w)))
            return true;
    return false;
}

static Istio__Workload__AppProtocol app_protocol(const struct kservice_port *p)
{
    struct str rest, name = p->app_protocol.n ? p->app_protocol : p->name;
    if (p->protocol != KPROTOCOL_TCP)
        return ISTIO__WORKLOAD__APP_PROTOCOL__UNKNOWN;
    if (name.n >= 8 && str_ieq((struct str){name.p, 8}, STR("grpc-web")))
        return ISTIO__WORKLOAD__APP_PROTOCOL__UNKNOWN;
    name = str_split(name, '-', &rest);
    Istio__Workload__AppProtocol r = by_word(name);
    if (r != ISTIO__WORKLOAD__APP_PROTOCOL__UNKNOWN || is_known(name))
        return r;
    bool usual = p->port == 25 || p->port == 53 || p->port == 3306 || p->port == 27017;
    return usual ? ISTIO__WORKLOAD__APP_PROTOCOL__TCP : r;
}

/* -- load balancing -- */

enum spread { SPREAD_ANY, SPREAD_ZONE, SPREAD_NODE };

static enum spread spread_of_word(struct str s)
{
    if (str_ieq(s, STR("PreferClose")) || str_ieq(s, STR("PreferSameZone")))
        return SPREAD_ZONE;
    return str_ieq(s, STR("PreferSameNode")) ? SPREAD_NODE : SPREAD_ANY;
}

/* The field, then the Service's annotation, then its namespace's. */
static enum spread spread_of(const struct model *m, const struct mobject *o)
{
    static const char key[] = "networking.istio.io/traffic-distribution";
    const struct kservice *s = kobj_service(o->obj);
    static const char *const exact[] = {"PreferClose", "PreferSameZone", "PreferSameNode"};
    for (size_t i = 0; i < ARRAY_LEN(exact); i++)
        if (str_eqz(s->traffic_distribution, exact[i]))
            return spread_of_word(s->traffic_distribution);
    struct str own = kmap_get(&s->obj.meta.annotations, key);
    if (own.n)
        return spread_of_word(own);
    const struct kobj *ns = model_find(m, o->cluster, KOBJ_NAMESPACE, STR(""), s->obj.meta.ns);
    return ns ? spread_of_word(kmap_get(&ns->meta.annotations, key)) : SPREAD_ANY;
}

static void add_load_balancing(struct arena *a, const struct model *m, const struct mobject *o,
                               Service *ret)
{
    static Istio__Workload__LoadBalancing__Scope near[] = {
        ISTIO__WORKLOAD__LOAD_BALANCING__SCOPE__NETWORK,
        ISTIO__WORKLOAD__LOAD_BALANCING__SCOPE__REGION,
        ISTIO__WORKLOAD__LOAD_BALANCING__SCOPE__ZONE,
        ISTIO__WORKLOAD__LOAD_BALANCING__SCOPE__SUBZONE,
        ISTIO__WORKLOAD__LOAD_BALANCING__SCOPE__NODE,
    };
    const struct kservice *s = kobj_service(o->obj);
    bool local = s->internal_traffic_policy == KTRAFFIC_LOCAL;
    enum spread spread = local ? SPREAD_ANY : spread_of(m, o);
    if (!local && spread == SPREAD_ANY && !s->publish_not_ready)
        return;
    Istio__Workload__LoadBalancing *lb =
        BUILD_NEW(a, Istio__Workload__LoadBalancing, istio__workload__load_balancing__init);
    if (local) {
        lb->mode = ISTIO__WORKLOAD__LOAD_BALANCING__MODE__STRICT;
        lb->routing_preference = &near[4];
        lb->n_routing_preference = 1;
    } else if (spread != SPREAD_ANY) {
        lb->mode = ISTIO__WORKLOAD__LOAD_BALANCING__MODE__FAILOVER;
        lb->routing_preference = near;
        lb->n_routing_preference = spread == SPREAD_ZONE ? 3 : 5;
    }
    if (s->publish_not_ready)
        lb->health_policy = ISTIO__WORKLOAD__LOAD_BALANCING__HEALTH_POLICY__ALLOW_ALL;
    ret->load_balancing = lb;
}

/* -- the service -- */

static Istio__Workload__IPFamilies ip_families(const struct kstrs *v)
{
    bool v4 = false, v6 = false;
    for (uint32_t i = 0; i < v->n; i++) {
        v4 = v4 || str_eqz(v->v[i], "IPv4");
        v6 = v6 || str_eqz(v->v[i], "IPv6");
    }
    if (v4 && v6)
        return ISTIO__WORKLOAD__IPFAMILIES__DUAL;
    if (v4)
        return ISTIO__WORKLOAD__IPFAMILIES__IPV4_ONLY;
    return v6 ? ISTIO__WORKLOAD__IPFAMILIES__IPV6_ONLY : ISTIO__WORKLOAD__IPFAMILIES__AUTOMATIC;
}

static void add_addresses(struct arena *a, const struct kservice *s, struct str network,
                          Service *ret)
{
    ret->addresses = BUILD_ARRAY(a, Istio__Workload__NetworkAddress *, s->cluster_ips.n);
    for (uint32_t i = 0; i < s->cluster_ips.n; i++) {
        Istio__Workload__NetworkAddress *n =
            BUILD_NEW(a, Istio__Workload__NetworkAddress, istio__workload__network_address__init);
        n->network = build_text(network);
        n->address = build_addr(&s->cluster_ips.v[i]);
        ret->addresses[ret->n_addresses++] = n;
    }
}

static void add_ports(struct arena *a, const struct kservice *s, Service *ret)
{
    ret->ports = BUILD_ARRAY(a, Istio__Workload__Port *, s->ports.n);
    for (uint32_t i = 0; i < s->ports.n; i++) {
        Istio__Workload__Port *p = BUILD_NEW(a, Istio__Workload__Port, istio__workload__port__init);
        p->service_port = s->ports.v[i].port;
        p->target_port = s->ports.v[i].target.port; /* 0 when named: each workload says */
        p->app_protocol = app_protocol(&s->ports.v[i]);
        ret->ports[ret->n_ports++] = p;
    }
}

struct resource *build_service(const struct model *m, const struct build_settings *s,
                               const struct mobject *service)
{
    const struct kservice *k = kobj_service(service->obj);
    if (k->type == KSERVICE_EXTERNAL_NAME)
        return NULL; /* names it stands for resolve elsewhere */
    struct arena a AUTO_ARENA;
    arena_init(&a, BUILD_ARENA_MAX);
    Service *r = BUILD_NEW(&a, Service, istio__workload__service__init);
    r->name = build_text(k->obj.meta.name);
    r->namespace_ = build_text(k->obj.meta.ns);
    r->hostname = build_hostname(&a, s, &k->obj.meta);
    add_addresses(&a, k, model_network(m, service->cluster), r);
    add_ports(&a, k, r);
    add_load_balancing(&a, m, service, r);
    r->ip_families = ip_families(&k->ip_families);
    r->canonical = true;
    return build_address(str_of(build_host_key(&a, s, &k->obj.meta)), NULL, r);
}
