#include "lib/event/loop.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/must.h"

#define LOOP_BATCH 256 /* descriptors served in one turn */

struct loop_sig {
    struct list node;
    struct event *ev;
    loop_signal_fn *fn;
    void *owner;
};

struct loop {
    struct event_base *base;
    struct event tick;     /* libevent's only timer: the head of the heap */
    struct event ep_ready; /* ep has something */
    int ep;
    struct epoll_event batch[LOOP_BATCH];
    int batch_at, batch_len; /* being dispatched: [at, len) */
    int64_t tick_at;         /* 0 = not armed */
    int64_t now;
    bool now_stale, stop, fake_clock;
    struct loop_timer **heap; /* 1-based */
    size_t heap_len, heap_cap;
    struct list tasks[LOOP_PHASES];
    struct list sigs;
    int wake_fd;
    struct loop_fd wake;
    atomic_bool woken;
    _Atomic(struct loop_msg *) inbox; /* newest first */
};

static void now_refresh(struct loop *l)
{
    if (!l->now_stale)
        return;
    l->now_stale = false;
    if (!l->fake_clock)
        l->now = clock_mono_ms();
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct loop *l = arg;
    l->tick_at = 0;
    now_refresh(l);
}

static void on_ep_ready(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg; /* only ends the wait: fds_run() follows in each turn */
}

static void on_wake(void *owner, unsigned ready)
{
    (void)ready;
    struct loop *l = owner;
    uint64_t n;
    /* The flag last. A wake-up between an early store and the read would be swallowed with the flag
     * left set, and nobody would ever wake the loop again. Who still finds the flag set has posted
     * before this store, and the inbox is looked at after it. */
    while (read(l->wake_fd, &n, sizeof(n)) > 0)
        ;
    atomic_store(&l->woken, false);
}

struct loop *loop_new(void)
{
    struct loop *l = mem_new(struct loop);
    struct event_config *cfg = event_config_new();
    MUST(cfg);
    event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK);
    event_config_set_flag(cfg, EVENT_BASE_FLAG_IGNORE_ENV);
    l->base = event_base_new_with_config(cfg);
    event_config_free(cfg);
    l->ep = epoll_create1(EPOLL_CLOEXEC);
    if (!l->base || l->ep < 0)
        must_die("epoll can't be set up: is the limit of open files exhausted?");
    event_assign(&l->tick, l->base, -1, 0, on_tick, l);
    event_assign(&l->ep_ready, l->base, l->ep, EV_READ | EV_PERSIST, on_ep_ready, l);
    MUST(event_add(&l->ep_ready, NULL) == 0);
    for (int i = 0; i < LOOP_PHASES; i++)
        list_init(&l->tasks[i]);
    list_init(&l->sigs);
    l->now = clock_mono_ms();
    l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (l->wake_fd < 0 || loop_fd_open(&l->wake, l, l->wake_fd, LOOP_READ, on_wake, l) != RC_OK)
        must_die("eventfd can't be set up: is the limit of open files exhausted?");
    return l;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    struct loop_sig *s, *tmp;
    LIST_FOREACH_SAFE (s, tmp, &l->sigs, node) {
        event_free(s->ev);
        free(s);
    }
    loop_fd_close(&l->wake);
    close(l->wake_fd);
    event_del(&l->tick);
    event_del(&l->ep_ready);
    close(l->ep);
    event_base_free(l->base);
    free(l->heap);
    free(l);
}

int64_t loop_now(const struct loop *l)
{
    return l->now;
}

void loop_clock_fake(struct loop *l, int64_t now_ms)
{
    l->fake_clock = true;
    l->now = now_ms;
}

void loop_clock_advance(struct loop *l, int64_t ms)
{
    MUST(l->fake_clock);
    l->now += ms;
}

/* -- timers: a binary heap by deadline -- */

static void heap_put(struct loop *l, size_t i, struct loop_timer *t)
{
    l->heap[i] = t;
    t->slot = i;
}

static void heap_up(struct loop *l, size_t i, struct loop_timer *t)
{
    for (; i > 1 && l->heap[i / 2]->at_ms > t->at_ms; i /= 2)
        heap_put(l, i, l->heap[i / 2]);
    heap_put(l, i, t);
}

