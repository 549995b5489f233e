#include "lib/net/rtnl.h"

#include <linux/fib_rules.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <stdio.h>

#include "lib/base/mem.h"

#define AUTO_NLBUF __attribute__((cleanup(nlbuf_fini)))

static enum rc named(enum rc rc, struct errmsg *msg, const char *what, const char *name)
{
    if (rc != RC_OK)
        errmsg_prefix(msg, "%s %s", what, name);
    return rc;
}

/* Adding again is fine. */
static enum rc exists_is_ok(enum rc rc)
{
    return rc == RC_EXISTS ? RC_OK : rc;
}

/* -- links -- */

struct link_dump {
    rtnl_link_fn *fn;
    void *owner;
};

static void on_link(void *owner, const struct nlmsg *m)
{
    const struct link_dump *d = owner;
    struct ifinfomsg h;
    struct rtnl_link l = {0};
    if (m->type != RTM_NEWLINK || m->body.n < sizeof(h))
        return;
    memcpy(&h, m->body.p, sizeof(h));
    struct str attrs = {m->body.p + sizeof(h), m->body.n - sizeof(h)};
    struct str name = nlattr_find(attrs, IFLA_IFNAME);
    snprintf(l.name, sizeof(l.name), "%.*s", (int)MIN(name.n, sizeof(l.name) - 1),
             name.p ? name.p : "");
    l.index = (unsigned)h.ifi_index;
    l.up = h.ifi_flags & IFF_UP;
    l.master = nlattr_u32(nlattr_find(attrs, IFLA_MASTER), 0);
    d->fn(d->owner, &l);
}

enum rc rtnl_links(struct netlink *n, rtnl_link_fn *fn, void *owner, struct errmsg *msg)
{
    struct ifinfomsg h = {.ifi_family = AF_UNSPEC};
    struct nlbuf m AUTO_NLBUF;
    struct link_dump d = {fn, owner};
    nlbuf_init(&m);
    nlbuf_begin(&m, RTM_GETLINK, NLM_F_DUMP, &h, sizeof(h));
    nlbuf_end(&m);
    return netlink_dump(n, &m, on_link, &d, msg);
}

struct find_link {
    const char *name;
    unsigned index;
};

static void on_find(void *owner, const struct rtnl_link *l)
{
    struct find_link *f = owner;
    if (strcmp(l->name, f->name) == 0)
        f->index = l->index;
}

unsigned rtnl_link_index(struct netlink *n, const char *name)
{
    struct find_link f = {name, 0};
    return rtnl_links(n, on_find, &f, NULL) == RC_OK ? f.index : 0;
}

enum rc rtnl_veth_add(struct netlink *n, const char *name, const char *peer_name, int peer_netns,
                      struct errmsg *msg)
{
    struct ifinfomsg h = {.ifi_family = AF_UNSPEC};
    struct nlbuf m AUTO_NLBUF;
    nlbuf_init(&m);
    nlbuf_begin(&m, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &h, sizeof(h));
    nlbuf_attr_str(&m, IFLA_IFNAME, name);
    size_t info = nlbuf_nest(&m, IFLA_LINKINFO);
    nlbuf_attr_str(&m, IFLA_INFO_KIND, "veth");
    size_t data = nlbuf_nest(&m, IFLA_INFO_DATA);
    size_t peer = nlbuf_nest(&m, VETH_INFO_PEER);
    strbuf_add(&m.b, &h, sizeof(h)); /* the peer's own header comes before its attributes */
    nlbuf_attr_str(&m, IFLA_IFNAME, peer_name);
    if (peer_netns >= 0)
        nlbuf_attr_u32(&m, IFLA_NET_NS_FD, (uint32_t)peer_netns);
    nlbuf_nest_end(&m, peer);
    nlbuf_nest_end(&m, data);
    nlbuf_nest_end(&m, info);
    nlbuf_end(&m);
    return named(netlink_ask(n, &m, msg), msg, "veth", name);
}

