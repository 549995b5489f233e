#include "lib/log/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/hash.h"
#include "lib/base/mem.h"
#include "lib/log/log_priv.h"

#define SCOPES_MAX     64
#define SCOPE_NAME_MAX 47
#define MESSAGE_MAX    2048
#define REPEAT_MS      1000

/* Only ever appended to, by the main thread; readers see whole entries below scopes_n. */
static struct scope {
    char name[SCOPE_NAME_MAX + 1];
    atomic_int level; /* -1: as the default */
} scopes[SCOPES_MAX];
static atomic_uint scopes_n;
static atomic_int level_default = LOG_INFO;
static atomic_int level_max = LOG_INFO; /* of the default and all scopes: the quick answer */

static const char *const level_names[] = {"off", "error", "warn", "info", "debug", "trace"};

const char *log_level_name(enum log_level level)
{
    return level_names[level];
}

static struct scope *scope_find(struct str name)
{
    unsigned n = atomic_load_explicit(&scopes_n, memory_order_acquire);
    for (unsigned i = 0; i < n; i++)
        if (str_eqz(name, scopes[i].name))
            return &scopes[i];
    return NULL;
}

bool log_enabled(enum log_level level, const char *scope)
{
    if ((int)level > atomic_load_explicit(&level_max, memory_order_relaxed))
        return false;
    const struct scope *s =
        atomic_load_explicit(&scopes_n, memory_order_relaxed) ? scope_find(str_of(scope)) : NULL;
    int most = s ? atomic_load_explicit(&s->level, memory_order_relaxed) : -1;
    if (most < 0)
        most = atomic_load_explicit(&level_default, memory_order_relaxed);
    return (int)level <= most;
}

/* -- levels -- */

struct directive {
    struct str scope; /* empty: the default */
    int level;
};

static bool scope_name_ok(struct str s)
{
    if (s.n == 0 || s.n > SCOPE_NAME_MAX)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '_' || c == '-' || c == '.' || c == ':'))
            return false;
    }
    return true;
}

static enum rc directive_parse(struct str word, struct directive *ret, struct errmsg *ret_msg)
{
    struct str level, scope = str_split(word, '=', &level);
    if (str_find(word, '=') < 0) {
        level = word;
        scope = STR("");
    } else if (!scope_name_ok(scope)) {
        errmsg_set(ret_msg, "\"%.*s\": a scope has letters, digits and . _ - : (at most %d)",
                   (int)MIN(word.n, (size_t)80), word.p, SCOPE_NAME_MAX);
        return RC_INVALID;
    }
    for (int i = 0; i < (int)ARRAY_LEN(level_names); i++) {
        if (str_ieq(level, str_of(level_names[i]))) {
            *ret = (struct directive){scope, i};
            return RC_OK;
        }
    }
    const char *near = str_nearest(level, level_names, ARRAY_LEN(level_names));
    errmsg_set(ret_msg, "\"%.*s\" is no log level%s%s: off, error, warn, info, debug or trace",
               (int)MIN(level.n, (size_t)80), level.p, near ? ", did you mean " : "",
               near ? near : "");
    return RC_INVALID;
}

static enum rc directives_parse(struct str spec, struct directive *d, size_t *ret_n,
                                struct errmsg *ret_msg)
{
    size_t n = 0, fresh = 0;
    while (spec.n) {
        struct str word = str_trim(str_split(spec, ',', &spec));
        if (word.n == 0)
            continue;
        if (n == SCOPES_MAX + 1) {
            errmsg_set(ret_msg, "at most %d scopes can have a level", SCOPES_MAX);
            return RC_LIMIT;
        }
        enum rc rc = directive_parse(word, &d[n], ret_msg);
        if (rc != RC_OK)
            return rc;
        fresh += d[n].scope.n && !scope_find(d[n].scope);
        n++;
    }
    if (n == 0) {
        errmsg_set(ret_msg, "no log level given: e.g. \"info\" or \"info,xds=debug\"");
        return RC_INVALID;
    }
    if (atomic_load(&scopes_n) + fresh > SCOPES_MAX) {
        errmsg_set(ret_msg, "at most %d scopes can have a level", SCOPES_MAX);
        return RC_LIMIT;
    }
    *ret_n = n;
    return RC_OK;
}

