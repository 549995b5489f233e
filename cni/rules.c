#include "cni/rules.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/net/netns.h"
#include "lib/net/nft.h"
#include "lib/net/rtnl.h"

/* The ports of the ztunnel (facts: Istio). */
enum { PORT_OUTBOUND = 15001, PORT_INBOUND = 15006, PORT_HBONE = 15008 };
/* Chains before the port translation and before routing, as in Istio's own rule set. */
enum { PRIO_MANGLE = -150, PRIO_NAT = -100 };

static struct cidr loopback4(void)
{
    static const uint8_t ip[4] = {127, 0, 0, 1};
    struct addr a;
    struct cidr c = {0};
    if (addr_from_bytes(ip, 4, &a) == RC_OK)
        (void)!cidr_make(&a, 32, &c);
    return c;
}

static struct cidr loopback6(void)
{
    static const uint8_t ip[16] = {[15] = 1};
    struct addr a;
    struct cidr c = {0};
    if (addr_from_bytes(ip, 16, &a) == RC_OK)
        (void)!cidr_make(&a, 128, &c);
    return c;
}

/* "family, not to its loopback address, TCP": the head of the capture rules. */
static void begin_tcp(struct nft *b, const char *chain, bool v6)
{
    struct cidr lo = v6 ? loopback6() : loopback4();
    nft_rule_begin(b, RULES_TABLE, chain);
    nft_match_nfproto(b, v6 ? NFT_IPV6 : NFT_IPV4);
    nft_match_daddr(b, &lo, false);
    nft_match_l4proto(b, IPPROTO_TCP);
}

static struct nft *intent(const struct rules_opts *o)
{
    struct nft *b = nft_new();
    unsigned lo = 1; /* the loopback device has index 1 in every namespace */
    /* added, removed and added again: whatever stood there before is gone in the same transaction */
    nft_table_add(b, RULES_TABLE);
    nft_table_del(b, RULES_TABLE);
    nft_table_add(b, RULES_TABLE);
    nft_base_chain_add(b, RULES_TABLE, "prerouting-mangle", "filter", NFT_PREROUTING, PRIO_MANGLE);
    nft_base_chain_add(b, RULES_TABLE, "output-mangle", "route", NFT_OUTPUT, PRIO_MANGLE);
    nft_base_chain_add(b, RULES_TABLE, "prerouting-nat", "nat", NFT_PREROUTING, PRIO_NAT);
    nft_base_chain_add(b, RULES_TABLE, "output-nat", "nat", NFT_OUTPUT, PRIO_NAT);

    /* a connection that the ztunnel made: remembered, so that its answers find back */
    nft_rule_begin(b, RULES_TABLE, "prerouting-mangle");
    nft_match_mark(b, RULES_PROXY_MARK, RULES_MARK_MASK, true);
    nft_set_ctmark(b, RULES_CONN_MARK, RULES_MARK_MASK);
    nft_counter(b);
    nft_rule_end(b);

    /* its answers: marked for the policy rule, other bits of the mark untouched */
    nft_rule_begin(b, RULES_TABLE, "output-mangle");
    nft_match_ctmark(b, RULES_CONN_MARK, RULES_MARK_MASK, true);
    nft_set_mark(b, RULES_CONN_MARK, RULES_MARK_MASK);
    nft_counter(b);
    nft_rule_end(b);

    for (int v6 = 0; v6 <= o->ipv6 && !o->bypass_inbound; v6++) {
        begin_tcp(b, "prerouting-nat", v6);
        nft_match_dport(b, PORT_HBONE, false);
        nft_match_mark(b, RULES_PROXY_MARK, RULES_MARK_MASK, false);
        nft_counter(b);
        nft_redirect(b, PORT_INBOUND);
        nft_rule_end(b);
    }

    nft_rule_begin(b, RULES_TABLE, "output-nat");
    nft_match_l4proto(b, IPPROTO_TCP);
    nft_match_mark(b, RULES_CONN_MARK, RULES_MARK_MASK, true);
    nft_accept(b);
    nft_rule_end(b);
    for (int v6 = 0; v6 <= o->ipv6; v6++) { /* the pod to itself */
        struct cidr self = v6 ? loopback6() : loopback4();
        nft_rule_begin(b, RULES_TABLE, "output-nat");
        nft_match_oif(b, lo, true);
        nft_match_nfproto(b, v6 ? NFT_IPV6 : NFT_IPV4);
        nft_match_daddr(b, &self, false);
        nft_accept(b);
        nft_rule_end(b);
    }
    for (int v6 = 0; v6 <= o->ipv6; v6++) {
        begin_tcp(b, "output-nat", v6);
        nft_match_mark(b, RULES_PROXY_MARK, RULES_MARK_MASK, false);
        nft_counter(b);
        nft_redirect(b, PORT_OUTBOUND);
        nft_rule_end(b);
    }
    return b;
}

/* -- policy routing -- */

struct routing {
    struct rtnl_rule rule;
    struct rtnl_route route;
};

static struct routing routing_of(bool v6)
{
    struct routing r = {
        .rule = {v6 ? AF_INET6 : AF_INET, RULES_PRIORITY, RULES_CONN_MARK, RULES_MARK_MASK,
                 RULES_ROUTE_TABLE},
        .route = {.dst = {.base.family = v6 ? AF_INET6 : AF_INET},
                  .link = "lo",
                  .table = RULES_ROUTE_TABLE,
                  .local = true},
    };
    return r;
}

