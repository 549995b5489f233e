/* Building a node tree from the events of a parser, inside the limits. For yaml.c and json.c only. */
#pragma once

#include "lib/codec/node.h"

#define NODE_DEPTH_MAX 64
#define NODES_MAX      1000000

struct node_build {
    struct arena *arena;
    struct node *open[NODE_DEPTH_MAX]; /* lists and maps that are not complete */
    size_t depth, nodes;
    struct node *root; /* the complete document, NULL until then */
    struct str key;    /* of the map's next value */
    bool has_key;
    unsigned line; /* of what was refused */
    struct errmsg *msg;
};

/* All copy what they are given. RC_LIMIT: depth, nodes or the arena. */
/* RC_EXISTS from _close: a duplicate key. Within a map _key comes before each value. */
NODISCARD enum rc node_build_key(struct node_build *b, struct str key);
NODISCARD enum rc node_build_scalar(struct node_build *b, enum node_kind kind, struct str text,
                                    bool quoted, unsigned line);
NODISCARD enum rc node_build_open(struct node_build *b, enum node_kind kind, unsigned line);
NODISCARD enum rc node_build_close(struct node_build *b);
/* The document is whole: hands out the root, ready for the next one. */
struct node *node_build_take(struct node_build *b);
/* Is the next event of this map's a key? */
bool node_build_wants_key(const struct node_build *b);

enum rc node_build_fail(struct node_build *b, enum rc rc, unsigned line, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

/* Length of the JSON number at the front of s, 0 when there is none. */
size_t json_number_len(struct str s);

/* How Kubernetes (sigs.k8s.io/yaml) reads a plain scalar of YAML. text is what JSON would hold: a view
 * into s, into constants, or into buf. */
#define YAML_NUMBER_MAX 128
struct yaml_plain {
    enum node_kind kind;
    struct str text;
    bool not_json; /* .inf or .nan: a number without a form in JSON */
    char buf[YAML_NUMBER_MAX + 4];
};
void yaml_plain_resolve(struct str s, struct yaml_plain *ret);
