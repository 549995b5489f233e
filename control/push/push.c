#include "control/push/push.h"

#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/hash.h"
#include "lib/base/must.h"
#include "lib/metric/metric.h"

#define STEP_MS        5
#define NAME_MAX_BYTES 4096

const struct ads_type push_types[PUSH_TYPES] = {{XDS_AUTHORIZATION, true}, {XDS_ADDRESS, false}};

static const struct metric_family m_translated = {
    "mesh_controller_translations", "Objects that were translated because of a change.",
    METRIC_COUNTER, false};
static const struct metric_family m_pushes = {
    "pilot_xds_pushes", "Pushes of changes to connected proxies.", METRIC_COUNTER, true};
static const struct metric_family m_services = {"pilot_services", "Services known.", METRIC_GAUGE,
                                                false};
static const struct metric_family m_clients = {"pilot_xds", "Proxies connected.", METRIC_GAUGE,
                                               false};

/* What is remembered of a translated object: a policy's condition, the names of a slice's workloads. */
struct trace {
    struct hnode by_name;
    char *name; /* CLUSTER/KIND/NAMESPACE/NAME */
    enum kobj_kind kind;
    struct str ns, object; /* views into name */
    struct condition condition;
    char **resources;
    size_t n_resources, cap_resources;
};

struct push {
    struct loop *loop;
    struct push_opts o;
    struct loop_timer timer;
    struct loop_task step;
    int64_t due_ms; /* the latest start of the next push; 0: none is wanted */
    bool working;   /* between the first translation and the push */
    bool again;     /* the model changed meanwhile */
    bool ready, strict;
    struct htab traces;
};

/* -- traces -- */

static bool trace_eq(const struct hnode *n, const void *key)
{
    return strcmp(container_of(n, struct trace, by_name)->name, key) == 0;
}

static struct trace *find_trace(struct push *p, const struct mobject *o, bool make)
{
    const struct kmeta *m = &o->obj->meta;
    char *name AUTO_FREE =
        mem_printf("%s/%s/%s/%s", o->cluster->id, kobj_kind_name(o->obj->kind), m->ns.p, m->name.p);
    uint64_t hash = hash_str(str_of(name));
    struct hnode *h = htab_find(&p->traces, hash, trace_eq, name);
    if (h || !make)
        return h ? container_of(h, struct trace, by_name) : NULL;
    struct trace *t = mem_new(struct trace);
    t->name = TAKE(name);
    t->kind = o->obj->kind;
    size_t n = strlen(t->name);
    t->object = (struct str){t->name + n - m->name.n, m->name.n};
    t->ns = (struct str){t->object.p - 1 - m->ns.n, m->ns.n};
    htab_insert(&p->traces, &t->by_name, hash);
    return t;
}

static void free_trace(struct push *p, struct trace *t)
{
    htab_del(&p->traces, &t->by_name);
    for (size_t i = 0; i < t->n_resources; i++)
        mem_free(t->resources[i]);
    mem_free(t->resources);
    mem_free(t->name);
    mem_free(t);
}

static void forget(struct push *p, const struct mobject *o)
{
    struct trace *t = find_trace(p, o, false);
    if (t)
        free_trace(p, t);
}

/* -- translation -- */

/* r is taken; NULL: the resource of that name is to go. */
static void put(struct push *p, enum push_type type, struct resource *r, struct str name)
{
    if (r)
        ads_server_set(p->o.ads, type, r);
    else
        ads_server_remove(p->o.ads, type, name);
    resource_unref(r);
}

static void on_pod(struct push *p, const struct mobject *o)
{
    struct strbuf name AUTO_STRBUF;
    strbuf_init(&name, NAME_MAX_BYTES);
    build_name_workload(o, &name);
    put(p, PUSH_ADDRESS, o->gone ? NULL : build_workload(p->o.model, &p->o.build, o),
        strbuf_str(&name));
}

static void on_service(struct push *p, const struct mobject *o)
{
    struct strbuf name AUTO_STRBUF;
    strbuf_init(&name, NAME_MAX_BYTES);
    build_name_service(&p->o.build, o, &name);
    put(p, PUSH_ADDRESS, o->gone ? NULL : build_service(p->o.model, &p->o.build, o),
        strbuf_str(&name));
}

