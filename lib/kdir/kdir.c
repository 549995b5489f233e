/* The folder's life: when to look, what a look is made of, and what it has to report. */
#include "lib/kdir/kdir.h"

#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/hash.h"
#include "lib/base/must.h"
#include "lib/kdir/kdir_priv.h"

#define QUIET_MS  10
#define MAX_MS    100
#define ABSENT_MS 100
#define BUSY_MS   2000 /* after the last write of somebody who does not close */
#define RACY_MS   60   /* until a file that was just written is compared once more */
#define RETRY_MS  1000
#define STEP_MS   5 /* of work in one turn */

/* -- reports -- */

static bool was_told(const struct kfile *f, const char *text)
{
    for (size_t i = 0; i < f->n_told; i++)
        if (strcmp(f->told[i].text, text) == 0)
            return true;
    return false;
}

void kdir_report(struct kdir *d, struct kfile *f, enum kdir_severity severity, unsigned line,
                 const char *text)
{
    f->reports = mem_realloc(f->reports, (f->n_reports + 1) * sizeof(*f->reports));
    f->reports[f->n_reports++] = (struct kreport){severity, line, mem_strdup(text)};
    struct kdir_problem p = {severity, f->path, line, text};
    if (d->ops->on_problem && !was_told(f, text))
        d->ops->on_problem(d->owner, &p);
}

static void reports_free(struct kreport **r, size_t *n)
{
    for (size_t i = 0; i < *n; i++)
        mem_free((*r)[i].text);
    mem_free(TAKE(*r));
    *n = 0;
}

void kdir_reports_begin(struct kfile *f)
{
    reports_free(&f->told, &f->n_told);
    f->told = TAKE(f->reports);
    f->n_told = f->n_reports;
    f->n_reports = 0;
}

void kdir_reports_end(struct kfile *f)
{
    reports_free(&f->told, &f->n_told);
}

static void file_problems(const struct kfile *f,
                          void (*fn)(void *arg, const struct kdir_problem *p), void *arg)
{
    for (size_t i = 0; i < f->n_reports; i++) {
        const struct kreport *r = &f->reports[i];
        fn(arg, &(struct kdir_problem){r->severity, f->path, r->line, r->text});
    }
    if (f->keep_error)
        fn(arg, &(struct kdir_problem){KDIR_SYSTEM, f->path, 0, f->keep_error});
    for (size_t i = 0; i < f->n_claims; i++) {
        struct errmsg e;
        if (!f->claims[i].doubled)
            continue;
        kdir_doubled_text(&f->claims[i], &e);
        fn(arg, &(struct kdir_problem){KDIR_ERROR, f->path, f->claims[i].line, e.text});
    }
}

static int file_cmp(const void *a, const void *b)
{
    return strcmp((*(const struct kfile *const *)a)->path, (*(const struct kfile *const *)b)->path);
}

void kdir_problems(const struct kdir *d, void (*fn)(void *arg, const struct kdir_problem *p),
                   void *arg)
{
    const struct kfile **files AUTO_FREE = mem_calloc(d->files.len + 1, sizeof(struct kfile *));
    struct htab_iter it;
    size_t n = 0;
    HTAB_FOREACH (h, &d->files, &it)
        files[n++] = container_of(h, struct kfile, by_path);
    qsort(files, n, sizeof(*files), file_cmp);
    file_problems(&d->root, fn, arg);
    for (size_t i = 0; i < n; i++)
        file_problems(files[i], fn, arg);
}

/* -- files -- */

static bool path_eq(const struct hnode *n, const void *key)
{
    return strcmp(container_of(n, struct kfile, by_path)->path, key) == 0;
}

struct kfile *kdir_file(struct kdir *d, const char *path)
{
    uint64_t hash = hash_str(str_of(path));
    struct hnode *n = htab_find(&d->files, hash, path_eq, path);
    if (n)
        return container_of(n, struct kfile, by_path);
    struct kfile *f = mem_new(struct kfile);
    f->path = mem_strdup(path);
    list_init(&f->pending);
    list_init(&f->unkept);
    htab_insert(&d->files, &f->by_path, hash);
    return f;
}

