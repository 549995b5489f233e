#include "lib/kobj/ktime.h"

#include "lib/base/clock.h"

/* Takes n digits off the front. */
static bool digits(struct str *s, size_t n, int *ret)
{
    uint64_t v;
    if (s->n < n || !str_to_u64((struct str){s->p, n}, 9999, &v))
        return false;
    *s = (struct str){s->p + n, s->n - n};
    *ret = (int)v;
    return true;
}

static bool literal(struct str *s, char c)
{
    if (s->n == 0 || s->p[0] != c)
        return false;
    *s = (struct str){s->p + 1, s->n - 1};
    return true;
}

static bool date(struct str *s, int *year, int *month, int *day)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (!digits(s, 4, year) || !literal(s, '-') || !digits(s, 2, month) || !literal(s, '-') ||
        !digits(s, 2, day))
        return false;
    bool leap = (*year % 4 == 0 && *year % 100 != 0) || *year % 400 == 0;
    return *year >= 1970 && *month >= 1 && *month <= 12 && *day >= 1 &&
           *day <= days[*month - 1] + (*month == 2 && leap);
}

static bool time_of_day(struct str *s, int64_t *ret_s)
{
    int h, m, sec;
    if (!digits(s, 2, &h) || !literal(s, ':') || !digits(s, 2, &m) || !literal(s, ':') ||
        !digits(s, 2, &sec))
        return false;
    if (literal(s, '.')) {
        size_t n = 0;
        while (n < s->n && s->p[n] >= '0' && s->p[n] <= '9')
            n++;
        if (n == 0)
            return false;
        *s = (struct str){s->p + n, s->n - n};
    }
    *ret_s = h * 3600 + m * 60 + sec;
    return h < 24 && m < 60 && sec <= 60;
}

static bool zone(struct str s, int64_t *ret_s)
{
    int h, m, sign = 1;
    *ret_s = 0;
    if (s.n == 1 && (s.p[0] == 'Z' || s.p[0] == 'z'))
        return true;
    if (!literal(&s, '+')) {
        if (!literal(&s, '-'))
            return false;
        sign = -1;
    }
    if (!digits(&s, 2, &h) || !literal(&s, ':') || !digits(&s, 2, &m) || s.n)
        return false;
    *ret_s = sign * (h * 3600 + m * 60);
    return h < 24 && m < 60;
}

/* Days since 1970 of a Gregorian date; years counted from March make the leap day the last one. */
static int64_t days_since_1970(int year, int month, int day)
{
    int y = month > 2 ? year : year - 1;
    int m = month > 2 ? month - 3 : month + 9;
    return (int64_t)y * 365 + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719468;
}

bool ktime_parse(struct str s, int64_t *ret_s)
{
    int year, month, day;
    int64_t in_day, offset;
    if (!date(&s, &year, &month, &day))
        return false;
    if (!literal(&s, 'T') && !literal(&s, 't'))
        return false;
    if (!time_of_day(&s, &in_day) || !zone(s, &offset))
        return false;
    int64_t t = days_since_1970(year, month, day) * 86400 + in_day - offset;
    if (t < 0)
        return false;
    *ret_s = t;
    return true;
}

void ktime_print(int64_t s, struct strbuf *out)
{
    char buf[40];
    size_t n = clock_format(buf, sizeof(buf), s * 1000000);
    strbuf_adds(out, str_split((struct str){buf, n}, '.', &(struct str){0}));
    strbuf_addc(out, 'Z');
}
