/* Which files the folder has, and which of them are other than when they were read. */
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "lib/kdir/kdir_priv.h"

#define EVENTS                                                                          \
    (IN_MODIFY | IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | \
     IN_DELETE_SELF | IN_MOVE_SELF | IN_ATTRIB)

bool kdir_is_source(const char *name)
{
    struct str s = str_of(name);
    return s.n && s.p[0] != '.' && str_is_utf8(s) &&
           (str_ends(s, STR(".yaml")) || str_ends(s, STR(".yml")) || str_ends(s, STR(".json")));
}

void kdir_watch_fini(struct kdir *d)
{
    for (size_t i = 0; i < d->n_watches; i++)
        mem_free(d->watches[i].path);
    mem_free(d->watches);
    d->watches = NULL;
    d->n_watches = d->cap_watches = 0;
}

/* Something is out of sight: nothing counts as removed until it is back. */
static void PRINTF_LIKE(2, 3) go_blind(struct kdir *d, const char *fmt, ...)
{
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    d->blind = true;
    kdir_report(d, &d->root, KDIR_SYSTEM, 0, text);
}

/* The same inode gives the same descriptor; asking again at each look also finds a folder that was
 * removed and made anew. */
static void watch(struct kdir *d, const char *full, const char *sub)
{
    errno = 0;
    int wd = d->inotify >= 0 ? inotify_add_watch(d->inotify, full, EVENTS | IN_ONLYDIR) : -1;
    if (wd < 0) {
        d->polling = d->polling || (errno != ENOENT && errno != ENOTDIR); /* else it is gone */
        return;
    }
    for (size_t i = 0; i < d->n_watches; i++)
        if (strcmp(d->watches[i].path, sub) == 0) {
            d->watches[i].wd = wd;
            return;
        }
    mem_grow(d->watches, d->cap_watches, d->n_watches + 1);
    d->watches[d->n_watches++] = (struct kwatch){wd, mem_strdup(sub)};
}

static bool same_as_read(const struct kfile *f, const struct stat *st)
{
    return f->loaded && !f->racy && f->dev == st->st_dev && f->ino == st->st_ino &&
           f->size == (uint64_t)st->st_size &&
           f->ctime_ns == (int64_t)st->st_ctim.tv_sec * 1000000000 + st->st_ctim.tv_nsec;
}

static void scan_file(struct kdir *d, const char *path, const struct stat *st)
{
    struct kfile *f = kdir_file(d, path);
    f->seen = true;
    f->absent_at_ms = 0;
    if (f->busy_until_ms > loop_now(d->loop))
        return;
    f->busy_until_ms = 0;
    if (!same_as_read(f, st) && !list_linked(&f->pending))
        list_push_back(&d->pending, &f->pending);
}

static void scan_folder(struct kdir *d, const char *sub, unsigned depth);

static void scan_entry(struct kdir *d, const char *sub, const struct dirent *e, unsigned depth)
{
    struct stat st, target;
    char *path AUTO_FREE = mem_printf("%s%s", sub, e->d_name);
    char *full AUTO_FREE = mem_printf("%s/%s", d->folder, path);
    if (lstat(full, &st) != 0)
        return; /* gone since readdir() */
    if (S_ISDIR(st.st_mode)) {
        char *below AUTO_FREE = mem_printf("%s/", path);
        if (depth < KDIR_DEPTH)
            scan_folder(d, below, depth + 1);
        else
            go_blind(d, "%s: folders deeper than %u are not read", full, KDIR_DEPTH);
        return;
    }
    if (!str_is_utf8(str_of(e->d_name))) {
        kdir_report(d, &d->root, KDIR_SYSTEM, 0, "a file whose name is not UTF-8 is not read");
        return;
    }
    if (!kdir_is_source(e->d_name) || stat(full, &target) != 0 || !S_ISREG(target.st_mode))
        return;
    if (d->files.len >= KDIR_FILES_MAX)
        go_blind(d, "%s: more than %u files, the rest is not read", d->folder, KDIR_FILES_MAX);
    else
        scan_file(d, path, &target);
}

static void scan_folder(struct kdir *d, const char *sub, unsigned depth)
{
    char *full AUTO_FREE = mem_printf("%s/%s", d->folder, sub);
    watch(d, full, sub);
    DIR *dir = opendir(full);
    if (!dir) {
        if (errno != ENOENT || depth == 0)
            go_blind(d, "%s: %s", depth ? full : d->folder, strerror(errno));
        return;
    }
    const struct dirent *e;
    errno = 0;
    while ((e = readdir(dir))) {
        if (e->d_name[0] != '.')
            scan_entry(d, sub, e, depth);
        errno = 0;
    }
    if (errno)
        go_blind(d, "%s: %s", full, strerror(errno));
    closedir(dir);
}

/* Editors remove a file for a moment: it counts as removed when it stays away. */
static void miss(struct kdir *d, struct kfile *f)
{
    int64_t now = loop_now(d->loop);
    f->busy_until_ms = 0;
    if (!f->loaded && f->n_claims == 0)
        kdir_file_free(d, f); /* came and went before it was read */
    else if (!f->absent_at_ms)
        f->absent_at_ms = MAX(now, 1);
    else if (now - f->absent_at_ms >= d->absent_ms && !list_linked(&f->pending))
        list_push_back(&d->pending, &f->pending);
}

void kdir_scan(struct kdir *d)
{
    struct htab_iter it;
    HTAB_FOREACH (h, &d->files, &it)
        container_of(h, struct kfile, by_path)->seen = false;
    kdir_reports_begin(&d->root);
    d->blind = d->polling = false;
    scan_folder(d, "", 0);
    if (d->polling)
        kdir_report(d, &d->root, KDIR_SYSTEM, 0,
                    "the kernel gives no more watches (fs.inotify): looking once a second");
    kdir_reports_end(&d->root);
    if (d->first && d->blind)
        kdir_keep_load_all(d);
    HTAB_FOREACH (h, &d->files, &it) {
        struct kfile *f = container_of(h, struct kfile, by_path);
        if (!f->seen && !d->blind)
            miss(d, f);
    }
}
