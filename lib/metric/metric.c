#include "lib/metric/metric.h"

#include <pthread.h>
#include <stdlib.h>

#include "lib/base/hash.h"
#include "lib/base/htab.h"
#include "lib/base/mem.h"
#include "lib/base/must.h"
#include "lib/metric/metric_priv.h"

#define LABELS_MAX ((size_t)8192)

struct family_count {
    const struct metric_family *family;
    unsigned sets;
};

/* What one thread counts. Outlives it, and serves the next one. */
struct registry {
    struct registry *next;
    atomic_bool taken;
    _Atomic(const struct metric_entry *) newest;
    struct htab entries; /* its own */
    struct family_count *counts;
    size_t counts_n, counts_cap;
};

static _Atomic(struct registry *) registries;
static _Thread_local struct registry *mine;
static pthread_key_t exit_key;
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;

static struct scrape_hook {
    void (*fn)(void *owner);
    void *owner;
} *hooks;
static size_t hooks_n, hooks_cap;

static void on_thread_exit(void *registry)
{
    struct registry *r = registry;
    mine = NULL;
    atomic_store(&r->taken, false);
}

static void exit_key_make(void)
{
    MUST(pthread_key_create(&exit_key, on_thread_exit) == 0);
}

static struct registry *registry_take(void)
{
    pthread_once(&exit_once, exit_key_make);
    struct registry *r = atomic_load(&registries);
    for (; r; r = r->next) {
        bool free_one = false;
        if (atomic_compare_exchange_strong(&r->taken, &free_one, true))
            break;
    }
    if (!r) {
        r = mem_new(struct registry);
        atomic_init(&r->taken, true);
        htab_init(&r->entries);
        r->next = atomic_load(&registries);
        while (!atomic_compare_exchange_weak(&registries, &r->next, r))
            ;
    }
    pthread_setspecific(exit_key, r);
    return r;
}

/* -- series -- */

struct wanted {
    const struct metric_family *family;
    struct str labels;
};

static bool entry_eq(const struct hnode *node, const void *key)
{
    const struct metric_entry *e = container_of(node, const struct metric_entry, node);
    const struct wanted *w = key;
    return e->family == w->family && str_eq((struct str){e->labels, e->labels_n}, w->labels);
}

static struct family_count *count_of(struct registry *r, const struct metric_family *f)
{
    for (size_t i = 0; i < r->counts_n; i++)
        if (r->counts[i].family == f)
            return &r->counts[i];
    mem_grow(r->counts, r->counts_cap, r->counts_n + 1);
    r->counts[r->counts_n] = (struct family_count){.family = f};
    return &r->counts[r->counts_n++];
}

static struct metric_entry *entry_find(struct registry *r, const struct wanted *w, uint64_t hash)
{
    struct hnode *n = htab_find(&r->entries, hash, entry_eq, w);
    return n ? container_of(n, struct metric_entry, node) : NULL;
}

static struct metric_entry *entry_add(struct registry *r, const struct wanted *w, uint64_t hash)
{
    struct metric_entry *e = mem_alloc(sizeof(*e) + w->labels.n);
    e->older = atomic_load_explicit(&r->newest, memory_order_relaxed);
    e->family = w->family;
    e->hash = hash;
    atomic_init(&e->series.value, 0);
    e->labels_n = w->labels.n;
    if (w->labels.n)
        memcpy(e->labels, w->labels.p, w->labels.n);
    htab_insert(&r->entries, &e->node, hash);
    atomic_store_explicit(&r->newest, e, memory_order_release); /* the scraper sees it whole */
    return e;
}

static uint64_t wanted_hash(const struct wanted *w)
{
    return hash_mix(hash_str(str_of(w->family->name)), hash_str(w->labels));
}

struct metric_series *metric_series(const struct metric_family *f, struct str labels)
{
    if (!mine)
        mine = registry_take();
    struct wanted w = {f, labels};
    uint64_t hash = wanted_hash(&w);
    struct metric_entry *e = entry_find(mine, &w, hash);
    if (e)
        return &e->series;
    struct family_count *c = count_of(mine, f);
    if (c->sets >= METRIC_SETS_MAX || labels.n > LABELS_MAX) {
        w.labels = STR("overflow=\"true\"");
        hash = wanted_hash(&w);
        e = entry_find(mine, &w, hash);
    } else {
        c->sets++;
    }
    return &(e ? e : entry_add(mine, &w, hash))->series;
}

void metric_label(struct strbuf *out, const char *key, struct str value)
{
    if (out->n)
        strbuf_addc(out, ',');
    strbuf_addz(out, key);
    strbuf_addz(out, "=\"");
    while (value.n) {
        size_t run = 0;
        while (run < value.n && value.p[run] != '\\' && value.p[run] != '"' && value.p[run] != '\n')
            run++;
        strbuf_add(out, value.p, run);
        if (run < value.n) {
            strbuf_addc(out, '\\');
            strbuf_addc(out, value.p[run] == '\n' ? 'n' : value.p[run]);
            run++;
        }
        value = (struct str){value.p + run, value.n - run};
    }
    strbuf_addc(out, '"');
}

/* -- scrape -- */

void metric_on_scrape(void (*fn)(void *owner), void *owner)
{
    mem_grow(hooks, hooks_cap, hooks_n + 1);
    hooks[hooks_n++] = (struct scrape_hook){fn, owner};
}

void metric_off_scrape(void (*fn)(void *owner), void *owner)
{
    for (size_t i = 0; i < hooks_n; i++) {
        if (hooks[i].fn == fn && hooks[i].owner == owner) {
            hooks[i] = hooks[--hooks_n];
            return;
        }
    }
}

void metric_refresh(void)
{
    for (size_t i = 0; i < hooks_n; i++)
        hooks[i].fn(hooks[i].owner);
}

void metric_visit(metric_visit_fn *fn, void *owner)
{
    for (struct registry *r = atomic_load(&registries); r; r = r->next) {
        const struct metric_entry *e = atomic_load_explicit(&r->newest, memory_order_acquire);
        for (; e; e = e->older)
            fn(owner, e);
    }
}
