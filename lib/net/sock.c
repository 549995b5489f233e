#include "lib/net/sock.h"

#include <errno.h>
#include <linux/netfilter_ipv4.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/net/netns.h"

#define IP6T_SO_ORIGINAL_DST \
    80 /* linux/netfilter_ipv6/ip6_tables.h, which clashes with netinet/in.h */
#define SOCK_FLAGS (SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC)

static bool on(int fd, int level, int opt)
{
    int one = 1;
    return setsockopt(fd, level, opt, &one, sizeof(one)) == 0;
}

static enum rc fail(int fd, int err)
{
    if (fd >= 0)
        close(fd);
    errno = err;
    return rc_from_errno(err);
}

/* What listeners and dialled sockets share. */
static bool apply(int fd, int family, const struct sock_opts *o)
{
    bool ok = true;
    if (o->mark)
        ok &= setsockopt(fd, SOL_SOCKET, SO_MARK, &o->mark, sizeof(o->mark)) == 0;
    if (o->transparent)
        ok &= family == AF_INET6 ? on(fd, SOL_IPV6, IPV6_TRANSPARENT)
                                 : on(fd, SOL_IP, IP_TRANSPARENT);
    if (o->congestion) /* the host's choice serves, too */
        (void)!setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, o->congestion,
                          (socklen_t)strlen(o->congestion));
    return ok;
}

enum rc sock_listen_tcp(const struct addr *at, const struct sock_opts *o, int *ret_fd)
{
    struct addr a = *at;
    bool dual = a.family == 0;
    if (dual)
        a.family = AF_INET6;
    int fd = netns_socket(o->netns, a.family, SOCK_FLAGS, 0);
    if (fd < 0 && dual && errno == EAFNOSUPPORT) { /* a kernel without IPv6 */
        a.family = AF_INET;
        fd = netns_socket(o->netns, AF_INET, SOCK_FLAGS, 0);
    }
    if (fd < 0)
        return fail(-1, errno);
    int v6only = !dual && o->v6only;
    if (a.family == AF_INET6 && setsockopt(fd, SOL_IPV6, IPV6_V6ONLY, &v6only, sizeof(v6only)) != 0)
        return fail(fd, errno);
    on(fd, SOL_SOCKET, SO_REUSEADDR);
    if (o->reuse_port)
        on(fd, SOL_SOCKET, SO_REUSEPORT);
    if (!apply(fd, a.family, o))
        return fail(fd, errno);
    if (o->transparent && a.family == AF_INET6) /* the IPv4 side of a dual listener */
        on(fd, SOL_IP, IP_TRANSPARENT);
    on(fd, IPPROTO_TCP, TCP_NODELAY); /* accepted sockets inherit it */
    if (o->keepalive)
        sock_keepalive(fd); /* this too */
    struct sockaddr_storage ss;
    socklen_t len = addr_to_sockaddr(&a, &ss);
    if (bind(fd, (struct sockaddr *)&ss, len) != 0)
        return fail(fd, errno);
    if (listen(fd, o->backlog ? o->backlog : 1024) != 0)
        return fail(fd, errno);
    *ret_fd = fd;
    return RC_OK;
}

/* A source that is not ours needs opts.transparent; the port is chosen at connect(), so that one source
 * address is not limited to its ephemeral ports. */
static enum rc bind_source(int fd, const struct addr *from)
{
    struct sockaddr_storage ss;
    struct addr a = *from;
    a.port = 0;
    socklen_t len = addr_to_sockaddr(&a, &ss);
    on(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT);
    return bind(fd, (struct sockaddr *)&ss, len) == 0 ? RC_OK : rc_from_errno(errno);
}

