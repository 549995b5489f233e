/* Sockets with the options this program wants. All non-blocking and close-on-exec.
 * Errors: RC_LIMIT (descriptors), RC_REFUSED, RC_UNREACH, RC_IO...; errno stays as the syscall left it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/rc.h"
#include "lib/net/addr.h"

struct sock_opts {
    int netns;              /* fd of the namespace in which it is made, -1 = the process' own */
    uint32_t mark;          /* SO_MARK, 0 = none */
    bool transparent;       /* IP_TRANSPARENT; failure is an error */
    bool reuse_port;        /* SO_REUSEPORT on listeners */
    bool keepalive;         /* 180 s idle, 180 s interval, 9 probes */
    bool v6only;            /* else [::] takes IPv4 too */
    int backlog;            /* 0 = 1024 */
    const char *congestion; /* TCP_CONGESTION, if it can be had; NULL = the host's choice */
};
#define SOCK_OPTS_DEFAULT     ((struct sock_opts){.netns = -1})
/* Between two sockets of one pod nothing is lost or shared: pacing (bbr) would only cost timers. */
#define SOCK_CONGESTION_LOCAL "reno"

/* Family 0 in at->family: [::] with IPv4 mapped, or 0.0.0.0 where the kernel has no IPv6. */
NODISCARD enum rc sock_listen_tcp(const struct addr *at, const struct sock_opts *o, int *ret_fd);
/* Starts connecting. from (may be NULL) is the source address; its port is ignored. With
 * opts.transparent the source may be foreign. *ret_connecting: EINPROGRESS. */
NODISCARD enum rc sock_connect_tcp(const struct addr *to, const struct addr *from,
                                   const struct sock_opts *o, int *ret_fd, bool *ret_connecting);
/* accept4() with TCP_NODELAY; RC_AGAIN when nothing waits. */
NODISCARD enum rc sock_accept(int fd, int *ret_fd, struct addr *ret_peer);
void sock_local(int fd, struct addr *ret);
void sock_peer(int fd, struct addr *ret);
/* Where the connection was going before REDIRECT (SO_ORIGINAL_DST, both families), else (TPROXY)
 * the local address. */
void sock_original_dst(int fd, struct addr *ret);
void sock_keepalive(int fd);
void sock_reset_on_close(int fd); /* SO_LINGER 0: close() sends RST */
/* Unix sockets. type SOCK_STREAM or SOCK_SEQPACKET. Listening unlinks a stale socket first, binds
 * under a temporary name with the mode and renames. */
NODISCARD enum rc sock_listen_unix(const char *path, int type, unsigned mode, int *ret_fd);
NODISCARD enum rc sock_connect_unix(const char *path, int type, int *ret_fd);
