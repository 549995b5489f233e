#include "lib/base/mem.h"
#include "lib/http/h1_request.h"
#include "tests/helper/check.h"

#define H "Host: a\r\n"

static struct h1_request req;
static size_t len;

static enum rc parse(const char *text)
{
    return h1_request_parse(str_of(text), &req, &len);
}

START_TEST(a_request)
{
    const char *text = "POST /a%20b?x=1&y=2?z HTTP/1.1\r\nHost: h:1\r\nACCEPT:\t text/plain \r\n"
                       "Content-Length: 3\r\n\r\nabcGET";
    ck_assert_rc(parse(text), RC_OK);
    ck_assert(str_eqz(req.method, "POST"));
    ck_assert(str_eqz(req.path, "/a%20b"));
    ck_assert(str_eqz(req.query, "x=1&y=2?z"));
    ck_assert(str_eqz(h1_request_header(&req, "accept"), "text/plain"));
    ck_assert_uint_eq(h1_request_header(&req, "absent").n, 0);
    ck_assert_uint_eq(req.body_len, 3);
    ck_assert(req.keep_alive);
    ck_assert_str_eq(text + len, "abcGET");
    /* every shorter piece wants more */
    for (size_t n = 0; n < len; n++)
        ck_assert_rc(h1_request_parse((struct str){text, n}, &req, &len), RC_AGAIN);
}
END_TEST

START_TEST(what_the_server_acts_on)
{
    ck_assert_rc(parse("GET / HTTP/1.0\r\n\r\n"), RC_OK);
    ck_assert(!req.keep_alive);
    ck_assert_rc(parse("GET / HTTP/1.1\r\n" H "Connection: x, Close\r\n\r\n"), RC_OK);
    ck_assert(!req.keep_alive);
    ck_assert_rc(parse("GET / HTTP/1.1\r\n" H "Expect: 100-continue\r\n\r\n"), RC_OK);
    ck_assert(req.expects);
}
END_TEST

START_TEST(refusals)
{
    static const struct {
        const char *text;
        enum rc rc;
    } cases[] = {
        {"GET / HTTP/1.1\r\n\r\n", RC_INVALID},          /* no Host */
        {"GET / HTTP/1.1\r\n" H H "\r\n", RC_INVALID},   /* two */
        {"GET / HTTP/1.1\nHost: a\n\n", RC_INVALID},     /* bare LF */
        {"GET / HTTP/1.1\rHost: a\r\n\r\n", RC_INVALID}, /* bare CR */
        {"GET / HTTP/1.1\r\n" H " folded\r\n\r\n", RC_INVALID},
        {"GET / HTTP/1.1\r\nHost : a\r\n\r\n", RC_INVALID},
        {"GET / HTTP/1.1\r\n: a\r\n" H "\r\n", RC_INVALID},
        {"GET / HTTP/1.1\r\nno colon\r\n" H "\r\n", RC_INVALID},
        {"GET / HTTP/1.1\r\n" H "X: a\x01\r\n\r\n", RC_INVALID},
        {"GET / HTTP/1.1\r\n" H "Content-Length: +1\r\n\r\n", RC_INVALID},
        {"GET / HTTP/1.1\r\n" H "Content-Length: 1, 1\r\n\r\n", RC_INVALID},
        {"GET / HTTP/1.1\r\n" H "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", RC_INVALID},
        {"GET / HTTP/1.1\r\n" H "Content-Length: 99999999999999999999\r\n\r\n", RC_INVALID},
        {"GET / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n", RC_UNSUPPORTED},
        {"GET / HTTP/2.0\r\n\r\n", RC_UNSUPPORTED},
        {"GET / HTTP/1.1 \r\n\r\n", RC_INVALID},
        {"GET / http/1.1\r\n\r\n", RC_INVALID},
        {"GET  / HTTP/1.1\r\n\r\n", RC_INVALID},
        {"GET /\x7f HTTP/1.1\r\n\r\n", RC_INVALID},
        {"GET /#x HTTP/1.1\r\n\r\n", RC_INVALID},
        {"GET http://a/ HTTP/1.1\r\n\r\n", RC_INVALID},
        {"G(T / HTTP/1.1\r\n\r\n", RC_INVALID},
        {" / HTTP/1.1\r\n\r\n", RC_INVALID},
        {"GET\r\n\r\n", RC_INVALID},
        {"\r\n", RC_INVALID},
        {"\n", RC_INVALID},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        ck_assert_msg(parse(cases[i].text) == cases[i].rc, "case %zu: %s", i, cases[i].text);
}
END_TEST

START_TEST(a_nul_byte_is_no_character)
{
    ck_assert_rc(h1_request_parse(STR("GET /\0 HTTP/1.1\r\n" H "\r\n"), &req, &len), RC_INVALID);
    ck_assert_rc(h1_request_parse(STR("GET / HTTP/1.1\r\nHost: \0\r\n\r\n"), &req, &len),
                 RC_INVALID);
    ck_assert_rc(h1_request_parse(STR("G\0T / HTTP/1.1\r\n" H "\r\n"), &req, &len), RC_INVALID);
}
END_TEST

START_TEST(headers_are_limited)
{
    struct strbuf b AUTO_STRBUF;
    strbuf_init(&b, 10000);
    strbuf_addz(&b, "GET / HTTP/1.1\r\n" H);
    for (int i = 1; i < H1_HEADERS_MAX; i++)
        strbuf_printf(&b, "x%d: y\r\n", i);
    size_t n = b.n;
    strbuf_addz(&b, "\r\n");
    ck_assert_rc(parse(b.p), RC_OK);
    ck_assert_uint_eq(req.headers_n, H1_HEADERS_MAX);
    b.n = n;
    strbuf_addz(&b, "more: y\r\n\r\n");
    ck_assert_rc(parse(b.p), RC_LIMIT);
}
END_TEST

TEST_MAIN("h1_request", a_request, what_the_server_acts_on, refusals, a_nul_byte_is_no_character,
          headers_are_limited)
