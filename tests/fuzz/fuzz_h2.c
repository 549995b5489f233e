/* What a stranger may send to an HTTP/2 server: a tunnel's (first byte even) or gRPC's. */
#include <stdlib.h>

#include "lib/hbone/hbone.h"
#include "lib/http/grpc.h"
#include "tests/helper/io_mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct target {
    bool grpc, closed;
};

static struct io_result on_pull(void *owner, void *dst, size_t cap)
{
    (void)owner, (void)dst, (void)cap;
    return (struct io_result){0, RC_AGAIN};
}

static void on_data(void *owner, const void *p, size_t n)
{
    (void)owner;
    volatile unsigned char sum = 0;
    for (size_t i = 0; i < n; i++)
        sum = (unsigned char)(sum + ((const unsigned char *)p)[i]);
}

static void on_end(void *owner)
{
    (void)owner;
}

static void on_stream_close(void *owner, enum rc why)
{
    (void)owner, (void)why;
}

static const struct h2_stream_ops stream_ops = {
    .pull = on_pull, .on_data = on_data, .on_end = on_end, .on_close = on_stream_close};

static void on_part(void *owner, const void *p, size_t n, size_t at, size_t total)
{
    (void)at, (void)total;
    on_data(owner, p, n);
}

static void on_done(void *owner, enum grpc_status status, struct str message)
{
    (void)owner, (void)status, (void)message;
}

static const struct grpc_ops rpc_ops = {.on_part = on_part, .on_done = on_done};

static void on_request(void *owner, struct h2_stream *s, const struct h2_headers *hs)
{
    struct target *t = owner;
    struct hbone_request req;
    struct baggage b;
    if (t->grpc) {
        grpc_accept(s, hs, 1000, &rpc_ops, t);
        return;
    }
    if (hbone_request_parse(hs, &req) != RC_OK) {
        h2_stream_respond(s, &(struct h2_header){STR(":status"), STR("400")}, 1, true);
        return;
    }
    baggage_parse(req.baggage, &b);
    (void)forwarded_host(req.forwarded);
    h2_stream_accept(s, &stream_ops, t);
    h2_stream_respond(s, &(struct h2_header){STR(":status"), STR("200")}, 1, false);
}

static void on_close(void *owner, enum rc why)
{
    (void)why;
    ((struct target *)owner)->closed = true;
}

static const struct h2_session_ops session_ops = {.on_request = on_request, .on_close = on_close};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n == 0)
        return 0;
    struct target t = {.grpc = data[0] & 1};
    struct loop *l = loop_new();
    struct io *peer, *io;
    loop_clock_fake(l, 1000);
    io_mem_pair(l, &(struct io_mem_opts){.capacity = 65536, .chunk = data[0] & 2 ? 7 : 0}, &peer,
                &io);
    struct h2_session *s = h2_session_new(
        l, io, &(struct h2_opts){.server = true, .connect_only = !t.grpc}, &session_ops, &t);
    if (data[0] & 4)
        io_write(peer, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33);
    for (size_t at = 1; at < n;) {
        struct io_result w = io_write(peer, data + at, n - at);
        if (w.rc != RC_OK)
            break;
        at += w.n;
        loop_turn(l, 0);
    }
    for (int i = 0; i < 5; i++)
        loop_turn(l, 0);
    if (!t.closed)
        h2_session_close(s, RC_CLOSED);
    io_close(peer, RC_OK);
    for (int i = 0; i < 3; i++)
        loop_turn(l, 0);
    loop_free(l);
    return 0;
}
