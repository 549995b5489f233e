/* Workloads and services for tests, written as short specifications, put into an apply as the bytes that
 * xDS carries. Lists are separated by commas. */
#pragma once

#include "lib/codec/pb.h"
#include "lib/net/addr.h"
#include "proxy/state/apply.h"

struct wl_spec {
    const char *uid, *name, *ns, *sa, *td, *node, *network, *cluster, *hostname;
    const char *region, *zone, *subzone;
    const char *workload_name, *canonical_name, *canonical_revision;
    const char *ips;                        /* "10.0.0.1,fd00::1" */
    const char *services;                   /* "shop/cart.local 80=8080 81=8081,web/front.local" */
    const char *policies;                   /* "shop/allow,root/deny" */
    const char *waypoint, *gateway;         /* "NS/HOST", or "@NETWORK/IP"; then " PORT" */
    int capacity;                           /* 0: not said, -1: 0 */
    int type, tunnel, status, network_mode; /* numbers of the enums; tunnel 1: HBONE */
    int app_tunnel;                         /* 0: none, else protocol + 1 */
    unsigned app_tunnel_port;
    bool native_tunnel;
};

struct svc_spec {
    const char *ns, *host, *name;
    const char *vips;  /* "10.96.0.1,net/10.0.0.0/8" */
    const char *ports; /* "80=8080 81=0" */
    const char *sans, *waypoint;
    const char *weighted; /* "NS/HOST PORT 90,NS/HOST PORT 10" */
    const char *prefs;    /* numbers of scopes: "6,1,2" */
    int mode, health, families, visibility;
    bool canonical;
};

#define MESH_MAX (1 << 20)

static bool mesh_take(struct str *rest, char sep, struct str *ret)
{
    if (rest->n == 0)
        return false;
    *ret = str_split(*rest, sep, rest);
    return true;
}

static void mesh_str(struct strbuf *b, uint32_t n, const char *s)
{
    pb_put_str(b, n, str_of(s));
}

static uint64_t mesh_number(struct str s)
{
    uint64_t v = 0;
    return str_to_u64(s, UINT32_MAX, &v) ? v : 0;
}

static void mesh_ip(struct strbuf *b, uint32_t n, struct str s)
{
    struct addr a = {0};
    (void)!addr_parse_ip(s, &a);
    pb_put_bytes(b, n, (struct str){(char *)a.ip, addr_len(&a)});
}

static void mesh_ports(struct strbuf *b, uint32_t n, struct str s)
{
    struct str one;
    while (mesh_take(&s, ' ', &one)) {
        struct strbuf p;
        struct str to, from = str_split(one, '=', &to);
        strbuf_init(&p, 100);
        pb_put_u64(&p, 1, mesh_number(from));
        pb_put_u64(&p, 2, mesh_number(to));
        pb_put_bytes(b, n, strbuf_str(&p));
        strbuf_fini(&p);
    }
}

static void mesh_gateway(struct strbuf *b, uint32_t n, struct str s)
{
    struct strbuf g, d;
    struct str port, where = str_split(s, ' ', &port), second,
                     first = str_split(where, '/', &second);
    if (s.n == 0)
        return;
    strbuf_init(&g, MESH_MAX);
    strbuf_init(&d, MESH_MAX);
    bool by_ip = first.n && first.p[0] == '@';
    if (by_ip) {
        pb_put_str(&d, 1, (struct str){first.p + 1, first.n - 1});
        mesh_ip(&d, 2, second);
    } else {
        pb_put_str(&d, 1, first);
        pb_put_str(&d, 2, second);
    }
    pb_put_bytes(&g, by_ip ? 2 : 1, strbuf_str(&d));
    pb_put_u64(&g, 3, mesh_number(port));
    pb_put_bytes(b, n, strbuf_str(&g));
    strbuf_fini(&d);
    strbuf_fini(&g);
}

static void mesh_wl_lists(struct strbuf *b, const struct wl_spec *w)
{
    struct str rest = str_of(w->ips), one;
    while (mesh_take(&rest, ',', &one))
        mesh_ip(b, 3, one);
    rest = str_of(w->policies);
    while (mesh_take(&rest, ',', &one))
        pb_put_str(b, 16, one);
    rest = str_of(w->services);
    while (mesh_take(&rest, ',', &one)) {
        struct strbuf e, list;
        struct str ports, key = str_split(one, ' ', &ports);
        strbuf_init(&e, MESH_MAX);
        strbuf_init(&list, MESH_MAX);
        pb_put_str(&e, 1, key);
        mesh_ports(&list, 1, ports);
        pb_put_bytes(&e, 2, strbuf_str(&list));
        pb_put_bytes(b, 22, strbuf_str(&e));
        strbuf_fini(&list);
        strbuf_fini(&e);
    }
}

