#include "cmd/process.h"

#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/must.h"

#define ARENAS_MAX    2
/* Free memory at the top of the heap over this goes back to the kernel at once, all of it when the process is
 * idle. Buffers of connections come and go by hundreds of kilobytes: given back each time, a fifth of
 * the CPU went into page faults. */
#define TRIM_BYTES    (8 * 1024 * 1024)
#define MMAP_BYTES    (1024 * 1024) /* larger blocks are mapped alone, and unmapped when freed */
#define TRIM_EVERY_MS 10000
#define TRIM_IDLE_MS  (TRIM_EVERY_MS / 50) /* CPU time in that: less is idle */
#define TRIM_WORTH_MS 100                  /* CPU time since the last trim: less freed nothing */

/* A socket that gets number 1 would receive what is printed. */
static void standard_fds(void)
{
    for (int fd = 0; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) >= 0)
            continue;
        int got = open("/dev/null", O_RDWR), p[2];
        if (got < 0 && pipe(p) == 0) { /* no /dev: the end that reads; what is printed fails */
            got = p[0];
            close(p[1]);
        }
        MUST(got == fd);
    }
}

static void open_files(void)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < l.rlim_max) {
        l.rlim_cur = l.rlim_max;
        setrlimit(RLIMIT_NOFILE, &l); /* a failure leaves the old one, which the metric shows */
    }
}

void process_setup(void)
{
    standard_fds();
    open_files();
    signal(SIGPIPE, SIG_IGN);
    mallopt(M_ARENA_MAX, ARENAS_MAX);
    mallopt(M_TRIM_THRESHOLD, TRIM_BYTES);
    mallopt(M_MMAP_THRESHOLD, MMAP_BYTES); /* setting it also keeps it from growing */
}

static int64_t cpu_ms(void)
{
    struct timespec ts;
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts) != 0)
        return 0;
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void on_timer(void *owner)
{
    struct process_trim *t = owner;
    int64_t now = cpu_ms(), used = now - t->cpu_ms;
    t->cpu_ms = now;
    t->since_ms += used;
    if (used < TRIM_IDLE_MS && t->since_ms >= TRIM_WORTH_MS) {
        malloc_trim(0);
        t->since_ms = 0;
    }
    loop_timer_set(&t->timer, TRIM_EVERY_MS);
}

void process_trim_start(struct process_trim *t, struct loop *l)
{
    t->cpu_ms = 0; /* what the start used counts: its garbage is given back too */
    t->since_ms = TRIM_WORTH_MS;
    loop_timer_init(&t->timer, l, on_timer, t);
    loop_timer_set(&t->timer, TRIM_EVERY_MS);
}

void process_trim_stop(struct process_trim *t)
{
    loop_timer_clear(&t->timer);
}
