/* What is translated anew after a change: exactly what read the changed object. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/helper/check.h"
#include "tests/helper/mesh_model.h"

static struct model *m;
static struct object_sink sink;

#define POD(ns, name, labels, rest)                                             \
    "---\napiVersion: v1\nkind: Pod\nmetadata: {name: " name ", namespace: " ns \
    ", labels: {" labels "}}\n" rest
#define SERVICE(ns, name, selector)                                                 \
    "---\napiVersion: v1\nkind: Service\nmetadata: {name: " name ", namespace: " ns \
    "}\nspec: {clusterIP: 10.96.0.1, selector: {" selector "}, ports: [{name: http, port: 80}]}\n"
#define AUTHZ(ns, name, spec)                                                                  \
    "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: " name \
    ", namespace: " ns "}\nspec: {" spec "}\n"
#define PEER(ns, name, spec)                                                                  \
    "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: " name \
    ", namespace: " ns "}\nspec: {" spec "}\n"
#define SELECT(labels) "selector: {matchLabels: {" labels "}}"
#define SLICE(ns, name, service, endpoints)                                                        \
    "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: " name            \
    ", namespace: " ns ", labels: {kubernetes.io/service-name: " service "}}\naddressType: IPv4\n" \
    "ports: [{name: http, port: 8080}]\nendpoints: [" endpoints "]\n"

static int text_cmp(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Everything in the queue: "-" before what is gone, sorted. */
static const char *touched(void)
{
    static char names[64][100], all[6500];
    const struct mobject *o;
    size_t n = 0;
    all[0] = '\0';
    while ((o = model_next(m)) && n < ARRAY_LEN(names))
        snprintf(names[n++], sizeof(names[0]), "%s%s/%s", o->gone ? "-" : "", o->obj->meta.ns.p,
                 o->obj->meta.name.p);
    qsort(names, n, sizeof(names[0]), text_cmp);
    for (size_t i = 0; i < n; i++)
        snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", i ? " " : "", names[i]);
    return all;
}

static void apply(const char *yaml)
{
    mesh_apply(sink, yaml);
}

static void setup(void)
{
    m = mesh_model(&sink);
    apply(POD("shop", "web-1", "app: web, v: '1'", "spec: {nodeName: n1}\n") POD(
        "shop", "web-2", "app: web, v: '2'", "spec: {nodeName: n2}\nstatus: {podIP: 10.0.0.2}\n")
              POD("shop", "db-1", "app: db", "spec: {nodeName: n1, serviceAccountName: db}\n")
                  POD("bank", "web-1", "app: web", "spec: {nodeName: n2}\n")
                      SERVICE("shop", "web", "app: web") SERVICE("bank", "web", "app: web"));
    touched();
}

static void teardown(void)
{
    model_free(m);
}

START_TEST(a_pod_is_itself_only)
{
    apply(POD("shop", "web-1", "app: web", ""));
    ck_assert_str_eq(touched(), "shop/web-1");
    mesh_remove(sink, POD("shop", "web-1", "", ""));
    ck_assert_str_eq(touched(), "-shop/web-1");
    mesh_remove(sink, POD("shop", "web-1", "", "")); /* unknown by now */
    ck_assert_str_eq(touched(), "");
    ck_assert_uint_eq(model_count(m, KOBJ_POD), 3);
}
END_TEST

START_TEST(removed_and_back_in_one_batch)
{
    struct kobj *o AUTO(kobj_unref) = kobj_of(POD("shop", "db-1", "app: db", ""));
    sink.ops->remove(sink.owner, o);
    sink.ops->set(sink.owner, o);
    ck_assert_str_eq(touched(), "shop/db-1");
    sink.ops->set(sink.owner, o);
    sink.ops->remove(sink.owner, o);
    ck_assert_str_eq(touched(), "-shop/db-1");
    ck_assert_str_eq(touched(), "");
    ck_assert_ptr_null(model_find(m, sink.owner, KOBJ_POD, STR("shop"), STR("db-1")));
}
END_TEST

START_TEST(a_service_and_its_pods_before_and_after)
{
    apply(SERVICE("shop", "web", "app: web, v: '1'"));
    ck_assert_str_eq(touched(), "shop/web shop/web-1 shop/web-2");
    apply(SERVICE("shop", "web", "app: db"));
    ck_assert_str_eq(touched(), "shop/db-1 shop/web shop/web-1");
    /* nothing that a pod is told */
    apply("apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n"
          "spec: {clusterIP: 10.96.0.9, selector: {app: db}, ports: [{name: http, port: 80}]}\n");
    ck_assert_str_eq(touched(), "shop/web");
    mesh_remove(sink, SERVICE("shop", "web", "app: db"));
    ck_assert_str_eq(touched(), "-shop/web shop/db-1");
}
END_TEST

