/* Small allocations can't fail: out of memory ends the process. So every size that comes from
 * outside is capped (RC_LIMIT) before it reaches these functions. */
#pragma once

#include <stddef.h>
#include <stdint.h>

void *mem_alloc(size_t n);  /* not cleared */
void *mem_zalloc(size_t n); /* cleared */
void *mem_calloc(size_t cnt, size_t size);
void *mem_realloc(void *p, size_t n);
void *mem_dup(const void *p, size_t n);
char *mem_strdup(const char *s); /* NULL stays NULL */
char *mem_strndup(const char *s, size_t n);
char *mem_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A cleared object of the type. */
#define mem_new(type) ((type *)mem_zalloc(sizeof(type)))
/* Grow an array (ptr, capacity in elements) to hold need elements, doubling. */
#define mem_grow(ptr, cap, need)                                    \
    do {                                                            \
        if ((need) > (cap))                                         \
            (ptr) = mem_grow_(ptr, &(cap), (need), sizeof(*(ptr))); \
    } while (0)
void *mem_grow_(void *p, size_t *cap, size_t need, size_t size);

/* Cleanup on leaving the scope; TAKE() hands ownership on. For locals only. */
#define AUTO(free_fn) __attribute__((cleanup(auto_##free_fn)))
#define DEFINE_AUTO(type, free_fn)             \
    static inline void auto_##free_fn(type *p) \
    {                                          \
        if (*p)                                \
            free_fn(*p);                       \
    }
#define TAKE_FD(fd)     \
    ({                  \
        int fd_ = (fd); \
        (fd) = -1;      \
        fd_;            \
    })
#define TAKE(p)                     \
    ({                              \
        __typeof__(p) taken_ = (p); \
        (p) = NULL;                 \
        taken_;                     \
    })

void mem_free(void *p); /* free(), usable with AUTO() */
DEFINE_AUTO(void *, mem_free)
#define AUTO_FREE __attribute__((cleanup(auto_mem_free_any)))
static inline void auto_mem_free_any(void *p)
{
    mem_free(*(void **)p);
}

#define container_of(ptr, type, member) ((type *)((uintptr_t)(ptr) - offsetof(type, member)))
#define ARRAY_LEN(a)                    (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)                       ((a) < (b) ? (a) : (b))
#define MAX(a, b)                       ((a) > (b) ? (a) : (b))