enum rc rtnl_bridge_add(struct netlink *n, const char *name, struct errmsg *msg)
{
    struct ifinfomsg h = {.ifi_family = AF_UNSPEC};
    struct nlbuf m AUTO_NLBUF;
    nlbuf_init(&m);
    nlbuf_begin(&m, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &h, sizeof(h));
    nlbuf_attr_str(&m, IFLA_IFNAME, name);
    size_t info = nlbuf_nest(&m, IFLA_LINKINFO);
    nlbuf_attr_str(&m, IFLA_INFO_KIND, "bridge");
    nlbuf_nest_end(&m, info);
    nlbuf_end(&m);
    return named(exists_is_ok(netlink_ask(n, &m, msg)), msg, "bridge", name);
}

static enum rc link_set(struct netlink *n, const char *name, unsigned flags, unsigned master,
                        struct errmsg *msg)
{
    struct ifinfomsg h = {.ifi_family = AF_UNSPEC, .ifi_flags = flags, .ifi_change = flags};
    struct nlbuf m AUTO_NLBUF;
    nlbuf_init(&m);
    nlbuf_begin(&m, RTM_NEWLINK, 0, &h, sizeof(h));
    nlbuf_attr_str(&m, IFLA_IFNAME, name);
    if (master)
        nlbuf_attr_u32(&m, IFLA_MASTER, master);
    nlbuf_end(&m);
    return named(netlink_ask(n, &m, msg), msg, "link", name);
}

enum rc rtnl_link_up(struct netlink *n, const char *name, struct errmsg *msg)
{
    return link_set(n, name, IFF_UP, 0, msg);
}

enum rc rtnl_link_master(struct netlink *n, const char *name, const char *bridge,
                         struct errmsg *msg)
{
    unsigned index = rtnl_link_index(n, bridge);
    if (!index) {
        errmsg_set(msg, "there is no bridge %s", bridge);
        return RC_NOT_FOUND;
    }
    return link_set(n, name, 0, index, msg);
}

enum rc rtnl_link_del(struct netlink *n, const char *name, struct errmsg *msg)
{
    struct ifinfomsg h = {.ifi_family = AF_UNSPEC};
    struct nlbuf m AUTO_NLBUF;
    nlbuf_init(&m);
    nlbuf_begin(&m, RTM_DELLINK, 0, &h, sizeof(h));
    nlbuf_attr_str(&m, IFLA_IFNAME, name);
    nlbuf_end(&m);
    return named(netlink_ask(n, &m, msg), msg, "link", name);
}

/* -- addresses -- */

enum rc rtnl_addr_add(struct netlink *n, const char *link, const struct addr *ip, unsigned bits,
                      struct errmsg *msg)
{
    struct ifaddrmsg h = {.ifa_family = ip->family, .ifa_prefixlen = (unsigned char)bits};
    struct nlbuf m AUTO_NLBUF;
    nlbuf_init(&m);
    h.ifa_index = rtnl_link_index(n, link);
    if (ip->family == AF_INET6)
        h.ifa_flags = IFA_F_NODAD; /* usable at once */
    nlbuf_begin(&m, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &h, sizeof(h));
    nlbuf_attr(&m, IFA_LOCAL, ip->ip, addr_len(ip));
    nlbuf_attr(&m, IFA_ADDRESS, ip->ip, addr_len(ip));
    nlbuf_end(&m);
    return named(exists_is_ok(netlink_ask(n, &m, msg)), msg, "address on", link);
}

struct addr_dump {
    rtnl_addr_fn *fn;
    void *owner;
};

static void on_addr(void *owner, const struct nlmsg *m)
{
    const struct addr_dump *d = owner;
    struct ifaddrmsg h;
    struct addr a;
    if (m->type != RTM_NEWADDR || m->body.n < sizeof(h))
        return;
    memcpy(&h, m->body.p, sizeof(h));
    struct str attrs = {m->body.p + sizeof(h), m->body.n - sizeof(h)};
    struct str ip = nlattr_find(attrs, IFA_LOCAL);
    if (!ip.p)
        ip = nlattr_find(attrs, IFA_ADDRESS);
    if (addr_from_bytes(ip.p, ip.n, &a) == RC_OK)
        d->fn(d->owner, &a, h.ifa_prefixlen, h.ifa_index);
}

