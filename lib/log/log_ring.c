/* A ring per thread: the thread appends whole lines, the owner of the log writes them out. Head and
 * tail are byte counts that only grow; a ring outlives its thread and serves the next one. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/must.h"
#include "lib/log/log_priv.h"

#define RING_SIZE   ((size_t)128 * 1024)
#define DRAIN_MAX   ((size_t)256 * 1024)
#define PIPE_CHUNK  ((size_t)4096) /* what a pipe or socket that polls writable takes at once */
#define FILE_CHUNK  ((size_t)64 * 1024)
#define STALLED_MS  10
#define STOP_MAX_MS 1000

struct log_ring {
    struct log_ring *next;
    atomic_bool taken; /* a living thread has it */
    _Atomic size_t head, tail;
    _Atomic uint64_t dropped;
    char data[RING_SIZE];
};

static struct {
    int fd;
    bool may_block; /* not a file: ask before each write */
    atomic_bool started, pending;
    pthread_t owner;
    void (*on_work)(void *arg);
    void *arg;
    _Atomic(struct log_ring *) rings;
    struct log_ring *current; /* the drain stopped inside this one */
    uint64_t dropped_told;
    bool broken; /* the last write failed: telling so would fail too */
} lg = {.fd = STDOUT_FILENO};

static _Thread_local struct log_ring *mine;
static pthread_key_t exit_key;
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;

static void on_thread_exit(void *ring)
{
    struct log_ring *r = ring;
    mine = NULL;
    atomic_store(&r->taken, false);
}

static void exit_key_make(void)
{
    MUST(pthread_key_create(&exit_key, on_thread_exit) == 0);
}

static struct log_ring *ring_take(void)
{
    pthread_once(&exit_once, exit_key_make);
    struct log_ring *r = atomic_load(&lg.rings);
    for (; r; r = r->next) {
        bool free_one = false;
        if (atomic_compare_exchange_strong(&r->taken, &free_one, true))
            break;
    }
    if (!r) {
        r = mem_alloc(sizeof(*r)); /* data is not cleared: untouched pages cost nothing */
        memset(r, 0, offsetof(struct log_ring, data));
        atomic_init(&r->taken, true);
        r->next = atomic_load(&lg.rings);
        while (!atomic_compare_exchange_weak(&lg.rings, &r->next, r))
            ;
    }
    pthread_setspecific(exit_key, r);
    return r;
}

static void write_now(const char *p, size_t n)
{
    while (n) {
        ssize_t done = write(lg.fd, p, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return; /* nowhere to say so */
        p += done;
        n -= (size_t)done;
    }
}

static bool ring_append(struct log_ring *r, const char *p, size_t n)
{
    size_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    size_t tail = atomic_load_explicit(&r->tail, memory_order_acquire);
    if (n > RING_SIZE - (head - tail))
        return false;
    size_t at = head % RING_SIZE, first = MIN(n, RING_SIZE - at);
    memcpy(r->data + at, p, first);
    memcpy(r->data, p + first, n - first);
    /* sequentially consistent, against log_drain(): either it sees this line, or we see its
     * pending = false and call on_work */
    atomic_store(&r->head, head + n);
    return true;
}

uint64_t log_dropped(void)
{
    uint64_t n = 0;
    for (struct log_ring *r = atomic_load(&lg.rings); r; r = r->next)
        n += atomic_load_explicit(&r->dropped, memory_order_relaxed);
    return n;
}

void log_output(int fd)
{
    struct stat st;
    lg.fd = fd;
    lg.may_block = fstat(fd, &st) == 0 && !S_ISREG(st.st_mode);
}

void log_start(void (*on_work)(void *arg), void *arg)
{
    log_output(lg.fd);
    lg.owner = pthread_self();
    lg.on_work = on_work;
    lg.arg = arg;
    lg.dropped_told = log_dropped();
    atomic_store(&lg.pending, false);
    atomic_store(&lg.started, true);
}

/* -- the drain -- */

/* How much of [tail, head) to write at once: whole lines, at most max (a line is never longer). */
static size_t chunk_of(const struct log_ring *r, size_t tail, size_t head, size_t max)
{
    size_t n = head - tail;
    if (n <= max)
        return n;
    for (n = max; n > 0; n--)
        if (r->data[(tail + n - 1) % RING_SIZE] == '\n')
            return n;
    return max;
}

static uint64_t lines_in(const struct log_ring *r, size_t tail, size_t n)
{
    uint64_t lines = 0;
    for (size_t i = 0; i < n; i++)
        lines += r->data[(tail + i) % RING_SIZE] == '\n';
    return lines;
}

static enum rc ring_write(struct log_ring *r, size_t *budget)
{
    size_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    size_t head = atomic_load(&r->head);
    while (tail != head) {
        struct pollfd p = {.fd = lg.fd, .events = POLLOUT};
        if (lg.may_block && poll(&p, 1, 0) == 0)
            return RC_AGAIN;
        size_t n = chunk_of(r, tail, head, lg.may_block ? PIPE_CHUNK : FILE_CHUNK);
        size_t at = tail % RING_SIZE, first = MIN(n, RING_SIZE - at);
        struct iovec iov[2] = {{r->data + at, first}, {r->data, n - first}};
        ssize_t done = writev(lg.fd, iov, n > first ? 2 : 1);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0 && errno == EAGAIN)
            return RC_AGAIN;
        if (done < 0) { /* the output is gone or full: these lines are lost, but counted */
            atomic_fetch_add_explicit(&r->dropped, lines_in(r, tail, n), memory_order_relaxed);
            done = (ssize_t)n;
            lg.broken = true;
        } else {
            lg.broken = false;
        }
        tail += (size_t)done;
        atomic_store_explicit(&r->tail, tail, memory_order_release);
        *budget -= MIN(*budget, (size_t)done);
    }
    return RC_OK;
}

