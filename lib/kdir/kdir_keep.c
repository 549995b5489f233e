/* Copies of what is in force, so that a broken file stays harmless over a restart. One file a source
 * file: a line that names it, then a line of JSON for each object. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/hash.h"
#include "lib/kdir/kdir_priv.h"

#define COPY_MAX       (KDIR_FILE_MAX * 4)
#define LINE_MAX_BYTES (KOBJ_BYTES_MAX * 8) /* of the tree of one object */

static uint64_t fnv1a(const char *s)
{
    uint64_t h = 0xcbf29ce484222325;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 0x100000001b3;
    return h;
}

/* A path as a file's name: '/' and '%' written as in URLs. A long one by its hash; should two meet,
 * the first line tells them apart. */
static char *copy_path(const struct kdir *d, const char *path)
{
    struct strbuf b AUTO_STRBUF;
    strbuf_init(&b, 200);
    for (const char *p = path; *p; p++)
        if (*p == '/' || *p == '%')
            strbuf_printf(&b, "%%%02X", (unsigned)*p);
        else
            strbuf_addc(&b, *p);
    if (!b.truncated)
        return mem_printf("%s/%s.json", d->keep, strbuf_str(&b).p);
    return mem_printf("%s/%%%016llx.json", d->keep, (unsigned long long)fnv1a(path));
}

/* -- reading -- */

/* The path that the first line names into *ret (owned by a); takes the line off *text. */
static bool copy_head(struct arena *a, struct str *text, struct str *ret)
{
    struct node *n;
    struct str line = str_split(*text, '\n', text);
    if (json_parse(a, line, &n, NULL) != RC_OK)
        return false;
    const struct node *file = node_get(n, "file");
    *ret = file ? node_str(file) : STR("");
    return ret->n > 0;
}

static void load_line(struct kdir *d, struct kclaims *c, struct str line)
{
    struct arena arena AUTO_ARENA;
    struct node *doc;
    struct kobj_id id;
    struct kobj *obj;
    arena_init(&arena, LINE_MAX_BYTES);
    if (json_parse(&arena, line, &doc, NULL) != RC_OK ||
        kobj_identify(doc, &id, NULL, NULL) != RC_OK || kobj_decode(doc, &obj, NULL, NULL) != RC_OK)
        return; /* of a version with other rules: what is not understood can't be kept */
    if (d->kinds & KOBJ_BIT(id.kind))
        kclaims_add(d, c, &id, obj, 0);
    else
        kobj_unref(obj);
}

static void load_lines(struct kdir *d, struct kfile *f, struct str text)
{
    struct kclaims c = {0};
    while (text.n && d->n_claims + c.n < KDIR_OBJECTS_MAX) {
        struct str line = str_split(text, '\n', &text);
        if (line.n)
            load_line(d, &c, line);
    }
    kclaims_apply(d, f, &c, false);
}

void kdir_keep_load(struct kdir *d, struct kfile *f)
{
    if (!d->keep)
        return;
    char *path AUTO_FREE = copy_path(d, f->path);
    struct arena arena AUTO_ARENA;
    struct strbuf text AUTO_STRBUF;
    struct str of, rest;
    arena_init(&arena, LINE_MAX_BYTES);
    strbuf_init(&text, COPY_MAX);
    if (file_read(path, COPY_MAX, &text, NULL) != RC_OK)
        return;
    rest = strbuf_str(&text);
    if (copy_head(&arena, &rest, &of) && str_eqz(of, f->path))
        load_lines(d, f, rest);
}

/* Calls fn with each copy's content. */
static void each_copy(struct kdir *d, void (*fn)(struct kdir *d, const char *path, struct str text))
{
    DIR *dir = d->keep ? opendir(d->keep) : NULL;
    if (!dir)
        return;
    const struct dirent *e;
    while ((e = readdir(dir))) {
        struct str name = str_of(e->d_name);
        if (name.p[0] == '.' || !str_ends(name, STR(".json")))
            continue;
        char *path AUTO_FREE = mem_printf("%s/%s", d->keep, e->d_name);
        struct strbuf text AUTO_STRBUF;
        strbuf_init(&text, COPY_MAX);
        if (file_read(path, COPY_MAX, &text, NULL) == RC_OK)
            fn(d, path, strbuf_str(&text));
    }
    closedir(dir);
}

