/* The plaintext leg of a connection: socket to socket. */
#include "lib/base/mem.h"
#include "proxy/ztunnel/conn.h"

static void on_done(void *owner, enum rc why)
{
    conn_finish(owner, why);
}

static void on_connected(void *owner, unsigned ready)
{
    (void)ready;
    struct conn *c = owner;
    c->state = CONN_OPEN;
    loop_timer_clear(&c->deadline);
    relay_tcp_opened(&c->plain, 1);
}

static void on_deadline(void *owner)
{
    conn_close(owner, RC_TIMEOUT);
}

enum rc conn_open_plain(struct conn *c, const struct addr *to, bool spoof)
{
    struct loop *l = c->pod->zw->w->loop;
    struct relay_tcp_side *app = &c->plain.side[0], *up = &c->plain.side[1];
    enum rc rc = conn_dial(c, to, spoof, &up->tcp);
    if (rc != RC_OK)
        return rc;
    rc = io_tcp_open(&app->tcp, l, TAKE_FD(c->fd), false);
    if (rc != RC_OK) {
        io_close(&up->tcp.io, rc);
        return rc;
    }
    c->kind = CONN_PLAIN;
    c->state = CONN_DIAL;
    c->relaying = true;
    app->open = true;
    relay_tcp_start(&c->plain, l, on_done, c);
    up->tcp.io.on_ready = on_connected;
    up->tcp.io.owner = c;
    loop_timer_init(&c->deadline, l, on_deadline, c);
    loop_timer_set(&c->deadline, c->pod->zw->cfg->connect_ms);
    return RC_OK;
}
