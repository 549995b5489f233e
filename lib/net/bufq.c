#include "lib/net/bufq.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/must.h"

#define CHUNK_MIN 2048
#define CHUNK_MAX (64 * 1024)

struct bufq_chunk {
    struct bufq_chunk *next;
    size_t at, n, cap; /* [at, n) is filled */
    char bytes[];
};

void bufq_fini(struct bufq *q)
{
    while (q->head) {
        struct bufq_chunk *c = q->head;
        q->head = c->next;
        free(c);
    }
    *q = (struct bufq){0};
}

void bufq_add(struct bufq *q, const void *p, size_t n)
{
    q->n += n;
    while (n) {
        struct bufq_chunk *c = q->tail;
        if (!c || c->n == c->cap) {
            size_t cap = MIN(MAX(n, (size_t)CHUNK_MIN), (size_t)CHUNK_MAX);
            c = mem_alloc(sizeof(*c) + cap);
            *c = (struct bufq_chunk){.cap = cap};
            *(q->tail ? &q->tail->next : &q->head) = c;
            q->tail = c;
        }
        size_t take = MIN(n, c->cap - c->n);
        memcpy(c->bytes + c->n, p, take);
        c->n += take;
        p = (const char *)p + take;
        n -= take;
    }
}

int bufq_peek(const struct bufq *q, struct iovec *iov, int cap)
{
    int cnt = 0;
    for (struct bufq_chunk *c = q->head; c && cnt < cap; c = c->next)
        iov[cnt++] = (struct iovec){c->bytes + c->at, c->n - c->at};
    return cnt;
}

void bufq_drain(struct bufq *q, size_t n)
{
    MUST(n <= q->n);
    q->n -= n;
    while (q->head) {
        struct bufq_chunk *c = q->head;
        size_t take = MIN(n, c->n - c->at);
        c->at += take;
        n -= take;
        if (c->at < c->n)
            return;
        if (!(q->head = c->next))
            q->tail = NULL;
        free(c);
    }
}
