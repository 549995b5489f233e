/* Capture rules in the real kernel: what they catch, what they let pass, and that they are compared. */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cni/rules.h"
#include "lib/net/netns.h"
#include "lib/net/nft.h"
#include "lib/net/rtnl.h"
#include "lib/net/sock.h"
#include "tests/helper/check.h"

#define OK(expr)                                                                 \
    do {                                                                         \
        struct errmsg e_ = {""}, *msg = &e_;                                     \
        enum rc rc_ = (expr);                                                    \
        ck_assert_msg(rc_ == RC_OK, "%s: %s: %s", #expr, rc_name(rc_), e_.text); \
    } while (0)

/* A pod at 10.8.0.2 (fd08::2) and an outside at 10.8.0.1. */
struct rig {
    int pod, out;
};

static struct addr at(const char *s)
{
    struct addr a;
    ck_assert_rc(addr_parse_port(str_of(s), &a), RC_OK);
    return a;
}

static void rig_init(struct rig *r)
{
    struct netlink *np, *no;
    struct addr pod = at("10.8.0.2:0"), out = at("10.8.0.1:0"), pod6 = at("[fd08::2]:0"),
                out6 = at("[fd08::1]:0");
    ck_assert_rc(netns_init(), RC_OK);
    ck_assert_rc(netns_new(&r->pod), RC_OK);
    ck_assert_rc(netns_new(&r->out), RC_OK);
    OK(netlink_open(r->pod, NETLINK_ROUTE, &np, msg));
    OK(netlink_open(r->out, NETLINK_ROUTE, &no, msg));
    OK(rtnl_veth_add(np, "eth0", "veth0", r->out, msg));
    OK(rtnl_addr_add(np, "eth0", &pod, 24, msg));
    OK(rtnl_addr_add(no, "veth0", &out, 24, msg));
    OK(rtnl_addr_add(np, "eth0", &pod6, 64, msg));
    OK(rtnl_addr_add(no, "veth0", &out6, 64, msg));
    OK(rtnl_link_up(np, "eth0", msg));
    OK(rtnl_link_up(no, "veth0", msg));
    struct rtnl_route all = {.dst = {.base.family = AF_INET}, .via = out};
    OK(rtnl_route_replace(np, &all, msg));
    netlink_close(np);
    netlink_close(no);
}

static void rig_fini(struct rig *r)
{
    close(r->pod);
    close(r->out);
}

static int listener(int ns, const char *where, bool transparent)
{
    struct sock_opts o = SOCK_OPTS_DEFAULT;
    struct addr a = at(where);
    int fd;
    o.netns = ns;
    o.transparent = transparent;
    if (a.family == AF_INET6 && addr_is_any(&a))
        a.family = 0;
    ck_assert_rc(sock_listen_tcp(&a, &o, &fd), RC_OK);
    return fd;
}

static int dial(int ns, const char *to, uint32_t mark, const char *from)
{
    struct sock_opts o = SOCK_OPTS_DEFAULT;
    struct addr a = at(to), src;
    bool connecting;
    int fd;
    o.netns = ns;
    o.mark = mark;
    if (from) {
        src = at(from);
        o.transparent = true;
    }
    enum rc rc = sock_connect_tcp(&a, from ? &src : NULL, &o, &fd, &connecting);
    return rc == RC_OK ? fd : -1;
}

/* Accepts within 3 s; -1: nobody came within 200 ms (when nobody should). */
static int accept_one(int l, int wait_ms, struct addr *orig, struct addr *peer)
{
    struct pollfd p = {.fd = l, .events = POLLIN};
    int fd;
    if (poll(&p, 1, wait_ms) != 1)
        return -1;
    ck_assert_rc(sock_accept(l, &fd, peer), RC_OK);
    sock_original_dst(fd, orig);
    return fd;
}

static const struct rules_opts opts = {.ipv6 = true};

START_TEST(what_is_captured_and_what_is_not)
{
    struct rig r;
    struct addr orig, peer, want;
    rig_init(&r);
    int out_l = listener(r.pod, "[::]:15001", true), in_l = listener(r.pod, "[::]:15006", true);
    int hbone_l = listener(r.pod, "[::]:15008", true), far_l = listener(r.out, "[::]:80", false);
    OK(rules_apply(r.pod, &opts, msg));
    static const char *const out_to[] = {"10.8.0.1:80", "10.96.0.10:8080", "[fd08::1]:80"};
    for (int i = 0; i < 3; i++) { /* the pod dials: 15001, with the destination it wanted */
        int c = dial(r.pod, out_to[i], 0, NULL);
        int s = accept_one(out_l, 3000, &orig, &peer);
        ck_assert_msg(s >= 0, "%s was not captured", out_to[i]);
        want = at(out_to[i]);
        ck_assert(addr_eq(&orig, &want));
        close(c), close(s);
    }
    static const char *const in_to[] = {"10.8.0.2:8080", "[fd08::2]:8080"};
    for (int i = 0; i < 2; i++) { /* somebody dials the pod in plaintext: 15006 */
        int c = dial(r.out, in_to[i], 0, NULL);
        int s = accept_one(in_l, 3000, &orig, &peer);
        ck_assert_msg(s >= 0, "%s was not captured", in_to[i]);
        want = at(in_to[i]);
        ck_assert(addr_eq(&orig, &want));
        close(c), close(s);
    }
    int c = dial(r.out, "10.8.0.2:15008", 0, NULL); /* a tunnel: not redirected */
    int s = accept_one(hbone_l, 3000, &orig, &peer);
    ck_assert_int_ge(s, 0);
    close(c), close(s);
    c = dial(r.pod, "10.8.0.1:80", RULES_PROXY_MARK, NULL); /* the proxy itself */
    s = accept_one(far_l, 3000, &orig, &peer);
    ck_assert_int_ge(s, 0);
    close(c), close(s);
    int self_l = listener(r.pod, "[::]:7000", false);
    static const char *const self[] = {"127.0.0.1:7000", "10.8.0.2:7000", "[::1]:7000"};
    for (int i = 0; i < 3; i++) { /* the pod to itself */
        c = dial(r.pod, self[i], 0, NULL);
        s = accept_one(self_l, 3000, &orig, &peer);
        ck_assert_msg(s >= 0, "%s was captured", self[i]);
        close(c), close(s);
    }
    close(out_l), close(in_l), close(hbone_l), close(far_l), close(self_l);
    rig_fini(&r);
}
END_TEST

START_TEST(the_application_sees_the_clients_address_and_answers_find_back)
{
    struct rig r;
    struct addr orig, peer, client = at("10.8.0.1:0");
    char buf[4];
    rig_init(&r);
    OK(rules_apply(r.pod, &opts, msg));
    int app_l = listener(r.pod, "10.8.0.2:8080", false);
    int c = dial(r.pod, "10.8.0.2:8080", RULES_PROXY_MARK, "10.8.0.1:0");
    ck_assert_int_ge(c, 0);
    int s = accept_one(app_l, 3000, &orig, &peer);
    ck_assert_int_ge(s, 0);
    ck_assert(addr_eq_ip(&peer, &client));
    ck_assert_int_eq(send(s, "hi", 2, 0), 2);
    struct pollfd p = {.fd = c, .events = POLLIN};
    ck_assert_int_eq(poll(&p, 1, 3000), 1);
    ck_assert_int_eq(recv(c, buf, sizeof(buf), 0), 2);
    close(c), close(s), close(app_l);
    rig_fini(&r);
}
END_TEST

static void tamper(int ns, bool add)
{
    struct netlink *n;
    struct nft *b = nft_new();
    OK(netlink_open(ns, NETLINK_NETFILTER, &n, msg));
    if (add) {
        nft_rule_begin(b, RULES_TABLE, "output-nat");
        nft_match_l4proto(b, 6);
        nft_accept(b);
        nft_rule_end(b);
    } else {
        nft_table_del(b, RULES_TABLE);
    }
    OK(nft_commit(b, n, msg));
    nft_free(b);
    netlink_close(n);
}

START_TEST(the_kernel_is_compared_with_the_intent)
{
    struct rig r;
    struct errmsg e = {""};
    rig_init(&r);
    ck_assert_rc(rules_check(r.pod, &opts, &e), RC_INVALID);
    OK(rules_apply(r.pod, &opts, msg));
    OK(rules_check(r.pod, &opts, msg));
    OK(rules_apply(r.pod, &opts, msg)); /* again: the same */
    OK(rules_check(r.pod, &opts, msg));
    ck_assert_rc(rules_check(r.pod, &(struct rules_opts){0}, &e), RC_INVALID);
    tamper(r.pod, true);
    ck_assert_rc(rules_check(r.pod, &opts, &e), RC_INVALID);
    ck_assert_str_eq(e.text, "table inet mesh differs from what is intended");
    OK(rules_apply(r.pod, &opts, msg));
    OK(rules_check(r.pod, &opts, msg));
    tamper(r.pod, false);
    ck_assert_rc(rules_check(r.pod, &opts, &e), RC_INVALID);
    ck_assert_str_eq(e.text, "table inet mesh is missing");
    OK(rules_apply(r.pod, &opts, msg));
    struct netlink *n;
    OK(netlink_open(r.pod, NETLINK_ROUTE, &n, msg));
    struct rtnl_rule rule = {AF_INET, RULES_PRIORITY, RULES_CONN_MARK, RULES_MARK_MASK,
                             RULES_ROUTE_TABLE};
    OK(rtnl_rule_del(n, &rule, msg));
    ck_assert_rc(rules_check(r.pod, &opts, &e), RC_INVALID);
    netlink_close(n);
    OK(rules_remove(r.pod, msg));
    OK(rules_remove(r.pod, msg));
    struct strbuf left;
    strbuf_init(&left, 1000);
    OK(netlink_open(r.pod, NETLINK_NETFILTER, &n, msg));
    OK(nft_table_text(n, RULES_TABLE, &left, msg));
    ck_assert_uint_eq(left.n, 0);
    netlink_close(n);
    strbuf_fini(&left);
    rig_fini(&r);
}
END_TEST

TEST_MAIN("rules", what_is_captured_and_what_is_not,
          the_application_sees_the_clients_address_and_answers_find_back,
          the_kernel_is_compared_with_the_intent)
