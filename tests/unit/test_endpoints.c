/* The groups against an array that is searched. */
#include <string.h>

#include "lib/base/hash.h"
#include "lib/base/mem.h"
#include "proxy/state/endpoints.h"
#include "tests/helper/check.h"

#define N 60

static struct intern *in;
static struct atom *key;
static struct place *places[8];
static struct wl_template templates[3];
static struct workload wl[N]; /* only what the groups look at */

static void setup(void)
{
    in = intern_new();
    key = intern_atom(in, STR("a/x"));
    for (int i = 0; i < 8; i++) {
        struct place p = {.network = i & 4 ? STR("net") : STR(""),
                          .region = i & 2 ? STR("r") : STR(""),
                          .zone = i & 1 ? STR("z") : STR("")};
        places[i] = intern_place(in, &p);
    }
    memset(wl, 0, sizeof(wl));
    for (int i = 0; i < 3; i++)
        templates[i].capacity = (uint32_t)i * 5;
    for (int i = 0; i < N; i++) {
        wl[i].place = places[rand_below(8)];
        wl[i].t = &templates[rand_below(3)];
        wl[i].healthy = rand_below(3) > 0;
    }
}

static void teardown(void)
{
    for (int i = 0; i < 8; i++)
        place_unref(places[i]);
    atom_unref(key);
    intern_sweep(in);
    ck_assert_uint_eq(intern_len(in), 0);
    intern_free(in);
}

/* All of the array are in, each in the group of its rank, and the weights are inside their bounds. */
static void check(const struct endpoints *e, const bool *has, const struct place *home)
{
    uint32_t n = 0, from = 0;
    int before = 1000;
    for (int i = 0; i < N; i++)
        n += has[i];
    ck_assert_uint_eq(e->n, n);
    ck_assert_uint_eq(e->end[e->n_groups - 1], n);
    bool seen[N] = {false};
    for (unsigned g = 0; g < e->n_groups; g++) {
        ck_assert_uint_ge(e->end[g], from);
        int group_rank = -2;
        for (uint32_t i = from; i < e->end[g]; i++) {
            const struct workload *w = e->w[i];
            ck_assert(has[w - wl] && !seen[w - wl]);
            seen[w - wl] = true;
            bool may = w->healthy || e->balance.allow_unhealthy;
            int rank = may ? (home ? endpoints_rank(&e->balance, home, w->place) : 0) : -1;
            ck_assert(group_rank == -2 || rank == group_rank);
            group_rank = rank;
            ck_assert_uint_ge(w->t->capacity, e->min_weight);
            ck_assert_uint_le(w->t->capacity, e->max_weight);
        }
        if (group_rank != -2) {
            ck_assert_int_lt(group_rank, before);
            before = group_rank;
            ck_assert_int_eq(group_rank == -1, g == e->n_groups - 1u);
        }
        from = e->end[g];
    }
}

enum { STRICT = 1, FAILOVER };
enum { REGION = 1, ZONE, NETWORK = 6 };

START_TEST(random_edits)
{
    static const struct balance_policy policies[] = {
        {.mode = 0},
        {.mode = 0, .allow_unhealthy = true},
        {.mode = FAILOVER, .n_prefs = 3, .prefs = {NETWORK, REGION, ZONE}},
        {.mode = FAILOVER, .n_prefs = 2, .prefs = {REGION, ZONE}, .allow_unhealthy = true},
        {.mode = STRICT, .n_prefs = 2, .prefs = {REGION, ZONE}},
        {.mode = FAILOVER, .n_prefs = 8, .prefs = {NETWORK, 1, 2, 1, 2, 1, 2, 1}},
    };
    for (size_t p = 0; p < ARRAY_LEN(policies); p++) {
        bool has[N] = {false};
        struct place *home = p % 2 ? places[7] : places[3];
        struct endpoints *e = endpoints_new(key, &policies[p], home, 1);
        for (int round = 0; round < 3000; round++) {
            size_t i = rand_below(N), k = rand_below(N);
            if (has[i] && !has[k] && rand_below(2)) {
                endpoints_swap(e, &wl[i], &wl[k]);
                has[i] = false, has[k] = true;
            } else if (has[i]) {
                endpoints_del(e, &wl[i]);
                has[i] = false;
            } else {
                endpoints_add(e, &wl[i]);
                has[i] = true;
            }
            if (round % 50 == 0)
                check(e, has, home);
        }
        struct endpoints *copy = endpoints_copy(e, 2);
        for (int i = 0; i < N; i++)
            if (has[i])
                endpoints_del(e, &wl[i]);
        check(copy, has, home);
        ck_assert_uint_eq(e->n, 0);
        ck_assert(copy->edition == 2 && e->edition == 1);
        /* arranged anew by each other policy, and without a place */
        for (size_t q = 0; q < ARRAY_LEN(policies); q++) {
            struct endpoints *other = endpoints_arrange(copy, &policies[q], places[1], 3);
            check(other, has, places[1]);
            ck_assert(endpoints_fits(other, &policies[q], places[1]));
            endpoints_unref(other);
            other = endpoints_arrange(copy, &policies[q], NULL, 3);
            check(other, has, NULL);
            endpoints_unref(other);
        }
        endpoints_unref(copy);
        endpoints_unref(e);
    }
}
END_TEST

START_TEST(ranks)
{
    static const struct balance_policy failover = {
        .mode = FAILOVER, .n_prefs = 3, .prefs = {NETWORK, REGION, ZONE}};
    static const struct balance_policy strict = {
        .mode = STRICT, .n_prefs = 3, .prefs = {NETWORK, REGION, ZONE}};
    /* bits of the index: network, region, zone; as the comment of Istio's ztunnel counts them */
    static const int want[8] = {0, 0, 1, 2, 3, 3, 4, 5};
    for (int i = 0; i < 8; i++) {
        ck_assert_int_eq(endpoints_rank(&failover, places[7], places[i]), want[i]);
        ck_assert_int_eq(endpoints_rank(&strict, places[7], places[i]), i == 7 ? 0 : -1);
    }
}
END_TEST

START_TEST(when_it_has_to_be_arranged_again)
{
    struct balance_policy any = {.mode = 0},
                          near = {.mode = FAILOVER, .n_prefs = 1, .prefs = {REGION}};
    struct endpoints *e = endpoints_new(key, &any, places[1], 1);
    ck_assert(endpoints_fits(e, &any, places[2])); /* the place doesn't matter */
    ck_assert(!endpoints_fits(e, &near, places[1]));
    endpoints_unref(e);
    e = endpoints_new(key, &near, places[1], 1);
    ck_assert(endpoints_fits(e, &near, places[1]));
    ck_assert(!endpoints_fits(e, &near, places[2]));
    ck_assert(!endpoints_fits(e, &near, NULL));
    endpoints_unref(e);
}
END_TEST

TEST_MAIN_FIXTURE("endpoints", setup, teardown, random_edits, ranks,
                  when_it_has_to_be_arranged_again)
