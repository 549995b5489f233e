#include "lib/net/netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/base/must.h"
#include "lib/net/netns.h"

#ifndef SOL_NETLINK
#define SOL_NETLINK 270
#endif
#define BUF_MAX  (1u << 20) /* of a batch */
#define RECV_BUF (64 * 1024)

struct netlink {
    int fd;
    uint32_t seq;
    char buf[RECV_BUF];
};

enum rc netlink_open(int netns, int family, struct netlink **ret, struct errmsg *ret_msg)
{
    int fd = netns_socket(netns, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, family);
    struct sockaddr_nl self = {.nl_family = AF_NETLINK};
    struct timeval tv = {.tv_sec = 5};
    int one = 1;
    if (fd < 0 || bind(fd, (struct sockaddr *)&self, sizeof(self)) != 0) {
        errmsg_set(ret_msg, "netlink socket: %s", strerror(errno));
        enum rc rc = rc_from_errno(errno);
        if (fd >= 0)
            close(fd);
        return rc == RC_OK ? RC_IO : rc;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
    setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof(one));
    setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof(one));
    struct netlink *n = mem_new(struct netlink);
    n->fd = fd;
    *ret = n;
    return RC_OK;
}

void netlink_close(struct netlink *n)
{
    if (!n)
        return;
    close(n->fd);
    free(n);
}

/* -- building -- */

void nlbuf_init(struct nlbuf *m)
{
    strbuf_init(&m->b, BUF_MAX);
    m->msg = 0;
}

void nlbuf_fini(struct nlbuf *m)
{
    strbuf_fini(&m->b);
}

static void pad(struct nlbuf *m)
{
    while (m->b.n % NLMSG_ALIGNTO)
        strbuf_addc(&m->b, 0);
}

void nlbuf_begin(struct nlbuf *m, uint16_t type, uint16_t flags, const void *head, size_t head_n)
{
    struct nlmsghdr h = {.nlmsg_type = type, .nlmsg_flags = (uint16_t)(flags | NLM_F_REQUEST)};
    m->msg = m->b.n;
    strbuf_add(&m->b, &h, sizeof(h));
    strbuf_add(&m->b, head, head_n);
    pad(m);
}

static void patch(struct nlbuf *m, size_t at, const void *p, size_t n)
{
    MUST(!m->b.truncated && at + n <= m->b.n);
    memcpy(m->b.p + at, p, n);
}

void nlbuf_end(struct nlbuf *m)
{
    uint32_t len = (uint32_t)(m->b.n - m->msg);
    patch(m, m->msg + offsetof(struct nlmsghdr, nlmsg_len), &len, sizeof(len));
    pad(m);
}

void nlbuf_attr(struct nlbuf *m, uint16_t type, const void *p, size_t n)
{
    struct nlattr a = {.nla_len = (uint16_t)(NLA_HDRLEN + n), .nla_type = type};
    MUST(n < 60000);
    strbuf_add(&m->b, &a, sizeof(a));
    strbuf_add(&m->b, p, n);
    pad(m);
}

void nlbuf_attr_str(struct nlbuf *m, uint16_t type, const char *s)
{
    nlbuf_attr(m, type, s, strlen(s) + 1);
}

void nlbuf_attr_u8(struct nlbuf *m, uint16_t type, uint8_t v)
{
    nlbuf_attr(m, type, &v, 1);
}

void nlbuf_attr_u32(struct nlbuf *m, uint16_t type, uint32_t v)
{
    nlbuf_attr(m, type, &v, 4);
}

void nlbuf_attr_be32(struct nlbuf *m, uint16_t type, uint32_t v)
{
    nlbuf_attr_u32(m, type, htonl(v));
}

size_t nlbuf_nest(struct nlbuf *m, uint16_t type)
{
    size_t mark = m->b.n;
    nlbuf_attr(m, type | NLA_F_NESTED, "", 0);
    return mark;
}

void nlbuf_nest_end(struct nlbuf *m, size_t mark)
{
    uint16_t len = (uint16_t)(m->b.n - mark);
    patch(m, mark + offsetof(struct nlattr, nla_len), &len, sizeof(len));
}

/* -- reading -- */

bool nlattr_next(struct str *rest, uint16_t *ret_type, struct str *ret_value)
{
    struct nlattr a;
    if (rest->n < sizeof(a))
        return false;
    memcpy(&a, rest->p, sizeof(a));
    if (a.nla_len < sizeof(a) || a.nla_len > rest->n)
        return false;
    *ret_type = a.nla_type & NLA_TYPE_MASK;
    *ret_value = (struct str){rest->p + sizeof(a), a.nla_len - sizeof(a)};
    size_t step = MIN((size_t)NLA_ALIGN(a.nla_len), rest->n);
    rest->p += step;
    rest->n -= step;
    return true;
}

struct str nlattr_find(struct str attrs, uint16_t type)
{
    uint16_t t;
    struct str v;
    while (nlattr_next(&attrs, &t, &v))
        if (t == type)
            return v;
    return (struct str){NULL, 0};
}

uint32_t nlattr_u32(struct str v, uint32_t otherwise)
{
    uint32_t x;
    if (v.n != sizeof(x))
        return otherwise;
    memcpy(&x, v.p, sizeof(x));
    return x;
}

/* -- exchanges -- */

static enum rc rc_of(int err)
{
    switch (err) {
    case EPERM:
    case EACCES: return RC_DENIED;
    case ENODEV:
    case ESRCH:  return RC_NOT_FOUND;
    default:     return rc_from_errno(err);
    }
}

