/* What a plain scalar of YAML is. The rules are those of Kubernetes (sigs.k8s.io/yaml: YAML 1.1 as go-yaml
 * v2 has it), because people move the same files between us and it: yes, no, on, off, y and n are
 * booleans, 0x1f, 0b11, 0o17 and 017 are numbers, 1_000 is one thousand. Dates are strings. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/codec/node_build.h"

static bool any_of(struct str s, const char *const *words)
{
    for (; *words; words++)
        if (str_eqz(s, *words))
            return true;
    return false;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static size_t digits(struct str s, size_t at)
{
    size_t n = 0;
    while (at + n < s.n && is_digit(s.p[at + n]))
        n++;
    return n;
}

/* [eE][+-]?[0-9]+ at a position: its length, or 0. */
static size_t exponent_len(struct str s, size_t at)
{
    size_t i = at;
    if (i >= s.n || (s.p[i] != 'e' && s.p[i] != 'E'))
        return 0;
    i++;
    if (i < s.n && (s.p[i] == '+' || s.p[i] == '-'))
        i++;
    size_t n = digits(s, i);
    return n ? i + n - at : 0;
}

size_t json_number_len(struct str s)
{
    size_t i = s.n && s.p[0] == '-';
    size_t n = digits(s, i);
    if (n == 0 || (n > 1 && s.p[i] == '0'))
        return 0;
    i += n;
    if (i < s.n && s.p[i] == '.') {
        n = digits(s, i + 1);
        if (n == 0)
            return 0;
        i += 1 + n;
    }
    if (i < s.n && (s.p[i] == 'e' || s.p[i] == 'E')) {
        n = exponent_len(s, i);
        if (n == 0)
            return 0;
        i += n;
    }
    return i;
}

/* Digits of a base other than ten, as the prefix says: 0x 0o 0b, or 0 for octal. */
static bool take_based(struct str s, uint64_t *ret)
{
    unsigned base = 8;
    size_t i = 1;
    if (s.n < 2 || s.p[0] != '0')
        return false;
    switch (s.p[1] | 0x20) {
    case 'x': base = 16, i = 2; break;
    case 'o': base = 8, i = 2; break;
    case 'b': base = 2, i = 2; break;
    default:  break;
    }
    uint64_t v = 0;
    if (i == s.n)
        return false;
    for (; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        unsigned d = is_digit((char)c) ? c - '0' + 0u : (c | 0x20u) - 'a' + 10u;
        if (d >= base || v > (UINT64_MAX - d) / base) /* what is below 'a' wraps */
            return false;
        v = v * base + d;
    }
    *ret = v;
    return true;
}

static bool resolve_based(struct str s, bool minus, struct yaml_plain *ret)
{
    uint64_t v;
    if (!take_based(s, &v) || (minus && v > (uint64_t)INT64_MAX + 1))
        return false;
    int n = snprintf(ret->buf, sizeof(ret->buf), "%s%llu", minus && v ? "-" : "",
                     (unsigned long long)v);
    ret->text = (struct str){ret->buf, (size_t)n};
    return true;
}

/* [0-9]*(\.[0-9]*)?([eE][+-]?[0-9]+)? with a digit somewhere, written the way of JSON. */
static bool resolve_decimal(struct str s, bool minus, struct yaml_plain *ret)
{
    size_t whole = digits(s, 0), fraction = 0, i = whole, zeros = 0;
    if (i < s.n && s.p[i] == '.') {
        fraction = digits(s, i + 1);
        i += 1 + fraction;
    }
    size_t exponent = exponent_len(s, i);
    if (whole + fraction == 0 || i + exponent != s.n)
        return false;
    while (zeros + 1 < whole && s.p[zeros] == '0')
        zeros++;
    int n =
        snprintf(ret->buf, sizeof(ret->buf), "%s%.*s%s%.*s%.*s", minus ? "-" : "",
                 (int)MAX(whole - zeros, (size_t)1), whole ? s.p + zeros : "0", fraction ? "." : "",
                 (int)fraction, fraction ? s.p + whole + 1 : "", (int)exponent, s.p + i);
    if (exponent && isinf(strtod(ret->buf, NULL)))
        return false; /* 12e4567 is a string: an abbreviated commit, most likely */
    ret->text = (struct str){ret->buf, (size_t)n};
    return true;
}

static bool resolve_number(struct str s, struct yaml_plain *ret)
{
    char plain[YAML_NUMBER_MAX];
    size_t n = 0;
    if (s.n > sizeof(plain) || !(is_digit(s.p[0]) || memchr("+-.", s.p[0], 3)))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '_' && s.p[0] == '.')
            return false;
        if (s.p[i] != '_')
            plain[n++] = s.p[i];
    }
    bool sign = plain[0] == '-' || plain[0] == '+';
    struct str body = {plain + sign, n - sign};
    bool minus = plain[0] == '-';
    return resolve_based(body, minus, ret) || resolve_decimal(body, minus, ret);
}

void yaml_plain_resolve(struct str s, struct yaml_plain *ret)
{
    static const char *const null_words[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const true_words[] = {"true", "True", "TRUE", "yes", "Yes", "YES",
                                             "on",   "On",   "ON",   "y",   "Y",   NULL};
    static const char *const false_words[] = {"false", "False", "FALSE", "no", "No", "NO",
                                              "off",   "Off",   "OFF",   "n",  "N",  NULL};
    static const char *const not_json[] = {".nan",  ".NaN",  ".NAN",  ".inf",  ".Inf",
                                           ".INF",  "+.inf", "+.Inf", "+.INF", "-.inf",
                                           "-.Inf", "-.INF", NULL};
    *ret = (struct yaml_plain){.kind = NODE_STRING, .text = s};
    if (any_of(s, null_words)) {
        ret->kind = NODE_NULL;
        ret->text = STR("");
    } else if (any_of(s, true_words)) {
        ret->kind = NODE_BOOL;
        ret->text = STR("true");
    } else if (any_of(s, false_words)) {
        ret->kind = NODE_BOOL;
        ret->text = STR("false");
    } else if (any_of(s, not_json)) {
        ret->not_json = true;
    } else if (resolve_number(s, ret)) {
        ret->kind = NODE_NUMBER;
    }
}
