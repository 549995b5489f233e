/* Pods, and endpoints that are no pods, → Workload. */
#include <stdlib.h>

#include "control/push/build_priv.h"

typedef Istio__Workload__Workload Workload;
typedef Istio__Workload__Workload__ServicesEntry ServicesEntry;

struct ctx {
    struct arena *a;
    const struct model *m;
    const struct build_settings *s;
    const struct mobject *pod;
    Workload *w;
    size_t cap_services, cap_policies;
};

static int text_cmp(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The first of the labels that is there and not empty, else otherwise. */
static struct str first_label(const struct kmeta *m, const char *const *keys, struct str otherwise)
{
    for (; *keys; keys++) {
        struct str v = kmap_get(&m->labels, *keys);
        if (v.n)
            return v;
    }
    return otherwise;
}

/* -- the name of what made the pod -- */

static bool all_digits(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    return s.n > 0;
}

/* "NAME-HASH" with the hash of this label → NAME. */
static bool without_hash(const struct kmeta *m, const char *label, struct str owner,
                         struct str *ret)
{
    struct str hash = kmap_get(&m->labels, label);
    if (hash.n == 0 || owner.n <= hash.n + 1 || !str_ends(owner, hash) ||
        owner.p[owner.n - hash.n - 1] != '-')
        return false;
    *ret = (struct str){owner.p, owner.n - hash.n - 1};
    return true;
}

/* "NAME-28012345" → NAME: a Job of a CronJob. */
static bool without_time(struct str owner, struct str *ret)
{
    for (size_t n = owner.n; n > 0; n--) {
        struct str time = {owner.p + n, owner.n - n};
        if (owner.p[n - 1] != '-')
            continue;
        if (n < 2 || time.n < 8 || time.n > 10 || !all_digits(time))
            return false;
        *ret = (struct str){owner.p, n - 1};
        return true;
    }
    return false;
}

static struct str workload_name(const struct kmeta *m)
{
    struct str label = kmap_get(&m->labels, "service.istio.io/workload-name"), name;
    const struct kowner *owner = NULL;
    if (label.n)
        return label;
    for (uint32_t i = 0; i < m->owners.n && m->generate_name.n; i++)
        if (m->owners.v[i].controller)
            owner = &m->owners.v[i];
    if (!owner)
        return m->name;
    if (str_eqz(owner->kind, "ReplicaSet") &&
        (without_hash(m, "pod-template-hash", owner->name, &name) ||
         without_hash(m, "rollouts-pod-template-hash", owner->name, &name)))
        return name;
    if (str_eqz(owner->kind, "Job") && without_time(owner->name, &name))
        return name;
    if (str_eqz(owner->kind, "ReplicationController")) {
        struct str dc = kmap_get(&m->labels, "deploymentconfig");
        if (dc.n)
            return dc;
    }
    return owner->name;
}

/* -- services -- */

static bool named_port_in(const struct kcontainer *v, uint32_t n, struct str name, uint16_t *ret)
{
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < v[i].ports.n; j++) {
            const struct kcontainer_port *p = &v[i].ports.v[j];
            if (p->protocol != KPROTOCOL_TCP || !str_eq(p->name, name))
                continue;
            *ret = p->port;
            return true;
        }
    return false;
}

/* The port of the pod that this port of a service leads to; false when the pod has none. */
static bool target_port(const struct kpod *p, const struct kservice_port *port, uint16_t *ret)
{
    *ret = port->target.port;
    return *ret || named_port_in(p->containers.v, p->containers.n, port->target.name, ret) ||
           named_port_in(p->init_containers.v, p->init_containers.n, port->target.name, ret);
}

static Istio__Workload__Port *new_port(struct arena *a, uint16_t service, uint16_t target)
{
    Istio__Workload__Port *p = BUILD_NEW(a, Istio__Workload__Port, istio__workload__port__init);
    p->service_port = service;
    p->target_port = target;
    return p;
}

static ServicesEntry *new_entry(struct arena *a, const struct build_settings *s,
                                const struct kservice *service)
{
    ServicesEntry *e = BUILD_NEW(a, ServicesEntry, istio__workload__workload__services_entry__init);
    e->key = build_host_key(a, s, &service->obj.meta);
    e->value = BUILD_NEW(a, Istio__Workload__PortList, istio__workload__port_list__init);
    e->value->ports = BUILD_ARRAY(a, Istio__Workload__Port *, service->ports.n);
    return e;
}

static void add_service(void *arg, const struct mobject *o)
{
    struct ctx *c = arg;
    const struct kservice *s = kobj_service(o->obj);
    if (s->type == KSERVICE_EXTERNAL_NAME)
        return;
    ServicesEntry *e = new_entry(c->a, c->s, s);
    for (uint32_t i = 0; i < s->ports.n; i++) {
        uint16_t target;
        if (target_port(kobj_pod(c->pod->obj), &s->ports.v[i], &target))
            e->value->ports[e->value->n_ports++] = new_port(c->a, s->ports.v[i].port, target);
    }
    mem_grow(c->w->services, c->cap_services, c->w->n_services + 1);
    c->w->services[c->w->n_services++] = e;
}