static int64_t rings_write(void)
{
    size_t budget = DRAIN_MAX;
    /* a line that was cut must be finished before another ring's */
    if (lg.current && ring_write(lg.current, &budget) != RC_OK)
        return STALLED_MS;
    lg.current = NULL;
    for (struct log_ring *r = atomic_load(&lg.rings); r; r = r->next) {
        if (budget == 0)
            return 0;
        if (ring_write(r, &budget) != RC_OK) {
            lg.current = r;
            return STALLED_MS;
        }
    }
    return -1;
}

void log_ring_put(const char *line, size_t n)
{
    if (!atomic_load_explicit(&lg.started, memory_order_acquire)) {
        write_now(line, n);
        return;
    }
    if (!mine)
        mine = ring_take();
    bool ok = ring_append(mine, line, n);
    if (!ok && pthread_equal(pthread_self(), lg.owner)) {
        rings_write(); /* nobody else would */
        ok = ring_append(mine, line, n);
    }
    if (!ok) {
        atomic_fetch_add_explicit(&mine->dropped, 1, memory_order_relaxed);
        return;
    }
    if (!atomic_load(&lg.pending) && !atomic_exchange(&lg.pending, true))
        lg.on_work(lg.arg);
}

/* Once the output takes lines again, it hears how many it missed. */
static void tell_dropped(void)
{
    uint64_t dropped = log_dropped(), n = dropped - lg.dropped_told;
    if (n == 0 || lg.broken)
        return;
    lg.dropped_told = dropped;
    struct log_line l;
    log_begin(&l, LOG_WARN, "log",
              "lines were dropped: what reads this log is slower than it is written");
    log_u64(&l, "dropped", n);
    log_end(&l);
}

int64_t log_drain(void)
{
    atomic_store(&lg.pending, false);
    int64_t again_ms = rings_write();
    if (again_ms < 0)
        tell_dropped();
    else
        atomic_store(&lg.pending, true); /* the caller comes back by itself */
    return again_ms;
}

void log_stop(void)
{
    if (!atomic_load(&lg.started))
        return;
    atomic_store(&lg.pending, true); /* no call of on_work any more */
    int64_t until_ms = clock_mono_ms() + STOP_MAX_MS, again_ms;
    while ((again_ms = rings_write()) >= 0 && clock_mono_ms() < until_ms) {
        struct pollfd p = {.fd = lg.fd, .events = POLLOUT};
        poll(&p, 1, (int)again_ms);
    }
    tell_dropped();
    atomic_store(&lg.started, false);
    rings_write(); /* what came in the meantime */
}
