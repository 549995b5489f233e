/* Against a naive twin: an array per version. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/hash.h"
#include "lib/base/mem.h"
#include "lib/snap/cowmap.h"
#include "tests/helper/check.h"

#define KEYS 200

struct value {
    int refs;
    unsigned key, number;
};

static int live;

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
    *v = (struct value){1, key, number};
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

TEST_MAIN("cowmap", copies_keep_their_version, an_empty_map_costs_nothing)
