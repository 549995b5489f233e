#include "lib/zds/zds_server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/list.h"
#include "lib/base/mem.h"
#include "lib/net/sock.h"

#define QUEUE_MAX      8192 /* messages that wait for one ztunnel */
#define ACCEPT_WAIT_MS 100  /* when descriptors have run out */

/* A request and who waits for it; counted by the messages made of it. */
struct job {
    unsigned refs;
    zds_done_fn *done; /* NULL: nobody */
    void *owner;
    char *error;
    struct list node; /* server->jobs */
    struct loop_task tell;
    struct zds_server *server;
};

struct message {
    struct list node; /* client->queue */
    struct strbuf packet;
    int netns;       /* sent with it, -1: none */
    struct job *job; /* NULL: an announcement */
    char *uid;       /* of the pod that is announced */
};

struct client {
    struct list node; /* server->clients, newest last */
    struct zds_server *server;
    int fd;
    struct loop_fd watch;
    struct loop_timer deadline;
    struct list queue;
    size_t queued;
    bool hello, sent; /* sent: the head of the queue waits for its ack */
    bool closed;      /* freed at the end of the turn: callers up the stack still look at it */
};

struct zds_server {
    struct loop *loop;
    const struct zds_server_ops *ops;
    void *owner;
    char *path;
    int fd;
    struct loop_fd watch;
    struct loop_timer accept_again;
    struct list clients, jobs;
    struct list closed; /* clients */
    struct loop_task reap, catch_up;
    unsigned n;
};

/* -- jobs -- */

static void job_tell(void *owner)
{
    struct job *j = owner;
    list_del(&j->node);
    if (j->done)
        j->done(j->owner, j->error);
    free(j->error);
    free(j);
}

static struct job *job_new(struct zds_server *s, zds_done_fn *done, void *owner)
{
    struct job *j = mem_new(struct job);
    *j = (struct job){.refs = 1, .done = done, .owner = owner, .server = s};
    loop_task_init(&j->tell, job_tell, j);
    list_push_back(&s->jobs, &j->node);
    return j;
}

static void job_end(struct job *j, const char *error)
{
    if (!j)
        return;
    if (error && !j->error)
        j->error = mem_strdup(error);
    if (--j->refs == 0)
        loop_defer(j->server->loop, &j->tell, LOOP_WORK);
}

void zds_server_forget(struct zds_server *s, void *owner)
{
    struct job *j;
    LIST_FOREACH (j, &s->jobs, node)
        if (j->owner == owner)
            j->done = NULL;
}

/* -- clients -- */

static void message_end(struct client *c, struct message *m, const char *error)
{
    list_del(&m->node);
    c->queued--;
    if (m->uid && c->server->ops->on_announced)
        c->server->ops->on_announced(c->server->owner, str_of(m->uid), error);
    job_end(m->job, error);
    if (m->netns >= 0)
        close(m->netns);
    strbuf_fini(&m->packet);
    free(m->uid);
    free(m);
}

static struct client *newest(const struct zds_server *s)
{
    for (struct list *at = s->clients.prev; at != &s->clients; at = at->prev) {
        struct client *c = container_of(at, struct client, node);
        if (c->hello)
            return c;
    }
    return NULL;
}

static void reap(void *owner)
{
    struct zds_server *s = owner;
    while (!list_empty(&s->closed)) {
        struct client *c = container_of(s->closed.next, struct client, node);
        list_del(&c->node);
        free(c);
    }
}

static void client_close(struct client *c, const char *why)
{
    struct zds_server *s = c->server;
    if (c->closed)
        return;
    if (c == newest(s))
        loop_defer(s->loop, &s->catch_up, LOOP_WORK);
    c->closed = true;
    list_del(&c->node);
    list_push_back(&s->closed, &c->node);
    loop_defer(s->loop, &s->reap, LOOP_FREE);
    loop_fd_close(&c->watch);
    loop_timer_clear(&c->deadline);
    close(c->fd);
    while (!list_empty(&c->queue))
        message_end(c, container_of(c->queue.next, struct message, node), why);
    s->n--;
    if (s->ops->on_clients)
        s->ops->on_clients(s->owner, s->n);
}

