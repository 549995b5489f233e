#include "lib/kube/kube_watch.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/hash.h"
#include "lib/base/must.h"
#include "lib/codec/json_split.h"

#define PAGE           500 /* objects, as client-go */
#define WATCH_MIN_S    300 /* and up to as much again, so that streams don't end together */
#define LIST_MS        600000
#define WATCH_IDLE_MS  100000 /* a server sends a bookmark each minute */
#define LIST_IDLE_MS   15000
#define STEADY_MS      5000 /* a stream that lived so long was a good one */
#define GONE_MS        10000 /* what was there must not be found for so long before it counts as gone */
#define BROKEN_STREAMS 2     /* streaming lists that break off before pages are tried */
#define EXPIRED_LISTS  2     /* lists that change faster than we turn pages, before one without */
#define LATE_VERSIONS  3 /* times the server does not know a version yet, before we begin anew */
#define PATHS_MAX      8
#define TREE_MAX       (64u << 20) /* bytes of one object's tree */

#define METADATA      "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
#define METADATA_LIST "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

/* What the open stream is. */
enum watch_state {
    WATCH_WAITING,   /* none is open */
    WATCH_STREAMING, /* a streaming list */
    WATCH_LISTING,   /* a page of a list, or a whole one */
    WATCH_EVENTS,    /* what has changed since version */
};

struct kube_watch {
    struct kube *k;
    char *paths[PATHS_MAX];
    size_t n_paths, path, not_found; /* not_found: paths in a row */
    char *query;
    bool metadata;
    const struct kube_watch_ops *ops;
    void *owner;

    enum watch_state state;
    struct kube_stream *stream;
    struct json_split split;
    struct arena arena;
    struct loop_timer retry, idle;
    struct kube_backoff backoff;
    int64_t opened_ms, missing_ms; /* missing_ms: since when no path is found; 0: it is */

    char *version;       /* go on from here; NULL: list first */
    char *token;         /* the page to ask for; NULL: the first */
    char *listed, *next; /* what this page says: the list's version, the token of the next one */
    bool in_pages;       /* a list in pages is under way */
    bool no_streams;     /* the server does not know streaming lists */
    unsigned broken, expired, late;
    bool opened;         /* this stream got a 2xx */
    bool delivered;      /* and changes came on it */
    bool known;          /* a list was complete once */
    bool absent;         /* and is empty, since there is no such path */
    unsigned failures;   /* in a row */
    bool gone;           /* the server said 410 in the stream */
    bool refused;        /* the server ended it with another error */
    char *problem;       /* told to the owner */
    struct errmsg fault; /* why we ended the stream ourselves; empty: we did not */
};

static void set_text(char **at, struct str s)
{
    free(*at);
    *at = s.n ? str_dup(s) : NULL;
}

static void tell(struct kube_watch *w, const char *problem)
{
    if (w->problem == problem || (w->problem && problem && strcmp(w->problem, problem) == 0))
        return;
    free(w->problem);
    w->problem = mem_strdup(problem);
    if (w->ops->on_state)
        w->ops->on_state(w->owner, problem);
}

/* -- what arrives -- */

static struct str version_of(const struct node *object)
{
    return node_str(node_path(object, "metadata.resourceVersion"));
}

static void finish_list(struct kube_watch *w, struct str version)
{
    set_text(&w->version, version);
    set_text(&w->token, STR(""));
    w->in_pages = false;
    w->broken = w->expired = w->late = 0;
    w->known = true;
    w->absent = false;
    if (version.n)
        tell(w, NULL);
    w->ops->on_listed(w->owner);
}

/* The annotation's key has dots, so no path reaches it. */
static bool ends_list(const struct node *object)
{
    const struct node *a = node_path(object, "metadata.annotations");
    return str_eqz(node_str(node_get(a, "k8s.io/initial-events-end")), "true");
}

/* Objects of a list come in any order: their versions are no place to go on from. */
static void took_change(struct kube_watch *w, struct str version)
{
    if (w->state != WATCH_EVENTS)
        return;
    w->delivered = true;
    if (version.n)
        set_text(&w->version, version);
}

static enum rc take_bookmark(struct kube_watch *w, const struct node *object)
{
    struct str version = version_of(object);
    if (w->state == WATCH_STREAMING && ends_list(object) && version.n) {
        w->state = WATCH_EVENTS;
        finish_list(w, version);
    } else {
        took_change(w, version);
    }
    return RC_OK;
}

