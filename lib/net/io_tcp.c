#include "lib/net/io_tcp.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/net/sock.h"

static struct io_tcp *io_tcp_of(struct io *io)
{
    return container_of(io, struct io_tcp, io);
}

static struct io_result failed(int err)
{
    return (struct io_result){0, rc_from_errno(err)};
}

static struct io_result io_tcp_read(struct io *io, void *dst, size_t cap)
{
    struct io_tcp *t = io_tcp_of(io);
    if (!t->readable)
        return (struct io_result){0, RC_AGAIN};
    ssize_t n;
    do
        n = recv(t->fd, dst, cap, 0);
    while (n < 0 && errno == EINTR);
    if (n > 0) {
        /* a short read emptied the socket: no EAGAIN call, the next byte or FIN is a new edge,
         * unless the end is there already */
        if ((size_t)n < cap)
            t->readable = t->hangup;
        return (struct io_result){(size_t)n, RC_OK};
    }
    if (n == 0)
        return (struct io_result){0, cap ? RC_EOF : RC_OK};
    if (errno == EAGAIN)
        t->readable = false;
    return failed(errno);
}

static struct io_result io_tcp_writev(struct io *io, const struct iovec *iov, int cnt)
{
    struct io_tcp *t = io_tcp_of(io);
    if (!t->writable)
        return (struct io_result){0, RC_AGAIN};
    struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)cnt};
    int flags = t->more ? MSG_NOSIGNAL | MSG_MORE : MSG_NOSIGNAL;
    ssize_t n;
    t->more = false;
    do
        n = cnt == 1 ? send(t->fd, iov->iov_base, iov->iov_len, flags)
                     : sendmsg(t->fd, &msg, flags);
    while (n < 0 && errno == EINTR);
    if (n >= 0)
        return (struct io_result){(size_t)n, RC_OK};
    if (errno == EAGAIN)
        t->writable = false;
    return failed(errno);
}

static enum rc io_tcp_shut_write(struct io *io)
{
    struct io_tcp *t = io_tcp_of(io);
    if (shutdown(t->fd, SHUT_WR) == 0)
        return RC_OK;
    return rc_from_errno(errno);
}

static bool orderly(enum rc why)
{
    return why == RC_OK || why == RC_EOF || why == RC_DRAIN || why == RC_CLOSED;
}

static void io_tcp_close(struct io *io, enum rc why)
{
    struct io_tcp *t = io_tcp_of(io);
    if (t->fd >= 0) {
        if (!orderly(
                why)) /* one that is connecting may be established already, for the other side */
            sock_reset_on_close(t->fd);
        loop_fd_forget(&t->watch);
        close(t->fd);
        t->fd = -1;
    }
    if (t->heap)
        free(t);
}

static const struct io_ops io_tcp_ops = {
    .name = "tcp",
    .read = io_tcp_read,
    .writev = io_tcp_writev,
    .shut_write = io_tcp_shut_write,
    .close = io_tcp_close,
};

static void on_fd(void *owner, unsigned ready)
{
    struct io_tcp *t = owner;
    unsigned edge = 0;
    t->connecting = false; /* a failed connect shows in the first read or write */
    if (ready & LOOP_READ) {
        t->hangup = ready & LOOP_HANGUP;
        t->readable = true;
        edge |= IO_READ;
    }
    if (ready & LOOP_WRITE) {
        t->writable = true;
        edge |= IO_WRITE;
    }
    if (t->io.on_ready)
        t->io.on_ready(t->io.owner, edge);
}

enum rc io_tcp_open(struct io_tcp *t, struct loop *l, int fd, bool connecting)
{
    *t = (struct io_tcp){.io.ops = &io_tcp_ops, .fd = fd, .connecting = connecting};
    /* readable from the start: bytes may have come with the handshake (and a read that finds none
     * costs one EAGAIN, once) */
    t->readable = t->writable = !connecting;
    enum rc rc = loop_fd_open(&t->watch, l, fd, LOOP_READ | LOOP_WRITE, on_fd, t);
    if (rc != RC_OK) {
        close(fd);
        t->fd = -1;
    }
    return rc;
}

struct io *io_tcp_new(struct loop *l, int fd, bool connecting)
{
    struct io_tcp *t = mem_new(struct io_tcp);
    if (io_tcp_open(t, l, fd, connecting) != RC_OK) {
        free(t);
        return NULL;
    }
    t->heap = true;
    return &t->io;
}
