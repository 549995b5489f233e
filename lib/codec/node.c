#include "lib/codec/node.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/base/must.h"
#include "lib/codec/node_build.h"

/* -- reading -- */

static const struct node *child_of(const struct node *map, struct str key)
{
    if (!map || map->kind != NODE_MAP)
        return NULL;
    NODE_FOREACH (c, map)
        if (str_eq(c->key, key))
            return c;
    return NULL;
}

const struct node *node_get(const struct node *map, const char *key)
{
    return child_of(map, str_of(key));
}

const struct node *node_path(const struct node *map, const char *path)
{
    struct str rest = str_of(path);
    while (map && rest.n) {
        struct str part = str_split(rest, '.', &rest);
        map = child_of(map, part);
    }
    return map;
}

struct str node_str(const struct node *n)
{
    return n && n->kind == NODE_STRING ? n->text : STR("");
}

const char *node_kind_name(enum node_kind k)
{
    switch (k) {
    case NODE_NULL:   return "null";
    case NODE_BOOL:   return "a boolean";
    case NODE_NUMBER: return "a number";
    case NODE_STRING: return "a string";
    case NODE_LIST:   return "a list";
    case NODE_MAP:    return "a map";
    }
    return "?";
}

/* -- building -- */

enum rc node_build_fail(struct node_build *b, enum rc rc, unsigned line, const char *fmt, ...)
{
    char text[300];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    errmsg_set(b->msg, "%s", text);
    b->line = line;
    return rc;
}

static enum rc too_large(struct node_build *b, unsigned line)
{
    return node_build_fail(b, RC_LIMIT, line, "the document is too large");
}

static enum rc copy(struct node_build *b, struct str s, unsigned line, struct str *ret)
{
    char *p = arena_strndup(b->arena, s.p, s.n);
    if (!p)
        return too_large(b, line);
    *ret = (struct str){p, s.n};
    return RC_OK;
}

static struct node *top(const struct node_build *b)
{
    return b->depth ? b->open[b->depth - 1] : NULL;
}

bool node_build_wants_key(const struct node_build *b)
{
    return b->depth && top(b)->kind == NODE_MAP && !b->has_key;
}

enum rc node_build_key(struct node_build *b, struct str key)
{
    MUST(node_build_wants_key(b));
    enum rc rc = copy(b, key, b->line, &b->key);
    b->has_key = rc == RC_OK;
    return rc;
}

static enum rc add(struct node_build *b, enum node_kind kind, unsigned line, struct node **ret)
{
    struct node *parent = top(b), *n;
    b->line = line;
    if (++b->nodes > NODES_MAX)
        return node_build_fail(b, RC_LIMIT, line, "more than %d values", NODES_MAX);
    n = arena_new(b->arena, struct node);
    if (!n)
        return too_large(b, line);
    n->kind = kind;
    n->line = line;
    *ret = n;
    if (!parent) {
        MUST(!b->root);
        b->root = n;
        return RC_OK;
    }
    MUST(b->has_key == (parent->kind == NODE_MAP));
    if (b->has_key)
        n->key = b->key;
    b->has_key = false;
    if (parent->last)
        parent->last->next = n;
    else
        parent->child = n;
    parent->last = n;
    parent->len++;
    return RC_OK;
}

enum rc node_build_scalar(struct node_build *b, enum node_kind kind, struct str text, bool quoted,
                          unsigned line)
{
    struct node *n;
    enum rc rc = add(b, kind, line, &n);
    if (rc != RC_OK)
        return rc;
    n->quoted = quoted;
    return copy(b, text, line, &n->text);
}

enum rc node_build_open(struct node_build *b, enum node_kind kind, unsigned line)
{
    struct node *n;
    if (b->depth == NODE_DEPTH_MAX)
        return node_build_fail(b, RC_LIMIT, line, "nested deeper than %d", NODE_DEPTH_MAX);
    enum rc rc = add(b, kind, line, &n);
    if (rc == RC_OK)
        b->open[b->depth++] = n;
    return rc;
}

static int by_key(const void *a, const void *b)
{
    return str_cmp((*(const struct node *const *)a)->key, (*(const struct node *const *)b)->key);
}

/* Some child whose key an other one has too, NULL without one. */
static const struct node *duplicate_find(const struct node *map)
{
    const struct node *found = NULL;
    size_t i = 0;
    if (map->len < 2)
        return NULL;
    const struct node **v AUTO_FREE = mem_calloc(map->len, sizeof(*v));
    NODE_FOREACH (c, map)
        v[i++] = c;
    qsort(v, map->len, sizeof(*v), by_key);
    for (i = 1; i < map->len && !found; i++)
        if (str_eq(v[i - 1]->key, v[i]->key))
            found = v[i]->line > v[i - 1]->line ? v[i] : v[i - 1];
    return found;
}

enum rc node_build_close(struct node_build *b)
{
    MUST(b->depth && !b->has_key);
    const struct node *n = b->open[--b->depth];
    const struct node *twin = n->kind == NODE_MAP ? duplicate_find(n) : NULL;
    if (!twin)
        return RC_OK;
    return node_build_fail(b, RC_EXISTS, twin->line, "key \"%.*s\" occurs twice in one map",
                           (int)MIN(twin->key.n, (size_t)100), twin->key.p);
}

struct node *node_build_take(struct node_build *b)
{
    MUST(b->depth == 0);
    return TAKE(b->root);
}
