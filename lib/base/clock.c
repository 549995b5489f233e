#include "lib/base/clock.h"

#include <time.h>

#include "lib/base/must.h"

static int64_t clock_us(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t clock_mono_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

int64_t clock_mono_ms(void)
{
    return clock_mono_us() / 1000;
}

int64_t clock_wall_us(void)
{
    return clock_us(CLOCK_REALTIME);
}

static char *two_digits(char *at, unsigned v, char after)
{
    at[0] = (char)('0' + v / 10 % 10);
    at[1] = (char)('0' + v % 10);
    at[2] = after;
    return at + 3;
}

/* By hand: gmtime_r() takes a lock of the C library and looks for time zone files, and every log
 * line comes through here. The date from days is Howard Hinnant's civil_from_days. */
size_t clock_format(char *buf, size_t cap, int64_t wall_us)
{
    MUST(cap >= 28);
    int64_t us = wall_us % 1000000, sec = wall_us / 1000000;
    if (us < 0)
        us += 1000000, sec--;
    int64_t day = sec / 86400;
    unsigned in_day = (unsigned)(sec - day * 86400);
    if (sec < 0 && day * 86400 != sec)
        day--, in_day = (unsigned)(sec - day * 86400);
    int64_t z = day + 719468, era = (z >= 0 ? z : z - 146096) / 146097;
    unsigned doe = (unsigned)(z - era * 146097);
    unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    unsigned month = mp < 10 ? mp + 3 : mp - 9;
    unsigned year = (unsigned)((int64_t)yoe + era * 400 + (month <= 2)) % 10000;
    char *at = two_digits(buf, year / 100, 0);
    at = two_digits(at - 1, year % 100, '-');
    at = two_digits(at, month, '-');
    at = two_digits(at, doy - (153 * mp + 2) / 5 + 1, 'T');
    at = two_digits(at, in_day / 3600, ':');
    at = two_digits(at, in_day / 60 % 60, ':');
    at = two_digits(at, in_day % 60, '.');
    at = two_digits(at, (unsigned)(us / 10000), 0) - 1;
    at = two_digits(at, (unsigned)(us / 100) % 100, 0) - 1;
    at = two_digits(at, (unsigned)us % 100, 'Z');
    *at = '\0';
    return (size_t)(at - buf);
}