/* Its claims are gone already. */
void kdir_file_free(struct kdir *d, struct kfile *f)
{
    MUST(f->n_claims == 0);
    htab_del(&d->files, &f->by_path);
    list_del(&f->pending);
    list_del(&f->unkept);
    reports_free(&f->reports, &f->n_reports);
    mem_free(f->keep_error);
    mem_free(f->claims);
    mem_free(f->path);
    mem_free(f);
}

/* -- when to look -- */

static void look_later(struct kdir *d, int64_t in_ms)
{
    int64_t now = loop_now(d->loop);
    int64_t at = now + in_ms;
    if (d->looking)
        return; /* the end of the look sees to it */
    if (loop_timer_armed(&d->timer) && d->timer.at_ms <= at)
        return;
    loop_timer_set(&d->timer, at - now);
}

/* Something happened: look when it has been quiet for a moment, but not later than max_ms. */
static void look_soon(struct kdir *d)
{
    int64_t now = loop_now(d->loop);
    if (!d->due_ms)
        d->due_ms = now + d->max_ms;
    if (!d->looking)
        loop_timer_set(&d->timer, MAX(0, MIN(d->quiet_ms, d->due_ms - now)));
}

/* -- what the kernel says -- */

static const struct kwatch *find_watch(const struct kdir *d, int wd)
{
    for (size_t i = 0; i < d->n_watches; i++)
        if (d->watches[i].wd == wd)
            return &d->watches[i];
    return NULL;
}

