#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/codec/pb.h"
#include "lib/xds/ads_response.h"
#include "lib/xds/resource.h"
#include "tests/helper/check.h"

static struct strbuf seen, message;
static struct ads_response r;

static enum rc on_resource(void *owner, const struct ads_resource *x, struct errmsg *ret_msg)
{
    (void)owner;
    if (str_starts(x->name, STR("bad"))) {
        errmsg_set(ret_msg, "no good");
        return RC_INVALID;
    }
    strbuf_printf(&seen, "%.*s@%.*s=%.*s ", STR_ARG(x->name), STR_ARG(x->version),
                  STR_ARG(x->bytes));
    ck_assert(str_eqz(x->type_url, XDS_ADDRESS));
    return RC_OK;
}

static void put(const char *name, const char *version, const char *bytes)
{
    struct strbuf any AUTO_STRBUF, res AUTO_STRBUF;
    strbuf_init(&any, 20000);
    strbuf_init(&res, 20000);
    pb_put_str(&any, 1, STR(XDS_ADDRESS));
    pb_put_str(&any, 2, str_of(bytes));
    pb_put_str(&res, 1, str_of(version));
    pb_put_bytes(&res, 2, strbuf_str(&any));
    pb_put_str(&res, 3, str_of(name));
    pb_put_str(&res, 4, STR("alias"));
    pb_put_bytes(&res, 6, STR("\x08\x01")); /* ttl */
    pb_put_bytes(&message, 2, strbuf_str(&res));
}

static void setup(void)
{
    strbuf_init(&seen, 1 << 20);
    strbuf_init(&message, 1 << 20);
    ads_response_init(&r, on_resource, NULL);
}

static void teardown(void)
{
    ads_response_fini(&r);
    strbuf_fini(&seen);
    strbuf_fini(&message);
}

START_TEST(a_response_in_parts)
{
    pb_put_str(&message, 1, STR("2026-01-01T00:00:00Z/1"));
    put("a", "v1", "A");
    put("b", "", "");
    pb_put_str(&message, 4, STR(XDS_ADDRESS));
    pb_put_str(&message, 5, STR("nonce"));
    pb_put_str(&message, 6, STR("gone"));
    pb_put_str(&message, 6, STR("\xc3\xa4"));
    pb_put_str(&message, 7, STR("control plane"));
    pb_put_str(&message, 9, STR("errors"));
    for (size_t part = 1; part < message.n; part += 7) {
        strbuf_reset(&seen);
        for (size_t at = 0; at < message.n; at += part) {
            size_t n = MIN(part, message.n - at);
            ck_assert_rc(
                ads_response_feed(&r, (struct str){message.p + at, n}, at + n == message.n), RC_OK);
        }
        ck_assert_str_eq(seen.p, "a@v1=A b@= ");
        ck_assert_str_eq(r.type_url, XDS_ADDRESS);
        ck_assert_str_eq(r.nonce, "nonce");
        ck_assert_uint_eq(r.n_removed, 2);
        ck_assert_str_eq(r.removed[0], "gone");
        ck_assert_str_eq(r.removed[1], "\xc3\xa4");
        ck_assert_uint_eq(r.refused, 0);
        ads_response_reset(&r);
        ck_assert_ptr_null(r.type_url);
    }
    ck_assert_rc(ads_response_feed(&r, STR(""), true), RC_OK);
    ck_assert_ptr_null(r.nonce);
}
END_TEST

START_TEST(refused_ones_are_collected)
{
    put("bad-1", "v", "x");
    put("good", "v", "y");
    put("bad-2", "v", "z");
    ck_assert_rc(ads_response_feed(&r, strbuf_str(&message), true), RC_OK);
    ck_assert_uint_eq(r.refused, 2);
    ck_assert_str_eq(r.errors.p, "bad-1: no good; bad-2: no good");
    ck_assert_str_eq(seen.p, "good@v=y ");
    ads_response_reset(&r);
    ck_assert_uint_eq(r.refused, 0);
    ck_assert_uint_eq(r.errors.n, 0);
    for (int i = 0; i < 20; i++)
        ck_assert_rc(ads_response_feed(&r, strbuf_str(&message), false), RC_OK);
    for (int i = 0; i < 5000; i++)
        ck_assert_rc(ads_response_feed(&r, strbuf_str(&message), false), RC_OK);
    ck_assert_uint_eq(r.refused, 10040);
    ck_assert_uint_le(r.errors.n, ADS_ERRORS_MAX);
}
END_TEST

static void malformed(enum rc want)
{
    ck_assert_rc(ads_response_feed(&r, strbuf_str(&message), true), want);
    ads_response_reset(&r);
    strbuf_reset(&message);
}

START_TEST(what_can_not_be_read)
{
    char *longer AUTO_FREE = mem_zalloc(XDS_NAME_MAX + 2);
    memset(longer, 'n', XDS_NAME_MAX + 1);
    put("", "v", "x"); /* without a name */
    malformed(RC_INVALID);
    put("\xff", "v", "x");
    malformed(RC_INVALID);
    put("n", "\xff", "x");
    malformed(RC_INVALID);
    put(longer, "v", "x");
    malformed(RC_INVALID);
    pb_put_bytes(&message, 2,
                 STR("\x1a\x03"
                     "a\0b"));
    malformed(RC_INVALID);
    pb_put_bytes(&message, 2, STR("\x1a\x7f"));
    malformed(RC_INVALID);
    pb_put_bytes(&message, 2, STR("\x12\x02\x0a\x7f\x1a\x01n")); /* inside the Any */
    malformed(RC_INVALID);
    pb_put_str(&message, 6, STR("\xff"));
    malformed(RC_INVALID);
    pb_put_str(&message, 6, str_of(longer));
    malformed(RC_INVALID);
    pb_put_str(&message, 5, str_of(longer));
    malformed(RC_INVALID);
    pb_put_str(&message, 4, STR("\xff"));
    malformed(RC_INVALID);
    strbuf_addz(&message, "\x22\x10 cut");
    malformed(RC_INVALID);
    pb_put_varint(&message, 2 << 3 | 2);
    pb_put_varint(&message, ADS_RESOURCE_MAX);
    malformed(RC_LIMIT);
    strbuf_addz(&message, "\x10\x05"); /* of another wire type: not ours */
    malformed(RC_OK);
}
END_TEST

START_TEST(removed_names_are_limited)
{
    enum rc rc = RC_OK;
    size_t n = 0;
    pb_put_str(&message, 6, STR("n"));
    for (; n < ADS_REMOVED_MAX + 10 && rc == RC_OK; n++)
        rc = ads_response_feed(&r, strbuf_str(&message), false);
    ck_assert_rc(rc, RC_LIMIT);
    ck_assert_uint_eq(n, ADS_REMOVED_MAX + 1);
}
END_TEST

TEST_MAIN_FIXTURE("ads_response", setup, teardown, a_response_in_parts, refused_ones_are_collected,
                  what_can_not_be_read, removed_names_are_limited)
