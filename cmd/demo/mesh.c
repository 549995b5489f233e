#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd/demo/demo.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"

#define START_MS 15000

/* Polls until fn says yes; false after the deadline. */
static bool eventually(bool (*fn)(void *arg), void *arg, int64_t ms)
{
    int64_t end = clock_mono_us() + ms * 1000;
    while (!fn(arg)) {
        if (clock_mono_us() > end)
            return false;
        poll(NULL, 0, 20);
    }
    return true;
}

struct probe {
    const char *name, *at, *path;
    int netns;
    pid_t pid;
    bool died;
};

static bool is_ready(void *arg)
{
    struct probe *p = arg;
    struct strbuf body AUTO_STRBUF;
    strbuf_init(&body, 65536);
    p->died = !procs_alive(p->pid);
    return p->died || http_get(p->netns, p->at, p->path, &body) == 200;
}

static enum rc wait_ready(struct probe p, struct errmsg *msg)
{
    bool ready = eventually(is_ready, &p, START_MS);
    if (ready && !p.died)
        return RC_OK;
    errmsg_set(msg, "%s %s", p.name, p.died ? "ended" : "is not ready after 15 s");
    show_logs(p.name);
    return RC_TIMEOUT;
}

static enum rc start_controller(struct demo *d, struct errmsg *msg)
{
    char at[ADDR_TEXT + 8], ip[ADDR_TEXT];
    addr_format_ip(&d->hub, ip);
    snprintf(at, sizeof(at), "%s:15012", ip);
    const char *argv[] = {"mesh",    "controller",      "--source",      DEMO_DIR "/source",
                          "--state", DEMO_DIR "/state", "--listen-grpc", at,
                          NULL};
    return procs_start(d, "controller", -1, argv, &d->controller, msg);
}

static enum rc start_agent(struct demo *d, struct demo_node *n, struct errmsg *msg)
{
    char cni[80], zds[80], state[64], name[32];
    snprintf(state, sizeof(state), DEMO_DIR "/%s", n->name);
    if (mkdir(state, 0755) != 0)
        return RC_IO;
    snprintf(cni, sizeof(cni), "%s/cni.sock", state);
    snprintf(zds, sizeof(zds), "%s/zds.sock", state);
    snprintf(name, sizeof(name), "agent-%s", n->name);
    const char *argv[] = {"mesh",
                          "cni",
                          "agent",
                          "--source",
                          DEMO_DIR "/source",
                          "--node",
                          n->name,
                          "--cni-socket",
                          cni,
                          "--zds-socket",
                          zds,
                          "--state",
                          state,
                          "--admin",
                          AGENT_ADMIN,
                          "--readiness",
                          AGENT_READY,
                          NULL};
    return procs_start(d, name, n->netns, argv, &n->agent, msg);
}

static enum rc start_ztunnel(struct demo *d, struct demo_node *n, struct errmsg *msg)
{
    char url[ADDR_TEXT + 16], ip[ADDR_TEXT], own[ADDR_TEXT], zds[80], token[80], name[32];
    addr_format_ip(&d->hub, ip);
    addr_format_ip(&n->ip, own);
    snprintf(url, sizeof(url), "https://%s:15012", ip);
    snprintf(zds, sizeof(zds), DEMO_DIR "/%s/zds.sock", n->name);
    snprintf(token, sizeof(token), DEMO_DIR "/state/tokens/node/%s", n->name);
    snprintf(name, sizeof(name), "ztunnel-%s", n->name);
    const char *argv[] = {
        "mesh",          "ztunnel", "--node",      n->name,
        "--xds-address", url,       "--root-ca",   DEMO_DIR "/state/root-cert.pem",
        "--token",       token,     "--inpod-uds", zds,
        "--instance-ip", own,       NULL};
    return procs_start(d, name, n->netns, argv, &n->ztunnel, msg);
}

enum rc mesh_start(struct demo *d, struct errmsg *msg)
{
    enum rc rc = start_controller(d, msg);
    if (rc == RC_OK)
        rc = wait_ready((struct probe){.name = "controller",
                                       .at = "127.0.0.1:8080",
                                       .path = "/ready",
                                       .netns = -1,
                                       .pid = d->controller},
                        msg);
    for (unsigned i = 0; rc == RC_OK && i < d->n_nodes; i++) {
        rc = start_agent(d, &d->node[i], msg);
        rc = rc ? rc : start_ztunnel(d, &d->node[i], msg);
    }
    for (unsigned i = 0; rc == RC_OK && i < d->n_nodes; i++) {
        struct demo_node *n = &d->node[i];
        char name[32];
        snprintf(name, sizeof(name), "agent-%s", n->name);
        rc = wait_ready((struct probe){.name = name,
                                       .at = AGENT_READY,
                                       .path = "/healthz/ready",
                                       .netns = n->netns,
                                       .pid = n->agent},
                        msg);
        snprintf(name, sizeof(name), "ztunnel-%s", n->name);
        rc = rc ? rc
                : wait_ready((struct probe){.name = name,
                                            .at = "127.0.0.1:15021",
                                            .path = "/healthz/ready",
                                            .netns = n->netns,
                                            .pid = n->ztunnel},
                             msg);
    }
    return rc;
}

