/* JSON text to a tree and back: what was written from the tree is read as the same tree. */
#include "lib/base/must.h"
#include "lib/codec/node.h"
#include "tests/helper/fuzz.h"

static void write_node(struct strbuf *out, const struct node *n)
{
    bool map = n->kind == NODE_MAP;
    switch (n->kind) {
    case NODE_NULL:   strbuf_addz(out, "null"); return;
    case NODE_BOOL:
    case NODE_NUMBER: strbuf_adds(out, n->text); return;
    case NODE_STRING:
        strbuf_addc(out, '"');
        strbuf_add_json(out, n->text);
        strbuf_addc(out, '"');
        return;
    case NODE_LIST:
    case NODE_MAP:
        strbuf_addc(out, map ? '{' : '[');
        NODE_FOREACH (c, n) {
            if (c != n->child)
                strbuf_addc(out, ',');
            if (map) {
                strbuf_addc(out, '"');
                strbuf_add_json(out, c->key);
                strbuf_addz(out, "\":");
            }
            write_node(out, c);
        }
        strbuf_addc(out, map ? '}' : ']');
    }
}

static void check_same(const struct node *a, const struct node *b)
{
    MUST(a->kind == b->kind && a->len == b->len && str_eq(a->text, b->text) &&
         str_eq(a->key, b->key));
    const struct node *d = b->child;
    NODE_FOREACH (c, a) {
        MUST(d);
        check_same(c, d);
        d = d->next;
    }
    MUST(!d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct arena a AUTO_ARENA;
    struct strbuf out AUTO_STRBUF;
    struct node *doc, *again;
    arena_init(&a, 64 << 20);
    strbuf_init(&out, 64 << 20);
    if (json_parse(&a, (struct str){(const char *)data, n}, &doc, NULL) != RC_OK)
        return 0;
    write_node(&out, doc);
    MUST(json_parse(&a, strbuf_str(&out), &again, NULL) == RC_OK);
    check_same(doc, again);
    return 0;
}
