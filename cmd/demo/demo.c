/* The acts of the demo, in order. Each ends in rows of the closing table. */
#include "cmd/demo/demo.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/net/netns.h"

#define REQUESTS 40
#define LOG_MS   3000

static void add_pod(struct demo *d, const char *name, const char *sa, enum pod_role role,
                    unsigned node)
{
    struct demo_pod *p = &d->pod[d->n_pods];
    snprintf(p->name, sizeof(p->name), "%s", name);
    snprintf(p->sa, sizeof(p->sa), "%s", sa);
    snprintf(p->uid, sizeof(p->uid), "5be0cd19-137e-2179-a54f-%012x", ++d->n_pods);
    p->role = role;
    p->node = node % d->n_nodes;
}

static void add_pods(struct demo *d, unsigned n_pods)
{
    add_pod(d, "client", "client", POD_CLIENT, 0);
    add_pod(d, "intruder", "intruder", POD_FORBIDDEN, 0);
    add_pod(d, "web-1", "web", POD_BACKEND, 0);
    add_pod(d, "web-2", "web", POD_BACKEND, 1);
    add_pod(d, "outsider", "outsider", POD_OUTSIDER, 1);
    for (unsigned i = 1; d->n_pods < n_pods; i++) {
        char name[32];
        snprintf(name, sizeof(name), "extra-%u", i);
        add_pod(d, name, "extra", POD_EXTRA, i);
    }
}

static struct demo_pod *pod_of(struct demo *d, const char *name)
{
    for (unsigned i = 0; i < d->n_pods; i++)
        if (strcmp(d->pod[i].name, name) == 0)
            return &d->pod[i];
    return NULL;
}

/* The log line with both texts; it may take a moment to be written. */
static void log_line(const char *name, const char *a, const char *b, struct strbuf *out)
{
    int64_t end = clock_mono_us() + LOG_MS * 1000;
    procs_log_find(name, a, b, out);
    while (!out->n && clock_mono_us() < end) {
        poll(NULL, 0, 20);
        procs_log_find(name, a, b, out);
    }
}

/* The value after KEY= in an access line, without its quotes. */
static void field(const struct strbuf *line, const char *key, char *value, size_t cap)
{
    const char *at = line->n ? strstr(line->p, key) : NULL;
    value[0] = '\0';
    if (!at)
        return;
    at += strlen(key);
    bool quoted = *at == '"';
    at += quoted;
    snprintf(value, cap, "%.*s", (int)strcspn(at, quoted ? "\"" : " \n"), at);
}

static void log_of(const struct demo *d, unsigned node, char *name, size_t cap)
{
    snprintf(name, cap, "ztunnel-%s", d->node[node].name);
}

/* -- act 1: the Service -- */

static void act_service(struct demo *d)
{
    const struct demo_pod *client = pod_of(d, "client");
    unsigned good = 0, told = 0;
    bool source_kept = true;
    char ip[ADDR_TEXT];
    addr_format_ip(&client->ip, ip);
    show_step("%s calls http://" DEMO_VIP " (Service web, port 80) %d times", client->name,
              REQUESTS);
    for (int i = 0; i < REQUESTS; i++) {
        struct answer a;
        apps_request(client, DEMO_VIP ":80", &a);
        good += a.ok;
        source_kept = source_kept && a.ok && strcmp(a.saw, ip) == 0;
        if (!a.ok)
            show_line("no answer: %s", a.error);
        else if (told++ < 4)
            show_line("answer of %s, who saw %s, after %.1f ms", a.pod, a.saw, (double)a.us / 1000);
    }
    unsigned one = atomic_load(&pod_of(d, "web-1")->served);
    unsigned two = atomic_load(&pod_of(d, "web-2")->served);
    show_row(good == REQUESTS && one && two, "requests to the Service",
             "%u of %d answered: %u by web-1 on %s, %u by web-2 on %s", good, REQUESTS, one,
             d->node[0].name, two, d->node[1].name);
    show_row(source_kept, "source address", "the backends saw %s, the client's own", ip);
}