static int entry_cmp(const void *a, const void *b)
{
    return strcmp((*(ServicesEntry *const *)a)->key, (*(ServicesEntry *const *)b)->key);
}

/* -- policies -- */

static void add_policy(void *arg, const struct mobject *o)
{
    struct ctx *c = arg;
    const struct kmeta *m = &o->obj->meta;
    mem_grow(c->w->authorization_policies, c->cap_policies, c->w->n_authorization_policies + 2);
    c->w->authorization_policies[c->w->n_authorization_policies++] =
        build_printf(c->a, "%s/%s", m->ns.p, m->name.p);
}

static void add_policies(struct ctx *c)
{
    Workload *w = c->w;
    model_policies_of_pod(c->m, c->pod, add_policy, c);
    if (w->n_authorization_policies)
        qsort(w->authorization_policies, w->n_authorization_policies, sizeof(char *), text_cmp);
    const struct kmeta *meta = &c->pod->obj->meta;
    struct model_mtls t = model_mtls(c->m, meta->ns, &meta->labels);
    struct peer_keys keys = build_peer_keys(&t);
    if (!keys.strict && !keys.derived)
        return;
    mem_grow(w->authorization_policies, c->cap_policies, w->n_authorization_policies + 1);
    w->authorization_policies[w->n_authorization_policies++] =
        keys.strict ? build_printf(c->a, "%s/istio_converted_static_strict", model_root_ns(c->m).p)
                    : build_printf(c->a, "%s/converted_peer_authentication_%s", meta->ns.p,
                                   t.workload->obj.meta.name.p);
}

/* -- the pod -- */

static bool has_word(struct str list, const char *word)
{
    while (list.n)
        if (str_eqz(str_trim(str_split(list, ',', &list)), word))
            return true;
    return false;
}

static void add_tunnel(const struct kmeta *m, Workload *w)
{
    struct str label = kmap_get(&m->labels, "networking.istio.io/tunnel");
    struct str captured = kmap_get(&m->annotations, "ambient.istio.io/redirection");
    w->native_tunnel = has_word(label, "http");
    if (w->native_tunnel || str_eqz(captured, "enabled"))
        w->tunnel_protocol = ISTIO__WORKLOAD__TUNNEL_PROTOCOL__HBONE;
}

static void add_locality(struct ctx *c, const struct kpod *p)
{
    const struct kobj *node = model_find(c->m, c->pod->cluster, KOBJ_NODE, STR(""), p->node_name);
    if (!node)
        return;
    const struct kmap *labels = &node->meta.labels;
    struct str region = kmap_get(labels, "topology.kubernetes.io/region");
    struct str zone = kmap_get(labels, "topology.kubernetes.io/zone");
    struct str subzone = kmap_get(labels, "topology.istio.io/subzone");
    if (!region.n && !zone.n && !subzone.n)
        return;
    Istio__Workload__Locality *l =
        BUILD_NEW(c->a, Istio__Workload__Locality, istio__workload__locality__init);
    l->region = build_text(region);
    l->zone = build_text(zone);
    l->subzone = build_text(subzone);
    c->w->locality = l;
}

static void fill_pod(struct ctx *c, const struct kpod *p)
{
    static const char *const names[] = {"service.istio.io/canonical-name", "app.kubernetes.io/name",
                                        "app", NULL};
    static const char *const revisions[] = {"service.istio.io/canonical-revision",
                                            "app.kubernetes.io/version", "version", NULL};
    const struct kmeta *meta = &p->obj.meta;
    Workload *w = c->w;
    w->name = build_text(meta->name);
    w->namespace_ = build_text(meta->ns);
    w->addresses = BUILD_ARRAY(c->a, ProtobufCBinaryData, p->ips.n);
    for (uint32_t i = 0; i < p->ips.n; i++)
        w->addresses[w->n_addresses++] = build_addr(&p->ips.v[i]);
    w->network = build_text(model_network(c->m, c->pod->cluster));
    if (strcmp(c->s->trust_domain, "cluster.local") != 0)
        w->trust_domain = (char *)(uintptr_t)c->s->trust_domain;
    w->service_account = build_text(p->service_account);
    w->node = build_text(p->node_name);
    struct str workload = workload_name(meta);
    w->workload_name = build_printf(c->a, "%.*s", STR_ARG(workload));
    w->canonical_name = build_text(first_label(meta, names, str_of(w->workload_name)));
    w->canonical_revision = build_text(first_label(meta, revisions, STR("latest")));
    w->workload_type = ISTIO__WORKLOAD__WORKLOAD_TYPE__POD;
    if (!kpod_ready(p) || meta->deleted_s)
        w->status = ISTIO__WORKLOAD__WORKLOAD_STATUS__UNHEALTHY;
    w->cluster_id = (char *)(uintptr_t)c->pod->cluster->id;
    if (p->host_network)
        w->network_mode = ISTIO__WORKLOAD__NETWORK_MODE__HOST_NETWORK;
    add_tunnel(meta, w);
    add_locality(c, p);
}

