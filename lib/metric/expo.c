/* The exposition: series of all threads with equal labels become one line. */
#include <stdlib.h>

#include "lib/base/htab.h"
#include "lib/base/mem.h"
#include "lib/metric/metric_priv.h"

struct line {
    struct hnode node;
    struct line *next; /* of the family */
    const struct metric_entry *entry;
    int64_t sum;
};

struct family_lines {
    const struct metric_family *family;
    struct line *first;
};

struct scrape {
    struct line *lines;
    size_t lines_n, lines_cap; /* the capacity is set first: nodes must not move */
    struct htab by_labels;
    struct family_lines *families;
    size_t families_n, families_cap;
};

static void count_one(void *owner, const struct metric_entry *e)
{
    (void)e;
    ++*(size_t *)owner;
}

static bool line_eq(const struct hnode *node, const void *key)
{
    const struct metric_entry *a = container_of(node, const struct line, node)->entry, *b = key;
    return (a->family == b->family || strcmp(a->family->name, b->family->name) == 0) &&
           str_eq((struct str){a->labels, a->labels_n}, (struct str){b->labels, b->labels_n});
}

static struct family_lines *family_of(struct scrape *s, const struct metric_family *f)
{
    for (size_t i = 0; i < s->families_n; i++)
        if (s->families[i].family == f || strcmp(s->families[i].family->name, f->name) == 0)
            return &s->families[i];
    mem_grow(s->families, s->families_cap, s->families_n + 1);
    s->families[s->families_n] = (struct family_lines){.family = f};
    return &s->families[s->families_n++];
}

static void merge_one(void *owner, const struct metric_entry *e)
{
    struct scrape *s = owner;
    int64_t v = atomic_load_explicit(&e->series.value, memory_order_relaxed);
    struct hnode *n = htab_find(&s->by_labels, e->hash, line_eq, e);
    if (n) {
        container_of(n, struct line, node)->sum += v;
        return;
    }
    if (s->lines_n == s->lines_cap)
        return; /* made since they were counted: in the next scrape */
    struct family_lines *f = family_of(s, e->family);
    struct line *l = &s->lines[s->lines_n++];
    *l = (struct line){.next = f->first, .entry = e, .sum = v};
    f->first = l;
    htab_insert(&s->by_labels, &l->node, e->hash);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct family_lines *)a)->family->name,
                  ((const struct family_lines *)b)->family->name);
}

static void add_help(struct strbuf *out, const char *help)
{
    for (; *help; help++) {
        if (*help == '\n')
            strbuf_addz(out, "\\n");
        else if (*help == '\\')
            strbuf_addz(out, "\\\\");
        else
            strbuf_addc(out, *help);
    }
    strbuf_addc(out, '\n');
}

static void expose_family(struct strbuf *out, const struct family_lines *f, bool openmetrics)
{
    const struct metric_family *m = f->family;
    const char *suffix = m->type == METRIC_COUNTER && !m->plain ? "_total" : "";
    const char *type = m->type == METRIC_COUNTER ? "counter" : "gauge";
    if (m->plain && openmetrics)
        type = "unknown"; /* there a counter has to end in "_total" */
    const char *head_suffix = openmetrics ? "" : suffix; /* OpenMetrics names the family */
    strbuf_printf(out, "# HELP %s%s ", m->name, head_suffix);
    add_help(out, m->help);
    strbuf_printf(out, "# TYPE %s%s %s\n", m->name, head_suffix, type);
    for (const struct line *l = f->first; l; l = l->next) {
        strbuf_addz(out, m->name);
        strbuf_addz(out, suffix);
        if (l->entry->labels_n) {
            strbuf_addc(out, '{');
            strbuf_add(out, l->entry->labels, l->entry->labels_n);
            strbuf_addc(out, '}');
        }
        strbuf_addz(out, l->sum < 0 ? " -" : " ");
        strbuf_addu(out, l->sum < 0 ? -(uint64_t)l->sum : (uint64_t)l->sum);
        strbuf_addc(out, '\n');
    }
}

void metric_expose(struct strbuf *out, bool openmetrics)
{
    metric_refresh();
    struct scrape s = {0};
    metric_visit(count_one, &s.lines_cap);
    s.lines = mem_calloc(s.lines_cap + 1, sizeof(*s.lines));
    htab_init(&s.by_labels);
    metric_visit(merge_one, &s);
    if (s.families_n)
        qsort(s.families, s.families_n, sizeof(*s.families), by_name);
    for (size_t i = 0; i < s.families_n; i++)
        expose_family(out, &s.families[i], openmetrics);
    if (openmetrics)
        strbuf_addz(out, "# EOF\n");
    htab_fini(&s.by_labels);
    free(s.lines);
    free(s.families);
}

struct sum {
    const char *name;
    struct str having;
    int64_t value;
};

static void sum_one(void *owner, const struct metric_entry *e)
{
    struct sum *s = owner;
    if (strcmp(e->family->name, s->name) == 0 &&
        (s->having.n == 0 || memmem(e->labels, e->labels_n, s->having.p, s->having.n)))
        s->value += atomic_load_explicit(&e->series.value, memory_order_relaxed);
}

int64_t metric_sum(const char *name, const char *having)
{
    struct sum s = {.name = name, .having = str_of(having)};
    metric_refresh();
    metric_visit(sum_one, &s);
    return s.value;
}
