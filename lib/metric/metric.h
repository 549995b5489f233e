/* Metrics: families in static tables, label sets interned to a series once, then an update is one
 * relaxed add to memory of the updating thread; the scrape (main thread) sums over threads.
 * Series of one thread are created by that thread only, without a lock, and live as long as the
 * process: what a thread counted stays counted after its end. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/str.h"

enum metric_type { METRIC_COUNTER, METRIC_GAUGE };

struct metric_family {
    const char *name; /* without the "_total" that counters get in the exposition */
    const char *help; /* ends with a full stop */
    enum metric_type type;
    bool plain; /* a counter exposed as named: Istio's control plane has no "_total" */
};

struct metric_series {
    _Atomic int64_t value;
};

#define METRIC_SETS_MAX 10000 /* label sets of a family, per thread */

/* The calling thread's series of this label set. labels: the text between the braces, e.g.
 * reporter="source",source_app="x" (use metric_label() to build it); copied. Never NULL: when the
 * family has reached METRIC_SETS_MAX all further sets share one series with the single label
 * overflow="true". Costs a hash of the labels: keep the pointer, on this thread. */
struct metric_series *metric_series(const struct metric_family *f, struct str labels);
static inline void metric_add(struct metric_series *s, int64_t v)
{
    /* only the owner thread writes: a load and a store, no locked instruction */
    atomic_store_explicit(&s->value, atomic_load_explicit(&s->value, memory_order_relaxed) + v,
                          memory_order_relaxed);
}
static inline void metric_set(struct metric_series *s, int64_t v)
{
    atomic_store_explicit(&s->value, v, memory_order_relaxed);
}
/* Appends key="value" (escaped), with a comma before it when out is not empty. */
void metric_label(struct strbuf *out, const char *key, struct str value);
/* fn is called at scrape time on the main thread to refresh gauges. Main thread. */
void metric_on_scrape(void (*fn)(void *owner), void *owner);
void metric_off_scrape(void (*fn)(void *owner), void *owner);

/* Exposition: Prometheus text 0.0.4, or OpenMetrics 1.0 (ends in "# EOF"). Families in order of
 * their names, those without series are absent. Main thread. */
void metric_expose(struct strbuf *out, bool openmetrics);
/* Sum over threads and label sets that contain the text `having` ("" = all). For tests and status. */
int64_t metric_sum(const char *name, const char *having);

/* process_open_fds, process_max_fds, process_resident_memory_bytes; those that need /proc are
 * absent without it. Main thread, once. */
void metric_process(void);
