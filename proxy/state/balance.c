#include "proxy/state/balance.h"

#include "lib/base/hash.h"
#include "lib/base/mem.h"

#define TRIES 16 /* by chance, before all of a group are looked at */

/* One choice under way. */
struct pick {
    const struct balance_request *r;
    bool has_port;   /* the service has the port */
    uint16_t target; /* of the service's own list; 0: named */
};

static bool families_allow(uint8_t families, const struct addr *a)
{
    switch ((Istio__Workload__IPFamilies)families) {
    case ISTIO__WORKLOAD__IPFAMILIES__IPV4_ONLY: return a->family == AF_INET;
    case ISTIO__WORKLOAD__IPFAMILIES__IPV6_ONLY: return a->family == AF_INET6;
    default:                                     return true;
    }
}

/* The address that was asked for, else the first allowed one of its family, else the first allowed. */
static const struct addr *address(const struct workload *w, const struct addr *asked,
                                  uint8_t families)
{
    const struct addr *all = workload_addrs(w), *first = NULL, *same = NULL;
    for (size_t i = 0; i < w->n_addrs; i++) {
        if (asked && addr_eq_ip(&all[i], asked))
            return &all[i];
        if (!families_allow(families, &all[i]))
            continue;
        if (!first)
            first = &all[i];
        if (!same && asked && all[i].family == asked->family)
            same = &all[i];
    }
    return same ? same : first;
}

/* Target port of the service's port at this endpoint; 0: it doesn't offer it. */
static uint16_t target_port(const struct pick *p, const struct workload *w)
{
    const struct wl_service *m = workload_service(w, p->r->service->key);
    uint16_t port = m ? workload_port(m, p->r->port) : 0;
    if (port)
        return port;
    if (p->target)
        return p->target;
    /* a waypoint's port may be the tunnel's affair: the ztunnel in front of it resolves it */
    return p->r->waypoint && w->t->app_tunnel_port ? p->r->port : 0;
}

static bool was_tried(const struct pick *p, const struct workload *w)
{
    for (size_t i = 0; i < p->r->n_failed; i++)
        if (p->r->failed[i] == w ||
            str_eq(workload_text(p->r->failed[i], WL_UID), workload_text(w, WL_UID)))
            return true;
    return false;
}

static bool reachable(const struct pick *p, const struct workload *w)
{
    if (address(w, &p->r->asked, p->r->service->families) || w->text[WL_HOSTNAME].n)
        return true;
    /* only through a gateway, which is for other networks */
    return w->t->network_gateway && !str_eq(w->place->network, p->r->client->place->network);
}

static bool qualifies(const struct pick *p, const struct workload *w)
{
    if (w->t->capacity == 0 || (!w->healthy && !p->r->service->balance.allow_unhealthy))
        return false;
    if (!p->has_port && !(p->r->waypoint && w->t->app_tunnel))
        return false;
    return target_port(p, w) && reachable(p, w) && !was_tried(p, w);
}

/* -- by chance, weighted by capacity -- */

/* Exact: first how much weight there is, then who has the drawn part of it. */
static struct workload *draw_all(const struct pick *p, struct workload *const *w, size_t n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += qualifies(p, w[i]) ? w[i]->t->capacity : 0;
    uint64_t at = rand_below(sum);
    for (size_t i = 0; sum && i < n; i++) {
        uint64_t weight = qualifies(p, w[i]) ? w[i]->t->capacity : 0;
        if (at < weight)
            return w[i];
        at -= weight;
    }
    return NULL;
}

/* Rejection sampling: somebody, kept with the probability of its share of the largest capacity. Exact
 * too, and without a look at the others. */
static struct workload *draw(const struct pick *p, const struct endpoints *e, uint32_t from,
                             uint32_t to)
{
    uint32_t n = to - from;
    for (int i = 0; n > 1 && i < TRIES; i++) {
        struct workload *w = e->w[from + rand_below(n)];
        if (e->min_weight != e->max_weight && rand_below(e->max_weight) >= w->t->capacity)
            continue;
        if (qualifies(p, w))
            return w;
    }
    return draw_all(p, e->w + from, n);
}

