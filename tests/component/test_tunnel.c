/* Application - relay - pool - mTLS - relay - application, on real sockets of the loopback device. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/hash.h"
#include "lib/base/mem.h"
#include "lib/hbone/hbone.h"
#include "lib/net/netns.h"
#include "lib/net/sock.h"
#include "proxy/core/pool.h"
#include "proxy/core/relay.h"
#include "tests/helper/check.h"
#include "tests/helper/pki.h"

#define ID_A "spiffe://td/ns/a/sa/a"
#define ID_B "spiffe://td/ns/b/sa/b"

struct rig;

/* One relayed connection, on either side. */
struct conn {
    struct relay relay;
    struct rig *rig;
    struct loop_task free;
};

/* The tunnel's receiving end: its listener, and the applications behind it. */
struct rig {
    struct loop *l;
    pthread_t thread;
    struct pki_ca ca;
    struct mtls_ctx *cctx, *sctx;
    struct identity *idb;
    struct pool *pool;
    int in_fd, hbone_fd,
        app_fd; /* listeners: client application side, tunnel, server application */
    struct loop_fd in_watch, hbone_watch;
    struct addr in, hbone, app;
    int conns, refused, status;
    enum rc last;
    atomic_bool stop;
    atomic_int live;
};

static void conn_free(void *owner)
{
    struct conn *c = owner;
    atomic_fetch_sub(&c->rig->live, 1);
    free(c);
}

static struct conn *conn_new(struct rig *r)
{
    struct conn *c = mem_new(struct conn);
    c->rig = r;
    loop_task_init(&c->free, conn_free, c);
    atomic_fetch_add(&r->live, 1);
    return c;
}

static void on_done(void *owner, enum rc why)
{
    struct conn *c = owner;
    c->rig->last = why;
    loop_defer(c->rig->l, &c->free, LOOP_FREE);
}

/* -- receiving end -- */

static void server_connected(void *owner, unsigned ready)
{
    (void)ready;
    struct conn *c = owner;
    relay_app_opened(&c->relay);
    relay_answered(&c->relay);
}

static const struct relay_ops server_ops = {.on_done = on_done};

static void on_request(void *owner, struct h2_stream *s, const struct h2_headers *hs)
{
    struct rig *r = owner;
    struct hbone_request req;
    if (r->status != 200 || hbone_request_parse(hs, &req) != RC_OK) {
        h2_stream_respond(s, &(struct h2_header){STR(":status"), STR("401")}, 1, true);
        return;
    }
    struct conn *c = conn_new(r);
    struct sock_opts so = SOCK_OPTS_DEFAULT;
    int fd;
    bool connecting;
    ck_assert_rc(sock_connect_tcp(&r->app, NULL, &so, &fd, &connecting), RC_OK);
    ck_assert_rc(io_tcp_open(&c->relay.app, r->l, fd, connecting), RC_OK);
    relay_init(&c->relay, &server_ops, c);
    c->relay.stream = s;
    h2_stream_accept(s, &relay_stream_ops, &c->relay);
    h2_stream_respond(s, &(struct h2_header){STR(":status"), STR("200")}, 1, false);
    c->relay.app.io.on_ready = server_connected;
    c->relay.app.io.owner = c;
}

static void session_closed(void *owner, enum rc why)
{
    (void)owner, (void)why;
}

static const struct h2_session_ops server_session = {.on_request = on_request,
                                                     .on_close = session_closed};

static void on_hbone(void *owner, unsigned ready)
{
    (void)ready;
    struct rig *r = owner;
    int fd;
    struct addr peer;
    while (sock_accept(r->hbone_fd, &fd, &peer) == RC_OK) {
        struct mtls_opts o = {.server = true, .check = {.trust_domain = STR("td")}};
        struct io *tls = mtls_start(r->l, r->sctx, io_tcp_new(r->l, fd, false), &o);
        h2_session_new(r->l, tls, &(struct h2_opts){.server = true, .connect_only = true},
                       &server_session, r);
    }
}

/* -- sending end -- */

static enum rc client_headers(void *owner, const struct h2_headers *hs)
{
    (void)owner;
    return h2_status(hs) == 200 ? RC_OK : RC_DENIED;
}

