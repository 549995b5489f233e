/* Kinds of Kubernetes that the mesh looks after or gets along with. */
#include "lib/kobj/platform.h"
#include "tests/helper/check.h"
#include "tests/helper/kobj.h"

START_TEST(what_runs_and_scales)
{
    struct kobj *d AUTO(kobj_unref) =
        kobj_of("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x, generation: 4}\n"
                "spec: {replicas: 0, selector: {matchLabels: {a: b}}, template: {spec: "
                "{containers: [{}]}}}\n"
                "status: {observedGeneration: 3, readyReplicas: 1, availableReplicas: 1, "
                "conditions: [{type: Available, "
                "status: 'True', reason: R}]}\n");
    ck_assert_int_eq(kobj_deployment(d)->replicas, 0);
    ck_assert_int_eq(kobj_deployment(d)->observed_generation, 3);
    ck_assert_int_eq(d->meta.generation, 4);
    round_trip(d);
    struct kobj *one AUTO(kobj_unref) =
        kobj_of("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {}\n");
    ck_assert_int_eq(kobj_deployment(one)->replicas, 1);
    struct kobj *s AUTO(kobj_unref) =
        kobj_of("apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: x}\nspec: {selector: "
                "{matchLabels: {a: b}}}\n"
                "status: {desiredNumberScheduled: 3, numberReady: 2}\n");
    ck_assert_int_eq(kobj_deployment(s)->replicas, 3);
    round_trip(s);
    struct kobj *h AUTO(kobj_unref) =
        kobj_of("apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: "
                "x}\nspec: {scaleTargetRef: "
                "{kind: Deployment, name: w}, maxReplicas: 5}\nstatus: {currentReplicas: 2, "
                "desiredReplicas: 3}\n");
    ck_assert_int_eq(kobj_autoscaler(h)->min, 1);
    ck_assert_str_eq(kobj_autoscaler(h)->target_name.p, "w");
    round_trip(h);
    struct kobj *b AUTO(kobj_unref) =
        kobj_of("apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: x}\nspec: "
                "{minAvailable: 50%, "
                "selector: {}}\nstatus: {disruptionsAllowed: 1, expectedPods: 2}\n");
    ck_assert_ptr_nonnull(kobj_disruption_budget(b)->selector);
    round_trip(b);
}
END_TEST

#define POLICY "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: x}\n"

START_TEST(network_policies)
{
    struct kobj *o AUTO(kobj_unref) =
        kobj_of(POLICY "spec:\n  podSelector: {matchLabels: {app: a}}\n  policyTypes: [Egress]\n"
                       "  ingress: [{from: [{podSelector: {}, namespaceSelector: {matchLabels: {n: "
                       "a}}}, {ipBlock: {cidr: 10.0.0.0/8, "
                       "except: [10.1.0.0/16]}}], ports: [{port: 80, endPort: 90}, {port: http, "
                       "protocol: UDP}, {}]}]\n"
                       "  egress: [{}]\n");
    const struct knetwork_policy *p = kobj_network_policy(o);
    ck_assert(!p->for_ingress && p->for_egress);
    ck_assert_uint_eq(p->ingress.v[0].peers.v[1].block->except.v[0].bits, 16);
    ck_assert_ptr_nonnull(p->ingress.v[0].peers.v[0].pods);
    ck_assert_uint_eq(p->ingress.v[0].ports.v[0].end_port, 90);
    ck_assert_str_eq(p->ingress.v[0].ports.v[1].port.name.p, "http");
    ck_assert_uint_eq(p->egress.v[0].peers.n, 0);
    round_trip(o);
    struct kobj *deny AUTO(kobj_unref) = kobj_of(POLICY "spec: {podSelector: {}}\n");
    ck_assert(kobj_network_policy(deny)->for_ingress && !kobj_network_policy(deny)->for_egress);
    static const struct refusal bad[] = {
        {"{ingress: [{from: [{}]}]}",
         "ingress[0].from[0]: must have podSelector, namespaceSelector or ipBlock"},
        {"{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]}]}",
         "ingress[0].from[0].ipBlock: must not be set beside selectors"},
        {"{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/33}}]}]}",
         "ingress[0].from[0].ipBlock.cidr: \"10.0.0.0/33\" is not an IP address or CIDR"},
        {"{ingress: [{ports: [{port: http, endPort: 9}]}]}",
         "ingress[0].ports[0].endPort: needs a port that is a number and no greater"},
        {"{policyTypes: [Both]}", "policyTypes: \"Both\" is none of Ingress, Egress"},
        {"{ingress: [{form: []}]}", "ingress[0].form: unknown field, did you mean from?"},
    };
    refused(POLICY, bad, ARRAY_LEN(bad));
}
END_TEST

START_TEST(webhooks)
{
    struct kobj *o AUTO(kobj_unref) =
        kobj_of("apiVersion: admissionregistration.k8s.io/v1\nkind: "
                "MutatingWebhookConfiguration\nmetadata: {name: x, labels: "
                "{istio.io/rev: r}}\nwebhooks:\n- {name: a.b.c, clientConfig: {caBundle: cGVt, "
                "service: {namespace: ns, name: s, "
                "path: /inject}}, failurePolicy: Ignore, namespaceSelector: {matchExpressions: "
                "[{key: a, operator: Exists}]}}\n"
                "- {name: d, clientConfig: {url: 'https://e'}}\n");
    const struct kwebhooks *w = kobj_webhooks(o);
    ck_assert_str_eq(w->webhooks.v[0].ca_bundle.p, "pem");
    ck_assert_int_eq(w->webhooks.v[0].service_port, 443);
    ck_assert_int_eq(w->webhooks.v[0].failure, 1);
    ck_assert_str_eq(w->webhooks.v[1].url.p, "https://e");
    round_trip(o);
}
END_TEST

START_TEST(services_and_pods)
{
    struct kobj *s AUTO(kobj_unref) =
        kobj_of("apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {type: ExternalName, "
                "externalName: a.b}\n"
                "status: {loadBalancer: {ingress: [{ip: 1.2.3.4, ports: []}, {hostname: c.d}]}}\n");
    ck_assert_str_eq(kobj_service(s)->external_name.p, "a.b");
    ck_assert_str_eq(kobj_service(s)->ingress.v[1].hostname.p, "c.d");
    round_trip(s);
    struct kobj *p AUTO(kobj_unref) = kobj_of(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {hostname: h, subdomain: s}\n");
    ck_assert_str_eq(kobj_pod(p)->subdomain.p, "s");
    round_trip(p);
}
END_TEST

TEST_MAIN("platform", what_runs_and_scales, network_policies, webhooks, services_and_pods)
