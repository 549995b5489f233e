#include "lib/base/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>

#include "lib/base/mem.h"

#define ARENA_CHUNK 4096

struct arena_chunk {
    struct arena_chunk *next;
    size_t cap, used;
    alignas(max_align_t) unsigned char bytes[];
};

void arena_init(struct arena *a, size_t max)
{
    *a = (struct arena){.max = max};
}

void arena_reset(struct arena *a)
{
    while (a->head) {
        struct arena_chunk *c = a->head;
        a->head = c->next;
        free(c);
    }
    a->used = 0;
}

void arena_fini(struct arena *a)
{
    arena_reset(a);
}

void *arena_alloc(struct arena *a, size_t n)
{
    const size_t align = alignof(max_align_t);
    if (n > a->max || a->used > a->max - n)
        return NULL;
    n = (MAX(n, (size_t)1) + align - 1) & ~(align - 1);
    struct arena_chunk *c = a->head;
    if (!c || c->cap - c->used < n) {
        size_t cap = MAX(n, (size_t)ARENA_CHUNK);
        c = mem_zalloc(sizeof(*c) + cap);
        c->cap = cap;
        c->next = a->head;
        a->head = c;
    }
    void *p = c->bytes + c->used;
    c->used += n;
    a->used += n;
    return p;
}

char *arena_strndup(struct arena *a, const char *p, size_t n)
{
    char *q = arena_alloc(a, n + 1);
    if (q && n)
        memcpy(q, p, n);
    return q;
}
