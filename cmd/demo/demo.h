/* `mesh demo`: a mesh of several nodes on one machine, made of the real roles as separate processes, in
 * namespaces that vanish with it. Files: sandbox (the namespaces around everything), topo (nodes, links,
 * pods), objects (the YAML), procs (processes and their logs), mesh (the roles: started, pods enrolled,
 * counters), apps (servers and clients in pods), sniff (what is on the wire), show (what is printed), demo
 * (the acts in order). One process, one thread but for servers and sniffer. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/base/rc.h"
#include "lib/base/str.h"
#include "lib/net/addr.h"

#define DEMO_DIR       "/run/mesh-demo" /* on a tmpfs of the sandbox's own */
#define DEMO_NODES_MAX 16
#define DEMO_PODS_MAX  256
#define DEMO_VIP       "10.96.0.10"
#define AGENT_ADMIN    "127.0.0.1:15100" /* 15000 of the node is the ztunnel's */
#define AGENT_READY    "127.0.0.1:15101"
#define DEMO_MARK \
    "the-payload-of-the-demo" /* in every request and answer; must not be on the wire */

enum pod_role {
    POD_CLIENT,    /* allowed */
    POD_FORBIDDEN, /* captured, but policy refuses it */
    POD_BACKEND,   /* of the Service */
    POD_OUTSIDER,  /* not captured */
    POD_EXTRA,     /* --pods beyond what the acts need */
};

struct demo_pod {
    char name[32], uid[40], sa[32];
    enum pod_role role;
    unsigned node;
    struct addr ip;
    int netns;
    bool captured, annotated;
    atomic_uint served; /* requests that a backend answered */
};

struct demo_node {
    char name[16];
    struct addr ip; /* on the link */
    int netns;
    pid_t ztunnel, agent;
};

struct demo {
    uint32_t n_nodes, n_pods, want_pods;
    bool keep;
    struct demo_node node[DEMO_NODES_MAX];
    struct demo_pod pod[DEMO_PODS_MAX];
    struct addr hub; /* the controller's address, on the link */
    pid_t controller;
    const char *self; /* path of this program */
};

/* -- sandbox.c -- */
/* This process, and the one that waits for it, as they are numbered outside of the sandbox. */
extern pid_t sandbox_outer_pid, sandbox_outer_parent;
extern bool sandbox_outer_user; /* an ordinary user, not root, started it */
/* Runs fn(arg) as the first process of fresh namespaces (user, when not root; PID, mount, network) with its own
 * /proc and an empty /run; whatever it starts ends with it. Returns its exit status. */
int sandbox_run(int (*fn)(void *arg), void *arg);

/* -- topo.c -- */
NODISCARD enum rc topo_make(struct demo *d, struct errmsg *msg);
void topo_pod_path(const struct demo_pod *p, char *path,
                   size_t cap); /* of its namespace, as CNI_NETNS */

/* -- objects.c -- */
NODISCARD enum rc objects_write(const struct demo *d,
                                struct errmsg *msg); /* all; again after a change */

/* -- procs.c -- */
/* Starts a role in a namespace; its output goes to DEMO_DIR/log/NAME. */
NODISCARD enum rc procs_start(const struct demo *d, const char *name, int netns,
                              const char *const argv[], pid_t *ret, struct errmsg *msg);
/* The plug-in, as a runtime executes it. *ret_out: what it printed. RC_DENIED: it said no. */
NODISCARD enum rc procs_cni(const struct demo *d, const char *command, const struct demo_pod *p,
                            struct strbuf *ret_out, struct errmsg *msg);
bool procs_alive(pid_t pid);
void procs_stop(pid_t pid); /* SIGTERM, 5 s, SIGKILL */
/* RSS and its anonymous part in kB; false when /proc does not tell. */
bool procs_memory(pid_t pid, uint64_t *ret_rss, uint64_t *ret_anon);
/* The end of a process' log. */
void procs_log_tail(const char *name, size_t lines, struct strbuf *out);
/* Last line of a log that has both texts, "" when none. */
void procs_log_find(const char *name, const char *a, const char *b, struct strbuf *out);

/* -- mesh.c -- */
/* All roles; returns when each says that it is ready. */
NODISCARD enum rc mesh_start(struct demo *d, struct errmsg *msg);
/* Every pod through the plug-in, then until every ztunnel knows which pods are captured. */
NODISCARD enum rc mesh_enrol(struct demo *d, struct errmsg *msg);
void mesh_stop(struct demo *d);
struct counters {
    uint64_t out, in; /* connections opened, as source and destination report them */
    uint64_t bytes;   /* that sources sent */
};
void mesh_counters(struct demo *d, struct counters *ret);

/* -- apps.c -- */
NODISCARD enum rc apps_serve(struct demo *d, struct errmsg *msg); /* a thread serves all backends */
void apps_stop(void);
struct answer {
    bool ok;             /* an answer came */
    char pod[32];        /* who answered */
    char saw[ADDR_TEXT]; /* the peer address it saw */
    char error[80];
    int64_t us;
};
void apps_request(const struct demo_pod *from, const char *to, struct answer *ret);
/* GET of an admin, metrics or readiness port. status 0: no answer. */
int http_get(int netns, const char *at, const char *path, struct strbuf *ret_body);

/* -- sniff.c -- */
struct sniffed {
    uint64_t packets, tls_records, bytes, leaks;
};
NODISCARD enum rc sniff_start(struct errmsg *msg); /* on the bridge between the nodes */
void sniff_stop(struct sniffed *ret);

/* -- show.c -- */
void show_step(const char *fmt, ...) PRINTF_LIKE(1, 2); /* with the time since the first */
void show_line(const char *fmt, ...) PRINTF_LIKE(1, 2);
void show_row(bool ok, const char *what, const char *fmt, ...) PRINTF_LIKE(3, 4); /* of the table */
void show_logs(const char *name);
bool show_table(const struct demo *d); /* false: a row is not ok */

/* -- demo.c -- */
int demo_run(void *demo);