enum rc rtnl_addrs(struct netlink *n, rtnl_addr_fn *fn, void *owner, struct errmsg *msg)
{
    struct ifaddrmsg h = {.ifa_family = AF_UNSPEC};
    struct nlbuf m AUTO_NLBUF;
    struct addr_dump d = {fn, owner};
    nlbuf_init(&m);
    nlbuf_begin(&m, RTM_GETADDR, NLM_F_DUMP, &h, sizeof(h));
    nlbuf_end(&m);
    return netlink_dump(n, &m, on_addr, &d, msg);
}

/* -- routes -- */

static enum rc route(struct netlink *n, uint16_t type, uint16_t flags, const struct rtnl_route *r,
                     struct errmsg *msg)
{
    uint8_t family = r->dst.base.family;
    struct rtmsg h = {
        .rtm_family = family,
        .rtm_dst_len = r->dst.bits,
        .rtm_table =
            r->table < 256 ? (unsigned char)(r->table ? r->table : RT_TABLE_MAIN) : RT_TABLE_UNSPEC,
        .rtm_protocol = RTPROT_STATIC,
        .rtm_type = r->local ? RTN_LOCAL : RTN_UNICAST,
        .rtm_scope = r->local        ? RT_SCOPE_HOST
                     : r->via.family ? RT_SCOPE_UNIVERSE
                                     : RT_SCOPE_LINK,
    };
    if (family == AF_INET6)
        h.rtm_scope = RT_SCOPE_UNIVERSE;
    struct nlbuf m AUTO_NLBUF;
    nlbuf_init(&m);
    nlbuf_begin(&m, type, flags, &h, sizeof(h));
    if (r->dst.bits)
        nlbuf_attr(&m, RTA_DST, r->dst.base.ip, addr_len(&r->dst.base));
    if (r->via.family)
        nlbuf_attr(&m, RTA_GATEWAY, r->via.ip, addr_len(&r->via));
    if (r->link)
        nlbuf_attr_u32(&m, RTA_OIF, rtnl_link_index(n, r->link));
    if (r->table >= 256)
        nlbuf_attr_u32(&m, RTA_TABLE, r->table);
    nlbuf_end(&m);
    return netlink_ask(n, &m, msg);
}

enum rc rtnl_route_replace(struct netlink *n, const struct rtnl_route *r, struct errmsg *msg)
{
    return named(route(n, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, r, msg), msg, "route by",
                 r->link ? r->link : "gateway");
}

enum rc rtnl_route_del(struct netlink *n, const struct rtnl_route *r, struct errmsg *msg)
{
    return named(route(n, RTM_DELROUTE, 0, r, msg), msg, "route by", r->link ? r->link : "gateway");
}

struct route_find {
    const struct rtnl_route *r;
    bool found;
};

static void on_route(void *owner, const struct nlmsg *m)
{
    struct route_find *f = owner;
    struct rtmsg h;
    struct addr dst = {.family = f->r->dst.base.family};
    if (m->type != RTM_NEWROUTE || m->body.n < sizeof(h))
        return;
    memcpy(&h, m->body.p, sizeof(h));
    struct str a = {m->body.p + sizeof(h), m->body.n - sizeof(h)};
    struct str to = nlattr_find(a, RTA_DST);
    if (to.p && addr_from_bytes(to.p, to.n, &dst) != RC_OK)
        return;
    uint32_t table = nlattr_u32(nlattr_find(a, RTA_TABLE), h.rtm_table);
    f->found |= h.rtm_family == f->r->dst.base.family && h.rtm_dst_len == f->r->dst.bits &&
                addr_eq_ip(&dst, &f->r->dst.base) && (h.rtm_type == RTN_LOCAL) == f->r->local &&
                table == (f->r->table ? f->r->table : RT_TABLE_MAIN);
}

