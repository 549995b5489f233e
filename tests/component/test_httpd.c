/* The small server on a real listener, one thread: clients are sockets that the test reads between
 * turns of the loop. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/http/httpd.h"
#include "lib/net/sock.h"
#include "tests/helper/check.h"

static struct loop *loop;
static struct httpd *httpd;
static struct addr at;
static unsigned served;

static void on_echo(void *owner, const struct httpd_request *req, struct httpd_response *resp)
{
    (void)owner;
    served++;
    strbuf_printf(&resp->body, "%.*s path=%.*s query=%.*s body=%.*s", STR_ARG(req->method),
                  STR_ARG(req->path), STR_ARG(req->query), STR_ARG(req->body));
}

static void on_large(void *owner, const struct httpd_request *req, struct httpd_response *resp)
{
    (void)owner, (void)req;
    resp->content_type = "text/x-large";
    for (int i = 0; i < 8 << 20; i++)
        strbuf_addc(&resp->body, 'x');
}

static void start(void)
{
    int fd;
    struct addr any;
    ck_assert_rc(addr_parse_ip(STR("127.0.0.1"), &any), RC_OK);
    ck_assert_rc(sock_listen_tcp(&any, &SOCK_OPTS_DEFAULT, &fd), RC_OK);
    sock_local(fd, &at);
    loop = loop_new();
    httpd = httpd_new(loop, fd);
    ck_assert_ptr_nonnull(httpd);
    httpd_handle(httpd, "/echo", "GET", on_echo, NULL);
    httpd_handle(httpd, "/post", "POST", on_echo, NULL);
    httpd_handle(httpd, "/tree/", "GET,POST", on_echo, NULL);
    httpd_handle(httpd, "/tree/large", "GET", on_large, NULL);
    served = 0;
}

static void stop(void)
{
    httpd_free(httpd);
    loop_free(loop);
}

static int client(void)
{
    int fd;
    bool connecting;
    ck_assert_rc(sock_connect_tcp(&at, NULL, &SOCK_OPTS_DEFAULT, &fd, &connecting), RC_OK);
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    ck_assert_int_eq(poll(&p, 1, 5000), 1);
    return fd;
}

static void say(int fd, const char *text)
{
    ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Turns until the text so far contains want (NULL: until the server ends the connection). */
static struct strbuf hear(int fd, const char *want)
{
    struct strbuf b;
    strbuf_init(&b, 32 << 20);
    int64_t until = clock_mono_ms() + 10000;
    for (;;) {
        static char buf[65536];
        ssize_t n = recv(fd, buf, sizeof(buf), 0);
        if (n > 0)
            strbuf_add(&b, buf, (size_t)n);
        if (want && b.n && strstr(b.p, want))
            return b;
        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            ck_assert_msg(!want, "ended after: %s", b.p ? b.p : "nothing");
            return b;
        }
        ck_assert_msg(clock_mono_ms() < until, "no answer; so far: %s", b.p ? b.p : "nothing");
        if (n < 0)
            loop_turn(loop, 5);
    }
}

static void expect(const char *request, const char *want)
{
    int fd = client();
    say(fd, request);
    struct strbuf b AUTO_STRBUF = hear(fd, want);
    close(fd);
}

START_TEST(routes)
{
    start();
    expect("GET /echo?a=1 HTTP/1.1\r\nHost: x\r\n\r\n", "GET path=/echo query=a=1 body=");
    expect("GET /ec%68o HTTP/1.1\r\nHost: x\r\n\r\n", "GET path=/echo query= body=");
    expect("GET /tree/a/b HTTP/1.1\r\nHost: x\r\n\r\n", "GET path=/tree/a/b");
    expect("POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
           "POST path=/post query= body=hello");
    expect("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 Not Found\r\n");
    expect("GET /tree HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 Not Found\r\n");
    expect("GET /post HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 405 Method Not Allowed\r\n");
    expect("GET /post HTTP/1.1\r\nHost: x\r\n\r\n", "allow: POST\r\n");
    stop();
}
END_TEST

