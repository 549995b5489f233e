/* The HTTP client against a server that the test plays byte by byte, on one thread; real servers and TLS are in
 * tests/e2e/test_kube.py. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/http/fetch.h"
#include "lib/net/sock.h"
#include "tests/helper/check.h"

static struct loop *loop;
static struct fetcher *fetcher;
static struct addr at;
static int listener, client;
static char url[100];
static struct strbuf asked, body;
static struct fetch *running;

static struct {
    enum rc rc;
    int status, heads, pieces;
    unsigned ends;
    char error[300], header[60], text[300];
} end;
static enum rc verdict; /* of on_body */
static bool cancel_in_body;

static void start(void)
{
    struct addr any;
    char text[ADDR_TEXT];
    ck_assert_rc(addr_parse_ip(STR("127.0.0.1"), &any), RC_OK);
    ck_assert_rc(sock_listen_tcp(&any, &SOCK_OPTS_DEFAULT, &listener), RC_OK);
    sock_local(listener, &at);
    text[addr_format(&at, text)] = '\0';
    snprintf(url, sizeof(url), "http://%s/path?q=1", text);
    loop = loop_new();
    fetcher = fetcher_new(loop);
    client = -1;
    strbuf_init(&asked, 1 << 20);
    strbuf_init(&body, 1 << 20);
    memset(&end, 0, sizeof(end));
    verdict = RC_OK;
    cancel_in_body = false;
}

static void stop(void)
{
    fetcher_free(fetcher);
    loop_free(loop);
    close(listener);
    if (client >= 0)
        close(client);
    strbuf_fini(&asked);
    strbuf_fini(&body);
}

static void on_head(void *owner, struct fetch *t, int status)
{
    (void)owner, (void)status;
    end.heads++;
    struct str h = fetch_header(t, "x-a");
    snprintf(end.header, sizeof(end.header), "%.*s", STR_ARG(h));
}

static enum rc on_body(void *owner, struct fetch *t, struct str part)
{
    (void)owner;
    end.pieces++;
    ck_assert_uint_le(part.n, FETCH_PIECE);
    strbuf_adds(&body, part);
    if (cancel_in_body)
        fetch_cancel(t);
    return verdict;
}

static void on_done(void *owner, const struct fetch_end *e)
{
    (void)owner;
    end.ends++;
    end.rc = e->rc;
    end.status = e->status;
    snprintf(end.error, sizeof(end.error), "%s", e->error);
    snprintf(end.text, sizeof(end.text), "%.*s", STR_ARG(e->body));
    running = NULL;
}

static const struct fetch_ops collected = {.on_head = on_head, .on_done = on_done};
static const struct fetch_ops in_pieces = {
    .on_head = on_head, .on_body = on_body, .on_done = on_done};

static void begin(struct fetch_request r, const struct fetch_ops *ops)
{
    if (!r.url)
        r.url = url;
    if (!r.method)
        r.method = "GET";
    if (!r.max_bytes)
        r.max_bytes = 1000;
    if (!r.total_ms)
        r.total_ms = 20000;
    running = fetch_start(fetcher, &r, ops, NULL);
    ck_assert_uint_eq(end.ends, 0);
}

/* Turns until it holds or 10 s are over; the server accepts and reads in between. */
static void turn_until(bool (*fn)(void))
{
    for (int64_t until = clock_mono_ms() + 10000; !fn();) {
        char part[4096];
        ck_assert_msg(clock_mono_ms() < until, "nothing happened; asked: %s", asked.p);
        loop_turn(loop, 10);
        if (client < 0)
            client = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        ssize_t n = client < 0 ? -1 : read(client, part, sizeof(part));
        if (n > 0)
            strbuf_add(&asked, part, (size_t)n);
    }
}

static bool was_asked(void)
{
    return asked.p && strstr(asked.p, "\r\n\r\n");
}

static bool has_ended(void)
{
    return end.ends > 0;
}

static void answer(const char *text)
{
    ck_assert_int_eq(write(client, text, strlen(text)), (ssize_t)strlen(text));
}

static void hang_up(void)
{
    close(client);
    client = -1;
}

START_TEST(an_answer)
{
    static const char *const headers[] = {"x-mine: yes"};
    begin(
        (struct fetch_request){
            .method = "POST", .headers = headers, .n_headers = 1, .body = STR("{\"a\":1}")},
        &collected);
    turn_until(was_asked);
    ck_assert_ptr_nonnull(strstr(asked.p, "POST /path?q=1 HTTP/1.1\r\n"));
    ck_assert_ptr_nonnull(strstr(asked.p, "x-mine: yes\r\n"));
    ck_assert_ptr_null(strstr(asked.p, "Expect:"));
    answer(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Nothing\r\nX-A: 1\r\nx-a: 2\r\ncontent-length: "
        "5\r\n\r\nhello");
    turn_until(has_ended);
    ck_assert_rc(end.rc, RC_OK);
    ck_assert_int_eq(end.status, 404);
    ck_assert_str_eq(end.text, "hello");
    ck_assert_str_eq(end.header, "2");
    ck_assert_int_eq(end.heads, 1);
    ck_assert_str_eq(end.error, "");
}
END_TEST

