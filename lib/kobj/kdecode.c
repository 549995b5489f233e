/* A document through its table, twice: first into an arena, which checks everything and tells the size,
 * then into one block of that size. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/arena.h"
#include "lib/base/must.h"
#include "lib/kobj/core.h"
#include "lib/kobj/ktable.h"
#include "lib/kobj/ktime.h"

#define PATH_DEPTH 16
#define KPAIR_MAX  (KOBJ_BYTES_MAX - 1024) /* bytes of a map's value */

struct kdec {
    struct arena *arena; /* first time */
    char *block;         /* second time */
    size_t used, cap;
    struct { /* where in the document: a name, or an item's number */
        struct str name;
        size_t index;
        bool item;
    } path[PATH_DEPTH];
    size_t depth;
    unsigned line;
    struct errmsg *msg;
};

/* A part of the object: in the same order and size both times. NULL over the limit. */
static void *take(struct kdec *d, size_t n, size_t align)
{
    static max_align_t nothing;
    if (n == 0)
        return &nothing;
    d->used = (d->used + align - 1) & ~(align - 1);
    size_t at = d->used;
    d->used += n;
    if (d->block) {
        MUST(d->used <= d->cap);
        return d->block + at;
    }
    return d->used <= KOBJ_BYTES_MAX ? arena_alloc(d->arena, n) : NULL;
}

/* -- errors -- */

static void print_path(const struct kdec *d, const char *below, struct strbuf *out)
{
    for (size_t i = 0; i < d->depth; i++) {
        if (d->path[i].item) {
            strbuf_printf(out, "[%zu]", d->path[i].index);
            continue;
        }
        if (out->n)
            strbuf_addc(out, '.');
        strbuf_adds(out, d->path[i].name);
    }
    if (below[0]) {
        if (out->n && below[0] != '[')
            strbuf_addc(out, '.');
        strbuf_addz(out, below);
    }
}

static enum rc fail_below(struct kdec *d, const struct node *n, const char *below,
                          const char *reason)
{
    struct strbuf path AUTO_STRBUF;
    strbuf_init(&path, 300);
    print_path(d, below, &path);
    d->line = n->line;
    if (path.n)
        errmsg_set(d->msg, "%.*s%s: %s", STR_ARG(strbuf_str(&path)), path.truncated ? "…" : "",
                   reason);
    else
        errmsg_set(d->msg, "%s", reason);
    for (char *c = d->msg ? d->msg->text : NULL; c && *c; c++)
        if ((unsigned char)*c < ' ' || *c == 127)
            *c = '?'; /* of a value or key: no lines of its own in logs and statuses */
    return RC_INVALID;
}

static enum rc PRINTF_LIKE(3, 4) fail(struct kdec *d, const struct node *n, const char *fmt, ...)
{
    char reason[300];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(reason, sizeof(reason), fmt, ap);
    va_end(ap);
    return fail_below(d, n, "", reason);
}

static enum rc too_big(struct kdec *d, const struct node *n)
{
    (void)fail(d, n, "the object is larger than %u bytes", KOBJ_BYTES_MAX);
    return RC_LIMIT;
}

static enum rc wrong_kind(struct kdec *d, const struct node *n, const char *want)
{
    bool bare = strcmp(want, "a string") == 0 && (n->kind == NODE_NUMBER || n->kind == NODE_BOOL);
    return fail(d, n, "is %s, must be %s%s", node_kind_name(n->kind), want,
                bare ? ": put it in quotes" : "");
}

/* At most 40 bytes of a value for a message. */
static struct str excerpt(struct str s)
{
    return s.n <= 40 ? s : (struct str){s.p, 40};
}

/* -- single values -- */

static enum rc copy_text(struct kdec *d, const struct node *n, struct str s, struct str *ret)
{
    if (memchr(s.p, 0, s.n))
        return fail(d, n, "contains a NUL character");
    char *p = take(d, s.n + 1, 1);
    if (!p)
        return too_big(d, n);
    memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    *ret = (struct str){p, s.n};
    return RC_OK;
}

static enum rc string_of(struct kdec *d, const struct kfield *f, const struct node *n)
{
    size_t max = f->max ? f->max : KSTRING_MAX;
    if (n->kind != NODE_STRING)
        return wrong_kind(d, n, "a string");
    if (n->text.n > max)
        return fail(d, n, "is longer than %zu bytes", max);
    const char *bad = f->check ? f->check(n->text) : NULL;
    return bad ? fail(d, n, "\"%.*s\" %s", STR_ARG(excerpt(n->text)), bad) : RC_OK;
}