static void on_policy(struct push *p, const struct mobject *o)
{
    struct strbuf name AUTO_STRBUF;
    struct condition c;
    bool authz = o->obj->kind == KOBJ_AUTHORIZATION_POLICY;
    strbuf_init(&name, NAME_MAX_BYTES);
    if (authz)
        build_name_authz(o, &name);
    else
        build_name_peer_auth(o, &name);
    if (o->gone) {
        forget(p, o);
        put(p, PUSH_AUTHORIZATION, NULL, strbuf_str(&name));
        return;
    }
    struct resource *r =
        authz ? build_authz(p->o.model, o, &c) : build_peer_auth(p->o.model, o, &c);
    find_trace(p, o, true)->condition = c;
    put(p, PUSH_AUTHORIZATION, r, strbuf_str(&name));
}

struct slice {
    struct push *p;
    char **names;
    size_t n, cap;
};

static void on_endpoint(void *arg, struct resource *r)
{
    struct slice *s = arg;
    mem_grow(s->names, s->cap, s->n + 1);
    s->names[s->n++] = str_dup(r->name);
    put(s->p, PUSH_ADDRESS, r, r->name);
}

static int text_cmp(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void on_slice(struct push *p, const struct mobject *o)
{
    struct slice s = {.p = p};
    struct trace *t = find_trace(p, o, false);
    if (!o->gone)
        build_slice(p->o.model, &p->o.build, o, on_endpoint, &s);
    if (s.n)
        qsort(s.names, s.n, sizeof(*s.names), text_cmp);
    for (size_t i = 0; t && i < t->n_resources; i++)
        if (!s.n || !bsearch(&t->resources[i], s.names, s.n, sizeof(*s.names), text_cmp))
            ads_server_remove(p->o.ads, PUSH_ADDRESS, str_of(t->resources[i]));
    if (t)
        free_trace(p, t);
    if (!s.n)
        return;
    t = find_trace(p, o, true);
    t->resources = s.names;
    t->n_resources = s.n;
    t->cap_resources = s.cap;
}

static void translate(struct push *p, const struct mobject *o)
{
    metric_add(metric_series(&m_translated, STR("")), 1);
    switch ((enum kobj_kind)o->obj->kind) {
    case KOBJ_POD:                  on_pod(p, o); break;
    case KOBJ_SERVICE:              on_service(p, o); break;
    case KOBJ_ENDPOINT_SLICE:       on_slice(p, o); break;
    case KOBJ_AUTHORIZATION_POLICY:
    case KOBJ_PEER_AUTHENTICATION:  on_policy(p, o); break;
    default:                        break; /* others depend on them, they are not sent themselves */
    }
}

/* There before any workload can name it, and until after the last. */
static void settle_strict(struct push *p)
{
    bool want = model_has_mtls(p->o.model);
    if (want == p->strict)
        return;
    struct strbuf name AUTO_STRBUF;
    p->strict = want;
    strbuf_init(&name, NAME_MAX_BYTES);
    build_name_static_strict(p->o.model, &name);
    put(p, PUSH_AUTHORIZATION, want ? build_static_strict(p->o.model) : NULL, strbuf_str(&name));
}

/* -- when -- */

static void arm(struct push *p)
{
    int64_t now = loop_now(p->loop);
    if (!p->due_ms)
        p->due_ms = now + p->o.max_ms;
    loop_timer_set(&p->timer, MAX(0, MIN(p->o.quiet_ms, p->due_ms - now)));
}

static void on_step(void *owner)
{
    struct push *p = owner;
    int64_t until = clock_mono_ms() + STEP_MS;
    const struct mobject *o;
    settle_strict(p);
    while ((o = model_next(p->o.model))) {
        translate(p, o);
        if (clock_mono_ms() >= until) {
            loop_defer(p->loop, &p->step, LOOP_WORK);
            return;
        }
    }
    p->working = false;
    p->ready = p->ready || model_synced(p->o.model);
    ads_server_push(p->o.ads);
    metric_add(metric_series(&m_pushes, STR("type=\"wds\"")), 1);
    if (p->o.on_pushed && p->ready)
        p->o.on_pushed(p->o.owner);
    if (p->again)
        arm(p);
    p->again = false;
}

static void on_timer(void *owner)
{
    struct push *p = owner;
    p->due_ms = 0;
    p->working = true;
    on_step(p);
}

void push_notify(struct push *p)
{
    if (p->working)
        p->again = true; /* what changed is in the model's queue, perhaps translated already */
    else
        arm(p);
}

bool push_ready(const struct push *p)
{
    return p->ready;
}

/* -- questions -- */

struct lookup {
    struct push *p;
    struct str network;
    void (*add)(void *arg, struct str name);
    void *arg;
};

static void add_workload(void *arg, const struct mobject *pod)
{
    struct lookup *l = arg;
    struct strbuf name AUTO_STRBUF;
    strbuf_init(&name, NAME_MAX_BYTES);
    build_name_workload(pod, &name);
    l->add(l->arg, strbuf_str(&name));
}

static void add_found(void *arg, const struct mobject *o)
{
    struct lookup *l = arg;
    if (!str_eq(model_network(l->p->o.model, o->cluster), l->network))
        return;
    if (o->obj->kind == KOBJ_POD) {
        if (!kobj_pod(o->obj)->host_network) /* its address is the node's */
            add_workload(l, o);
        return;
    }
    struct strbuf name AUTO_STRBUF;
    strbuf_init(&name, NAME_MAX_BYTES);
    build_name_service(&l->p->o.build, o, &name);
    l->add(l->arg, strbuf_str(&name));
    model_pods_of_service(l->p->o.model, o, add_workload, l);
}

void push_lookup(struct push *p, struct str key, void (*add)(void *arg, struct str name), void *arg)
{
    struct lookup l = {.p = p, .add = add, .arg = arg};
    struct str ip;
    struct addr a;
    l.network = str_split(key, '/', &ip);
    if (addr_parse_ip(ip, &a) == RC_OK)
        model_by_addr(p->o.model, &a, add_found, &l);
}

static int trace_cmp(const void *a, const void *b)
{
    return strcmp((*(const struct trace *const *)a)->name, (*(const struct trace *const *)b)->name);
}

static void print_condition(const struct trace *t, struct strbuf *out)
{
    strbuf_printf(out, "{\"kind\":\"%s\",\"namespace\":\"", kobj_kind_name(t->kind));
    strbuf_add_json(out, t->ns);
    strbuf_addz(out, "\",\"name\":\"");
    strbuf_add_json(out, t->object);
    strbuf_printf(out, "\",\"type\":\"%s\",\"status\":\"%s\",\"reason\":\"%s\",\"message\":\"",
                  t->condition.type, t->condition.status ? "True" : "False", t->condition.reason);
    strbuf_add_json(out, str_of(t->condition.message));
    strbuf_addz(out, "\"}");
}

void push_conditions(const struct push *p, struct strbuf *out)
{
    const struct trace **v AUTO_FREE = mem_calloc(p->traces.len + 1, sizeof(struct trace *));
    struct htab_iter it;
    size_t n = 0;
    HTAB_FOREACH (h, &p->traces, &it) {
        const struct trace *t = container_of(h, struct trace, by_name);
        if (t->condition.type)
            v[n++] = t;
    }
    qsort(v, n, sizeof(*v), trace_cmp);
    strbuf_addc(out, '[');
    for (size_t i = 0; i < n; i++) {
        if (i)
            strbuf_addc(out, ',');
        print_condition(v[i], out);
    }
    strbuf_addc(out, ']');
}

static void on_scrape(void *owner)
{
    const struct push *p = owner;
    metric_set(metric_series(&m_services, STR("")), (int64_t)model_count(p->o.model, KOBJ_SERVICE));
    metric_set(metric_series(&m_clients, STR("version=\"" MESH_VERSION "\"")),
               (int64_t)ads_server_clients(p->o.ads));
}

/* -- life -- */

struct push *push_new(struct loop *l, const struct push_opts *o)
{
    struct push *p = mem_new(struct push);
    p->loop = l;
    p->o = *o;
    htab_init(&p->traces);
    loop_timer_init(&p->timer, l, on_timer, p);
    loop_task_init(&p->step, on_step, p);
    metric_on_scrape(on_scrape, p);
    return p;
}

void push_free(struct push *p)
{
    if (!p)
        return;
    metric_off_scrape(on_scrape, p);
    loop_timer_clear(&p->timer);
    loop_task_cancel(&p->step);
    struct htab_iter it;
    HTAB_FOREACH (h, &p->traces, &it)
        free_trace(p, container_of(h, struct trace, by_name));
    htab_fini(&p->traces);
    mem_free(p);
}
