/* The real `mesh controller`, executed, in a network namespace of the test's own (so that it has its own
 * ports), with a folder of objects and a folder of state; and clients of it. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <check.h>
#include <openssl/ssl.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/mem.h"
#include "lib/net/netns.h"
#include "tests/helper/ads_peer.h"
#include "tests/helper/check.h"

#define CTL_GRPC    15012
#define CTL_ADMIN   9876
#define CTL_METRICS 15014
#define CTL_READY   8080

struct ctl {
    struct loop *l;
    pid_t pid; /* 0: does not run */
    int home, ns;
    char dir[40], source[60], state[60], log[60];
};

/* A client with a token. */
struct ctl_client {
    struct channel *ch;
    struct ads_peer ads;
};

#define CTL_WAIT(c, cond)                                                   \
    do {                                                                    \
        int64_t end_ = clock_mono_ms() + 30000;                             \
        bool came_;                                                         \
        while (!(came_ = (cond)) && clock_mono_ms() < end_)                 \
            loop_turn((c)->l, 5);                                           \
        ck_assert_msg(came_, "%s never came; log:\n%s", #cond, ctl_log(c)); \
    } while (0)

/* -- files -- */

/* DIR/…, in one of a few static buffers. */
static inline const char *PRINTF_LIKE(2, 3) ctl_at(const struct ctl *c, const char *fmt, ...)
{
    static char path[4][300];
    static unsigned turn;
    char *p = path[turn++ % 4];
    va_list ap;
    int n = snprintf(p, sizeof(path[0]), "%s/", c->dir);
    va_start(ap, fmt);
    vsnprintf(p + n, sizeof(path[0]) - (size_t)n, fmt, ap);
    va_end(ap);
    return p;
}

/* A file's text, "" when there is none. Valid until the next call. */
static inline const char *ctl_read(const char *path)
{
    static struct strbuf b;
    strbuf_fini(&b);
    strbuf_init(&b, 16u << 20);
    (void)!file_read(path, 16u << 20, &b, NULL);
    strbuf_addc(&b, '\0');
    return b.p;
}

static inline const char *ctl_log(const struct ctl *c)
{
    return ctl_read(c->log);
}

static inline bool ctl_logged(const struct ctl *c, const char *text)
{
    return strstr(ctl_log(c), text) != NULL;
}

static inline void ctl_put(const struct ctl *c, const char *file, const char *yaml)
{
    struct errmsg e;
    ck_assert_msg(file_replace(ctl_at(c, "source/%s", file), 0644, str_of(yaml), &e) == RC_OK, "%s",
                  e.text);
}

/* One document, "---" included. */
static inline void ctl_pod_text(struct strbuf *out, const char *name, const char *node,
                                const char *sa, const char *ip)
{
    strbuf_printf(out,
                  "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: %s\n  namespace: shop\n"
                  "  uid: uid-%s\n  labels: {app: %s}\n"
                  "  annotations: {ambient.istio.io/redirection: enabled}\n"
                  "spec: {nodeName: %s, serviceAccountName: %s}\n"
                  "status:\n  phase: Running\n  podIPs: [{ip: %s}]\n"
                  "  conditions: [{type: Ready, status: \"True\"}]\n",
                  name, name, sa, node, sa, ip);
}

static inline void ctl_put_pod(const struct ctl *c, const char *name, const char *node,
                               const char *sa, const char *ip)
{
    struct strbuf b AUTO_STRBUF;
    char file[100];
    strbuf_init(&b, 4096);
    ctl_pod_text(&b, name, node, sa, ip);
    strbuf_addc(&b, '\0');
    snprintf(file, sizeof(file), "pod-%s.yaml", name);
    ctl_put(c, file, b.p);
}

/* Two nodes, a namespace, three accounts, a Service, a policy; pods cart-1 (n1) and web-1 (n2). */
static inline void ctl_put_mesh(const struct ctl *c)
{
    ctl_put(c, "mesh.yaml",
            "apiVersion: v1\nkind: Namespace\n"
            "metadata: {name: shop, labels: {istio.io/dataplane-mode: ambient}}\n"
            "---\napiVersion: v1\nkind: Node\nmetadata: {name: n1}\n"
            "---\napiVersion: v1\nkind: Node\nmetadata: {name: n2}\n"
            "---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: cart, namespace: shop}\n"
            "---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web, namespace: shop}\n"
            "---\napiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n"
            "spec:\n  clusterIP: 10.96.0.1\n  clusterIPs: [10.96.0.1]\n"
            "  ports: [{name: p, port: 80, targetPort: 8080}]\n  selector: {app: web}\n"
            "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
            "metadata: {name: only-cart, namespace: shop}\n"
            "spec:\n  selector: {matchLabels: {app: web}}\n  action: ALLOW\n"
            "  rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/cart]}}]}]\n");
    ctl_put_pod(c, "cart-1", "n1", "cart", "10.1.0.1");
    ctl_put_pod(c, "web-1", "n2", "web", "10.1.0.2");
}

/* -- plain sockets -- */

static inline int ctl_connect(unsigned port)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval limit = {.tv_sec = 20};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
        return fd;
    close(fd);
    return -1;
}

