#include <arpa/inet.h>
#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/config/config_priv.h"

#define TEXT_MAX 4096 /* of one value */
#define LIST_MAX 1024

struct unit {
    const char *name;
    uint64_t factor;
};
static const struct unit duration_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"", 1000}};
static const struct unit size_units[] = {
    {"", 1}, {"B", 1}, {"KiB", 1024}, {"MiB", 1024 * 1024}, {"GiB", 1024 * 1024 * 1024}};

static bool parse_units(struct str s, const struct unit *u, size_t n, uint64_t max, uint64_t *ret)
{
    size_t digits = 0;
    while (digits < s.n && s.p[digits] >= '0' && s.p[digits] <= '9')
        digits++;
    struct str unit = str_trim((struct str){s.p + digits, s.n - digits});
    uint64_t v;
    if (!str_to_u64((struct str){s.p, digits}, UINT64_MAX, &v))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!str_eqz(unit, u[i].name))
            continue;
        if (__builtin_mul_overflow(v, u[i].factor, &v) || v > max)
            return false;
        *ret = v;
        return true;
    }
    return false;
}

/* The largest unit that divides it. */
static void print_units(uint64_t v, const struct unit *u, size_t n, struct strbuf *out)
{
    const struct unit *best = NULL;
    for (size_t i = 0; i < n; i++)
        if (u[i].name[0] && v % u[i].factor == 0 && (!best || u[i].factor > best->factor))
            best = &u[i];
    strbuf_addu(out, v / (v && best ? best->factor : 1));
    if (v && best && (best->factor > 1 || best == duration_units))
        strbuf_addz(out, best->name);
}

/* lib/net comes after this layer; the form is all that is checked here. */
static bool address_ok(struct str s)
{
    char ip[INET6_ADDRSTRLEN + 1];
    uint64_t port;
    struct in6_addr bin;
    bool v6 = s.n && s.p[0] == '[';
    size_t end = s.n;
    while (end && s.p[end - 1] != ':')
        end--;
    if (end == 0 || !str_to_u64((struct str){s.p + end, s.n - end}, 65535, &port))
        return false;
    struct str host = {s.p, end - 1};
    if (v6) {
        if (host.n < 2 || host.p[host.n - 1] != ']')
            return false;
        host = (struct str){host.p + 1, host.n - 2};
    }
    if (host.n >= sizeof(ip))
        return false;
    memcpy(ip, host.p, host.n);
    ip[host.n] = '\0';
    return inet_pton(v6 ? AF_INET6 : AF_INET, ip, &bin) == 1;
}

static bool within(const struct config_setting *s, uint64_t v)
{
    if (s->min == 0 && s->max == 0)
        return true;
    return v >= (uint64_t)s->min && (s->max == 0 || v <= (uint64_t)s->max);
}

static bool number_parse(const struct config_setting *s, struct str text, uint64_t *ret)
{
    switch (s->type) {
    case CONFIG_U32:  return str_to_u64(text, UINT32_MAX, ret);
    case CONFIG_PORT: return str_to_u64(text, UINT16_MAX, ret);
    case CONFIG_DURATION_MS:
        return parse_units(text, duration_units, ARRAY_LEN(duration_units), INT64_MAX, ret);
    case CONFIG_BYTES:   return parse_units(text, size_units, ARRAY_LEN(size_units), INT64_MAX, ret);
    case CONFIG_U64:
    case CONFIG_STRING:
    case CONFIG_BOOL:
    case CONFIG_ADDRESS:
    case CONFIG_ENUM:
    case CONFIG_LIST:    return str_to_u64(text, UINT64_MAX, ret);
    }
    return false;
}

static void number_print(const struct config_setting *s, uint64_t v, struct strbuf *out)
{
    if (s->type == CONFIG_DURATION_MS)
        print_units(v, duration_units, ARRAY_LEN(duration_units), out);
    else if (s->type == CONFIG_BYTES)
        print_units(v, size_units, ARRAY_LEN(size_units), out);
    else
        strbuf_addu(out, v);
}

