#include <time.h>

#include "lib/base/clock.h"
#include "tests/helper/check.h"

static const char *text(int64_t us)
{
    static char buf[28];
    ck_assert_uint_eq(clock_format(buf, sizeof(buf), us), 27);
    return buf;
}

START_TEST(known_times)
{
    ck_assert_str_eq(text(0), "1970-01-01T00:00:00.000000Z");
    ck_assert_str_eq(text(1795440244123456), "2026-11-23T13:24:04.123456Z");
    ck_assert_str_eq(text(951782399999999), "2000-02-28T23:59:59.999999Z");
    ck_assert_str_eq(text(951868799000001), "2000-02-29T23:59:59.000001Z");
    ck_assert_str_eq(text(-1), "1969-12-31T23:59:59.999999Z");
    ck_assert_str_eq(text(4102444800000000), "2100-01-01T00:00:00.000000Z");
}
END_TEST

START_TEST(as_the_c_library)
{
    for (int64_t sec = -86400 * 400; sec < 5000000000; sec += 86400 * 3 + 12347) {
        char want[28];
        struct tm tm;
        time_t t = (time_t)sec;
        gmtime_r(&t, &tm);
        strftime(want, sizeof(want), "%Y-%m-%dT%H:%M:%S.000000Z", &tm);
        ck_assert_str_eq(text(sec * 1000000), want);
    }
}
END_TEST

TEST_MAIN("clock", known_times, as_the_c_library)
