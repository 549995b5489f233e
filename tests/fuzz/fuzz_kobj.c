/* YAML → objects; what is accepted must survive the way through JSON unchanged. */
#include "lib/kobj/kobj.h"
#include "tests/helper/fuzz.h"

static void again(const struct kobj *o)
{
    struct arena a AUTO_ARENA;
    struct strbuf b AUTO_STRBUF;
    struct node *doc;
    struct kobj *copy AUTO(kobj_unref) = NULL;
    struct errmsg e;
    arena_init(&a, 256u << 20);
    strbuf_init(&b, 64u << 20);
    kobj_encode(o, &b);
    if (json_parse(&a, strbuf_str(&b), &doc, &e) != RC_OK ||
        kobj_decode(doc, &copy, NULL, &e) != RC_OK || !kobj_eq(o, copy))
        __builtin_trap();
}

static void decode(const struct node *doc)
{
    struct kobj *o AUTO(kobj_unref) = NULL;
    struct errmsg e = {""};
    unsigned line;
    enum rc rc = kobj_decode(doc, &o, &line, &e);
    if (rc == RC_OK)
        again(o);
    else if (!e.text[0])
        __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct arena a AUTO_ARENA;
    struct node *docs = NULL;
    arena_init(&a, 64u << 20);
    (void)!yaml_parse(&a, (struct str){(const char *)data, n}, &docs, NULL, NULL);
    for (const struct node *doc = docs; doc; doc = doc->next) {
        const struct node *items = kobj_list_items(doc);
        if (!items)
            decode(doc);
        NODE_FOREACH (item, items)
            decode(item);
    }
    return 0;
}