static const struct relay_ops client_ops = {.on_headers = client_headers, .on_done = on_done};

static void on_in(void *owner, unsigned ready)
{
    (void)ready;
    struct rig *r = owner;
    int fd;
    struct addr peer;
    while (sock_accept(r->in_fd, &fd, &peer) == RC_OK) {
        struct conn *c = conn_new(r);
        enum rc rc;
        ck_assert_rc(io_tcp_open(&c->relay.app, r->l, fd, false), RC_OK);
        relay_init(&c->relay, &client_ops, c);
        struct pool_key key = {r->hbone, &r->idb, 1};
        struct h2_header h[] = {{STR(":method"), STR("CONNECT")},
                                {STR(":authority"), STR("10.0.0.1:80")}};
        c->relay.stream = pool_open(r->pool, &key, h, 2, &relay_stream_ops, &c->relay, &rc);
        if (!c->relay.stream) {
            relay_close(&c->relay, rc);
            continue;
        }
        relay_app_opened(&c->relay);
    }
}

static void *rig_main(void *arg)
{
    struct rig *r = arg;
    while (!atomic_load(&r->stop))
        loop_turn(r->l, 20);
    return NULL;
}

static struct mtls_ctx *ctx(struct pki_ca *ca, const char *id)
{
    char san[100];
    struct mtls_ctx *c;
    snprintf(san, sizeof(san), "URI:%s", id);
    struct cert *cert = pki_workload(ca, san);
    ck_assert_rc(mtls_ctx_new(MTLS_MESH, cert, ca->trust, &c, NULL), RC_OK);
    cert_unref(cert);
    return c;
}

static int listen_on(struct addr *ret)
{
    int fd;
    struct sock_opts so = SOCK_OPTS_DEFAULT;
    struct addr any;
    ck_assert_rc(addr_parse_port(STR("127.0.0.1:0"), &any), RC_OK);
    ck_assert_rc(sock_listen_tcp(&any, &so, &fd), RC_OK);
    sock_local(fd, ret);
    return fd;
}

static void rig_start(struct rig *r, const char *server_is)
{
    memset(r, 0, sizeof(*r));
    ck_assert_rc(netns_init(), RC_OK);
    r->l = loop_new();
    r->status = 200;
    pki_ca_init(&r->ca, "root");
    r->cctx = ctx(&r->ca, ID_A);
    r->sctx = ctx(&r->ca, server_is);
    ck_assert_rc(identity_parse(STR(ID_B), &r->idb), RC_OK);
    r->in_fd = listen_on(&r->in);
    r->hbone_fd = listen_on(&r->hbone);
    r->app_fd = listen_on(&r->app);
    fcntl(r->app_fd, F_SETFL, 0); /* the test blocks on it */
    struct pool_opts po = {.netns = -1, .max_streams = 100, .idle_ms = 300000, .connect_ms = 10000};
    r->pool = pool_new(r->l, &po);
    pool_use_ctx(r->pool, r->cctx);
    ck_assert_rc(loop_fd_open(&r->in_watch, r->l, r->in_fd, LOOP_READ | LOOP_LEVEL, on_in, r),
                 RC_OK);
    ck_assert_rc(
        loop_fd_open(&r->hbone_watch, r->l, r->hbone_fd, LOOP_READ | LOOP_LEVEL, on_hbone, r),
        RC_OK);
    ck_assert_int_eq(pthread_create(&r->thread, NULL, rig_main, r), 0);
}

static void rig_stop(struct rig *r)
{
    for (int i = 0; i < 500 && atomic_load(&r->live); i++)
        poll(NULL, 0, 10); /* connections end by themselves: wait for that with a deadline */
    ck_assert_int_eq(atomic_load(&r->live), 0);
    atomic_store(&r->stop, true);
    pthread_join(r->thread, NULL);
    ck_assert_uint_le(pool_tunnels(r->pool), 30);
    pool_free(r->pool, RC_DRAIN);
    for (int i = 0; i < 20; i++)
        loop_turn(r->l, 1);
    loop_fd_close(&r->in_watch);
    loop_fd_close(&r->hbone_watch);
    close(r->in_fd), close(r->hbone_fd), close(r->app_fd);
    mtls_ctx_unref(r->cctx);
    mtls_ctx_unref(r->sctx);
    identity_unref(r->idb);
    pki_ca_fini(&r->ca);
    loop_free(r->l);
}

