/* Copy-on-write hash map: 1,024 shards in pages of 32 under a directory of 32, all immutable once shared
 * and counted. A change copies the directory, the page (once per edit each) and the touched shard; a copy
 * shares all others. Values are objects with a count of their own, described by cowmap_ops.
 *
 * Thread: a map that is being edited belongs to one thread; a map inside a published snapshot is
 * read by all. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cowmap_ops {
    bool (*has_key)(const void *value, const void *key);
    void (*ref)(void *value);
    void (*unref)(void *value);
};

struct cowmap {
    const struct cowmap_ops *ops;
    struct cowmap_dir *dir;
    size_t len;
};

void cowmap_init(struct cowmap *m, const struct cowmap_ops *ops);
void cowmap_fini(struct cowmap *m);
/* dst (uninitialised) becomes a copy that shares everything with src: 1 atomic increment. */
void cowmap_copy(struct cowmap *dst, const struct cowmap *src);
/* Borrowed: lives as long as the map, or until it is changed. */
void *cowmap_find(const struct cowmap *m, uint64_t hash, const void *key);
/* A key may stand for several entries (has_key compares only a part of what tells them apart): visits
 * those of this hash that have it; *pos starts at 0. NULL after the last. */
void *cowmap_next(const struct cowmap *m, uint64_t hash, const void *key, uint32_t *pos);
/* Takes a reference to value; replaces (and unrefs) the one that has the key. */
void cowmap_set(struct cowmap *m, uint64_t hash, const void *key, void *value);
bool cowmap_del(struct cowmap *m, uint64_t hash, const void *key);
/* Calls fn for each value in no order until it returns false. */
void cowmap_each(const struct cowmap *m, bool (*fn)(void *value, void *arg), void *arg);
