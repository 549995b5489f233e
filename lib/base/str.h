/* struct str: a borrowed view of bytes, by value. struct strbuf: an owned text that grows up to a
 * maximum set at the start; what goes over it is dropped and remembered. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "lib/base/rc.h"

struct str {
    const char *p;
    size_t n;
};

#define STR(lit)   ((struct str){(lit), sizeof(lit) - 1})
#define STR_ARG(s) (int)(s).n, (s).p /* for "%.*s" */

static inline struct str str_of(const char *s) /* NULL gives the empty string */
{
    return (struct str){s ? s : "", s ? strlen(s) : 0};
}
static inline bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
static inline bool str_eqz(struct str a, const char *z)
{
    return str_eq(a, str_of(z));
}
bool str_ieq(struct str a, struct str b); /* ASCII case folded */
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
int str_cmp(struct str a, struct str b); /* by bytes, then by length */
struct str str_trim(struct str s);       /* spaces, tabs, CR, LF at both ends */
/* Splits at the first sep: returns what is before it, *rest what is after; without one returns
 * all and leaves *rest empty. */
struct str str_split(struct str s, char sep, struct str *rest);
/* Position of c, or -1. */
ptrdiff_t str_find(struct str s, char c);
char *str_dup(struct str s); /* owned C string; embedded NULs stay in the bytes */
/* A decimal number without sign, spaces or leading '+', at most max. */
NODISCARD bool str_to_u64(struct str s, uint64_t max, uint64_t *ret);
bool str_is_utf8(struct str s);
/* Closest word of the n candidates by edit distance, or NULL when none is near. */
const char *str_nearest(struct str word, const char *const *words, size_t n);

struct strbuf {
    char *p; /* always ends in NUL once something was added; NULL when untouched */
    size_t n, cap, max;
    bool truncated; /* something did not fit */
};

void strbuf_init(struct strbuf *b, size_t max);
void strbuf_fini(struct strbuf *b);
void strbuf_reset(struct strbuf *b); /* keeps the memory */
void strbuf_add(struct strbuf *b, const void *p, size_t n);
void strbuf_addc(struct strbuf *b, char c);
void strbuf_addz(struct strbuf *b, const char *z);
void strbuf_adds(struct strbuf *b, struct str s);
void strbuf_addu(struct strbuf *b, uint64_t v); /* decimal */
void strbuf_printf(struct strbuf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Text inside JSON quotes (without the quotes themselves); bad UTF-8 becomes U+FFFD. */
void strbuf_add_json(struct strbuf *b, struct str s);
static inline struct str strbuf_str(const struct strbuf *b)
{
    return (struct str){b->p ? b->p : "", b->n};
}
char *strbuf_take(struct strbuf *b); /* owned C string, never NULL; leaves the buffer empty */

#define AUTO_STRBUF __attribute__((cleanup(strbuf_fini)))
