/* One event loop of one thread: descriptors, timers, signals, work for the end of the turn.
 *
 * libevent's base waits, tells signals and the time. Descriptors live in an epoll set of the loop's
 * own, which the base watches: libevent reports EPOLLERR and EPOLLHUP as "readable and writable",
 * which an edge-triggered socket can't tell from ordinary readiness (after a short read it then has
 * to ask once more, each time), and it costs 130 bytes a descriptor.
 *
 * A turn: descriptors and timers that are ready call back; then the tasks deferred so far run,
 * phase by phase (WORK, FLUSH, FREE); then messages from other threads. A task deferred while its
 * own phase runs waits for the next turn, which then does not sleep.
 * Thread: everything here belongs to the loop's own thread, except loop_post() and loop_wake(). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/list.h"
#include "lib/base/rc.h"

struct loop;

struct loop *loop_new(void);
void loop_free(struct loop *l); /* descriptors and timers must be closed before */
void loop_run(struct loop *l);  /* until loop_stop() */
/* One turn; waits at most wait_ms (-1: until something happens). For tests. */
void loop_turn(struct loop *l, int wait_ms);
void loop_stop(struct loop *l);
int64_t loop_now(const struct loop *l); /* monotonic ms, read once per turn */
/* Tests only: loop_now() and timers follow a clock that loop_clock_advance() moves. */
void loop_clock_fake(struct loop *l, int64_t now_ms);
void loop_clock_advance(struct loop *l, int64_t ms);

/* -- descriptors: registered once, edge-triggered unless LOOP_LEVEL -- */
enum {
    LOOP_READ = 1,
    LOOP_WRITE = 2,
    LOOP_LEVEL = 4, /* for listeners and rare descriptors: called as long as it is ready */
    LOOP_HANGUP =
        8, /* reported only: the peer shut down or the socket failed; no edge may follow */
};
typedef void loop_fd_fn(void *owner, unsigned ready);
struct loop_fd {
    struct loop *loop; /* NULL when closed */
    loop_fd_fn *fn;
    void *owner;
    int fd;
};
/* The fd stays the caller's. RC_LIMIT when the kernel takes no more. */
NODISCARD enum rc loop_fd_open(struct loop_fd *f, struct loop *l, int fd, unsigned events,
                               loop_fd_fn *fn, void *owner);
void loop_fd_close(struct loop_fd *f); /* before close(fd); legal twice and on a cleared struct */
/* The same for a descriptor that is closed right after and has no duplicate: the kernel takes it out of the
 * set by itself. */
void loop_fd_forget(struct loop_fd *f);

/* -- timers: one shot -- */
typedef void loop_timer_fn(void *owner);
struct loop_timer {
    struct loop *loop;
    loop_timer_fn *fn;
    void *owner;
    int64_t at_ms;
    size_t slot; /* in the loop's heap, 1-based; 0 = not armed */
};
void loop_timer_init(struct loop_timer *t, struct loop *l, loop_timer_fn *fn, void *owner);
void loop_timer_set(struct loop_timer *t, int64_t in_ms); /* re-arms */
void loop_timer_clear(struct loop_timer *t);              /* legal when not armed */
static inline bool loop_timer_armed(const struct loop_timer *t)
{
    return t->slot != 0;
}

/* -- work at the end of the turn -- */
enum loop_phase {
    LOOP_WORK,  /* more of the same: a connection that used up its budget */
    LOOP_FLUSH, /* write what the turn has gathered */
    LOOP_FREE,  /* nothing refers to the object any more */
    LOOP_PHASES
};
typedef void loop_task_fn(void *owner);
struct loop_task {
    struct list node;
    loop_task_fn *fn;
    void *owner;
};
void loop_task_init(struct loop_task *t, loop_task_fn *fn, void *owner);
void loop_defer(struct loop *l, struct loop_task *t, enum loop_phase phase); /* once until it ran */
void loop_task_cancel(struct loop_task *t);

/* -- signals, main thread only -- */
typedef void loop_signal_fn(void *owner, int signo);
void loop_signal(struct loop *l, int signo, loop_signal_fn *fn,
                 void *owner); /* for the process' life */

/* -- from any thread -- */
struct loop_msg;
typedef void loop_msg_fn(struct loop_msg *m); /* runs on the loop's thread; owns m */
struct loop_msg {
    struct loop_msg *next;
    loop_msg_fn *fn;
};
void loop_post(struct loop *l, struct loop_msg *m); /* in order per sender, no lock */
void loop_wake(struct loop *l);                     /* makes the loop take a turn */
