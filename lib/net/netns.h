/* Network namespaces. setns() is called in netns.c and nowhere else: any thread may call these; each
 * but netns_enter() returns to the process' own namespace or aborts the process. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "lib/base/rc.h"

/* Remembers the namespace the process runs in; call once at start-up, before threads. Works
 * without /proc (SIOCGSKNS). */
NODISCARD enum rc netns_init(void);
/* A new descriptor of the process' own namespace. */
NODISCARD enum rc netns_self(int *ret_fd);
/* socket() inside the namespace (-1: own). errno from socket(). */
int netns_socket(int netns, int family, int type, int proto);
/* Runs fn inside the namespace, e.g. to read a sysctl through /proc/sys/net. */
NODISCARD enum rc netns_run(int netns, enum rc (*fn)(void *arg), void *arg);
/* Which namespace is it? Two descriptors are the same namespace when both numbers agree. */
struct netns_id {
    dev_t dev;
    ino_t ino;
};
NODISCARD enum rc netns_id(int netns, struct netns_id *ret);
/* For good: only in a child between fork() and exec(). */
NODISCARD enum rc netns_enter(int netns);
/* Open by path; RC_INVALID when the path is not a network namespace. */
NODISCARD enum rc netns_open(const char *path, int *ret_fd);
/* A fresh namespace with loopback up, held by nothing but the descriptor. */
NODISCARD enum rc netns_new(int *ret_fd);