/* The message istio.workload.Address, to be freed by strbuf_fini(). */
__attribute__((unused)) static void mesh_workload_bytes(const struct wl_spec *w, struct strbuf *out)
{
    struct strbuf b, t;
    strbuf_init(out, MESH_MAX);
    strbuf_init(&b, MESH_MAX);
    strbuf_init(&t, MESH_MAX);
    mesh_str(&b, 1, w->name);
    mesh_str(&b, 2, w->ns);
    mesh_str(&b, 4, w->network);
    pb_put_u64(&b, 5, (uint64_t)w->tunnel);
    mesh_str(&b, 6, w->td);
    mesh_str(&b, 7, w->sa);
    mesh_gateway(&b, 8, str_of(w->waypoint));
    mesh_str(&b, 9, w->node);
    mesh_str(&b, 10, w->canonical_name);
    mesh_str(&b, 11, w->canonical_revision);
    pb_put_u64(&b, 12, (uint64_t)w->type);
    mesh_str(&b, 13, w->workload_name);
    pb_put_u64(&b, 14, w->native_tunnel);
    pb_put_u64(&b, 17, (uint64_t)w->status);
    mesh_str(&b, 18, w->cluster);
    mesh_gateway(&b, 19, str_of(w->gateway));
    mesh_str(&b, 20, w->uid);
    mesh_str(&b, 21, w->hostname);
    mesh_wl_lists(&b, w);
    if (w->app_tunnel) {
        pb_put_u64(&t, 1, (uint64_t)w->app_tunnel - 1);
        pb_put_u64(&t, 2, w->app_tunnel_port);
        pb_put_bytes(&b, 23, strbuf_str(&t));
        strbuf_reset(&t);
    }
    mesh_str(&t, 1, w->region);
    mesh_str(&t, 2, w->zone);
    mesh_str(&t, 3, w->subzone);
    if (t.n)
        pb_put_bytes(&b, 24, strbuf_str(&t));
    pb_put_u64(&b, 25, (uint64_t)w->network_mode);
    strbuf_reset(&t);
    pb_put_u64(&t, 1, w->capacity > 0 ? (uint64_t)w->capacity : 0);
    if (w->capacity)
        pb_put_bytes(&b, 27, strbuf_str(&t));
    pb_put_bytes(out, 1, strbuf_str(&b));
    strbuf_fini(&t);
    strbuf_fini(&b);
}

static void mesh_vips(struct strbuf *b, struct str vips)
{
    struct str one;
    while (mesh_take(&vips, ',', &one)) {
        struct strbuf a;
        struct str ip, network = str_split(one, '/', &ip), bits;
        strbuf_init(&a, 1000);
        struct addr probe;
        if (addr_parse_ip(network, &probe) == RC_OK) { /* without a network */
            ip = one;
            network = (struct str){"", 0};
        }
        pb_put_str(&a, 1, network);
        ip = str_split(ip, '/', &bits);
        mesh_ip(&a, 2, ip);
        if (bits.n) {
            strbuf_addc(&a, 3 << 3); /* presence counts: a 0 too */
            pb_put_varint(&a, mesh_number(bits));
        }
        pb_put_bytes(b, 4, strbuf_str(&a));
        strbuf_fini(&a);
    }
}

static void mesh_svc_balance(struct strbuf *b, const struct svc_spec *s)
{
    struct strbuf t;
    struct str rest = str_of(s->prefs), one;
    strbuf_init(&t, 1000);
    while (mesh_take(&rest, ',', &one)) {
        strbuf_addc(&t, 1 << 3);
        pb_put_varint(&t, mesh_number(one));
    }
    pb_put_u64(&t, 2, (uint64_t)s->mode);
    pb_put_u64(&t, 3, (uint64_t)s->health);
    if (t.n)
        pb_put_bytes(b, 8, strbuf_str(&t));
    strbuf_fini(&t);
}

__attribute__((unused)) static void mesh_service_bytes(const struct svc_spec *s, struct strbuf *out)
{
    struct strbuf b;
    strbuf_init(out, MESH_MAX);
    strbuf_init(&b, MESH_MAX);
    mesh_str(&b, 1, s->name);
    mesh_str(&b, 2, s->ns);
    mesh_str(&b, 3, s->host);
    mesh_vips(&b, str_of(s->vips));
    mesh_ports(&b, 5, str_of(s->ports));
    struct str rest = str_of(s->sans), one;
    while (mesh_take(&rest, ',', &one))
        pb_put_str(&b, 6, one);
    mesh_gateway(&b, 7, str_of(s->waypoint));
    mesh_svc_balance(&b, s);
    pb_put_u64(&b, 9, (uint64_t)s->families);
    pb_put_u64(&b, 11, s->canonical);
    rest = str_of(s->weighted);
    while (mesh_take(&rest, ',', &one)) {
        struct strbuf w;
        size_t at = one.n;
        while (at && one.p[at - 1] != ' ')
            at--;
        strbuf_init(&w, MESH_MAX);
        mesh_gateway(&w, 1, (struct str){one.p, at ? at - 1 : 0});
        pb_put_u64(&w, 2, mesh_number((struct str){one.p + at, one.n - at}));
        pb_put_bytes(&b, 13, strbuf_str(&w));
        strbuf_fini(&w);
    }
    pb_put_u64(&b, 14, (uint64_t)s->visibility);
    pb_put_bytes(out, 2, strbuf_str(&b));
    strbuf_fini(&b);
}

__attribute__((unused)) static enum rc mesh_workload(struct apply *a, const struct wl_spec *w,
                                                     struct errmsg *e)
{
    struct strbuf b;
    mesh_workload_bytes(w, &b);
    enum rc rc = apply_address(a, str_of(w->uid), strbuf_str(&b), e);
    strbuf_fini(&b);
    return rc;
}

__attribute__((unused)) static enum rc mesh_service(struct apply *a, const struct svc_spec *s,
                                                    struct errmsg *e)
{
    struct strbuf b;
    char *key = mem_printf("%s/%s", s->ns ? s->ns : "", s->host ? s->host : "");
    mesh_service_bytes(s, &b);
    enum rc rc = apply_address(a, str_of(key), strbuf_str(&b), e);
    strbuf_fini(&b);
    mem_free(key);
    return rc;
}

#define WORKLOAD(app, ...) \
    ck_assert_rc(mesh_workload(app, &(struct wl_spec){__VA_ARGS__}, NULL), RC_OK)
#define SERVICE(app, ...) \
    ck_assert_rc(mesh_service(app, &(struct svc_spec){__VA_ARGS__}, NULL), RC_OK)
