/* How to reach a Kubernetes API server and as whom: from the pod we run in, or from a kubeconfig file.
 * What is a file is kept as a path and read again by lib/kube/kube.h, so that rotated tokens, certificates
 * and roots take effect. Any thread. */
#pragma once

#include "lib/base/mem.h"
#include "lib/base/str.h"

#define KUBE_CONFIG_MAX (4u << 20) /* bytes of a kubeconfig file */

/* A credential: a path, or the bytes themselves; both NULL: none. */
struct kube_secret {
    char *path, *text;
};

struct kube_config {
    char *server;          /* "https://HOST[:PORT][/PATH]", no slash at the end */
    char *tls_server_name; /* the name in the server's certificate; NULL: the server's host */
    char *ns;              /* of this pod, or of the context; "default" when nothing says */
    bool insecure;
    struct kube_secret ca, cert, key, token; /* PEM, PEM, PEM, a token */
};

/* From KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT and the ServiceAccount's files in folder (NULL:
 * /var/run/secrets/kubernetes.io/serviceaccount). RC_NOT_FOUND: not in a pod. */
NODISCARD enum rc kube_config_in_cluster(const char *folder, struct kube_config **ret,
                                         struct errmsg *ret_msg);
/* A kubeconfig file (kubectl's, v1) and one of its contexts (NULL: its current-context). RC_NOT_FOUND,
 * RC_INVALID and RC_UNSUPPORTED (a way to log in that needs a program, a proxy) name the field. */
NODISCARD enum rc kube_config_load(const char *path, const char *context, struct kube_config **ret,
                                   struct errmsg *ret_msg);
void kube_config_free(struct kube_config *c); /* NULL is legal */
DEFINE_AUTO(struct kube_config *, kube_config_free)