/* -- applications: blocking sockets with deadlines -- */

static int dial(struct rig *r)
{
    struct sockaddr_storage ss;
    socklen_t len = addr_to_sockaddr(&r->in, &ss);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval tv = {20, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&ss, len), 0);
    return fd;
}

static int answer(struct rig *r)
{
    int fd = accept(r->app_fd, NULL, NULL);
    struct timeval tv = {20, 0};
    ck_assert_int_ge(fd, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
    return fd;
}

static unsigned char pattern(unsigned seed, size_t i)
{
    return (unsigned char)(seed * 7 + i * 131 + (i >> 10));
}

struct stream_job {
    int fd;
    unsigned seed;
    size_t n;
    bool ok, shut;
};

static void *send_job(void *arg)
{
    struct stream_job *j = arg;
    static _Thread_local unsigned char buf[100000];
    for (size_t at = 0; at < j->n;) {
        size_t n = MIN(sizeof(buf), j->n - at);
        for (size_t i = 0; i < n; i++)
            buf[i] = pattern(j->seed, at + i);
        ssize_t w = send(j->fd, buf, n, MSG_NOSIGNAL);
        if (w <= 0)
            return NULL;
        at += (size_t)w;
    }
    if (j->shut)
        shutdown(j->fd, SHUT_WR);
    j->ok = true;
    return NULL;
}

/* Reads to the end; ok when the bytes were exactly the pattern's first n. */
static void *recv_job(void *arg)
{
    struct stream_job *j = arg;
    static _Thread_local unsigned char buf[100000];
    size_t at = 0;
    for (;;) {
        ssize_t n = recv(j->fd, buf, sizeof(buf), 0);
        if (n < 0)
            return NULL;
        if (n == 0)
            break;
        for (ssize_t i = 0; i < n; i++)
            if (buf[i] != pattern(j->seed, at + (size_t)i))
                return NULL;
        at += (size_t)n;
    }
    j->ok = at == j->n;
    return NULL;
}

static void both_ways(struct rig *r, size_t n)
{
    int a = dial(r), b = answer(r);
    struct stream_job j[4] = {{a, 1, n, false, true},
                              {b, 1, n, false, false},
                              {b, 2, n, false, true},
                              {a, 2, n, false, false}};
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, i % 2 ? recv_job : send_job, &j[i]);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    for (int i = 0; i < 4; i++)
        ck_assert_msg(j[i].ok, "job %d of %zu bytes", i, n);
    close(a), close(b);
}

START_TEST(bytes_arrive_both_ways)
{
    struct rig r;
    rig_start(&r, ID_B);
    both_ways(&r, 0);
    both_ways(&r, 1);
    both_ways(&r, 100);
    both_ways(&r, 70000);
    both_ways(&r, 30000000);
    rig_stop(&r);
}
END_TEST

START_TEST(half_close_stays_half_open)
{
    struct rig r;
    char buf[10];
    rig_start(&r, ID_B);
    int a = dial(&r), b = answer(&r);
    shutdown(a, SHUT_WR);
    ck_assert_int_eq(recv(b, buf, sizeof(buf), 0), 0);
    for (int i = 0; i < 5; i++) { /* the other direction goes on */
        ck_assert_int_eq(send(b, "x", 1, MSG_NOSIGNAL), 1);
        ck_assert_int_eq(recv(a, buf, sizeof(buf), 0), 1);
    }
    close(b);
    ck_assert_int_eq(recv(a, buf, sizeof(buf), 0), 0);
    close(a);

    a = dial(&r), b = answer(&r); /* and from the other side */
    shutdown(b, SHUT_WR);
    ck_assert_int_eq(recv(a, buf, sizeof(buf), 0), 0);
    ck_assert_int_eq(send(a, "x", 1, MSG_NOSIGNAL), 1);
    ck_assert_int_eq(recv(b, buf, sizeof(buf), 0), 1);
    close(a);
    ck_assert_int_eq(recv(b, buf, sizeof(buf), 0), 0);
    close(b);
    rig_stop(&r);
}
END_TEST

