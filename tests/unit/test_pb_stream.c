#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/codec/pb_stream.h"
#include "tests/helper/check.h"

static struct strbuf seen, message;
static enum rc verdict;

static enum rc on_field(void *owner, const struct pb_field *f)
{
    ck_assert_ptr_eq(owner, &seen);
    if (f->wire == 2)
        strbuf_printf(&seen, "%u=%.*s ", f->number, STR_ARG(f->bytes));
    else
        strbuf_printf(&seen, "%u:%llu ", f->number, (unsigned long long)f->value);
    return verdict;
}

static void setup(void)
{
    strbuf_init(&seen, 1 << 20);
    strbuf_init(&message, 1 << 20);
    verdict = RC_OK;
    pb_put_str(&message, 1, STR("hello"));
    pb_put_u64(&message, 2, 300);
    strbuf_add(&message, "\x19\1\0\0\0\0\0\0\0", 9); /* 3: fixed64 */
    strbuf_add(&message, "\x25\2\0\0\0", 5);         /* 4: fixed32 */
    pb_put_bytes(&message, 5, STR(""));
    pb_put_u64(&message, 536870911, UINT64_MAX);
    pb_put_str(&message, 6,
               STR("a text of more than one hundred and twenty-seven bytes, so that its "
                   "length takes two bytes; so that its length takes two bytes."));
}

static void teardown(void)
{
    strbuf_fini(&seen);
    strbuf_fini(&message);
}

static const char fields[] =
    "1=hello 2:300 3:1 4:2 5= 536870911:18446744073709551615 6=a text of more than one hundred and "
    "twenty-seven bytes, so that its length takes two bytes; so that its length takes two bytes. ";

/* In parts of this many bytes. */
static enum rc feed(struct pb_stream *s, struct str bytes, size_t part)
{
    enum rc rc = RC_OK;
    while (bytes.n && rc == RC_OK) {
        /* on the heap, so that a read beyond the part is seen */
        char *copy AUTO_FREE = mem_dup(bytes.p, MIN(part, bytes.n));
        size_t n = MIN(part, bytes.n);
        rc = pb_stream_feed(s, (struct str){copy, n});
        bytes.p += n, bytes.n -= n;
    }
    return rc;
}

START_TEST(parts_of_every_size_give_the_same_fields)
{
    struct pb_stream s;
    pb_stream_init(&s, 1000, on_field, &seen);
    for (size_t part = 1; part <= message.n; part++) {
        strbuf_reset(&seen);
        ck_assert_rc(feed(&s, strbuf_str(&message), part), RC_OK);
        ck_assert_rc(pb_stream_end(&s), RC_OK);
        ck_assert_str_eq(seen.p, fields);
    }
    pb_stream_fini(&s);
}
END_TEST

START_TEST(a_cut_message_is_told_and_forgotten)
{
    struct pb_stream s;
    pb_stream_init(&s, 1000, on_field, &seen);
    ck_assert_rc(pb_stream_end(&s), RC_OK); /* an empty message */
    for (size_t n = 1; n < message.n; n++) {
        ck_assert_rc(feed(&s, (struct str){message.p, n}, 3), RC_OK);
        enum rc end = pb_stream_end(&s);
        ck_assert_msg(end == RC_INVALID || (end == RC_OK && strchr("\7\12\23\30\32\51", (int)n)),
                      "after %zu bytes %s", n, rc_name(end));
        strbuf_reset(&seen);
        ck_assert_rc(feed(&s, strbuf_str(&message), 50), RC_OK);
        ck_assert_rc(pb_stream_end(&s), RC_OK);
        ck_assert_str_eq(seen.p, fields);
    }
    pb_stream_fini(&s);
}
END_TEST

static enum rc outcome(struct str bytes, size_t part, size_t max)
{
    struct pb_stream s;
    pb_stream_init(&s, max, on_field, &seen);
    enum rc rc = feed(&s, bytes, part);
    if (rc == RC_OK)
        rc = pb_stream_end(&s);
    pb_stream_fini(&s);
    return rc;
}

START_TEST(malformed_bytes)
{
    static const struct str bad[] = {
        STR("\x0b"),                                             /* a group */
        STR("\x00\x00"),                                         /* field 0 */
        STR("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),     /* a key without end */
        STR("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), /* a number without end */
        STR("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), /* a length without end */
        STR("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),     /* nearly 2^64 bytes */
        STR("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"),     /* over 64 bits */
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        for (size_t part = 1; part <= 13; part += 12)
            ck_assert_rc(outcome(bad[i], part, 1000), RC_INVALID);
}
END_TEST

START_TEST(the_largest_field_is_limited)
{
    struct strbuf b AUTO_STRBUF;
    strbuf_init(&b, 1000);
    pb_put_str(&b, 1, STR("0123456789"));
    for (size_t part = 1; part <= b.n; part++) {
        ck_assert_rc(outcome(strbuf_str(&b), part, b.n), RC_OK);
        ck_assert_rc(outcome(strbuf_str(&b), part, b.n - 1), RC_LIMIT);
        /* refused when announced, long before it would be there */
        ck_assert_rc(outcome(STR("\x0a\x80\x80\x80\x80\x04"), part, 1000), RC_LIMIT);
    }
}
END_TEST

START_TEST(who_takes_the_fields_may_end_it)
{
    verdict = RC_DENIED;
    ck_assert_rc(outcome(strbuf_str(&message), 3, 1000), RC_DENIED);
    ck_assert_str_eq(seen.p, "1=hello ");
    ck_assert_rc(outcome(strbuf_str(&message), 1000, 1000), RC_DENIED);
    ck_assert_str_eq(seen.p, "1=hello 1=hello ");
}
END_TEST

TEST_MAIN_FIXTURE("pb_stream", setup, teardown, parts_of_every_size_give_the_same_fields,
                  a_cut_message_is_told_and_forgotten, malformed_bytes,
                  the_largest_field_is_limited, who_takes_the_fields_may_end_it)
