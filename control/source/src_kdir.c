#include "control/source/src_kdir.h"

#include <stdio.h>

#include "lib/base/mem.h"
#include "lib/kdir/kdir.h"
#include "lib/log/log.h"
#include "lib/metric/metric.h"

#define SCOPE "source"

static const struct metric_family m_problems = {
    "mesh_source_problems", "Problems of the source's documents that there are now.", METRIC_GAUGE,
    false};

struct src_kdir {
    struct object_sink sink;
    struct kdir *dir;
};

static void on_set(void *owner, struct kobj *obj)
{
    struct src_kdir *s = owner;
    s->sink.ops->set(s->sink.owner, obj);
}

static void on_delete(void *owner, struct kobj *obj)
{
    struct src_kdir *s = owner;
    s->sink.ops->remove(s->sink.owner, obj);
}

static void on_batch(void *owner)
{
    struct src_kdir *s = owner;
    s->sink.ops->batch(s->sink.owner);
}

/* "file:line: text", the form editors jump to. */
static void on_problem(void *owner, const struct kdir_problem *p)
{
    struct strbuf text AUTO_STRBUF;
    (void)owner;
    strbuf_init(&text, 4096);
    strbuf_addz(&text, p->file);
    if (p->line)
        strbuf_printf(&text, ":%u", p->line);
    strbuf_printf(&text, "%s%s", text.n ? ": " : "", p->text);
    if (p->severity == KDIR_UNUSED)
        log_info(SCOPE, "%.*s", STR_ARG(strbuf_str(&text)));
    else
        log_error(SCOPE, "%.*s", STR_ARG(strbuf_str(&text)));
}

/* -- what there is to complain about -- */

static const char *const severities[] = {"error", "unused", "system"};

static void print_problem(void *arg, const struct kdir_problem *p)
{
    struct strbuf *out = arg;
    if (out->n && out->p[out->n - 1] == '}')
        strbuf_addc(out, ',');
    strbuf_printf(out, "{\"severity\":\"%s\",\"file\":\"", severities[p->severity]);
    strbuf_add_json(out, str_of(p->file));
    strbuf_printf(out, "\",\"line\":%u,\"message\":\"", p->line);
    strbuf_add_json(out, str_of(p->text));
    strbuf_addz(out, "\"}");
}

void src_kdir_problems(const struct src_kdir *s, struct strbuf *out)
{
    strbuf_addc(out, '[');
    kdir_problems(s->dir, print_problem, out);
    strbuf_addc(out, ']');
}

static void count_problem(void *arg, const struct kdir_problem *p)
{
    ((int64_t *)arg)[p->severity]++;
}

static void on_scrape(void *owner)
{
    const struct src_kdir *s = owner;
    int64_t n[3] = {0};
    kdir_problems(s->dir, count_problem, n);
    for (int i = 0; i < 3; i++) {
        char labels[40];
        int len = snprintf(labels, sizeof(labels), "severity=\"%s\"", severities[i]);
        metric_set(metric_series(&m_problems, (struct str){labels, (size_t)len}), n[i]);
    }
}

/* -- life -- */

struct src_kdir *src_kdir_new(struct loop *l, const struct src_kdir_opts *o,
                              struct object_sink sink)
{
    static const struct kdir_ops ops = {on_set, on_delete, on_batch, on_problem};
    struct src_kdir *s = mem_new(struct src_kdir);
    struct kdir_opts ko = {
        .folder = o->folder, .keep = o->keep, .kinds = sink.ops->kinds, .tell_unused = true};
    s->sink = sink;
    s->dir = kdir_open(l, &ko, &ops, s);
    metric_on_scrape(on_scrape, s);
    return s;
}

void src_kdir_free(struct src_kdir *s)
{
    if (!s)
        return;
    metric_off_scrape(on_scrape, s);
    kdir_close(s->dir);
    mem_free(s);
}
