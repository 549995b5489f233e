/* A folder of Kubernetes YAML as a source of objects.
 *
 * Every *.yaml, *.yml and *.json below the folder (names that start with '.' left out; symbolic links
 * to files followed, to folders not; KDIR_DEPTH deep) is read and watched with inotify; a change is looked at when
 * the folder has been quiet for a moment, and never while a file is still open for writing.
 *
 * In force is, of each object, the first valid document by file name and position. A document that
 * can't be used, is reported, and leaves the object's last good state in force; a file that is not
 * YAML from some line on, or holds a document of which not even the name can be read, keeps whatever
 * it held. An object goes when no document names it any more. The same object twice is reported.
 * The last good state survives restarts as KEEP/FILE.json, one object a line, 0600, written with each
 * change. A full disk or an unreadable folder is reported, everything in force stays so.
 * Thread: one loop. */
#pragma once

#include "lib/event/loop.h"
#include "lib/kobj/kobj.h"

#define KDIR_FILE_MAX    (16u << 20) /* bytes of a file */
#define KDIR_FILES_MAX   10000
#define KDIR_OBJECTS_MAX 100000 /* of all files together */
#define KDIR_DEPTH       8

struct kdir;

enum kdir_severity {
    KDIR_ERROR,  /* a document that is not in force as it stands */
    KDIR_UNUSED, /* of a kind that nothing reads yet */
    KDIR_SYSTEM, /* folder, file or disk: not a matter of content */
};
struct kdir_problem {
    enum kdir_severity severity;
    const char *file; /* below the folder; "" for the folder itself */
    unsigned line;    /* 0: none */
    const char *text; /* "Pod shop/a: spec.containers[0].name: reason" */
};

/* None may close the kdir. */
struct kdir_ops {
    /* In force from now on: new, or other than before. Borrowed. */
    void (*on_set)(void *owner, struct kobj *obj);
    void (*on_delete)(void *owner, struct kobj *obj); /* as it last was; borrowed */
    /* The end of one look at the folder, when something was looked at. The first one says that all
     * there is has been told. */
    void (*on_batch)(void *owner);
    /* Each problem once, when it appears. May be NULL. */
    void (*on_problem)(void *owner, const struct kdir_problem *p);
};

struct kdir_opts {
    const char *folder;
    const char *keep;  /* where last good states are kept, made when absent; NULL: nowhere */
    uint64_t kinds;    /* KOBJ_BIT() of each kind wanted; 0: all */
    bool tell_unused;  /* documents of other kinds are problems (KDIR_UNUSED); always so with 0 */
    int64_t quiet_ms;  /* 0: 10 */
    int64_t max_ms;    /* a look is not put off longer than this; 0: 100 */
    int64_t absent_ms; /* a file counts as removed when it was absent that long; 0: 100 */
};

/* Never fails: a folder that can't be read is reported, and tried again every second. The first look
 * is taken in the loop's next turn. */
struct kdir *kdir_open(struct loop *l, const struct kdir_opts *o, const struct kdir_ops *ops,
                       void *owner);
void kdir_close(struct kdir *d); /* no callback follows; NULL is legal */

/* The problems there are now. */
void kdir_problems(const struct kdir *d, void (*fn)(void *arg, const struct kdir_problem *p),
                   void *arg);
