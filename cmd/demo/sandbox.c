#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/demo/demo.h"

pid_t sandbox_outer_pid, sandbox_outer_parent;
bool sandbox_outer_user;
static pid_t child;

/* The first process of a PID namespace takes everything with it. */
static void on_signal(int signo)
{
    (void)signo;
    if (child > 0)
        kill(child, SIGKILL);
}

static bool write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");
    if (!f)
        return false;
    bool ok = fputs(text, f) >= 0;
    return fclose(f) == 0 && ok;
}

/* An ordinary user becomes root of a user namespace. */
static bool map_user(uid_t uid, gid_t gid)
{
    char text[64];
    snprintf(text, sizeof(text), "0 %u 1\n", uid);
    if (!write_file("/proc/self/uid_map", text))
        return false;
    (void)!write_file("/proc/self/setgroups", "deny\n");
    snprintf(text, sizeof(text), "0 %u 1\n", gid);
    return write_file("/proc/self/gid_map", text);
}

static bool make_private(void)
{
    char self[16] = "";
    if (readlink("/proc/self", self, sizeof(self) - 1) > 0)
        sandbox_outer_pid = (pid_t)strtol(self, NULL, 10);
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        fprintf(stderr, "mesh demo: private mounts: %s\n", strerror(errno));
        return false;
    }
    /* without a /proc of its own only the memory table is lost */
    (void)!mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    if (mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755") != 0) {
        fprintf(stderr, "mesh demo: a private /run: %s\n", strerror(errno));
        return false;
    }
    return mkdir(DEMO_DIR, 0755) == 0;
}

static int inside(int (*fn)(void *arg), void *arg)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* also when the parent is killed */
    if (getppid() == 0 && !make_private())
        return 1;
    return fn(arg);
}

int sandbox_run(int (*fn)(void *arg), void *arg)
{
    uid_t uid = getuid();
    gid_t gid = getgid();
    sandbox_outer_user = uid != 0;
    sandbox_outer_parent = getpid();
    int flags = CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID;
    if (unshare(uid ? flags | CLONE_NEWUSER : flags) != 0) {
        fprintf(stderr,
                "mesh demo: namespaces can't be made: %s\n"
                "remedy: run as root, or let users make them (sysctl "
                "kernel.unprivileged_userns_clone=1)\n",
                strerror(errno));
        return 1;
    }
    if (uid && !map_user(uid, gid)) {
        fprintf(stderr, "mesh demo: the user can't be mapped: %s\n", strerror(errno));
        return 1;
    }
    fflush(NULL);
    child = fork();
    if (child < 0)
        return 1;
    if (child == 0) {
        int status = inside(fn, arg);
        fflush(NULL);
        _exit(status);
    }
    struct sigaction sa = {.sa_handler = on_signal};
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGHUP, &sa, NULL);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
