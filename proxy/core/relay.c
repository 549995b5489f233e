#include "proxy/core/relay.h"

#include "lib/base/mem.h"
#include "lib/base/must.h"

static void finish(struct relay *r, enum rc why)
{
    if (r->done)
        return;
    r->done = true;
    if (r->app.io.ops)
        io_close(&r->app.io, why);
    if (r->stream && !r->stream_gone)
        h2_stream_close(r->stream, why);
    r->stream = NULL;
    r->iov_n = 0;
    bufq_fini(&r->held);
    r->ops->on_done(r->owner, why);
}

void relay_close(struct relay *r, enum rc why)
{
    finish(r, why);
}

void relay_refuse(struct relay *r, const struct h2_header *h, size_t n, enum rc why)
{
    if (r->stream && !r->stream_gone) {
        struct h2_stream *s = r->stream;
        r->stream = NULL;
        h2_stream_respond(s, h, n, true);
        h2_stream_release(s);
    }
    finish(r, why);
}

/* Both directions through? (The stream is gone when both its halves ended.) */
static void check_done(struct relay *r)
{
    if (r->stream_gone && r->app_eof && r->app_shut)
        finish(r, RC_OK);
}

/* -- tunnel to application -- */

static void shut_app(struct relay *r)
{
    if (!r->tunnel_end || r->app_shut || r->held.n || r->iov_n || !r->app_open)
        return;
    r->app_shut = true;
    /* where the application has ended too, closing will say it: one packet's work less. A failure shows
     * in the next read */
    if (!r->app_eof)
        (void)!io_shut_write(&r->app.io);
    check_done(r);
}

static void consumed(struct relay *r, size_t n)
{
    r->down += n;
    if (r->stream && !r->stream_gone)
        h2_stream_consume(r->stream, n);
}

/* Writes what waits, then what just came; keeps the rest. */
static enum rc write_app(struct relay *r)
{
    while (r->held.n) {
        struct iovec iov[RELAY_IOV];
        int cnt = bufq_peek(&r->held, iov, RELAY_IOV);
        struct io_result w = io_writev(&r->app.io, iov, cnt);
        if (w.rc != RC_OK)
            return w.rc;
        bufq_drain(&r->held, w.n);
        consumed(r, w.n);
    }
    return RC_OK;
}

static void keep_iov(struct relay *r, size_t skip)
{
    for (int i = 0; i < r->iov_n; i++) {
        size_t n = r->iov[i].iov_len, s = MIN(skip, n);
        skip -= s;
        bufq_add(&r->held, (char *)r->iov[i].iov_base + s, n - s);
    }
    r->iov_n = 0;
    r->iov_bytes = 0;
}

static void flush_app(struct relay *r)
{
    if (!r->iov_n)
        return;
    if (r->held.n || !r->app_open) {
        keep_iov(r, 0);
        return;
    }
    r->app.more =
        r->stream && h2_stream_ending(r->stream); /* then the end goes in the same packet */
    struct io_result w = io_writev(&r->app.io, r->iov, r->iov_n);
    if (w.rc != RC_OK && w.rc != RC_AGAIN) {
        finish(r, w.rc);
        return;
    }
    if (w.n == r->iov_bytes) {
        r->iov_n = 0;
        r->iov_bytes = 0;
    } else {
        keep_iov(r, w.n);
    }
    consumed(r, w.n);
}

static void on_data(void *owner, const void *p, size_t n)
{
    struct relay *r = owner;
    if (r->done)
        return;
    struct iovec *last = r->iov_n ? &r->iov[r->iov_n - 1] : NULL;
    if (last && (char *)last->iov_base + last->iov_len == (const char *)p) {
        last->iov_len += n;
        r->iov_bytes += n;
        return;
    }
    if (r->iov_n == RELAY_IOV) {
        flush_app(r);
        if (r->done)
            return;
    }
    r->iov[r->iov_n++] = (struct iovec){(void *)(uintptr_t)p, n};
    r->iov_bytes += n;
}

static void on_flush(void *owner)
{
    struct relay *r = owner;
    if (!r->done)
        flush_app(r);
}

static void on_end(void *owner)
{
    struct relay *r = owner;
    if (r->done)
        return;
    r->tunnel_end = true;
    shut_app(r);
}

/* -- application to tunnel -- */

static struct io_result on_pull(void *owner, void *dst, size_t cap)
{
    struct relay *r = owner;
    if (r->done || !r->app_open)
        return (struct io_result){0, RC_AGAIN};
    if (r->app_eof)
        return (struct io_result){0, RC_EOF};
    if (!r->answered) {
        if (r->up >= RELAY_EARLY)
            return (struct io_result){0, RC_AGAIN};
        cap = MIN(cap, RELAY_EARLY - r->up);
    }
    struct io_result got = io_read(&r->app.io, dst, cap);
    if (got.rc == RC_OK) {
        r->up += got.n;
    } else if (got.rc == RC_EOF) {
        r->app_eof = true;
    } else if (got.rc != RC_AGAIN) {
        finish(r, got.rc);
        return (struct io_result){0, RC_AGAIN}; /* the stream was closed with the reason */
    }
    return got;
}

static void on_app_ready(void *owner, unsigned ready)
{
    struct relay *r = owner;
    if (r->done || !r->app_open)
        return;
    if (ready & IO_WRITE && r->held.n) {
        enum rc rc = write_app(r);
        if (rc != RC_OK && rc != RC_AGAIN) {
            finish(r, rc);
            return;
        }
        shut_app(r);
        if (r->done)
            return;
    }
    if (ready & IO_READ && r->stream && !r->stream_gone)
        h2_stream_resume(r->stream);
}

/* -- the stream -- */

static void on_headers(void *owner, const struct h2_headers *hs, bool trailers)
{
    struct relay *r = owner;
    if (r->done || trailers || !r->ops->on_headers)
        return;
    enum rc rc = r->ops->on_headers(r->owner, hs);
    if (rc != RC_OK) {
        finish(r, rc);
        return;
    }
    relay_answered(r);
}

static void on_close(void *owner, enum rc why)
{
    struct relay *r = owner;
    r->stream_gone = true;
    r->stream = NULL;
    if (r->done)
        return;
    if (why != RC_OK) {
        /* EOF: the peer ended the stream early but in order (RST_STREAM NO_ERROR) */
        if (why == RC_EOF && r->answered) {
            r->tunnel_end = true;
            r->app_eof = true;
            shut_app(r);
            if (!r->done && !r->held.n)
                finish(r, RC_OK);
            return;
        }
        finish(r, why == RC_EOF ? RC_STATUS : why);
        return;
    }
    check_done(r);
}

const struct h2_stream_ops relay_stream_ops = {
    .on_headers = on_headers,
    .pull = on_pull,
    .on_data = on_data,
    .on_flush = on_flush,
    .on_end = on_end,
    .on_close = on_close,
};

/* -- life -- */

void relay_init(struct relay *r, const struct relay_ops *ops, void *owner)
{
    r->ops = ops;
    r->owner = owner;
}

void relay_app_opened(struct relay *r)
{
    r->app.io.on_ready = on_app_ready;
    r->app.io.owner = r;
    r->app_open = true;
    if (r->held.n) {
        enum rc rc = write_app(r);
        if (rc != RC_OK && rc != RC_AGAIN) {
            finish(r, rc);
            return;
        }
    }
    shut_app(r);
    if (!r->done && r->stream && !r->stream_gone)
        h2_stream_resume(r->stream);
}

void relay_answered(struct relay *r)
{
    r->answered = true;
    if (r->stream && !r->stream_gone)
        h2_stream_resume(r->stream);
}
