/* The bytes of ZDS, as Istio's ztunnel and node agent write them. */
#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/zds/zds.h"
#include "tests/helper/check.h"

#define BYTES(lit) ((struct str){(lit), sizeof(lit) - 1})

static const struct {
    struct str bytes;
    struct zds_request r;
} requests[] = {
    {BYTES("\x0a\x0e\x0a\x01u\x12\x09\x0a\x01n\x12\x01s\x1a\x01"
           "a"),
     {ZDS_ADD, STR("u"), STR("n"), STR("s"), STR("a"), true}},
    {BYTES("\x12\x03\x12\x01u"), {.kind = ZDS_DEL, .uid = STR("u")}},
    {BYTES("\x2a\x03\x0a\x01u"), {.kind = ZDS_KEEP, .uid = STR("u")}},
    {BYTES("\x1a\x00"), {.kind = ZDS_SNAPSHOT_SENT}},
};

START_TEST(requests_are_istios)
{
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        struct strbuf b AUTO_STRBUF;
        struct zds_request r;
        const struct zds_request *want = &requests[i].r;
        strbuf_init(&b, 1000);
        ck_assert_rc(zds_request_format(want, &b), RC_OK);
        ck_assert(str_eq(strbuf_str(&b), requests[i].bytes));
        ck_assert_rc(zds_request_parse(requests[i].bytes, &r), RC_OK);
        ck_assert_int_eq(r.kind, want->kind);
        ck_assert(str_eq(r.uid, want->uid) && str_eq(r.name, want->name));
        ck_assert(str_eq(r.ns, want->ns) && str_eq(r.sa, want->sa));
        ck_assert(r.has_info == want->has_info);
    }
}
END_TEST

START_TEST(an_add_without_info_is_seen)
{
    struct zds_request r;
    ck_assert_rc(zds_request_parse(BYTES("\x0a\x03\x0a\x01u"), &r), RC_OK);
    ck_assert(!r.has_info);
}
END_TEST

START_TEST(requests_that_are_not_understood)
{
    static const struct str bad[] = {
        BYTES(""),                      /* a packet of nothing is the end */
        BYTES("\x0a"),                  /* cut */
        BYTES("\x0a\x05\x0a\x01u"),     /* longer than the packet */
        BYTES("\x22\x00"),              /* field 4: reserved */
        BYTES("\x08\x01"),              /* a hello */
        BYTES("\x12\x00"),              /* a uid of nothing */
        BYTES("\x12\x03\x0a\x01u"),     /* the uid of a removal is field 2 */
        BYTES("\x12\x03\x12\x01\xff"),  /* not UTF-8 */
        BYTES("\x12\x04\x12\x02u\x00"), /* NUL */
        BYTES("\x1a\x00\x1a\x00"),      /* two at once */
        BYTES("\x0a\x08\x0a\x01u\x12\x03\x0a\x01\xfe"),
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct zds_request r;
        ck_assert_msg(zds_request_parse(bad[i], &r) == RC_INVALID, "row %zu", i);
    }
}
END_TEST

START_TEST(a_request_has_to_fit_into_a_packet)
{
    char name[1100];
    memset(name, 'n', sizeof(name));
    struct strbuf b AUTO_STRBUF;
    strbuf_init(&b, 4096);
    struct zds_request r = {.kind = ZDS_ADD, .uid = STR("u"), .name = {name, sizeof(name)}};
    ck_assert_rc(zds_request_format(&r, &b), RC_LIMIT);
    ck_assert_uint_eq(b.n, 0);
    r.name.n = 900;
    ck_assert_rc(zds_request_format(&r, &b), RC_OK);
    ck_assert_uint_le(b.n, ZDS_PACKET_MAX);
}
END_TEST

START_TEST(hello_and_answers)
{
    struct strbuf b AUTO_STRBUF;
    uint32_t version;
    struct str error;
    strbuf_init(&b, 2000);
    zds_hello_format(&b);
    ck_assert(str_eq(strbuf_str(&b), BYTES("\x08\x01")));
    ck_assert_rc(zds_hello_parse(strbuf_str(&b), &version), RC_OK);
    ck_assert_uint_eq(version, ZDS_VERSION);
    ck_assert_rc(zds_hello_parse(BYTES("\x08"), &version), RC_INVALID);
    strbuf_reset(&b);
    zds_ack_format(STR(""), &b); /* never of no bytes */
    ck_assert(str_eq(strbuf_str(&b), BYTES("\x0a\x00")));
    ck_assert_rc(zds_ack_parse(strbuf_str(&b), &error), RC_OK);
    ck_assert_uint_eq(error.n, 0);
    strbuf_reset(&b);
    zds_ack_format(STR("no"), &b);
    ck_assert_rc(zds_ack_parse(strbuf_str(&b), &error), RC_OK);
    ck_assert(str_eqz(error, "no"));
    ck_assert_rc(zds_ack_parse(BYTES(""), &error), RC_INVALID);
    ck_assert_rc(zds_ack_parse(BYTES("\x12\x00"), &error), RC_INVALID);
    ck_assert_rc(zds_ack_parse(BYTES("\x0a\x02\x0a\x05"), &error), RC_INVALID);
}
END_TEST

START_TEST(a_long_error_is_cut_between_characters)
{
    char *text AUTO_FREE = mem_alloc(3000);
    for (size_t i = 0; i < 3000; i += 3)
        memcpy(text + i, "\xe2\x82\xac", 3);
    struct strbuf b AUTO_STRBUF;
    struct str error;
    strbuf_init(&b, 4096);
    zds_ack_format((struct str){text, 2999}, &b);
    ck_assert_uint_le(b.n, ZDS_PACKET_MAX);
    ck_assert_rc(zds_ack_parse(strbuf_str(&b), &error), RC_OK);
    ck_assert_uint_eq(error.n, 900);
}
END_TEST

TEST_MAIN("zds_msg", requests_are_istios, an_add_without_info_is_seen,
          requests_that_are_not_understood, a_request_has_to_fit_into_a_packet, hello_and_answers,
          a_long_error_is_cut_between_characters)
