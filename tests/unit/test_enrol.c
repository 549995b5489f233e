#include <stdio.h>

#include "cni/enrol.h"
#include "tests/helper/check.h"
#include "tests/helper/kobj.h"

enum { NONE_SAID, AMBIENT, NONE, OTHER };
static const char *const label[] = {"", "istio.io/dataplane-mode: ambient",
                                    "istio.io/dataplane-mode: none",
                                    "istio.io/dataplane-mode: Ambient"};

static enum enrol decide(int pod, int ns, bool excluded, const char *spec, const char *annotation)
{
    char text[600];
    snprintf(text, sizeof(text),
             "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  namespace: shop\n  labels: {%s}\n"
             "  annotations: {%s}\nspec: {nodeName: n1%s}\n",
             label[pod], annotation, spec);
    struct kobj *p = kobj_of(text);
    snprintf(text, sizeof(text),
             "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n  labels: {%s}\n",
             label[ns]);
    struct kobj *n = kobj_of(text);
    enum enrol e = enrol_pod(kobj_pod(p), n, excluded);
    ck_assert_int_eq(enrol_namespace(n), ns == AMBIENT);
    kobj_unref(p);
    kobj_unref(n);
    return e;
}

START_TEST(labels_of_pod_and_namespace)
{
    static const bool want[4][4] = {/* by the pod's label, by the namespace's */
                                    [NONE_SAID] = {[AMBIENT] = true},
                                    [AMBIENT] = {true, true, true, true},
                                    [NONE] = {false},
                                    [OTHER] = {[AMBIENT] = true}};
    for (int pod = 0; pod < 4; pod++)
        for (int ns = 0; ns < 4; ns++)
            ck_assert_msg(decide(pod, ns, false, "", "") == (want[pod][ns] ? ENROL_YES : ENROL_NO),
                          "pod {%s} in {%s}", label[pod], label[ns]);
}
END_TEST

START_TEST(what_is_stronger_than_labels)
{
    ck_assert_int_eq(decide(AMBIENT, AMBIENT, true, "", ""), ENROL_EXCLUDED);
    ck_assert_int_eq(decide(AMBIENT, AMBIENT, false, ", hostNetwork: true", ""),
                     ENROL_HOST_NETWORK);
    ck_assert_int_eq(decide(AMBIENT, AMBIENT, false, ", hostNetwork: false", ""), ENROL_YES);
    ck_assert_int_eq(decide(AMBIENT, AMBIENT, false, "", "sidecar.istio.io/status: '{}'"),
                     ENROL_SIDECAR);
    ck_assert_int_eq(decide(AMBIENT, AMBIENT, false, "", "sidecar.istio.io/status: ''"),
                     ENROL_SIDECAR); /* present is enough */
}
END_TEST

START_TEST(a_namespace_that_is_not_known)
{
    struct kobj *with =
        kobj_of("apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  namespace: shop\n"
                "  labels: {istio.io/dataplane-mode: ambient}\n"
                "  annotations: {ambient.istio.io/bypass-inbound-capture: 'true'}\n");
    struct kobj *without =
        kobj_of("apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  namespace: shop\n"
                "  annotations: {ambient.istio.io/bypass-inbound-capture: 'yes'}\n");
    ck_assert_int_eq(enrol_pod(kobj_pod(with), NULL, false), ENROL_YES);
    ck_assert_int_eq(enrol_pod(kobj_pod(without), NULL, false), ENROL_NO);
    ck_assert(!enrol_namespace(NULL));
    ck_assert(enrol_bypass_inbound(kobj_pod(with)) && !enrol_bypass_inbound(kobj_pod(without)));
    for (enum enrol e = ENROL_NO; e <= ENROL_EXCLUDED; e++)
        ck_assert(enrol_text(e)[0] != '\0');
    kobj_unref(with);
    kobj_unref(without);
}
END_TEST

TEST_MAIN("enrol", labels_of_pod_and_namespace, what_is_stronger_than_labels,
          a_namespace_that_is_not_known)