static enum rc decode_bool(struct kdec *d, const struct node *n, bool *ret)
{
    if (n->kind != NODE_BOOL)
        return wrong_kind(d, n, "true or false");
    *ret = str_eqz(n->text, "true");
    return RC_OK;
}

static enum rc decode_enum(struct kdec *d, const struct kfield *f, const struct node *n,
                           uint8_t *ret)
{
    char list[200] = "";
    size_t at = 0;
    if (n->kind != NODE_STRING)
        return wrong_kind(d, n, "a string");
    for (uint8_t i = 0; f->words[i]; i++) {
        if (f->words[i][0] && str_eqz(n->text, f->words[i])) {
            *ret = i;
            return RC_OK;
        }
        if (f->words[i][0] && at < sizeof(list))
            at +=
                (size_t)snprintf(list + at, sizeof(list) - at, "%s%s", at ? ", " : "", f->words[i]);
    }
    *ret = 0;
    if (f->flags & KFL_LAX)
        return RC_OK;
    return fail(d, n, "\"%.*s\" is none of %s", STR_ARG(excerpt(n->text)), list);
}

static enum rc decode_port(struct kdec *d, const struct kfield *f, const struct node *n,
                           uint16_t *ret)
{
    uint64_t v, min = f->form == KF_PORT;
    enum node_kind kind = f->form == KF_PORT ? NODE_NUMBER : NODE_STRING;
    if (n->kind != kind)
        return wrong_kind(d, n, kind == NODE_NUMBER ? "a number" : "a string");
    if (!str_to_u64(n->text, 65535, &v) || v < min)
        return fail(d, n, "\"%.*s\" is not a port, %u to 65535", STR_ARG(excerpt(n->text)),
                    (unsigned)min);
    *ret = (uint16_t)v;
    return RC_OK;
}

static enum rc decode_int_or_name(struct kdec *d, const struct node *n, struct kport_or_name *ret)
{
    static const struct kfield number = {.form = KF_PORT};
    if (n->kind == NODE_NUMBER)
        return decode_port(d, &number, n, &ret->port);
    if (n->kind != NODE_STRING)
        return wrong_kind(d, n, "a number or a string");
    if (n->text.n == 0 || n->text.n > 63)
        return fail(d, n, "must be the name of a port, 1 to 63 bytes");
    return copy_text(d, n, n->text, &ret->name);
}

static enum rc decode_addr(struct kdec *d, const struct kfield *f, const struct node *n, void *out)
{
    if (n->kind != NODE_STRING)
        return wrong_kind(d, n, "a string");
    if (f->form == KF_ADDR && addr_parse_ip(n->text, out) != RC_OK)
        return fail(d, n, "\"%.*s\" is not an IP address", STR_ARG(excerpt(n->text)));
    if (f->form == KF_CIDR && cidr_parse(n->text, out) != RC_OK)
        return fail(d, n, "\"%.*s\" is not an IP address or CIDR", STR_ARG(excerpt(n->text)));
    return RC_OK;
}

static enum rc decode_int64(struct kdec *d, const struct node *n, int64_t *ret)
{
    uint64_t v;
    if (n->kind != NODE_NUMBER)
        return wrong_kind(d, n, "a number");
    if (!str_to_u64(n->text, INT64_MAX, &v))
        return fail(d, n, "\"%.*s\" is not a whole number from 0 on", STR_ARG(excerpt(n->text)));
    *ret = (int64_t)v;
    return RC_OK;
}

static enum rc decode_int(struct kdec *d, const struct kfield *f, const struct node *n,
                          int32_t *ret)
{
    int32_t high = f->high ? f->high : INT32_MAX;
    struct str digits = n->text;
    uint64_t v;
    if (n->kind != NODE_NUMBER)
        return wrong_kind(d, n, "a number");
    bool minus = digits.n && digits.p[0] == '-';
    if (minus)
        digits = (struct str){digits.p + 1, digits.n - 1};
    if (str_to_u64(digits, INT32_MAX, &v))
        *ret = minus ? -(int32_t)v : (int32_t)v;
    if (!str_to_u64(digits, INT32_MAX, &v) || *ret < f->low || *ret > high)
        return fail(d, n, "\"%.*s\" is not a whole number from %d to %d", STR_ARG(excerpt(n->text)),
                    f->low, high);
    return RC_OK;
}

