/* Memory of one unit of short work (a decoded message, a loaded file): taken in pieces, freed
 * whole. Never per connection or tunnel: those live for days. */
#pragma once

#include <stddef.h>

#include "lib/base/str.h"

struct arena {
    struct arena_chunk *head;
    size_t used, max; /* bytes handed out; over max arena_alloc() returns NULL */
};

void arena_init(struct arena *a, size_t max);
void arena_fini(struct arena *a);
void arena_reset(struct arena *a); /* frees everything, keeps max */
/* Cleared, aligned for any type; NULL once max is reached. */
void *arena_alloc(struct arena *a, size_t n);
/* C string copy; NULL once max is reached. */
char *arena_strndup(struct arena *a, const char *p, size_t n);
#define arena_new(a, type) ((type *)arena_alloc((a), sizeof(type)))
#define AUTO_ARENA         __attribute__((cleanup(arena_fini)))
