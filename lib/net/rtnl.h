/* Links, addresses, routes and policy rules by netlink (rtnetlink(7)). All calls are about the namespace of
 * the socket. Adding what is there already succeeds. Thread: any, one at a time a socket. */
#pragma once

#include "lib/net/netlink.h"

struct rtnl_link {
    char name[16];
    unsigned index;
    bool up;
    unsigned master; /* index of the bridge, 0: none */
};
typedef void rtnl_link_fn(void *owner, const struct rtnl_link *l);
NODISCARD enum rc rtnl_links(struct netlink *n, rtnl_link_fn *fn, void *owner, struct errmsg *msg);
/* 0: there is none. */
unsigned rtnl_link_index(struct netlink *n, const char *name);
/* A pair: name here, peer_name in the namespace peer_netns (-1: here too). */
NODISCARD enum rc rtnl_veth_add(struct netlink *n, const char *name, const char *peer_name,
                                int peer_netns, struct errmsg *msg);
NODISCARD enum rc rtnl_bridge_add(struct netlink *n, const char *name, struct errmsg *msg);
NODISCARD enum rc rtnl_link_up(struct netlink *n, const char *name, struct errmsg *msg);
NODISCARD enum rc rtnl_link_master(struct netlink *n, const char *name, const char *bridge,
                                   struct errmsg *msg);
NODISCARD enum rc rtnl_link_del(struct netlink *n, const char *name, struct errmsg *msg);

NODISCARD enum rc rtnl_addr_add(struct netlink *n, const char *link, const struct addr *ip,
                                unsigned bits, struct errmsg *msg);
typedef void rtnl_addr_fn(void *owner, const struct addr *ip, unsigned bits, unsigned link);
NODISCARD enum rc rtnl_addrs(struct netlink *n, rtnl_addr_fn *fn, void *owner, struct errmsg *msg);

struct rtnl_route {
    struct cidr dst;
    struct addr via;  /* family 0: none */
    const char *link; /* NULL: the kernel finds it by via */
    uint32_t table;   /* 0: main */
    bool local;       /* type local, scope host: delivered here whatever the address */
};
NODISCARD enum rc rtnl_route_replace(struct netlink *n, const struct rtnl_route *r,
                                     struct errmsg *msg);
NODISCARD enum rc rtnl_route_del(struct netlink *n, const struct rtnl_route *r, struct errmsg *msg);
/* Is a route of this destination, table and kind there? */
NODISCARD enum rc rtnl_route_has(struct netlink *n, const struct rtnl_route *r, bool *ret,
                                 struct errmsg *msg);

struct rtnl_rule { /* packets of this mark look into this table */
    uint8_t family;
    uint32_t priority, mark, mask, table;
};
NODISCARD enum rc rtnl_rule_add(struct netlink *n, const struct rtnl_rule *r, struct errmsg *msg);
NODISCARD enum rc rtnl_rule_del(struct netlink *n, const struct rtnl_rule *r, struct errmsg *msg);
/* Is exactly this rule there? */
NODISCARD enum rc rtnl_rule_has(struct netlink *n, const struct rtnl_rule *r, bool *ret,
                                struct errmsg *msg);