static enum rc decode_decimal(struct kdec *d, const struct kfield *f, const struct node *n,
                              int64_t *ret)
{
    char text[41];
    double high = f->high ? f->high : INT32_MAX;
    if (n->kind != NODE_NUMBER)
        return wrong_kind(d, n, "a number");
    snprintf(text, sizeof(text), "%.*s", STR_ARG(excerpt(n->text)));
    double v = strtod(text, NULL);
    if (n->text.n >= sizeof(text) || !(v >= f->low && v <= high))
        return fail(d, n, "\"%.*s\" is not a number from %d to %.0f", STR_ARG(excerpt(n->text)),
                    f->low, high);
    *ret = (int64_t)(v * 1e6 + 0.5);
    return RC_OK;
}

static enum rc decode_duration(struct kdec *d, const struct kfield *f, const struct node *n,
                               int64_t *ret)
{
    if (n->kind != NODE_STRING)
        return wrong_kind(d, n, "a string");
    const char *bad = f->check ? f->check(n->text) : NULL;
    if (!bad && !kduration_parse(n->text, ret))
        bad = "is not a duration like 1m30s";
    return bad ? fail(d, n, "\"%.*s\" %s", STR_ARG(excerpt(n->text)), bad) : RC_OK;
}

static enum rc copy_base64(struct kdec *d, const struct node *n, struct str *ret)
{
    size_t room = n->text.n / 4 * 3;
    char *p = take(d, room + 1, 1);
    if (!p)
        return too_big(d, n);
    if (!kbase64_decode(n->text, p, &room))
        return fail(d, n, "is not base64");
    p[room] = '\0';
    *ret = (struct str){p, room};
    return RC_OK;
}

static enum rc decode_time(struct kdec *d, const struct node *n, int64_t *ret)
{
    if (n->kind != NODE_STRING)
        return wrong_kind(d, n, "a string");
    if (!ktime_parse(n->text, ret))
        return fail(d, n, "\"%.*s\" is not a time like 2026-01-31T12:00:00Z",
                    STR_ARG(excerpt(n->text)));
    return RC_OK;
}

/* -- maps and lists -- */

static int pair_cmp(const void *a, const void *b)
{
    return str_cmp(((const struct kpair *)a)->key, ((const struct kpair *)b)->key);
}

static enum rc decode_pair(struct kdec *d, const struct kfield *f, const struct node *c,
                           struct kpair *ret)
{
    static const struct kfield any = {.form = KF_STRING, .max = KPAIR_MAX};
    const char *bad = f->map->key(c->key);
    if (bad)
        return fail(d, c, "key \"%.*s\" %s", STR_ARG(excerpt(c->key)), bad);
    enum rc rc = string_of(d, &any, c);
    if (rc != RC_OK)
        return rc;
    bad = f->map->value ? f->map->value(c->text) : NULL;
    if (bad)
        return fail(d, c, "\"%.*s\" %s", STR_ARG(excerpt(c->text)), bad);
    rc = RC_OK;
    if (!f->map->keep || f->map->keep(c->key))
        rc = copy_text(d, c, c->key, &ret->key);
    if (rc == RC_OK && ret->key.p)
        rc =
            f->map->base64 ? copy_base64(d, c, &ret->value) : copy_text(d, c, c->text, &ret->value);
    return rc;
}

static enum rc decode_map(struct kdec *d, const struct kfield *f, const struct node *n,
                          struct kmap *ret)
{
    size_t kept = 0, bytes = 0;
    uint32_t max = f->max ? f->max : KITEMS_MAX;
    if (n->kind != NODE_MAP)
        return wrong_kind(d, n, "a map");
    if (n->len > max)
        return fail(d, n, "has %zu entries, more than %u", n->len, max);
    NODE_FOREACH (c, n) {
        bytes += c->key.n + c->text.n;
        kept += !f->map->keep || f->map->keep(c->key);
    }
    if (f->map->max_bytes && bytes > f->map->max_bytes)
        return fail(d, n, "is larger than %zu bytes", f->map->max_bytes);
    struct kpair *v = take(d, kept * sizeof(*v), _Alignof(struct kpair));
    if (!v)
        return too_big(d, n);
    size_t i = 0;
    NODE_FOREACH (c, n) {
        struct kpair pair = {0};
        d->path[d->depth++].name = c->key;
        enum rc rc = decode_pair(d, f, c, &pair);
        d->depth--;
        if (rc != RC_OK)
            return rc;
        if (pair.key.p)
            v[i++] = pair;
    }
    qsort(v, i, sizeof(*v), pair_cmp);
    *ret = (struct kmap){.n = (uint32_t)i, .v = v};
    return RC_OK;
}

static int number_cmp(const void *a, const void *b)
{
    return str_cmp(((const struct knumber *)a)->key, ((const struct knumber *)b)->key);
}

