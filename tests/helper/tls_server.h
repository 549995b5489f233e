/* A TLS and HTTP/2 server on loopback, for tests of gRPC services and their clients. */
#pragma once

#include <unistd.h>

#include <check.h>

#include "lib/base/list.h"
#include "lib/http/h2_session.h"
#include "lib/mtls/mtls.h"
#include "lib/net/io_tcp.h"
#include "lib/net/sock.h"

struct tls_server {
    struct loop *loop;
    struct mtls_ctx *(*ctx)(void *owner); /* asked for each connection */
    void (*on_request)(void *owner, struct h2_stream *s, const struct h2_headers *hs);
    void *owner;
    bool mute; /* accept TCP, say nothing */
    int fd;
    struct loop_fd watch;
    uint16_t port;
    unsigned accepted;
    struct list sessions, held; /* held: mute connections */
};

struct tls_server_session {
    struct list node;
    struct tls_server *server;
    struct h2_session *h2;
    struct io *tcp;
};

static inline void tls_server_request(void *owner, struct h2_stream *s, const struct h2_headers *hs)
{
    struct tls_server_session *x = owner;
    x->server->on_request(x->server->owner, s, hs);
}

static inline void tls_server_closed(void *owner, enum rc why)
{
    (void)why;
    struct tls_server_session *x = owner;
    list_del(&x->node);
    mem_free(x);
}

static inline void tls_server_accept(void *owner, unsigned ready)
{
    static const struct h2_session_ops ops = {.on_request = tls_server_request,
                                              .on_close = tls_server_closed};
    (void)ready;
    struct tls_server *t = owner;
    struct addr peer;
    int fd;
    while (sock_accept(t->fd, &fd, &peer) == RC_OK) {
        t->accepted++;
        struct tls_server_session *x = mem_new(struct tls_server_session);
        x->server = t;
        x->tcp = io_tcp_new(t->loop, fd, false);
        if (t->mute) {
            list_push_back(&t->held, &x->node);
            continue;
        }
        list_push_back(&t->sessions, &x->node);
        struct mtls_opts o = {.server = true};
        struct h2_opts ho = {.server = true};
        x->h2 = h2_session_new(t->loop, mtls_start(t->loop, t->ctx(t->owner), x->tcp, &o), &ho,
                               &ops, x);
    }
}

/* port 0: any. Fill in ctx, on_request and owner before. */
static inline void tls_server_start(struct tls_server *t, struct loop *l, uint16_t port)
{
    struct addr at;
    struct sock_opts o = SOCK_OPTS_DEFAULT;
    t->loop = l;
    list_init(&t->sessions);
    list_init(&t->held);
    ck_assert_int_eq(addr_parse_ip(STR("127.0.0.1"), &at), RC_OK);
    at.port = port;
    ck_assert_int_eq(sock_listen_tcp(&at, &o, &t->fd), RC_OK);
    sock_local(t->fd, &at);
    t->port = at.port;
    ck_assert_int_eq(
        loop_fd_open(&t->watch, l, t->fd, LOOP_READ | LOOP_LEVEL, tls_server_accept, t), RC_OK);
}

static inline void tls_server_stop(struct tls_server *t)
{
    struct tls_server_session *x, *next;
    loop_fd_close(&t->watch);
    close(t->fd);
    LIST_FOREACH_SAFE (x, next, &t->sessions, node)
        h2_session_close(x->h2, RC_CLOSED);
    LIST_FOREACH_SAFE (x, next, &t->held, node) {
        io_close(x->tcp, RC_CLOSED);
        list_del(&x->node);
        mem_free(x);
    }
    loop_turn(t->loop, 0);
}

/* Turns until *flag, at most 10 s. */
static inline bool loop_until(struct loop *l, const bool *flag)
{
    struct timespec end, now;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += 10;
    do {
        if (*flag)
            return true;
        loop_turn(l, 50);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec < end.tv_sec);
    return *flag;
}
