/* Worker threads, each with a loop of its own, and how state reaches them: the main thread
 * publishes immutable snapshots, a worker adopts the latest between two callbacks.
 *
 * Rule: a pointer read from worker->snap dies when the callback returns, unless it is _ref()ed. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "lib/event/loop.h"
#include "lib/snap/snapshot.h"

struct worker {
    unsigned index;
    struct loop *loop;
    struct snapshot *snap;                 /* own thread only; NULL before the first */
    _Atomic(struct snapshot *) snap_next;  /* published, not yet adopted */
    void *owner;                           /* the role's state of this worker */
    void (*on_snapshot)(struct worker *w); /* after adoption, own thread; may be NULL */
    pthread_t thread;
    char name[16];
};

struct workers {
    struct worker *w;
    unsigned n;
};

/* Make n workers (loops exist, threads do not run yet): the role fills in owner and on_snapshot. */
void workers_init(struct workers *ws, unsigned n, const char *name);
void workers_start(struct workers *ws);
/* Main thread. Consumes the caller's reference. */
void workers_publish(struct workers *ws, struct snapshot *s);
/* Stops and joins all threads, drops snapshots, frees the loops. */
void workers_fini(struct workers *ws);
/* Run fn(w, arg) on the worker's thread, in order with other calls. */
typedef void worker_call_fn(struct worker *w, void *arg);
void worker_call(struct worker *w, worker_call_fn *fn, void *arg);
