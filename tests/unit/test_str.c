#include "lib/base/str.h"
#include "tests/helper/check.h"

START_TEST(numbers)
{
    uint64_t v = 7;
    ck_assert(str_to_u64(STR("18446744073709551615"), UINT64_MAX, &v));
    ck_assert_uint_eq(v, UINT64_MAX);
    ck_assert(!str_to_u64(STR("18446744073709551616"), UINT64_MAX, &v));
    ck_assert(!str_to_u64(STR(""), 10, &v));
    ck_assert(!str_to_u64(STR("+1"), 10, &v));
    ck_assert(!str_to_u64(STR("11"), 10, &v));
    ck_assert_uint_eq(v, UINT64_MAX); /* untouched on failure */
}
END_TEST

START_TEST(utf8)
{
    ck_assert(str_is_utf8(STR("h\xc3\xa9")));
    ck_assert(!str_is_utf8(STR("\xc0\xaf")));         /* overlong */
    ck_assert(!str_is_utf8(STR("\xed\xa0\x80")));     /* surrogate */
    ck_assert(!str_is_utf8(STR("\xf4\x90\x80\x80"))); /* over U+10FFFF */
    ck_assert(!str_is_utf8(STR("\xe2\x82")));         /* cut short */
}
END_TEST

START_TEST(split_and_trim)
{
    struct str rest, head = str_split(STR("a=b=c"), '=', &rest);
    ck_assert(str_eqz(head, "a"));
    ck_assert(str_eqz(rest, "b=c"));
    head = str_split(rest, ';', &rest);
    ck_assert(str_eqz(head, "b=c"));
    ck_assert_uint_eq(rest.n, 0);
    ck_assert(str_eqz(str_trim(STR(" \tx y\r\n")), "x y"));
}
END_TEST

START_TEST(nearest_word)
{
    static const char *const words[] = {"controller", "ztunnel", "cni", "demo"};
    ck_assert_str_eq(str_nearest(STR("ztunel"), words, 4), "ztunnel");
    ck_assert_str_eq(str_nearest(STR("Controler"), words, 4), "controller");
    ck_assert_ptr_null(str_nearest(STR("xyzxyzxyz"), words, 4));
}
END_TEST

START_TEST(buffer_stops_at_its_maximum)
{
    struct strbuf b;
    strbuf_init(&b, 5);
    strbuf_addz(&b, "abc");
    ck_assert(!b.truncated);
    strbuf_addz(&b, "defg");
    ck_assert(b.truncated);
    ck_assert_str_eq(b.p, "abcde");
    strbuf_fini(&b);
}
END_TEST

START_TEST(json_escapes)
{
    struct strbuf b;
    strbuf_init(&b, 1000);
    strbuf_add_json(&b, STR("a\"\\\n\x01\xff\xc3\xa9"));
    ck_assert_str_eq(b.p, "a\\\"\\\\\\u000a\\u0001\\ufffd\xc3\xa9");
    strbuf_fini(&b);
}
END_TEST

TEST_MAIN("str", numbers, utf8, split_and_trim, nearest_word, buffer_stops_at_its_maximum,
          json_escapes)
