#include "lib/codec/pb.h"
#include "tests/helper/check.h"

static struct strbuf b;

static void setup(void)
{
    strbuf_init(&b, 1000);
}

static void teardown(void)
{
    strbuf_fini(&b);
}

START_TEST(written_and_read_back)
{
    static const uint64_t values[] = {1, 127, 128, 300, UINT32_MAX, UINT64_MAX};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        strbuf_reset(&b);
        pb_put_u64(&b, 3, values[i]);
        ck_assert_uint_eq(b.n, 1 + pb_varint_len(values[i]));
        struct str rest = strbuf_str(&b);
        struct pb_field f;
        ck_assert_rc(pb_next(&rest, &f), RC_OK);
        ck_assert_uint_eq(f.number, 3);
        ck_assert_uint_eq(f.wire, 0);
        ck_assert_uint_eq(f.value, values[i]);
        ck_assert_rc(pb_next(&rest, &f), RC_EOF);
    }
    strbuf_reset(&b);
    pb_put_u64(&b, 1, 0);
    pb_put_str(&b, 2, STR(""));
    ck_assert_uint_eq(b.n, 0); /* proto3 leaves defaults out */
    pb_put_bytes(&b, 4, STR(""));
    pb_put_str(&b, 536870911, STR("abc"));
    struct str rest = strbuf_str(&b);
    struct pb_field f;
    ck_assert_rc(pb_next(&rest, &f), RC_OK);
    ck_assert_uint_eq(f.number, 4);
    ck_assert_uint_eq(f.bytes.n, 0);
    ck_assert_rc(pb_next(&rest, &f), RC_OK);
    ck_assert_uint_eq(f.number, 536870911);
    ck_assert(str_eqz(f.bytes, "abc"));
}
END_TEST

START_TEST(fixed_fields)
{
    struct str rest = STR("\x0d\x04\x03\x02\x01\x11\x08\x07\x06\x05\x04\x03\x02\x01");
    struct pb_field f;
    ck_assert_rc(pb_next(&rest, &f), RC_OK);
    ck_assert_uint_eq(f.wire, 5);
    ck_assert_uint_eq(f.value, 0x01020304);
    ck_assert_rc(pb_next(&rest, &f), RC_OK);
    ck_assert_uint_eq(f.wire, 1);
    ck_assert_uint_eq(f.number, 2);
    ck_assert_uint_eq(f.value, 0x0102030405060708);
}
END_TEST

START_TEST(malformed)
{
    static const struct str bad[] = {
        {"\x80", 1},                                              /* key cut short */
        {"\x00\x01", 2},                                          /* field 0 */
        {"\x08", 1},                                              /* no value */
        {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11},     /* 65 bits */
        {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12}, /* 11 bytes */
        {"\x0a\x02x", 3},                                         /* one byte missing */
        {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11},     /* a huge length */
        {"\x0d\x01\x02\x03", 4},                                  /* fixed32 of 3 bytes */
        {"\x09\x01\x02\x03\x04\x05\x06\x07", 8},                  /* fixed64 of 7 bytes */
        {"\x0b\x0c", 2},                                          /* a group */
        {"\x0e\x01", 2},
        {"\x0f\x01", 2},
        {"\x80\x80\x80\x80\x10\x01", 6}, /* field 2^29 */
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct str rest = bad[i];
        struct pb_field f = {.number = 77};
        ck_assert_msg(pb_next(&rest, &f) == RC_INVALID, "case %zu", i);
        ck_assert_ptr_eq(rest.p, bad[i].p);
        ck_assert_uint_eq(f.number, 77);
    }
}
END_TEST

TEST_MAIN_FIXTURE("pb_wire", setup, teardown, written_and_read_back, fixed_fields, malformed)
