/* Snapshot hand-over between the main thread and workers; meant for TSan as much as for the eye. */
#include <sched.h>
#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/event/worker.h"
#include "tests/helper/check.h"

#define PUBLISHES 20000

static atomic_int live;

struct numbered {
    struct snapshot base;
    int n;
    int check; /* always -n: a torn or freed snapshot shows */
};

static void numbered_free(struct snapshot *s)
{
    atomic_fetch_sub(&live, 1);
    free(container_of(s, struct numbered, base));
}

static struct snapshot *numbered_new(int n)
{
    struct numbered *s = mem_new(struct numbered);
    snapshot_init(&s->base, numbered_free);
    s->n = n;
    s->check = -n;
    atomic_fetch_add(&live, 1);
    return &s->base;
}

struct seen {
    int last, adopted;
    bool wrong;
    atomic_bool done;
};

static void on_snapshot(struct worker *w)
{
    struct seen *seen = w->owner;
    const struct numbered *s = container_of(w->snap, struct numbered, base);
    seen->wrong |= s->n <= seen->last || s->check != -s->n;
    seen->last = s->n;
    seen->adopted++;
    if (s->n == PUBLISHES)
        atomic_store(&seen->done, true);
}

START_TEST(every_worker_ends_with_the_last_snapshot_and_none_leaks)
{
    struct workers ws;
    struct seen seen[3] = {0};
    workers_init(&ws, 3, "test");
    for (unsigned i = 0; i < 3; i++) {
        ws.w[i].owner = &seen[i];
        ws.w[i].on_snapshot = on_snapshot;
    }
    workers_start(&ws);
    for (int n = 1; n <= PUBLISHES; n++)
        workers_publish(&ws, numbered_new(n));
    for (unsigned i = 0; i < 3; i++)
        while (!atomic_load(&seen[i].done))
            sched_yield();
    workers_fini(&ws);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert(!seen[i].wrong);
        ck_assert_int_eq(seen[i].last, PUBLISHES);
    }
    ck_assert_int_eq(atomic_load(&live), 0);
}
END_TEST

static bool out_of_order;

static void count(struct worker *w, void *arg)
{
    int *n = w->owner;
    out_of_order |= (int)(intptr_t)arg != *n;
    ++*n;
}

START_TEST(calls_arrive_in_order)
{
    struct workers ws;
    int n = 0;
    workers_init(&ws, 1, "test");
    ws.w[0].owner = &n;
    workers_start(&ws);
    for (int i = 0; i < 10000; i++)
        worker_call(&ws.w[0], count, (void *)(intptr_t)i);
    workers_fini(&ws);
    ck_assert_int_eq(n, 10000);
    ck_assert(!out_of_order);
}
END_TEST

TEST_MAIN("worker", every_worker_ends_with_the_last_snapshot_and_none_leaks, calls_arrive_in_order)
