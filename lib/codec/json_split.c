#include "lib/codec/json_split.h"

#include "lib/base/mem.h"

#define HELD_KEEP (64u << 10) /* memory kept between values */

enum split_state {
    SPLIT_BETWEEN,   /* objects, or before the one object */
    SPLIT_KEY_FIRST, /* a key, or the end of the object */
    SPLIT_KEY,       /* a key */
    SPLIT_COLON,
    SPLIT_MEMBER,     /* the value of a member */
    SPLIT_ITEM_FIRST, /* an item, or the end of the list */
    SPLIT_ITEM,       /* an item */
    SPLIT_AFTER,      /* comma, or the end of the object */
    SPLIT_AFTER_ITEM, /* comma, or the end of the list */
    SPLIT_INSIDE,     /* of a value */
    SPLIT_DONE,       /* nothing but space */
};

/* What the value inside is. */
enum split_target { TARGET_OBJECT, TARGET_KEY, TARGET_MEMBER, TARGET_ITEM };

void json_split_init(struct json_split *s, enum json_split_mode mode, size_t max, json_split_fn *fn,
                     void *owner)
{
    *s = (struct json_split){.mode = mode, .fn = fn, .owner = owner, .state = SPLIT_BETWEEN};
    strbuf_init(&s->held, max);
}

void json_split_fini(struct json_split *s)
{
    strbuf_fini(&s->held);
}

bool json_split_complete(const struct json_split *s)
{
    return s->state == (s->mode == JSON_SPLIT_VALUES ? SPLIT_BETWEEN : SPLIT_DONE);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void begin(struct json_split *s, enum split_target target, char c)
{
    s->target = target;
    s->state = SPLIT_INSIDE;
    s->quoted = c == '"';
    s->escaped = false;
    s->depth = c == '{' || c == '[';
    s->scalar = !s->quoted && !s->depth;
}

/* Between values. False: c can't stand here. */
static bool outside(struct json_split *s, char c)
{
    switch ((enum split_state)s->state) {
    case SPLIT_BETWEEN:
        if (c != '{')
            return false;
        if (s->mode == JSON_SPLIT_VALUES)
            begin(s, TARGET_OBJECT, c);
        else
            s->state = SPLIT_KEY_FIRST;
        return true;
    case SPLIT_KEY_FIRST:
        if (c == '}') {
            s->state = SPLIT_DONE;
            return true;
        }
        /* fallthrough */
    case SPLIT_KEY:
        if (c == '"')
            begin(s, TARGET_KEY, c);
        return c == '"';
    case SPLIT_COLON: s->state = SPLIT_MEMBER; return c == ':';
    case SPLIT_MEMBER:
        if (c == '[' && str_eqz((struct str){s->key, s->key_n}, "items"))
            s->state = SPLIT_ITEM_FIRST;
        else
            begin(s, TARGET_MEMBER, c);
        return c != ',' && c != '}' && c != ']' && c != ':';
    case SPLIT_ITEM_FIRST:
        if (c == ']') {
            s->state = SPLIT_AFTER;
            return true;
        }
        /* fallthrough */
    case SPLIT_ITEM:  begin(s, TARGET_ITEM, c); return c != ',' && c != '}' && c != ']' && c != ':';
    case SPLIT_AFTER: s->state = c == ',' ? SPLIT_KEY : SPLIT_DONE; return c == ',' || c == '}';
    case SPLIT_AFTER_ITEM:
        s->state = c == ',' ? SPLIT_ITEM : SPLIT_AFTER;
        return c == ',' || c == ']';
    case SPLIT_INSIDE:
    case SPLIT_DONE:   break;
    }
    return false;
}

/* Bytes of p that belong to the value; *ret_end when its last one is among them. */
static size_t inside(struct json_split *s, struct str p, bool *ret_end)
{
    *ret_end = false;
    for (size_t i = 0; i < p.n; i++) {
        char c = p.p[i];
        if (s->escaped) {
            s->escaped = false;
        } else if (s->quoted) {
            s->escaped = c == '\\';
            s->quoted = c != '"';
            *ret_end = !s->quoted && s->depth == 0;
        } else if (s->scalar) {
            if (is_space(c) || c == ',' || c == '}' || c == ']') {
                *ret_end = true;
                return i;
            }
        } else if (c == '"') {
            s->quoted = true;
        } else if (c == '{' || c == '[') {
            s->depth++;
        } else if (c == '}' || c == ']') {
            *ret_end = --s->depth == 0;
        }
        if (*ret_end)
            return i + 1;
    }
    return p.n;
}

static enum rc give(struct json_split *s, struct str text)
{
    switch ((enum split_target)s->target) {
    case TARGET_KEY:
        s->state = SPLIT_COLON;
        s->key_n =
            MIN(text.n - 2, sizeof(s->key)); /* without its quotes; longer ones are not ours */
        memcpy(s->key, text.p + 1, s->key_n);
        return RC_OK;
    case TARGET_OBJECT: s->state = SPLIT_BETWEEN; return s->fn(s->owner, STR(""), text);
    case TARGET_ITEM:   s->state = SPLIT_AFTER_ITEM; return s->fn(s->owner, STR("items"), text);
    case TARGET_MEMBER: s->state = SPLIT_AFTER; break;
    }
    return s->fn(s->owner, (struct str){s->key, s->key_n}, text);
}

static enum rc finish(struct json_split *s, struct str last)
{
    if (s->held.n == 0)
        return give(s, last);
    strbuf_adds(&s->held, last);
    if (s->held.truncated)
        return RC_LIMIT;
    enum rc rc = give(s, strbuf_str(&s->held));
    size_t max = s->held.max;
    if (s->held.cap <= HELD_KEEP) {
        strbuf_reset(&s->held);
    } else {
        strbuf_fini(&s->held);
        strbuf_init(&s->held, max);
    }
    return rc;
}

enum rc json_split_feed(struct json_split *s, struct str part, struct errmsg *ret_msg)
{
    for (size_t at = 0; at < part.n;) {
        size_t from = at;
        if (s->state != SPLIT_INSIDE) {
            char c = part.p[at++];
            if (!is_space(c) && !outside(s, c)) {
                errmsg_set(ret_msg, "no JSON of the expected form: unexpected character 0x%02x",
                           (unsigned char)c);
                return RC_INVALID;
            }
            if (s->state != SPLIT_INSIDE)
                continue;
        }
        bool end;
        at += inside(s, (struct str){part.p + at, part.n - at}, &end);
        struct str text = {part.p + from, at - from};
        enum rc rc = RC_OK;
        if (end)
            rc = finish(s, text);
        else
            strbuf_adds(&s->held, text);
        if (s->held.truncated || text.n > s->held.max) {
            errmsg_set(ret_msg, "a value is larger than %zu bytes", s->held.max);
            return RC_LIMIT;
        }
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}