/* The body of an answer, "" when there is none or its status is another. */
static inline const char *ctl_get(unsigned port, const char *path, const char *status)
{
    static char text[1 << 20];
    size_t len = 0;
    char want[40];
    int fd = ctl_connect(port);
    text[0] = '\0';
    if (fd >= 0) {
        dprintf(fd, "GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", path);
        ssize_t k;
        while (len < sizeof(text) - 1 && (k = recv(fd, text + len, sizeof(text) - 1 - len, 0)) > 0)
            len += (size_t)k;
        text[len] = '\0';
        close(fd);
    }
    snprintf(want, sizeof(want), "HTTP/1.1 %s", status);
    const char *body = strstr(text, "\r\n\r\n");
    return body && strncmp(text, want, strlen(want)) == 0 ? body + 4 : text + len;
}

static inline const char *ctl_status(void)
{
    return ctl_get(CTL_ADMIN, "/debug/statusz", "200");
}

static inline int64_t ctl_metric(const char *series)
{
    char line[200];
    snprintf(line, sizeof(line), "\n%s ", series);
    const char *at = strstr(ctl_get(CTL_METRICS, "/metrics", "200"), line);
    return at ? strtoll(at + strlen(line), NULL, 10) : 0;
}

/* 0 under sanitizers: their own would be counted. */
static inline long ctl_memory_kib(const struct ctl *c, const char *what)
{
    char path[60];
    snprintf(path, sizeof(path), "/proc/%d/status", (int)c->pid);
    const char *at = strstr(ctl_read(path), what);
    ck_assert_ptr_nonnull(at);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return 0;
#else
    return strtol(at + strlen(what), NULL, 10);
#endif
}

/* -- the process -- */

static inline const char *ctl_program(void)
{
    static char path[4096];
    const char *env = getenv("MESH_BINARY");
    if (env)
        return env;
    ssize_t k = readlink("/proc/self/exe", path, sizeof(path) - 40); /* BUILD/tests/test_x */
    ck_assert_int_gt(k, 0);
    path[k] = '\0';
    for (int i = 0; i < 2; i++)
        *strrchr(path, '/') = '\0';
    return strcat(path, "/cmd/mesh.debug");
}

