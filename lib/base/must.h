/* Broken invariants end the process, in release builds too: a proxy that goes on with state it no
 * longer understands is worse than one that restarts. */
#pragma once

#define MUST(cond)                                          \
    do {                                                    \
        if (__builtin_expect(!(cond), 0))                   \
            must_fail(#cond, __FILE__, __LINE__, __func__); \
    } while (0)

_Noreturn void must_fail(const char *cond, const char *file, int line, const char *func);
/* For what only a broken environment produces: prints the text and aborts. */
_Noreturn void must_die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
