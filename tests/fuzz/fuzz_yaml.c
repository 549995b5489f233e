/* YAML text to trees whose promises hold: numbers are JSON's, texts UTF-8, keys unique. */
#include "lib/base/must.h"
#include "lib/codec/node_build.h"
#include "tests/helper/fuzz.h"

static void check_node(const struct node *n, unsigned depth)
{
    size_t len = 0;
    MUST(depth <= NODE_DEPTH_MAX + 1 && n->line > 0);
    MUST(str_is_utf8(n->text) && str_is_utf8(n->key));
    MUST(n->kind != NODE_NUMBER || json_number_len(n->text) == n->text.n);
    MUST(n->kind != NODE_BOOL || str_eqz(n->text, "true") || str_eqz(n->text, "false"));
    MUST(!n->quoted || n->kind == NODE_STRING);
    NODE_FOREACH (c, n) {
        check_node(c, depth + 1);
        MUST(c->next || c == n->last);
        const struct node *same = n->child; /* the first of its key is the child itself */
        while (n->kind == NODE_MAP && len < 50 && !str_eq(same->key, c->key))
            same = same->next;
        MUST(n->kind != NODE_MAP || len >= 50 || same == c);
        len++;
    }
    MUST(len == n->len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct arena a AUTO_ARENA;
    struct node *docs = NULL;
    struct errmsg e = {""};
    unsigned line = 0;
    arena_init(&a, 64 << 20);
    enum rc rc = yaml_parse(&a, (struct str){(const char *)data, n}, &docs, &line, &e);
    MUST(rc == RC_OK || (line > 0 && e.text[0]));
    NODE_FOREACH (d, &(struct node){.child = docs})
        check_node(d, 1);
    return 0;
}
