/* A node for tests of the plug-in and the agent: the real program in both roles, executed as a container runtime
 * and a DaemonSet do, in a namespace of its own; pods with real namespaces; the test is the ztunnel. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <check.h>

#include "cni/rules.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/mem.h"
#include "lib/codec/node.h"
#include "lib/net/netlink.h"
#include "lib/net/netns.h"
#include "lib/net/nft.h"
#include "lib/net/sock.h"
#include "lib/zds/zds_client.h"

struct cni_pod {
    int netns; /* -1: gone */
    char name[40], container[80], path[80];
};

struct cni_node {
    struct loop *l;
    struct zds_client *z;
    bool connected, hold; /* hold: adds are not answered */
    const char *refuse;   /* what adds are answered with; NULL: accepted */
    struct zds_client *held;
    char told[40000]; /* what the ztunnel was told: "+uid -uid =uid . " */
    ino_t netns;      /* of the last add */
    int ns;           /* the node's namespace */
    pid_t agent;
    char dir[40], cni[64], zds[64], state[64], source[64], log[64];
    const char *verify;
};

struct cni_run {
    pid_t pid;
    int out;    /* -1: closed */
    int status; /* exit status; -1: not over */
    struct strbuf text;
};

#define CNI_WAIT(n, cond)                                                                       \
    do {                                                                                        \
        int64_t end_ = clock_mono_ms() + 30000;                                                 \
        bool came_;                                                                             \
        while (!(came_ = (cond)) && clock_mono_ms() < end_)                                     \
            loop_turn((n)->l, 5);                                                               \
        ck_assert_msg(came_, "%s never came; told: %s; log: %s", #cond, (n)->told, cni_log(n)); \
    } while (0)

/* -- the agent's log and ports -- */

static inline const char *cni_log(struct cni_node *n)
{
    static struct strbuf b;
    strbuf_fini(&b);
    strbuf_init(&b, 8u << 20);
    (void)!file_read(n->log, 8u << 20, &b, NULL);
    return strbuf_str(&b).p;
}

/* The body of an answer, or "" when there is none. */
static inline char *cni_get(struct cni_node *n, unsigned port, const char *path)
{
    static char text[1 << 20];
    size_t len = 0;
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval limit = {.tv_sec = 10};
    int fd = netns_socket(n->ns, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    text[0] = '\0';
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0) {
        dprintf(fd, "GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", path);
        ssize_t k;
        while (len < sizeof(text) - 1 && (k = recv(fd, text + len, sizeof(text) - 1 - len, 0)) > 0)
            len += (size_t)k;
        text[len] = '\0';
    }
    close(fd);
    char *body = strstr(text, "\r\n\r\n");
    return body && strncmp(text, "HTTP/1.1 200", 12) == 0 ? body + 4 : text + len;
}

static inline bool cni_shows(struct cni_node *n, const char *text)
{
    return strstr(cni_get(n, 15100, "/config_dump"), text) != NULL;
}

static inline uint64_t cni_metric(struct cni_node *n, const char *series)
{
    char line[200];
    snprintf(line, sizeof(line), "\n%s ", series);
    char *at = strstr(cni_get(n, 15014, "/metrics"), line);
    return at ? strtoull(at + strlen(line), NULL, 10) : 0;
}

/* -- processes -- */

static inline const char *cni_program(void)
{
    static char path[4096];
    const char *env = getenv("MESH_BINARY");
    if (path[0])
        return path;
    if (env)
        return strncpy(path, env, sizeof(path) - 1);
    ssize_t k = readlink("/proc/self/exe", path, sizeof(path) - 40); /* BUILD/tests/test_x */
    ck_assert_int_gt(k, 0);
    path[k] = '\0';
    for (int i = 0; i < 2; i++)
        *strrchr(path, '/') = '\0';
    return strcat(path, "/cmd/mesh.debug");
}

static inline void cni_exec(const struct cni_node *n, const char *const argv[], int in, int out,
                            int err)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* not longer than a test that crashes */
    if (netns_enter(n->ns) == RC_OK && dup2(in, 0) == 0 && dup2(out, 1) == 1 && dup2(err, 2) == 2)
        execv(cni_program(), (char *const *)(uintptr_t)argv);
    _exit(127);
}

