/* Bytes between two TCP connections, both ways (plaintext legs): half-close as half-close, reset as
 * reset; a side that does not take its bytes stops the reading of the other. Idle it holds no buffer.
 * Owner: embedded in a connection; both sockets belong to it once it was started. Thread: one loop. */
#pragma once

#include "lib/net/bufq.h"
#include "lib/net/io_tcp.h"

struct relay_tcp;
struct relay_tcp_side {
    struct io_tcp tcp;
    struct bufq held; /* what this side has not taken */
    bool open;        /* connected */
    bool eof;         /* sends no more */
    bool shut;        /* was told that the other sends no more */
    uint64_t read;    /* bytes taken from it */
    struct relay_tcp *r;
};

struct relay_tcp {
    struct relay_tcp_side side[2];
    struct loop *loop;
    struct loop_task more; /* a busy pair shares its thread */
    /* The last callback; both sockets are closed. RC_OK: both directions ended. */
    void (*on_done)(void *owner, enum rc why);
    void *owner;
    bool done;
};

/* side[i].tcp are opened already, side[i].open says which are connected; a side that is not gets
 * relay_tcp_opened() later. */
void relay_tcp_start(struct relay_tcp *r, struct loop *l, void (*on_done)(void *owner, enum rc why),
                     void *owner);
void relay_tcp_opened(struct relay_tcp *r, int side);
void relay_tcp_close(struct relay_tcp *r, enum rc why);
