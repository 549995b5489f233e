/* nftables by netlink, no external program: a batch is built, sent whole and takes effect whole or not at all;
 * what is there can be read back as text for comparison.
 *
 * Expressions follow the kernel's virtual machine: load into register 1, compare, act. Names are nftables'. */
#pragma once

#include "lib/net/netlink.h"

/* Of linux/netfilter.h, which can't stand beside netinet/in.h. */
enum {
    NFT_PREROUTING = 0,
    NFT_INPUT = 1,
    NFT_FORWARD = 2,
    NFT_OUTPUT = 3,
    NFT_POSTROUTING = 4
}; /* hooks */
enum { NFT_INET = 1, NFT_IPV4 = 2, NFT_IPV6 = 10 }; /* families */

struct nft; /* a batch under construction */

struct nft *nft_new(void);
void nft_free(struct nft *b); /* NULL is legal */
/* Sends the batch through a NETLINK_NETFILTER socket. */
NODISCARD enum rc nft_commit(struct nft *b, struct netlink *n, struct errmsg *ret_msg);

/* -- tables and chains (family inet) -- */
void nft_table_add(struct nft *b, const char *table);
void nft_table_del(struct nft *b, const char *table); /* with all that is in it; must exist */
/* type: "nat", "filter", "route"; hook: NFT_PREROUTING …; policy accept. */
void nft_base_chain_add(struct nft *b, const char *table, const char *chain, const char *type,
                        unsigned hook, int priority);

/* -- rules: begin, expressions, end -- */
void nft_rule_begin(struct nft *b, const char *table, const char *chain);
void nft_rule_end(struct nft *b);
/* matches */
void nft_match_nfproto(struct nft *b, uint8_t proto); /* NFT_IPV4, NFT_IPV6 */
void nft_match_l4proto(struct nft *b, uint8_t proto); /* IPPROTO_TCP */
void nft_match_mark(struct nft *b, uint32_t mark, uint32_t mask, bool equal);
void nft_match_ctmark(struct nft *b, uint32_t mark, uint32_t mask, bool equal);
void nft_match_oif(struct nft *b, uint32_t index, bool equal);
void nft_match_daddr(struct nft *b, const struct cidr *c, bool equal); /* after nft_match_nfproto */
void nft_match_saddr(struct nft *b, const struct cidr *c, bool equal);
void nft_match_dport(struct nft *b, uint16_t port, bool equal); /* after nft_match_l4proto */
/* actions */
void nft_set_ctmark(struct nft *b, uint32_t mark,
                    uint32_t mask); /* ct mark = (ct mark & ~mask) | mark */
void nft_set_mark(struct nft *b, uint32_t mark, uint32_t mask); /* mark = (mark & ~mask) | mark */
void nft_counter(struct nft *b);
void nft_redirect(struct nft *b, uint16_t port);
void nft_accept(struct nft *b);
void nft_drop(struct nft *b);

/* -- reading back: a canonical text (chains by name with their hooks, their rules in order with their
 * expressions; handles and the values of counters left out), equal for equal rules -- */
void nft_text(const struct nft *b, struct strbuf *out); /* of what the batch adds */
/* Of what the kernel has; empty when there is no such table. */
NODISCARD enum rc nft_table_text(struct netlink *n, const char *table, struct strbuf *out,
                                 struct errmsg *ret_msg);