static inline void cni_agent_start(struct cni_node *n)
{
    const char *argv[] = {"mesh",
                          "cni",
                          "agent",
                          "--source",
                          n->source,
                          "--node",
                          "n1",
                          "--state",
                          n->state,
                          "--cni-socket",
                          n->cni,
                          "--zds-socket",
                          n->zds,
                          "--verify",
                          n->verify,
                          "--metrics",
                          "127.0.0.1:15014",
                          "--readiness",
                          "127.0.0.1:8000",
                          NULL};
    int log = open(n->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int none = open("/dev/null", O_RDWR | O_CLOEXEC);
    ck_assert(log >= 0 && none >= 0);
    n->agent = fork();
    if (n->agent == 0)
        cni_exec(n, argv, none, log, log);
    close(log);
    close(none);
}

static inline void cni_agent_ready(struct cni_node *n)
{
    CNI_WAIT(n, waitpid(n->agent, NULL, WNOHANG) == 0 &&
                    strncmp(cni_get(n, 8000, "/healthz/ready"), "ready", 5) == 0);
}

static inline void cni_agent_kill(struct cni_node *n, int signo)
{
    int status = -1;
    if (n->agent <= 0)
        return;
    kill(n->agent, signo);
    CNI_WAIT(n, waitpid(n->agent, &status, WNOHANG) == n->agent);
    n->agent = 0;
    if (signo == SIGTERM)
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%x: %s", status, cni_log(n));
}

/* -- the ztunnel -- */

static inline void cni_note(struct cni_node *n, char what, struct str uid)
{
    size_t at = strlen(n->told);
    snprintf(n->told + at, sizeof(n->told) - at, "%c%.*s ", what, STR_ARG(uid));
}

static inline void cni_on_add(void *owner, struct zds_client *c, const struct zds_request *r,
                              int netns)
{
    struct cni_node *n = owner;
    struct netns_id id;
    ck_assert_rc(netns_id(netns, &id), RC_OK);
    ck_assert(r->has_info && str_eqz(r->ns, "shop") && str_eqz(r->sa, "cart"));
    n->netns = id.ino;
    close(netns);
    cni_note(n, '+', r->uid);
    n->held = c;
    if (!n->hold)
        zds_client_ack(c, n->refuse);
}

static inline void cni_on_del(void *owner, struct zds_client *c, struct str uid)
{
    cni_note(owner, '-', uid);
    zds_client_ack(c, NULL);
}

static inline void cni_on_keep(void *owner, struct zds_client *c, struct str uid)
{
    cni_note(owner, '=', uid);
    zds_client_ack(c, NULL);
}

static inline void cni_on_snapshot(void *owner, struct zds_client *c)
{
    cni_note(owner, '.', STR(""));
    zds_client_ack(c, NULL);
}

static inline void cni_on_state(void *owner, bool connected, const char *error)
{
    (void)error;
    ((struct cni_node *)owner)->connected = connected;
}

static inline void cni_ztunnel_start(struct cni_node *n)
{
    static const struct zds_client_ops ops = {cni_on_add, cni_on_del, cni_on_keep, cni_on_snapshot,
                                              cni_on_state};
    n->told[0] = '\0';
    n->z = zds_client_new(n->l, n->zds, &ops, n);
    zds_client_start(n->z);
}

static inline bool cni_told(const struct cni_node *n, const char *what)
{
    return strstr(n->told, what) != NULL;
}

static inline void cni_ztunnel_stop(struct cni_node *n)
{
    zds_client_free(n->z);
    n->z = NULL;
    n->connected = false;
}

/* -- the source -- */

static inline void cni_object(struct cni_node *n, const char *file, const char *yaml)
{
    char path[200];
    snprintf(path, sizeof(path), "%s/%s.yaml", n->source, file);
    ck_assert_rc(file_replace(path, 0600, str_of(yaml), NULL), RC_OK);
}

static inline void cni_namespace(struct cni_node *n, const char *name, const char *labels)
{
    char text[400];
    snprintf(text, sizeof(text),
             "apiVersion: v1\nkind: Namespace\nmetadata: {name: %s, labels: {%s}}\n", name, labels);
    cni_object(n, name, text);
}

/* meta: more of the metadata, e.g. "labels: {a: b}". uid: NULL for none. */
static inline void cni_pod_object(struct cni_node *n, const char *name, const char *uid,
                                  const char *meta)
{
    char text[1000];
    snprintf(text, sizeof(text),
             "apiVersion: v1\nkind: Pod\nmetadata:\n  name: %s\n  namespace: shop\n%s%s%s"
             "  %s\nspec: {nodeName: n1, serviceAccountName: cart}\n",
             name, uid ? "  uid: " : "", uid ? uid : "", uid ? "\n" : "", meta);
    cni_object(n, name, text);
}

/* -- pods and the runtime -- */

static inline struct cni_pod cni_pod(struct cni_node *n, const char *name, const char *meta)
{
    struct cni_pod p = {.netns = -1};
    char uid[60];
    snprintf(p.name, sizeof(p.name), "%s", name);
    snprintf(p.container, sizeof(p.container), "c-%s", name);
    ck_assert_rc(netns_new(&p.netns), RC_OK);
    snprintf(p.path, sizeof(p.path), "/proc/%d/fd/%d", (int)getpid(), p.netns);
    snprintf(uid, sizeof(uid), "uid-%s", name);
    if (meta)
        cni_pod_object(n, name, uid, meta);
    return p;
}

static inline void cni_pod_gone(struct cni_pod *p)
{
    if (p->netns >= 0)
        close(p->netns);
    p->netns = -1;
}

static inline void cni_config(const struct cni_node *n, const char *version, const char *more,
                              struct strbuf *out)
{
    strbuf_printf(
        out,
        "{\"cniVersion\":\"%s\",\"name\":\"pods\",\"type\":\"mesh-cni\",\"socket\":\"%s\","
        "\"state\":\"%s\"%s}",
        version, n->cni, n->state, more);
}

#define CNI_PREV \
    "{\"cniVersion\":\"1.1.0\", \"ips\":[{\"address\":\"10.1.1.1/24\"}],\"x\" : [1.0] }"

/* The environment of a verb for a pod; the caller may set more before cni_start_env(). */
static inline void cni_env(const char *verb, const struct cni_pod *p)
{
    char args[200];
    clearenv();
    setenv("CNI_COMMAND", verb, 1);
    setenv("CNI_PATH", "/opt/cni/bin", 1);
    if (!p)
        return;
    snprintf(args, sizeof(args),
             "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=%s;K8S_POD_INFRA_CONTAINER_ID=%s",
             p->name, p->container);
    setenv("CNI_CONTAINERID", p->container, 1);
    setenv("CNI_NETNS", p->path, 1);
    setenv("CNI_IFNAME", "eth0", 1);
    setenv("CNI_ARGS", args, 1);
}

struct cni_call {
    const char *verb;
    const struct cni_pod *pod; /* NULL: of no pod */
    const char *input;         /* NULL: a good configuration with prevResult */
    size_t input_n;            /* 0: strlen */
    const char *ifname, *ns;   /* NULL: eth0, shop */
};

static inline void cni_start(struct cni_node *n, const struct cni_call *c, struct cni_run *run)
{
    static const char *const argv[] = {"/opt/cni/bin/mesh-cni", NULL};
    struct strbuf conf AUTO_STRBUF;
    int out[2], in = memfd_create("stdin", MFD_CLOEXEC);
    strbuf_init(&conf, 100000);
    cni_config(n, "1.1.0", ",\"prevResult\":" CNI_PREV, &conf);
    struct str text = c->input ? str_of(c->input) : strbuf_str(&conf);
    if (c->input_n)
        text.n = c->input_n;
    ck_assert(in >= 0 && write(in, text.p, text.n) == (ssize_t)text.n &&
              lseek(in, 0, SEEK_SET) == 0);
    ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
    run->pid = fork();
    if (run->pid == 0) {
        cni_env(c->verb, c->pod);
        if (c->ifname)
            setenv("CNI_IFNAME", c->ifname, 1);
        if (c->ns) {
            char args[200];
            snprintf(args, sizeof(args), "K8S_POD_NAMESPACE=%s;K8S_POD_NAME=%s", c->ns,
                     c->pod->name);
            setenv("CNI_ARGS", args, 1);
        }
        cni_exec(n, argv, in, out[1], 2);
    }
    close(in);
    close(out[1]);
    run->out = out[0];
    fcntl(run->out, F_SETFL, O_NONBLOCK);
    run->status = -1;
    strbuf_init(&run->text, 8u << 20);
}

static inline bool cni_over(struct cni_run *run)
{
    char buf[8192];
    ssize_t k;
    int status;
    if (run->status >= 0)
        return true;
    while (run->out >= 0 && (k = read(run->out, buf, sizeof(buf))) >= 0) {
        strbuf_add(&run->text, buf, (size_t)k);
        if (k == 0) {
            close(run->out);
            run->out = -1;
        }
    }
    if (run->out >= 0 || waitpid(run->pid, &status, WNOHANG) != run->pid)
        return false;
    run->status = WIFEXITED(status) ? WEXITSTATUS(status) : 256;
    return true;
}

/* The code of a CNI error, 0 when it went well; the answer is left in a static place. */
static char cni_text[1 << 16];
static inline unsigned cni_result(struct cni_run *run)
{
    struct arena a AUTO_ARENA;
    struct node *doc = NULL;
    uint64_t code = 0;
    arena_init(&a, 64u << 20);
    snprintf(cni_text, sizeof(cni_text), "%s", run->text.p ? run->text.p : "");
    ck_assert_msg(run->status == 0 || run->status == 1, "status %d: %s", run->status, cni_text);
    if (run->status == 1) {
        ck_assert_rc(json_parse(&a, strbuf_str(&run->text), &doc, NULL), RC_OK);
        const struct node *c = node_get(doc, "code");
        ck_assert_msg(c && str_to_u64(c->text, 1000, &code) && code, "%s", cni_text);
        ck_assert_msg(node_str(node_get(doc, "msg")).n, "%s", cni_text);
    }
    strbuf_fini(&run->text);
    return (unsigned)code;
}

/* Never inlined: sanitizers would make its frame part of every test's. */
__attribute__((noinline, unused)) static unsigned cni_do(struct cni_node *n,
                                                         const struct cni_call *c)
{
    struct cni_run run;
    cni_start(n, c, &run);
    CNI_WAIT(n, cni_over(&run));
    return cni_result(&run);
}

static inline unsigned cni(struct cni_node *n, const char *verb, const struct cni_pod *p)
{
    return cni_do(n, &(struct cni_call){.verb = verb, .pod = p});
}

/* -- what the kernel and the disk hold -- */

static inline bool cni_captured(const struct cni_pod *p)
{
    struct rules_opts o = {.ipv6 = true};
    return rules_check(p->netns, &o, NULL) == RC_OK;
}

static inline bool cni_untouched(const struct cni_pod *p)
{
    struct strbuf b AUTO_STRBUF;
    struct netlink *nl;
    strbuf_init(&b, 65536);
    ck_assert_rc(netlink_open(p->netns, NETLINK_NETFILTER, &nl, NULL), RC_OK);
    ck_assert_rc(nft_table_text(nl, RULES_TABLE, &b, NULL), RC_OK);
    netlink_close(nl);
    return b.n == 0;
}

static inline void cni_tamper(const struct cni_pod *p)
{
    struct netlink *nl;
    struct nft *b = nft_new();
    ck_assert_rc(netlink_open(p->netns, NETLINK_NETFILTER, &nl, NULL), RC_OK);
    nft_rule_begin(b, RULES_TABLE, "output-nat");
    nft_match_l4proto(b, 6);
    nft_accept(b);
    nft_rule_end(b);
    ck_assert_rc(nft_commit(b, nl, NULL), RC_OK);
    nft_free(b);
    netlink_close(nl);
}

static inline bool cni_kept(struct cni_node *n, const struct cni_pod *p)
{
    char path[300];
    snprintf(path, sizeof(path), "%s/pods/%s@eth0", n->state, p->container);
    return access(path, F_OK) == 0;
}

/* -- the whole -- */

static inline void cni_node_init(struct cni_node *n)
{
    *n = (struct cni_node){.verify = "60s"};
    strcpy(n->dir, "/tmp/test_cni_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(n->dir));
    snprintf(n->cni, sizeof(n->cni), "%s/cni.sock", n->dir);
    snprintf(n->zds, sizeof(n->zds), "%s/zds.sock", n->dir);
    snprintf(n->state, sizeof(n->state), "%s/state", n->dir);
    snprintf(n->source, sizeof(n->source), "%s/source", n->dir);
    snprintf(n->log, sizeof(n->log), "%s/log", n->dir);
    ck_assert_int_eq(mkdir(n->source, 0700), 0);
    ck_assert_int_eq(mkdir(n->state, 0700), 0);
    ck_assert_rc(netns_init(), RC_OK);
    ck_assert_rc(netns_new(&n->ns), RC_OK);
    n->l = loop_new();
    (void)cni_program(); /* before the environment changes */
    cni_namespace(n, "shop", "istio.io/dataplane-mode: ambient");
}

static inline void cni_node_start(struct cni_node *n)
{
    cni_agent_start(n);
    cni_agent_ready(n);
    cni_ztunnel_start(n);
    CNI_WAIT(n, cni_told(n, "."));
}

static inline void cni_remove_tree(const char *path)
{
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/rm", "rm", "-rf", path, NULL);
        _exit(127);
    }
    waitpid(pid, NULL, 0);
}

static inline void cni_node_fini(struct cni_node *n)
{
    cni_agent_kill(n, SIGTERM);
    cni_ztunnel_stop(n);
    loop_free(n->l);
    close(n->ns);
    cni_remove_tree(n->dir);
}
