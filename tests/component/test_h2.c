/* Client and server sessions over pipes in memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nghttp2/nghttp2.h>

#include "lib/base/hash.h"
#include "lib/base/mem.h"
#include "lib/http/grpc.h"
#include "lib/http/h2_session.h"
#include "tests/helper/check.h"
#include "tests/helper/io_mem.h"

/* One end of a stream: sends `send` bytes of a pattern, then END_STREAM; checks what comes. */
struct end {
    struct h2_stream *st;
    size_t send, sent, got, held; /* held: not yet consumed */
    unsigned char seed, peer_seed;
    bool slow;  /* consume nothing until told */
    bool stall; /* pull says AGAIN */
    bool wrong, ended, closed, headers;
    enum rc why;
    int status;
};

static unsigned char pattern(unsigned char seed, size_t i)
{
    return (unsigned char)(seed + i * 31 + (i >> 8));
}

static struct io_result end_pull(void *owner, void *dst, size_t cap)
{
    struct end *e = owner;
    size_t n = MIN(cap, e->send - e->sent);
    if (e->stall)
        return (struct io_result){0, RC_AGAIN};
    if (n == 0)
        return (struct io_result){0, RC_EOF};
    for (size_t i = 0; i < n; i++)
        ((unsigned char *)dst)[i] = pattern(e->seed, e->sent + i);
    e->sent += n;
    return (struct io_result){n, RC_OK};
}

static void end_data(void *owner, const void *p, size_t n)
{
    struct end *e = owner;
    for (size_t i = 0; i < n; i++)
        e->wrong |= ((const unsigned char *)p)[i] != pattern(e->peer_seed, e->got + i);
    e->got += n;
    e->held += n;
}

static void end_flush(void *owner)
{
    struct end *e = owner;
    if (!e->slow) {
        h2_stream_consume(e->st, e->held);
        e->held = 0;
    }
}

static void end_end(void *owner)
{
    ((struct end *)owner)->ended = true;
}

static void end_close(void *owner, enum rc why)
{
    struct end *e = owner;
    e->closed = true;
    e->why = why;
    e->st = NULL;
}

static void end_headers(void *owner, const struct h2_headers *hs, bool trailers)
{
    struct end *e = owner;
    e->headers = true;
    if (!trailers)
        e->status = h2_status(hs);
}

static const struct h2_stream_ops end_ops = {
    .on_headers = end_headers,
    .pull = end_pull,
    .on_data = end_data,
    .on_flush = end_flush,
    .on_end = end_end,
    .on_close = end_close,
};

struct rig {
    struct loop *l;
    struct io *a, *b;
    struct h2_session *client, *server;
    struct end server_end[256];
    size_t n;
    size_t answer; /* bytes each server end sends */
    bool client_closed, server_closed, goaway, slow, refuse, stall, mute;
    enum rc client_why, server_why;
};

static void on_request(void *owner, struct h2_stream *s, const struct h2_headers *hs)
{
    struct rig *r = owner;
    struct str seed = h2_header_get(hs, "seed");
    if (r->refuse)
        return;
    struct end *e = &r->server_end[r->n++ % 256];
    *e = (struct end){.st = s, .send = r->answer, .slow = r->slow, .stall = r->stall};
    e->peer_seed = (unsigned char)(seed.n ? seed.p[0] : 0);
    e->seed = (unsigned char)(e->peer_seed + 1);
    h2_stream_accept(s, &end_ops, e);
    if (!r->mute)
        h2_stream_respond(s, &(struct h2_header){STR(":status"), STR("200")}, 1, false);
}

static void client_closed(void *owner, enum rc why)
{
    struct rig *r = owner;
    r->client_closed = true;
    r->client_why = why;
}

static void server_closed(void *owner, enum rc why)
{
    struct rig *r = owner;
    r->server_closed = true;
    r->server_why = why;
}

static void on_goaway(void *owner)
{
    ((struct rig *)owner)->goaway = true;
}

static const struct h2_session_ops client_ops = {.on_close = client_closed, .on_goaway = on_goaway};
static const struct h2_session_ops server_ops = {.on_request = on_request,
                                                 .on_close = server_closed};

static void rig_init(struct rig *r, size_t chunk, const struct h2_opts *o)
{
    *r = (struct rig){.l = loop_new(), .answer = 10};
    struct h2_opts copts = o ? *o : (struct h2_opts){0}, sopts = copts;
    sopts.server = true;
    io_mem_pair(r->l, &(struct io_mem_opts){.chunk = chunk}, &r->a, &r->b);
    loop_clock_fake(r->l, 1000);
    r->client = h2_session_new(r->l, r->a, &copts, &client_ops, r);
    r->server = h2_session_new(r->l, r->b, &sopts, &server_ops, r);
}

