/* Sessions over pipes in memory. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/mtls/mtls.h"
#include "tests/helper/check.h"
#include "tests/helper/io_mem.h"
#include "tests/helper/pki.h"

#define ID_A "spiffe://td/ns/a/sa/a"

struct side {
    struct io *io;
    size_t sent, got;
    bool wrong, ready;
    enum rc end;
};

static void on_ready(void *owner, unsigned ready)
{
    (void)ready;
    ((struct side *)owner)->ready = true;
}

static unsigned char pattern(size_t i)
{
    return (unsigned char)(i * 131 + (i >> 9));
}

static void pump_write(struct side *s, size_t total, size_t piece)
{
    static char buf[300000];
    while (s->sent < total) {
        size_t n = MIN(MIN(piece, total - s->sent), sizeof(buf));
        for (size_t i = 0; i < n; i++)
            buf[i] = (char)pattern(s->sent + i);
        struct io_result r = io_write(s->io, buf, n);
        if (r.rc != RC_OK)
            return;
        s->sent += r.n;
    }
}

static void pump_read(struct side *s, size_t cap)
{
    static unsigned char buf[300000];
    while (s->end == RC_OK) {
        struct io_result r = io_read(s->io, buf, MIN(cap, sizeof(buf)));
        if (r.rc != RC_OK) {
            s->end = r.rc == RC_AGAIN ? RC_OK : r.rc;
            return;
        }
        for (size_t i = 0; i < r.n; i++)
            s->wrong |= buf[i] != pattern(s->got + i);
        s->got += r.n;
    }
}

struct rig {
    struct loop *l;
    struct io *a, *b;
    struct side client, server;
    struct mtls_ctx *cctx, *sctx;
    struct pki_ca ca;
    struct identity *ida, *idb;
};

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

static void rig_init(struct rig *r, size_t chunk, const char *server_is, const char *client_wants)
{
    memset(r, 0, sizeof(*r));
    r->l = loop_new();
    loop_clock_fake(r->l, 1000);
    pki_ca_init(&r->ca, "root");
    r->cctx = ctx(&r->ca, ID_A);
    r->sctx = ctx(&r->ca, server_is);
    ck_assert_rc(identity_parse(str_of(client_wants), &r->idb), RC_OK);
    io_mem_pair(r->l, &(struct io_mem_opts){.chunk = chunk, .capacity = 100000}, &r->a, &r->b);
    struct mtls_opts co = {.check = {.any_of = &r->idb, .n_any_of = 1}};
    struct mtls_opts so = {.server = true, .check = {.trust_domain = STR("td")}};
    r->client.io = mtls_start(r->l, r->cctx, r->a, &co);
    r->server.io = mtls_start(r->l, r->sctx, r->b, &so);
    r->client.io->on_ready = r->server.io->on_ready = on_ready;
    r->client.io->owner = &r->client;
    r->server.io->owner = &r->server;
}

static void rig_fini(struct rig *r)
{
    if (r->client.io)
        io_close(r->client.io, RC_OK);
    if (r->server.io)
        io_close(r->server.io, RC_OK);
    mtls_ctx_unref(r->cctx);
    mtls_ctx_unref(r->sctx);
    identity_unref(r->idb);
    pki_ca_fini(&r->ca);
    loop_free(r->l);
}

static void turns(struct rig *r, int n)
{
    while (n--)
        loop_turn(r->l, 0);
}

static void transfer(size_t chunk, size_t total, size_t piece, size_t cap)
{
    struct rig r;
    rig_init(&r, chunk, "spiffe://td/ns/b/sa/b", "spiffe://td/ns/b/sa/b");
    for (int i = 0; i < 1000000 && (r.client.got < total || r.server.got < total); i++) {
        turns(&r, 1);
        pump_write(&r.client, total, piece);
        pump_write(&r.server, total, piece);
        pump_read(&r.server, cap);
        pump_read(&r.client, cap);
    }
    turns(&r, 2);
    ck_assert(r.client.ready && r.server.ready);
    ck_assert(mtls_ready(r.client.io) && mtls_ready(r.server.io));
    ck_assert(str_eqz(mtls_peer(r.server.io)->uri, ID_A));
    ck_assert(str_eqz(mtls_peer(r.client.io)->uri, "spiffe://td/ns/b/sa/b"));
    ck_assert_uint_eq(r.client.got, total);
    ck_assert_uint_eq(r.server.got, total);
    ck_assert(!r.client.wrong && !r.server.wrong);
    ck_assert_rc(io_shut_write(r.client.io), RC_OK);
    for (int i = 0; i < 1000 && r.server.end == RC_OK; i++) {
        turns(&r, 1);
        pump_read(&r.server, cap);
    }
    ck_assert_rc(r.server.end, RC_EOF);
    rig_fini(&r);
}

START_TEST(bytes_arrive_as_sent)
{
    transfer(0, 3000000, 300000, 300000);
    transfer(0, 100000, 1, 100);
    transfer(1013, 500000, 70000, 3);
}
END_TEST

START_TEST(bytes_arrive_one_by_one)
{
    transfer(1, 20000, 5000, 100);
}
END_TEST

START_TEST(another_identity_is_refused)
{
    struct rig r;
    rig_init(&r, 0, "spiffe://td/ns/evil/sa/b", "spiffe://td/ns/b/sa/b");
    turns(&r, 20);
    ck_assert(!mtls_ready(r.client.io));
    char c;
    ck_assert_rc(io_read(r.client.io, &c, 1).rc, RC_IDENTITY);
    ck_assert_rc(io_write(r.client.io, "x", 1).rc, RC_IDENTITY);
    ck_assert(strstr(mtls_error(r.client.io), "spiffe://td/ns/evil/sa/b"));
    rig_fini(&r);
}
END_TEST

START_TEST(silence_and_a_cut_are_told_apart)
{
    struct rig r;
    char c;
    rig_init(&r, 0, "spiffe://td/ns/b/sa/b", "spiffe://td/ns/b/sa/b");
    turns(&r, 20);
    ck_assert(mtls_ready(r.client.io) && mtls_ready(r.server.io));
    io_shut_write(r.a); /* FIN without close_notify: an attacker can do that */
    turns(&r, 5);
    ck_assert_rc(io_read(r.server.io, &c, 1).rc, RC_RESET);
    rig_fini(&r);

    struct loop *l = loop_new();
    struct io *a, *b;
    struct pki_ca ca;
    loop_clock_fake(l, 1000);
    pki_ca_init(&ca, "root");
    struct mtls_ctx *x = ctx(&ca, ID_A);
    io_mem_pair(l, NULL, &a, &b);
    struct side s = {
        .io = mtls_start(l, x, a, &(struct mtls_opts){.server = true, .handshake_ms = 500})};
    s.io->on_ready = on_ready;
    s.io->owner = &s;
    loop_turn(l, 0);
    loop_clock_advance(l, 499);
    loop_turn(l, 0);
    ck_assert(!s.ready);
    loop_clock_advance(l, 2);
    loop_turn(l, 0);
    loop_turn(l, 0);
    ck_assert(s.ready);
    ck_assert_rc(io_read(s.io, &c, 1).rc, RC_TIMEOUT);
    io_close(s.io, RC_OK);
    io_close(b, RC_OK);
    mtls_ctx_unref(x);
    pki_ca_fini(&ca);
    loop_free(l);
}
END_TEST

START_TEST(garbage_ends_the_handshake)
{
    struct loop *l = loop_new();
    struct io *a, *b;
    struct pki_ca ca;
    char c;
    pki_ca_init(&ca, "root");
    struct mtls_ctx *x = ctx(&ca, ID_A);
    io_mem_pair(l, NULL, &a, &b);
    struct io *s = mtls_start(l, x, a, &(struct mtls_opts){.server = true});
    io_write(b, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27);
    for (int i = 0; i < 5; i++)
        loop_turn(l, 0);
    ck_assert_rc(io_read(s, &c, 1).rc, RC_TLS);
    ck_assert_str_ne(mtls_error(s), "");
    io_close(s, RC_TLS);
    io_close(b, RC_OK);
    mtls_ctx_unref(x);
    pki_ca_fini(&ca);
    loop_free(l);
}
END_TEST

TEST_MAIN("mtls", bytes_arrive_as_sent, bytes_arrive_one_by_one, another_identity_is_refused,
          silence_and_a_cut_are_told_apart, garbage_ends_the_handshake)
