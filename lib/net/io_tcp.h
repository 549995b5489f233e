/* A TCP (or unix stream) socket as a byte pipe. */
#pragma once

#include <stdbool.h>

#include "lib/event/loop.h"
#include "lib/net/io.h"

struct io_tcp {
    struct io io; /* embeddable: first member */
    struct loop_fd watch;
    int fd; /* -1 once closed */
    bool readable, writable;
    bool hangup; /* the last edge: no further one may come */
    bool connecting;
    bool more; /* set for one write: more bytes or the end follow at once, and may go with these */
    bool heap;
};

/* Takes fd (non-blocking). connecting: connect() answered EINPROGRESS; operations give RC_AGAIN
 * until it finished, then its failure if it failed. RC_LIMIT (fd closed) when epoll is full. */
NODISCARD enum rc io_tcp_open(struct io_tcp *t, struct loop *l, int fd, bool connecting);
/* The same on the heap; NULL (fd closed) when epoll is full. */
struct io *io_tcp_new(struct loop *l, int fd, bool connecting);
