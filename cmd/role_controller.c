/* `mesh controller`: settings, and the controller wired to the process. */
#include <stdio.h>
#include <string.h>

#include "cmd/runtime.h"
#include "control/controller/controller.h"
#include "lib/log/log.h"
#include "lib/metric/metric.h"

#define DRAIN_MS  2000
#define NAMES_MAX 64

struct controller_config {
    struct runtime_config runtime;
    const char *source, *state, *listen, *names, *trust_domain, *cluster_domain, *cluster, *root_ns;
};

#define AT(field) .offset = offsetof(struct controller_config, field)

static const struct config_setting settings[] = {
    {.name = "source",
     .type = CONFIG_STRING,
     AT(source),
     .unit = "DIR",
     .required = true,
     .doc = "Folder of Kubernetes YAML, watched. It is read, never written."},
    {.name = "state",
     .type = CONFIG_STRING,
     AT(state),
     .unit = "DIR",
     .text = "/var/lib/mesh",
     .doc = "Folder of the certificate authority, tokens and last good objects. Made when absent."},
    {.name = "listen-grpc",
     .type = CONFIG_ADDRESS,
     AT(listen),
     .text = "0.0.0.0:15012",
     .doc = "Where proxies get configuration and certificates, over TLS."},
    {.name = "serving-names",
     .type = CONFIG_STRING,
     AT(names),
     .unit = "LIST",
     .text = "",
     .doc =
         "More names and addresses for the serving certificate, separated by commas. It always has "
         "istiod.istio-system.svc and its like, localhost, and the address listened on."},
    {.name = "trust-domain",
     .type = CONFIG_STRING,
     AT(trust_domain),
     .env = "TRUST_DOMAIN",
     .text = "cluster.local",
     .doc = "Trust domain of the identities that are signed."},
    {.name = "cluster-domain",
     .type = CONFIG_STRING,
     AT(cluster_domain),
     .env = "DOMAIN_SUFFIX",
     .text = "cluster.local",
     .doc = "DNS domain of Services."},
    {.name = "cluster-id",
     .type = CONFIG_STRING,
     AT(cluster),
     .env = "CLUSTER_ID",
     .text = "Kubernetes",
     .doc = "Name of the cluster that the objects belong to."},
    {.name = "root-namespace",
     .type = CONFIG_STRING,
     AT(root_ns),
     .env = "POD_NAMESPACE",
     .text = "istio-system",
     .doc = "Policies of this namespace count for the whole mesh."},
    RUNTIME_SETTINGS(struct controller_config, runtime, "127.0.0.1:9876", "0.0.0.0:15014",
                     "0.0.0.0:8080"),
    CONFIG_END,
};

struct wiring {
    struct runtime *rt;
    struct runtime_task *task;
    struct controller *c;
};

static void on_ready(void *owner)
{
    struct wiring *w = owner;
    runtime_task_done(w->task);
}

static void on_drained(void *owner)
{
    runtime_stop(((struct wiring *)owner)->rt, 0);
}

static void on_drain(void *owner)
{
    struct wiring *w = owner;
    if (w->c)
        controller_drain(w->c, DRAIN_MS, on_drained, w);
    else
        runtime_stop(w->rt, 0);
}

static void on_status_page(void *owner, const struct httpd_request *req,
                           struct httpd_response *resp)
{
    struct wiring *w = owner;
    (void)req;
    resp->content_type = "application/json";
    controller_status(w->c, &resp->body);
    strbuf_addc(&resp->body, '\n');
}

/* The names of the serving certificate: what --serving-names lists, and the address. */
static size_t names_of(const struct controller_config *c, const struct addr *at, char *ip,
                       struct str *names)
{
    size_t n = 0;
    struct str rest = str_of(c->names);
    while (rest.n && n < NAMES_MAX - 1) {
        struct str name = str_trim(str_split(rest, ',', &rest));
        if (name.n)
            names[n++] = name;
    }
    if (!addr_is_any(at)) {
        addr_format_ip(at, ip);
        names[n++] = str_of(ip);
    }
    return n;
}

static enum rc build(struct wiring *w, const struct controller_config *c, struct errmsg *msg)
{
    struct str names[NAMES_MAX];
    char ip[ADDR_TEXT];
    struct controller_opts o = {.source = c->source,
                                .state = c->state,
                                .names = names,
                                .trust_domain = c->trust_domain,
                                .cluster_domain = c->cluster_domain,
                                .cluster_id = c->cluster,
                                .root_ns = c->root_ns,
                                .on_ready = on_ready,
                                .owner = w};
    if (addr_parse_port(str_of(c->listen), &o.at) != RC_OK) {
        errmsg_set(msg, "--listen-grpc %s: not an address with a port", c->listen);
        return RC_INVALID;
    }
    o.n_names = names_of(c, &o.at, ip, names);
    return controller_new(runtime_loop(w->rt), &o, &w->c, msg);
}

static void pages(struct wiring *w)
{
    runtime_admin_page(w->rt, "/debug/statusz", "GET",
                       "problems of the source, conditions of policies, connected proxies",
                       on_status_page, w);
}

static int controller_main(int argc, const char *const argv[])
{
    struct controller_config c;
    struct wiring w = {0};
    struct errmsg msg = {""};
    if (!role_settings(&role_controller, &c, argc, argv))
        return 2;
    w.rt = runtime_new(&role_controller, &c.runtime, &c);
    int status = 1;
    if (w.rt) {
        w.task = runtime_task_new(w.rt, "objects of the source");
        runtime_on_drain(w.rt, on_drain, &w);
        if (build(&w, &c, &msg) != RC_OK) {
            log_error("controller", "%s", msg.text);
        } else {
            pages(&w);
            status = runtime_run(w.rt);
        }
    }
    controller_free(w.c);
    runtime_free(w.rt);
    config_fini(settings, &c);
    return status;
}

const struct role role_controller = {
    .name = "controller",
    .help = "control plane: configuration and certificates for the proxies",
    .about =
        "Reads Kubernetes and Istio objects, serves them to ztunnels (delta ADS), and signs the "
        "certificates of workloads.",
    .settings = settings,
    .main = controller_main,
};