static void act_extras(struct demo *d)
{
    unsigned n = 0, good = 0;
    for (unsigned i = 0; i < d->n_pods; i++) {
        struct answer a;
        if (d->pod[i].role != POD_EXTRA)
            continue;
        n++;
        apps_request(&d->pod[i], DEMO_VIP ":80", &a);
        good += a.ok;
    }
    if (n)
        show_row(good == n, "the other pods", "%u of %u called the Service and were answered", good,
                 n);
}

/* -- act 2: identities -- */

static void act_identities(struct demo *d)
{
    struct strbuf line AUTO_STRBUF;
    strbuf_init(&line, 1 << 16);
    char name[32], server[160], client[160];
    show_step("who spoke with whom, from the access lines of both ztunnels");
    log_of(d, 0, name, sizeof(name));
    log_line(name, "dst.workload=\"web-2\"", "direction=\"outbound\"", &line);
    field(&line, "dst.identity=", server, sizeof(server));
    show_line("%s: %.*s", name, STR_ARG(strbuf_str(&line)));
    log_of(d, 1, name, sizeof(name));
    log_line(name, "src.workload=\"client\"", "direction=\"inbound\"", &line);
    field(&line, "src.identity=", client, sizeof(client));
    show_line("%s: %.*s", name, STR_ARG(strbuf_str(&line)));
    show_row(strcmp(server, "spiffe://cluster.local/ns/shop/sa/web") == 0, "the client's side saw",
             "%s", server[0] ? server : "no identity");
    show_row(strcmp(client, "spiffe://cluster.local/ns/shop/sa/client") == 0,
             "the server's side saw", "%s", client[0] ? client : "no identity");
}

/* -- act 3: what is refused -- */

static void act_refusals(struct demo *d)
{
    struct strbuf line AUTO_STRBUF;
    strbuf_init(&line, 1 << 16);
    char name[32], error[200], to[ADDR_TEXT + 8], ip[ADDR_TEXT];
    const struct demo_pod *web = pod_of(d, "web-2"), *intruder = pod_of(d, "intruder");
    struct answer a;
    addr_format_ip(&web->ip, ip);
    snprintf(to, sizeof(to), "%s:8080", ip);

    show_step("intruder calls web-2 at %s; the policy shop/no-intruders denies its account", to);
    apps_request(intruder, to, &a);
    log_of(d, web->node, name, sizeof(name));
    log_line(name, "src.workload=\"intruder\"", "error=", &line);
    field(&line, "error=", error, sizeof(error));
    show_line("%s", a.ok ? "it was answered" : a.error);
    show_line("%s: %s", name, error);
    show_row(!a.ok && strstr(error, "no-intruders"), "the refused client", "%s",
             a.ok ? "was answered" : error);

    show_step("outsider calls web-2 at %s in plaintext; the namespace asks for STRICT mTLS", to);
    apps_request(pod_of(d, "outsider"), to, &a);
    addr_format_ip(&pod_of(d, "outsider")->ip, ip);
    log_line(name, ip, "error=", &line);
    field(&line, "error=", error, sizeof(error));
    show_line("%s", a.ok ? "it was answered" : a.error);
    show_line("%s: %s", name, error);
    show_row(!a.ok && error[0], "plaintext under STRICT", "%s", a.ok ? "was answered" : error);
}

/* -- the link and the counters -- */

static void rows_of_link(const struct sniffed *s)
{
    show_row(
        s->tls_records > 0 && s->leaks == 0 && s->bytes > 0, "the link between nodes",
        "%llu packets to and from port 15008 with %llu TLS records; the payload in none of them",
        (unsigned long long)s->packets, (unsigned long long)s->tls_records);
}