static void limits_print(const struct config_setting *s, struct strbuf *out)
{
    if (s->min == 0 && s->max == 0)
        return;
    strbuf_addz(out, " of at least ");
    number_print(s, (uint64_t)s->min, out);
    if (s->max) {
        strbuf_addz(out, " and at most ");
        number_print(s, (uint64_t)s->max, out);
    }
}

static enum rc number_set(const struct config_setting *s, void *field, struct str text)
{
    uint64_t v;
    if (!number_parse(s, text, &v) || !within(s, v))
        return RC_INVALID;
    if (s->type == CONFIG_U32)
        *(uint32_t *)field = (uint32_t)v;
    else if (s->type == CONFIG_PORT)
        *(uint16_t *)field = (uint16_t)v;
    else if (s->type == CONFIG_DURATION_MS)
        *(int64_t *)field = (int64_t)v;
    else
        *(uint64_t *)field = v;
    return RC_OK;
}

static enum rc string_set(const char **field, struct str text)
{
    if (memchr(text.p, '\0', text.n))
        return RC_INVALID;
    free((void *)(uintptr_t)*field);
    *field = text.n ? str_dup(text) : NULL;
    return RC_OK;
}

static void list_free(struct config_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free((void *)(uintptr_t)l->v[i]);
    free(l->v);
    *l = (struct config_list){0};
}

static enum rc list_set(struct config_list *l, struct str text, bool append)
{
    if (!append)
        list_free(l);
    while (text.n) {
        struct str word = str_trim(str_split(text, ',', &text));
        if (word.n == 0)
            continue;
        if (l->n == LIST_MAX)
            return RC_LIMIT;
        l->v = mem_realloc(l->v, (l->n + 1) * sizeof(*l->v));
        l->v[l->n++] = str_dup(word);
    }
    return RC_OK;
}

static enum rc word_set(const struct config_setting *s, int *field, struct str text,
                        struct errmsg *ret_msg)
{
    size_t n = 0;
    for (; s->words[n]; n++) {
        if (str_eqz(text, s->words[n])) {
            *field = (int)n;
            return RC_OK;
        }
    }
    const char *near = str_nearest(text, s->words, n);
    if (near)
        errmsg_set(ret_msg, ", did you mean \"%s\"?", near);
    return RC_INVALID;
}

static enum rc bool_set(bool *field, struct str text)
{
    if (!str_eqz(text, "true") && !str_eqz(text, "false"))
        return RC_INVALID;
    *field = text.p[0] == 't';
    return RC_OK;
}

static enum rc value_store(const struct config_setting *s, void *field, struct str text,
                           bool append, struct errmsg *ret_near)
{
    switch (s->type) {
    case CONFIG_STRING:      return string_set(field, text);
    case CONFIG_BOOL:        return bool_set(field, text);
    case CONFIG_U32:
    case CONFIG_U64:
    case CONFIG_PORT:
    case CONFIG_DURATION_MS:
    case CONFIG_BYTES:       return number_set(s, field, text);
    case CONFIG_ADDRESS:
        return text.n == 0 || address_ok(text) ? string_set(field, text) : RC_INVALID;
    case CONFIG_ENUM: return word_set(s, field, text, ret_near);
    case CONFIG_LIST: return list_set(field, text, append);
    }
    return RC_INVALID;
}

static const char *expected(enum config_type type)
{
    switch (type) {
    case CONFIG_STRING:      return "a text";
    case CONFIG_BOOL:        return "true or false";
    case CONFIG_U32:
    case CONFIG_U64:         return "a whole number";
    case CONFIG_PORT:        return "a port number";
    case CONFIG_DURATION_MS: return "a duration like 100ms, 5s, 5m or 24h (a bare number: seconds)";
    case CONFIG_BYTES:       return "a size like 65536, 64KiB, 4MiB or 1GiB";
    case CONFIG_ADDRESS:     return "an address and port like 127.0.0.1:15000 or [::1]:15000";
    case CONFIG_ENUM:        return "one of ";
    case CONFIG_LIST:        return "a list of at most 1024 words";
    }
    return "";
}