static void heap_down(struct loop *l, size_t i, struct loop_timer *t)
{
    for (size_t child; (child = 2 * i) <= l->heap_len; i = child) {
        if (child < l->heap_len && l->heap[child + 1]->at_ms < l->heap[child]->at_ms)
            child++;
        if (l->heap[child]->at_ms >= t->at_ms)
            break;
        heap_put(l, i, l->heap[child]);
    }
    heap_put(l, i, t);
}

void loop_timer_init(struct loop_timer *t, struct loop *l, loop_timer_fn *fn, void *owner)
{
    *t = (struct loop_timer){.loop = l, .fn = fn, .owner = owner};
}

void loop_timer_clear(struct loop_timer *t)
{
    if (t->slot == 0)
        return;
    struct loop *l = t->loop;
    size_t i = t->slot;
    struct loop_timer *moved = l->heap[l->heap_len--];
    t->slot = 0;
    if (moved == t)
        return;
    if (i > 1 && l->heap[i / 2]->at_ms > moved->at_ms)
        heap_up(l, i, moved);
    else
        heap_down(l, i, moved);
}

void loop_timer_set(struct loop_timer *t, int64_t in_ms)
{
    struct loop *l = t->loop;
    loop_timer_clear(t);
    t->at_ms = l->now + MAX(in_ms, (int64_t)0);
    mem_grow(l->heap, l->heap_cap, l->heap_len + 2);
    heap_up(l, ++l->heap_len, t);
}

static void timers_run(struct loop *l)
{
    /* one that re-arms itself with 0 ms waits for the next turn */
    size_t most = l->heap_len;
    while (most-- && l->heap_len && l->heap[1]->at_ms <= l->now) {
        struct loop_timer *t = l->heap[1];
        loop_timer_clear(t);
        t->fn(t->owner);
    }
}

/* -- end of the turn -- */

void loop_task_init(struct loop_task *t, loop_task_fn *fn, void *owner)
{
    list_init(&t->node);
    t->fn = fn;
    t->owner = owner;
}

void loop_defer(struct loop *l, struct loop_task *t, enum loop_phase phase)
{
    if (!list_linked(&t->node))
        list_push_back(&l->tasks[phase], &t->node);
}

void loop_task_cancel(struct loop_task *t)
{
    list_del(&t->node);
}

static void tasks_run(struct loop *l, enum loop_phase phase)
{
    struct list now;
    list_init(&now);
    list_splice(&now, &l->tasks[phase]);
    while (!list_empty(&now)) {
        struct loop_task *t = container_of(now.next, struct loop_task, node);
        list_del(&t->node);
        t->fn(t->owner);
    }
}

static void inbox_run(struct loop *l)
{
    struct loop_msg *m = atomic_exchange(&l->inbox, NULL), *fifo = NULL;
    while (m) {
        struct loop_msg *next = m->next;
        m->next = fifo;
        fifo = m;
        m = next;
    }
    while (fifo) {
        m = fifo;
        fifo = m->next;
        m->fn(m);
    }
}

static bool tasks_wait(const struct loop *l)
{
    for (int i = 0; i < LOOP_PHASES; i++)
        if (!list_empty(&l->tasks[i]))
            return true;
    return atomic_load_explicit(&l->inbox, memory_order_relaxed) != NULL;
}

/* -- descriptors -- */

enum rc loop_fd_open(struct loop_fd *f, struct loop *l, int fd, unsigned events, loop_fd_fn *fn,
                     void *owner)
{
    struct epoll_event ev = {.data.ptr = f};
    ev.events = (events & LOOP_READ ? EPOLLIN | EPOLLRDHUP : 0u) |
                (events & LOOP_WRITE ? EPOLLOUT : 0u) | (events & LOOP_LEVEL ? 0u : EPOLLET);
    *f = (struct loop_fd){.fn = fn, .owner = owner, .fd = fd};
    if (epoll_ctl(l->ep, EPOLL_CTL_ADD, fd, &ev) != 0)
        return RC_LIMIT;
    f->loop = l;
    return RC_OK;
}

