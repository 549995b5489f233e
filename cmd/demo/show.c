#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/demo/demo.h"
#include "lib/base/clock.h"

#define ROWS_MAX 32

static struct row {
    char what[32], seen[160];
    bool ok;
} rows[ROWS_MAX];
static size_t n_rows;
static int64_t started_us;

static const char *paint(const char *escape)
{
    return isatty(1) ? escape : "";
}

void show_step(const char *fmt, ...)
{
    va_list ap;
    if (!started_us)
        started_us = clock_mono_us();
    printf("%s[%4.1f s]%s ", paint("\033[2m"), (double)(clock_mono_us() - started_us) / 1e6,
           paint("\033[0m"));
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    fflush(stdout);
}

void show_line(const char *fmt, ...)
{
    va_list ap;
    fputs("         ", stdout);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    fflush(stdout);
}

void show_row(bool ok, const char *what, const char *fmt, ...)
{
    va_list ap;
    if (n_rows == ROWS_MAX)
        return;
    struct row *r = &rows[n_rows++];
    snprintf(r->what, sizeof(r->what), "%s", what);
    va_start(ap, fmt);
    vsnprintf(r->seen, sizeof(r->seen), fmt, ap);
    va_end(ap);
    r->ok = ok;
}

void show_logs(const char *name)
{
    struct strbuf tail AUTO_STRBUF;
    strbuf_init(&tail, 1 << 20);
    procs_log_tail(name, 12, &tail);
    printf("--- the end of the log of %s\n%.*s", name, STR_ARG(strbuf_str(&tail)));
}

static void memory_row(const char *name, pid_t pid)
{
    uint64_t rss, anon;
    if (procs_memory(pid, &rss, &anon))
        printf("  %-30s %5.1f MB RSS, %4.1f MB of it its own (RssAnon)\n", name, (double)rss / 1024,
               (double)anon / 1024);
}

bool show_table(const struct demo *d)
{
    bool all = true;
    printf("\n%s%-32s%s\n", paint("\033[1m"), "What was shown", paint("\033[0m"));
    for (size_t i = 0; i < n_rows; i++) {
        const char *mark = rows[i].ok ? "ok  " : "FAIL",
                   *color = rows[i].ok ? "\033[32m" : "\033[31m";
        printf("  %s%s%s %-25s %s\n", paint(color), mark, paint("\033[0m"), rows[i].what,
               rows[i].seen);
        all = all && rows[i].ok;
    }
    printf("\n%s%-32s%s\n", paint("\033[1m"), "Memory", paint("\033[0m"));
    memory_row("controller", d->controller);
    for (unsigned i = 0; i < d->n_nodes; i++) {
        char name[48];
        snprintf(name, sizeof(name), "ztunnel on %s", d->node[i].name);
        memory_row(name, d->node[i].ztunnel);
        snprintf(name, sizeof(name), "cni agent on %s", d->node[i].name);
        memory_row(name, d->node[i].agent);
    }
    printf("\n");
    fflush(stdout);
    return all;
}