enum rc config_value_set(const struct config_setting *s, void *obj, struct str text, bool append,
                         struct errmsg *ret_msg)
{
    struct errmsg near = {.text = ""};
    enum rc rc =
        text.n > TEXT_MAX ? RC_LIMIT : value_store(s, config_field(s, obj), text, append, &near);
    if (rc == RC_OK)
        return RC_OK;
    struct strbuf want AUTO_STRBUF;
    strbuf_init(&want, 400);
    strbuf_addz(&want, expected(s->type));
    if (s->type == CONFIG_ENUM)
        config_value_kind(s, &want);
    limits_print(s, &want);
    if (s->secret)
        errmsg_set(ret_msg, "its value is not %s", want.p);
    else
        errmsg_set(ret_msg, "\"%.*s\" is not %s%s", (int)MIN(text.n, (size_t)100), text.p, want.p,
                   near.text);
    return RC_INVALID;
}

void config_value_clear(const struct config_setting *s, void *obj)
{
    static const size_t sizes[] = {
        [CONFIG_STRING] = sizeof(char *),  [CONFIG_BOOL] = sizeof(bool),
        [CONFIG_U32] = sizeof(uint32_t),   [CONFIG_U64] = sizeof(uint64_t),
        [CONFIG_PORT] = sizeof(uint16_t),  [CONFIG_DURATION_MS] = sizeof(int64_t),
        [CONFIG_BYTES] = sizeof(uint64_t), [CONFIG_ADDRESS] = sizeof(char *),
        [CONFIG_ENUM] = sizeof(int),       [CONFIG_LIST] = sizeof(struct config_list),
    };
    memset(config_field(s, obj), 0, sizes[s->type]);
}

void config_value_free(const struct config_setting *s, void *obj)
{
    void *field = config_field(s, obj);
    if (s->type == CONFIG_LIST) {
        list_free(field);
    } else if (s->type == CONFIG_STRING || s->type == CONFIG_ADDRESS) {
        free((void *)(uintptr_t) * (const char **)field);
        *(const char **)field = NULL;
    }
}

static void list_print(const struct config_list *l, struct strbuf *out)
{
    for (size_t i = 0; i < l->n; i++) {
        if (i)
            strbuf_addc(out, ',');
        strbuf_addz(out, l->v[i]);
    }
}

void config_value_text(const struct config_setting *s, const void *obj, struct strbuf *out)
{
    const void *f = config_field_const(s, obj);
    switch (s->type) {
    case CONFIG_STRING:
    case CONFIG_ADDRESS:     strbuf_addz(out, *(const char *const *)f); break;
    case CONFIG_BOOL:        strbuf_addz(out, *(const bool *)f ? "true" : "false"); break;
    case CONFIG_U32:         number_print(s, *(const uint32_t *)f, out); break;
    case CONFIG_PORT:        number_print(s, *(const uint16_t *)f, out); break;
    case CONFIG_DURATION_MS:
    case CONFIG_U64:
    case CONFIG_BYTES:       number_print(s, *(const uint64_t *)f, out); break;
    case CONFIG_ENUM:        strbuf_addz(out, s->words[*(const int *)f]); break;
    case CONFIG_LIST:        list_print(f, out); break;
    }
}

void config_value_kind(const struct config_setting *s, struct strbuf *out)
{
    static const char *const kinds[] = {
        [CONFIG_STRING] = "TEXT",   [CONFIG_BOOL] = "true|false", [CONFIG_U32] = "NUMBER",
        [CONFIG_U64] = "NUMBER",    [CONFIG_PORT] = "PORT",       [CONFIG_DURATION_MS] = "DURATION",
        [CONFIG_BYTES] = "SIZE",    [CONFIG_ADDRESS] = "IP:PORT", [CONFIG_ENUM] = "",
        [CONFIG_LIST] = "WORD,...",
    };
    if (s->unit) {
        strbuf_addz(out, s->unit);
        return;
    }
    strbuf_addz(out, kinds[s->type]);
    for (size_t i = 0; s->type == CONFIG_ENUM && s->words[i]; i++) {
        if (i)
            strbuf_addc(out, '|');
        strbuf_addz(out, s->words[i]);
    }
}
