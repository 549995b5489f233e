/* A strict JSON parser. Not jansson: the tree keeps numbers as they are written and every value's line,
 * and the limits hold while the text is read, not after a first tree was built. */
#include <stdio.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/codec/node.h"
#include "lib/codec/node_build.h"

/* What may come next. */
enum json_expect {
    JSON_VALUE,
    JSON_FIRST, /* the first value of a list, or its end */
    JSON_KEY,
    JSON_FIRST_KEY, /* the first key of a map, or its end */
    JSON_AFTER,     /* comma or end, the value is complete */
    JSON_END,       /* nothing but space */
};

struct json_state {
    struct str in;
    size_t at;
    unsigned line;
    struct node_build b;
    struct strbuf text; /* of a string with escapes */
};

static enum rc bad(struct json_state *j, const char *why)
{
    return node_build_fail(&j->b, RC_INVALID, j->line, "%s", why);
}

static void skip_space(struct json_state *j)
{
    for (; j->at < j->in.n && memchr(" \t\r\n", j->in.p[j->at], 4); j->at++)
        j->line += j->in.p[j->at] == '\n';
}

static bool take_hex4(struct json_state *j, unsigned *ret)
{
    unsigned v = 0;
    if (j->in.n - j->at < 4)
        return false;
    for (size_t i = 0; i < 4; i++) {
        unsigned char c = (unsigned char)j->in.p[j->at + i];
        unsigned d = c >= '0' && c <= '9' ? c - '0' + 0u : (c | 0x20u) - 'a' + 10u;
        if (d > 15) /* what is below 'a' wraps */
            return false;
        v = v << 4 | d;
    }
    j->at += 4;
    *ret = v;
    return true;
}

static void add_utf8(struct strbuf *b, unsigned c)
{
    if (c < 0x80) {
        strbuf_addc(b, (char)c);
        return;
    }
    if (c < 0x800) {
        strbuf_addc(b, (char)(0xc0 | c >> 6));
    } else if (c < 0x10000) {
        strbuf_addc(b, (char)(0xe0 | c >> 12));
        strbuf_addc(b, (char)(0x80 | (c >> 6 & 0x3f)));
    } else {
        strbuf_addc(b, (char)(0xf0 | c >> 18));
        strbuf_addc(b, (char)(0x80 | (c >> 12 & 0x3f)));
        strbuf_addc(b, (char)(0x80 | (c >> 6 & 0x3f)));
    }
    strbuf_addc(b, (char)(0x80 | (c & 0x3f)));
}

/* After "\u". */
static enum rc take_unicode(struct json_state *j)
{
    unsigned c, low;
    if (!take_hex4(j, &c))
        return bad(j, "\\u needs four hexadecimal digits");
    if (c >= 0xd800 && c < 0xdc00) {
        if (j->in.n - j->at < 6 || memcmp(j->in.p + j->at, "\\u", 2) != 0)
            return bad(j, "half of a surrogate pair");
        j->at += 2;
        if (!take_hex4(j, &low) || low < 0xdc00 || low > 0xdfff)
            return bad(j, "half of a surrogate pair");
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    } else if (c >= 0xdc00 && c < 0xe000) {
        return bad(j, "half of a surrogate pair");
    }
    add_utf8(&j->text, c);
    return RC_OK;
}

static enum rc take_escape(struct json_state *j)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (j->at == j->in.n)
        return bad(j, "the text ends inside a string");
    char c = j->in.p[j->at++];
    if (c == 'u')
        return take_unicode(j);
    const char *p = memchr(from, c, sizeof(from) - 1);
    if (!p)
        return bad(j, "unknown escape in a string");
    strbuf_addc(&j->text, to[p - from]);
    return RC_OK;
}

/* After the opening quote; *ret is a view into the input or into j->text. */
static enum rc take_string(struct json_state *j, struct str *ret)
{
    size_t from = j->at;
    bool escapes = false;
    strbuf_reset(&j->text);
    while (j->at < j->in.n) {
        unsigned char c = (unsigned char)j->in.p[j->at];
        if (c < 0x20)
            return bad(j, "control character in a string");
        if (c != '"' && c != '\\') {
            j->at++;
            continue;
        }
        struct str run = {j->in.p + from, j->at - from};
        j->at++;
        if (c == '"' && !escapes) {
            *ret = run;
            return RC_OK;
        }
        strbuf_adds(&j->text, run);
        if (c == '"') {
            *ret = strbuf_str(&j->text);
            return RC_OK;
        }
        escapes = true;
        enum rc rc = take_escape(j);
        if (rc != RC_OK)
            return rc;
        from = j->at;
    }
    return bad(j, "the text ends inside a string");
}

