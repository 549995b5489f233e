/* Workloads, services and policies as Istio's config_dump shows them. */
#include "proxy/ztunnel/ztunnel.h"

struct dump {
    struct strbuf *out;
    const char *sep;
    const struct proxy_state *st;
};

static void text(struct strbuf *out, const char *key, struct str value)
{
    strbuf_printf(out, ",\"%s\":\"", key);
    strbuf_add_json(out, value);
    strbuf_addc(out, '"');
}

static void open_object(struct dump *d, const char *key, struct str value)
{
    strbuf_printf(d->out, "%s{\"%s\":\"", d->sep, key);
    strbuf_add_json(d->out, value);
    strbuf_addc(d->out, '"');
    d->sep = ",";
}

static void gateway(struct strbuf *out, const char *key, const struct gateway_addr *g)
{
    if (!g)
        return;
    char ip[ADDR_TEXT];
    addr_format_ip(&g->ip, ip);
    strbuf_printf(out, ",\"%s\":{\"destination\":\"", key);
    strbuf_add_json(out, g->ip.family ? g->network : g->ns);
    strbuf_addc(out, '/');
    strbuf_add_json(out, g->ip.family ? str_of(ip) : g->host);
    strbuf_printf(out, "\",\"hboneMtlsPort\":%u}", g->port);
}

static void ports(struct strbuf *out, const struct port_map *p, size_t n)
{
    strbuf_addc(out, '{');
    for (size_t i = 0; i < n; i++)
        strbuf_printf(out, "%s\"%u\":%u", i ? "," : "", p[i].service, p[i].target);
    strbuf_addc(out, '}');
}

static bool each_workload(void *v, void *arg)
{
    struct dump *d = arg;
    const struct workload *w = v;
    struct strbuf *o = d->out;
    open_object(d, "uid", workload_text(w, WL_UID));
    text(o, "name", workload_text(w, WL_NAME));
    text(o, "namespace", workload_text(w, WL_NS));
    text(o, "serviceAccount", workload_text(w, WL_SA));
    text(o, "trustDomain", workload_text(w, WL_TRUST_DOMAIN));
    text(o, "network", workload_text(w, WL_NETWORK));
    text(o, "node", workload_text(w, WL_NODE));
    text(o, "clusterId", workload_text(w, WL_CLUSTER));
    text(o, "canonicalName", workload_text(w, WL_CANONICAL_NAME));
    text(o, "canonicalRevision", workload_text(w, WL_CANONICAL_REVISION));
    text(o, "workloadName", workload_text(w, WL_WORKLOAD_NAME));
    text(o, "workloadType", workload_type(w));
    text(o, "protocol", workload_hbone(w) ? STR("HBONE") : STR("TCP"));
    text(o, "status", w->healthy ? STR("Healthy") : STR("Unhealthy"));
    gateway(o, "waypoint", workload_waypoint(w));
    gateway(o, "networkGateway", workload_gateway(w));
    strbuf_addz(o, ",\"workloadIps\":[");
    for (size_t i = 0; i < w->n_addrs; i++) {
        char ip[ADDR_TEXT];
        addr_format_ip(&workload_addrs(w)[i], ip);
        strbuf_printf(o, "%s\"%s\"", i ? "," : "", ip);
    }
    strbuf_addz(o, "],\"services\":{");
    for (size_t i = 0; i < w->t->n_services; i++) {
        strbuf_addz(o, i ? ",\"" : "\"");
        const struct wl_service *m = &workload_services(w)[i];
        strbuf_add_json(o, atom_str(m->key));
        strbuf_addz(o, "\":");
        ports(o, wl_service_ports(m), m->n_ports);
    }
    strbuf_addz(o, "},\"authorizationPolicies\":[");
    for (size_t i = 0; i < w->t->n_policies; i++) {
        strbuf_addz(o, i ? ",\"" : "\"");
        strbuf_add_json(o, atom_str(workload_policies(w)[i]));
        strbuf_addc(o, '"');
    }
    strbuf_addz(o, "]}");
    return true;
}

static bool each_service(void *v, void *arg)
{
    struct dump *d = arg;
    const struct service *s = v;
    struct strbuf *o = d->out;
    const struct endpoints *e = state_endpoints(d->st, s);
    open_object(d, "name", s->name);
    text(o, "namespace", s->ns);
    text(o, "hostname", s->host);
    gateway(o, "waypoint", s->waypoint);
    strbuf_addz(o, ",\"vips\":[");
    for (size_t i = 0; i < s->n_vips; i++) {
        char ip[ADDR_TEXT];
        addr_format_ip(&s->vips[i].cidr.base, ip);
        strbuf_addz(o, i ? ",\"" : "\"");
        strbuf_add_json(o, s->vips[i].network);
        strbuf_printf(o, "/%s\"", ip);
    }
    strbuf_addz(o, "],\"ports\":");
    ports(o, s->ports, s->n_ports);
    strbuf_addz(o, ",\"endpoints\":{");
    for (size_t i = 0; e && i < e->n; i++) {
        strbuf_addz(o, i ? ",\"" : "\"");
        strbuf_add_json(o, workload_text(e->w[i], WL_UID));
        strbuf_addz(o, "\":{\"workloadUid\":\"");
        strbuf_add_json(o, workload_text(e->w[i], WL_UID));
        strbuf_printf(o, "\",\"status\":\"%s\"}", e->w[i]->healthy ? "Healthy" : "Unhealthy");
    }
    strbuf_addz(o, "}}");
    return true;
}

static bool each_policy(void *v, void *arg)
{
    struct dump *d = arg;
    const struct policy *p = v;
    static const char *const scopes[] = {"Global", "Namespace", "WorkloadSelector"};
    open_object(d, "name", p->name);
    text(d->out, "namespace", p->ns);
    text(d->out, "scope", str_of(scopes[p->scope]));
    text(d->out, "action", p->deny ? STR("Deny") : STR("Allow"));
    strbuf_printf(d->out, ",\"dryRun\":%s,\"rules\":%zu}", p->dry_run ? "true" : "false", p->n);
    return true;
}

static void list(void *owner, struct strbuf *out, const struct cowmap *m,
                 bool (*fn)(void *v, void *arg))
{
    struct dump d = {out, "", ztunnel_state(owner)};
    strbuf_addc(out, '[');
    cowmap_each(m, fn, &d);
    strbuf_addc(out, ']');
}

void ztunnel_dump_workloads(void *owner, struct strbuf *out)
{
    list(owner, out, &ztunnel_state(owner)->workloads, each_workload);
}

void ztunnel_dump_services(void *owner, struct strbuf *out)
{
    list(owner, out, &ztunnel_state(owner)->services, each_service);
}

void ztunnel_dump_policies(void *owner, struct strbuf *out)
{
    list(owner, out, &ztunnel_state(owner)->policies, each_policy);
}
