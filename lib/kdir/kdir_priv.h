/* Between the files of this folder. */
#pragma once

#include "lib/base/arena.h"
#include "lib/base/htab.h"
#include "lib/base/list.h"
#include "lib/kdir/kdir.h"

/* One document in a file, and the object it stands for. */
struct kclaim {
    struct list of_name; /* in the name's claims */
    struct kname *name;
    struct kfile *file;
    struct kobj *obj; /* its last good state; NULL: there never was one */
    unsigned line;
    uint32_t pos; /* in the file */
    bool doubled; /* reported as not the first of its name */
};

/* One object's name. Goes with its last claim. */
struct kname {
    struct hnode by_name;
    struct list claims;
    struct list touched;  /* to be settled in this look */
    struct kobj *current; /* in force */
    struct kobj_id id;    /* texts owned, behind the struct */
    uint64_t stamp;       /* of the last file that was read and claims it */
};

struct kreport {
    enum kdir_severity severity;
    unsigned line;
    char *text;
};

struct kfile {
    struct hnode by_path;
    struct list pending; /* to be read, or to be forgotten */
    struct list unkept;  /* its copy has to be written */
    char *path;          /* below the folder */
    /* As it was when last read. */
    uint64_t dev, ino, size, hash;
    int64_t ctime_ns;      /* covers renames and modes too, and nobody can set it back */
    bool loaded;           /* was read at least once */
    bool racy;             /* so young that another write might leave the same times */
    bool seen;             /* in this look */
    int64_t absent_at_ms;  /* when it was first missed; 0: it is there */
    int64_t busy_until_ms; /* somebody has it open for writing; 0: nobody */
    struct kclaim *claims;
    size_t n_claims;
    struct kreport *reports, *told; /* now, and before the present look */
    size_t n_reports, n_told;
    char *keep_error; /* why its copy could not be written; NULL: it was */
};

struct kwatch {
    int wd;
    char *path; /* of the subfolder, "" or "sub/" */
};

struct kdir {
    struct loop *loop;
    const struct kdir_ops *ops;
    void *owner;
    char *folder, *keep;
    uint64_t kinds;
    bool tell_unused;
    int64_t quiet_ms, max_ms, absent_ms;
    int inotify; /* -1: the kernel gives none, so the folder is polled */
    struct loop_fd watch_fd;
    struct loop_timer timer;
    struct loop_task step; /* more of this look */
    int64_t due_ms;        /* the latest time for the next look; 0: none is wanted */
    bool looking;          /* between scan and settling */
    bool blind;            /* something could not be read: nothing counts as removed */
    bool polling;          /* a watch is missing */
    bool first;            /* the first look is not over */
    bool changed;          /* this look found something to do */
    uint64_t stamp;
    struct kwatch *watches;
    size_t n_watches, cap_watches;
    struct htab files, names;
    size_t n_claims;
    struct list pending, touched, unkept;
    struct kfile root; /* carries the reports about the folder itself */
};

/* -- kdir.c -- */
void kdir_report(struct kdir *d, struct kfile *f, enum kdir_severity severity, unsigned line,
                 const char *text);
/* From here on reports replace those of before; what was told then is not told again. */
void kdir_reports_begin(struct kfile *f);
void kdir_reports_end(struct kfile *f);
/* Takes what the kernel has to say: files busy or not, and whether to look. */
void kdir_drain(struct kdir *d);
struct kfile *kdir_file(struct kdir *d, const char *path); /* found or made */
void kdir_file_free(struct kdir *d, struct kfile *f);

/* -- kdir_scan.c: which files are there, and which have to be read -- */
void kdir_scan(struct kdir *d);
void kdir_watch_fini(struct kdir *d);
bool kdir_is_source(const char *name);

/* -- kdir_load.c: one file → its claims -- */
void kdir_load(struct kdir *d, struct kfile *f);
void kdir_forget(struct kdir *d, struct kfile *f); /* it was removed */

/* -- kdir_names.c: who may speak for an object -- */
struct kclaims { /* while a file is read */
    struct kclaim *v;
    size_t n, cap;
};
/* obj may be NULL; taken. */
void kclaims_add(struct kdir *d, struct kclaims *c, const struct kobj_id *id, struct kobj *obj,
                 unsigned line);
/* Makes these the file's claims. keep_others: what the file claimed before and is not among them stays. */
void kclaims_apply(struct kdir *d, struct kfile *f, struct kclaims *c, bool keep_others);
/* Decides each touched name; calls back for what changed. */
void kdir_settle(struct kdir *d);
void kdir_doubled_text(const struct kclaim *c, struct errmsg *ret);

/* -- kdir_keep.c: copies of the last good states -- */
/* Makes the objects of the file's copy its claims: it was not read by this process before. */
void kdir_keep_load(struct kdir *d, struct kfile *f);
/* The same for every copy whose file is not known: (part of) the folder can't be read. */
void kdir_keep_load_all(struct kdir *d);
/* Brings the copy up to date, or removes it when there is nothing to keep. */
void kdir_keep_write(struct kdir *d, struct kfile *f);
/* Removes copies whose file is not known. */
void kdir_keep_clean(struct kdir *d);