START_TEST(a_node_and_the_pods_on_it)
{
    apply("apiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {a: b}}\n");
    ck_assert_str_eq(touched(), "/n1 shop/db-1 shop/web-1");
    mesh_remove(sink, "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n");
    ck_assert_str_eq(touched(), "-/n1 shop/db-1 shop/web-1");
}
END_TEST

START_TEST(a_policy_and_whom_it_selects)
{
    apply(AUTHZ("shop", "p", SELECT("app: web")));
    ck_assert_str_eq(touched(), "shop/p shop/web-1 shop/web-2");
    apply(AUTHZ("shop", "p", SELECT("app: web") ", action: DENY, rules: [{}]"));
    ck_assert_str_eq(touched(), "shop/p"); /* what it says is nothing to the pods */
    apply(AUTHZ("shop", "p", SELECT("app: db")));
    ck_assert_str_eq(touched(), "shop/db-1 shop/p shop/web-1 shop/web-2");
    apply(AUTHZ("shop", "p", ""));
    ck_assert_str_eq(touched(), "shop/db-1 shop/p");
    apply(AUTHZ("istio-system", "p", SELECT("app: web")));
    ck_assert_str_eq(touched(), "bank/web-1 istio-system/p shop/web-1 shop/web-2");
    apply(AUTHZ("shop", "p", SELECT("app: web") ", action: AUDIT"));
    ck_assert_str_eq(touched(), "shop/p"); /* not enforced, so nobody names it */
}
END_TEST

START_TEST(peer_authentication_by_level)
{
    apply(PEER("shop", "w", SELECT("v: '2'") ", mtls: {mode: STRICT}"));
    ck_assert_str_eq(touched(), "shop/w shop/web-2");
    apply(PEER("shop", "all", "mtls: {mode: STRICT}"));
    ck_assert_str_eq(touched(), "shop/all shop/db-1 shop/w shop/web-1 shop/web-2");
    apply(PEER("istio-system", "m", "mtls: {mode: STRICT}"));
    ck_assert_str_eq(touched(), "bank/web-1 istio-system/m shop/all shop/db-1 shop/w shop/web-1 "
                                "shop/web-2");
    apply(PEER("istio-system", "s", SELECT("app: web")));
    ck_assert_str_eq(touched(), "istio-system/s"); /* without effect there */
}
END_TEST

START_TEST(slices_of_a_service_without_selector)
{
    apply(SERVICE("shop", "ext", ""));
    ck_assert_str_eq(touched(), "shop/ext");
    apply(SLICE("shop", "ext-1", "ext",
                "{addresses: [10.0.0.9], targetRef: {kind: Pod, namespace: shop, name: db-1}}, "
                "{addresses: [10.9.9.9]}"));
    ck_assert_str_eq(touched(), "shop/db-1 shop/ext-1");
    apply(SERVICE("shop", "ext", "app: none"));
    ck_assert_str_eq(touched(), "shop/db-1 shop/ext shop/ext-1");
    mesh_remove(sink, SLICE("shop", "ext-1", "ext", ""));
    ck_assert_str_eq(touched(), "-shop/ext-1 shop/db-1");
}
END_TEST

START_TEST(namespaces)
{
    apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {a: b}}\n");
    ck_assert_str_eq(touched(), "/shop");
    apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, annotations: "
          "{networking.istio.io/traffic-distribution: PreferClose}}\n");
    ck_assert_str_eq(touched(), "/shop shop/web");
    apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: istio-system, labels: "
          "{topology.istio.io/network: net1}}\n");
    ck_assert_str_eq(touched(), "/istio-system bank/web bank/web-1 shop/db-1 shop/web shop/web-1 "
                                "shop/web-2");
    ck_assert(str_eqz(model_network(m, sink.owner), "net1"));
}
END_TEST

/* -- questions -- */

static char found[500];

static void note(void *arg, const struct mobject *o)
{
    (void)arg;
    snprintf(found + strlen(found), sizeof(found) - strlen(found), "%s/%s ", o->obj->meta.ns.p,
             o->obj->meta.name.p);
}

static struct mobject *pod(const char *ns, const char *name)
{
    static struct mobject o;
    o.cluster = sink.owner;
    o.obj = (struct kobj *)(uintptr_t)model_find(m, sink.owner, KOBJ_POD, str_of(ns), str_of(name));
    ck_assert_ptr_nonnull(o.obj);
    return &o;
}