enum rc sock_connect_tcp(const struct addr *to, const struct addr *from, const struct sock_opts *o,
                         int *ret_fd, bool *ret_connecting)
{
    int fd = netns_socket(o->netns, to->family, SOCK_FLAGS, 0);
    if (fd < 0)
        return fail(-1, errno);
    on(fd, IPPROTO_TCP, TCP_NODELAY);
    if (!apply(fd, to->family, o))
        return fail(fd, errno);
    if (o->keepalive)
        sock_keepalive(fd);
    if (from && from->family == to->family && bind_source(fd, from) != RC_OK)
        return fail(fd, errno);
    struct sockaddr_storage ss;
    socklen_t len = addr_to_sockaddr(to, &ss);
    bool connecting = false;
    if (connect(fd, (struct sockaddr *)&ss, len) != 0) {
        if (errno != EINPROGRESS)
            return fail(fd, errno);
        connecting = true;
    }
    *ret_fd = fd;
    *ret_connecting = connecting;
    return RC_OK;
}

enum rc sock_accept(int fd, int *ret_fd, struct addr *ret_peer)
{
    struct sockaddr_storage ss;
    for (;;) {
        socklen_t len = sizeof(ss);
        int got = accept4(fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (got >= 0) {
            addr_from_sockaddr((struct sockaddr *)&ss, ret_peer);
            *ret_fd = got;
            return RC_OK;
        }
        /* a connection that died in the queue is not the listener's failure (accept(2)) */
        if (errno != EINTR && errno != ECONNABORTED && errno != EPROTO)
            return rc_from_errno(errno);
    }
}

void sock_local(int fd, struct addr *ret)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    *ret = (struct addr){0};
    if (getsockname(fd, (struct sockaddr *)&ss, &len) == 0)
        addr_from_sockaddr((struct sockaddr *)&ss, ret);
}

void sock_peer(int fd, struct addr *ret)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    *ret = (struct addr){0};
    if (getpeername(fd, (struct sockaddr *)&ss, &len) == 0)
        addr_from_sockaddr((struct sockaddr *)&ss, ret);
}

void sock_original_dst(int fd, struct addr *ret)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    *ret = (struct addr){0};
    /* a dual listener's IPv4 connections answer at the IPv4 level */
    if (getsockopt(fd, SOL_IP, SO_ORIGINAL_DST, &ss, &len) == 0) {
        addr_from_sockaddr((struct sockaddr *)&ss, ret);
        return;
    }
    len = sizeof(ss);
    if (getsockopt(fd, SOL_IPV6, IP6T_SO_ORIGINAL_DST, &ss, &len) == 0) {
        addr_from_sockaddr((struct sockaddr *)&ss, ret);
        return;
    }
    sock_local(fd, ret);
}

void sock_keepalive(int fd)
{
    int idle = 180, interval = 180, probes = 9;
    on(fd, SOL_SOCKET, SO_KEEPALIVE);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

void sock_reset_on_close(int fd)
{
    struct linger l = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
}

/* -- unix sockets -- */

static bool unix_addr(const char *path, struct sockaddr_un *ret)
{
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(ret->sun_path)) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(ret->sun_path, path, strlen(path));
    return true;
}

enum rc sock_listen_unix(const char *path, int type, unsigned mode, int *ret_fd)
{
    struct sockaddr_un un;
    char *tmp AUTO_FREE = mem_printf("%s.%d", path, (int)getpid());
    if (!unix_addr(tmp, &un))
        return fail(-1, errno);
    int fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail(-1, errno);
    /* never there half made: bound under another name, then renamed over a stale one */
    unlink(tmp);
    if (bind(fd, (struct sockaddr *)&un, sizeof(un)) != 0 || chmod(tmp, mode) != 0 ||
        listen(fd, 128) != 0 || rename(tmp, path) != 0) {
        int err = errno;
        unlink(tmp);
        return fail(fd, err);
    }
    *ret_fd = fd;
    return RC_OK;
}

enum rc sock_connect_unix(const char *path, int type, int *ret_fd)
{
    struct sockaddr_un un;
    if (!unix_addr(path, &un))
        return fail(-1, errno);
    int fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail(-1, errno);
    if (connect(fd, (struct sockaddr *)&un, sizeof(un)) != 0)
        return fail(fd, errno);
    *ret_fd = fd;
    return RC_OK;
}