static enum rc decode_numbers(struct kdec *d, const struct kfield *f, const struct node *n,
                              struct klist *ret)
{
    uint32_t max = f->max ? f->max : KITEMS_MAX;
    if (n->kind != NODE_MAP)
        return wrong_kind(d, n, "a map");
    if (n->len > max)
        return fail(d, n, "has %zu entries, more than %u", n->len, max);
    struct knumber *v = take(d, n->len * sizeof(*v), _Alignof(struct knumber));
    if (!v)
        return too_big(d, n);
    uint32_t i = 0;
    NODE_FOREACH (c, n) {
        d->path[d->depth].item = false;
        d->path[d->depth++].name = excerpt(c->key);
        const char *bad = f->check ? f->check(c->key) : NULL;
        enum rc rc = bad ? fail(d, c, "key \"%.*s\" %s", STR_ARG(excerpt(c->key)), bad)
                         : copy_text(d, c, c->key, &v[i].key);
        if (rc == RC_OK)
            rc = decode_int(d, f, c, &v[i++].value);
        d->depth--;
        if (rc != RC_OK)
            return rc;
    }
    qsort(v, i, sizeof(*v), number_cmp);
    *ret = (struct klist){.n = i, .v = v};
    return RC_OK;
}

static enum rc decode_value(struct kdec *d, const struct kfield *f, const struct node *n, void *out,
                            bool strict);
static enum rc decode_struct(struct kdec *d, const struct ktype *t, const struct node *n, void *out,
                             bool strict);

/* KF_LIST and KF_DICT. */
static enum rc decode_list(struct kdec *d, const struct kfield *f, const struct node *n,
                           struct klist *ret, bool strict)
{
    static const struct kfield dict_value = {.form = KF_STRUCT};
    const bool dict = f->form == KF_DICT;
    struct kfield element = dict ? dict_value : *f->of;
    uint32_t max = f->max ? f->max : KITEMS_MAX;
    if (dict)
        element.type = f->type;
    if (n->kind != (dict ? NODE_MAP : NODE_LIST))
        return wrong_kind(d, n, dict ? "a map" : "a list");
    if (n->len > max)
        return fail(d, n, "has %zu entries, more than %u", n->len, max);
    if (n->len == 0 && (f->flags & KFL_FILLED))
        return fail(d, n, "must not be empty");
    size_t size = kfield_size(&element), kept = 0, i = 0, index = 0;
    NODE_FOREACH (c, n)
        kept += !f->keep || f->keep(c);
    char *v = take(d, kept * size, 8);
    if (!v)
        return too_big(d, n);
    NODE_FOREACH (c, n) {
        size_t here = index++;
        if (f->keep && !f->keep(c))
            continue;
        char *at = v + i++ * size;
        d->path[d->depth].item = !dict;
        d->path[d->depth].name = c->key;
        d->path[d->depth++].index = here;
        kclear(&element, at);
        enum rc rc = c->kind == NODE_NULL ? fail(d, c, "must not be null") : RC_OK;
        if (rc == RC_OK && dict)
            rc = copy_text(d, c, c->key, (struct str *)(void *)at);
        if (rc == RC_OK)
            rc = decode_value(d, &element, c, at, strict);
        d->depth--;
        if (rc != RC_OK)
            return rc;
    }
    *ret = (struct klist){.n = (uint32_t)i, .v = v};
    return RC_OK;
}

static enum rc decode_one(struct kdec *d, const struct kfield *f, const struct node *n,
                          struct klist *ret, bool strict)
{
    if (ret->n || (f->keep && !f->keep(n)))
        return RC_OK;
    void *v = take(d, kfield_size(f->of), 8);
    if (!v)
        return too_big(d, n);
    kclear(f->of, v);
    *ret = (struct klist){.n = 1, .v = v};
    return decode_value(d, f->of, n, v, strict);
}

