/* What the builders share. */
#include "control/push/build.h"

#include <stdarg.h>
#include <stdio.h>

#include "control/push/build_priv.h"
#include "lib/codec/pb.h"

#define RESOURCE_MAX (64u << 20)

char *build_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    MUST(n >= 0);
    char *p = build_alloc(a, (size_t)n + 1);
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return p;
}

ProtobufCBinaryData build_addr(const struct addr *a)
{
    return (ProtobufCBinaryData){.len = addr_len(a), .data = (uint8_t *)(uintptr_t)a->ip};
}

static struct resource *encode(struct str name, const ProtobufCMessage *m)
{
    struct strbuf b AUTO_STRBUF;
    strbuf_init(&b, RESOURCE_MAX);
    pb_put_message(&b, m);
    MUST(!b.truncated);
    return resource_new(name, strbuf_str(&b));
}

struct resource *build_address(struct str name, Istio__Workload__Workload *w,
                               Istio__Workload__Service *s)
{
    Istio__Workload__Address a = ISTIO__WORKLOAD__ADDRESS__INIT;
    if (w) {
        a.type_case = ISTIO__WORKLOAD__ADDRESS__TYPE_WORKLOAD;
        a.workload = w;
    } else {
        a.type_case = ISTIO__WORKLOAD__ADDRESS__TYPE_SERVICE;
        a.service = s;
    }
    return encode(name, &a.base);
}

struct resource *build_authorization(Istio__Security__Authorization *z)
{
    char *name AUTO_FREE = mem_printf("%s/%s", z->namespace_, z->name);
    return encode(str_of(name), &z->base);
}

char *build_hostname(struct arena *a, const struct build_settings *s, const struct kmeta *service)
{
    return build_printf(a, "%s.%s.svc.%s", service->name.p, service->ns.p, s->cluster_domain);
}

char *build_host_key(struct arena *a, const struct build_settings *s, const struct kmeta *service)
{
    return build_printf(a, "%s/%s.%s.svc.%s", service->ns.p, service->name.p, service->ns.p,
                        s->cluster_domain);
}

Istio__Security__StringMatch *build_presence(struct arena *a)
{
    Istio__Security__StringMatch *m =
        BUILD_NEW(a, Istio__Security__StringMatch, istio__security__string_match__init);
    m->match_type_case = ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_PRESENCE;
    m->presence = BUILD_NEW(a, Google__Protobuf__Empty, google__protobuf__empty__init);
    return m;
}

Istio__Security__Match *build_anonymous(struct arena *a)
{
    Istio__Security__Match *m = BUILD_NEW(a, Istio__Security__Match, istio__security__match__init);
    m->n_not_principals = 1;
    m->not_principals = BUILD_ARRAY(a, Istio__Security__StringMatch *, 1);
    m->not_principals[0] = build_presence(a);
    return m;
}

Istio__Security__Clause *build_clause(struct arena *a, Istio__Security__Match *only)
{
    Istio__Security__Clause *c =
        BUILD_NEW(a, Istio__Security__Clause, istio__security__clause__init);
    c->n_matches = 1;
    c->matches = BUILD_ARRAY(a, Istio__Security__Match *, 1);
    c->matches[0] = only;
    return c;
}

/* -- names -- */

void build_name_workload(const struct mobject *pod, struct strbuf *out)
{
    strbuf_printf(out, "%s//Pod/%s/%s", pod->cluster->id, pod->obj->meta.ns.p,
                  pod->obj->meta.name.p);
}

void build_name_service(const struct build_settings *s, const struct mobject *service,
                        struct strbuf *out)
{
    const struct kmeta *m = &service->obj->meta;
    strbuf_printf(out, "%s/%s.%s.svc.%s", m->ns.p, m->name.p, m->ns.p, s->cluster_domain);
}

void build_name_authz(const struct mobject *policy, struct strbuf *out)
{
    strbuf_printf(out, "%s/%s", policy->obj->meta.ns.p, policy->obj->meta.name.p);
}

void build_name_peer_auth(const struct mobject *policy, struct strbuf *out)
{
    strbuf_printf(out, "%s/converted_peer_authentication_%s", policy->obj->meta.ns.p,
                  policy->obj->meta.name.p);
}

void build_name_static_strict(const struct model *m, struct strbuf *out)
{
    strbuf_printf(out, "%s/istio_converted_static_strict", model_root_ns(m).p);
}