static const char *services(const char *ns, const char *name)
{
    found[0] = '\0';
    model_services_of_pod(m, pod(ns, name), note, NULL);
    return found;
}

START_TEST(services_of_a_pod)
{
    ck_assert_str_eq(services("shop", "web-1"), "shop/web ");
    ck_assert_str_eq(services("bank", "web-1"), "bank/web ");
    ck_assert_str_eq(services("shop", "db-1"), "");
    apply(SERVICE("shop", "ext", "")
              SLICE("shop", "ext-1", "ext", "{targetRef: {kind: Pod, namespace: shop, name: db-1}}")
                  SLICE("shop", "ext-2", "ext",
                        "{targetRef: {kind: Pod, namespace: shop, name: db-1}}"));
    ck_assert_str_eq(services("shop", "db-1"), "shop/ext "); /* once */
    apply(SLICE("shop", "ext-1", "ext",
                "{targetRef: {kind: Pod, namespace: shop, name: db-1, uid: other}}"));
    mesh_remove(sink, SLICE("shop", "ext-2", "ext", ""));
    ck_assert_str_eq(services("shop", "db-1"), "");
}
END_TEST

START_TEST(a_second_cluster_is_apart)
{
    struct object_sink other = model_cluster(m, "other");
    ck_assert(!model_synced(m));
    mesh_apply(other, POD("shop", "web-9", "app: web", "") SERVICE("shop", "web", "app: db"));
    ck_assert(model_synced(m));
    ck_assert_str_eq(touched(), "shop/web shop/web-9");
    ck_assert_str_eq(services("shop", "db-1"), "");
    ck_assert_uint_eq(model_count(m, KOBJ_SERVICE), 3);
    apply(AUTHZ("shop", "p", SELECT("app: web"))); /* policies are for all */
    ck_assert_str_eq(touched(), "shop/p shop/web-1 shop/web-2 shop/web-9");
}
END_TEST

START_TEST(who_runs_where)
{
    ck_assert(model_node_runs(m, STR("n1"), STR("shop"), STR("db")));
    ck_assert(model_node_runs(m, STR("n1"), STR("shop"), STR("default")));
    ck_assert(!model_node_runs(m, STR("n2"), STR("shop"), STR("db")));
    ck_assert(!model_node_runs(m, STR(""), STR("shop"), STR("db")));
    apply(POD("shop", "db-1", "app: db",
              "spec: {nodeName: n1, serviceAccountName: db}\nstatus: {phase: Failed}\n"));
    ck_assert(!model_node_runs(m, STR("n1"), STR("shop"), STR("db")));
    struct addr a;
    ck_assert_rc(addr_parse_ip(STR("10.0.0.2"), &a), RC_OK);
    found[0] = '\0';
    model_by_addr(m, &a, note, NULL);
    ck_assert_str_eq(found, "shop/web-2 ");
}
END_TEST

START_TEST(the_oldest_wins)
{
    apply("apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
          "metadata: {name: a, namespace: shop, creationTimestamp: '2026-01-02T00:00:00Z'}\n"
          "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
          "metadata: {name: b, namespace: shop, creationTimestamp: '2026-01-01T00:00:00Z'}\n"
          "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
          "metadata: {name: c, namespace: shop, creationTimestamp: '2026-01-01T00:00:00Z'}\n");
    struct model_mtls t = model_mtls(m, STR("shop"), NULL);
    ck_assert_str_eq(t.ns->obj.meta.name.p, "b");
    ck_assert_ptr_null(t.mesh);
    ck_assert_ptr_null(t.workload);
    ck_assert_ptr_null(model_mtls(m, STR("bank"), NULL).ns);
}
END_TEST

START_TEST(the_roster)
{
    uint64_t before = model_roster(m);
    apply(POD("shop", "web-1", "app: web", "spec: {nodeName: n1}\n"));
    ck_assert_uint_eq(model_roster(m), before);
    apply(POD("shop", "new", "app: web", "spec: {nodeName: n3}\n"));
    ck_assert_uint_ne(model_roster(m), before);
    before = model_roster(m);
    apply("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: x}\n");
    ck_assert_uint_ne(model_roster(m), before);
}
END_TEST

TEST_MAIN_FIXTURE("model", setup, teardown, a_pod_is_itself_only, removed_and_back_in_one_batch,
                  a_service_and_its_pods_before_and_after, a_node_and_the_pods_on_it,
                  a_policy_and_whom_it_selects, peer_authentication_by_level,
                  slices_of_a_service_without_selector, namespaces, services_of_a_pod,
                  a_second_cluster_is_apart, who_runs_where, the_oldest_wins, the_roster)
