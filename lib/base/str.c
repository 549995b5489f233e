#include "lib/base/str.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/base/must.h"

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

bool str_ieq(struct str a, struct str b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (lower(a.p[i]) != lower(b.p[i]))
            return false;
    return true;
}

bool str_starts(struct str s, struct str prefix)
{
    return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

bool str_ends(struct str s, struct str suffix)
{
    return s.n >= suffix.n &&
           (suffix.n == 0 || memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0);
}

int str_cmp(struct str a, struct str b)
{
    size_t n = MIN(a.n, b.n);
    int c = n ? memcmp(a.p, b.p, n) : 0;
    if (c)
        return c;
    return a.n < b.n ? -1 : a.n > b.n;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct str str_trim(struct str s)
{
    while (s.n && is_space(s.p[0]))
        s.p++, s.n--;
    while (s.n && is_space(s.p[s.n - 1]))
        s.n--;
    return s;
}

ptrdiff_t str_find(struct str s, char c)
{
    const char *at = s.n ? memchr(s.p, c, s.n) : NULL;
    return at ? at - s.p : -1;
}

struct str str_split(struct str s, char sep, struct str *rest)
{
    ptrdiff_t at = str_find(s, sep);
    if (at < 0) {
        *rest = (struct str){s.p + s.n, 0};
        return s;
    }
    *rest = (struct str){s.p + at + 1, s.n - (size_t)at - 1};
    return (struct str){s.p, (size_t)at};
}

char *str_dup(struct str s)
{
    return mem_strndup(s.p, s.n);
}

bool str_to_u64(struct str s, uint64_t max, uint64_t *ret)
{
    if (s.n == 0 || s.n > 20)
        return false;
    uint64_t v = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        if (__builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v))
            return false;
    }
    if (v > max)
        return false;
    *ret = v;
    return true;
}

/* Length of the valid UTF-8 sequence at p (RFC 3629: no surrogates, no overlong forms), or 0. */
static size_t utf8_len(const unsigned char *p, size_t n)
{
    if (p[0] < 0x80)
        return 1;
    size_t len = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || len > n)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return len;
}

bool str_is_utf8(struct str s)
{
    for (size_t i = 0; i < s.n;) {
        size_t len = utf8_len((const unsigned char *)s.p + i, s.n - i);
        if (len == 0)
            return false;
        i += len;
    }
    return true;
}

static size_t edit_distance(struct str a, struct str b)
{
    size_t row[65];
    if (a.n > 64 || b.n > 64)
        return SIZE_MAX;
    for (size_t j = 0; j <= b.n; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.n; i++) {
        size_t diag = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.n; j++) {
            size_t best = MIN(row[j], row[j - 1]) + 1;
            size_t swap = diag + (lower(a.p[i - 1]) != lower(b.p[j - 1]));
            diag = row[j];
            row[j] = MIN(best, swap);
        }
    }
    return row[b.n];
}

const char *str_nearest(struct str word, const char *const *words, size_t n)
{
    const char *best = NULL;
    size_t best_d = word.n / 2 + 2;
    for (size_t i = 0; i < n; i++) {
        size_t d = edit_distance(word, str_of(words[i]));
        if (d < best_d) {
            best_d = d;
            best = words[i];
        }
    }
    return best;
}

void strbuf_init(struct strbuf *b, size_t max)
{
    *b = (struct strbuf){.max = max};
}

void strbuf_fini(struct strbuf *b)
{
    free(b->p);
    *b = (struct strbuf){.max = b->max};
}

void strbuf_reset(struct strbuf *b)
{
    b->n = 0;
    b->truncated = false;
    if (b->p)
        b->p[0] = '\0';
}

void strbuf_add(struct strbuf *b, const void *p, size_t n)
{
    if (n > b->max - b->n) {
        n = b->max - b->n;
        b->truncated = true;
    }
    if (b->cap < b->n + n + 1) {
        size_t cap = b->cap ? b->cap : 64;
        while (cap < b->n + n + 1)
            cap *= 2;
        b->p = mem_realloc(b->p, cap);
        b->cap = cap;
    }
    if (n)
        memcpy(b->p + b->n, p, n);
    b->n += n;
    b->p[b->n] = '\0';
}

void strbuf_addc(struct strbuf *b, char c)
{
    strbuf_add(b, &c, 1);
}

void strbuf_addz(struct strbuf *b, const char *z)
{
    if (z)
        strbuf_add(b, z, strlen(z));
}

void strbuf_adds(struct strbuf *b, struct str s)
{
    strbuf_add(b, s.p, s.n);
}

void strbuf_addu(struct strbuf *b, uint64_t v)
{
    char digits[20];
    size_t i = sizeof(digits);
    do {
        digits[--i] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    strbuf_add(b, digits + i, sizeof(digits) - i);
}

void strbuf_printf(struct strbuf *b, const char *fmt, ...)
{
    char small[256];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(small, sizeof(small), fmt, ap);
    va_end(ap);
    MUST(n >= 0);
    if ((size_t)n < sizeof(small)) {
        strbuf_add(b, small, (size_t)n);
        return;
    }
    char *big AUTO_FREE = mem_alloc((size_t)n + 1);
    va_start(ap, fmt);
    vsnprintf(big, (size_t)n + 1, fmt, ap);
    va_end(ap);
    strbuf_add(b, big, (size_t)n);
}

void strbuf_add_json(struct strbuf *b, struct str s)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < s.n;) {
        unsigned char c = (unsigned char)s.p[i];
        size_t len = utf8_len((const unsigned char *)s.p + i, s.n - i);
        if (len == 0) {
            strbuf_addz(b, "\\ufffd");
            i++;
        } else if (c == '"' || c == '\\') {
            char esc[2] = {'\\', (char)c};
            strbuf_add(b, esc, 2);
            i++;
        } else if (c < 0x20) {
            char esc[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
            strbuf_add(b, esc, 6);
            i++;
        } else {
            strbuf_add(b, s.p + i, len);
            i += len;
        }
    }
}

char *strbuf_take(struct strbuf *b)
{
    char *p = b->p ? b->p : mem_strdup("");
    *b = (struct strbuf){.max = b->max};
    return p;
}