static bool path_eq(const struct hnode *n, const void *key)
{
    return strcmp(container_of(n, struct kfile, by_path)->path, key) == 0;
}

/* The source file of a copy as a C string in the arena; NULL when the copy does not say. */
static const char *source_of(struct arena *a, struct str *text)
{
    struct str of;
    return copy_head(a, text, &of) ? arena_strndup(a, of.p, of.n) : NULL;
}

static bool is_known(const struct kdir *d, const char *path)
{
    return htab_find(&d->files, hash_str(str_of(path)), path_eq, path) != NULL;
}

static void load_unknown(struct kdir *d, const char *path, struct str text)
{
    struct arena arena AUTO_ARENA;
    arena_init(&arena, LINE_MAX_BYTES);
    const char *source = source_of(&arena, &text);
    (void)path;
    if (source && !is_known(d, source) && d->files.len < KDIR_FILES_MAX)
        load_lines(d, kdir_file(d, source), text);
}

void kdir_keep_load_all(struct kdir *d)
{
    each_copy(d, load_unknown);
}

static void remove_unknown(struct kdir *d, const char *path, struct str text)
{
    struct arena arena AUTO_ARENA;
    arena_init(&arena, LINE_MAX_BYTES);
    const char *source = source_of(&arena, &text);
    if (!source || !is_known(d, source))
        unlink(path);
}

void kdir_keep_clean(struct kdir *d)
{
    each_copy(d, remove_unknown);
}

/* -- writing -- */

static void copy_text(const struct kfile *f, struct strbuf *out)
{
    strbuf_addz(out, "{\"file\":\"");
    strbuf_add_json(out, str_of(f->path));
    strbuf_addz(out, "\"}\n");
    for (size_t i = 0; i < f->n_claims; i++) {
        if (!f->claims[i].obj)
            continue;
        kobj_encode(f->claims[i].obj, out);
        strbuf_addc(out, '\n');
    }
}

static bool holds_any(const struct kfile *f)
{
    for (size_t i = 0; i < f->n_claims; i++)
        if (f->claims[i].obj)
            return true;
    return false;
}

static bool is_on_disk(const char *path, struct str text)
{
    struct strbuf now AUTO_STRBUF;
    strbuf_init(&now, COPY_MAX);
    return file_read(path, COPY_MAX, &now, NULL) == RC_OK && str_eq(strbuf_str(&now), text);
}

static enum rc write_copy(struct kdir *d, const struct kfile *f, const char *path,
                          struct errmsg *ret_msg)
{
    struct strbuf text AUTO_STRBUF;
    strbuf_init(&text, COPY_MAX);
    copy_text(f, &text);
    if (text.truncated) {
        errmsg_set(ret_msg, "%s: would be larger than %u bytes", path, COPY_MAX);
        return RC_LIMIT;
    }
    if (is_on_disk(path, strbuf_str(&text)))
        return RC_OK;
    if (mkdir(d->keep, 0700) != 0 && errno != EEXIST) {
        errmsg_set(ret_msg, "%s: %s", d->keep, strerror(errno));
        return RC_IO;
    }
    return file_replace(path, 0600, strbuf_str(&text), ret_msg);
}

void kdir_keep_write(struct kdir *d, struct kfile *f)
{
    struct errmsg e;
    if (!d->keep)
        return;
    char *path AUTO_FREE = copy_path(d, f->path);
    enum rc rc = RC_OK;
    if (holds_any(f))
        rc = write_copy(d, f, path, &e);
    else
        unlink(path);
    if (rc == RC_OK) {
        mem_free(TAKE(f->keep_error));
        return;
    }
    if (rc != RC_LIMIT) /* else only a change of the file can help */
        list_push_back(&d->unkept, &f->unkept);
    if (f->keep_error)
        return;
    f->keep_error = mem_printf("its last good state could not be kept: %s", e.text);
    if (d->ops->on_problem)
        d->ops->on_problem(d->owner,
                           &(struct kdir_problem){KDIR_SYSTEM, f->path, 0, f->keep_error});
}
