/* Against a naive twin: an array per version. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/hash.h"
#include "lib/base/mem.h"
#include "lib/snap/cowmap.h"
#include "lib/snap/snapshot.h"
#include "tests/helper/check.h"

#define KEYS 200

struct value {
    atomic_int refs;
    unsigned key, number;
};

static atomic_int live;

static bool has_key(const void *v, const void *key)
{
    return ((const struct value *)v)->key == *(const unsigned *)key;
}

static void ref(void *v)
{
    ((struct value *)v)->refs++;
}

static void unref(void *v)
{
    struct value *x = v;
    if (--x->refs == 0) {
        live--;
        free(x);
    }
}

static const struct cowmap_ops ops = {has_key, ref, unref};

/* Few hashes, so that collisions are common; spread over few shards. */
static uint64_t hash_of(unsigned key)
{
    return (uint64_t)(key % 7) << 54 | key % 3;
}

static void set(struct cowmap *m, unsigned key, unsigned number)
{
    struct value *v = mem_new(struct value);
    atomic_init(&v->refs, 1);
    v->key = key;
    v->number = number;
    live++;
    cowmap_set(m, hash_of(key), &key, v);
    unref(v);
}

static bool count(void *v, void *arg)
{
    (void)v;
    ++*(size_t *)arg;
    return true;
}

static void same(const struct cowmap *m, const unsigned *twin)
{
    size_t n = 0, each = 0;
    for (unsigned k = 0; k < KEYS; k++) {
        const struct value *v = cowmap_find(m, hash_of(k), &k);
        ck_assert_uint_eq(v ? v->number : 0, twin[k]);
        n += twin[k] != 0;
    }
    cowmap_each(m, count, &each);
    ck_assert_uint_eq(m->len, n);
    ck_assert_uint_eq(each, n);
}

START_TEST(copies_keep_their_version)
{
    enum { VERSIONS = 12 };
    struct cowmap m[VERSIONS];
    static unsigned twin[VERSIONS][KEYS];
    memset(twin, 0, sizeof(twin));
    cowmap_init(&m[0], &ops);
    for (int v = 0; v < VERSIONS; v++) {
        if (v) {
            cowmap_copy(&m[v], &m[v - 1]);
            memcpy(twin[v], twin[v - 1], sizeof(twin[v]));
        }
        for (int i = 0; i < 150; i++) {
            unsigned k = (unsigned)rand_below(KEYS);
            if (rand_below(3) == 0) {
                ck_assert_int_eq(cowmap_del(&m[v], hash_of(k), &k), twin[v][k] != 0);
                twin[v][k] = 0;
            } else {
                twin[v][k] = (unsigned)rand_below(1000) + 1;
                set(&m[v], k, twin[v][k]);
            }
        }
        for (int old = 0; old <= v; old++)
            same(&m[old], twin[old]);
    }
    for (int v = 0; v < VERSIONS; v++) {
        int at = v * 5 % VERSIONS; /* in another order than they were made */
        cowmap_fini(&m[at]);
        for (int left = v + 1; left < VERSIONS; left++)
            same(&m[left * 5 % VERSIONS], twin[left * 5 % VERSIONS]);
    }
    ck_assert_int_eq(live, 0);
}
END_TEST

START_TEST(an_empty_map_costs_nothing)
{
    struct cowmap m, c;
    unsigned k = 1;
    cowmap_init(&m, &ops);
    ck_assert_ptr_null(m.dir);
    ck_assert_ptr_null(cowmap_find(&m, 1, &k));
    ck_assert(!cowmap_del(&m, 1, &k));
    cowmap_copy(&c, &m);
    set(&c, 1, 5);
    ck_assert_ptr_null(cowmap_find(&m, hash_of(1), &k));
    cowmap_fini(&c);
    cowmap_fini(&m);
    ck_assert_int_eq(live, 0);
}
END_TEST

START_TEST(entries_that_share_a_key_are_all_visited)
{
    struct cowmap m;
    cowmap_init(&m, &ops);
    for (unsigned k = 0; k < 63; k += 21) /* one hash, three keys */
        set(&m, k, k + 1);
    unsigned key = 21;
    uint32_t pos = 0;
    const struct value *v = cowmap_next(&m, hash_of(0), &key, &pos);
    ck_assert_uint_eq(v->number, 22);
    ck_assert_ptr_null(cowmap_next(&m, hash_of(0), &key, &pos));
    key = 5;
    pos = 0;
    ck_assert_ptr_null(cowmap_next(&m, hash_of(0), &key, &pos));
    cowmap_fini(&m);
    ck_assert_int_eq(live, 0);
}
END_TEST

/* -- one writer publishes, readers adopt the latest and read it without locks -- */

struct version {
    struct snapshot base;
    struct cowmap m;
};

static _Atomic(struct version *) latest; /* with a reference, as a worker's slot */
static atomic_bool stop;

static void version_free(struct snapshot *s)
{
    struct version *v = container_of(s, struct version, base);
    cowmap_fini(&v->m);
    free(v);
}

static bool same_number(void *value, void *arg)
{
    unsigned *number = arg, n = ((struct value *)value)->number;
    ck_assert(*number == 0 || *number == n);
    *number = n;
    return true;
}

static void *reader(void *arg)
{
    unsigned long *seen = arg;
    while (!atomic_load(&stop)) {
        struct version *v = atomic_exchange(&latest, NULL);
        if (!v)
            continue;
        unsigned number = 0, key = (unsigned)rand_below(KEYS);
        cowmap_each(&v->m, same_number, &number); /* all of one version, none of another */
        const struct value *one = cowmap_find(&v->m, hash_of(key), &key);
        ck_assert(one && one->number == number);
        snapshot_unref(&v->base);
        ++*seen;
    }
    return NULL;
}

START_TEST(readers_see_whole_versions)
{
    enum { READERS = 3, VERSIONS = 400 };
    pthread_t threads[READERS];
    unsigned long seen[READERS] = {0};
    struct cowmap m;
    cowmap_init(&m, &ops);
    atomic_store(&stop, false);
    for (int i = 0; i < READERS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, reader, &seen[i]), 0);
    for (unsigned number = 1; number <= VERSIONS; number++) {
        for (unsigned k = 0; k < KEYS; k++)
            set(&m, k, number);
        struct version *v = mem_new(struct version);
        snapshot_init(&v->base, version_free);
        cowmap_copy(&v->m, &m);
        struct version *unseen = atomic_exchange(&latest, v);
        if (unseen)
            snapshot_unref(&unseen->base);
    }
    while (atomic_load(&latest))
        ; /* a reader takes the last one */
    atomic_store(&stop, true);
    unsigned long all = 0;
    for (int i = 0; i < READERS; i++) {
        pthread_join(threads[i], NULL);
        all += seen[i];
    }
    ck_assert_uint_gt(all, 0);
    cowmap_fini(&m);
    ck_assert_int_eq(live, 0);
}
END_TEST

TEST_MAIN("cowmap", copies_keep_their_version, an_empty_map_costs_nothing,
          entries_that_share_a_key_are_all_visited, readers_see_whole_versions)
