/* A list in parts: parts of any size give the same items, and what is JSON with a list "items" gives as many
 * as its tree has. The first byte is the size of the parts. */
#include "lib/base/hash.h"
#include "lib/base/mem.h"
#include "lib/base/must.h"
#include "lib/codec/json_split.h"
#include "lib/codec/node.h"
#include "tests/helper/fuzz.h"

struct count {
    size_t items;
    uint64_t hash;
};

static enum rc on_value(void *owner, struct str key, struct str text)
{
    struct count *c = owner;
    c->items += str_eqz(key, "items");
    c->hash = hash_mix(c->hash, hash_str(text));
    return RC_OK;
}

static enum rc split(enum json_split_mode mode, struct str text, size_t part, struct count *ret)
{
    struct json_split s;
    enum rc rc = RC_OK;
    *ret = (struct count){0};
    json_split_init(&s, mode, 1 << 20, on_value, ret);
    for (size_t at = 0; at < text.n && rc == RC_OK; at += part)
        rc = json_split_feed(&s, (struct str){text.p + at, MIN(part, text.n - at)}, NULL);
    if (rc == RC_OK && !json_split_complete(&s))
        rc = RC_AGAIN;
    json_split_fini(&s);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2)
        return 0;
    struct arena a AUTO_ARENA;
    struct node *doc;
    struct count whole, parts;
    struct str text = {(const char *)data + 1, n - 1};
    arena_init(&a, 64 << 20);
    for (int mode = JSON_SPLIT_VALUES; mode <= JSON_SPLIT_ITEMS; mode++) {
        enum rc one = split((enum json_split_mode)mode, text, text.n, &whole);
        enum rc many = split((enum json_split_mode)mode, text, (size_t)data[0] % 17 + 1, &parts);
        MUST(one == many && whole.items == parts.items && whole.hash == parts.hash);
        if (mode == JSON_SPLIT_VALUES || json_parse(&a, text, &doc, NULL) != RC_OK ||
            doc->kind != NODE_MAP)
            continue;
        MUST(one == RC_OK);
        const struct node *items = node_get(doc, "items");
        if (items && items->kind == NODE_LIST)
            MUST(items->len <= whole.items); /* the key may be there once more, with an escape */
    }
    return 0;
}
