/* Two byte pipes joined in memory, for tests of what stands on pipes: no kernel, every edge at will. */
#pragma once

#include "lib/event/loop.h"
#include "lib/net/io.h"

struct io_mem_opts {
    size_t capacity; /* bytes in flight each way, 0 = 1 MiB */
    size_t
        chunk; /* most that one read or write moves, 0 = any: 1 finds what relies on whole reads */
};
/* Bytes written to *ret_a come out of *ret_b and the other way round. */
void io_mem_pair(struct loop *l, const struct io_mem_opts *o, struct io **ret_a, struct io **ret_b);
/* Nothing comes out on this side (and nothing is told) until it is let go. */
void io_mem_hold(struct io *io, bool hold);
/* The pipe fails from now on with rc, on this side. */
void io_mem_break(struct io *io, enum rc rc);
