#include "cni/door.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/log/log.h"
#include "lib/net/sock.h"

#define SCOPE    "door"
#define RETRY_MS 100
#define TREE_MAX (16u << 20)

struct guest {
    struct list node;
    struct door *door;
    int fd;
    struct loop_fd watch;
    struct loop_timer deadline;
    struct agent_call call;
    bool asked; /* the agent has the call */
};

struct door {
    struct loop *loop;
    struct agent *agent;
    char *path;
    int fd;
    struct loop_fd watch;
    struct loop_timer retry;
    struct list guests;
    unsigned n;
};

static void leave(struct guest *g)
{
    if (g->asked)
        agent_call_cancel(&g->call);
    loop_timer_clear(&g->deadline);
    loop_fd_close(&g->watch);
    close(g->fd);
    list_del(&g->node);
    g->door->n--;
    mem_free(g);
}

static void answer(struct guest *g, const struct wire_answer *ans)
{
    struct strbuf text AUTO_STRBUF;
    strbuf_init(&text, WIRE_ANSWER_MAX);
    wire_answer_format(ans, &text);
    if (wire_send(g->fd, strbuf_str(&text), -1) != RC_OK)
        log_debug(SCOPE, "an answer could not be sent: %s", strerror(errno));
    leave(g);
}

static void on_done(struct agent_call *c, const struct wire_answer *ans)
{
    struct guest *g = container_of(c, struct guest, call);
    g->asked = false;
    answer(g, ans);
}

static void ask(struct guest *g, struct str packet, int netns)
{
    struct arena arena AUTO_ARENA;
    struct wire_request r;
    struct errmsg why = {""};
    arena_init(&arena, TREE_MAX);
    enum rc rc = wire_request_parse(&arena, packet, &r, &why);
    if (rc != RC_OK) {
        struct wire_answer ans = {.code = CNI_REFUSED, .msg = str_of(why.text)};
        log_warn(SCOPE, "a request that is not understood: %s", why.text);
        if (netns >= 0)
            close(netns);
        answer(g, &ans);
        return;
    }
    loop_timer_clear(&g->deadline);
    g->asked = true;
    agent_call(g->door->agent, &g->call, &r, netns, on_done);
}

static void on_packet(void *owner, unsigned ready)
{
    struct guest *g = owner;
    struct strbuf packet AUTO_STRBUF;
    int netns = -1;
    (void)ready;
    strbuf_init(&packet, WIRE_PACKET_MAX);
    enum rc rc = wire_recv(g->fd, WIRE_PACKET_MAX, &packet, &netns);
    if (rc == RC_AGAIN)
        return;
    if (rc != RC_OK || g->asked) { /* gone, or more than one request */
        if (netns >= 0)
            close(netns);
        leave(g);
        return;
    }
    ask(g, strbuf_str(&packet), netns);
}

static void on_late(void *owner)
{
    leave(owner);
}

static bool may_ask(int fd)
{
    struct ucred u = {.uid = (uid_t)-1};
    socklen_t n = sizeof(u);
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &u, &n) == 0 &&
           (u.uid == 0 || u.uid == geteuid());
}

static void enter(struct door *d, int fd)
{
    struct guest *g = mem_new(struct guest);
    g->door = d;
    g->fd = fd;
    loop_timer_init(&g->deadline, d->loop, on_late, g);
    loop_timer_set(&g->deadline, DOOR_MS);
    list_push_back(&d->guests, &g->node);
    d->n++;
    if (!may_ask(fd) ||
        loop_fd_open(&g->watch, d->loop, fd, LOOP_READ | LOOP_LEVEL, on_packet, g) != RC_OK)
        leave(g);
}

static void on_accept(void *owner, unsigned ready)
{
    struct door *d = owner;
    (void)ready;
    int fd = d->n < DOOR_MAX ? accept4(d->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK) : -1;
    if (fd >= 0) {
        enter(d, fd);
    } else if (d->n >= DOOR_MAX || (errno != EAGAIN && errno != EINTR)) {
        loop_fd_close(&d->watch); /* others wait in the kernel's queue */
        loop_timer_set(&d->retry, RETRY_MS);
    }
}

static void open_again(void *owner)
{
    struct door *d = owner;
    if (loop_fd_open(&d->watch, d->loop, d->fd, LOOP_READ | LOOP_LEVEL, on_accept, d) != RC_OK)
        loop_timer_set(&d->retry, RETRY_MS);
}

struct door *door_new(struct loop *l, const char *path, struct agent *agent, struct errmsg *msg)
{
    int fd;
    if (sock_listen_unix(path, SOCK_SEQPACKET, 0600, &fd) != RC_OK) {
        errmsg_set(msg, "--cni-socket %.300s: %s", path, strerror(errno));
        return NULL;
    }
    struct door *d = mem_new(struct door);
    d->loop = l;
    d->agent = agent;
    d->path = mem_strdup(path);
    d->fd = fd;
    list_init(&d->guests);
    loop_timer_init(&d->retry, l, open_again, d);
    open_again(d);
    return d;
}

void door_free(struct door *d)
{
    struct guest *g, *next;
    if (!d)
        return;
    LIST_FOREACH_SAFE (g, next, &d->guests, node)
        leave(g);
    loop_timer_clear(&d->retry);
    loop_fd_close(&d->watch);
    close(d->fd);
    unlink(d->path);
    mem_free(d->path);
    mem_free(d);
}
