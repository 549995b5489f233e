/* Netlink by hand: requests and dumps on a socket of a given network namespace, with the kernel's words
 * when it refuses (extended acknowledgements). For short exchanges on a main thread: a call blocks until the
 * kernel answered, which it does at once; a deadline of 5 s guards against a broken kernel.
 *
 * Attributes are built into and read from flat buffers; lengths from the kernel are checked. */
#pragma once

#include <linux/netlink.h>
#include <stdbool.h>

#include "lib/base/str.h"
#include "lib/net/addr.h"

struct netlink;

/* family: NETLINK_ROUTE, NETLINK_NETFILTER …; netns -1: the process' own. */
NODISCARD enum rc netlink_open(int netns, int family, struct netlink **ret, struct errmsg *ret_msg);
void netlink_close(struct netlink *n); /* NULL is legal */

/* -- building: one message (or a batch of them) -- */
struct nlbuf {
    struct strbuf b;
    size_t msg; /* where the current message begins */
};
void nlbuf_init(struct nlbuf *m);
void nlbuf_fini(struct nlbuf *m);
/* Begins a message with its family header (copied). Further ones make a batch. */
void nlbuf_begin(struct nlbuf *m, uint16_t type, uint16_t flags, const void *head, size_t head_n);
void nlbuf_end(struct nlbuf *m); /* completes its length */
void nlbuf_attr(struct nlbuf *m, uint16_t type, const void *p, size_t n);
void nlbuf_attr_str(struct nlbuf *m, uint16_t type, const char *s); /* with its NUL */
void nlbuf_attr_u8(struct nlbuf *m, uint16_t type, uint8_t v);
void nlbuf_attr_u32(struct nlbuf *m, uint16_t type, uint32_t v);  /* host order */
void nlbuf_attr_be32(struct nlbuf *m, uint16_t type, uint32_t v); /* network order */
size_t nlbuf_nest(struct nlbuf *m, uint16_t type); /* returns a mark for nlbuf_nest_end */
void nlbuf_nest_end(struct nlbuf *m, size_t mark);

/* Sends the message and waits for its acknowledgement. RC_EXISTS, RC_NOT_FOUND, RC_DENIED (no right),
 * RC_IO with the kernel's text. */
NODISCARD enum rc netlink_ask(struct netlink *n, struct nlbuf *m, struct errmsg *ret_msg);
/* Sends a batch of messages and waits for the acknowledgement of each that asks for one (NLM_F_ACK). The first
 * failure is returned. */
NODISCARD enum rc netlink_batch(struct netlink *n, struct nlbuf *m, struct errmsg *ret_msg);

struct nlmsg { /* one message of a dump; views */
    uint16_t type;
    struct str body; /* family header and attributes */
};
typedef void netlink_dump_fn(void *owner, const struct nlmsg *m);
/* Sends the request (with NLM_F_DUMP, or one that is answered by a message) and calls fn for each answer. */
NODISCARD enum rc netlink_dump(struct netlink *n, struct nlbuf *m, netlink_dump_fn *fn, void *owner,
                               struct errmsg *ret_msg);

/* Attributes of a view, one after the other: false at the end or when malformed. type without flags. */
NODISCARD bool nlattr_next(struct str *rest, uint16_t *ret_type, struct str *ret_value);
/* First of a type; p NULL when absent. */
struct str nlattr_find(struct str attrs, uint16_t type);
uint32_t nlattr_u32(struct str v, uint32_t otherwise);