enum rc rtnl_route_has(struct netlink *n, const struct rtnl_route *r, bool *ret, struct errmsg *msg)
{
    struct rtmsg h = {.rtm_family = r->dst.base.family};
    struct route_find f = {r, false};
    struct nlbuf m AUTO_NLBUF;
    nlbuf_init(&m);
    nlbuf_begin(&m, RTM_GETROUTE, NLM_F_DUMP, &h, sizeof(h));
    nlbuf_end(&m);
    enum rc rc = netlink_dump(n, &m, on_route, &f, msg);
    if (rc == RC_OK)
        *ret = f.found;
    return rc;
}

/* -- rules -- */

static enum rc rule(struct netlink *n, uint16_t type, uint16_t flags, const struct rtnl_rule *r,
                    struct errmsg *msg)
{
    struct fib_rule_hdr h = {
        .family = r->family, .action = FR_ACT_TO_TBL, .table = RT_TABLE_UNSPEC};
    struct nlbuf m AUTO_NLBUF;
    nlbuf_init(&m);
    nlbuf_begin(&m, type, flags, &h, sizeof(h));
    nlbuf_attr_u32(&m, FRA_PRIORITY, r->priority);
    nlbuf_attr_u32(&m, FRA_FWMARK, r->mark);
    nlbuf_attr_u32(&m, FRA_FWMASK, r->mask);
    nlbuf_attr_u32(&m, FRA_TABLE, r->table);
    nlbuf_end(&m);
    return netlink_ask(n, &m, msg);
}

enum rc rtnl_rule_add(struct netlink *n, const struct rtnl_rule *r, struct errmsg *msg)
{
    return named(exists_is_ok(rule(n, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, r, msg)), msg,
                 "policy rule", r->family == AF_INET6 ? "(IPv6)" : "(IPv4)");
}

enum rc rtnl_rule_del(struct netlink *n, const struct rtnl_rule *r, struct errmsg *msg)
{
    return named(rule(n, RTM_DELRULE, 0, r, msg), msg, "policy rule",
                 r->family == AF_INET6 ? "(IPv6)" : "(IPv4)");
}

struct rule_find {
    const struct rtnl_rule *r;
    bool found;
};

static void on_rule(void *owner, const struct nlmsg *m)
{
    struct rule_find *f = owner;
    struct fib_rule_hdr h;
    if (m->type != RTM_NEWRULE || m->body.n < sizeof(h))
        return;
    memcpy(&h, m->body.p, sizeof(h));
    struct str a = {m->body.p + sizeof(h), m->body.n - sizeof(h)};
    f->found |= h.family == f->r->family && h.action == FR_ACT_TO_TBL &&
                nlattr_u32(nlattr_find(a, FRA_PRIORITY), 0) == f->r->priority &&
                nlattr_u32(nlattr_find(a, FRA_FWMARK), 0) == f->r->mark &&
                nlattr_u32(nlattr_find(a, FRA_FWMASK), UINT32_MAX) == f->r->mask &&
                nlattr_u32(nlattr_find(a, FRA_TABLE), h.table) == f->r->table;
}

enum rc rtnl_rule_has(struct netlink *n, const struct rtnl_rule *r, bool *ret, struct errmsg *msg)
{
    struct fib_rule_hdr h = {.family = r->family};
    struct rule_find f = {r, false};
    struct nlbuf m AUTO_NLBUF;
    nlbuf_init(&m);
    nlbuf_begin(&m, RTM_GETRULE, NLM_F_DUMP, &h, sizeof(h));
    nlbuf_end(&m);
    enum rc rc = netlink_dump(n, &m, on_rule, &f, msg);
    if (rc == RC_OK)
        *ret = f.found;
    return rc;
}