/* out: the value's place itself. */
static enum rc decode_value(struct kdec *d, const struct kfield *f, const struct node *n, void *out,
                            bool strict)
{
    bool b = false;
    enum rc rc;
    switch ((enum kform)f->form) {
    case KF_SKIP:        return RC_OK;
    case KF_FOUND:       *(bool *)out = true; return RC_OK;
    case KF_ENUM:        return decode_enum(d, f, n, out);
    case KF_PORT:
    case KF_PORT_TEXT:   return decode_port(d, f, n, out);
    case KF_INT_OR_NAME: return decode_int_or_name(d, n, out);
    case KF_INT64:       return decode_int64(d, n, out);
    case KF_INT:         return decode_int(d, f, n, out);
    case KF_DECIMAL:     return decode_decimal(d, f, n, out);
    case KF_DURATION:    return decode_duration(d, f, n, out);
    case KF_TIME:        return decode_time(d, n, out);
    case KF_ADDR:
    case KF_CIDR:        return decode_addr(d, f, n, out);
    case KF_MAP:         return decode_map(d, f, n, out);
    case KF_STRUCT:      return decode_struct(d, f->type, n, out, strict && !(f->flags & KFL_LOOSE));
    case KF_LIST:
    case KF_DICT:        return decode_list(d, f, n, out, strict);
    case KF_NUMBERS:     return decode_numbers(d, f, n, out);
    case KF_ONE:         return decode_one(d, f, n, out, strict);
    case KF_BOOL:        return decode_bool(d, n, out);
    case KF_STRING:
        rc = string_of(d, f, n);
        return rc == RC_OK ? copy_text(d, n, n->text, out) : rc;
    case KF_BYTES: rc = string_of(d, f, n); return rc == RC_OK ? copy_base64(d, n, out) : rc;
    case KF_TRI:
        rc = decode_bool(d, n, &b);
        *(uint8_t *)out = b ? KTRI_TRUE : KTRI_FALSE;
        return rc;
    case KF_OPTION: break;
    }
    void *p = take(d, f->type->size, 8);
    if (!p)
        return too_big(d, n);
    kclear_struct(f->type, p);
    *(void **)out = p;
    return decode_struct(d, f->type, n, p, strict);
}

static const struct kfield *find_field(const struct ktype *t, struct str name)
{
    for (const struct kfield *f = t->fields; f->name; f++)
        if (str_eqz(name, f->name))
            return f;
    return NULL;
}

static enum rc unknown_field(struct kdec *d, const struct ktype *t, const struct node *c)
{
    const char *words[32];
    size_t n = 0;
    for (const struct kfield *f = t->fields; f->name && n < ARRAY_LEN(words); f++)
        words[n++] = f->name;
    const char *near = str_nearest(c->key, words, n);
    return near ? fail(d, c, "unknown field, did you mean %s?", near) : fail(d, c, "unknown field");
}

static enum rc decode_struct(struct kdec *d, const struct ktype *t, const struct node *n, void *out,
                             bool strict)
{
    strict = strict || t->strict;
    if (n->kind != NODE_MAP)
        return wrong_kind(d, n, "a map");
    MUST(d->depth < PATH_DEPTH - 1);
    NODE_FOREACH (c, n) {
        const struct kfield *f = find_field(t, c->key);
        if (!f && !strict)
            continue;
        d->path[d->depth].item = false;
        d->path[d->depth++].name = excerpt(c->key);
        enum rc rc = RC_OK;
        if (!f)
            rc = unknown_field(d, t, c);
        else if (c->kind != NODE_NULL) /* null is absent, as the API server has it */
            rc = decode_value(d, f, c, (char *)out + f->offset, strict);
        d->depth--;
        if (rc != RC_OK)
            return rc;
    }
    for (const struct kfield *f = t->fields; f->name; f++) {
        const struct node *c = (f->flags & KFL_REQUIRED) ? node_get(n, f->name) : n;
        if (!c || c->kind == NODE_NULL)
            return fail_below(d, n, f->name, "is required");
    }
    struct kwhy why = {"", ""};
    if (t->check && !t->check(out, &why))
        return fail_below(d, n, why.field, why.reason);
    return RC_OK;
}

static enum rc decode_once(struct kdec *d, const struct ktype *t, const struct node *doc,
                           void **ret)
{
    void *out = take(d, t->size, 8);
    MUST(out); /* the first piece of a fresh arena or of a block that is large enough */
    kclear_struct(t, out);
    *ret = out;
    return decode_struct(d, t, doc, out, false);
}

enum rc kdecode(const struct ktype *t, const struct node *doc, void **ret, size_t *ret_size,
                unsigned *ret_line, struct errmsg *ret_msg)
{
    struct arena arena AUTO_ARENA;
    void *obj;
    arena_init(&arena, KOBJ_BYTES_MAX + 4096);
    struct kdec first = {.arena = &arena, .msg = ret_msg};
    enum rc rc = decode_once(&first, t, doc, &obj);
    if (rc != RC_OK) {
        if (ret_line)
            *ret_line = first.line;
        return rc;
    }
    struct kdec second = {.block = mem_zalloc(first.used), .cap = first.used};
    rc = decode_once(&second, t, doc, &obj);
    MUST(rc == RC_OK && second.used == first.used);
    *ret = obj;
    *ret_size = second.used;
    return RC_OK;
}
