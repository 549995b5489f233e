#include "lib/kube/lease.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/hash.h"
#include "lib/base/must.h"
#include "lib/kube/kube_object.h"

#define DURATION_MS    15000
#define RENEW_MS       10000
#define RETRY_MS       2000
#define BODY_MAX       4096
#define DURATION_S_MAX 3600 /* no holder makes us wait longer */

struct lease {
    struct kube *k;
    char *path, *collection, *name, *identity;
    int64_t duration_ms, renew_ms, retry_ms;
    const struct lease_ops *ops;
    void *owner;
    struct kube_call *call;
    struct loop_timer retry, deadline;
    int64_t asked_ms; /* when the request under way began */
    int64_t until_ms; /* held until; 0: it is not */
    bool releasing;
    bool looked; /* at once after a write that was too late, so not again at once */

    /* what the server had last */
    char *version, *holder, *record; /* record: what changes with each renewal */
    int64_t seen_ms;                 /* when that record was new to us */
    int64_t theirs_ms;               /* its duration */
    uint64_t transitions;
    char *acquired;
};

static void set_text(char **at, struct str s)
{
    free(*at);
    *at = str_dup(s);
}

static int64_t now(const struct lease *l)
{
    return loop_now(kube_loop(l->k));
}

static bool is_ours(const struct lease *l)
{
    return l->holder && strcmp(l->holder, l->identity) == 0;
}

/* -- gained and lost -- */

static void lose(struct lease *l, const char *why)
{
    if (l->until_ms == 0)
        return;
    l->until_ms = 0;
    loop_timer_clear(&l->deadline);
    l->ops->on_lost(l->owner, why);
}

static void hold(struct lease *l)
{
    bool had = l->until_ms != 0;
    l->until_ms = l->asked_ms + l->renew_ms; /* others count from when the server wrote it, later */
    loop_timer_set(&l->deadline, MAX(l->until_ms - now(l), 0));
    if (!had)
        l->ops->on_gained(l->owner);
}

static void wait(struct lease *l)
{
    loop_timer_set(&l->retry, l->retry_ms + (int64_t)rand_below((uint64_t)l->retry_ms / 5));
}

/* -- the record -- */

static uint64_t number(const struct node *n, uint64_t max)
{
    uint64_t v = 0;
    return n && n->kind == NODE_NUMBER && str_to_u64(n->text, max, &v) ? v : 0;
}

static void observe(struct lease *l, const struct node *object)
{
    const struct node *spec = node_get(object, "spec");
    struct str holder = node_str(node_get(spec, "holderIdentity"));
    struct str renewed = node_str(node_get(spec, "renewTime"));
    struct str acquired = node_str(node_get(spec, "acquireTime"));
    char *record AUTO_FREE = mem_printf("%.*s %.*s", STR_ARG(renewed), STR_ARG(holder));
    set_text(&l->version, node_str(node_path(object, "metadata.resourceVersion")));
    set_text(&l->holder, holder);
    set_text(&l->acquired, acquired);
    l->transitions = number(node_get(spec, "leaseTransitions"), INT32_MAX - 1);
    l->theirs_ms = (int64_t)number(node_get(spec, "leaseDurationSeconds"), DURATION_S_MAX) * 1000;
    if (l->theirs_ms == 0)
        l->theirs_ms = l->duration_ms;
    if (l->record && strcmp(l->record, record) == 0)
        return;
    set_text(&l->record, str_of(record));
    l->seen_ms = now(l);
}

static void add_text(struct strbuf *out, const char *name, const char *value)
{
    strbuf_printf(out, "\"%s\":\"", name);
    strbuf_add_json(out, str_of(value));
    strbuf_addz(out, "\",");
}

/* The spec as we want it; to give it up: without a holder. */
static void add_spec(const struct lease *l, bool held, struct strbuf *out)
{
    char time[40];
    bool ours = is_ours(l);
    clock_format(time, sizeof(time), clock_wall_us());
    strbuf_addz(out, "\"spec\":{");
    if (held)
        add_text(out, "holderIdentity", l->identity);
    else
        strbuf_addz(out, "\"holderIdentity\":null,");
    add_text(out, "renewTime", time);
    add_text(out, "acquireTime", ours && l->acquired[0] ? l->acquired : time);
    strbuf_printf(out, "\"leaseDurationSeconds\":%lld,\"leaseTransitions\":%llu}",
                  held ? (long long)MAX(l->duration_ms / 1000, 1) : 1LL,
                  (unsigned long long)(l->transitions + (!ours && l->version)));
}

/* -- requests -- */

static void ask(struct lease *l, struct kube_request *r, kube_reply_fn *fn)
{
    r->timeout_ms = l->renew_ms / 2;
    l->asked_ms = now(l);
    l->call = kube_call(l->k, r, fn, l);
}

static void read_lease(struct lease *l);

static void forget_version(struct lease *l)
{
    free(l->version);
    l->version = NULL;
}

static void released(struct lease *l)
{
    l->until_ms = 0;
    l->ops->on_released(l->owner);
}

