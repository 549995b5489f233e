#include "lib/base/must.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

_Noreturn void must_fail(const char *cond, const char *file, int line, const char *func)
{
    must_die("%s:%d: %s: broken invariant: %s", file, line, func, cond);
}

_Noreturn void must_die(const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    fprintf(stderr, "mesh: fatal: %s\n", text);
    abort();
}