/* Does the namespace have IPv6 at all? A socket tells; no file is read. Without descriptors: perhaps. */
static bool has_ipv6(int netns)
{
    int fd = netns_socket(netns, AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno != EAFNOSUPPORT;
    struct sockaddr_in6 lo = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    /* disable_ipv6 takes ::1 away */
    bool ok = bind(fd, (struct sockaddr *)&lo, sizeof(lo)) == 0 || errno != EADDRNOTAVAIL;
    close(fd);
    return ok;
}

struct session {
    struct netlink *route, *nf;
};

static enum rc session_open(int netns, struct session *s, struct errmsg *msg)
{
    *s = (struct session){0};
    enum rc rc = netlink_open(netns, NETLINK_ROUTE, &s->route, msg);
    return rc == RC_OK ? netlink_open(netns, NETLINK_NETFILTER, &s->nf, msg) : rc;
}

static void session_close(struct session *s)
{
    netlink_close(s->route);
    netlink_close(s->nf);
}

static enum rc apply_in(struct session *s, const struct rules_opts *o, struct errmsg *msg)
{
    enum rc rc = RC_OK;
    /* routes first: a rule that captures must find them */
    for (int v6 = 0; v6 <= o->ipv6 && rc == RC_OK; v6++) {
        struct routing r = routing_of(v6);
        rc = rtnl_route_replace(s->route, &r.route, msg);
        if (rc == RC_OK)
            rc = rtnl_rule_add(s->route, &r.rule, msg);
    }
    if (rc != RC_OK)
        return rc;
    struct nft *b = intent(o);
    rc = nft_commit(b, s->nf, msg);
    nft_free(b);
    return rc;
}

enum rc rules_apply(int netns, const struct rules_opts *o, struct errmsg *ret_msg)
{
    struct session s;
    struct rules_opts here = *o;
    here.ipv6 = o->ipv6 && has_ipv6(netns);
    enum rc rc = session_open(netns, &s, ret_msg);
    if (rc == RC_OK)
        rc = apply_in(&s, &here, ret_msg);
    session_close(&s);
    return rc;
}

static enum rc check_in(struct session *s, const struct rules_opts *o, struct errmsg *msg)
{
    struct strbuf want AUTO_STRBUF, have AUTO_STRBUF;
    strbuf_init(&want, 65536);
    strbuf_init(&have, 65536);
    for (int v6 = 0; v6 <= o->ipv6; v6++) {
        struct routing r = routing_of(v6);
        bool has = false;
        enum rc rc = rtnl_rule_has(s->route, &r.rule, &has, msg);
        if (rc != RC_OK)
            return rc;
        if (!has) {
            errmsg_set(msg, "the policy rule for %s is missing", v6 ? "IPv6" : "IPv4");
            return RC_INVALID;
        }
        rc = rtnl_route_has(s->route, &r.route, &has, msg);
        if (rc != RC_OK)
            return rc;
        if (!has) {
            errmsg_set(msg, "the route in table %d for %s is missing", RULES_ROUTE_TABLE,
                       v6 ? "IPv6" : "IPv4");
            return RC_INVALID;
        }
    }
    struct nft *b = intent(o);
    nft_text(b, &want);
    nft_free(b);
    enum rc rc = nft_table_text(s->nf, RULES_TABLE, &have, msg);
    if (rc == RC_OK && !str_eq(strbuf_str(&want), strbuf_str(&have))) {
        errmsg_set(msg, have.n ? "table inet " RULES_TABLE " differs from what is intended"
                               : "table inet " RULES_TABLE " is missing");
        return RC_INVALID;
    }
    return rc;
}

enum rc rules_check(int netns, const struct rules_opts *o, struct errmsg *ret_msg)
{
    struct session s;
    struct rules_opts here = *o;
    here.ipv6 = o->ipv6 && has_ipv6(netns);
    enum rc rc = session_open(netns, &s, ret_msg);
    if (rc == RC_OK)
        rc = check_in(&s, &here, ret_msg);
    session_close(&s);
    return rc;
}

enum rc rules_remove(int netns, struct errmsg *ret_msg)
{
    struct session s;
    enum rc rc = session_open(netns, &s, ret_msg);
    if (rc == RC_OK) {
        struct nft *b = nft_new();
        nft_table_add(b, RULES_TABLE);
        nft_table_del(b, RULES_TABLE);
        rc = nft_commit(b, s.nf, ret_msg);
        nft_free(b);
        for (int v6 = 0; v6 < 2; v6++) {
            struct routing r = routing_of(v6);
            (void)!rtnl_rule_del(s.route, &r.rule, NULL);
            (void)!rtnl_route_del(s.route, &r.route, NULL);
        }
    }
    session_close(&s);
    return rc;
}

bool rules_present(int netns)
{
    struct session s;
    struct strbuf have AUTO_STRBUF;
    strbuf_init(&have, 65536);
    bool there = session_open(netns, &s, NULL) == RC_OK &&
                 nft_table_text(s.nf, RULES_TABLE, &have, NULL) == RC_OK && have.n;
    session_close(&s);
    return there;
}
