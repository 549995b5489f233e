/* The result of every fallible operation in the tree, made from rc.def. */
#pragma once

#define NODISCARD         __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))

enum rc {
#define X(name, text, flag, status) name,
#include "lib/base/rc.def"
#undef X
    RC_COUNT
};

/* Text for logs, never NULL. */
const char *rc_text(enum rc rc);
/* Name as in the source ("RC_EOF"). */
const char *rc_name(enum rc rc);
/* Response flag for access log and metrics ("-" when the connection ended well). */
const char *rc_flag(enum rc rc);
/* HTTP status with which a CONNECT is answered, 0 when it is not answered but reset. */
int rc_status(enum rc rc);
/* From an errno of connect(), read() or write(). */
enum rc rc_from_errno(int err);

/* What went wrong, for humans: object, field, reason and what to do about it.
 * Caller provides it; a function writes it only when it fails. NULL is allowed everywhere. */
struct errmsg {
    char text[512];
};
void errmsg_set(struct errmsg *e, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Puts "prefix: " in front of what is there. */
void errmsg_prefix(struct errmsg *e, const char *fmt, ...) PRINTF_LIKE(2, 3);