START_TEST(head_has_no_body)
{
    start();
    int fd = client();
    say(fd, "HEAD /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    struct strbuf b AUTO_STRBUF = hear(fd, NULL);
    ck_assert_ptr_nonnull(strstr(b.p, "HTTP/1.1 200 OK\r\n"));
    ck_assert_ptr_nonnull(strstr(b.p, "content-length: 28\r\n"));
    ck_assert_str_eq(strstr(b.p, "\r\n\r\n"), "\r\n\r\n");
    close(fd);
    stop();
}
END_TEST

START_TEST(one_connection_serves_many_requests)
{
    start();
    int fd = client();
    for (int i = 0; i < 3; i++) {
        say(fd, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
        struct strbuf b AUTO_STRBUF = hear(fd, "body=");
    }
    /* and pipelined, more of them than one turn serves, the last one ends it */
    struct strbuf many AUTO_STRBUF;
    strbuf_init(&many, 100000);
    for (int i = 0; i < 100; i++)
        strbuf_addz(&many, "POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nb");
    strbuf_addz(&many, "GET /echo HTTP/1.0\r\n\r\n");
    say(fd, many.p);
    struct strbuf b AUTO_STRBUF = hear(fd, NULL);
    ck_assert_uint_eq(served, 104);
    ck_assert_ptr_nonnull(strstr(b.p, "connection: close\r\n"));
    close(fd);
    stop();
}
END_TEST

START_TEST(bytes_one_by_one_and_half_closed)
{
    start();
    int fd = client();
    for (const char *c = "POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"; *c; c++) {
        ck_assert_int_eq(send(fd, c, 1, 0), 1);
        loop_turn(loop, 0);
    }
    shutdown(fd, SHUT_WR);
    struct strbuf b AUTO_STRBUF = hear(fd, NULL);
    ck_assert_ptr_nonnull(strstr(b.p, "body=hi"));
    close(fd);
    stop();
}
END_TEST

START_TEST(large_answers_wait_for_the_client)
{
    start();
    int fd = client();
    say(fd, "GET /tree/large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    struct strbuf b AUTO_STRBUF = hear(fd, NULL);
    ck_assert_ptr_nonnull(strstr(b.p, "content-type: text/x-large\r\n"));
    const char *body = strstr(b.p, "\r\n\r\n") + 4;
    ck_assert_uint_eq(strspn(body, "x"), 8 << 20);
    ck_assert_uint_eq(strlen(body), 8 << 20);
    close(fd);
    stop();
}
END_TEST

START_TEST(bad_requests)
{
    start();
    static const struct {
        const char *request, *status;
    } cases[] = {
        {"GET / HTTP/1.1\n\n", "400"},
        {"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
        {"GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
        {"GET /% HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400"},
        {"GET / HTTP/3.0\r\n\r\n", "505"},
        {"POST /post HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "501"},
        {"POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n", "413"},
        {"POST /post HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n", "417"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int fd = client();
        say(fd, cases[i].request);
        struct strbuf b AUTO_STRBUF = hear(fd, NULL); /* each ends the connection */
        ck_assert_msg(strncmp(b.p + 9, cases[i].status, 3) == 0, "case %zu: %s", i, b.p);
        close(fd);
    }
    struct strbuf big AUTO_STRBUF;
    strbuf_init(&big, 20000);
    strbuf_addz(&big, "GET / HTTP/1.1\r\nHost: x\r\nX: ");
    while (big.n < 9000)
        strbuf_addc(&big, 'x');
    int fd = client();
    say(fd, big.p);
    struct strbuf b AUTO_STRBUF = hear(fd, NULL);
    ck_assert_int_eq(strncmp(b.p, "HTTP/1.1 431 ", 13), 0);
    close(fd);
    ck_assert_uint_eq(served, 0);
    stop();
}
END_TEST

START_TEST(silent_clients_are_closed)
{
    start();
    loop_clock_fake(loop, 1000);
    int quiet = client(), half = client(), idle = client();
    say(half, "GET /ec");
    say(idle, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    struct strbuf answer AUTO_STRBUF = hear(idle, "body=");
    loop_clock_advance(loop, 2001);
    struct strbuf a AUTO_STRBUF = hear(quiet, NULL), b AUTO_STRBUF = hear(half, NULL);
    ck_assert_uint_eq(a.n + b.n, 0);
    say(idle, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"); /* it may wait longer */
    struct strbuf c AUTO_STRBUF = hear(idle, "body=");
    loop_clock_advance(loop, 90001);
    struct strbuf d AUTO_STRBUF = hear(idle, NULL);
    ck_assert_uint_eq(d.n, 0);
    close(quiet), close(half), close(idle);
    stop();
}
END_TEST

START_TEST(idle_ones_make_room)
{
    start();
    int fd[64];
    for (int i = 0; i < 64; i++) {
        fd[i] = client();
        say(fd[i], "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
        struct strbuf b AUTO_STRBUF = hear(fd[i], "body=");
    }
    expect("GET /echo HTTP/1.1\r\nHost: x\r\n\r\n", "body=");
    struct strbuf first AUTO_STRBUF = hear(fd[0], NULL); /* the longest idle had to go */
    say(fd[1], "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    struct strbuf second AUTO_STRBUF = hear(fd[1], "body=");
    for (int i = 0; i < 64; i++)
        close(fd[i]);
    stop();
}
END_TEST

START_TEST(query)
{
    struct strbuf b AUTO_STRBUF;
    strbuf_init(&b, 100);
    struct str q = STR("level=xds%3Ddebug&reset=&bare&plus=a+b&bad=%0");
    ck_assert(httpd_query(q, "level", &b));
    ck_assert_str_eq(b.p, "xds=debug");
    strbuf_reset(&b);
    ck_assert(httpd_query(q, "reset", &b));
    ck_assert(httpd_query(q, "bare", &b));
    ck_assert_uint_eq(b.n, 0);
    ck_assert(httpd_query(q, "plus", &b));
    ck_assert_str_eq(b.p, "a b");
    ck_assert(!httpd_query(q, "bad", &b));
    ck_assert(!httpd_query(q, "leve", &b));
    ck_assert(!httpd_query(STR(""), "x", &b));
}
END_TEST

TEST_MAIN("httpd", routes, head_has_no_body, one_connection_serves_many_requests,
          bytes_one_by_one_and_half_closed, large_answers_wait_for_the_client, bad_requests,
          silent_clients_are_closed, idle_ones_make_room, query)
