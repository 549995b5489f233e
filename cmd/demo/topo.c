#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/demo/demo.h"
#include "lib/net/netns.h"
#include "lib/net/rtnl.h"

/* Stops at the first failure. */
#define TRY(expr)              \
    do {                       \
        enum rc try_ = (expr); \
        if (try_ != RC_OK)     \
            return try_;       \
    } while (0)

static struct addr ip4(unsigned a, unsigned b, unsigned c, unsigned d)
{
    char text[40];
    struct addr ip = {0};
    snprintf(text, sizeof(text), "%u.%u.%u.%u", a, b, c, d);
    (void)!addr_parse_ip(str_of(text), &ip);
    return ip;
}

/* The addresses: 192.168.100.0/24 is the link, 10.244.N.0/24 the pods of node N. */
static struct addr link_ip(unsigned host)
{
    return ip4(192, 168, 100, host);
}

static struct addr pod_ip(unsigned node, unsigned host)
{
    return ip4(10, 244, node + 1, host);
}

void topo_pod_path(const struct demo_pod *p, char *path, size_t cap)
{
    snprintf(path, cap, DEMO_DIR "/netns/%s", p->name);
}

/* A name for the namespace, as `ip netns` makes it. */
static enum rc pin(const char *name, int netns, struct errmsg *msg)
{
    char from[40], to[80];
    snprintf(from, sizeof(from), "/proc/self/fd/%d", netns);
    snprintf(to, sizeof(to), DEMO_DIR "/netns/%s", name);
    int fd = open(to, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
    if (mount(from, to, NULL, MS_BIND, NULL) != 0) {
        errmsg_set(msg, "naming the namespace %s: %s", name, strerror(errno));
        return RC_IO;
    }
    return RC_OK;
}

static enum rc forward(void *arg)
{
    (void)arg;
    int fd = open("/proc/sys/net/ipv4/ip_forward", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return RC_IO;
    bool ok = write(fd, "1", 1) == 1;
    close(fd);
    return ok ? RC_OK : RC_IO;
}

static enum rc node_make(struct demo *d, unsigned i, struct netlink *hub, struct errmsg *msg)
{
    struct demo_node *n = &d->node[i];
    struct netlink *nl;
    char port[16];
    snprintf(n->name, sizeof(n->name), "node-%u", i + 1);
    snprintf(port, sizeof(port), "link-%u", i + 1);
    n->ip = link_ip(10 + i);
    TRY(netns_new(&n->netns));
    TRY(pin(n->name, n->netns, msg));
    TRY(netlink_open(n->netns, NETLINK_ROUTE, &nl, msg));
    struct addr gateway = pod_ip(i, 1);
    enum rc rc = rtnl_veth_add(hub, port, "eth0", n->netns, msg);
    rc = rc ? rc : rtnl_link_master(hub, port, "br0", msg);
    rc = rc ? rc : rtnl_link_up(hub, port, msg);
    rc = rc ? rc : rtnl_addr_add(nl, "eth0", &n->ip, 24, msg);
    rc = rc ? rc : rtnl_link_up(nl, "eth0", msg);
    rc = rc ? rc : rtnl_bridge_add(nl, "cni0", msg);
    rc = rc ? rc : rtnl_addr_add(nl, "cni0", &gateway, 24, msg);
    rc = rc ? rc : rtnl_link_up(nl, "cni0", msg);
    rc = rc ? rc : netns_run(n->netns, forward, NULL);
    netlink_close(nl);
    return rc;
}

static enum rc node_routes(struct demo *d, unsigned i, struct errmsg *msg)
{
    struct netlink *nl;
    enum rc rc = netlink_open(d->node[i].netns, NETLINK_ROUTE, &nl, msg);
    for (unsigned k = 0; rc == RC_OK && k < d->n_nodes; k++) {
        struct rtnl_route r = {.dst = {.base = pod_ip(k, 0), .bits = 24}, .via = d->node[k].ip};
        if (k != i)
            rc = rtnl_route_replace(nl, &r, msg);
    }
    netlink_close(nl);
    return rc;
}

static enum rc pod_make(struct demo *d, unsigned i, struct errmsg *msg)
{
    struct demo_pod *p = &d->pod[i];
    struct demo_node *n = &d->node[p->node];
    struct netlink *pod = NULL, *node = NULL;
    char port[16];
    snprintf(port, sizeof(port), "pod-%u", i + 1);
    p->ip = pod_ip(p->node, 10 + i % 240);
    struct rtnl_route all = {.dst = {.base.family = AF_INET}, .via = pod_ip(p->node, 1)};
    TRY(netns_new(&p->netns));
    TRY(pin(p->name, p->netns, msg));
    enum rc rc = netlink_open(p->netns, NETLINK_ROUTE, &pod, msg);
    rc = rc ? rc : netlink_open(n->netns, NETLINK_ROUTE, &node, msg);
    rc = rc ? rc : rtnl_veth_add(node, port, "eth0", p->netns, msg);
    rc = rc ? rc : rtnl_link_master(node, port, "cni0", msg);
    rc = rc ? rc : rtnl_link_up(node, port, msg);
    rc = rc ? rc : rtnl_addr_add(pod, "eth0", &p->ip, 24, msg);
    rc = rc ? rc : rtnl_link_up(pod, "eth0", msg);
    rc = rc ? rc : rtnl_route_replace(pod, &all, msg);
    netlink_close(pod);
    netlink_close(node);
    return rc;
}

enum rc topo_make(struct demo *d, struct errmsg *msg)
{
    struct netlink *hub;
    if (mkdir(DEMO_DIR "/netns", 0755) != 0)
        return RC_IO;
    d->hub = link_ip(1);
    TRY(netlink_open(-1, NETLINK_ROUTE, &hub, msg));
    enum rc rc = rtnl_link_up(hub, "lo", msg);
    rc = rc ? rc : rtnl_bridge_add(hub, "br0", msg);
    rc = rc ? rc : rtnl_addr_add(hub, "br0", &d->hub, 24, msg);
    rc = rc ? rc : rtnl_link_up(hub, "br0", msg);
    for (unsigned i = 0; rc == RC_OK && i < d->n_nodes; i++)
        rc = node_make(d, i, hub, msg);
    netlink_close(hub);
    for (unsigned i = 0; rc == RC_OK && i < d->n_nodes; i++)
        rc = node_routes(d, i, msg);
    for (unsigned i = 0; rc == RC_OK && i < d->n_pods; i++)
        rc = pod_make(d, i, msg);
    return rc;
}
