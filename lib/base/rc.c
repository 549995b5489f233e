#include "lib/base/rc.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct rc_row {
    const char *name, *text, *flag;
    int status;
} rc_rows[RC_COUNT] = {
#define X(name, text, flag, status) [name] = {#name, text, flag, status},
#include "lib/base/rc.def"
#undef X
};

static const struct rc_row *rc_row(enum rc rc)
{
    return (unsigned)rc < RC_COUNT ? &rc_rows[rc] : &rc_rows[RC_INVALID];
}

const char *rc_text(enum rc rc)
{
    return rc_row(rc)->text;
}

const char *rc_name(enum rc rc)
{
    return rc_row(rc)->name;
}

const char *rc_flag(enum rc rc)
{
    return rc_row(rc)->flag;
}

int rc_status(enum rc rc)
{
    return rc_row(rc)->status;
}

enum rc rc_from_errno(int err)
{
    switch (err) {
    case 0:            return RC_OK;
    case EAGAIN:       return RC_AGAIN;
    case EINPROGRESS:  return RC_AGAIN;
    case ECONNREFUSED: return RC_REFUSED;
    case ECONNRESET:   return RC_RESET;
    case EPIPE:        return RC_RESET;
    case ETIMEDOUT:    return RC_TIMEOUT;
    case EHOSTUNREACH: return RC_UNREACH;
    case ENETUNREACH:  return RC_UNREACH;
    case ENOENT:       return RC_NOT_FOUND;
    case EEXIST:       return RC_EXISTS;
    case EMFILE:       return RC_LIMIT;
    case ENFILE:       return RC_LIMIT;
    case ENOMEM:       return RC_LIMIT;
    case ENOBUFS:      return RC_LIMIT;
    default:           return RC_IO;
    }
}

void errmsg_set(struct errmsg *e, const char *fmt, ...)
{
    if (!e)
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->text, sizeof(e->text), fmt, ap);
    va_end(ap);
}

void errmsg_prefix(struct errmsg *e, const char *fmt, ...)
{
    if (!e)
        return;
    struct errmsg old = *e;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(e->text, sizeof(e->text), fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof(e->text))
        return;
    snprintf(e->text + n, sizeof(e->text) - (size_t)n, ": %.*s", 480, old.text);
}
