#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd/demo/demo.h"
#include "lib/base/file.h"

static void account(struct strbuf *out, const char *name)
{
    strbuf_printf(
        out, "---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: %s, namespace: shop}\n",
        name);
}

static void pod(struct strbuf *out, const struct demo *d, const struct demo_pod *p)
{
    char ip[ADDR_TEXT];
    addr_format_ip(&p->ip, ip);
    strbuf_printf(
        out,
        "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: %s\n  namespace: shop\n  uid: %s\n"
        "  labels: {app: %s%s}\n",
        p->name, p->uid, p->role == POD_BACKEND ? "web" : p->sa,
        p->role == POD_OUTSIDER ? ", istio.io/dataplane-mode: none" : "");
    if (p->annotated)
        strbuf_addz(out, "  annotations: {ambient.istio.io/redirection: enabled}\n");
    strbuf_printf(
        out,
        "spec:\n  nodeName: %s\n  serviceAccountName: %s\n  containers:\n  - name: app\n    ports: "
        "[{containerPort: 8080}]\n"
        "status:\n  phase: Running\n  podIP: %s\n  podIPs: [{ip: %s}]\n  conditions: [{type: "
        "Ready, status: "
        "\"True\"}]\n",
        d->node[p->node].name, p->sa, ip, ip);
}

static const char fixed[] = /* what every demo has */
    "apiVersion: v1\nkind: Namespace\nmetadata: {name: istio-system}\n"
    "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: "
    "{istio.io/dataplane-mode: ambient}}\n"
    "---\napiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec:\n"
    "  clusterIP: " DEMO_VIP "\n  clusterIPs: [" DEMO_VIP "]\n  selector: {app: web}\n"
    "  ports: [{name: http, port: 80, targetPort: 8080, protocol: TCP}]\n"
    "---\n# plaintext is refused everywhere in the namespace\n"
    "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: strict, "
    "namespace: shop}\n"
    "spec: {mtls: {mode: STRICT}}\n"
    "---\n# the backends serve everybody but one account\n"
    "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: no-intruders, "
    "namespace: shop}\n"
    "spec:\n  selector: {matchLabels: {app: web}}\n  action: DENY\n  rules:\n"
    "  - from: [{source: {principals: [cluster.local/ns/shop/sa/intruder]}}]\n";

enum rc objects_write(const struct demo *d, struct errmsg *msg)
{
    struct strbuf out AUTO_STRBUF;
    strbuf_init(&out, 4 << 20);
    if (mkdir(DEMO_DIR "/source", 0755) != 0 && errno != EEXIST) {
        errmsg_set(msg, DEMO_DIR "/source: %s", strerror(errno));
        return RC_IO;
    }
    strbuf_addz(&out, fixed);
    for (unsigned i = 0; i < d->n_nodes; i++)
        strbuf_printf(&out, "---\napiVersion: v1\nkind: Node\nmetadata: {name: %s}\n",
                      d->node[i].name);
    static const char *const accounts[] = {"client", "intruder", "web", "outsider", "extra"};
    for (size_t i = 0; i < 5; i++)
        account(&out, accounts[i]);
    enum rc rc = file_replace(DEMO_DIR "/source/mesh.yaml", 0644, strbuf_str(&out), msg);
    strbuf_reset(&out);
    for (unsigned i = 0; i < d->n_pods; i++)
        pod(&out, d, &d->pod[i]);
    return rc == RC_OK ? file_replace(DEMO_DIR "/source/pods.yaml", 0644, strbuf_str(&out), msg)
                       : rc;
}