static bool send_message(struct client *c, const struct message *m)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {m->packet.p, m->packet.n};
    struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};
    if (m->netns >= 0) {
        h.msg_control = control.bytes;
        h.msg_controllen = sizeof(control.bytes);
        struct cmsghdr *cm = CMSG_FIRSTHDR(&h);
        cm->cmsg_level = SOL_SOCKET;
        cm->cmsg_type = SCM_RIGHTS;
        cm->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(cm), &m->netns, sizeof(int));
    }
    ssize_t n;
    do
        n = sendmsg(c->fd, &h, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)m->packet.n;
}

/* One request at a time: the next when the last was answered. */
static void pump(struct client *c)
{
    if (c->closed || !c->hello || c->sent || list_empty(&c->queue))
        return;
    if (!send_message(c, container_of(c->queue.next, struct message, node))) {
        client_close(c, "the link to the ztunnel broke");
        return;
    }
    c->sent = true;
    loop_timer_set(&c->deadline, ZDS_ACK_MS);
}

static void on_deadline(void *owner)
{
    struct client *c = owner;
    client_close(c, c->hello ? "the ztunnel did not answer within 5 s" : "no hello within 5 s");
}

static bool queue(struct client *c, const struct zds_request *r, int netns, struct job *job,
                  bool announce)
{
    struct message *m = mem_new(struct message);
    strbuf_init(&m->packet, ZDS_PACKET_MAX);
    m->netns = -1;
    m->job = job;
    if (job)
        job->refs++;
    c->queued++;
    list_push_back(&c->queue, &m->node);
    if (announce)
        m->uid = str_dup(r->uid);
    const char *error = NULL;
    if (c->queued > QUEUE_MAX)
        error = "too many requests wait for the ztunnel";
    else if (zds_request_format(r, &m->packet) != RC_OK)
        error = "name, namespace, account and uid do not fit into a ZDS packet";
    else if (netns >= 0 && (m->netns = fcntl(netns, F_DUPFD_CLOEXEC, 3)) < 0)
        error = "no descriptors are left";
    if (error)
        message_end(c, m, error);
    return !error;
}

static void announce(void *arg, const struct zds_request *r, int netns)
{
    struct zds_request keep = {.kind = ZDS_KEEP, .uid = r->uid};
    (void)queue(arg, netns >= 0 ? r : &keep, netns, NULL, true);
}

static void announce_again(void *arg, const struct zds_request *r, int netns)
{
    if (netns >= 0) /* after the snapshot there is no Keep */
        (void)queue(arg, r, netns, NULL, true);
}

/* The newest ztunnel left and the one before it serves again: it has not heard of what came since. A pod
 * that it knows is nothing new to it. */
static void catch_up(void *owner)
{
    struct zds_server *s = owner;
    struct client *c = newest(s);
    if (!c)
        return;
    s->ops->each_pod(s->owner, announce_again, c);
    pump(c);
}

static void hello(struct client *c)
{
    struct zds_request end = {.kind = ZDS_SNAPSHOT_SENT};
    c->hello = true;
    loop_timer_clear(&c->deadline);
    if (c == newest(c->server)) /* it is told everything now */
        loop_task_cancel(&c->server->catch_up);
    c->server->ops->each_pod(c->server->owner, announce, c);
    (void)queue(c, &end, -1, NULL, false);
    if (c->server->ops->on_clients)
        c->server->ops->on_clients(c->server->owner, c->server->n);
}

static void on_packet(struct client *c, struct str packet)
{
    uint32_t version;
    struct str error;
    if (!c->hello) {
        if (zds_hello_parse(packet, &version) != RC_OK || version != ZDS_VERSION) {
            client_close(c, "a hello that is not understood");
            return;
        }
        hello(c);
    } else if (!c->sent || zds_ack_parse(packet, &error) != RC_OK) {
        client_close(c, "the ztunnel sent something that is not understood");
        return;
    } else {
        char text[ZDS_PACKET_MAX + 1];
        memcpy(text, error.p, error.n);
        text[error.n] = '\0';
        c->sent = false;
        loop_timer_clear(&c->deadline);
        message_end(c, container_of(c->queue.next, struct message, node), error.n ? text : NULL);
    }
    pump(c);
}

static void on_readable(void *owner, unsigned ready)
{
    (void)ready;
    struct client *c = owner;
    char buf[ZDS_PACKET_MAX + 1];
    ssize_t n;
    do
        n = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0 || n > ZDS_PACKET_MAX)
        client_close(c, n > 0 ? "a packet is over 1024 bytes" : "the ztunnel closed the link");
    else
        on_packet(c, (struct str){buf, (size_t)n});
}

