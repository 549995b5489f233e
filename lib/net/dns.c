#include "lib/net/dns.h"

#include <string.h>
#include <sys/time.h>

#include <ares.h>

#include "lib/base/must.h"

#define SOCKETS    16
#define TIMEOUT_MS 2000 /* of the first try at a server; c-ares doubles it */
#define TRIES      2
#define NAME_MAX_N 255

struct dns_socket {
    struct loop_fd watch;
    struct dns_query *q;
    ares_socket_t fd;
    bool used;
};

struct dns_query {
    struct loop *loop;
    dns_done_fn *fn;
    void *owner;
    ares_channel ares;
    bool ares_up, done;
    struct dns_socket sockets[SOCKETS];
    struct loop_timer timer;
    struct loop_task finish;
    enum rc rc;
    struct addr addrs[DNS_ADDRS_MAX];
    size_t n;
};

static void arm(struct dns_query *q)
{
    struct timeval tv;
    if (q->done || !ares_timeout(q->ares, NULL, &tv))
        return;
    loop_timer_set(&q->timer, (int64_t)tv.tv_sec * 1000 + tv.tv_usec / 1000 + 1);
}

static void on_socket(void *owner, unsigned ready)
{
    struct dns_socket *s = owner;
    struct dns_query *q = s->q;
    if (q->done)
        return;
    ares_process_fd(q->ares, ready & LOOP_READ ? s->fd : ARES_SOCKET_BAD,
                    ready & LOOP_WRITE ? s->fd : ARES_SOCKET_BAD);
    arm(q);
}

static void on_timer(void *owner)
{
    struct dns_query *q = owner;
    ares_process_fd(q->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    arm(q);
}

/* c-ares says what it waits for; 0 before it closes the socket. */
static void on_state(void *owner, ares_socket_t fd, int readable, int writable)
{
    struct dns_query *q = owner;
    struct dns_socket *s = NULL, *empty = NULL;
    for (size_t i = 0; i < SOCKETS && !s; i++) {
        if (q->sockets[i].used && q->sockets[i].fd == fd)
            s = &q->sockets[i];
        else if (!q->sockets[i].used && !empty)
            empty = &q->sockets[i];
    }
    if (!s)
        s = empty;
    if (!s)
        return; /* more servers than we watch: the timeout moves on */
    if (s->used)
        loop_fd_close(&s->watch);
    s->used = readable || writable;
    if (!s->used)
        return;
    s->fd = fd;
    s->q = q;
    unsigned events = LOOP_LEVEL | (readable ? LOOP_READ : 0u) | (writable ? LOOP_WRITE : 0u);
    if (loop_fd_open(&s->watch, q->loop, fd, events, on_socket, s) != RC_OK)
        s->used = false;
}

static enum rc rc_of(int status)
{
    switch (status) {
    case ARES_SUCCESS:   return RC_OK;
    case ARES_ENOTFOUND:
    case ARES_ENODATA:
    case ARES_EBADNAME:  return RC_NOT_FOUND;
    case ARES_ETIMEOUT:  return RC_TIMEOUT;
    default:             return RC_IO;
    }
}

static void on_answer(void *owner, int status, int timeouts, struct ares_addrinfo *ai)
{
    (void)timeouts;
    struct dns_query *q = owner;
    if (status == ARES_EDESTRUCTION)
        return;
    q->rc = rc_of(status);
    for (struct ares_addrinfo_node *n = ai ? ai->nodes : NULL; n && q->n < DNS_ADDRS_MAX;
         n = n->ai_next) {
        addr_from_sockaddr(n->ai_addr, &q->addrs[q->n]);
        q->addrs[q->n].port = 0;
        if (q->addrs[q->n].family)
            q->n++;
    }
    if (ai)
        ares_freeaddrinfo(ai);
    if (q->rc == RC_OK && q->n == 0)
        q->rc = RC_NOT_FOUND;
    q->done = true;
    loop_defer(q->loop, &q->finish, LOOP_WORK); /* c-ares may not be destroyed from here */
}

static void query_free(struct dns_query *q)
{
    q->done = true;
    if (q->ares_up)
        ares_destroy(q->ares); /* closes its sockets, which on_state hears of */
    for (size_t i = 0; i < SOCKETS; i++)
        if (q->sockets[i].used)
            loop_fd_close(&q->sockets[i].watch);
    loop_timer_clear(&q->timer);
    loop_task_cancel(&q->finish);
    mem_free(q);
}

static void on_finish(void *owner)
{
    struct dns_query *q = owner;
    dns_done_fn *fn = q->fn;
    void *o = q->owner;
    struct addr addrs[DNS_ADDRS_MAX];
    size_t n = q->n;
    enum rc rc = q->rc;
    memcpy(addrs, q->addrs, sizeof(addrs));
    query_free(q);
    fn(o, rc, addrs, n);
}

static void start(struct dns_query *q, const char *name)
{
    struct ares_options o = {.flags = 0,
                             .timeout = TIMEOUT_MS,
                             .tries = TRIES,
                             .sock_state_cb = on_state,
                             .sock_state_cb_data = q};
    int mask = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB;
    if (ares_init_options(&q->ares, &o, mask) != ARES_SUCCESS) {
        q->rc = RC_IO;
        q->done = true;
        loop_defer(q->loop, &q->finish, LOOP_WORK);
        return;
    }
    q->ares_up = true;
    struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC};
    ares_getaddrinfo(q->ares, name, NULL, &hints, on_answer, q);
    arm(q);
}

struct dns_query *dns_resolve(struct loop *l, struct str name, dns_done_fn *fn, void *owner)
{
    struct dns_query *q = mem_new(struct dns_query);
    q->loop = l;
    q->fn = fn;
    q->owner = owner;
    loop_timer_init(&q->timer, l, on_timer, q);
    loop_task_init(&q->finish, on_finish, q);
    if (addr_parse_ip(name, &q->addrs[0]) == RC_OK) {
        q->n = 1;
        q->done = true;
    } else if (name.n == 0 || name.n > NAME_MAX_N || memchr(name.p, '\0', name.n)) {
        q->rc = RC_NOT_FOUND;
        q->done = true;
    }
    if (q->done) {
        loop_defer(l, &q->finish, LOOP_WORK);
        return q;
    }
    char *text AUTO_FREE = str_dup(name);
    start(q, text);
    return q;
}

void dns_cancel(struct dns_query *q)
{
    query_free(q);
}