START_TEST(connections_are_used_again)
{
    for (int i = 0; i < 3; i++) {
        memset(&end, 0, sizeof(end));
        strbuf_reset(&asked);
        begin((struct fetch_request){0}, &collected);
        turn_until(was_asked);
        int first = client;
        answer("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        turn_until(has_ended);
        ck_assert_rc(end.rc, RC_OK);
        ck_assert_int_eq(end.heads, 1);
        ck_assert_int_eq(client, first);
    }
    ck_assert_int_lt(accept4(listener, NULL, NULL, SOCK_NONBLOCK), 0);
}
END_TEST

START_TEST(pieces_of_a_stream)
{
    begin((struct fetch_request){0}, &in_pieces);
    turn_until(was_asked);
    answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1388\r\n");
    for (int i = 0; i < 500; i++)
        answer("0123456789");
    answer("\r\n0\r\n\r\n");
    turn_until(has_ended);
    ck_assert_rc(end.rc, RC_OK);
    ck_assert_uint_eq(body.n, 5000);
    ck_assert_int_ge(end.pieces, 3);
}
END_TEST

START_TEST(who_takes_the_pieces_may_end_it)
{
    verdict = RC_DENIED;
    begin((struct fetch_request){0}, &in_pieces);
    turn_until(was_asked);
    answer("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc");
    turn_until(has_ended);
    ck_assert_rc(end.rc, RC_DENIED);
    ck_assert_int_eq(end.pieces, 1);
}
END_TEST

static bool has_piece(void)
{
    return end.pieces > 0;
}

START_TEST(cancelled_ones_are_silent)
{
    cancel_in_body = true;
    begin((struct fetch_request){0}, &in_pieces);
    turn_until(was_asked);
    answer("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabc");
    turn_until(has_piece);
    answer("def");
    for (int i = 0; i < 5; i++)
        loop_turn(loop, 5);
    ck_assert_uint_eq(end.ends, 0);
    ck_assert_int_eq(end.pieces, 1);
    begin((struct fetch_request){0},
          &collected); /* before it began, and the fetcher goes with one */
    fetch_cancel(running);
    begin((struct fetch_request){0}, &collected);
    loop_turn(loop, 5);
    fetcher_free(fetcher);
    fetcher = NULL;
    loop_turn(loop, 0);
    ck_assert_uint_eq(end.ends, 0);
}
END_TEST

START_TEST(answers_that_are_too_large)
{
    begin((struct fetch_request){.max_bytes = 4}, &collected);
    turn_until(was_asked);
    answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    turn_until(has_ended);
    ck_assert_rc(end.rc, RC_LIMIT);
    ck_assert_ptr_nonnull(strstr(end.error, "the answer is larger than 4 bytes"));
    ck_assert_ptr_null(strstr(end.error, "q=1"));
}
END_TEST

START_TEST(answers_that_break_off)
{
    static const char *const bad[] = {
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel", "HTTP/1.1 200 OK\r\ncont",
        "SMTP ready\r\n", ""};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        memset(&end, 0, sizeof(end));
        strbuf_reset(&asked);
        begin((struct fetch_request){0}, &collected);
        turn_until(was_asked);
        answer(bad[i]);
        hang_up();
        turn_until(has_ended);
        ck_assert_msg(end.rc == RC_RESET || end.rc == RC_INVALID || end.rc == RC_IO, "%s: %s",
                      bad[i], rc_name(end.rc));
        ck_assert_str_ne(end.error, "");
    }
}
END_TEST

START_TEST(servers_that_are_not_there)
{
    begin((struct fetch_request){.total_ms = 300}, &collected);
    turn_until(was_asked);
    turn_until(has_ended);
    ck_assert_rc(end.rc, RC_TIMEOUT);
    memset(&end, 0, sizeof(end));
    begin((struct fetch_request){.url = "http://127.0.0.1:1/"}, &collected);
    turn_until(has_ended);
    ck_assert_rc(end.rc, RC_REFUSED);
    ck_assert_ptr_nonnull(strstr(end.error, "http://127.0.0.1:1: "));
    memset(&end, 0, sizeof(end));
    begin((struct fetch_request){.url = "https://127.0.0.1:1/"}, &collected);
    turn_until(has_ended);
    ck_assert_rc(end.rc, RC_INVALID); /* without anybody to trust */
    memset(&end, 0, sizeof(end));
    begin((struct fetch_request){.url = "file:///etc/passwd"}, &collected);
    turn_until(has_ended);
    ck_assert_rc(end.rc, RC_INVALID);
}
END_TEST

START_TEST(redirects_are_answers)
{
    begin((struct fetch_request){0}, &collected);
    turn_until(was_asked);
    answer("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n");
    turn_until(has_ended);
    ck_assert_rc(end.rc, RC_OK);
    ck_assert_int_eq(end.status, 302);
}
END_TEST

TEST_MAIN_FIXTURE("fetch", start, stop, an_answer, connections_are_used_again, pieces_of_a_stream,
                  who_takes_the_pieces_may_end_it, cancelled_ones_are_silent,
                  answers_that_are_too_large, answers_that_break_off, servers_that_are_not_there,
                  redirects_are_answers)
