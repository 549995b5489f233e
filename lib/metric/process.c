#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/metric/metric.h"

static const struct metric_family open_fds = {"process_open_fds",
                                              "Number of open file descriptors.", METRIC_GAUGE};
static const struct metric_family max_fds = {
    "process_max_fds", "Maximum number of open file descriptors.", METRIC_GAUGE};
static const struct metric_family resident = {"process_resident_memory_bytes",
                                              "Resident memory size in bytes.", METRIC_GAUGE};

static void set(const struct metric_family *f, int64_t v)
{
    metric_set(metric_series(f, STR("")), v);
}

static void refresh(void *owner)
{
    (void)owner;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        set(&max_fds, (int64_t)limit.rlim_cur);
    DIR *d = opendir("/proc/self/fd");
    if (d) {
        int64_t n = -3; /* ".", ".." and the descriptor of this very folder */
        while (readdir(d))
            n++;
        closedir(d);
        set(&open_fds, n);
    }
    FILE *f = fopen("/proc/self/statm", "re");
    if (f) {
        unsigned long long size, pages;
        if (fscanf(f, "%llu %llu", &size, &pages) == 2)
            set(&resident, (int64_t)pages * sysconf(_SC_PAGESIZE));
        fclose(f);
    }
}

void metric_process(void)
{
    metric_on_scrape(refresh, NULL);
}
