/* Logging. One line per event: time, level, scope, message, fields; text (Istio ztunnel's form: tab
 * separated, key=value) or JSON. Library code never logs above debug: it returns errors.
 * Lines go into a ring of the calling thread (128 KiB, made at its first line) and are written by the
 * thread that owns the log (the main thread's loop, see log_drain); a full ring drops the line, counts
 * it, and a line says so. Before log_start() and after log_stop() lines are written at once. Nothing
 * here allocates after a thread's first line. Never a payload, a key or a token. Any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/rc.h"
#include "lib/base/str.h"

enum log_level { LOG_OFF, LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE };

/* scope: a short word of static life ("xds", "access"); fmt: the message, at most 2 KiB of it.
 * The same message of one thread within a second is written once; the next line tells how often. */
void log_write(enum log_level level, const char *scope, const char *fmt, ...) PRINTF_LIKE(3, 4);
bool log_enabled(enum log_level level, const char *scope); /* cheap */
#define log_error(scope, ...) log_write(LOG_ERROR, scope, __VA_ARGS__)
#define log_warn(scope, ...)  log_write(LOG_WARN, scope, __VA_ARGS__)
#define log_info(scope, ...)  log_write(LOG_INFO, scope, __VA_ARGS__)
#define log_debug(scope, ...)                         \
    do {                                              \
        if (log_enabled(LOG_DEBUG, scope))            \
            log_write(LOG_DEBUG, scope, __VA_ARGS__); \
    } while (0)

/* A line with fields, built in place on the caller's stack: log_begin(), log_str() …, log_end().
 * Values are escaped. A field that does not fit is left out and the line ends in truncated=true. */
#define LOG_LINE_MAX 4096 /* with its newline: one write to a pipe stays in one piece */
struct log_line {
    size_t n;
    bool json, on, fields, truncated;
    char text[LOG_LINE_MAX];
};
void log_begin(struct log_line *l, enum log_level level, const char *scope, const char *message);
void log_str(struct log_line *l, const char *key, struct str value); /* "v"; left out when empty */
/* The same, bare in text form: addresses and other words without spaces. */
void log_word(struct log_line *l, const char *key, struct str value);
void log_u64(struct log_line *l, const char *key, uint64_t value);
void log_bool(struct log_line *l, const char *key, bool value);
void log_end(struct log_line *l);

/* -- configuration -- */
void log_output(int fd); /* stdout (1) at first; stays the caller's. Before other threads exist */
void log_json(bool on);
/* "info", or "info,access=off,xds=debug": a default (info when absent), then scopes. Replaces all
 * levels. RC_INVALID or RC_LIMIT (64 scopes) leaves them as they were. Main thread. */
NODISCARD enum rc log_levels_set(struct str spec, struct errmsg *ret_msg);
/* The same form, on top of what is set. */
NODISCARD enum rc log_levels_add(struct str spec, struct errmsg *ret_msg);
void log_levels_get(struct strbuf *out);
uint64_t log_dropped(void); /* lines, so far */

/* -- the drain: called by glue in cmd/, which has the loop -- */
/* on_work is called on any thread for the first line since the last log_drain(). The calling thread
 * owns the log. */
void log_start(void (*on_work)(void *arg), void *arg);
/* Owner thread. Writes what is there, without waiting for a slow reader and at most 256 KiB.
 * Returns the ms after which to call again, -1 when nothing is left. */
int64_t log_drain(void);
void log_stop(void); /* writes the rest, waiting at most 1 s for the reader */