static enum rc take_error(struct kube_watch *w, const struct node *status)
{
    struct str message = node_str(node_get(status, "message"));
    const struct node *code = node_get(status, "code");
    w->gone = code && code->kind == NODE_NUMBER && str_eqz(code->text, "410");
    w->refused = !w->gone;
    errmsg_set(&w->fault, "the server ended the watch: %.*s", (int)MIN(message.n, (size_t)300),
               message.p ? message.p : "");
    return RC_IO;
}

static enum rc take_event(struct kube_watch *w, const struct node *event)
{
    struct str type = node_str(node_get(event, "type"));
    const struct node *object = node_get(event, "object");
    bool deleted = str_eqz(type, "DELETED");
    if (!object || object->kind != NODE_MAP) {
        errmsg_set(&w->fault, "an event of the watch has no object");
        return RC_INVALID;
    }
    if (str_eqz(type, "BOOKMARK"))
        return take_bookmark(w, object);
    if (str_eqz(type, "ERROR"))
        return take_error(w, object);
    if (!deleted && !str_eqz(type, "ADDED") && !str_eqz(type, "MODIFIED")) {
        errmsg_set(&w->fault, "an event of the watch has the unknown type \"%.*s\"",
                   (int)MIN(type.n, (size_t)40), type.p ? type.p : "");
        return RC_INVALID;
    }
    if (deleted)
        w->ops->on_deleted(w->owner, object);
    else
        w->ops->on_object(w->owner, object);
    took_change(w, version_of(object));
    return RC_OK;
}

static enum rc take_value(void *owner, struct str key, struct str text)
{
    struct kube_watch *w = owner;
    struct node *root = NULL;
    bool item = str_eqz(key, "items"), meta = str_eqz(key, "metadata");
    if (w->state == WATCH_LISTING && !item && !meta)
        return RC_OK;
    arena_reset(&w->arena);
    enum rc rc = json_parse(&w->arena, text, &root, &w->fault);
    if (rc != RC_OK)
        return rc;
    if (w->state != WATCH_LISTING) {
        rc = take_event(w, root);
    } else if (meta) {
        set_text(&w->listed, node_str(node_get(root, "resourceVersion")));
        set_text(&w->next, node_str(node_get(root, "continue")));
    } else {
        w->ops->on_object(w->owner, root);
    }
    arena_reset(&w->arena);
    return rc;
}

static int64_t idle_ms(const struct kube_watch *w)
{
    return w->state == WATCH_EVENTS ? WATCH_IDLE_MS : LIST_IDLE_MS;
}

static void on_open(void *owner)
{
    struct kube_watch *w = owner;
    w->opened = true;
    w->not_found = 0;
    w->missing_ms = 0;
    if (w->state == WATCH_EVENTS)
        tell(w, NULL);
}

static enum rc on_body(void *owner, struct str part)
{
    struct kube_watch *w = owner;
    enum rc rc = json_split_feed(&w->split, part, &w->fault);
    loop_timer_set(&w->idle, idle_ms(w));
    return rc;
}

/* -- the end of a stream -- */

static void wait_at_least(struct kube_watch *w, int64_t ms)
{
    int64_t wait_ms = kube_backoff_next(&w->backoff);
    loop_timer_set(&w->retry, MAX(wait_ms, ms));
}

static void fail(struct kube_watch *w, const char *why, int64_t wait_ms)
{
    /* one alone, as a restart of the server makes it, is nothing to tell */
    if (++w->failures > 1 || !w->known)
        tell(w, why);
    wait_at_least(w, wait_ms);
}

/* The list under way is worth nothing any more. */
static void begin_anew(struct kube_watch *w)
{
    set_text(&w->version, STR(""));
    set_text(&w->token, STR(""));
    w->in_pages = false;
}

static void expired(struct kube_watch *w)
{
    w->expired += w->state == WATCH_LISTING;
    begin_anew(w);
    wait_at_least(w, 0);
}

