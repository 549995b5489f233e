#include "lib/base/mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/must.h"

static void *mem_check(void *p, size_t n)
{
    if (!p && n)
        must_die("out of memory (%zu bytes wanted)", n);
    return p;
}

void *mem_alloc(size_t n)
{
    return mem_check(malloc(n ? n : 1), n);
}

void *mem_zalloc(size_t n)
{
    return mem_check(calloc(1, n ? n : 1), n);
}

void *mem_calloc(size_t cnt, size_t size)
{
    return mem_check(calloc(cnt ? cnt : 1, size), cnt);
}

void *mem_realloc(void *p, size_t n)
{
    return mem_check(realloc(p, n ? n : 1), n);
}

void *mem_dup(const void *p, size_t n)
{
    void *q = mem_alloc(n);
    if (n)
        memcpy(q, p, n);
    return q;
}

char *mem_strdup(const char *s)
{
    return s ? mem_strndup(s, strlen(s)) : NULL;
}

char *mem_strndup(const char *s, size_t n)
{
    char *q = mem_alloc(n + 1);
    if (n)
        memcpy(q, s, n);
    q[n] = '\0';
    return q;
}

char *mem_printf(const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&text, fmt, ap);
    va_end(ap);
    MUST(n >= 0);
    return text;
}

void *mem_grow_(void *p, size_t *cap, size_t need, size_t size)
{
    size_t n = *cap ? *cap : 8;
    while (n < need)
        n *= 2;
    MUST(n <= SIZE_MAX / size);
    *cap = n;
    return mem_realloc(p, n * size);
}

void mem_free(void *p)
{
    free(p);
}
