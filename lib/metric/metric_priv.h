/* Between the files of this folder. */
#pragma once

#include "lib/base/htab.h"
#include "lib/metric/metric.h"

/* One label set of one thread. Immutable but for the value and the owner's node. */
struct metric_entry {
    struct hnode node;                /* in the owner's table: the scraper never looks */
    const struct metric_entry *older; /* of the same thread */
    const struct metric_family *family;
    uint64_t hash; /* of family name and labels: equal on all threads */
    struct metric_series series;
    size_t labels_n;
    char labels[];
};

typedef void metric_visit_fn(void *owner, const struct metric_entry *e);
void metric_visit(metric_visit_fn *fn, void *owner); /* all threads, newest first */
void metric_refresh(void);                           /* calls the on_scrape functions */
