/* A whole ztunnel: two captured pods in namespaces of their own, a real certificate authority, real xDS and ZDS
 * over sockets; applications that know nothing of it. The kernel's rules are the product's. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cni/rules.h"
#include "control/ca/ca_service.h"
#include "lib/ca/ca_msg.h"
#include "lib/codec/pb.h"
#include "lib/log/log.h"
#include "lib/metric/metric.h"
#include "lib/net/netns.h"
#include "lib/net/rtnl.h"
#include "lib/net/sock.h"
#include "lib/xds/ads_server.h"
#include "lib/zds/zds_server.h"
#include "proxy/ztunnel/ztunnel.h"
#include "tests/helper/check.h"
#include "tests/helper/tls_server.h"

#define OK(expr)                                                                 \
    do {                                                                         \
        struct errmsg e_ = {""}, *msg = &e_;                                     \
        enum rc rc_ = (expr);                                                    \
        ck_assert_msg(rc_ == RC_OK, "%s: %s: %s", #expr, rc_name(rc_), e_.text); \
    } while (0)

enum { CLIENT, SERVER, OUTSIDE, NODES }; /* 10.7.0.1, .2, .3; the last is not captured */
enum { POLICY, ADDRESS };

static struct rig {
    struct loop *l;
    pthread_t thread;
    atomic_bool stop;
    atomic_int ready; /* bits of tasks */
    char dir[40], sock[64], token[128];
    struct ca *ca;
    struct tokens *tokens;
    struct ca_service *cas;
    struct ads_server *ads;
    struct zds_server *zds;
    struct tls_server t;
    struct ztunnel *z;
    int ns[NODES], hub, log_fd; /* hub: the bridge between them */
} R;

static const char *const ips[NODES] = {"10.7.0.1", "10.7.0.2", "10.7.0.3"};
static const char *const names[NODES] = {"client", "server", "outside"};

/* -- the control plane, as small as it can be -- */

static bool node_runs(void *owner, struct str node, struct str ns, struct str sa)
{
    (void)owner, (void)node, (void)ns, (void)sa;
    return true;
}

static struct mtls_ctx *serving(void *owner)
{
    (void)owner;
    return ca_serving(R.ca, NULL);
}

static void on_request(void *owner, struct h2_stream *s, const struct h2_headers *hs)
{
    struct addr peer = {0};
    (void)owner;
    if (str_eqz(h2_header_get(hs, ":path"), CA_PATH))
        ca_service_request(R.cas, s, hs, &peer);
    else
        ads_server_accept(R.ads, s, hs, STR("node"));
}

static enum grpc_status on_client(void *owner, const struct ads_client_info *c, const char **text)
{
    (void)owner, (void)c, (void)text;
    return GRPC_OK;
}

static const struct ads_server_ops ads_ops = {.on_client = on_client};

static void put(size_t type, const char *name, const ProtobufCMessage *m)
{
    struct strbuf b;
    strbuf_init(&b, 65536);
    pb_put_message(&b, m);
    struct resource *r = resource_new(str_of(name), strbuf_str(&b));
    ads_server_set(R.ads, type, r);
    resource_unref(r);
    strbuf_fini(&b);
}

static void put_workload(int i, bool hbone, const char *policy)
{
    Istio__Workload__Workload w;
    istio__workload__workload__init(&w);
    Istio__Workload__Address a;
    istio__workload__address__init(&a);
    Istio__Workload__PortList none;
    istio__workload__port_list__init(&none);
    Istio__Workload__Workload__ServicesEntry e, *ep = &e;
    istio__workload__workload__services_entry__init(&e);
    struct addr ip;
    char uid[60], *policies[1] = {(char *)(uintptr_t)policy};
    snprintf(uid, sizeof(uid), "Kubernetes//Pod/shop/%s", names[i]);
    ck_assert_rc(addr_parse_ip(str_of(ips[i]), &ip), RC_OK);
    ProtobufCBinaryData bytes = {4, ip.ip};
    w.uid = uid;
    w.name = w.canonical_name = w.workload_name = (char *)(uintptr_t)names[i];
    w.namespace_ = (char[]){"shop"};
    w.service_account = (char *)(uintptr_t)names[i];
    w.node = (char[]){"n1"};
    w.n_addresses = 1;
    w.addresses = &bytes;
    w.tunnel_protocol = hbone;
    e.key = (char[]){"shop/web.shop.svc.cluster.local"};
    e.value = &none;
    if (i == SERVER) {
        w.n_services = 1;
        w.services = &ep;
    }
    if (policy) {
        w.n_authorization_policies = 1;
        w.authorization_policies = policies;
    }
    a.type_case = ISTIO__WORKLOAD__ADDRESS__TYPE_WORKLOAD;
    a.workload = &w;
    put(ADDRESS, uid, &a.base);
}