static void not_found(struct kube_watch *w, const struct kube_reply *r)
{
    int64_t now = loop_now(kube_loop(w->k));
    w->path = (w->path + 1) % w->n_paths;
    if (++w->not_found < w->n_paths) {
        loop_timer_set(&w->retry, 0);
        return;
    }
    w->not_found = 0;
    if (w->missing_ms == 0)
        w->missing_ms = now;
    begin_anew(w);
    /* What was there is not given up for one answer: policies are among it. */
    if (!w->absent && (!w->known || now - w->missing_ms >= GONE_MS)) {
        w->ops->on_begin(w->owner);
        finish_list(w, STR(""));
        w->absent = true;
    }
    fail(w, r->error, 0);
}

/* No answer, or one that is no reason to change anything. */
static void failed(struct kube_watch *w, const struct kube_reply *r, int64_t wait_ms)
{
    char text[1500];
    if (w->state == WATCH_EVENTS && str_eqz(r->reason, "Timeout") && ++w->late >= LATE_VERSIONS)
        begin_anew(w); /* the server went back in time: restored from a backup */
    if (w->state == WATCH_LISTING && !w->token)
        w->in_pages = false;
    snprintf(text, sizeof(text), "%s", r->error);
    if (w->fault.text[0])
        snprintf(text, sizeof(text), "GET %s: %s", w->paths[w->path], w->fault.text);
    else if (r->rc == RC_OK)
        snprintf(text, sizeof(text), "GET %s: the answer broke off", w->paths[w->path]);
    fail(w, text, wait_ms);
}

/* True: it ended as it should, and the next stream is under way. */
static bool went_well(struct kube_watch *w, const struct kube_reply *r, bool steady)
{
    if (r->rc != RC_OK || w->fault.text[0] || !json_split_complete(&w->split))
        return false;
    if (w->state == WATCH_LISTING && w->listed) {
        set_text(&w->token, str_of(w->next));
        if (!w->token)
            finish_list(w, str_of(w->listed));
        loop_timer_set(&w->retry, 0);
        return true;
    }
    if (w->state == WATCH_EVENTS && steady)
        loop_timer_set(&w->retry, (int64_t)rand_below(100));
    return w->state == WATCH_EVENTS && steady;
}

/* A streaming list failed. True: pages are to be asked for now, since the server has none (old ones, and
 * new ones over an old etcd, whose refusal comes as an event). */
static bool streams_fail(struct kube_watch *w, const struct kube_reply *r)
{
    if (r->status == 400 || r->status == 422)
        w->no_streams = true;
    else if (w->refused)
        w->broken = BROKEN_STREAMS;
    else if (w->opened || w->fault.text[0])
        w->broken++;
    return w->no_streams || w->refused;
}

static void close_stream(struct kube_watch *w)
{
    w->stream = NULL;
    loop_timer_clear(&w->idle);
}

static void on_done(void *owner, const struct kube_reply *r, int64_t retry_after_ms)
{
    struct kube_watch *w = owner;
    bool steady = loop_now(kube_loop(w->k)) - w->opened_ms >= STEADY_MS;
    close_stream(w);
    if (w->delivered || (steady && w->opened)) {
        w->backoff.ms = 0;
        w->failures = 0;
    }
    if (went_well(w, r, steady))
        w->failures = 0;
    else if (w->gone || r->status == 410)
        expired(w);
    else if (r->status == 404)
        not_found(w, r);
    else if (w->state == WATCH_STREAMING && streams_fail(w, r))
        loop_timer_set(&w->retry, 0);
    else
        failed(w, r, retry_after_ms);
    json_split_fini(&w->split);
    w->state = WATCH_WAITING;
}

static const struct kube_stream_ops stream_ops = {
    .on_open = on_open, .on_body = on_body, .on_done = on_done};

/* -- the next stream -- */

static void on_idle(void *owner)
{
    struct kube_watch *w = owner;
    struct kube_reply none = {.rc = RC_TIMEOUT, .error = ""};
    kube_stream_cancel(w->stream);
    errmsg_set(&w->fault, "nothing came for %lld s", (long long)idle_ms(w) / 1000);
    on_done(w, &none, 0);
}

static void add_param(struct strbuf *path, const char *name, struct str value)
{
    strbuf_addc(path, str_find(strbuf_str(path), '?') < 0 ? '?' : '&');
    strbuf_addz(path, name);
    strbuf_addc(path, '=');
    kube_escape(path, value);
}

