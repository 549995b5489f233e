#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/metric/metric.h"
#include "tests/helper/check.h"

#define FAMILY(n, t) {n, "Help of " n ".", t}

static struct strbuf exposed(bool openmetrics)
{
    struct strbuf b;
    strbuf_init(&b, 16 << 20);
    metric_expose(&b, openmetrics);
    return b;
}

START_TEST(both_forms)
{
    static const struct metric_family c = FAMILY("aa_opened", METRIC_COUNTER),
                                      g = FAMILY("aa_open", METRIC_GAUGE),
                                      silent = FAMILY("aa_silent", METRIC_GAUGE);
    (void)silent;
    struct strbuf labels AUTO_STRBUF;
    strbuf_init(&labels, 1000);
    metric_label(&labels, "reporter", STR("source"));
    metric_label(&labels, "app", STR("a\"b\\c\nd"));
    metric_add(metric_series(&c, strbuf_str(&labels)), 5);
    metric_add(metric_series(&c, strbuf_str(&labels)), 2);
    metric_set(metric_series(&g, STR("")), -3);
    struct strbuf text AUTO_STRBUF = exposed(false), open AUTO_STRBUF = exposed(true);
    ck_assert_str_eq(text.p,
                     "# HELP aa_open Help of aa_open.\n# TYPE aa_open gauge\naa_open -3\n"
                     "# HELP aa_opened_total Help of aa_opened.\n# TYPE aa_opened_total counter\n"
                     "aa_opened_total{reporter=\"source\",app=\"a\\\"b\\\\c\\nd\"} 7\n");
    ck_assert_str_eq(open.p,
                     "# HELP aa_open Help of aa_open.\n# TYPE aa_open gauge\naa_open -3\n"
                     "# HELP aa_opened Help of aa_opened.\n# TYPE aa_opened counter\n"
                     "aa_opened_total{reporter=\"source\",app=\"a\\\"b\\\\c\\nd\"} 7\n# EOF\n");
    ck_assert_int_eq(metric_sum("aa_opened", "reporter=\"source\""), 7);
    ck_assert_int_eq(metric_sum("aa_opened", "reporter=\"dest\""), 0);
}
END_TEST

static const struct metric_family per_thread = FAMILY("bb_threads", METRIC_COUNTER);
#define THREADS 4
#define ADDS    10000

static void *adder(void *arg)
{
    (void)arg;
    struct metric_series *s = metric_series(&per_thread, STR("k=\"same\""));
    for (int i = 0; i < ADDS; i++) {
        char label[32];
        int n = snprintf(label, sizeof(label), "k=\"%d\"", i % 50);
        metric_add(s, 1);
        metric_add(metric_series(&per_thread, (struct str){label, (size_t)n}), 1);
    }
    return NULL;
}

START_TEST(threads_are_summed_while_they_count)
{
    pthread_t t[THREADS];
    for (int round = 0; round < 3; round++) { /* later rounds take over what the dead left */
        for (int i = 0; i < THREADS; i++)
            ck_assert_int_eq(pthread_create(&t[i], NULL, adder, NULL), 0);
        int64_t before = 0;
        for (int i = 0; i < 20; i++) {
            int64_t now = metric_sum("bb_threads", "k=\"same\"");
            ck_assert_int_ge(now, before);
            before = now;
            struct strbuf b AUTO_STRBUF = exposed(true);
            ck_assert(b.n > 0);
        }
        for (int i = 0; i < THREADS; i++)
            pthread_join(t[i], NULL);
        ck_assert_int_eq(metric_sum("bb_threads", "k=\"same\""), (round + 1) * THREADS * ADDS);
    }
    struct strbuf b AUTO_STRBUF = exposed(false);
    const char *line = "bb_threads_total{k=\"same\"} 120000\n";
    const char *at = strstr(b.p, line);
    ck_assert_ptr_nonnull(at);
    ck_assert_ptr_null(strstr(at + 1, "bb_threads_total{k=\"same\"}")); /* one line for all */
}
END_TEST

START_TEST(label_sets_are_capped)
{
    static const struct metric_family f = FAMILY("cc_many", METRIC_COUNTER);
    for (int i = 0; i < METRIC_SETS_MAX + 100; i++) {
        char label[32];
        int n = snprintf(label, sizeof(label), "k=\"%d\"", i);
        metric_add(metric_series(&f, (struct str){label, (size_t)n}), 1);
    }
    ck_assert_int_eq(metric_sum("cc_many", "overflow=\"true\""), 100);
    metric_add(metric_series(&f, STR("k=\"7\"")), 1); /* those that exist go on */
    ck_assert_int_eq(metric_sum("cc_many", "k=\"7\""), 2);
    ck_assert_int_eq(metric_sum("cc_many", ""), METRIC_SETS_MAX + 101);
}
END_TEST

static const struct metric_family hooked = FAMILY("dd_hooked", METRIC_GAUGE);
static void refresh(void *owner)
{
    metric_set(metric_series(&hooked, STR("")), ++*(int *)owner);
}

START_TEST(gauges_are_refreshed_at_the_scrape)
{
    int n = 41;
    metric_on_scrape(refresh, &n);
    ck_assert_int_eq(metric_sum("dd_hooked", ""), 42);
    metric_off_scrape(refresh, &n);
    ck_assert_int_eq(metric_sum("dd_hooked", ""), 42);
}
END_TEST

START_TEST(process)
{
    metric_process();
    int64_t fds = metric_sum("process_open_fds", "");
    ck_assert_int_gt(fds, 2);
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(metric_sum("process_open_fds", ""), fds + 1);
    close(fd);
    ck_assert_int_ge(metric_sum("process_max_fds", ""), fds);
    ck_assert_int_gt(metric_sum("process_resident_memory_bytes", ""), 100000);
}
END_TEST

TEST_MAIN("metric", both_forms, threads_are_summed_while_they_count, label_sets_are_capped,
          gauges_are_refreshed_at_the_scrape, process)