static void put_service(void)
{
    Istio__Workload__Service s;
    istio__workload__service__init(&s);
    Istio__Workload__Address a;
    istio__workload__address__init(&a);
    Istio__Workload__NetworkAddress vip, *vp = &vip;
    istio__workload__network_address__init(&vip);
    Istio__Workload__Port port, *pp = &port;
    istio__workload__port__init(&port);
    uint8_t ip[4] = {10, 96, 0, 10};
    vip.address = (ProtobufCBinaryData){4, ip};
    port.service_port = 80;
    port.target_port = 8080;
    s.name = (char[]){"web"};
    s.namespace_ = (char[]){"shop"};
    s.hostname = (char[]){"web.shop.svc.cluster.local"};
    s.n_addresses = 1;
    s.addresses = &vp;
    s.n_ports = 1;
    s.ports = &pp;
    a.type_case = ISTIO__WORKLOAD__ADDRESS__TYPE_SERVICE;
    a.service = &s;
    put(ADDRESS, "shop/web.shop.svc.cluster.local", &a.base);
}

/* deny: peers without an identity (STRICT); else: allow only principal. */
static void put_policy(const char *name, bool strict, const char *principal)
{
    Istio__Security__Authorization z;
    istio__security__authorization__init(&z);
    Istio__Security__Rule r, *rp = &r;
    istio__security__rule__init(&r);
    Istio__Security__Clause c, *cp = &c;
    istio__security__clause__init(&c);
    Istio__Security__Match m, *mp = &m;
    istio__security__match__init(&m);
    Istio__Security__StringMatch s, *sp = &s;
    istio__security__string_match__init(&s);
    Google__Protobuf__Empty present;
    google__protobuf__empty__init(&present);
    char key[80];
    snprintf(key, sizeof(key), "shop/%s", name);
    z.name = (char *)(uintptr_t)name;
    z.namespace_ = (char[]){"shop"};
    z.scope = ISTIO__SECURITY__SCOPE__WORKLOAD_SELECTOR;
    z.action = strict ? ISTIO__SECURITY__ACTION__DENY : ISTIO__SECURITY__ACTION__ALLOW;
    z.n_rules = r.n_clauses = c.n_matches = 1;
    z.rules = &rp;
    r.clauses = &cp;
    c.matches = &mp;
    if (strict) {
        s.match_type_case = ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_PRESENCE;
        s.presence = &present;
        m.n_not_principals = 1;
        m.not_principals = &sp;
    } else {
        s.match_type_case = ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_EXACT;
        s.exact = (char *)(uintptr_t)principal;
        m.n_principals = 1;
        m.principals = &sp;
    }
    put(POLICY, key, &z.base);
}

static void each_pod(void *owner, void (*add)(void *arg, const struct zds_request *r, int netns),
                     void *arg)
{
    (void)owner;
    for (int i = CLIENT; i <= SERVER; i++) {
        struct zds_request r = {.kind = ZDS_ADD,
                                .uid = str_of(names[i]),
                                .name = str_of(names[i]),
                                .ns = STR("shop"),
                                .sa = str_of(names[i])};
        add(arg, &r, R.ns[i]);
    }
}

static const struct zds_server_ops zds_ops = {.each_pod = each_pod};

/* -- the rig -- */

static void on_task(void *owner, enum ztunnel_task t, bool done, const char *why_not)
{
    (void)owner, (void)why_not;
    if (done)
        atomic_fetch_or(&R.ready, 1 << t);
    else
        atomic_fetch_and(&R.ready, ~(1 << t));
}