void loop_fd_close(struct loop_fd *f)
{
    if (!f->loop)
        return;
    epoll_ctl(f->loop->ep, EPOLL_CTL_DEL, f->fd, NULL);
    loop_fd_forget(f);
}

void loop_fd_forget(struct loop_fd *f)
{
    struct loop *l = f->loop;
    if (!l)
        return;
    f->loop = NULL;
    for (int i = l->batch_at; i < l->batch_len; i++) /* its event of this very turn */
        if (l->batch[i].data.ptr == f)
            l->batch[i].data.ptr = NULL;
}

static void fds_run(struct loop *l)
{
    int n = epoll_wait(l->ep, l->batch, LOOP_BATCH, 0);
    l->batch_len = MAX(n, 0);
    for (l->batch_at = 0; l->batch_at < l->batch_len;) {
        const struct epoll_event *e = &l->batch[l->batch_at++];
        struct loop_fd *f = e->data.ptr;
        if (!f)
            continue;
        unsigned hangup = e->events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP);
        unsigned failed = e->events & (EPOLLERR | EPOLLHUP);
        f->fn(f->owner, (e->events & EPOLLIN || hangup ? LOOP_READ : 0u) |
                            (e->events & EPOLLOUT || failed ? LOOP_WRITE : 0u) |
                            (hangup ? LOOP_HANGUP : 0u));
    }
    l->batch_at = l->batch_len = 0;
}

static void tick_arm(struct loop *l, int64_t at)
{
    if (at == l->tick_at)
        return;
    l->tick_at = at;
    if (at == 0) {
        event_del(&l->tick);
        return;
    }
    int64_t in = MAX(at - clock_mono_ms(), (int64_t)0);
    struct timeval tv = {in / 1000, (in % 1000) * 1000};
    event_add(&l->tick, &tv);
}

void loop_turn(struct loop *l, int wait_ms)
{
    int flags = EVLOOP_ONCE;
    int64_t head = l->heap_len ? l->heap[1]->at_ms : 0;
    if (wait_ms == 0 || tasks_wait(l) || (head && head <= l->now)) {
        flags |= EVLOOP_NONBLOCK;
    } else {
        int64_t at = l->fake_clock ? 0 : head;
        int64_t limit = wait_ms > 0 ? clock_mono_ms() + wait_ms : 0;
        tick_arm(l, limit && (!at || limit < at) ? limit : at);
    }
    l->now_stale = true;
    event_base_loop(l->base, flags);
    now_refresh(l);
    fds_run(l);
    timers_run(l);
    inbox_run(l);
    for (int i = 0; i < LOOP_PHASES; i++)
        tasks_run(l, (enum loop_phase)i);
}

void loop_run(struct loop *l)
{
    l->stop = false;
    while (!l->stop)
        loop_turn(l, -1);
}

void loop_stop(struct loop *l)
{
    l->stop = true;
}

/* -- signals -- */

static void on_signal(evutil_socket_t signo, short what, void *arg)
{
    (void)what;
    struct loop_sig *s = arg;
    s->fn(s->owner, (int)signo);
}

void loop_signal(struct loop *l, int signo, loop_signal_fn *fn, void *owner)
{
    struct loop_sig *s = mem_new(struct loop_sig);
    s->fn = fn;
    s->owner = owner;
    s->ev = evsignal_new(l->base, signo, on_signal, s);
    MUST(s->ev && event_add(s->ev, NULL) == 0);
    list_push_back(&l->sigs, &s->node);
}

/* -- other threads -- */

void loop_wake(struct loop *l)
{
    if (atomic_exchange(&l->woken, true))
        return;
    uint64_t one = 1;
    while (write(l->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

void loop_post(struct loop *l, struct loop_msg *m)
{
    struct loop_msg *head = atomic_load_explicit(&l->inbox, memory_order_relaxed);
    do {
        m->next = head;
    } while (!atomic_compare_exchange_weak(&l->inbox, &head, m));
    if (!head)
        loop_wake(l);
}
