#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cmd/demo/demo.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/net/sock.h"

#define TIMEOUT_MS 5000

static struct {
    struct demo *d;
    struct pollfd listener[DEMO_PODS_MAX];
    struct demo_pod *pod[DEMO_PODS_MAX];
    nfds_t n;
    pthread_t thread;
    atomic_bool stop;
} srv;

/* Blocking with a deadline: the demo's applications are as simple as can be. */
static void set_blocking(int fd)
{
    struct timeval tv = {TIMEOUT_MS / 1000, 0};
    fcntl(fd, F_SETFL, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

static void serve_one(struct demo_pod *p, int fd, const struct addr *peer)
{
    char buf[2048], saw[ADDR_TEXT];
    size_t n = 0;
    set_blocking(fd);
    while (n < sizeof(buf) - 1) { /* one request's head */
        ssize_t got = recv(fd, buf + n, sizeof(buf) - 1 - n, 0);
        if (got <= 0)
            break;
        n += (size_t)got;
        buf[n] = '\0';
        if (strstr(buf, "\r\n\r\n"))
            break;
    }
    addr_format_ip(peer, saw);
    char body[200], answer[400];
    int body_n = snprintf(body, sizeof(body), "pod=%s saw=%s " DEMO_MARK "\n", p->name, saw);
    int len = snprintf(answer, sizeof(answer),
                       "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
                       body_n, body);
    if (n && send(fd, answer, (size_t)len, MSG_NOSIGNAL) == len)
        atomic_fetch_add(&p->served, 1);
    shutdown(fd, SHUT_WR);
    while (recv(fd, buf, sizeof(buf), 0) > 0)
        ;
    close(fd);
}

static void *serve(void *arg)
{
    (void)arg;
    while (!atomic_load(&srv.stop)) {
        if (poll(srv.listener, srv.n, 100) <= 0)
            continue;
        for (nfds_t i = 0; i < srv.n; i++) {
            struct addr peer;
            int fd;
            if ((srv.listener[i].revents & POLLIN) &&
                sock_accept(srv.listener[i].fd, &fd, &peer) == RC_OK)
                serve_one(srv.pod[i], fd, &peer);
        }
    }
    return NULL;
}

enum rc apps_serve(struct demo *d, struct errmsg *msg)
{
    srv.d = d;
    for (unsigned i = 0; i < d->n_pods; i++) {
        struct demo_pod *p = &d->pod[i];
        struct sock_opts o = SOCK_OPTS_DEFAULT;
        struct addr at = p->ip;
        if (p->role != POD_BACKEND)
            continue;
        at.port = 8080;
        o.netns = p->netns;
        enum rc rc = sock_listen_tcp(&at, &o, &srv.listener[srv.n].fd);
        if (rc != RC_OK) {
            errmsg_set(msg, "the server of pod %s: %s", p->name, strerror(errno));
            return rc;
        }
        srv.listener[srv.n].events = POLLIN;
        srv.pod[srv.n++] = p;
    }
    if (pthread_create(&srv.thread, NULL, serve, NULL) != 0)
        return RC_LIMIT;
    return RC_OK;
}

void apps_stop(void)
{
    if (!srv.n)
        return;
    atomic_store(&srv.stop, true);
    pthread_join(srv.thread, NULL);
    for (nfds_t i = 0; i < srv.n; i++)
        close(srv.listener[i].fd);
    srv.n = 0;
}

/* -- clients -- */

/* Sends a request and reads the answer to its end. False: errno says why. */
static bool exchange(int netns, const struct addr *to, const char *request, struct strbuf *answer)
{
    struct sock_opts o = SOCK_OPTS_DEFAULT;
    char buf[16384];
    bool connecting;
    int fd;
    o.netns = netns;
    if (sock_connect_tcp(to, NULL, &o, &fd, &connecting) != RC_OK)
        return false;
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int err = 0;
    socklen_t len = sizeof(err);
    bool ok = poll(&p, 1, TIMEOUT_MS) == 1 &&
              getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) == 0 && !err;
    if (!ok)
        errno = err ? err : ETIMEDOUT;
    set_blocking(fd);
    ok = ok && send(fd, request, strlen(request), MSG_NOSIGNAL) == (ssize_t)strlen(request);
    ssize_t n = -1;
    while (ok && (n = recv(fd, buf, sizeof(buf), 0)) > 0)
        strbuf_add(answer, buf, (size_t)n);
    int why = n < 0 ? errno : 0;
    close(fd);
    errno = why;
    return ok && n == 0;
}

void apps_request(const struct demo_pod *from, const char *to, struct answer *ret)
{
    struct addr at;
    struct strbuf text AUTO_STRBUF;
    *ret = (struct answer){0};
    strbuf_init(&text, 65536);
    if (addr_parse_port(str_of(to), &at) != RC_OK)
        return;
    int64_t start = clock_mono_us();
    bool ok =
        exchange(from->netns, &at,
                 "GET / HTTP/1.1\r\nHost: web.shop\r\nX-Secret: " DEMO_MARK "\r\n\r\n", &text);
    ret->us = clock_mono_us() - start;
    const char *pod = text.p ? strstr(text.p, "pod=") : NULL;
    if (pod && sscanf(pod, "pod=%31s saw=%55s", ret->pod, ret->saw) == 2)
        ret->ok = true;
    else
        snprintf(ret->error, sizeof(ret->error), "%s",
                 ok      ? "closed without an answer"
                 : errno ? strerror(errno)
                         : "closed without an answer");
}

int http_get(int netns, const char *at, const char *path, struct strbuf *ret_body)
{
    struct addr to;
    char request[300];
    struct strbuf text AUTO_STRBUF;
    strbuf_init(&text, 16 << 20);
    snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
             path, at);
    if (addr_parse_port(str_of(at), &to) != RC_OK)
        return 0;
    (void)exchange(netns, &to, request, &text);
    const char *body = text.p ? strstr(text.p, "\r\n\r\n") : NULL;
    if (!body || strncmp(text.p, "HTTP/1.1 ", 9) != 0)
        return 0;
    strbuf_addz(ret_body, body + 4);
    return (int)strtol(text.p + 9, NULL, 10);
}