static void turns(struct rig *r, int n)
{
    while (n--)
        loop_turn(r->l, 0);
}

static void rig_fini(struct rig *r)
{
    if (!r->client_closed)
        h2_session_close(r->client, RC_CLOSED);
    if (!r->server_closed)
        h2_session_close(r->server, RC_CLOSED);
    turns(r, 3);
    ck_assert(r->client_closed && r->server_closed);
    loop_free(r->l);
}

static void open_end(struct rig *r, struct end *e, char seed)
{
    struct h2_header h[] = {{STR(":method"), STR("POST")},
                            {STR(":scheme"), STR("https")},
                            {STR(":path"), STR("/")},
                            {STR(":authority"), STR("x")},
                            {STR("seed"), {&seed, 1}}};
    e->seed = (unsigned char)seed;
    e->peer_seed = (unsigned char)(seed + 1);
    e->st = h2_stream_open(r->client, h, 5, false, &end_ops, e);
}

static void exchange(size_t chunk, size_t up, size_t down, int streams, const struct h2_opts *o)
{
    struct rig r;
    static struct end e[100];
    memset(e, 0, sizeof(e));
    rig_init(&r, chunk, o);
    r.answer = down;
    for (int i = 0; i < streams; i++) {
        e[i].send = up;
        open_end(&r, &e[i], (char)('A' + i % 50));
        ck_assert_ptr_nonnull(e[i].st);
    }
    for (int i = 0, done = 0; i < 2000000 && done < streams; i++) {
        loop_turn(r.l, 0);
        done = 0;
        for (int k = 0; k < streams; k++)
            done += e[k].closed;
    }
    turns(&r, 20);
    for (int i = 0; i < streams; i++) {
        ck_assert_msg(e[i].closed && e[i].ended && !e[i].wrong,
                      "stream %d: closed %d ended %d wrong %d sent %zu got %zu", i, e[i].closed,
                      e[i].ended, e[i].wrong, e[i].sent, e[i].got);
        ck_assert_rc(e[i].why, RC_OK);
        ck_assert_uint_eq(e[i].got, down);
        ck_assert_int_eq(e[i].status, 200);
        ck_assert(r.server_end[i].closed && !r.server_end[i].wrong);
        ck_assert_uint_eq(r.server_end[i].got, up);
    }
    ck_assert_uint_eq(h2_session_streams(r.client), 0);
    rig_fini(&r);
}

START_TEST(bytes_arrive_as_sent)
{
    exchange(0, 5, 7, 1, NULL);
    exchange(0, 0, 0, 1, NULL);
    exchange(0, 3000000, 5000000, 3, NULL);
    exchange(0, 1000, 1000, 100, NULL);
}
END_TEST

START_TEST(bytes_arrive_one_by_one)
{
    exchange(1, 3000, 5000, 3, NULL);
}
END_TEST

START_TEST(small_windows_and_odd_chunks)
{
    struct h2_opts o = {.stream_window = 65535, .connection_window = 65535, .max_frame = 16384};
    exchange(1009, 700000, 300000, 5, &o);
}
END_TEST

START_TEST(a_slow_reader_stops_the_sender_at_the_window)
{
    struct rig r;
    struct h2_opts o = {.stream_window = 100000, .connection_window = 1000000};
    struct end e = {.send = 500000};
    rig_init(&r, 0, &o);
    r.slow = true;
    open_end(&r, &e, 'a');
    turns(&r, 200);
    ck_assert_uint_eq(r.server_end[0].got, 100000);
    ck_assert(!r.server_end[0].ended);
    r.server_end[0].slow = false;
    end_flush(&r.server_end[0]);
    turns(&r, 200);
    ck_assert_uint_eq(r.server_end[0].got, 500000);
    ck_assert(r.server_end[0].ended && e.closed);
    rig_fini(&r);
}
END_TEST

START_TEST(half_close_leaves_the_other_direction_open)
{
    struct rig r;
    struct end e = {.send = 100};
    rig_init(&r, 0, NULL);
    open_end(&r, &e, 'a');
    r.answer = 50;
    r.stall = true;
    turns(&r, 20);
    ck_assert(r.server_end[0].ended); /* the client is done */
    ck_assert(!e.closed && !e.ended);
    r.server_end[0].stall = false;
    h2_stream_resume(r.server_end[0].st);
    turns(&r, 20);
    ck_assert(e.ended && e.closed);
    ck_assert_uint_eq(e.got, 50);
    rig_fini(&r);
}
END_TEST