static void make_net(void)
{
    struct netlink *n[NODES], *hub_nl;
    ck_assert_rc(netns_new(&R.hub), RC_OK);
    OK(netlink_open(R.hub, NETLINK_ROUTE, &hub_nl, msg));
    OK(rtnl_bridge_add(hub_nl, "br0", msg));
    OK(rtnl_link_up(hub_nl, "br0", msg));
    for (int i = 0; i < NODES; i++) {
        char port[16];
        struct addr ip;
        struct rtnl_route vips = {.link = "eth0"};
        snprintf(port, sizeof(port), "port%d", i);
        ck_assert_rc(addr_parse_ip(str_of(ips[i]), &ip), RC_OK);
        ck_assert_rc(cidr_parse(STR("10.96.0.0/16"), &vips.dst), RC_OK);
        ck_assert_rc(netns_new(&R.ns[i]), RC_OK);
        OK(netlink_open(R.ns[i], NETLINK_ROUTE, &n[i], msg));
        OK(rtnl_veth_add(n[i], "eth0", port, R.hub, msg));
        OK(rtnl_addr_add(n[i], "eth0", &ip, 24, msg));
        OK(rtnl_link_up(n[i], "eth0", msg));
        OK(rtnl_link_up(hub_nl, port, msg));
        OK(rtnl_link_master(hub_nl, port, "br0", msg));
        OK(rtnl_route_replace(n[i], &vips, msg));
        netlink_close(n[i]);
        if (i <= SERVER)
            OK(rules_apply(R.ns[i], &(struct rules_opts){0}, msg));
    }
    netlink_close(hub_nl);
}

static void *run(void *arg)
{
    (void)arg;
    while (!atomic_load(&R.stop))
        loop_turn(R.l, 20);
    return NULL;
}

static void read_token(void)
{
    char path[80];
    snprintf(path, sizeof(path), "%s/tokens/node/n1", R.dir);
    int fd = open(path, O_RDONLY);
    ssize_t n = read(fd, R.token, sizeof(R.token) - 1);
    ck_assert_int_gt(n, 0);
    R.token[n] = '\0';
    close(fd);
}

static void setup(void)
{
    static const struct ads_type types[] = {{XDS_AUTHORIZATION, true}, {XDS_ADDRESS, false}};
    memset(&R, 0, sizeof(R));
    strcpy(R.dir, "/tmp/test-ztunnel-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(R.dir));
    snprintf(R.sock, sizeof(R.sock), "%s/z.sock", R.dir);
    char path[64];
    snprintf(path, sizeof(path), "%s/log", R.dir);
    R.log_fd = open(path, O_RDWR | O_CREAT | O_APPEND, 0600);
    log_output(R.log_fd);
    ck_assert_rc(netns_init(), RC_OK);
    make_net();
    R.l = loop_new();
    OK(ca_open(&(struct ca_opts){.folder = R.dir, .trust_domain = STR("cluster.local")}, &R.ca,
               msg));
    OK(tokens_open(R.dir, &R.tokens, msg));
    tokens_begin(R.tokens);
    tokens_want_node(R.tokens, STR("n1"));
    OK(tokens_commit(R.tokens, msg));
    read_token();
    R.cas = ca_service_new(&(struct ca_service_opts){
        .csr = {.ca = R.ca, .trust_domain = STR("cluster.local"), .node_runs = node_runs},
        .tokens = R.tokens});
    R.ads = ads_server_new(R.l, types, 2, &ads_ops, NULL);
    put_workload(CLIENT, true, NULL);
    put_workload(SERVER, true, NULL);
    put_workload(OUTSIDE, false, NULL);
    put_service();
    struct errmsg e = {""};
    R.zds = zds_server_new(R.l, R.sock, &zds_ops, NULL, &e);
    ck_assert_msg(R.zds != NULL, "%s", e.text);
    R.t = (struct tls_server){.ctx = serving, .on_request = on_request};
    tls_server_start(&R.t, R.l, 0);
    char url[64], *roots = str_dup(ca_root_pem(R.ca));
    snprintf(url, sizeof(url), "https://127.0.0.1:%u", R.t.port);
    struct ztunnel_opts o = {
        .z = {.mark = RULES_PROXY_MARK,
              .wait_ms = 1500,
              .connect_ms = 10000,
              .drain_ms = 2000,
              .max_streams = 100,
              .max_conns = 10000,
              .pool_idle_ms = 300000,
              .cluster = STR("Kubernetes"),
              .trust_domain = STR("cluster.local"),
              .h2 = {.ping_ms = 10000}},
        .workers = 2,
        .node = "n1",
        .zds_path = R.sock,
        .node_id = "ztunnel~1.1.1.1~z.istio-system~istio-system.svc.cluster.local",
        .xds = {.url = url, .roots = roots, .token = R.token, .cluster_id = "Kubernetes"},
        .ca = {.url = url, .roots = roots, .token = R.token, .cluster_id = "Kubernetes"},
        .cert_valid_s = 86400,
        .on_task = on_task,
    };
    OK(ztunnel_new(R.l, &o, &R.z, msg));
    free(roots);
    for (int i = 0; i < 1000 && atomic_load(&R.ready) != 3; i++)
        loop_turn(R.l, 10);
    ck_assert_int_eq(atomic_load(&R.ready), 3);
    ck_assert_int_eq(pthread_create(&R.thread, NULL, run, NULL), 0);
}

static void main_stop(void)
{
    atomic_store(&R.stop, true);
    pthread_join(R.thread, NULL);
}

static void teardown(void)
{
    main_stop();
    ztunnel_free(R.z);
    for (int i = 0; i < 5; i++)
        loop_turn(R.l, 5);
    zds_server_free(R.zds);
    ads_server_free(R.ads);
    ca_service_free(R.cas);
    for (int i = 0; i < 5; i++)
        loop_turn(R.l, 5);
    tls_server_stop(&R.t);
    tokens_free(R.tokens);
    ca_free(R.ca);
    loop_free(R.l);
    log_output(1);
    close(R.log_fd);
    close(R.hub);
    for (int i = 0; i < NODES; i++)
        close(R.ns[i]);
    char cmd[80];
    static const char *const files[] = {"ca-key.pem", "ca-cert.pem", "root-cert.pem", "log",
                                        "tokens/node/n1"};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        snprintf(cmd, sizeof(cmd), "%s/%s", R.dir, files[i]);
        unlink(cmd);
    }
    static const char *const dirs[] = {"tokens/node", "tokens/workload", "tokens", ""};
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        snprintf(cmd, sizeof(cmd), "%s/%s", R.dir, dirs[i]);
        rmdir(cmd);
    }
}

