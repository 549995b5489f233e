#include "proxy/core/relay_tcp.h"

#include "lib/base/mem.h"
#include "lib/base/scratch.h"

#define BUF    (128 * 1024)
#define BUDGET (1024 * 1024) /* bytes in one turn */
#define IOV    16

static void finish(struct relay_tcp *r, enum rc why)
{
    if (r->done)
        return;
    r->done = true;
    loop_task_cancel(&r->more);
    for (int i = 0; i < 2; i++) {
        io_close(&r->side[i].tcp.io, why);
        bufq_fini(&r->side[i].held);
    }
    r->on_done(r->owner, why);
}

void relay_tcp_close(struct relay_tcp *r, enum rc why)
{
    finish(r, why);
}

static struct relay_tcp_side *other(struct relay_tcp_side *s)
{
    return &s->r->side[s == &s->r->side[0]];
}

static enum rc write_held(struct relay_tcp_side *to)
{
    while (to->held.n) {
        struct iovec iov[IOV];
        struct io_result w = io_writev(&to->tcp.io, iov, bufq_peek(&to->held, iov, IOV));
        if (w.rc != RC_OK)
            return w.rc;
        bufq_drain(&to->held, w.n);
    }
    return RC_OK;
}

static enum rc write_some(struct relay_tcp_side *to, const char *p, size_t n)
{
    struct io_result w = io_write(&to->tcp.io, p, n);
    if (w.rc != RC_OK && w.rc != RC_AGAIN)
        return w.rc;
    if (w.n < n)
        bufq_add(&to->held, p + w.n, n - w.n);
    return RC_OK;
}

/* Moves what can be moved from one side to the other. RC_AGAIN: wait; RC_LIMIT: the budget is used up. */
static enum rc move(struct relay_tcp_side *from)
{
    struct relay_tcp_side *to = other(from);
    char *buf = scratch_get(SCRATCH_RELAY_TCP, BUF);
    if (!from->open || !to->open)
        return RC_AGAIN;
    for (size_t moved = 0;;) {
        enum rc rc = write_held(to);
        if (rc != RC_OK)
            return rc;
        if (from->eof) {
            if (!to->shut) {
                to->shut = true;
                (void)!io_shut_write(&to->tcp.io);
            }
            return RC_AGAIN;
        }
        if (moved >= BUDGET)
            return RC_LIMIT;
        struct io_result got = io_read(&from->tcp.io, buf, BUF);
        if (got.rc == RC_EOF) {
            from->eof = true;
            continue;
        }
        if (got.rc != RC_OK)
            return got.rc;
        from->read += got.n;
        moved += got.n;
        rc = write_some(to, buf, got.n);
        if (rc != RC_OK)
            return rc;
    }
}

static void drive(void *owner)
{
    struct relay_tcp *r = owner;
    for (int i = 0; i < 2 && !r->done; i++) {
        enum rc rc = move(&r->side[i]);
        if (rc == RC_LIMIT)
            loop_defer(r->loop, &r->more, LOOP_WORK);
        else if (rc != RC_AGAIN)
            finish(r, rc);
    }
    if (!r->done && r->side[0].shut && r->side[1].shut)
        finish(r, RC_OK);
}

static void on_ready(void *owner, unsigned ready)
{
    (void)ready;
    struct relay_tcp_side *s = owner;
    if (!s->r->done)
        drive(s->r);
}

void relay_tcp_start(struct relay_tcp *r, struct loop *l, void (*on_done)(void *owner, enum rc why),
                     void *owner)
{
    r->loop = l;
    r->on_done = on_done;
    r->owner = owner;
    loop_task_init(&r->more, drive, r);
    for (int i = 0; i < 2; i++) {
        r->side[i].r = r;
        r->side[i].tcp.io.on_ready = on_ready;
        r->side[i].tcp.io.owner = &r->side[i];
    }
    loop_defer(l, &r->more, LOOP_WORK);
}

void relay_tcp_opened(struct relay_tcp *r, int side)
{
    struct relay_tcp_side *s = &r->side[side];
    s->open = true;
    s->tcp.io.on_ready = on_ready;
    s->tcp.io.owner = s;
    loop_defer(r->loop, &r->more, LOOP_WORK);
}