/* -- enrolment -- */

struct count {
    struct demo *d;
    unsigned node, want, seen;
    const char *text; /* counted in the dump */
};

static bool dump_has(void *arg)
{
    struct count *c = arg;
    struct strbuf body AUTO_STRBUF;
    strbuf_init(&body, 16 << 20);
    c->seen = 0;
    (void)http_get(c->d->node[c->node].netns, "127.0.0.1:15000", "/config_dump", &body);
    for (const char *p = body.n ? body.p : NULL; p && (p = strstr(p, c->text)); p++)
        c->seen++;
    return c->seen >= c->want;
}

static enum rc wait_state(struct demo *d, struct errmsg *msg)
{
    unsigned captured = 0;
    for (unsigned i = 0; i < d->n_pods; i++)
        captured += d->pod[i].captured;
    for (unsigned i = 0; i < d->n_nodes; i++) {
        struct count c = {.d = d, .node = i, .want = captured, .text = "\"HBONE\""};
        if (eventually(dump_has, &c, START_MS))
            continue;
        char name[32];
        snprintf(name, sizeof(name), "ztunnel-%s", d->node[i].name);
        errmsg_set(msg, "%s knows %u of %u captured pods after 15 s", name, c.seen, captured);
        show_logs(name);
        show_logs("controller");
        return RC_TIMEOUT;
    }
    return RC_OK;
}

struct shown {
    struct demo *d;
    const struct demo_pod *pod;
};

static bool agent_shows(void *arg)
{
    const struct shown *s = arg;
    struct strbuf body AUTO_STRBUF;
    strbuf_init(&body, 16 << 20);
    return http_get(s->d->node[s->pod->node].netns, AGENT_ADMIN, "/config_dump", &body) == 200 &&
           strstr(body.p, s->pod->uid);
}

enum rc mesh_enrol(struct demo *d, struct errmsg *msg)
{
    for (unsigned i = 0; i < d->n_pods; i++) {
        struct demo_pod *p = &d->pod[i];
        struct shown shown = {d, p};
        struct strbuf out AUTO_STRBUF;
        strbuf_init(&out, 65536);
        char name[32];
        snprintf(name, sizeof(name), "agent-%s", d->node[p->node].name);
        int64_t start = clock_mono_us();
        enum rc rc = procs_cni(d, "ADD", p, &out, msg);
        int64_t us = clock_mono_us() - start;
        if (rc == RC_OK && p->role != POD_OUTSIDER && !eventually(agent_shows, &shown, START_MS)) {
            errmsg_set(msg, "%s does not show the pod %s as captured", name, p->name);
            rc = RC_TIMEOUT;
        }
        if (rc != RC_OK) {
            show_logs(name);
            return rc;
        }
        p->captured = p->annotated = p->role != POD_OUTSIDER;
        char ip[ADDR_TEXT];
        addr_format_ip(&p->ip, ip);
        show_line("%-11s %-12s on %s: %s (plug-in: %lld ms)", p->name, ip, d->node[p->node].name,
                  p->captured ? "captured" : "left alone, as its label asks", (long long)us / 1000);
    }
    enum rc rc = objects_write(d, msg);
    return rc == RC_OK ? wait_state(d, msg) : rc;
}

void mesh_stop(struct demo *d)
{
    for (unsigned i = 0; i < d->n_nodes; i++) {
        procs_stop(d->node[i].ztunnel);
        procs_stop(d->node[i].agent);
    }
    procs_stop(d->controller);
}

/* -- counters -- */

static uint64_t sum_metric(const char *text, const char *name, const char *label)
{
    uint64_t sum = 0;
    size_t len = strlen(name);
    for (const char *line = text; line && *line;
         line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        const char *end = strchr(line, '\n');
        size_t n = end ? (size_t)(end - line) : strlen(line);
        if (strncmp(line, name, len) != 0 || line[len] != '{' ||
            !memmem(line, n, label, strlen(label)))
            continue;
        const char *value = memrchr(line, ' ', n);
        sum += value ? strtoull(value + 1, NULL, 10) : 0;
    }
    return sum;
}

void mesh_counters(struct demo *d, struct counters *ret)
{
    *ret = (struct counters){0};
    for (unsigned i = 0; i < d->n_nodes; i++) {
        struct strbuf body AUTO_STRBUF;
        strbuf_init(&body, 16 << 20);
        if (http_get(d->node[i].netns, "127.0.0.1:15020", "/metrics", &body) != 200)
            continue;
        ret->out += sum_metric(body.p, "istio_tcp_connections_opened_total", "reporter=\"source\"");
        ret->in +=
            sum_metric(body.p, "istio_tcp_connections_opened_total", "reporter=\"destination\"");
        ret->bytes += sum_metric(body.p, "istio_tcp_sent_bytes_total", "reporter=\"source\"");
    }
}
