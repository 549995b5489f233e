#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/demo/demo.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/net/netns.h"

#define LOG_MAX (16u << 20)

static void log_path(const char *name, char *path, size_t cap)
{
    snprintf(path, cap, DEMO_DIR "/log/%s", name);
}

/* In the child: nothing of ours stays open but standard descriptors. */
static void child_fds(int in, int out, int err)
{
    dup2(in, 0);
    dup2(out, 1);
    dup2(err, 2);
    close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
}

enum rc procs_start(const struct demo *d, const char *name, int netns, const char *const argv[],
                    pid_t *ret, struct errmsg *msg)
{
    char path[80];
    (void)!(mkdir(DEMO_DIR "/log", 0755));
    log_path(name, path, sizeof(path));
    int log = open(path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0644);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    pid_t pid = log >= 0 ? fork() : -1;
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (netns >= 0 && netns_enter(netns) != RC_OK)
            _exit(126);
        child_fds(null, log, log);
        execv(d->self, (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    if (log >= 0)
        close(log);
    if (null >= 0)
        close(null);
    if (pid < 0) {
        errmsg_set(msg, "starting %s: %s", name, strerror(errno));
        return RC_IO;
    }
    *ret = pid;
    return RC_OK;
}

bool procs_alive(pid_t pid)
{
    return pid > 0 && waitpid(pid, NULL, WNOHANG) == 0;
}

void procs_stop(pid_t pid)
{
    if (pid <= 0)
        return;
    kill(pid, SIGTERM);
    for (int i = 0; i < 100; i++) {
        if (waitpid(pid, NULL, WNOHANG) != 0)
            return;
        poll(NULL, 0, 50);
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* -- the plug-in -- */

static void cni_stdin(const struct demo *d, const struct demo_pod *p, struct strbuf *out)
{
    char ip[ADDR_TEXT];
    const char *node = d->node[p->node].name;
    addr_format_ip(&p->ip, ip);
    strbuf_printf(out,
                  "{\"cniVersion\":\"1.0.0\",\"name\":\"k8s-pod-network\",\"type\":\"mesh-cni\","
                  "\"socket\":\"" DEMO_DIR "/%s/cni.sock\",\"state\":\"" DEMO_DIR "/%s\",",
                  node, node);
    strbuf_printf(out,
                  "\"prevResult\":{\"cniVersion\":\"1.0.0\",\"interfaces\":[{\"name\":\"eth0\","
                  "\"sandbox\":\"" DEMO_DIR
                  "/netns/%s\"}],\"ips\":[{\"interface\":0,\"address\":\"%s/24\"}]}}",
                  p->name, ip);
}

static void cni_env(const char *command, const struct demo_pod *p)
{
    char text[300], path[80];
    clearenv();
    setenv("CNI_COMMAND", command, 1);
    setenv("CNI_CONTAINERID", p->uid, 1);
    topo_pod_path(p, path, sizeof(path));
    setenv("CNI_NETNS", path, 1);
    setenv("CNI_IFNAME", "eth0", 1);
    setenv("CNI_PATH", "/opt/cni/bin", 1);
    snprintf(text, sizeof(text),
             "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=%s;K8S_POD_UID=%s", p->name,
             p->uid);
    setenv("CNI_ARGS", text, 1);
}

static void read_all(int fd, struct strbuf *out)
{
    char buf[4096];
    ssize_t n;
    while ((n = read(fd, buf, sizeof(buf))) > 0 || (n < 0 && errno == EINTR))
        if (n > 0)
            strbuf_add(out, buf, (size_t)n);
}

enum rc procs_cni(const struct demo *d, const char *command, const struct demo_pod *p,
                  struct strbuf *ret_out, struct errmsg *msg)
{
    int in[2], out[2], status = 0;
    struct strbuf config AUTO_STRBUF;
    strbuf_init(&config, 65536);
    cni_stdin(d, p, &config);
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0)
        return RC_LIMIT;
    pid_t pid = fork();
    if (pid == 0) {
        const char *argv[] = {"mesh-cni", NULL};
        cni_env(command, p);
        if (netns_enter(d->node[p->node].netns) != RC_OK)
            _exit(126);
        child_fds(in[0], out[1], out[1]);
        execv(d->self, (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    bool sent = pid > 0 && write(in[1], config.p, config.n) == (ssize_t)config.n;
    close(in[1]);
    read_all(out[0], ret_out);
    close(out[0]);
    if (pid < 0 || waitpid(pid, &status, 0) < 0 || !sent)
        return RC_IO;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return RC_OK;
    errmsg_set(msg, "plug-in, %s of pod %s: %.*s", command, p->name, STR_ARG(strbuf_str(ret_out)));
    return RC_DENIED;
}

/* -- memory -- */

static uint64_t status_kb(const char *text, const char *key)
{
    const char *at = strstr(text, key);
    return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

bool procs_memory(pid_t pid, uint64_t *ret_rss, uint64_t *ret_anon)
{
    char path[40];
    struct strbuf text AUTO_STRBUF;
    strbuf_init(&text, 65536);
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    if (file_read(path, 65536, &text, NULL) != RC_OK)
        return false;
    *ret_rss = status_kb(text.p, "VmRSS:");
    *ret_anon = status_kb(text.p, "RssAnon:");
    return *ret_rss > 0;
}

/* -- logs -- */

static bool read_log(const char *name, struct strbuf *out)
{
    char path[80];
    log_path(name, path, sizeof(path));
    return file_read(path, LOG_MAX, out, NULL) == RC_OK && out->n;
}

void procs_log_tail(const char *name, size_t lines, struct strbuf *out)
{
    struct strbuf text AUTO_STRBUF;
    strbuf_init(&text, LOG_MAX);
    if (!read_log(name, &text))
        return;
    const char *p = text.p + text.n - 1;
    for (; p > text.p && lines; p--)
        lines -= p[-1] == '\n';
    strbuf_addz(out, p);
}

void procs_log_find(const char *name, const char *a, const char *b, struct strbuf *out)
{
    struct strbuf text AUTO_STRBUF;
    strbuf_init(&text, LOG_MAX);
    strbuf_reset(out);
    if (!read_log(name, &text))
        return;
    for (struct str rest = strbuf_str(&text); rest.n;) {
        struct str line = str_split(rest, '\n', &rest);
        if (!memmem(line.p, line.n, a, strlen(a)) || !memmem(line.p, line.n, b, strlen(b)))
            continue;
        strbuf_reset(out);
        strbuf_adds(out, line);
    }
}
