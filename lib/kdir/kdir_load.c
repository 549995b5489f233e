/* One file: from bytes to claims. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/hash.h"
#include "lib/kdir/kdir_priv.h"

#define NODES_MAX (512u << 20) /* bytes of a file's tree */
#define YOUNG_NS  50000000     /* a kernel tick and its companions */

struct reading {
    struct kdir *d;
    struct kfile *f;
    struct kclaims claims;
    bool intact;  /* of every document we know at least which object it is */
    bool invalid; /* a document is not in force as it stands */
};

static void report(struct reading *r, enum kdir_severity severity, unsigned line, const char *text)
{
    kdir_report(r->d, r->f, severity, line, text);
}

static void read_object(struct reading *r, const struct node *doc)
{
    struct kobj_id id;
    struct kobj *obj = NULL;
    struct errmsg e;
    unsigned line = doc->line;
    enum rc rc = kobj_identify(doc, &id, &line, &e);
    if (rc == RC_UNSUPPORTED) {
        if (r->d->tell_unused)
            report(r, KDIR_UNUSED, line, e.text);
        return;
    }
    if (rc != RC_OK) {
        report(r, KDIR_ERROR, line, e.text);
        r->intact = false;
        return;
    }
    if (!(r->d->kinds & KOBJ_BIT(id.kind))) {
        errmsg_set(&e, "%s %.*s%s%.*s: this kind is not yet used", kobj_kind_name(id.kind),
                   STR_ARG(id.ns), id.ns.n ? "/" : "", STR_ARG(id.name));
        if (r->d->tell_unused)
            report(r, KDIR_UNUSED, line, e.text);
        return;
    }
    if (r->d->n_claims + r->claims.n >= KDIR_OBJECTS_MAX) {
        errmsg_set(&e, "more than %u objects: this file is not read further", KDIR_OBJECTS_MAX);
        report(r, KDIR_SYSTEM, line, e.text);
        r->intact = false;
        return;
    }
    if (kobj_decode(doc, &obj, &line, &e) != RC_OK) {
        report(r, KDIR_ERROR, line, e.text);
        r->invalid = true;
    }
    kclaims_add(r->d, &r->claims, &id, obj, obj ? doc->line : line);
}

static void read_document(struct reading *r, const struct node *doc)
{
    const struct node *items = kobj_list_items(doc);
    if (!items) {
        read_object(r, doc);
        return;
    }
    NODE_FOREACH (item, items)
        read_object(r, item);
}

static void read_text(struct reading *r, struct str text)
{
    struct arena arena AUTO_ARENA;
    struct node *docs = NULL;
    struct errmsg e;
    unsigned line = 0;
    bool json = str_ends(str_of(r->f->path), STR(".json"));
    arena_init(&arena, NODES_MAX);
    enum rc rc =
        json ? json_parse(&arena, text, &docs, &e) : yaml_parse(&arena, text, &docs, &line, &e);
    for (const struct node *doc = docs; doc; doc = doc->next)
        read_document(r, doc);
    if (rc != RC_OK) {
        report(r, KDIR_ERROR, line, e.text);
        r->intact = false;
    }
}

/* The times of the content to be read: taken before, so that a later write makes a difference. */
static bool note_times(struct kfile *f, const char *full)
{
    struct stat st;
    if (stat(full, &st) != 0)
        return false;
    f->dev = st.st_dev;
    f->ino = st.st_ino;
    f->size = (uint64_t)st.st_size;
    f->ctime_ns = (int64_t)st.st_ctim.tv_sec * 1000000000 + st.st_ctim.tv_nsec;
    int64_t age_ns = clock_wall_us() * 1000 - f->ctime_ns;
    f->racy = age_ns >= 0 && age_ns < YOUNG_NS;
    return true;
}

static void end_reading(struct reading *r)
{
    struct kfile *f = r->f;
    if (!f->loaded && (!r->intact || r->invalid))
        kdir_keep_load(r->d, f);
    kclaims_apply(r->d, f, &r->claims, !r->intact);
    kdir_reports_end(f);
    f->loaded = true;
    r->d->changed = true;
    if (r->d->keep && !list_linked(&f->unkept))
        list_push_back(&r->d->unkept, &f->unkept);
}

static void unreadable(struct reading *r, const char *reason)
{
    kdir_reports_begin(r->f);
    report(r, KDIR_SYSTEM, 0, reason);
    r->intact = false;
    r->f->hash = 0;
    end_reading(r);
}

void kdir_load(struct kdir *d, struct kfile *f)
{
    struct reading r = {.d = d, .f = f, .intact = true};
    struct errmsg e;
    char *full AUTO_FREE = mem_printf("%s/%s", d->folder, f->path);
    struct strbuf text AUTO_STRBUF;
    strbuf_init(&text, KDIR_FILE_MAX);
    if (!note_times(f, full)) {
        f->racy = true; /* gone since the scan: the next look misses it */
        return;
    }
    enum rc rc = file_read(full, KDIR_FILE_MAX, &text, &e);
    kdir_drain(d);
    if (f->busy_until_ms) {
        f->racy = true; /* half a file, perhaps */
        return;
    }
    if (rc == RC_NOT_FOUND) {
        f->racy = true;
        return;
    }
    if (rc != RC_OK) {
        unreadable(&r, e.text);
        return;
    }
    uint64_t hash = hash_str(strbuf_str(&text)) | 1;
    if (f->loaded && f->hash == hash)
        return;
    f->hash = hash;
    kdir_reports_begin(f);
    read_text(&r, strbuf_str(&text));
    end_reading(&r);
}

void kdir_forget(struct kdir *d, struct kfile *f)
{
    struct kclaims none = {0};
    kclaims_apply(d, f, &none, false);
    kdir_keep_write(d, f);
    kdir_file_free(d, f);
    d->changed = true;
}
