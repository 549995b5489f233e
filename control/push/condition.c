#include "control/push/condition.h"

#include <stdarg.h>
#include <stdio.h>

void condition_say(struct condition *c, const char *fmt, ...)
{
    size_t n = strlen(c->message);
    va_list ap;
    if (n && n + 1 < sizeof(c->message)) {
        c->message[n++] = ' ';
        c->message[n] = '\0';
    }
    va_start(ap, fmt);
    vsnprintf(c->message + n, sizeof(c->message) - n, fmt, ap);
    va_end(ap);
}
