#include "lib/net/nft.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/base/must.h"

#define REG        NFT_REG_1
#define AUTO_NLBUF __attribute__((cleanup(nlbuf_fini)))

enum { VERDICT_DROP = 0, VERDICT_ACCEPT = 1 };

struct nft {
    struct nlbuf m;
    size_t exprs; /* mark of the open rule's list of expressions */
};

static struct nfgenmsg head(uint8_t family, uint16_t res)
{
    return (struct nfgenmsg){.nfgen_family = family, .version = NFNETLINK_V0, .res_id = htons(res)};
}

static uint16_t type_of(unsigned msg)
{
    return (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | msg);
}

static void begin(struct nft *b, unsigned msg, uint16_t flags)
{
    struct nfgenmsg h = head(NFT_INET, 0);
    nlbuf_begin(&b->m, type_of(msg), flags | NLM_F_ACK, &h, sizeof(h));
}

struct nft *nft_new(void)
{
    struct nft *b = mem_new(struct nft);
    struct nfgenmsg h = head(AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
    nlbuf_init(&b->m);
    nlbuf_begin(&b->m, NFNL_MSG_BATCH_BEGIN, 0, &h, sizeof(h));
    nlbuf_end(&b->m);
    return b;
}

void nft_free(struct nft *b)
{
    if (!b)
        return;
    nlbuf_fini(&b->m);
    free(b);
}

enum rc nft_commit(struct nft *b, struct netlink *n, struct errmsg *ret_msg)
{
    struct nfgenmsg h = head(AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
    nlbuf_begin(&b->m, NFNL_MSG_BATCH_END, 0, &h, sizeof(h));
    nlbuf_end(&b->m);
    enum rc rc = netlink_batch(n, &b->m, ret_msg);
    if (rc != RC_OK)
        errmsg_prefix(ret_msg, "nftables");
    return rc;
}

/* -- tables and chains -- */

void nft_table_add(struct nft *b, const char *table)
{
    begin(b, NFT_MSG_NEWTABLE, NLM_F_CREATE);
    nlbuf_attr_str(&b->m, NFTA_TABLE_NAME, table);
    nlbuf_end(&b->m);
}

void nft_table_del(struct nft *b, const char *table)
{
    begin(b, NFT_MSG_DELTABLE, 0);
    nlbuf_attr_str(&b->m, NFTA_TABLE_NAME, table);
    nlbuf_end(&b->m);
}

void nft_base_chain_add(struct nft *b, const char *table, const char *chain, const char *type,
                        unsigned hook, int priority)
{
    begin(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE);
    nlbuf_attr_str(&b->m, NFTA_CHAIN_TABLE, table);
    nlbuf_attr_str(&b->m, NFTA_CHAIN_NAME, chain);
    size_t nest = nlbuf_nest(&b->m, NFTA_CHAIN_HOOK);
    nlbuf_attr_be32(&b->m, NFTA_HOOK_HOOKNUM, hook);
    nlbuf_attr_be32(&b->m, NFTA_HOOK_PRIORITY, (uint32_t)priority);
    nlbuf_nest_end(&b->m, nest);
    nlbuf_attr_be32(&b->m, NFTA_CHAIN_POLICY, VERDICT_ACCEPT);
    nlbuf_attr_str(&b->m, NFTA_CHAIN_TYPE, type);
    nlbuf_end(&b->m);
}

/* -- rules -- */

void nft_rule_begin(struct nft *b, const char *table, const char *chain)
{
    MUST(!b->exprs);
    begin(b, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
    nlbuf_attr_str(&b->m, NFTA_RULE_TABLE, table);
    nlbuf_attr_str(&b->m, NFTA_RULE_CHAIN, chain);
    b->exprs = nlbuf_nest(&b->m, NFTA_RULE_EXPRESSIONS);
}

void nft_rule_end(struct nft *b)
{
    MUST(b->exprs);
    nlbuf_nest_end(&b->m, b->exprs);
    nlbuf_end(&b->m);
    b->exprs = 0;
}

struct expr {
    size_t elem, data;
};

static struct expr expr_begin(struct nft *b, const char *name)
{
    struct expr e;
    e.elem = nlbuf_nest(&b->m, NFTA_LIST_ELEM);
    nlbuf_attr_str(&b->m, NFTA_EXPR_NAME, name);
    e.data = nlbuf_nest(&b->m, NFTA_EXPR_DATA);
    return e;
}

static void expr_end(struct nft *b, struct expr e)
{
    nlbuf_nest_end(&b->m, e.data);
    nlbuf_nest_end(&b->m, e.elem);
}

static void value(struct nft *b, uint16_t attr, const void *p, size_t n)
{
    size_t nest = nlbuf_nest(&b->m, attr);
    nlbuf_attr(&b->m, NFTA_DATA_VALUE, p, n);
    nlbuf_nest_end(&b->m, nest);
}

static void meta(struct nft *b, uint32_t key, uint16_t reg_attr)
{
    struct expr e = expr_begin(b, "meta");
    nlbuf_attr_be32(&b->m, NFTA_META_KEY, key);
    nlbuf_attr_be32(&b->m, reg_attr, REG);
    expr_end(b, e);
}

static void ct_mark(struct nft *b, uint16_t reg_attr)
{
    struct expr e = expr_begin(b, "ct");
    nlbuf_attr_be32(&b->m, NFTA_CT_KEY, NFT_CT_MARK);
    nlbuf_attr_be32(&b->m, reg_attr, REG);
    expr_end(b, e);
}

static void cmp(struct nft *b, bool equal, const void *p, size_t n)
{
    struct expr e = expr_begin(b, "cmp");
    nlbuf_attr_be32(&b->m, NFTA_CMP_SREG, REG);
    nlbuf_attr_be32(&b->m, NFTA_CMP_OP, equal ? NFT_CMP_EQ : NFT_CMP_NEQ);
    value(b, NFTA_CMP_DATA, p, n);
    expr_end(b, e);
}

/* reg = (reg & mask) ^ xor */
static void bitwise(struct nft *b, const void *mask, const void *xor_with, size_t n)
{
    struct expr e = expr_begin(b, "bitwise");
    nlbuf_attr_be32(&b->m, NFTA_BITWISE_SREG, REG);
    nlbuf_attr_be32(&b->m, NFTA_BITWISE_DREG, REG);
    nlbuf_attr_be32(&b->m, NFTA_BITWISE_LEN, (uint32_t)n);
    nlbuf_attr_be32(&b->m, NFTA_BITWISE_OP, NFT_BITWISE_BOOL);
    value(b, NFTA_BITWISE_MASK, mask, n);
    value(b, NFTA_BITWISE_XOR, xor_with, n);
    expr_end(b, e);
}

static void payload(struct nft *b, uint32_t base, uint32_t offset, uint32_t len)
{
    struct expr e = expr_begin(b, "payload");
    nlbuf_attr_be32(&b->m, NFTA_PAYLOAD_DREG, REG);
    nlbuf_attr_be32(&b->m, NFTA_PAYLOAD_BASE, base);
    nlbuf_attr_be32(&b->m, NFTA_PAYLOAD_OFFSET, offset);
    nlbuf_attr_be32(&b->m, NFTA_PAYLOAD_LEN, len);
    expr_end(b, e);
}

void nft_match_nfproto(struct nft *b, uint8_t proto)
{
    meta(b, NFT_META_NFPROTO, NFTA_META_DREG);
    cmp(b, true, &proto, 1);
}

void nft_match_l4proto(struct nft *b, uint8_t proto)
{
    meta(b, NFT_META_L4PROTO, NFTA_META_DREG);
    cmp(b, true, &proto, 1);
}

static void masked(struct nft *b, uint32_t mark, uint32_t mask, bool equal)
{
    uint32_t zero = 0;
    if (mask != UINT32_MAX)
        bitwise(b, &mask, &zero, 4);
    cmp(b, equal, &mark, 4);
}

void nft_match_mark(struct nft *b, uint32_t mark, uint32_t mask, bool equal)
{
    meta(b, NFT_META_MARK, NFTA_META_DREG);
    masked(b, mark, mask, equal);
}

void nft_match_ctmark(struct nft *b, uint32_t mark, uint32_t mask, bool equal)
{
    ct_mark(b, NFTA_CT_DREG);
    masked(b, mark, mask, equal);
}

void nft_match_oif(struct nft *b, uint32_t index, bool equal)
{
    meta(b, NFT_META_OIF, NFTA_META_DREG);
    cmp(b, equal, &index, 4);
}

static void match_addr(struct nft *b, const struct cidr *c, bool equal, uint32_t v4_at,
                       uint32_t v6_at)
{
    static const uint8_t zero[16];
    uint8_t mask[16] = {0};
    uint32_t len = (uint32_t)addr_len(&c->base);
    payload(b, NFT_PAYLOAD_NETWORK_HEADER, len == 4 ? v4_at : v6_at, len);
    if (c->bits < len * 8) {
        for (unsigned i = 0; i < c->bits; i++)
            mask[i / 8] |= (uint8_t)(0x80 >> i % 8);
        bitwise(b, mask, zero, len);
    }
    cmp(b, equal, c->base.ip, len);
}

void nft_match_daddr(struct nft *b, const struct cidr *c, bool equal)
{
    match_addr(b, c, equal, 16, 24);
}

void nft_match_saddr(struct nft *b, const struct cidr *c, bool equal)
{
    match_addr(b, c, equal, 12, 8);
}

void nft_match_dport(struct nft *b, uint16_t port, bool equal)
{
    uint16_t be = htons(port);
    payload(b, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2);
    cmp(b, equal, &be, 2);
}

/* Other bits than the mask's stay as they are. */
void nft_set_ctmark(struct nft *b, uint32_t mark, uint32_t mask)
{
    uint32_t keep = ~mask;
    ct_mark(b, NFTA_CT_DREG);
    bitwise(b, &keep, &mark, 4);
    ct_mark(b, NFTA_CT_SREG);
}

void nft_set_mark(struct nft *b, uint32_t mark, uint32_t mask)
{
    uint32_t keep = ~mask;
    meta(b, NFT_META_MARK, NFTA_META_DREG);
    bitwise(b, &keep, &mark, 4);
    meta(b, NFT_META_MARK, NFTA_META_SREG);
}

void nft_counter(struct nft *b)
{
    expr_end(b, expr_begin(b, "counter"));
}

void nft_redirect(struct nft *b, uint16_t port)
{
    uint16_t be = htons(port);
    struct expr e = expr_begin(b, "immediate");
    nlbuf_attr_be32(&b->m, NFTA_IMMEDIATE_DREG, REG);
    value(b, NFTA_IMMEDIATE_DATA, &be, 2);
    expr_end(b, e);
    e = expr_begin(b, "redir");
    nlbuf_attr_be32(&b->m, NFTA_REDIR_REG_PROTO_MIN, REG);
    nlbuf_attr_be32(&b->m, NFTA_REDIR_REG_PROTO_MAX, REG);
    nlbuf_attr_be32(&b->m, NFTA_REDIR_FLAGS, 2 /* NF_NAT_RANGE_PROTO_SPECIFIED */);
    expr_end(b, e);
}

static void verdict(struct nft *b, uint32_t code)
{
    struct expr e = expr_begin(b, "immediate");
    nlbuf_attr_be32(&b->m, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
    size_t data = nlbuf_nest(&b->m, NFTA_IMMEDIATE_DATA);
    size_t v = nlbuf_nest(&b->m, NFTA_DATA_VERDICT);
    nlbuf_attr_be32(&b->m, NFTA_VERDICT_CODE, code);
    nlbuf_nest_end(&b->m, v);
    nlbuf_nest_end(&b->m, data);
    expr_end(b, e);
}

void nft_accept(struct nft *b)
{
    verdict(b, VERDICT_ACCEPT);
}

void nft_drop(struct nft *b)
{
    verdict(b, VERDICT_DROP);
}

/* -- text -- */

/* A chain's text while a table is read: chains and rules come apart. */
struct chain_text {
    char name[64];
    struct strbuf text;
};
#define CHAINS_MAX 32
struct table_text {
    const char *table;
    struct chain_text chain[CHAINS_MAX];
    size_t n;
};

static struct chain_text *chain_get(struct table_text *t, struct str name)
{
    name.n = strnlen(name.p ? name.p : "", name.n);
    for (size_t i = 0; i < t->n; i++)
        if (str_eqz(name, t->chain[i].name))
            return &t->chain[i];
    if (t->n == CHAINS_MAX || name.n >= sizeof(t->chain[0].name))
        return NULL;
    struct chain_text *c = &t->chain[t->n++];
    memcpy(c->name, name.p, name.n);
    c->name[name.n] = '\0';
    strbuf_init(&c->text, 65536);
    return c;
}

static void hex(struct strbuf *out, struct str v)
{
    for (size_t i = 0; i < v.n; i++)
        strbuf_printf(out, "%02x", (unsigned char)v.p[i]);
}

static bool is_data(struct str name, uint16_t attr)
{
    return (str_starts(name, STR("cmp")) && attr == NFTA_CMP_DATA) ||
           (str_starts(name, STR("immediate")) && attr == NFTA_IMMEDIATE_DATA) ||
           (str_starts(name, STR("bitwise")) &&
            (attr == NFTA_BITWISE_MASK || attr == NFTA_BITWISE_XOR));
}

/* name(attr=value …), in the order of attribute numbers; values in hex. */
static void expr_text(struct strbuf *out, struct str expr)
{
    struct str name = nlattr_find(expr, NFTA_EXPR_NAME), data = nlattr_find(expr, NFTA_EXPR_DATA);
    strbuf_printf(out, " %.*s(", (int)strnlen(name.p ? name.p : "", name.n), name.p ? name.p : "");
    for (uint16_t attr = 1; attr < 16 && !str_starts(name, STR("counter")); attr++) {
        struct str v = nlattr_find(data, attr);
        if (!v.p)
            continue;
        if (is_data(name, attr)) {
            struct str verdict_v = nlattr_find(v, NFTA_DATA_VERDICT);
            v = verdict_v.p ? nlattr_find(verdict_v, NFTA_VERDICT_CODE)
                            : nlattr_find(v, NFTA_DATA_VALUE);
        }
        strbuf_printf(out, " %u=", attr);
        hex(out, v);
    }
    strbuf_addz(out, " )");
}

static void on_object(void *owner, const struct nlmsg *m)
{
    struct table_text *t = owner;
    if (m->body.n < sizeof(struct nfgenmsg))
        return;
    struct str a = {m->body.p + sizeof(struct nfgenmsg), m->body.n - sizeof(struct nfgenmsg)};
    if (m->type == type_of(NFT_MSG_NEWCHAIN)) {
        struct str table = nlattr_find(a, NFTA_CHAIN_TABLE), type = nlattr_find(a, NFTA_CHAIN_TYPE);
        struct str hook = nlattr_find(a, NFTA_CHAIN_HOOK);
        if (!table.p || strncmp(table.p, t->table, table.n) != 0)
            return;
        struct chain_text *c = chain_get(t, nlattr_find(a, NFTA_CHAIN_NAME));
        if (!c)
            return;
        struct strbuf headline AUTO_STRBUF;
        strbuf_init(&headline, 256);
        strbuf_printf(&headline, "chain %s type=%.*s hook=%u priority=%d\n", c->name,
                      (int)strnlen(type.p ? type.p : "", type.n), type.p ? type.p : "",
                      ntohl(nlattr_u32(nlattr_find(hook, NFTA_HOOK_HOOKNUM), 0)),
                      (int)ntohl(nlattr_u32(nlattr_find(hook, NFTA_HOOK_PRIORITY), 0)));
        struct strbuf rules = c->text;
        strbuf_init(&c->text, 65536);
        strbuf_adds(&c->text, strbuf_str(&headline));
        strbuf_adds(&c->text, strbuf_str(&rules));
        strbuf_fini(&rules);
    } else if (m->type == type_of(NFT_MSG_NEWRULE)) {
        struct str table = nlattr_find(a, NFTA_RULE_TABLE),
                   list = nlattr_find(a, NFTA_RULE_EXPRESSIONS);
        struct chain_text *c = table.p && strncmp(table.p, t->table, table.n) == 0
                                   ? chain_get(t, nlattr_find(a, NFTA_RULE_CHAIN))
                                   : NULL;
        uint16_t type;
        struct str expr;
        if (!c)
            return;
        strbuf_addz(&c->text, " rule");
        while (nlattr_next(&list, &type, &expr))
            expr_text(&c->text, expr);
        strbuf_addc(&c->text, '\n');
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct chain_text *)a)->name, ((const struct chain_text *)b)->name);
}

static void table_text_end(struct table_text *t, struct strbuf *out)
{
    qsort(t->chain, t->n, sizeof(t->chain[0]), by_name);
    for (size_t i = 0; i < t->n; i++) {
        strbuf_adds(out, strbuf_str(&t->chain[i].text));
        strbuf_fini(&t->chain[i].text);
    }
}

static const char *table_of(const struct nft *b)
{
    for (size_t at = 0; at + sizeof(struct nlmsghdr) <= b->m.b.n;) {
        struct nlmsghdr h;
        memcpy(&h, b->m.b.p + at, sizeof(h));
        if (h.nlmsg_type == type_of(NFT_MSG_NEWTABLE)) {
            size_t skip = sizeof(h) + sizeof(struct nfgenmsg);
            return nlattr_find((struct str){b->m.b.p + at + skip, h.nlmsg_len - skip},
                               NFTA_TABLE_NAME)
                .p;
        }
        at += NLMSG_ALIGN(h.nlmsg_len);
    }
    return "";
}

void nft_text(const struct nft *b, struct strbuf *out)
{
    struct table_text *t = mem_new(struct table_text);
    t->table = table_of(b);
    for (size_t at = 0; at + sizeof(struct nlmsghdr) <= b->m.b.n;) {
        struct nlmsghdr h;
        memcpy(&h, b->m.b.p + at, sizeof(h));
        struct nlmsg m = {h.nlmsg_type, {b->m.b.p + at + sizeof(h), h.nlmsg_len - sizeof(h)}};
        on_object(t, &m);
        at += NLMSG_ALIGN(h.nlmsg_len);
    }
    table_text_end(t, out);
    free(t);
}

static enum rc dump(struct netlink *n, unsigned what, const char *table, uint16_t table_attr,
                    struct table_text *t, struct errmsg *msg)
{
    struct nlbuf m AUTO_NLBUF;
    struct nfgenmsg h = head(NFT_INET, 0);
    nlbuf_init(&m);
    nlbuf_begin(&m, type_of(what), NLM_F_DUMP, &h, sizeof(h));
    nlbuf_attr_str(&m, table_attr, table);
    nlbuf_end(&m);
    enum rc rc = netlink_dump(n, &m, on_object, t, msg);
    return rc == RC_NOT_FOUND ? RC_OK : rc;
}

enum rc nft_table_text(struct netlink *n, const char *table, struct strbuf *out,
                       struct errmsg *ret_msg)
{
    struct table_text *t = mem_new(struct table_text);
    t->table = table;
    enum rc rc = dump(n, NFT_MSG_GETCHAIN, table, NFTA_CHAIN_TABLE, t, ret_msg);
    if (rc == RC_OK)
        rc = dump(n, NFT_MSG_GETRULE, table, NFTA_RULE_TABLE, t, ret_msg);
    table_text_end(t, out);
    free(t);
    return rc;
}