static void on_written(void *owner, const struct kube_reply *r)
{
    struct lease *l = owner;
    bool looked = l->looked;
    l->call = NULL;
    if (r->rc == RC_OK && r->body)
        observe(l, r->body);
    else
        forget_version(l); /* somebody wrote, or we don't know what was written: look */
    bool again = r->rc == RC_EXISTS || r->rc == RC_NOT_FOUND;
    l->looked = again;
    if (again && !looked) {
        read_lease(l);
    } else if (l->releasing) {
        released(l);
    } else {
        if (r->rc == RC_OK && is_ours(l))
            hold(l);
        wait(l);
    }
}

/* The server takes it only if nobody wrote since we looked. A patch leaves labels and the like alone. */
static void write_lease(struct lease *l, bool held)
{
    struct strbuf body AUTO_STRBUF;
    strbuf_init(&body, BODY_MAX);
    strbuf_addc(&body, '{');
    struct kube_request r = {.method = "PATCH", .content_type = "application/merge-patch+json"};
    strbuf_addz(&body, "\"metadata\":{");
    if (l->version) {
        r.path = l->path;
        strbuf_addz(&body, "\"resourceVersion\":\"");
        strbuf_add_json(&body, str_of(l->version));
    } else {
        r = (struct kube_request){.method = "POST", .path = l->collection};
        strbuf_addz(&body, "\"name\":\"");
        strbuf_add_json(&body, str_of(l->name));
    }
    strbuf_addz(&body, "\"},");
    add_spec(l, held, &body);
    strbuf_addc(&body, '}');
    r.body = strbuf_str(&body);
    ask(l, &r, on_written);
}

static void release_read(struct lease *l, const struct kube_reply *r)
{
    if (r->rc == RC_OK && r->body)
        observe(l, r->body);
    if (r->rc == RC_OK && is_ours(l))
        write_lease(l, false);
    else
        released(l);
}

static void on_read(void *owner, const struct kube_reply *r)
{
    struct lease *l = owner;
    l->call = NULL;
    if (l->releasing) {
        release_read(l, r);
        return;
    }
    if (r->rc == RC_NOT_FOUND) {
        set_text(&l->holder, STR(""));
        forget_version(l);
        write_lease(l, true);
        return;
    }
    if (r->rc != RC_OK || !r->body) {
        wait(l);
        return;
    }
    observe(l, r->body);
    if (!is_ours(l) && l->until_ms)
        lose(l, "another one took it");
    if (is_ours(l) || l->holder[0] == '\0' || now(l) - l->seen_ms >= l->theirs_ms)
        write_lease(l, true);
    else
        wait(l);
}

static void read_lease(struct lease *l)
{
    struct kube_request r = {.method = "GET", .path = l->path};
    ask(l, &r, on_read);
}

static void on_retry(void *owner)
{
    struct lease *l = owner;
    if (l->call)
        return;
    if (l->until_ms && l->version)
        write_lease(l, true); /* nobody else writes while we hold it */
    else
        read_lease(l);
}

static void on_deadline(void *owner)
{
    struct lease *l = owner;
    lose(l, "it could not be renewed in time");
}

/* -- the lease -- */

struct lease *lease_new(struct kube *k, const struct lease_opts *o, const struct lease_ops *ops,
                        void *owner)
{
    struct lease *l = mem_new(struct lease);
    struct kube_target t = {
        .group = "coordination.k8s.io", .version = "v1", .plural = "leases", .ns = str_of(o->ns)};
    l->k = k;
    l->collection = kube_path(&t);
    t.name = str_of(o->name);
    l->path = kube_path(&t);
    l->name = mem_strdup(o->name);
    l->identity = mem_strdup(o->identity);
    l->duration_ms = o->duration_ms ? o->duration_ms : DURATION_MS;
    l->renew_ms = o->renew_ms ? o->renew_ms : RENEW_MS;
    l->retry_ms = o->retry_ms ? o->retry_ms : RETRY_MS;
    MUST(l->renew_ms < l->duration_ms && l->identity[0]);
    l->ops = ops;
    l->owner = owner;
    loop_timer_init(&l->retry, kube_loop(k), on_retry, l);
    loop_timer_init(&l->deadline, kube_loop(k), on_deadline, l);
    loop_timer_set(&l->retry, 0);
    return l;
}

void lease_free(struct lease *l)
{
    if (!l)
        return;
    if (l->call)
        kube_call_cancel(l->call);
    loop_timer_clear(&l->retry);
    loop_timer_clear(&l->deadline);
    free(l->path);
    free(l->collection);
    free(l->name);
    free(l->identity);
    free(l->version);
    free(l->holder);
    free(l->record);
    free(l->acquired);
    free(l);
}

bool lease_held(const struct lease *l)
{
    return l->until_ms && now(l) < l->until_ms;
}

struct str lease_holder(const struct lease *l)
{
    return str_of(l->holder);
}

static void on_release(void *owner)
{
    struct lease *l = owner;
    if (l->until_ms)
        read_lease(l);
    else
        released(l);
}

void lease_release(struct lease *l)
{
    l->releasing = true;
    if (l->call)
        kube_call_cancel(TAKE(l->call));
    loop_timer_clear(&l->retry);
    loop_timer_clear(&l->deadline);
    loop_timer_init(&l->retry, kube_loop(l->k), on_release, l);
    loop_timer_set(&l->retry, 0);
}
