/* Values that are texts in documents: durations, base64; and reasons. */
#include <stdarg.h>
#include <stdio.h>

#include <openssl/evp.h>

#include "lib/base/must.h"
#include "lib/kobj/ktable.h"

bool kwhy_set(struct kwhy *why, const char *field, const char *fmt, ...)
{
    va_list ap;
    snprintf(why->field, sizeof(why->field), "%s", field);
    va_start(ap, fmt);
    vsnprintf(why->reason, sizeof(why->reason), fmt, ap);
    va_end(ap);
    return false;
}

/* -- durations -- */

static const struct unit {
    struct str name;
    int64_t ns;
} units[] = {{STR("ms"), 1000000},
             {STR("us"), 1000},
             {STR("\xc2\xb5s"), 1000},
             {STR("\xce\xbcs"), 1000},
             {STR("ns"), 1},
             {STR("s"), 1000000000},
             {STR("m"), 60ll * 1000000000},
             {STR("h"), 3600ll * 1000000000}};

static struct str rest_of(struct str s, size_t n)
{
    return (struct str){s.p + n, s.n - n};
}

static size_t digits_of(struct str s)
{
    size_t n = 0;
    while (n < s.n && s.p[n] >= '0' && s.p[n] <= '9')
        n++;
    return n;
}

/* "1.5h": a number and its unit, in ns. */
static bool parse_part(struct str *s, int64_t *ret_ns)
{
    size_t whole = digits_of(*s), fraction = 0;
    struct str number = {s->p, whole};
    uint64_t v = 0;
    if (whole && !str_to_u64(number, KDURATION_MAX_MS, &v))
        return false;
    *s = rest_of(*s, whole);
    struct str after = {"", 0};
    if (s->n && s->p[0] == '.') {
        *s = rest_of(*s, 1);
        fraction = digits_of(*s);
        after = (struct str){s->p, fraction};
        *s = rest_of(*s, fraction);
    }
    if (whole + fraction == 0)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        const struct unit *u = &units[i];
        if (!str_starts(*s, u->name))
            continue;
        *s = rest_of(*s, u->name.n);
        if (v > (uint64_t)(KDURATION_MAX_MS * 1000000 / u->ns))
            return false;
        *ret_ns = (int64_t)v * u->ns;
        int64_t scale = u->ns;
        for (size_t k = 0; k < after.n && scale; k++) {
            scale /= 10;
            *ret_ns += (after.p[k] - '0') * scale;
        }
        return true;
    }
    return false;
}

bool kduration_parse(struct str s, int64_t *ret_ms)
{
    int64_t total = 0, part;
    if (str_eqz(s, "0")) {
        *ret_ms = 0;
        return true;
    }
    if (s.n == 0)
        return false;
    while (s.n) {
        if (!parse_part(&s, &part) || total > KDURATION_MAX_MS * 1000000 - part)
            return false;
        total += part;
    }
    *ret_ms = (total + 999999) / 1000000;
    return true;
}

const char *kcheck_gep_duration(struct str s)
{
    static const char why[] =
        "must be one to four times a number of up to 5 digits and h, m, s or ms";
    unsigned parts = 0;
    for (; s.n; parts++) {
        size_t n = digits_of(s);
        if (n == 0 || n > 5)
            return why;
        s = rest_of(s, n);
        if (str_starts(s, STR("ms")))
            s = rest_of(s, 2);
        else if (s.n && (s.p[0] == 'h' || s.p[0] == 'm' || s.p[0] == 's'))
            s = rest_of(s, 1);
        else
            return why;
    }
    return parts >= 1 && parts <= 4 ? NULL : why;
}

/* -- base64 -- */

bool kbase64_decode(struct str s, char *out, size_t *ret_n)
{
    int got = 0, rest = 0;
    if (s.n % 4 || s.n > INT32_MAX)
        return false;
    for (size_t i = 0; i < s.n; i++) /* the decoder steps over these */
        if (s.p[i] <= ' ' || s.p[i] == '-')
            return false;
    EVP_ENCODE_CTX *ctx = EVP_ENCODE_CTX_new();
    MUST(ctx);
    EVP_DecodeInit(ctx);
    bool good = EVP_DecodeUpdate(ctx, (unsigned char *)out, &got, (const unsigned char *)s.p,
                                 (int)s.n) >= 0 &&
                EVP_DecodeFinal(ctx, (unsigned char *)out + got, &rest) >= 0;
    EVP_ENCODE_CTX_free(ctx);
    *ret_n = (size_t)(got + rest);
    return good;
}

void kbase64_encode(struct str s, struct strbuf *out)
{
    for (size_t at = 0; at < s.n; at += 48) {
        unsigned char part[68];
        int n = EVP_EncodeBlock(part, (const unsigned char *)s.p + at, (int)MIN(s.n - at, 48u));
        strbuf_add(out, part, (size_t)n);
    }
}
