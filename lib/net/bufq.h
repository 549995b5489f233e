/* Bytes that wait: a queue of chunks, copied in at the end, taken from the front. Empty costs
 * nothing. Whoever fills it bounds it: a full queue means that the source is not read.
 * Thread: one. */
#pragma once

#include <stddef.h>
#include <sys/uio.h>

struct bufq {
    struct bufq_chunk *head, *tail;
    size_t n; /* bytes inside */
};

void bufq_fini(struct bufq *q); /* also after this it is a valid empty queue */
void bufq_add(struct bufq *q, const void *p, size_t n);
/* The first bytes as at most cap pieces; returns how many pieces. */
int bufq_peek(const struct bufq *q, struct iovec *iov, int cap);
void bufq_drain(struct bufq *q, size_t n); /* n at most q->n */
