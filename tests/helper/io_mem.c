#include "tests/helper/io_mem.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"

struct io_mem {
    struct io io;
    struct io_mem *peer; /* NULL when that side is closed */
    struct loop *loop;
    struct loop_task ready;
    unsigned edges;
    char *buf; /* what this side may read */
    size_t n, capacity, chunk;
    bool eof, write_hungry, held;
    enum rc broken;
};

static struct io_mem *mem_of(struct io *io)
{
    return container_of(io, struct io_mem, io);
}

static void tell(struct io_mem *m, unsigned edge)
{
    if (!m)
        return;
    m->edges |= edge;
    loop_defer(m->loop, &m->ready, LOOP_WORK);
}

static void on_ready(void *owner)
{
    struct io_mem *m = owner;
    unsigned edges = m->edges;
    m->edges = 0;
    if (m->io.on_ready)
        m->io.on_ready(m->io.owner, edges);
}

static struct io_result mem_read(struct io *io, void *dst, size_t cap)
{
    struct io_mem *m = mem_of(io);
    if (m->broken)
        return (struct io_result){0, m->broken};
    if (m->held)
        return (struct io_result){0, RC_AGAIN};
    if (m->n == 0)
        return (struct io_result){0, m->eof ? RC_EOF : RC_AGAIN};
    size_t n = MIN(MIN(cap, m->n), m->chunk);
    memcpy(dst, m->buf, n);
    memmove(m->buf, m->buf + n, m->n - n);
    m->n -= n;
    if (m->peer && m->peer->write_hungry) {
        m->peer->write_hungry = false;
        tell(m->peer, IO_WRITE);
    }
    return (struct io_result){n, RC_OK};
}

static struct io_result mem_writev(struct io *io, const struct iovec *iov, int cnt)
{
    struct io_mem *m = mem_of(io), *to = m->peer;
    if (m->broken)
        return (struct io_result){0, m->broken};
    if (!to)
        return (struct io_result){0, RC_RESET};
    size_t done = 0;
    for (int i = 0; i < cnt; i++) {
        size_t n = MIN(MIN(iov[i].iov_len, to->capacity - to->n), m->chunk - done);
        memcpy(to->buf + to->n, iov[i].iov_base, n);
        to->n += n;
        done += n;
        if (n < iov[i].iov_len)
            break;
    }
    if (done == 0) {
        m->write_hungry = true;
        return (struct io_result){0, RC_AGAIN};
    }
    tell(to, IO_READ);
    return (struct io_result){done, RC_OK};
}

static enum rc mem_shut_write(struct io *io)
{
    struct io_mem *m = mem_of(io);
    if (m->peer) {
        m->peer->eof = true;
        tell(m->peer, IO_READ);
    }
    return RC_OK;
}

static void mem_close(struct io *io, enum rc why)
{
    struct io_mem *m = mem_of(io);
    (void)why;
    mem_shut_write(io);
    if (m->peer) {
        m->peer->peer = NULL;
        tell(m->peer, IO_WRITE);
    }
    loop_task_cancel(&m->ready);
    free(m->buf);
    free(m);
}

static const struct io_ops io_mem_ops = {"mem", mem_read, mem_writev, mem_shut_write, mem_close};

static struct io_mem *mem_make(struct loop *l, const struct io_mem_opts *o)
{
    struct io_mem *m = mem_new(struct io_mem);
    m->io.ops = &io_mem_ops;
    m->loop = l;
    m->capacity = o && o->capacity ? o->capacity : 1 << 20;
    m->chunk = o && o->chunk ? o->chunk : SIZE_MAX;
    m->buf = mem_alloc(m->capacity);
    loop_task_init(&m->ready, on_ready, m);
    return m;
}

void io_mem_pair(struct loop *l, const struct io_mem_opts *o, struct io **ret_a, struct io **ret_b)
{
    struct io_mem *a = mem_make(l, o), *b = mem_make(l, o);
    a->peer = b;
    b->peer = a;
    *ret_a = &a->io;
    *ret_b = &b->io;
}

void io_mem_hold(struct io *io, bool hold)
{
    struct io_mem *m = mem_of(io);
    m->held = hold;
    if (!hold)
        tell(m, IO_READ);
}

void io_mem_break(struct io *io, enum rc rc)
{
    struct io_mem *m = mem_of(io);
    m->broken = rc;
    tell(m, IO_READ | IO_WRITE);
}
