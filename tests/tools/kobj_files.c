/* What lib/kobj says to files that others have written: a line a document, YAML or JSON.
 *
 *   kobj_files FILE...
 *   ok FILE:LINE KIND NS/NAME BYTES       decoded, and the same after the way through JSON
 *   refused FILE:LINE MESSAGE             names object and field
 *   unsupported FILE:LINE MESSAGE         of a kind that nobody reads
 *   unreadable FILE: MESSAGE              no YAML
 * Status 1: a message without a name, or an object that the way through JSON changes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/file.h"
#include "lib/kobj/kobj.h"

#define FILE_MAX (64u << 20)

static int status;

static bool survives(const struct kobj *o)
{
    struct arena a AUTO_ARENA;
    struct strbuf b AUTO_STRBUF;
    struct node *doc;
    struct kobj *again AUTO(kobj_unref) = NULL;
    struct errmsg e = {""};
    arena_init(&a, 4 * (size_t)FILE_MAX);
    strbuf_init(&b, FILE_MAX);
    kobj_encode(o, &b);
    if (json_parse(&a, strbuf_str(&b), &doc, &e) == RC_OK &&
        kobj_decode(doc, &again, NULL, &e) == RC_OK && kobj_eq(o, again))
        return true;
    printf("changed %s: %s\n", b.p, e.text);
    return false;
}

static void read_object(const char *file, const struct node *doc)
{
    struct kobj *o AUTO(kobj_unref) = NULL;
    struct errmsg e = {""};
    unsigned line = doc->line;
    enum rc rc = kobj_decode(doc, &o, &line, &e);
    if (rc != RC_OK) {
        printf("%s %s:%u %s\n", rc == RC_UNSUPPORTED ? "unsupported" : "refused", file, line,
               e.text);
        if (doc->kind == NODE_MAP && !strchr(e.text, ':'))
            status = 1;
        return;
    }
    if (!survives(o))
        status = 1;
    printf("ok %s:%u %s %.*s/%.*s %u\n", file, doc->line, kobj_kind_name((enum kobj_kind)o->kind),
           STR_ARG(o->meta.ns), STR_ARG(o->meta.name), o->size);
}

static void read_file(const char *file)
{
    struct arena a AUTO_ARENA;
    struct strbuf text AUTO_STRBUF;
    struct node *docs = NULL;
    struct errmsg e = {""};
    unsigned line = 0;
    arena_init(&a, 16 * (size_t)FILE_MAX);
    strbuf_init(&text, FILE_MAX);
    enum rc rc = file_read(file, FILE_MAX, &text, &e);
    if (rc == RC_OK)
        rc = yaml_parse(&a, strbuf_str(&text), &docs, &line, &e);
    for (const struct node *doc = docs; doc; doc = doc->next) {
        const struct node *items = kobj_list_items(doc);
        if (!items)
            read_object(file, doc);
        NODE_FOREACH (item, items)
            read_object(file, item);
    }
    if (rc != RC_OK)
        printf("unreadable %s:%u %s\n", file, line, e.text);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        read_file(argv[i]);
    return status;
}
