#include "lib/event/worker.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/base/must.h"

#define WORKER_STACK (512 * 1024)

static void worker_adopt(struct worker *w)
{
    struct snapshot *s = atomic_exchange(&w->snap_next, NULL);
    if (!s)
        return;
    struct snapshot *old = w->snap;
    w->snap = s;
    if (w->on_snapshot)
        w->on_snapshot(w);
    snapshot_unref(old);
}

/* Every hand-over is a message, so adoption happens between callbacks by construction. */
struct call {
    struct loop_msg msg;
    struct worker *w;
    worker_call_fn *fn;
    void *arg;
};

static void call_run(struct loop_msg *m)
{
    struct call *c = container_of(m, struct call, msg);
    c->fn(c->w, c->arg);
    free(c);
}

void worker_call(struct worker *w, worker_call_fn *fn, void *arg)
{
    struct call *c = mem_new(struct call);
    *c = (struct call){.msg.fn = call_run, .w = w, .fn = fn, .arg = arg};
    loop_post(w->loop, &c->msg);
}

static void call_adopt(struct worker *w, void *arg)
{
    (void)arg;
    worker_adopt(w);
}

static void call_stop(struct worker *w, void *arg)
{
    (void)arg;
    loop_stop(w->loop);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    pthread_setname_np(pthread_self(), w->name);
    loop_run(w->loop);
    for (int i = 0; i < 3; i++) /* what the last turn left to be freed */
        loop_turn(w->loop, 0);
    return NULL;
}

void workers_init(struct workers *ws, unsigned n, const char *name)
{
    ws->n = n;
    ws->w = mem_calloc(n, sizeof(*ws->w));
    for (unsigned i = 0; i < n; i++) {
        struct worker *w = &ws->w[i];
        w->index = i;
        w->loop = loop_new();
        snprintf(w->name, sizeof(w->name), "%.10s-%u", name, i % 1000);
    }
}

void workers_start(struct workers *ws)
{
    /* signals are the main thread's */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, WORKER_STACK);
    for (unsigned i = 0; i < ws->n; i++) {
        int err = pthread_create(&ws->w[i].thread, &attr, worker_main, &ws->w[i]);
        if (err)
            must_die("worker thread %u of %u can't be started (error %d)", i, ws->n, err);
    }
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void workers_publish(struct workers *ws, struct snapshot *s)
{
    for (unsigned i = 0; i < ws->n; i++) {
        struct worker *w = &ws->w[i];
        /* latest wins: a snapshot that was never adopted dies here, and its adoption call finds
         * the new one */
        struct snapshot *unseen = atomic_exchange(&w->snap_next, snapshot_ref(s));
        if (!unseen)
            worker_call(w, call_adopt, NULL);
        snapshot_unref(unseen);
    }
    snapshot_unref(s);
}

void workers_fini(struct workers *ws)
{
    for (unsigned i = 0; i < ws->n; i++)
        if (ws->w[i].thread)
            worker_call(&ws->w[i], call_stop, NULL);
    for (unsigned i = 0; i < ws->n; i++) {
        struct worker *w = &ws->w[i];
        if (w->thread)
            pthread_join(w->thread, NULL);
        snapshot_unref(atomic_exchange(&w->snap_next, NULL));
        snapshot_unref(w->snap);
        loop_free(w->loop);
    }
    free(ws->w);
    *ws = (struct workers){0};
}
