/* Against the real kernel, in namespaces of the test's own. */
#include <stdio.h>
#include <unistd.h>

#include "lib/net/netns.h"
#include "lib/net/rtnl.h"
#include "tests/helper/check.h"

static struct addr ip(const char *s)
{
    struct addr a;
    ck_assert_rc(addr_parse_ip(str_of(s), &a), RC_OK);
    return a;
}

static struct cidr net(const char *s)
{
    struct cidr c;
    ck_assert_rc(cidr_parse(str_of(s), &c), RC_OK);
    return c;
}

#define OK(expr)                                                                 \
    do {                                                                         \
        struct errmsg e_ = {""}, *msg = &e_;                                     \
        enum rc rc_ = (expr);                                                    \
        ck_assert_msg(rc_ == RC_OK, "%s: %s: %s", #expr, rc_name(rc_), e_.text); \
    } while (0)

static void count_addr(void *owner, const struct addr *a, unsigned bits, unsigned link)
{
    (void)link;
    struct addr want = ip("10.9.0.1");
    if (addr_eq_ip(a, &want) && bits == 24)
        ++*(int *)owner;
}

START_TEST(two_namespaces_joined_by_a_veth_reach_each_other)
{
    int a, b, found = 0;
    struct netlink *na, *nb;
    ck_assert_rc(netns_init(), RC_OK);
    ck_assert_rc(netns_new(&a), RC_OK);
    ck_assert_rc(netns_new(&b), RC_OK);
    OK(netlink_open(a, NETLINK_ROUTE, &na, msg));
    OK(netlink_open(b, NETLINK_ROUTE, &nb, msg));
    OK(rtnl_veth_add(na, "left", "right", b, msg));
    ck_assert_uint_ne(rtnl_link_index(na, "left"), 0);
    ck_assert_uint_ne(rtnl_link_index(nb, "right"), 0);
    ck_assert_uint_eq(rtnl_link_index(na, "right"), 0);
    struct addr left = ip("10.9.0.1"), right = ip("10.9.0.2"), six = ip("fd09::1");
    OK(rtnl_addr_add(na, "left", &left, 24, msg));
    OK(rtnl_addr_add(na, "left", &left, 24, msg)); /* again */
    OK(rtnl_addr_add(na, "left", &six, 64, msg));
    OK(rtnl_addr_add(nb, "right", &right, 24, msg));
    OK(rtnl_link_up(na, "left", msg));
    OK(rtnl_link_up(nb, "right", msg));
    OK(rtnl_addrs(na, count_addr, &found, msg));
    ck_assert_int_eq(found, 1);
    struct rtnl_route far = {.dst = net("10.20.0.0/16"), .via = right};
    OK(rtnl_route_replace(na, &far, msg));
    OK(rtnl_route_replace(na, &far, msg));
    OK(rtnl_route_del(na, &far, msg));
    struct errmsg e = {""};
    ck_assert_rc(rtnl_route_del(na, &far, &e), RC_NOT_FOUND);
    ck_assert_str_ne(e.text, "");
    OK(rtnl_bridge_add(na, "br0", msg));
    OK(rtnl_link_master(na, "left", "br0", msg));
    ck_assert_rc(rtnl_link_master(na, "left", "nobody", &e), RC_NOT_FOUND);
    OK(rtnl_link_del(na, "left", msg));
    ck_assert_uint_eq(rtnl_link_index(nb, "right"), 0); /* its peer goes with it */
    netlink_close(na);
    netlink_close(nb);
    close(a), close(b);
}
END_TEST

START_TEST(policy_routing_for_marked_packets)
{
    int a;
    struct netlink *n;
    bool has = false;
    ck_assert_rc(netns_init(), RC_OK);
    ck_assert_rc(netns_new(&a), RC_OK);
    OK(netlink_open(a, NETLINK_ROUTE, &n, msg));
    for (int v6 = 0; v6 < 2; v6++) {
        struct rtnl_rule r = {v6 ? AF_INET6 : AF_INET, 32764, 0x111, 0xfff, 100};
        struct rtnl_route all = {
            .dst = net(v6 ? "::/0" : "0.0.0.0/0"), .link = "lo", .table = 100, .local = true};
        OK(rtnl_rule_has(n, &r, &has, msg));
        ck_assert(!has);
        OK(rtnl_rule_add(n, &r, msg));
        OK(rtnl_rule_add(n, &r, msg));
        OK(rtnl_route_replace(n, &all, msg));
        OK(rtnl_rule_has(n, &r, &has, msg));
        ck_assert(has);
        r.mask = 0xff;
        OK(rtnl_rule_has(n, &r, &has, msg));
        ck_assert(!has);
        r.mask = 0xfff;
        OK(rtnl_rule_del(n, &r, msg));
        OK(rtnl_route_del(n, &all, msg));
        OK(rtnl_rule_has(n, &r, &has, msg));
        ck_assert(!has); /* adding twice made one */
    }
    netlink_close(n);
    close(a);
}
END_TEST

TEST_MAIN("rtnl", two_namespaces_joined_by_a_veth_reach_each_other,
          policy_routing_for_marked_packets)
