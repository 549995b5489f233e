#include "lib/net/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/must.h"

#ifndef SIOCGSKNS
#define SIOCGSKNS 0x894C
#endif

static int home = -1; /* the process' own namespace; set once before threads */

enum rc netns_init(void)
{
    if (home >= 0)
        return RC_OK;
    home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (home >= 0)
        return RC_OK;
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0); /* no /proc: ask a socket */
    if (s < 0)
        s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (s < 0)
        return rc_from_errno(errno);
    home = ioctl(s, SIOCGSKNS);
    int err = errno;
    close(s);
    return home >= 0 ? RC_OK : rc_from_errno(err);
}

enum rc netns_self(int *ret_fd)
{
    if (netns_init() != RC_OK)
        return RC_IO;
    int fd = fcntl(home, F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        return rc_from_errno(errno);
    *ret_fd = fd;
    return RC_OK;
}

static bool go(int netns)
{
    MUST(home >= 0);
    return setns(netns, CLONE_NEWNET) == 0;
}

/* A thread that can't come back would carry one pod's traffic out of another's namespace. */
static void back(void)
{
    int err = errno;
    if (setns(home, CLONE_NEWNET) != 0)
        must_die("can't return to the own network namespace: %s", strerror(errno));
    errno = err;
}

int netns_socket(int netns, int family, int type, int proto)
{
    if (netns < 0)
        return socket(family, type, proto);
    if (!go(netns))
        return -1;
    int fd = socket(family, type, proto);
    back();
    return fd;
}

enum rc netns_run(int netns, enum rc (*fn)(void *arg), void *arg)
{
    if (netns < 0)
        return fn(arg);
    if (!go(netns))
        return rc_from_errno(errno);
    enum rc rc = fn(arg);
    back();
    return rc;
}

enum rc netns_id(int netns, struct netns_id *ret)
{
    struct stat st;
    if (fstat(netns, &st) != 0)
        return rc_from_errno(errno);
    *ret = (struct netns_id){st.st_dev, st.st_ino};
    return RC_OK;
}

enum rc netns_open(const char *path, int *ret_fd)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return rc_from_errno(errno);
    if (ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET) {
        close(fd);
        return RC_INVALID;
    }
    *ret_fd = fd;
    return RC_OK;
}

static enum rc loopback_up(void)
{
    struct ifreq ifr = {.ifr_name = "lo"};
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (s < 0)
        return rc_from_errno(errno);
    enum rc rc = RC_OK;
    if (ioctl(s, SIOCGIFFLAGS, &ifr) != 0)
        rc = rc_from_errno(errno);
    ifr.ifr_flags |= IFF_UP;
    if (rc == RC_OK && ioctl(s, SIOCSIFFLAGS, &ifr) != 0)
        rc = rc_from_errno(errno);
    close(s);
    return rc;
}

enum rc netns_new(int *ret_fd)
{
    if (netns_init() != RC_OK)
        return RC_IO;
    if (unshare(CLONE_NEWNET) != 0)
        return rc_from_errno(errno);
    enum rc rc = loopback_up();
    int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int fd = s >= 0 ? ioctl(s, SIOCGSKNS) : -1; /* also where /proc belongs to another namespace */
    if (fd < 0 && rc == RC_OK)
        rc = rc_from_errno(errno);
    if (s >= 0)
        close(s);
    back();
    if (rc == RC_OK)
        *ret_fd = fd;
    else if (fd >= 0)
        close(fd);
    return rc;
}

enum rc netns_enter(int netns)
{
    return setns(netns, CLONE_NEWNET) == 0 ? RC_OK : rc_from_errno(errno);
}
