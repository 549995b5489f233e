/* Real sockets on loopback, and in a namespace of the test's own. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/net/io_tcp.h"
#include "lib/net/netns.h"
#include "lib/net/sock.h"
#include "tests/helper/check.h"

static struct addr at(const char *s)
{
    struct addr a;
    ck_assert_rc(addr_parse_port(str_of(s), &a), RC_OK);
    return a;
}

static int accept_one(int fd, struct addr *peer)
{
    int got;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    ck_assert_int_eq(poll(&p, 1, 5000), 1);
    ck_assert_rc(sock_accept(fd, &got, peer), RC_OK);
    return got;
}

static void connected_pair(int netns, int *ret_a, int *ret_b)
{
    struct sock_opts o = SOCK_OPTS_DEFAULT;
    struct addr any = at("127.0.0.1:0"), to, peer;
    int l;
    bool connecting;
    o.netns = netns;
    ck_assert_rc(sock_listen_tcp(&any, &o, &l), RC_OK);
    sock_local(l, &to);
    ck_assert_rc(sock_connect_tcp(&to, NULL, &o, ret_a, &connecting), RC_OK);
    *ret_b = accept_one(l, &peer);
    close(l);
}

START_TEST(a_dual_listener_tells_plain_ipv4_peers)
{
    struct sock_opts o = SOCK_OPTS_DEFAULT;
    struct addr any = {0}, to, peer, local;
    int l, c, s;
    bool connecting;
    ck_assert_rc(sock_listen_tcp(&any, &o, &l), RC_OK);
    sock_local(l, &to);
    struct addr v4 = at("127.0.0.1:1");
    v4.port = to.port;
    struct addr from = at("127.0.0.9:1");
    ck_assert_rc(sock_connect_tcp(&v4, &from, &o, &c, &connecting), RC_OK);
    s = accept_one(l, &peer);
    ck_assert_int_eq(peer.family, AF_INET);
    ck_assert(addr_eq_ip(&peer, &from));
    sock_original_dst(s, &local);
    ck_assert(addr_eq(&local, &v4));
    close(l), close(c), close(s);
}
END_TEST

START_TEST(namespaces_are_apart)
{
    int ns, here, a, b;
    struct netns_id one, two;
    ck_assert_rc(netns_init(), RC_OK);
    ck_assert_rc(netns_new(&ns), RC_OK);
    ck_assert_rc(netns_self(&here), RC_OK);
    ck_assert_rc(netns_id(ns, &one), RC_OK);
    ck_assert_rc(netns_id(here, &two), RC_OK);
    ck_assert(one.ino != two.ino);
    connected_pair(ns, &a, &b); /* loopback is up */
    struct addr to;
    sock_local(b, &to);
    struct sock_opts o = SOCK_OPTS_DEFAULT;
    int fd;
    bool connecting;
    enum rc rc = sock_connect_tcp(&to, NULL, &o, &fd, &connecting); /* not reachable from here */
    ck_assert(rc == RC_REFUSED || connecting);
    if (rc == RC_OK) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        int err = 0;
        socklen_t len = sizeof(err);
        poll(&p, 1, 5000);
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len);
        ck_assert_int_eq(err, ECONNREFUSED);
        close(fd);
    }
    close(a), close(b), close(ns), close(here);
    int not_ns;
    ck_assert_rc(netns_open("/proc/self/ns/uts", &not_ns), RC_INVALID);
    ck_assert_rc(netns_open("/nowhere", &not_ns), RC_NOT_FOUND);
}
END_TEST

/* -- io_tcp -- */

struct seen {
    unsigned edges;
    int calls;
};

static void on_ready(void *owner, unsigned ready)
{
    struct seen *s = owner;
    s->edges |= ready;
    s->calls++;
}

static void wait_for(struct loop *l, struct seen *s, unsigned edge)
{
    for (int i = 0; i < 100 && !(s->edges & edge); i++)
        loop_turn(l, 100);
    ck_assert(s->edges & edge);
    s->edges = 0;
}

