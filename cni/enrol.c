#include "cni/enrol.h"

bool enrol_namespace(const struct kobj *ns)
{
    return ns && str_eqz(kmap_get(&ns->meta.labels, ENROL_LABEL), "ambient");
}

enum enrol enrol_pod(const struct kpod *p, const struct kobj *ns, bool excluded)
{
    struct str label = kmap_get(&p->obj.meta.labels, ENROL_LABEL);
    if (p->host_network)
        return ENROL_HOST_NETWORK;
    if (kmap_get(&p->obj.meta.annotations, "sidecar.istio.io/status").p)
        return ENROL_SIDECAR;
    if (excluded)
        return ENROL_EXCLUDED;
    if (str_eqz(label, "ambient"))
        return ENROL_YES;
    return !str_eqz(label, "none") && enrol_namespace(ns) ? ENROL_YES : ENROL_NO;
}

const char *enrol_text(enum enrol e)
{
    static const char *const texts[] = {
        [ENROL_NO] = "not labelled",
        [ENROL_YES] = "enrolled",
        [ENROL_HOST_NETWORK] = "in the host's network",
        [ENROL_SIDECAR] = "has a sidecar",
        [ENROL_EXCLUDED] = "its namespace is excluded",
    };
    return texts[e];
}

bool enrol_bypass_inbound(const struct kpod *p)
{
    return str_eqz(kmap_get(&p->obj.meta.annotations, "ambient.istio.io/bypass-inbound-capture"),
                   "true");
}