START_TEST(a_reset_arrives_as_a_reset)
{
    struct rig r;
    char buf[10];
    rig_start(&r, ID_B);
    for (int i = 0; i < 2; i++) {
        int a = dial(&r), b = answer(&r);
        int from = i ? b : a, to = i ? a : b;
        ck_assert_int_eq(send(from, "hello", 5, 0), 5);
        ck_assert_int_eq(recv(to, buf, sizeof(buf), 0), 5);
        sock_reset_on_close(from);
        close(from);
        ck_assert_int_eq(recv(to, buf, sizeof(buf), 0), -1);
        ck_assert_int_eq(errno, ECONNRESET);
        close(to);
    }
    rig_stop(&r);
}
END_TEST

START_TEST(a_reader_that_stalls_stops_the_sender)
{
    struct rig r;
    static char buf[100000];
    rig_start(&r, ID_B);
    int a = dial(&r), b = answer(&r);
    fcntl(a, F_SETFL, O_NONBLOCK);
    size_t sent = 0;
    struct pollfd p = {.fd = a, .events = POLLOUT};
    while (poll(&p, 1, 500) == 1) { /* until nothing moves for half a second */
        ssize_t n = send(a, buf, sizeof(buf), MSG_NOSIGNAL);
        if (n > 0)
            sent += (size_t)n;
        ck_assert_uint_lt(sent, 200u << 20);
    }
    shutdown(a, SHUT_WR);
    size_t got = 0;
    for (ssize_t n; (n = recv(b, buf, sizeof(buf), 0)) > 0;)
        got += (size_t)n;
    ck_assert_uint_eq(got, sent);
    close(a), close(b);
    rig_stop(&r);
}
END_TEST

START_TEST(a_refusal_resets_the_application)
{
    struct rig r;
    char buf[10];
    rig_start(&r, ID_B);
    r.status = 401;
    int a = dial(&r);
    ck_assert_int_eq(recv(a, buf, sizeof(buf), 0), -1);
    ck_assert_int_eq(errno, ECONNRESET);
    close(a);
    rig_stop(&r);
    ck_assert_rc(r.last, RC_DENIED);

    rig_start(&r, "spiffe://td/ns/evil/sa/evil"); /* not whom we asked for */
    a = dial(&r);
    ck_assert_int_eq(recv(a, buf, sizeof(buf), 0), -1);
    close(a);
    rig_stop(&r);
    ck_assert_rc(r.last, RC_IDENTITY);
}
END_TEST

START_TEST(many_connections_keep_their_bytes_apart)
{
    struct rig r;
    enum { N = 250 };
    static int a[N], b[N];
    unsigned got, tag;
    rig_start(&r, ID_B);
    for (unsigned i = 0; i < N; i++) {
        a[i] = dial(&r);
        ck_assert_int_eq(send(a[i], &i, sizeof(i), 0), sizeof(i));
    }
    for (unsigned i = 0; i < N; i++) {
        int fd = answer(&r);
        ck_assert_int_eq(recv(fd, &tag, sizeof(tag), MSG_WAITALL), sizeof(tag));
        ck_assert_uint_lt(tag, N);
        b[tag] = fd;
    }
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < N; i++) {
            unsigned v = round * 1000 + i;
            ck_assert_int_eq(send(round % 2 ? a[i] : b[i], &v, sizeof(v), 0), sizeof(v));
        }
        for (unsigned i = 0; i < N; i++) {
            ck_assert_int_eq(recv(round % 2 ? b[i] : a[i], &got, sizeof(got), MSG_WAITALL),
                             sizeof(got));
            ck_assert_uint_eq(got, round * 1000 + i);
        }
    }
    for (unsigned i = 0; i < N; i++)
        close(a[i]), close(b[i]);
    rig_stop(&r);
}
END_TEST

TEST_MAIN("tunnel", bytes_arrive_both_ways, half_close_stays_half_open, a_reset_arrives_as_a_reset,
          a_reader_that_stalls_stops_the_sender, a_refusal_resets_the_application,
          many_connections_keep_their_bytes_apart)
