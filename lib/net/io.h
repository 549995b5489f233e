/* A byte pipe. TCP, mTLS and a tunnel's stream all implement it, so that they stack.
 *
 * Readiness is an edge: on_ready fires when a direction that answered RC_AGAIN may work again (and
 * once when the pipe becomes usable after connecting or the handshake). An owner that stops early
 * (budget, backpressure) has to come back by itself.
 * Thread: one loop. on_ready is never called from inside an operation. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "lib/base/rc.h"

struct io;

struct io_result {
    size_t n;
    enum rc rc; /* RC_OK, RC_AGAIN, RC_EOF (read) or the failure; n is 0 unless RC_OK */
};

enum { IO_READ = 1, IO_WRITE = 2 };
typedef void io_ready_fn(void *owner, unsigned ready);

struct io_ops {
    const char *name; /* "tcp", "mtls", "mem", "chaos" */
    struct io_result (*read)(struct io *io, void *dst, size_t cap);
    /* May take less than offered. */
    struct io_result (*writev)(struct io *io, const struct iovec *iov, int cnt);
    enum rc (*shut_write)(struct io *io); /* half-close: FIN, close_notify or END_STREAM */
    /* Frees the pipe and the layers below; why decides between FIN and reset where the layer can
     * (RC_OK, RC_EOF, RC_DRAIN, RC_CLOSED: orderly; all else: abortive). */
    void (*close)(struct io *io, enum rc why);
};

struct io {
    const struct io_ops *ops;
    io_ready_fn *on_ready;
    void *owner;
};

static inline struct io_result io_read(struct io *io, void *dst, size_t cap)
{
    return io->ops->read(io, dst, cap);
}
static inline struct io_result io_writev(struct io *io, const struct iovec *iov, int cnt)
{
    return io->ops->writev(io, iov, cnt);
}
static inline struct io_result io_write(struct io *io, const void *p, size_t n)
{
    struct iovec iov = {(void *)(uintptr_t)p, n};
    return io->ops->writev(io, &iov, 1);
}
static inline enum rc io_shut_write(struct io *io)
{
    return io->ops->shut_write(io);
}
static inline void io_close(struct io *io, enum rc why)
{
    io->ops->close(io, why);
}