static bool take_word(struct json_state *j, const char *word)
{
    size_t n = strlen(word);
    if (j->in.n - j->at < n || memcmp(j->in.p + j->at, word, n) != 0)
        return false;
    j->at += n;
    return true;
}

/* A list or map begins. */
static enum rc take_open(struct json_state *j, enum node_kind kind, enum json_expect *next)
{
    j->at++;
    *next = kind == NODE_MAP ? JSON_FIRST_KEY : JSON_FIRST;
    return node_build_open(&j->b, kind, j->line);
}

static enum rc take_value(struct json_state *j, enum json_expect *next)
{
    struct str s;
    enum rc rc;
    char c = j->in.p[j->at];
    *next = JSON_AFTER;
    if (c == '{' || c == '[')
        return take_open(j, c == '{' ? NODE_MAP : NODE_LIST, next);
    if (c == '"') {
        j->at++;
        rc = take_string(j, &s);
        return rc == RC_OK ? node_build_scalar(&j->b, NODE_STRING, s, true, j->line) : rc;
    }
    if (take_word(j, "true"))
        return node_build_scalar(&j->b, NODE_BOOL, STR("true"), false, j->line);
    if (take_word(j, "false"))
        return node_build_scalar(&j->b, NODE_BOOL, STR("false"), false, j->line);
    if (take_word(j, "null"))
        return node_build_scalar(&j->b, NODE_NULL, STR(""), false, j->line);
    s = (struct str){j->in.p + j->at, j->in.n - j->at};
    s.n = json_number_len(s);
    if (s.n == 0)
        return bad(j, "a value is missing or malformed");
    j->at += s.n;
    return node_build_scalar(&j->b, NODE_NUMBER, s, false, j->line);
}

static enum rc take_key(struct json_state *j, enum json_expect *next)
{
    struct str s;
    if (j->in.p[j->at] != '"')
        return bad(j, "a key is missing: keys are strings in quotes");
    j->at++;
    enum rc rc = take_string(j, &s);
    if (rc != RC_OK)
        return rc;
    skip_space(j);
    if (j->at == j->in.n || j->in.p[j->at] != ':')
        return bad(j, "':' is missing after a key");
    j->at++;
    j->b.line = j->line;
    *next = JSON_VALUE;
    return node_build_key(&j->b, s);
}

/* A comma or the end of the innermost list or map. */
static enum rc take_after(struct json_state *j, enum json_expect *next)
{
    bool map = j->b.open[j->b.depth - 1]->kind == NODE_MAP;
    char c = j->in.p[j->at++];
    if (c == ',') {
        *next = map ? JSON_KEY : JSON_VALUE;
        return RC_OK;
    }
    *next = JSON_AFTER;
    if (c != (map ? '}' : ']'))
        return bad(j, map ? "',' or '}' is missing" : "',' or ']' is missing");
    return node_build_close(&j->b);
}

static enum rc step(struct json_state *j, enum json_expect *next)
{
    char c = j->in.p[j->at];
    switch (*next) {
    case JSON_FIRST:
        if (c == ']')
            return take_after(j, next);
        return take_value(j, next);
    case JSON_FIRST_KEY:
        if (c == '}')
            return take_after(j, next);
        return take_key(j, next);
    case JSON_VALUE: return take_value(j, next);
    case JSON_KEY:   return take_key(j, next);
    case JSON_AFTER: return take_after(j, next);
    case JSON_END:   break;
    }
    return bad(j, "text after the end of the value");
}

static enum rc parse(struct json_state *j)
{
    enum json_expect next = JSON_VALUE;
    if (!str_is_utf8(j->in))
        return node_build_fail(&j->b, RC_INVALID, 1, "not UTF-8");
    for (;;) {
        skip_space(j);
        if (next == JSON_AFTER && j->b.depth == 0)
            next = JSON_END;
        if (j->at == j->in.n)
            return next == JSON_END ? RC_OK : bad(j, "the text ends too early");
        enum rc rc = step(j, &next);
        if (rc != RC_OK)
            return rc;
    }
}

enum rc json_parse(struct arena *a, struct str text, struct node **ret, struct errmsg *ret_msg)
{
    struct json_state j = {.in = text, .line = 1, .b = {.arena = a, .msg = ret_msg}};
    strbuf_init(&j.text, text.n + 1);
    enum rc rc = parse(&j);
    strbuf_fini(&j.text);
    if (rc == RC_OK)
        *ret = node_build_take(&j.b);
    else
        errmsg_prefix(ret_msg, "line %u", j.b.line);
    return rc;
}