START_TEST(a_reset_arrives_as_a_reset)
{
    struct rig r;
    struct end e = {.send = 100, .stall = true};
    rig_init(&r, 0, NULL);
    open_end(&r, &e, 'a');
    turns(&r, 20);
    ck_assert_uint_eq(r.n, 1);
    h2_stream_close(e.st, RC_RESET);
    turns(&r, 20);
    ck_assert(r.server_end[0].closed);
    ck_assert_rc(r.server_end[0].why, RC_RESET);
    ck_assert(!e.closed); /* who closes hears nothing */
    ck_assert_uint_eq(h2_session_streams(r.client) + h2_session_streams(r.server), 0);
    rig_fini(&r);
}
END_TEST

START_TEST(a_refused_stream_is_told)
{
    struct rig r;
    struct end e = {.stall = true};
    rig_init(&r, 0, NULL);
    r.refuse = true;
    open_end(&r, &e, 'a');
    turns(&r, 20);
    ck_assert(e.closed);
    ck_assert_rc(e.why, RC_REFUSED);
    rig_fini(&r);
}
END_TEST

START_TEST(a_broken_pipe_ends_every_stream)
{
    struct rig r;
    struct end e[3] = {{.stall = true}, {.stall = true}, {.stall = true}};
    rig_init(&r, 0, NULL);
    for (int i = 0; i < 3; i++)
        open_end(&r, &e[i], 'a');
    turns(&r, 20);
    io_mem_break(r.a, RC_RESET);
    turns(&r, 20);
    ck_assert(r.client_closed);
    ck_assert_rc(r.client_why, RC_RESET);
    for (int i = 0; i < 3; i++)
        ck_assert(e[i].closed && e[i].why == RC_RESET);
    rig_fini(&r);
}
END_TEST

START_TEST(drain_lets_streams_end_and_takes_no_new_ones)
{
    struct rig r;
    struct end e = {.send = 10, .stall = true}, late = {0};
    rig_init(&r, 0, NULL);
    open_end(&r, &e, 'a');
    turns(&r, 20);
    h2_session_drain(r.server, 0);
    turns(&r, 20);
    ck_assert(r.goaway && !r.server_closed);
    open_end(&r, &late, 'b');
    ck_assert_ptr_null(late.st);
    e.stall = false;
    h2_stream_resume(e.st);
    turns(&r, 20);
    ck_assert(e.closed && e.why == RC_OK);
    ck_assert(r.server_closed);
    ck_assert_rc(r.server_why, RC_DRAIN);
    rig_fini(&r);
}
END_TEST

START_TEST(silence_is_found_by_ping)
{
    struct rig r;
    struct h2_opts o = {.ping_ms = 10000, .ping_timeout_ms = 20000};
    rig_init(&r, 0, &o);
    turns(&r, 10);
    for (int i = 0; i < 6; i++) { /* answered pings keep it alive */
        loop_clock_advance(r.l, 10000);
        turns(&r, 10);
    }
    ck_assert(!r.client_closed && !r.server_closed);
    rig_fini(&r);

    struct io *a, *b; /* nobody answers */
    r = (struct rig){.l = loop_new(), .server_closed = true};
    loop_clock_fake(r.l, 1000);
    io_mem_pair(r.l, NULL, &a, &b);
    r.client = h2_session_new(r.l, a, &o, &client_ops, &r);
    turns(&r, 5);
    loop_clock_advance(r.l, 10001); /* no SETTINGS within their deadline */
    turns(&r, 5);
    ck_assert(r.client_closed);
    ck_assert_rc(r.client_why, RC_TIMEOUT);
    io_close(b, RC_OK);
    rig_fini(&r);
}
END_TEST

/* -- floods: bytes written by hand -- */

static void raw_frame(struct io *io, uint8_t type, uint8_t flags, uint32_t id, const void *p,
                      size_t n)
{
    unsigned char h[9] = {(unsigned char)(n >> 16),
                          (unsigned char)(n >> 8),
                          (unsigned char)n,
                          type,
                          flags,
                          (unsigned char)(id >> 24),
                          (unsigned char)(id >> 16),
                          (unsigned char)(id >> 8),
                          (unsigned char)id};
    struct iovec iov[2] = {{h, 9}, {(void *)(uintptr_t)p, n}};
    (void)io_writev(io, iov, n ? 2 : 1).n;
}