struct resource *build_workload(const struct model *m, const struct build_settings *s,
                                const struct mobject *pod)
{
    const struct kpod *p = kobj_pod(pod->obj);
    if (kpod_terminal(p) || p->ips.n == 0)
        return NULL;
    struct arena a AUTO_ARENA;
    struct strbuf uid AUTO_STRBUF;
    arena_init(&a, BUILD_ARENA_MAX);
    strbuf_init(&uid, 2048);
    build_name_workload(pod, &uid);
    Workload *w = BUILD_NEW(&a, Workload, istio__workload__workload__init);
    struct ctx c = {.a = &a, .m = m, .s = s, .pod = pod, .w = w};
    w->uid = uid.p;
    fill_pod(&c, p);
    model_services_of_pod(m, pod, add_service, &c);
    if (w->n_services)
        qsort(w->services, w->n_services, sizeof(*w->services), entry_cmp);
    add_policies(&c);
    struct resource *r = build_address(strbuf_str(&uid), w, NULL);
    mem_free(w->services);
    mem_free(w->authorization_policies);
    return r;
}

/* -- EndpointSlices -- */

/* Ports of the service that the slice serves, by name. */
static void add_slice_ports(struct arena *a, const struct kservice *s,
                            const struct kendpoint_slice *slice, Istio__Workload__PortList *ret)
{
    for (uint32_t i = 0; i < s->ports.n; i++)
        for (uint32_t j = 0; j < slice->ports.n; j++) {
            const struct kslice_port *p = &slice->ports.v[j];
            if (p->protocol != KPROTOCOL_TCP || s->ports.v[i].protocol != KPROTOCOL_TCP ||
                !p->port || !str_eq(p->name, s->ports.v[i].name))
                continue;
            ret->ports[ret->n_ports++] = new_port(a, s->ports.v[i].port, p->port);
            break;
        }
}

/* NULL when an earlier endpoint has the address already, or it is a pod's. */
static struct resource *build_endpoint(const struct model *m, const struct build_settings *s,
                                       const struct mobject *slice, const struct kservice *service,
                                       uint32_t index)
{
    const struct kendpoint_slice *k = kobj_endpoint_slice(slice->obj);
    const struct kendpoint *e = &k->endpoints.v[index];
    struct addr ip;
    if (e->addresses.n == 0 || (e->target && str_eqz(e->target->kind, "Pod")))
        return NULL;
    for (uint32_t i = 0; i < index; i++)
        if (k->endpoints.v[i].addresses.n &&
            str_eq(k->endpoints.v[i].addresses.v[0], e->addresses.v[0]))
            return NULL;
    MUST(addr_parse_ip(e->addresses.v[0], &ip) == RC_OK); /* checked when decoded */
    struct arena a AUTO_ARENA;
    arena_init(&a, BUILD_ARENA_MAX);
    Workload *w = BUILD_NEW(&a, Workload, istio__workload__workload__init);
    ProtobufCBinaryData address = build_addr(&ip);
    ServicesEntry *entry = new_entry(&a, s, service);
    add_slice_ports(&a, service, k, entry->value);
    w->uid = build_printf(&a, "%s/discovery.k8s.io/EndpointSlice/%s/%s/%s", slice->cluster->id,
                          k->obj.meta.ns.p, k->obj.meta.name.p, e->addresses.v[0].p);
    w->name = build_text(k->obj.meta.name);
    w->namespace_ = build_text(k->obj.meta.ns);
    w->n_addresses = 1;
    w->addresses = &address;
    w->network = build_text(model_network(m, slice->cluster));
    w->network_mode = ISTIO__WORKLOAD__NETWORK_MODE__HOST_NETWORK;
    w->cluster_id = (char *)(uintptr_t)slice->cluster->id;
    if (e->ready == KTRI_FALSE)
        w->status = ISTIO__WORKLOAD__WORKLOAD_STATUS__UNHEALTHY;
    w->n_services = 1;
    w->services = &entry;
    return build_address(str_of(w->uid), w, NULL);
}

void build_slice(const struct model *m, const struct build_settings *s, const struct mobject *slice,
                 void (*fn)(void *arg, struct resource *r), void *arg)
{
    const struct kendpoint_slice *k = kobj_endpoint_slice(slice->obj);
    struct str name = kmap_get(&k->obj.meta.labels, "kubernetes.io/service-name");
    const struct kobj *service =
        name.n ? model_find(m, slice->cluster, KOBJ_SERVICE, k->obj.meta.ns, name) : NULL;
    if (!service || k->address_type == KADDRESS_FQDN ||
        kobj_service(service)->type == KSERVICE_EXTERNAL_NAME)
        return;
    for (uint32_t i = 0; i < k->endpoints.n; i++) {
        struct resource *r = build_endpoint(m, s, slice, kobj_service(service), i);
        if (r)
            fn(arg, r);
    }
}