static void scope_set(struct str name, int level)
{
    struct scope *s = scope_find(name);
    if (s) {
        atomic_store_explicit(&s->level, level, memory_order_relaxed);
        return;
    }
    unsigned n = atomic_load(&scopes_n);
    memcpy(scopes[n].name, name.p, name.n);
    atomic_store_explicit(&scopes[n].level, level, memory_order_relaxed);
    atomic_store_explicit(&scopes_n, n + 1, memory_order_release);
}

static enum rc levels_change(struct str spec, bool reset, struct errmsg *ret_msg)
{
    struct directive d[SCOPES_MAX + 1];
    size_t n = 0;
    enum rc rc = directives_parse(spec, d, &n, ret_msg);
    if (rc != RC_OK)
        return rc;
    unsigned known = atomic_load(&scopes_n);
    if (reset) {
        atomic_store(&level_default, LOG_INFO);
        for (unsigned i = 0; i < known; i++)
            atomic_store(&scopes[i].level, -1);
    }
    for (size_t i = 0; i < n; i++) {
        if (d[i].scope.n)
            scope_set(d[i].scope, d[i].level);
        else
            atomic_store(&level_default, d[i].level);
    }
    int most = atomic_load(&level_default);
    known = atomic_load(&scopes_n);
    for (unsigned i = 0; i < known; i++)
        most = MAX(most, atomic_load(&scopes[i].level));
    atomic_store(&level_max, most);
    return RC_OK;
}

enum rc log_levels_set(struct str spec, struct errmsg *ret_msg)
{
    return levels_change(spec, true, ret_msg);
}

enum rc log_levels_add(struct str spec, struct errmsg *ret_msg)
{
    return levels_change(spec, false, ret_msg);
}

void log_levels_get(struct strbuf *out)
{
    strbuf_addz(out, level_names[atomic_load(&level_default)]);
    unsigned n = atomic_load(&scopes_n);
    for (unsigned i = 0; i < n; i++) {
        int level = atomic_load(&scopes[i].level);
        if (level >= 0)
            strbuf_printf(out, ",%s=%s", scopes[i].name, level_names[level]);
    }
}

/* -- plain messages -- */

/* The thread's last message, so that a loop that fails a thousand times a second stays readable. */
static _Thread_local struct {
    uint64_t hash;
    int64_t at_ms;
    enum log_level level;
    const char *scope;
    uint64_t repeats;
} last;

static void message_put(enum log_level level, const char *scope, const char *message,
                        uint64_t repeats)
{
    struct log_line l;
    log_begin(&l, level, scope, message);
    if (repeats)
        log_u64(&l, "repeated", repeats);
    log_end(&l);
}

void log_write(enum log_level level, const char *scope, const char *fmt, ...)
{
    if (!log_enabled(level, scope))
        return;
    char message[MESSAGE_MAX];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(message, sizeof(message), fmt, ap);
    va_end(ap);
    if (n < 0)
        return;
    size_t len = MIN((size_t)n, sizeof(message) - 1);
    uint64_t hash = hash_mix(hash_bytes(message, len), hash_str(str_of(scope)));
    int64_t now_ms = clock_mono_ms();
    if (hash == last.hash && now_ms - last.at_ms < REPEAT_MS) {
        last.repeats++;
        return;
    }
    uint64_t repeats = last.repeats;
    last.repeats = 0;
    if (repeats && hash != last.hash) {
        message_put(last.level, last.scope, "the last message came again", repeats);
        repeats = 0;
    }
    last.hash = hash;
    last.at_ms = now_ms;
    last.level = level;
    last.scope = scope;
    message_put(level, scope, message, repeats);
}