/* The next stream's path and, in ret_ms, how long it may last. */
static void add_params(const struct kube_watch *w, struct strbuf *path, int64_t *ret_ms)
{
    char number[24];
    *ret_ms = LIST_MS;
    if (w->state == WATCH_LISTING) {
        snprintf(number, sizeof(number), "%d", PAGE);
        if (w->expired < EXPIRED_LISTS)
            add_param(path, "limit", str_of(number));
        if (w->token)
            add_param(path, "continue", str_of(w->token));
        return;
    }
    uint64_t seconds = WATCH_MIN_S + rand_below(WATCH_MIN_S);
    *ret_ms = (int64_t)(seconds + 30) * 1000;
    snprintf(number, sizeof(number), "%llu", (unsigned long long)seconds);
    add_param(path, "watch", STR("1"));
    add_param(path, "allowWatchBookmarks", STR("true"));
    add_param(path, "timeoutSeconds", str_of(number));
    if (w->version) {
        add_param(path, "resourceVersion", str_of(w->version));
    } else {
        add_param(path, "sendInitialEvents", STR("true"));
        add_param(path, "resourceVersionMatch", STR("NotOlderThan"));
    }
}

static void open_next(struct kube_watch *w)
{
    struct strbuf path AUTO_STRBUF;
    bool pages = w->no_streams || w->broken >= BROKEN_STREAMS;
    const char *accept = NULL;
    int64_t total_ms;
    strbuf_init(&path, 64u << 10);
    strbuf_addz(&path, w->paths[w->path]);
    if (w->query)
        strbuf_printf(&path, "?%s", w->query);
    w->state = w->version ? WATCH_EVENTS : pages ? WATCH_LISTING : WATCH_STREAMING;
    if (w->metadata)
        accept = w->state == WATCH_LISTING ? METADATA_LIST : METADATA;
    add_params(w, &path, &total_ms);
    if (!w->version && !w->in_pages)
        w->ops->on_begin(w->owner);
    w->in_pages = w->state == WATCH_LISTING;
    w->opened = w->delivered = w->gone = w->refused = false;
    w->fault.text[0] = '\0';
    set_text(&w->listed, STR(""));
    set_text(&w->next, STR(""));
    json_split_init(&w->split, w->state == WATCH_LISTING ? JSON_SPLIT_ITEMS : JSON_SPLIT_VALUES,
                    KUBE_ANSWER_MAX, take_value, w);
    w->opened_ms = loop_now(kube_loop(w->k));
    w->stream = kube_stream(w->k, path.p, accept, total_ms, &stream_ops, w);
    loop_timer_set(&w->idle, idle_ms(w));
}

static void on_retry(void *owner)
{
    open_next(owner);
}

struct kube_watch *kube_watch_new(struct kube *k, const struct kube_watch_opts *o,
                                  const struct kube_watch_ops *ops, void *owner)
{
    struct kube_watch *w = mem_new(struct kube_watch);
    w->k = k;
    for (; o->paths[w->n_paths]; w->n_paths++) {
        MUST(w->n_paths < PATHS_MAX);
        w->paths[w->n_paths] = mem_strdup(o->paths[w->n_paths]);
    }
    MUST(w->n_paths > 0);
    w->query = mem_strdup(o->query);
    w->metadata = o->metadata;
    w->ops = ops;
    w->owner = owner;
    arena_init(&w->arena, TREE_MAX);
    loop_timer_init(&w->retry, kube_loop(k), on_retry, w);
    loop_timer_init(&w->idle, kube_loop(k), on_idle, w);
    loop_timer_set(&w->retry, 0);
    return w;
}

void kube_watch_free(struct kube_watch *w)
{
    if (!w)
        return;
    if (w->stream) {
        kube_stream_cancel(w->stream);
        json_split_fini(&w->split);
    }
    loop_timer_clear(&w->retry);
    loop_timer_clear(&w->idle);
    arena_fini(&w->arena);
    for (size_t i = 0; i < w->n_paths; i++)
        free(w->paths[i]);
    free(w->query);
    free(w->version);
    free(w->listed);
    free(w->token);
    free(w->next);
    free(w->problem);
    free(w);
}

void kube_watch_poke(struct kube_watch *w)
{
    if (!w->absent)
        return;
    w->backoff.ms = 0;
    if (!w->stream)
        loop_timer_set(&w->retry, 0);
}