static void rows_of_counters(struct demo *d, const struct counters *before, unsigned requests)
{
    struct counters after;
    int64_t end = clock_mono_us() + LOG_MS * 1000;
    mesh_counters(d, &after);
    while (after.out - before->out < requests && clock_mono_us() < end) {
        poll(NULL, 0, 50);
        mesh_counters(d, &after);
    }
    show_row(after.out - before->out >= requests, "connections opened",
             "%llu before, %llu after, as sources report; %llu, %llu as destinations",
             (unsigned long long)before->out, (unsigned long long)after.out,
             (unsigned long long)before->in, (unsigned long long)after.in);
    show_row(after.bytes > before->bytes, "bytes sent", "%llu before, %llu after",
             (unsigned long long)before->bytes, (unsigned long long)after.bytes);
}

/* -- --keep -- */

static void keep(const struct demo *d)
{
    const char *user = sandbox_outer_user ? "-U --preserve-credentials " : "";
    printf("The mesh is left running. End it with Ctrl-C, or: kill %d\n\nTo enter, from another "
           "terminal:\n",
           (int)sandbox_outer_parent);
    for (unsigned i = 0; i < d->n_pods; i++)
        printf("  pod %-11s nsenter -t %d %s-m --net=/proc/%d/root" DEMO_DIR "/netns/%s\n",
               d->pod[i].name, (int)sandbox_outer_pid, user, (int)sandbox_outer_pid,
               d->pod[i].name);
    for (unsigned i = 0; i < d->n_nodes; i++)
        printf("  %-15s nsenter -t %d %s-m --net=/proc/%d/root" DEMO_DIR "/netns/%s\n",
               d->node[i].name, (int)sandbox_outer_pid, user, (int)sandbox_outer_pid,
               d->node[i].name);
    printf("  %-15s nsenter -t %d %s-m -n\n\n", "the controller", (int)sandbox_outer_pid, user);
    printf(
        "In a pod:   curl http://" DEMO_VIP "/\n"
        "In a node:  curl http://127.0.0.1:15000/   (ztunnel: /config_dump, /logging; its metrics: "
        "15020, readiness: 15021)\n"
        "            curl http://" AGENT_ADMIN "/   (cni agent)\n"
        "Controller: curl http://127.0.0.1:9876/debug/statusz\n"
        "Objects:    " DEMO_DIR "/source, logs: " DEMO_DIR "/log (inside: nsenter … -m)\n");
    fflush(stdout);
    for (;;)
        pause();
}

/* -- all -- */

static void acts(struct demo *d, const struct counters *before)
{
    act_service(d);
    act_identities(d);
    act_refusals(d);
    act_extras(d);
    rows_of_counters(d, before, REQUESTS);
}

static enum rc set_up(struct demo *d, unsigned n_pods, struct errmsg *msg)
{
    add_pods(d, n_pods);
    show_step("%u nodes and %u pods, each in a network namespace of its own", d->n_nodes,
              d->n_pods);
    enum rc rc = netns_init();
    rc = rc ? rc : topo_make(d, msg);
    rc = rc ? rc : objects_write(d, msg);
    rc = rc ? rc : apps_serve(d, msg);
    if (rc != RC_OK)
        return rc;
    show_step("one controller; a ztunnel and a CNI agent for each node");
    rc = mesh_start(d, msg);
    if (rc != RC_OK)
        return rc;
    show_step("every pod is enrolled: the plug-in is executed as a container runtime does");
    return mesh_enrol(d, msg);
}

int demo_run(void *arg)
{
    struct demo *d = arg;
    struct errmsg msg = {""};
    struct counters before;
    struct sniffed seen = {0};
    enum rc rc = set_up(d, d->want_pods, &msg);
    rc = rc ? rc : sniff_start(&msg);
    if (rc != RC_OK) {
        printf("\nmesh demo failed: %s\n", msg.text[0] ? msg.text : rc_text(rc));
        return 1;
    }
    mesh_counters(d, &before);
    acts(d, &before);
    sniff_stop(&seen);
    rows_of_link(&seen);
    bool ok = show_table(d);
    if (!ok) {
        char name[32];
        for (unsigned i = 0; i < d->n_nodes; i++) {
            log_of(d, i, name, sizeof(name));
            show_logs(name);
        }
        show_logs("controller");
    }
    if (ok && d->keep)
        keep(d);
    apps_stop();
    mesh_stop(d);
    return ok ? 0 : 1;
}
