/* Circular, intrusive, doubly linked list. A node is either linked or points to itself;
 * list_del() makes it point to itself again, so deleting twice is legal. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/mem.h"

struct list {
    struct list *next, *prev;
};

static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}

/* For nodes: is it in a list? A cleared (never initialised) node counts as unlinked. */
static inline bool list_linked(const struct list *n)
{
    return n->next && n->next != n;
}

static inline void list_insert_(struct list *n, struct list *prev, struct list *next)
{
    n->prev = prev;
    n->next = next;
    prev->next = n;
    next->prev = n;
}

static inline void list_push_back(struct list *l, struct list *n)
{
    list_insert_(n, l->prev, l);
}

static inline void list_push_front(struct list *l, struct list *n)
{
    list_insert_(n, l, l->next);
}

static inline void list_del(struct list *n)
{
    if (!n->next)
        return;
    n->prev->next = n->next;
    n->next->prev = n->prev;
    list_init(n);
}

/* Move all nodes of src to the end of dst. */
static inline void list_splice(struct list *dst, struct list *src)
{
    if (list_empty(src))
        return;
    src->next->prev = dst->prev;
    dst->prev->next = src->next;
    src->prev->next = dst;
    dst->prev = src->prev;
    list_init(src);
}

#define LIST_FIRST(l, type, member) (list_empty(l) ? NULL : container_of((l)->next, type, member))
#define LIST_FOREACH(var, l, member)                                                         \
    for ((var) = container_of((l)->next, __typeof__(*(var)), member); &(var)->member != (l); \
         (var) = container_of((var)->member.next, __typeof__(*(var)), member))
#define LIST_FOREACH_SAFE(var, tmp, l, member)                                \
    for ((var) = container_of((l)->next, __typeof__(*(var)), member),         \
        (tmp) = container_of((var)->member.next, __typeof__(*(var)), member); \
         &(var)->member != (l);                                               \
         (var) = (tmp), (tmp) = container_of((tmp)->member.next, __typeof__(*(tmp)), member))
