/* Which pods are to be captured: Istio's rule (facts: cni/pkg/util). Pure. */
#pragma once

#include "lib/kobj/core.h"

#define ENROL_LABEL "istio.io/dataplane-mode"

enum enrol {
    ENROL_NO,
    ENROL_YES,
    ENROL_HOST_NETWORK, /* these are no, too */
    ENROL_SIDECAR,
    ENROL_EXCLUDED,
};

/* ns: the pod's namespace, NULL when not known. excluded: its namespace is left alone. */
enum enrol enrol_pod(const struct kpod *p, const struct kobj *ns, bool excluded);
bool enrol_namespace(const struct kobj *ns); /* NULL is legal */
const char *enrol_text(enum enrol e);
/* ambient.istio.io/bypass-inbound-capture */
bool enrol_bypass_inbound(const struct kpod *p);