/* A file that was just made is being written, unless it is a link to one that was there. */
static bool is_fresh(const struct kdir *d, const char *path)
{
    struct stat st;
    char *full AUTO_FREE = mem_printf("%s/%s", d->folder, path);
    return lstat(full, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1;
}

static void file_event(struct kdir *d, const struct inotify_event *e)
{
    const struct kwatch *w = find_watch(d, e->wd);
    if (!w || !e->len || !kdir_is_source(e->name) || (e->mask & IN_ISDIR))
        return;
    char *path AUTO_FREE = mem_printf("%s%s", w->path, e->name);
    if (d->files.len >= KDIR_FILES_MAX)
        return;
    if ((e->mask & IN_MODIFY) || ((e->mask & IN_CREATE) && is_fresh(d, path)))
        kdir_file(d, path)->busy_until_ms = loop_now(d->loop) + BUSY_MS;
    if (e->mask & (IN_CLOSE_WRITE | IN_MOVED_TO | IN_DELETE | IN_MOVED_FROM | IN_ATTRIB)) {
        struct kfile *f = kdir_file(d, path);
        f->busy_until_ms = 0;
        f->racy = true; /* whatever its times say */
    }
}

void kdir_drain(struct kdir *d)
{
    _Alignas(struct inotify_event) char buf[8192];
    for (;;) {
        ssize_t n = d->inotify >= 0 ? read(d->inotify, buf, sizeof(buf)) : -1;
        if (n <= 0)
            return;
        const struct inotify_event *e;
        for (char *p = buf; p < buf + n; p += sizeof(*e) + e->len) {
            e = (const void *)p;
            if (e->mask & IN_IGNORED)
                continue;
            if (e->mask & IN_Q_OVERFLOW) { /* what was said is lost: read everything again */
                struct htab_iter it;
                HTAB_FOREACH (h, &d->files, &it)
                    container_of(h, struct kfile, by_path)->racy = true;
            }
            file_event(d, e);
            look_soon(d);
        }
    }
}

static void on_inotify(void *owner, unsigned ready)
{
    (void)ready;
    kdir_drain(owner);
}

/* -- a look -- */

/* The next time that time alone makes a difference. */
static void look_again(struct kdir *d)
{
    int64_t now = loop_now(d->loop);
    struct htab_iter it;
    if (d->due_ms)
        look_later(d, MAX(0, MIN(d->quiet_ms, d->due_ms - now)));
    if (d->blind || d->polling || !list_empty(&d->unkept))
        look_later(d, RETRY_MS);
    HTAB_FOREACH (h, &d->files, &it) {
        const struct kfile *f = container_of(h, struct kfile, by_path);
        if (f->busy_until_ms)
            look_later(d, MAX(1, f->busy_until_ms - now));
        if (f->absent_at_ms)
            look_later(d, MAX(1, f->absent_at_ms + d->absent_ms - now));
        if (f->racy && !f->busy_until_ms && !f->absent_at_ms)
            look_later(d, RACY_MS);
    }
}

static void end_look(struct kdir *d)
{
    d->looking = false;
    if (d->first && !d->blind)
        kdir_keep_clean(d);
    d->first = false;
    look_again(d);
}

/* Reads what is pending, then settles, then writes copies, STEP_MS a turn. */
static void on_step(void *owner)
{
    struct kdir *d = owner;
    int64_t until = clock_mono_ms() + STEP_MS;
    while (!list_empty(&d->pending)) {
        struct kfile *f = LIST_FIRST(&d->pending, struct kfile, pending);
        list_del(&f->pending);
        if (f->absent_at_ms)
            kdir_forget(d, f);
        else
            kdir_load(d, f);
        if (clock_mono_ms() >= until && !list_empty(&d->pending)) {
            loop_defer(d->loop, &d->step, LOOP_WORK);
            return;
        }
    }
    kdir_settle(d);
    if (d->ops->on_batch && (d->first || d->changed))
        d->ops->on_batch(d->owner);
    struct list unkept;
    list_init(&unkept);
    list_splice(&unkept, &d->unkept);
    while (!list_empty(&unkept)) {
        struct kfile *f = LIST_FIRST(&unkept, struct kfile, unkept);
        list_del(&f->unkept);
        kdir_keep_write(d, f);
    }
    end_look(d);
}

static void on_timer(void *owner)
{
    struct kdir *d = owner;
    d->looking = true;
    d->changed = false;
    kdir_drain(d);
    d->due_ms = 0; /* the scan sees what was said so far */
    kdir_scan(d);
    if (list_empty(&d->pending) && !d->first && list_empty(&d->unkept))
        end_look(d);
    else
        on_step(d);
}

/* -- life -- */

struct kdir *kdir_open(struct loop *l, const struct kdir_opts *o, const struct kdir_ops *ops,
                       void *owner)
{
    struct kdir *d = mem_new(struct kdir);
    d->loop = l;
    d->ops = ops;
    d->owner = owner;
    d->folder = mem_strdup(o->folder);
    d->keep = mem_strdup(o->keep);
    d->kinds = o->kinds ? o->kinds : UINT64_MAX;
    d->tell_unused = o->tell_unused || o->kinds == 0;
    d->quiet_ms = o->quiet_ms ? o->quiet_ms : QUIET_MS;
    d->max_ms = o->max_ms ? o->max_ms : MAX_MS;
    d->absent_ms = o->absent_ms ? o->absent_ms : ABSENT_MS;
    d->first = true;
    d->root.path = mem_strdup("");
    htab_init(&d->files);
    htab_init(&d->names);
    list_init(&d->pending);
    list_init(&d->touched);
    list_init(&d->unkept);
    loop_timer_init(&d->timer, l, on_timer, d);
    loop_task_init(&d->step, on_step, d);
    d->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (d->inotify >= 0 &&
        loop_fd_open(&d->watch_fd, l, d->inotify, LOOP_READ | LOOP_LEVEL, on_inotify, d) != RC_OK) {
        close(d->inotify);
        d->inotify = -1;
    }
    loop_timer_set(&d->timer, 0);
    return d;
}

void kdir_close(struct kdir *d)
{
    if (!d)
        return;
    static const struct kdir_ops silent = {0};
    d->ops = &silent;
    loop_timer_clear(&d->timer);
    loop_task_cancel(&d->step);
    loop_fd_close(&d->watch_fd);
    kdir_watch_fini(d);
    if (d->inotify >= 0)
        close(d->inotify);
    struct htab_iter it;
    HTAB_FOREACH (h, &d->files, &it) {
        struct kfile *f = container_of(h, struct kfile, by_path);
        struct kclaims none = {0};
        kclaims_apply(d, f, &none, false);
        kdir_file_free(d, f);
    }
    kdir_settle(d);
    htab_fini(&d->files);
    htab_fini(&d->names);
    reports_free(&d->root.reports, &d->root.n_reports);
    mem_free(d->root.path);
    mem_free(d->folder);
    mem_free(d->keep);
    mem_free(d);
}