static inline void ctl_spawn(struct ctl *c)
{
    const char *const argv[] = {"mesh",   "controller",    "--source",        c->source, "--state",
                                c->state, "--listen-grpc", "127.0.0.1:15012", NULL};
    int log = open(c->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    ck_assert_int_ge(log, 0);
    c->pid = fork();
    if (c->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* not longer than a test that crashes */
        if (dup2(log, 1) == 1 && dup2(log, 2) == 2)
            execv(ctl_program(), (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(log);
}

static inline bool ctl_ready(void)
{
    return strcmp(ctl_get(CTL_READY, "/ready", "200"), "ready") == 0;
}

static inline void ctl_start(struct ctl *c)
{
    ctl_spawn(c);
    CTL_WAIT(c, waitpid(c->pid, NULL, WNOHANG) == 0 && ctl_ready());
}

/* How it ended: exit status, or 1000 + signal. */
static inline int ctl_ended(struct ctl *c)
{
    int status = -1;
    CTL_WAIT(c, waitpid(c->pid, &status, WNOHANG) == c->pid);
    c->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static inline void ctl_stop(struct ctl *c)
{
    kill(c->pid, SIGTERM);
    int status = ctl_ended(c);
    ck_assert_msg(status == 0, "%d: %s", status, ctl_log(c));
}

static inline void ctl_kill(struct ctl *c)
{
    kill(c->pid, SIGKILL);
    ck_assert_int_eq(ctl_ended(c), 1000 + SIGKILL);
}

static inline void ctl_remove_tree(const char *path)
{
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/rm", "rm", "-rf", path, NULL);
        _exit(127);
    }
    waitpid(pid, NULL, 0);
}

static inline void ctl_init(struct ctl *c)
{
    *c = (struct ctl){0};
    strcpy(c->dir, "/tmp/test_controller_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(c->dir));
    snprintf(c->source, sizeof(c->source), "%s/source", c->dir);
    snprintf(c->state, sizeof(c->state), "%s/state", c->dir);
    snprintf(c->log, sizeof(c->log), "%s/log", c->dir);
    ck_assert_int_eq(mkdir(c->source, 0755), 0);
    ck_assert_rc(netns_init(), RC_OK);
    ck_assert_rc(netns_self(&c->home), RC_OK);
    ck_assert_rc(netns_new(&c->ns), RC_OK);
    ck_assert_rc(netns_enter(c->ns), RC_OK);
    signal(SIGPIPE, SIG_IGN);
    c->l = loop_new();
}

static inline void ctl_fini(struct ctl *c)
{
    if (c->pid)
        ctl_stop(c);
    loop_free(c->l);
    ck_assert_rc(netns_enter(c->home), RC_OK);
    close(c->ns);
    close(c->home);
    ctl_remove_tree(c->dir);
}

/* -- clients -- */

/* token: below state/tokens, or a token itself; NULL: none. */
static inline void ctl_dial(struct ctl *c, struct ctl_client *k, const char *token)
{
    struct channel_opts o = {.url = "https://127.0.0.1:15012",
                             .roots = ctl_at(c, "state/root-cert.pem"),
                             .cluster_id = "Kubernetes"};
    if (token)
        o.token = strchr(token, '/') ? ctl_at(c, "state/tokens/%s", token) : token;
    ck_assert_rc(channel_new(c->l, &o, &k->ch, NULL), RC_OK);
    ads_peer_dial(&k->ads, c->l, k->ch);
    CTL_WAIT(c, k->ads.call || k->ads.done);
}

/* Subscribes to everything, as ztunnel does; held: "NAME\0VERSION" pairs of addresses, or NULL. */
static inline void ctl_subscribe(struct ctl_client *k)
{
    static const char *const urls[] = {XDS_ADDRESS, XDS_AUTHORIZATION};
    struct strbuf m AUTO_STRBUF;
    strbuf_init(&m, 8192);
    for (int i = 0; i < 2; i++) {
        ads_peer_begin(&m, urls[i],
                       "ztunnel~10.0.0.1~z.istio-system~istio-system.svc.cluster.local");
        ads_peer_send(&k->ads, strbuf_str(&m));
    }
}

/* Dials, subscribes, and has everything. */
static inline void ctl_join(struct ctl *c, struct ctl_client *k, const char *token)
{
    ctl_dial(c, k, token);
    ck_assert_msg(k->ads.call != NULL, "%s", k->ads.message);
    k->ads.ack = true;
    ctl_subscribe(k);
    CTL_WAIT(c, k->ads.responses >= 2);
}

static inline bool ctl_told(const struct ctl_client *k, const char *what)
{
    return k->ads.log.n && strstr(k->ads.log.p, what);
}

static inline void ctl_leave(struct ctl *c, struct ctl_client *k)
{
    ads_peer_close(&k->ads);
    channel_free(k->ch);
    loop_turn(c->l, 0);
}

/* -- raw TLS: a client that sends what it wants, blocking -- */

struct ctl_tls {
    SSL_CTX *ctx;
    SSL *ssl;
    int fd;
};

static inline struct ctl_tls ctl_tls_open(void)
{
    struct ctl_tls t = {.fd = ctl_connect(CTL_GRPC)};
    ck_assert_int_ge(t.fd, 0);
    t.ctx = SSL_CTX_new(TLS_client_method());
    t.ssl = SSL_new(t.ctx);
    BIO *bio = BIO_new_socket(t.fd, BIO_NOCLOSE);
    SSL_set_bio(t.ssl, bio, bio);
    SSL_set_alpn_protos(t.ssl, (const unsigned char *)"\2h2", 3);
    ck_assert_int_eq(SSL_connect(t.ssl), 1);
    return t;
}

static inline void ctl_tls_send(struct ctl_tls *t, struct str bytes)
{
    ck_assert_int_eq(SSL_write(t->ssl, bytes.p, (int)bytes.n), (int)bytes.n);
}

static inline void ctl_tls_close(struct ctl_tls *t)
{
    SSL_free(t->ssl);
    SSL_CTX_free(t->ctx);
    close(t->fd);
}