/* -- applications -- */

static int app_listen(int who, uint16_t port)
{
    struct sock_opts o = SOCK_OPTS_DEFAULT;
    struct addr a;
    int fd;
    ck_assert_rc(addr_parse_ip(str_of(ips[who]), &a), RC_OK);
    a.port = port;
    o.netns = R.ns[who];
    ck_assert_rc(sock_listen_tcp(&a, &o, &fd), RC_OK);
    return fd;
}

static void blocking(int fd)
{
    struct timeval tv = {15, 0};
    fcntl(fd, F_SETFL, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

static int app_dial(int who, const char *to)
{
    struct sock_opts o = SOCK_OPTS_DEFAULT;
    struct addr a;
    bool connecting;
    int fd;
    ck_assert_rc(addr_parse_port(str_of(to), &a), RC_OK);
    o.netns = R.ns[who];
    ck_assert_rc(sock_connect_tcp(&a, NULL, &o, &fd, &connecting), RC_OK);
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    poll(&p, 1, 5000);
    blocking(fd);
    return fd;
}

static int app_accept(int l, char *peer, int wait_ms)
{
    struct pollfd p = {.fd = l, .events = POLLIN};
    struct addr a;
    int fd;
    if (poll(&p, 1, wait_ms) != 1)
        return -1;
    ck_assert_rc(sock_accept(l, &fd, &a), RC_OK);
    addr_format_ip(&a, peer);
    blocking(fd);
    return fd;
}

static void talk(int a, int b)
{
    char buf[100];
    ck_assert_int_eq(send(a, "ping", 4, MSG_NOSIGNAL), 4);
    ck_assert_int_eq(recv(b, buf, 4, MSG_WAITALL), 4);
    ck_assert_int_eq(send(b, "pong!", 5, MSG_NOSIGNAL), 5);
    ck_assert_int_eq(recv(a, buf, 5, MSG_WAITALL), 5);
    ck_assert_int_eq(memcmp(buf, "pong!", 5), 0);
}

/* Waits until the log holds the text. */
static bool logged(const char *text)
{
    static char buf[1 << 20];
    for (int i = 0; i < 300; i++) {
        ssize_t n = pread(R.log_fd, buf, sizeof(buf) - 1, 0);
        buf[n > 0 ? n : 0] = '\0';
        if (strstr(buf, text))
            return true;
        poll(NULL, 0, 10);
    }
    fprintf(stderr, "%s\n", buf);
    return false;
}

static void on_main(void (*fn)(void))
{
    main_stop();
    fn();
    atomic_store(&R.stop, false);
    pthread_create(&R.thread, NULL, run, NULL);
}

START_TEST(pods_talk_in_tunnels_and_see_each_others_addresses)
{
    static const char *const to[] = {"10.96.0.10:80", "10.7.0.2:8080"}; /* the service, the pod */
    char peer[ADDR_TEXT];
    int l = app_listen(SERVER, 8080);
    for (int i = 0; i < 2; i++) {
        int a = app_dial(CLIENT, to[i]), b = app_accept(l, peer, 5000);
        ck_assert_int_ge(b, 0);
        ck_assert_str_eq(peer, "10.7.0.1"); /* not the proxy's */
        talk(a, b);
        shutdown(a, SHUT_WR);
        char c;
        ck_assert_int_eq(recv(b, &c, 1, 0), 0);
        ck_assert_int_eq(send(b, "x", 1, MSG_NOSIGNAL), 1); /* half-closed: this way stays open */
        ck_assert_int_eq(recv(a, &c, 1, 0), 1);
        close(b);
        ck_assert_int_eq(recv(a, &c, 1, 0), 0);
        close(a);
    }
    close(l);
    ck_assert(logged("dst.hbone_addr=10.7.0.2:8080"));
    ck_assert(logged("src.identity=\"spiffe://cluster.local/ns/shop/sa/client\""));
    ck_assert(logged("dst.service=\"web.shop.svc.cluster.local\""));
    ck_assert(logged("bytes_sent=4"));
}
END_TEST

START_TEST(plaintext_passes_where_policy_allows_it)
{
    char peer[ADDR_TEXT], c;
    int l = app_listen(SERVER, 8080), ol = app_listen(OUTSIDE, 80);
    int a = app_dial(OUTSIDE, "10.7.0.2:8080"), b = app_accept(l, peer, 5000);
    ck_assert_int_ge(b, 0);
    ck_assert_str_eq(peer, "10.7.0.3");
    talk(a, b);
    close(a);
    ck_assert_int_eq(recv(b, &c, 1, 0), 0);
    close(b);
    a = app_dial(CLIENT, "10.7.0.3:80"); /* to a workload without a tunnel */
    b = app_accept(ol, peer, 5000);
    ck_assert_int_ge(b, 0);
    ck_assert_str_eq(peer, "10.7.0.1");
    talk(a, b);
    close(a), close(b), close(l), close(ol);
}
END_TEST

static void make_strict(void)
{
    put_policy("strict", true, NULL);
    put_workload(SERVER, true, "shop/strict");
    ads_server_push(R.ads);
}

START_TEST(strict_refuses_plaintext_and_ends_what_is_open)
{
    char peer[ADDR_TEXT], c;
    int l = app_listen(SERVER, 8080);
    int a = app_dial(OUTSIDE, "10.7.0.2:8080"), b = app_accept(l, peer, 5000);
    talk(a, b);
    on_main(make_strict);
    ck_assert_int_le(recv(a, &c, 1, 0), 0); /* late rejection */
    close(a), close(b);
    a = app_dial(OUTSIDE, "10.7.0.2:8080");
    ck_assert_int_le(recv(a, &c, 1, 0), 0);
    close(a);
    ck_assert_int_eq(app_accept(l, peer, 200), -1); /* the application never saw it */
    ck_assert(logged("shop/strict"));
    a = app_dial(CLIENT, "10.7.0.2:8080"); /* in a tunnel: welcome */
    b = app_accept(l, peer, 5000);
    talk(a, b);
    close(a), close(b), close(l);
}
END_TEST

static void allow_nobody(void)
{
    put_policy("only-admin", false, "cluster.local/ns/shop/sa/admin");
    put_workload(SERVER, true, "shop/only-admin");
    ads_server_push(R.ads);
}

START_TEST(a_tunnel_whose_identity_is_not_allowed_is_refused_by_name)
{
    char peer[ADDR_TEXT], c;
    int l = app_listen(SERVER, 8080);
    on_main(allow_nobody);
    int fd = -1;
    for (int i = 0; i < 100; i++) { /* until the policy is in force */
        int a = app_dial(CLIENT, "10.96.0.10:80");
        fd = app_accept(l, peer, 50);
        ssize_t n = fd < 0 ? recv(a, &c, 1, 0) : 1;
        close(a);
        if (fd < 0 && n <= 0)
            break;
        close(fd);
    }
    ck_assert_int_eq(fd, -1);
    ck_assert(logged("HTTP status 401"));
    ck_assert(logged("policy denied: no ALLOW policy matches by shop/only-admin"));
    close(l);
}
END_TEST

static void name_unknown_policy(void)
{
    put_workload(SERVER, true, "shop/never-sent");
    ads_server_push(R.ads);
}

START_TEST(a_policy_that_was_not_received_refuses)
{
    char peer[ADDR_TEXT], c;
    int l = app_listen(SERVER, 8080);
    on_main(name_unknown_policy);
    for (int i = 0; i < 100; i++) { /* until the workload that names it is in force */
        int a = app_dial(OUTSIDE, "10.7.0.2:8080");
        int b = app_accept(l, peer, 50);
        if (b < 0) {
            ck_assert_int_le(recv(a, &c, 1, 0), 0);
            close(a);
            break;
        }
        close(a), close(b);
    }
    ck_assert(logged("shop/never-sent"));
    close(l);
}
END_TEST

START_TEST(mesh_ports_are_no_targets)
{
    char c;
    static const char *const to[] = {"10.7.0.1:15001", "10.7.0.2:15006"};
    for (int i = 0; i < 2; i++) {
        int a = app_dial(i ? OUTSIDE : CLIENT, to[i]);
        ck_assert_int_le(recv(a, &c, 1, 0), 0);
        close(a);
    }
}
END_TEST

START_TEST(nobody_listens)
{
    char c;
    int a = app_dial(CLIENT, "10.96.0.10:80"); /* the tunnel works, the application does not */
    ck_assert_int_le(recv(a, &c, 1, 0), 0);
    close(a);
    ck_assert(logged("HTTP status 503"));
}
END_TEST

struct stress {
    int l, n;
    atomic_int served;
    atomic_bool stop;
};

static void *serve(void *arg)
{
    struct stress *s = arg;
    struct pollfd p = {.fd = s->l, .events = POLLIN};
    while (!atomic_load(&s->stop)) {
        struct addr a;
        int fd;
        if (poll(&p, 1, 50) != 1 || sock_accept(s->l, &fd, &a) != RC_OK)
            continue;
        blocking(fd);
        unsigned tag;
        if (recv(fd, &tag, sizeof(tag), MSG_WAITALL) == sizeof(tag) &&
            send(fd, &tag, sizeof(tag), MSG_NOSIGNAL) == sizeof(tag))
            atomic_fetch_add(&s->served, 1);
        close(fd);
    }
    return NULL;
}

START_TEST(many_short_connections_none_mixed_none_lost)
{
    struct stress s = {.l = app_listen(SERVER, 8080)};
    pthread_t t;
    pthread_create(&t, NULL, serve, &s);
    for (unsigned i = 0; i < 1000; i++) {
        unsigned got = 0;
        char c;
        int a = app_dial(CLIENT, i % 2 ? "10.96.0.10:80" : "10.7.0.2:8080");
        ck_assert_int_eq(send(a, &i, sizeof(i), MSG_NOSIGNAL), sizeof(i));
        ssize_t n = recv(a, &got, sizeof(got), MSG_WAITALL);
        if (n != sizeof(got))
            logged("no such text");
        ck_assert_msg(n == sizeof(got), "connection %u: %zd, errno %d", i, n, errno);
        ck_assert_uint_eq(got, i);
        ck_assert_int_eq(recv(a, &c, 1, 0), 0);
        close(a);
    }
    atomic_store(&s.stop, true);
    pthread_join(t, NULL);
    ck_assert_int_eq(atomic_load(&s.served), 1000);
    close(s.l);
}
END_TEST

TEST_MAIN_FIXTURE("ztunnel", setup, teardown, pods_talk_in_tunnels_and_see_each_others_addresses,
                  plaintext_passes_where_policy_allows_it,
                  strict_refuses_plaintext_and_ends_what_is_open,
                  a_tunnel_whose_identity_is_not_allowed_is_refused_by_name,
                  a_policy_that_was_not_received_refuses, mesh_ports_are_no_targets, nobody_listens,
                  many_short_connections_none_mixed_none_lost)