/* A client elsewhere than at the place the endpoints are arranged for. */
static struct workload *draw_ranked(const struct pick *p, const struct endpoints *e)
{
    const struct balance_policy *b = &p->r->service->balance;
    const struct place *here = p->r->client->place;
    int best = -1;
    uint64_t sum = 0;
    struct workload *chosen = NULL;
    for (uint32_t i = 0; i < e->n; i++) {
        int rank = endpoints_rank(b, here, e->w[i]->place);
        if (rank < 0 || rank < best || !qualifies(p, e->w[i]))
            continue;
        if (rank > best)
            sum = 0;
        best = rank;
        sum += e->w[i]->t->capacity;
        if (rand_below(sum) < e->w[i]->t->capacity) /* replaced with the chance of its share */
            chosen = e->w[i];
    }
    return chosen;
}

static struct workload *choose(const struct pick *p, const struct endpoints *e)
{
    bool by_place = e->balance.mode == ISTIO__WORKLOAD__LOAD_BALANCING__MODE__STRICT ||
                    e->balance.mode == ISTIO__WORKLOAD__LOAD_BALANCING__MODE__FAILOVER;
    if (by_place && e->home != p->r->client->place)
        return draw_ranked(p, e);
    uint32_t from = 0;
    for (unsigned g = 0; g + 1u < e->n_groups; g++) {
        struct workload *w = from < e->end[g] ? draw(p, e, from, e->end[g]) : NULL;
        if (w)
            return w;
        from = e->end[g];
    }
    return NULL;
}

static void fill(struct workload *w, const struct addr *a, uint16_t port,
                 struct balance_choice *ret)
{
    *ret = (struct balance_choice){.wl = w, .port = port};
    if (a)
        ret->addr = *a;
    ret->addr.port = port;
}

enum rc balance_pick(const struct proxy_state *st, const struct balance_request *r,
                     struct balance_choice *ret)
{
    struct pick p = {.r = r};
    p.target = service_port(r->service, r->port, &p.has_port);
    const struct endpoints *e = state_endpoints(st, r->service);
    if (!e || (!p.has_port && !r->waypoint))
        return RC_NO_UPSTREAM;
    struct workload *w = choose(&p, e);
    if (!w)
        return RC_NO_UPSTREAM;
    fill(w, address(w, &r->asked, r->service->families), target_port(&p, w), ret);
    return RC_OK;
}

enum rc balance_workload(struct workload *wl, const struct addr *asked, uint16_t port,
                         struct balance_choice *ret)
{
    const struct addr *a = address(wl, asked, ISTIO__WORKLOAD__IPFAMILIES__AUTOMATIC);
    if (!a && wl->text[WL_HOSTNAME].n == 0 && !wl->t->network_gateway)
        return RC_NO_UPSTREAM;
    fill(wl, a, port, ret);
    return RC_OK;
}

const struct gateway_addr *balance_waypoint(const struct service *s)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < s->n_weighted; i++)
        sum += s->weighted[i].weight;
    uint64_t at = rand_below(sum);
    for (size_t i = 0; sum && i < s->n_weighted; i++) {
        if (at < s->weighted[i].weight)
            return s->weighted[i].to;
        at -= s->weighted[i].weight;
    }
    return s->waypoint;
}

/* -- which service was meant -- */

static bool leads_to(const struct service *s, const struct wl_service *m, uint16_t port)
{
    for (size_t i = 0; i < s->n_ports; i++)
        if (s->ports[i].target == port || workload_port(m, s->ports[i].service) == port)
            return true;
    return false;
}

struct service *balance_guess_service(const struct proxy_state *st, const struct workload *wl,
                                      struct str host, uint16_t port)
{
    struct service *first = NULL;
    const struct wl_service *m = workload_services(wl);
    for (size_t i = 0; i < wl->t->n_services; i++) {
        struct service *s = state_service_by_key(st, atom_str(m[i].key));
        if (s && host.n && str_eq(s->host, host))
            return s;
        if (s && !first && leads_to(s, &m[i], port))
            first = s;
    }
    return first;
}
