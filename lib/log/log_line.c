#include <stdatomic.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/log/log_priv.h"

/* What closes a line that is full: `,"truncated":true}` and the newline. */
#define TAIL_MAX 24

static atomic_bool json_form;

void log_json(bool on)
{
    atomic_store(&json_form, on);
}

static bool add(struct log_line *l, const char *p, size_t n)
{
    if (n > LOG_LINE_MAX - TAIL_MAX - l->n) {
        l->truncated = true;
        return false;
    }
    memcpy(l->text + l->n, p, n);
    l->n += n;
    return true;
}

static bool addz(struct log_line *l, const char *z)
{
    return add(l, z, strlen(z));
}

static size_t utf8_len(const char *p, size_t n)
{
    for (size_t len = 1; len <= 4 && len <= n; len++)
        if (str_is_utf8((struct str){p, len}))
            return len;
    return 0;
}

/* One character at p: its bytes, or what stands for them. Returns the input bytes it used. */
static size_t escape(const char *p, size_t n, bool json, char out[8], size_t *ret_n)
{
    static const char hex[] = "0123456789abcdef";
    unsigned char c = (unsigned char)*p;
    if (c == '"' || c == '\\') {
        out[0] = '\\', out[1] = (char)c, *ret_n = 2;
    } else if (c == '\n' || c == '\t' || c == '\r') {
        out[0] = '\\', out[1] = c == '\n' ? 'n' : c == '\t' ? 't' : 'r', *ret_n = 2;
    } else if (c < 0x20 || c == 0x7f) {
        memcpy(out, json ? "\\u00" : "\\x", json ? 4 : 2);
        *ret_n = json ? 4 : 2;
        out[(*ret_n)++] = hex[c >> 4];
        out[(*ret_n)++] = hex[c & 15];
    } else if (c < 0x80) {
        out[0] = (char)c, *ret_n = 1;
    } else {
        size_t len = utf8_len(p, n);
        memcpy(out, len ? p : "\xef\xbf\xbd", len ? len : 3);
        *ret_n = len ? len : 3;
        return len ? len : 1;
    }
    return 1;
}

/* Bytes at the start of s that stand for themselves. */
static size_t plain_run(struct str s, bool quotes)
{
    size_t n = 0;
    while (n < s.n && s.p[n] >= ' ' && s.p[n] <= '~' &&
           !(quotes && (s.p[n] == '"' || s.p[n] == '\\')))
        n++;
    return n;
}

/* quotes: escape them too (values); a text message keeps them. Stops where the line is full. */
static bool add_escaped(struct log_line *l, struct str s, bool quotes)
{
    while (s.n) {
        size_t used = plain_run(s, quotes), n = used;
        char out[8];
        const char *p = s.p;
        if (used > LOG_LINE_MAX - TAIL_MAX - l->n && !quotes) /* a message is cut, not left out */
            n = LOG_LINE_MAX - TAIL_MAX - l->n, l->truncated = true;
        if (used == 0) {
            used = escape(s.p, s.n, l->json, out, &n);
            p = out;
        }
        if (!add(l, p, n))
            return false;
        s = (struct str){s.p + used, s.n - used};
    }
    return true;
}

void log_begin(struct log_line *l, enum log_level level, const char *scope, const char *message)
{
    l->on = log_enabled(level, scope);
    if (!l->on)
        return;
    l->n = 0;
    l->fields = l->truncated = false;
    l->json = atomic_load_explicit(&json_form, memory_order_relaxed);
    char now[28];
    size_t now_n = clock_format(now, sizeof(now), clock_wall_us());
    if (l->json) {
        addz(l, "{\"level\":\"");
        addz(l, log_level_name(level));
        addz(l, "\",\"time\":\"");
        add(l, now, now_n);
        addz(l, "\",\"scope\":\"");
        addz(l, scope);
        addz(l, "\",\"message\":\"");
        add_escaped(l, str_of(message), true);
        addz(l, "\"");
    } else {
        add(l, now, now_n);
        addz(l, "\t");
        addz(l, log_level_name(level));
        addz(l, "\t");
        addz(l, scope);
        addz(l, "\t");
        add_escaped(l, str_of(message), false);
    }
}

static bool key_add(struct log_line *l, const char *key)
{
    bool ok = l->json ? addz(l, ",\"") : addz(l, l->fields ? " " : "\t");
    ok = ok && addz(l, key) && addz(l, l->json ? "\":" : "=");
    return ok;
}

/* A field is in the line whole or not at all. */
static void field_end(struct log_line *l, size_t start, bool ok)
{
    if (ok)
        l->fields = true;
    else
        l->n = start;
}

void log_str(struct log_line *l, const char *key, struct str value)
{
    if (!l->on || value.n == 0)
        return;
    size_t start = l->n;
    field_end(l, start,
              key_add(l, key) && addz(l, "\"") && add_escaped(l, value, true) && addz(l, "\""));
}

static bool bare_ok(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~' || s.p[i] == '"' || s.p[i] == '\\')
            return false;
    return true;
}

void log_word(struct log_line *l, const char *key, struct str value)
{
    if (!l->on || value.n == 0)
        return;
    if (l->json || !bare_ok(value)) {
        log_str(l, key, value);
        return;
    }
    size_t start = l->n;
    field_end(l, start, key_add(l, key) && add(l, value.p, value.n));
}

void log_u64(struct log_line *l, const char *key, uint64_t value)
{
    if (!l->on)
        return;
    char digits[20];
    size_t i = sizeof(digits), start = l->n;
    do {
        digits[--i] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    field_end(l, start, key_add(l, key) && add(l, digits + i, sizeof(digits) - i));
}

void log_bool(struct log_line *l, const char *key, bool value)
{
    if (!l->on)
        return;
    size_t start = l->n;
    field_end(l, start, key_add(l, key) && addz(l, value ? "true" : "false"));
}

void log_end(struct log_line *l)
{
    if (!l->on)
        return;
    const char *tail = l->truncated ? (l->json     ? ",\"truncated\":true}\n"
                                       : l->fields ? " truncated=true\n"
                                                   : "\ttruncated=true\n")
                                    : (l->json ? "}\n" : "\n");
    size_t n = strlen(tail);
    memcpy(l->text + l->n, tail, n); /* add() keeps TAIL_MAX free */
    log_ring_put(l->text, l->n + n);
    l->on = false;
}
