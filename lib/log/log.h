/* Logging. One line per event: time, level, scope, message, fields; text (Istio ztunnel's form: tab
 * separated, key=value) or JSON. Library code never logs above debug: it returns errors.
 * Lines go into a ring of the calling thread and are written by the thread that owns the log (the main
 * thread's loop, see log_drain); a full ring drops the line and counts it. Before log_start() and after
 * log_stop() lines are written at once. Never a payload, a key or a token. Any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/rc.h"
#include "lib/base/str.h"

enum log_level { LOG_OFF, LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE };

/* scope: a short constant word ("xds", "access"); fmt: the message. */
void log_write(enum log_level level, const char *scope, const char *fmt, ...) PRINTF_LIKE(3, 4);
bool log_enabled(enum log_level level, const char *scope); /* a relaxed load, cheap */
#define log_error(scope, ...) log_write(LOG_ERROR, scope, __VA_ARGS__)
#define log_warn(scope, ...)  log_write(LOG_WARN, scope, __VA_ARGS__)
#define log_info(scope, ...)  log_write(LOG_INFO, scope, __VA_ARGS__)
#define log_debug(scope, ...)                         \
    do {                                              \
        if (log_enabled(LOG_DEBUG, scope))            \
            log_write(LOG_DEBUG, scope, __VA_ARGS__); \
    } while (0)

/* A line with fields, built in place: log_begin(), log_str() …, log_end(). Values are quoted in text
 * form (Istio's: numbers and booleans bare, strings in double quotes) and escaped. */
struct log_line {
    struct strbuf buf; /* on the caller's stack through its own small storage */
    bool json, on, fields;
};
void log_begin(struct log_line *l, enum log_level level, const char *scope, const char *message);
void log_str(struct log_line *l, const char *key, struct str value); /* empty values are left out */
void log_u64(struct log_line *l, const char *key, uint64_t value);
void log_end(struct log_line *l);

/* -- configuration -- */
void log_json(bool on);
/* "info", or "info,access=off,xds=debug". RC_INVALID leaves it as it was. */
NODISCARD enum rc log_levels_set(struct str spec, struct errmsg *ret_msg);
void log_levels_get(struct strbuf *out);
uint64_t log_dropped(void);

/* -- the drain: called by lib-independent glue in cmd/, which has the loop -- */
/* on_work is called on any thread when the first line is put into an empty ring. */
void log_start(void (*on_work)(void *arg), void *arg);
void log_drain(void); /* owner thread: writes what is there, up to 64 lines per writev */
void log_stop(void);
