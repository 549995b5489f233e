#include "lib/zds/zds_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/hash.h"
#include "lib/base/mem.h"
#include "lib/net/sock.h"

#define BACKOFF_MIN_MS 20
#define BACKOFF_MAX_MS 15000
#define FDS_MAX        4 /* room to see that a packet has more than one */

struct zds_client {
    struct loop *loop;
    const struct zds_client_ops *ops;
    void *owner;
    char *path;
    int fd; /* -1: not connected */
    struct loop_fd watch;
    struct loop_timer retry;
    int64_t backoff_ms;
    bool waiting; /* a request is not answered yet: nothing is read */
};

static void dial(void *owner);
static void on_readable(void *owner, unsigned ready);

static void disconnect(struct zds_client *c, const char *why)
{
    loop_fd_close(&c->watch);
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->waiting = false;
    c->backoff_ms = MIN(MAX(c->backoff_ms * 2, (int64_t)BACKOFF_MIN_MS), (int64_t)BACKOFF_MAX_MS);
    loop_timer_set(&c->retry, c->backoff_ms + (int64_t)rand_below((uint64_t)c->backoff_ms / 4 + 1));
    c->ops->on_state(c->owner, false, why);
}

static bool send_packet(struct zds_client *c, struct str s)
{
    ssize_t n;
    do
        n = send(c->fd, s.p, s.n, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)s.n;
}

/* One packet and its descriptors. False: nothing there (*ret_n 0), or the link is over (why set). */
static bool recv_packet(struct zds_client *c, char *buf, size_t cap, size_t *ret_n, int *fds,
                        size_t *ret_fds, const char **why)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
    } control;
    struct iovec iov = {buf, cap};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control.bytes,
                       .msg_controllen = sizeof(control.bytes)};
    ssize_t n;
    do
        n = recvmsg(c->fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    *why = NULL;
    if (n < 0 && errno == EAGAIN)
        return false;
    *ret_fds = 0;
    for (struct cmsghdr *h = n >= 0 ? CMSG_FIRSTHDR(&m) : NULL; h; h = CMSG_NXTHDR(&m, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        size_t k = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < k && *ret_fds < FDS_MAX; i++)
            memcpy(&fds[(*ret_fds)++], CMSG_DATA(h) + i * sizeof(int), sizeof(int));
    }
    *ret_n = (size_t)MAX(n, (ssize_t)0);
    if (n > 0 && !(m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
        return true;
    *why = n == 0  ? "the agent closed the link"
           : n < 0 ? strerror(errno)
                   : "a packet is over 1024 bytes";
    for (size_t i = 0; i < *ret_fds; i++)
        close(fds[i]);
    return false;
}

static void refuse(struct zds_client *c, const char *why)
{
    c->waiting = true;
    zds_client_ack(c, why);
}

static void dispatch(struct zds_client *c, struct str packet, int *fds, size_t n_fds)
{
    struct zds_request r;
    if (zds_request_parse(packet, &r) != RC_OK) {
        refuse(c, "a request that is not understood");
        if (c->fd >= 0)
            disconnect(c, "the agent sent a request that is not understood");
    } else if ((r.kind == ZDS_ADD) != (n_fds == 1) || n_fds > 1) {
        refuse(c, "an add carries exactly one descriptor, other requests none");
    } else {
        c->waiting = true;
        switch (r.kind) {
        case ZDS_ADD: {
            int netns = fds[0];
            fds[0] = -1;
            c->ops->on_add(c->owner, c, &r, netns);
            break;
        }
        case ZDS_DEL:           c->ops->on_del(c->owner, c, r.uid); break;
        case ZDS_KEEP:          c->ops->on_keep(c->owner, c, r.uid); break;
        case ZDS_SNAPSHOT_SENT: c->ops->on_snapshot(c->owner, c); break;
        }
    }
    for (size_t i = 0; i < n_fds; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

static void on_readable(void *owner, unsigned ready)
{
    (void)ready;
    struct zds_client *c = owner;
    while (c->fd >= 0 && !c->waiting) {
        char buf[ZDS_PACKET_MAX];
        int fds[FDS_MAX];
        size_t n = 0, n_fds = 0;
        const char *why;
        if (!recv_packet(c, buf, sizeof(buf), &n, fds, &n_fds, &why)) {
            if (why)
                disconnect(c, why);
            return;
        }
        c->backoff_ms = 0; /* the agent talks */
        dispatch(c, (struct str){buf, n}, fds, n_fds);
    }
    if (c->fd >= 0) /* nothing is read until the answer went out */
        loop_fd_close(&c->watch);
}

void zds_client_ack(struct zds_client *c, const char *error)
{
    if (!c->waiting || c->fd < 0)
        return;
    struct strbuf out AUTO_STRBUF;
    strbuf_init(&out, ZDS_PACKET_MAX);
    zds_ack_format(str_of(error), &out);
    c->waiting = false;
    if (!send_packet(c, strbuf_str(&out)) ||
        (!c->watch.loop &&
         loop_fd_open(&c->watch, c->loop, c->fd, LOOP_READ | LOOP_LEVEL, on_readable, c) != RC_OK))
        disconnect(c, "an acknowledgement could not be sent");
}

static void dial(void *owner)
{
    struct zds_client *c = owner;
    enum rc rc = sock_connect_unix(c->path, SOCK_SEQPACKET, &c->fd);
    if (rc != RC_OK) {
        char why[256];
        c->fd = -1;
        snprintf(why, sizeof(why), "%.150s: %s", c->path, strerror(errno));
        disconnect(c, why);
        return;
    }
    struct strbuf hello AUTO_STRBUF;
    strbuf_init(&hello, 64);
    zds_hello_format(&hello);
    if (!send_packet(c, strbuf_str(&hello)) ||
        loop_fd_open(&c->watch, c->loop, c->fd, LOOP_READ | LOOP_LEVEL, on_readable, c) != RC_OK) {
        disconnect(c, "the hello could not be sent");
        return;
    }
    c->ops->on_state(c->owner, true, "");
}

struct zds_client *zds_client_new(struct loop *l, const char *path,
                                  const struct zds_client_ops *ops, void *owner)
{
    struct zds_client *c = mem_new(struct zds_client);
    c->loop = l;
    c->ops = ops;
    c->owner = owner;
    c->path = mem_strdup(path);
    c->fd = -1;
    loop_timer_init(&c->retry, l, dial, c);
    return c;
}

void zds_client_start(struct zds_client *c)
{
    dial(c);
}

void zds_client_free(struct zds_client *c)
{
    if (!c)
        return;
    loop_timer_clear(&c->retry);
    loop_fd_close(&c->watch);
    if (c->fd >= 0)
        close(c->fd);
    free(c->path);
    free(c);
}
