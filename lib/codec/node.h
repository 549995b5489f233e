/* A parsed YAML or JSON document as a tree with positions, in an arena. Any text from outside
 * arrives in this form. Limits: depth 64, nodes 1,000,000, bytes as the arena's max; strings are
 * UTF-8; duplicate keys are errors. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/arena.h"
#include "lib/base/str.h"

enum node_kind { NODE_NULL, NODE_BOOL, NODE_NUMBER, NODE_STRING, NODE_LIST, NODE_MAP };

struct node {
    enum node_kind kind;
    bool quoted;               /* YAML: the scalar was quoted (then it is a NODE_STRING) */
    unsigned line;             /* 1-based */
    struct str text;           /* of a scalar, as JSON has it; numbers as written; "true"/"false" */
    struct node *child, *last; /* first child of a list or map */
    struct node *next;         /* sibling */
    struct str key;            /* within a map */
    size_t len;                /* children */
};

/* All documents of a YAML stream, chained by next, empty ones left out. On error *ret_line (may
 * be NULL) is the line and ret_msg the reason; documents before it are still returned in *ret.
 * Anchors, aliases (billion laughs), merge keys and tags other than the core ones are refused.
 * Plain scalars mean what they mean to Kubernetes (sigs.k8s.io/yaml, which is YAML 1.1): yes, no, on,
 * off, y and n are booleans, 0x1f and 017 numbers, dates strings. Numbers and keys become what JSON
 * would hold: 0x1f is "31", the key `on` is "true".
 * RC_INVALID; RC_EXISTS: a duplicate key; RC_LIMIT: depth, nodes or the arena. */
NODISCARD enum rc yaml_parse(struct arena *a, struct str text, struct node **ret,
                             unsigned *ret_line, struct errmsg *ret_msg);
/* One JSON text (RFC 8259), strict. ret_msg begins with "line N: "; *ret is untouched on error. */
NODISCARD enum rc json_parse(struct arena *a, struct str text, struct node **ret,
                             struct errmsg *ret_msg);

/* Child of a map by key; NULL when absent or not a map. */
const struct node *node_get(const struct node *map, const char *key);
/* "metadata.name"; NULL when any part is absent. No path reaches a key with a dot. */
const struct node *node_path(const struct node *map, const char *path);
struct str node_str(const struct node *n);    /* empty unless a string */
const char *node_kind_name(enum node_kind k); /* "a map", "null" */
#define NODE_FOREACH(var, parent) \
    for (const struct node *var = (parent) ? (parent)->child : NULL; var; var = var->next)