static void on_connect(void *owner, unsigned ready)
{
    (void)ready;
    struct zds_server *s = owner;
    int fd;
    struct addr peer;
    enum rc rc = sock_accept(s->fd, &fd, &peer);
    if (rc == RC_AGAIN)
        return;
    if (rc != RC_OK) { /* out of descriptors: not again at once */
        loop_fd_close(&s->watch);
        loop_timer_set(&s->accept_again, ACCEPT_WAIT_MS);
        return;
    }
    struct client *c = mem_new(struct client);
    c->server = s;
    c->fd = fd;
    list_init(&c->queue);
    loop_timer_init(&c->deadline, s->loop, on_deadline, c);
    if (s->n >= ZDS_SERVER_CLIENTS ||
        loop_fd_open(&c->watch, s->loop, fd, LOOP_READ | LOOP_LEVEL, on_readable, c) != RC_OK) {
        close(fd);
        free(c);
        return;
    }
    s->n++;
    list_push_back(&s->clients, &c->node);
    loop_timer_set(&c->deadline, ZDS_ACK_MS);
}

static void accept_again(void *owner)
{
    struct zds_server *s = owner;
    if (loop_fd_open(&s->watch, s->loop, s->fd, LOOP_READ | LOOP_LEVEL, on_connect, s) != RC_OK)
        loop_timer_set(&s->accept_again, ACCEPT_WAIT_MS);
}

/* -- requests -- */

void zds_server_add(struct zds_server *s, const struct zds_request *r, int netns, zds_done_fn *done,
                    void *owner)
{
    struct job *j = job_new(s, done, owner);
    struct client *c = newest(s);
    const char *error = c ? NULL : "no ztunnel is connected";
    if (c && queue(c, r, netns, j, false))
        pump(c);
    job_end(j, error);
}

void zds_server_del(struct zds_server *s, struct str uid, zds_done_fn *done, void *owner)
{
    struct zds_request r = {.kind = ZDS_DEL, .uid = uid};
    struct job *j = job_new(s, done, owner);
    struct client *c, *tmp;
    LIST_FOREACH_SAFE (c, tmp, &s->clients, node)
        if (c->hello && queue(c, &r, -1, j, false))
            pump(c);
    job_end(j, NULL);
}

unsigned zds_server_clients(const struct zds_server *s)
{
    return s->n;
}

/* -- life -- */

struct zds_server *zds_server_new(struct loop *l, const char *path,
                                  const struct zds_server_ops *ops, void *owner,
                                  struct errmsg *ret_msg)
{
    struct zds_server *s = mem_new(struct zds_server);
    *s = (struct zds_server){.loop = l, .ops = ops, .owner = owner};
    list_init(&s->clients);
    list_init(&s->jobs);
    list_init(&s->closed);
    loop_task_init(&s->reap, reap, s);
    loop_task_init(&s->catch_up, catch_up, s);
    loop_timer_init(&s->accept_again, l, accept_again, s);
    enum rc rc = sock_listen_unix(path, SOCK_SEQPACKET, 0600, &s->fd);
    if (rc == RC_OK) {
        rc = loop_fd_open(&s->watch, l, s->fd, LOOP_READ | LOOP_LEVEL, on_connect, s);
        if (rc == RC_OK) {
            s->path = mem_strdup(path);
            return s;
        }
        close(s->fd);
    }
    errmsg_set(ret_msg, "%s: %s: does its folder exist, and may this process write there?", path,
               strerror(errno));
    free(s);
    return NULL;
}

void zds_server_free(struct zds_server *s)
{
    if (!s)
        return;
    struct client *c, *tmp;
    LIST_FOREACH_SAFE (c, tmp, &s->clients, node)
        client_close(c, "the agent stops");
    while (!list_empty(&s->jobs)) {
        struct job *j = container_of(s->jobs.next, struct job, node);
        loop_task_cancel(&j->tell);
        job_tell(j);
    }
    reap(s);
    loop_task_cancel(&s->reap);
    loop_task_cancel(&s->catch_up);
    loop_timer_clear(&s->accept_again);
    loop_fd_close(&s->watch);
    close(s->fd);
    unlink(s->path);
    free(s->path);
    free(s);
}