/* NLMSG_ERROR: 0 is an acknowledgement; else the reason, in the kernel's words where it has any. */
static enum rc read_ack(struct str body, uint16_t flags, struct errmsg *msg)
{
    struct nlmsgerr e;
    if (body.n < sizeof(e))
        return RC_IO;
    memcpy(&e, body.p, sizeof(e));
    if (e.error == 0)
        return RC_OK;
    struct str text = {NULL, 0};
    if (flags & NLM_F_ACK_TLVS) {
        size_t skip = sizeof(e) + (flags & NLM_F_CAPPED ? 0 : e.msg.nlmsg_len - sizeof(e.msg));
        if (skip <= body.n)
            text = nlattr_find((struct str){body.p + skip, body.n - skip}, NLMSGERR_ATTR_MSG);
    }
    if (text.n)
        errmsg_set(msg, "%s (%.*s)", strerror(-e.error), (int)MIN(text.n, (size_t)200), text.p);
    else
        errmsg_set(msg, "%s", strerror(-e.error));
    return rc_of(-e.error);
}

static enum rc send_all(struct netlink *n, const struct nlbuf *m, struct errmsg *msg)
{
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    if (m->b.truncated)
        return RC_LIMIT;
    if (sendto(n->fd, m->b.p, m->b.n, 0, (struct sockaddr *)&kernel, sizeof(kernel)) ==
        (ssize_t)m->b.n)
        return RC_OK;
    errmsg_set(msg, "netlink: %s", strerror(errno));
    return RC_IO;
}

/* Numbers the messages from first on; returns how many want an acknowledgement. */
static unsigned number(struct netlink *n, struct nlbuf *m, uint32_t *ret_first)
{
    unsigned acks = 0;
    *ret_first = n->seq + 1;
    for (size_t at = 0; at + sizeof(struct nlmsghdr) <= m->b.n;) {
        struct nlmsghdr h;
        memcpy(&h, m->b.p + at, sizeof(h));
        h.nlmsg_seq = ++n->seq;
        acks += (h.nlmsg_flags & NLM_F_ACK) != 0;
        memcpy(m->b.p + at, &h, sizeof(h));
        at += NLMSG_ALIGN(h.nlmsg_len);
    }
    return acks;
}

struct exchange {
    uint32_t first;
    unsigned acks; /* still to come */
    bool dump;
    netlink_dump_fn *fn;
    void *owner;
    enum rc rc;
    struct errmsg *msg;
    bool done;
};

static void take_message(struct exchange *x, const struct nlmsghdr *h, struct str body)
{
    if (h->nlmsg_seq < x->first)
        return; /* of an exchange that was given up */
    if (h->nlmsg_type == NLMSG_ERROR) {
        enum rc rc = read_ack(body, h->nlmsg_flags, x->rc == RC_OK ? x->msg : NULL);
        if (x->rc == RC_OK)
            x->rc = rc;
        if (x->acks)
            x->acks--;
        x->done = x->dump || x->acks == 0 || rc != RC_OK;
    } else if (h->nlmsg_type == NLMSG_DONE) {
        x->done = true;
    } else if (x->fn) {
        x->fn(x->owner, &(struct nlmsg){h->nlmsg_type, body});
        x->done |= x->dump && !(h->nlmsg_flags & NLM_F_MULTI);
    }
}

static enum rc receive(struct netlink *n, struct exchange *x)
{
    while (!x->done) {
        ssize_t got = recv(n->fd, n->buf, sizeof(n->buf), 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            errmsg_set(x->msg, "netlink: %s", errno == EAGAIN ? "no answer" : strerror(errno));
            return RC_IO;
        }
        for (size_t at = 0; at + sizeof(struct nlmsghdr) <= (size_t)got && !x->done;) {
            struct nlmsghdr h;
            memcpy(&h, n->buf + at, sizeof(h));
            if (h.nlmsg_len < sizeof(h) || h.nlmsg_len > (size_t)got - at)
                return RC_IO;
            take_message(x, &h, (struct str){n->buf + at + sizeof(h), h.nlmsg_len - sizeof(h)});
            at += NLMSG_ALIGN(h.nlmsg_len);
        }
    }
    return x->rc;
}

enum rc netlink_batch(struct netlink *n, struct nlbuf *m, struct errmsg *ret_msg)
{
    struct exchange x = {.msg = ret_msg};
    x.acks = number(n, m, &x.first);
    enum rc rc = send_all(n, m, ret_msg);
    return rc == RC_OK && x.acks ? receive(n, &x) : rc;
}

enum rc netlink_ask(struct netlink *n, struct nlbuf *m, struct errmsg *ret_msg)
{
    struct nlmsghdr h;
    memcpy(&h, m->b.p, sizeof(h));
    h.nlmsg_flags |= NLM_F_ACK;
    memcpy(m->b.p, &h, sizeof(h));
    return netlink_batch(n, m, ret_msg);
}

enum rc netlink_dump(struct netlink *n, struct nlbuf *m, netlink_dump_fn *fn, void *owner,
                     struct errmsg *ret_msg)
{
    struct exchange x = {.dump = true, .fn = fn, .owner = owner, .msg = ret_msg};
    number(n, m, &x.first);
    enum rc rc = send_all(n, m, ret_msg);
    return rc == RC_OK ? receive(n, &x) : rc;
}