/* Minimal request: indexed :method POST (3), :scheme https (7), :path / (4), :authority literal. */
static const unsigned char request[] = {0x83, 0x87, 0x84, 0x41, 1, 'x'};

static enum rc flood(void (*one)(struct io *io, uint32_t i), uint32_t count,
                     const struct h2_opts *o)
{
    struct rig r = {.l = loop_new(), .client_closed = true, .mute = true};
    loop_clock_fake(r.l, 1000);
    io_mem_pair(r.l, &(struct io_mem_opts){.capacity = 8 << 20}, &r.a, &r.b);
    r.server = h2_session_new(r.l, r.b, o, &server_ops, &r);
    io_write(r.a, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    raw_frame(r.a, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
    static char sink[65536];
    for (uint32_t i = 0; i < count && !r.server_closed; i++) {
        one(r.a, i);
        if (i % 50 == 0) {
            turns(&r, 2);
            while (!r.server_closed && io_read(r.a, sink, sizeof(sink)).n)
                ;
        }
    }
    turns(&r, 5);
    enum rc why = r.server_closed ? r.server_why : RC_OK;
    io_close(r.a, RC_OK);
    rig_fini(&r);
    return why;
}

static void ping(struct io *io, uint32_t i)
{
    (void)i;
    raw_frame(io, NGHTTP2_PING, 0, 0, "12345678", 8);
}

static void settings(struct io *io, uint32_t i)
{
    (void)i;
    raw_frame(io, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
}

static void rapid_reset(struct io *io, uint32_t i)
{
    raw_frame(io, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 2 * i + 1, request, sizeof(request));
    raw_frame(io, NGHTTP2_RST_STREAM, 0, 2 * i + 1, "\0\0\0\x8", 4);
}

static void empty_data(struct io *io, uint32_t i)
{
    if (i == 0)
        raw_frame(io, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1, request, sizeof(request));
    raw_frame(io, NGHTTP2_DATA, 0, 1, NULL, 0);
}

static void header_bomb(struct io *io, uint32_t i)
{
    static unsigned char block[16000];
    size_t n = sizeof(request);
    memcpy(block, request, n);
    while (n + 5 < sizeof(block)) { /* literal without indexing: name a, value b, over and over */
        memcpy(block + n, "\0\1a\1b", 5);
        n += 5;
    }
    raw_frame(io, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 2 * i + 1, block, n);
}

static void garbage(struct io *io, uint32_t i)
{
    (void)i;
    io_write(io, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27);
}

START_TEST(floods_end_the_session)
{
    struct h2_opts o = {.server = true};
    ck_assert_rc(flood(ping, 5000, &o), RC_FLOOD);
    ck_assert_rc(flood(settings, 5000, &o), RC_FLOOD);
    ck_assert_rc(flood(rapid_reset, 5000, &o), RC_FLOOD);
    ck_assert_rc(flood(empty_data, 5000, &o), RC_FLOOD);
    ck_assert_rc(flood(header_bomb, 200, &o), RC_FLOOD);
    ck_assert_rc(flood(garbage, 1, &o), RC_PROTO);
    /* what honest peers do */
    ck_assert_rc(flood(ping, 400, &o), RC_OK);
    ck_assert_rc(flood(rapid_reset, 80, &o), RC_OK);
}
END_TEST

/* -- gRPC -- */

struct rpc {
    struct grpc_call *call;
    struct strbuf got;
    size_t messages, max;
    bool done, half_closed;
    enum grpc_status status;
    char text[200];
};

static void rpc_part(void *owner, const void *p, size_t n, size_t at, size_t total)
{
    struct rpc *r = owner;
    strbuf_add(&r->got, p, n);
    if (at + n == total) {
        strbuf_addc(&r->got, '|');
        r->messages++;
    }
}

static void rpc_half_close(void *owner)
{
    struct rpc *r = owner;
    r->half_closed = true;
    grpc_send(r->call, r->got.p, r->got.n);
    grpc_finish(r->call, GRPC_NOT_FOUND, "50% of \"it\"");
    r->call = NULL;
}

static void rpc_done(void *owner, enum grpc_status status, struct str message)
{
    struct rpc *r = owner;
    r->done = true;
    r->status = status;
    snprintf(r->text, sizeof(r->text), "%.*s", STR_ARG(message));
    r->call = NULL;
}

static const struct grpc_ops rpc_ops = {
    .on_part = rpc_part, .on_half_close = rpc_half_close, .on_done = rpc_done};
static const struct grpc_ops rpc_client_ops = {.on_part = rpc_part, .on_done = rpc_done};

static struct rpc server_rpc;

static void on_rpc_request(void *owner, struct h2_stream *s, const struct h2_headers *hs)
{
    (void)owner;
    if (str_eqz(h2_header_get(hs, ":path"), "/no")) {
        grpc_refuse(s, GRPC_UNIMPLEMENTED, "unknown method");
        return;
    }
    server_rpc.call = grpc_accept(s, hs, server_rpc.max, &rpc_ops, &server_rpc);
}

static const struct h2_session_ops rpc_server_ops = {.on_request = on_rpc_request,
                                                     .on_close = server_closed};

static void rpc_rig(struct rig *r, size_t chunk, size_t server_max)
{
    *r = (struct rig){.l = loop_new()};
    io_mem_pair(r->l, &(struct io_mem_opts){.chunk = chunk}, &r->a, &r->b);
    loop_clock_fake(r->l, 1000);
    r->client = h2_session_new(r->l, r->a, &(struct h2_opts){0}, &client_ops, r);
    r->server = h2_session_new(r->l, r->b, &(struct h2_opts){.server = true}, &rpc_server_ops, r);
    server_rpc = (struct rpc){.max = server_max};
    strbuf_init(&server_rpc.got, 10 << 20);
}

static void rpc_exchange(size_t chunk)
{
    struct rig r;
    struct rpc c = {0};
    strbuf_init(&c.got, 10 << 20);
    rpc_rig(&r, chunk, 1000);
    struct grpc_header h[] = {{"authorization", STR("Bearer x")}};
    c.call = grpc_open(r.client, STR("x"), "/p.S/M", h, 1, 1000, &rpc_client_ops, &c);
    grpc_send(c.call, "one", 3);
    grpc_send(c.call, "", 0);
    grpc_send_begin(c.call, 4);
    grpc_send_piece(c.call, "fo", 2);
    grpc_send_piece(c.call, "ur", 2);
    grpc_half_close(c.call);
    turns(&r, 1000);
    ck_assert_str_eq(server_rpc.got.p, "one||four|");
    ck_assert_uint_eq(server_rpc.messages, 3);
    ck_assert(c.done);
    ck_assert_int_eq(c.status, GRPC_NOT_FOUND);
    ck_assert_str_eq(c.text, "50% of \"it\"");
    ck_assert_str_eq(c.got.p, "one||four||");
    rig_fini(&r);
    strbuf_fini(&c.got);
    strbuf_fini(&server_rpc.got);
}

START_TEST(grpc_messages_and_status)
{
    rpc_exchange(0);
    rpc_exchange(1);
}
END_TEST

START_TEST(grpc_refusals_and_limits)
{
    struct rig r;
    struct rpc c = {0};
    rpc_rig(&r, 0, 10);
    c.call = grpc_open(r.client, STR("x"), "/no", NULL, 0, 1000, &rpc_client_ops, &c);
    grpc_send(c.call, "x", 1);
    turns(&r, 20);
    ck_assert(c.done);
    ck_assert_str_eq(c.text, "unknown method");
    ck_assert_int_eq(c.status, GRPC_UNIMPLEMENTED);

    c = (struct rpc){0};
    c.call = grpc_open(r.client, STR("x"), "/big", NULL, 0, 1000, &rpc_client_ops, &c);
    grpc_send(c.call, "0123456789a", 11);
    turns(&r, 20);
    ck_assert(server_rpc.done);
    ck_assert_int_eq(server_rpc.status, GRPC_RESOURCE_EXHAUSTED);
    ck_assert(c.done);
    ck_assert_int_eq(c.status, GRPC_UNAVAILABLE);
    rig_fini(&r);
    strbuf_fini(&server_rpc.got);
}
END_TEST

TEST_MAIN("h2", bytes_arrive_as_sent, bytes_arrive_one_by_one, small_windows_and_odd_chunks,
          a_slow_reader_stops_the_sender_at_the_window, half_close_leaves_the_other_direction_open,
          a_reset_arrives_as_a_reset, a_refused_stream_is_told, a_broken_pipe_ends_every_stream,
          drain_lets_streams_end_and_takes_no_new_ones, silence_is_found_by_ping,
          floods_end_the_session, grpc_messages_and_status, grpc_refusals_and_limits)