START_TEST(bytes_and_a_fin_that_came_together_are_both_seen)
{
    struct loop *l = loop_new();
    struct io_tcp t;
    struct seen s = {0};
    char buf[100];
    int a, b;
    connected_pair(-1, &a, &b);
    ck_assert_rc(io_tcp_open(&t, l, a, false), RC_OK);
    t.io.on_ready = on_ready;
    t.io.owner = &s;
    loop_turn(l, 0);
    ck_assert_rc(io_read(&t.io, buf, sizeof(buf)).rc, RC_AGAIN);
    ck_assert_int_eq(send(b, "hello", 5, 0), 5);
    shutdown(b, SHUT_WR);
    s.edges = 0;
    wait_for(l, &s, IO_READ);
    struct io_result r = io_read(&t.io, buf, sizeof(buf));
    ck_assert_rc(r.rc, RC_OK);
    ck_assert_uint_eq(r.n, 5);
    ck_assert_rc(io_read(&t.io, buf, sizeof(buf)).rc, RC_EOF);
    io_close(&t.io, RC_EOF);
    ck_assert_int_eq(recv(b, buf, 1, 0), 0); /* an orderly end */
    close(b);
    loop_free(l);
}
END_TEST

START_TEST(bytes_and_a_reset_that_came_together_are_both_seen)
{
    struct loop *l = loop_new();
    struct io_tcp t;
    struct seen s = {0};
    char buf[100];
    int a, b;
    connected_pair(-1, &a, &b);
    ck_assert_rc(io_tcp_open(&t, l, a, false), RC_OK);
    t.io.on_ready = on_ready;
    t.io.owner = &s;
    loop_turn(l, 0);
    ck_assert_rc(io_read(&t.io, buf, sizeof(buf)).rc, RC_AGAIN);
    ck_assert_int_eq(send(b, "hello", 5, 0), 5);
    sock_reset_on_close(b);
    close(b);
    s.edges = 0;
    wait_for(l, &s, IO_READ);
    struct io_result r;
    do
        r = io_read(&t.io, buf, sizeof(buf));
    while (r.rc == RC_OK);
    ck_assert_rc(r.rc, RC_RESET);
    io_close(&t.io, RC_RESET);
    loop_free(l);
}
END_TEST

START_TEST(a_failure_closes_by_reset)
{
    struct loop *l = loop_new();
    struct io_tcp t;
    char buf[1];
    int a, b;
    connected_pair(-1, &a, &b);
    ck_assert_rc(io_tcp_open(&t, l, a, false), RC_OK);
    io_close(&t.io, RC_DENIED);
    struct pollfd p = {.fd = b, .events = POLLIN};
    ck_assert_int_eq(poll(&p, 1, 5000), 1);
    ck_assert_int_eq(recv(b, buf, 1, 0), -1);
    ck_assert_int_eq(errno, ECONNRESET);
    close(b);
    loop_free(l);
}
END_TEST

START_TEST(a_refused_connect_shows_in_the_first_operation)
{
    struct loop *l = loop_new();
    struct sock_opts o = SOCK_OPTS_DEFAULT;
    struct addr any = at("127.0.0.1:0"), to;
    int lfd, fd;
    bool connecting;
    ck_assert_rc(sock_listen_tcp(&any, &o, &lfd), RC_OK);
    sock_local(lfd, &to);
    close(lfd); /* the port is free now: nobody listens */
    enum rc rc = sock_connect_tcp(&to, NULL, &o, &fd, &connecting);
    if (rc == RC_OK) {
        struct seen s = {0};
        struct io *io = io_tcp_new(l, fd, connecting);
        io->on_ready = on_ready;
        io->owner = &s;
        wait_for(l, &s, IO_WRITE);
        ck_assert_rc(io_write(io, "x", 1).rc, RC_REFUSED);
        io_close(io, RC_REFUSED);
    } else {
        ck_assert_rc(rc, RC_REFUSED);
    }
    loop_free(l);
}
END_TEST

START_TEST(a_stale_unix_socket_is_replaced)
{
    char dir[] = "/tmp/test-sock-XXXXXX", path[64];
    int a, b, c;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/s", dir);
    ck_assert_rc(sock_connect_unix(path, SOCK_SEQPACKET, &c), RC_NOT_FOUND);
    ck_assert_rc(sock_listen_unix(path, SOCK_SEQPACKET, 0600, &a), RC_OK);
    close(a);
    ck_assert_rc(sock_connect_unix(path, SOCK_SEQPACKET, &c), RC_REFUSED);
    ck_assert_rc(sock_listen_unix(path, SOCK_SEQPACKET, 0600, &b), RC_OK);
    ck_assert_rc(sock_connect_unix(path, SOCK_SEQPACKET, &c), RC_OK);
    close(b), close(c);
    unlink(path);
    ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

TEST_MAIN("sock", a_dual_listener_tells_plain_ipv4_peers, namespaces_are_apart,
          bytes_and_a_fin_that_came_together_are_both_seen,
          bytes_and_a_reset_that_came_together_are_both_seen, a_failure_closes_by_reset,
          a_refused_connect_shows_in_the_first_operation, a_stale_unix_socket_is_replaced)
