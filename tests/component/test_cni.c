/* The plug-in executed as a runtime does it, against a real agent, with real namespaces and rules. */
#include "tests/helper/check.h"
#include "tests/helper/cni.h"

static struct cni_node N;

static void setup(void)
{
    cni_node_init(&N);
}

static void teardown(void)
{
    cni_node_fini(&N);
}

START_TEST(add_returns_when_the_pod_is_captured_and_not_before)
{
    struct netns_id id;
    struct stat st;
    struct cni_run run;
    cni_node_start(&N);
    struct cni_pod p = cni_pod(&N, "a", "");
    N.hold = true;
    cni_start(&N, &(struct cni_call){.verb = "ADD", .pod = &p}, &run);
    CNI_WAIT(&N, cni_told(&N, "+uid-a"));
    ck_assert(cni_captured(&p)); /* closed before the ztunnel is asked */
    for (int i = 0; i < 20; i++) {
        loop_turn(N.l, 10);
        ck_assert(!cni_over(&run));
    }
    zds_client_ack(N.held, NULL);
    CNI_WAIT(&N, cni_over(&run));
    ck_assert_uint_eq(cni_result(&run), 0);
    ck_assert_str_eq(cni_text, CNI_PREV "\n"); /* as it came */
    ck_assert_rc(netns_id(p.netns, &id), RC_OK);
    ck_assert_uint_eq(N.netns, id.ino);
    ck_assert(cni_kept(&N, &p));
    CNI_WAIT(&N, cni_shows(&N, "\"uid\":\"uid-a\",\"state\":\"captured\""));
    ck_assert_uint_eq(cni_metric(&N, "mesh_cni_pods{state=\"captured\"}"), 1);
    ck_assert_int_eq(stat(N.cni, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0600);
    ck_assert_int_eq(stat(N.zds, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0007, 0);
    ck_assert_uint_eq(cni(&N, "CHECK", &p), 0);
    ck_assert_uint_eq(cni(&N, "DEL", &p), 0);
    ck_assert(cni_untouched(&p) && !cni_kept(&N, &p));
    CNI_WAIT(&N, cni_told(&N, "-uid-a"));
    cni_pod_gone(&p);
}
END_TEST

START_TEST(del_always_succeeds)
{
    static const char *const inputs[] = {
        "{\"cniVersion\":\"0.3.1\",\"name\":\"n\",\"socket\":\"/nowhere\",\"state\":\"/nowhere\"}",
        "{\"cniVersion\":\"1.1.0\",\"name\":\"n\",\"socket\":\"/nowhere\",\"state\":\"/nowhere\","
        "\"prevResult\":null}"};
    struct cni_pod p = cni_pod(&N, "a", ""), no_path;
    ck_assert_uint_eq(cni(&N, "DEL", &p), 0); /* no agent has ever run */
    for (int i = 0; i < 2; i++)
        ck_assert_uint_eq(cni_do(&N, &(struct cni_call){"DEL", &p, .input = inputs[i]}), 0);
    cni_node_start(&N);
    ck_assert_uint_eq(cni(&N, "DEL", &p), 0); /* never added */
    ck_assert_uint_eq(cni(&N, "ADD", &p), 0);
    no_path = p;
    no_path.path[0] = '\0';
    ck_assert_uint_eq(cni(&N, "DEL", &no_path), 0);
    ck_assert(cni_untouched(&p) && !cni_kept(&N, &p));
    ck_assert_uint_eq(cni(&N, "DEL", &p), 0);
    ck_assert_uint_eq(cni(&N, "ADD", &p), 0);
    cni_pod_gone(&p); /* the sandbox went first */
    ck_assert_uint_eq(cni(&N, "DEL", &p), 0);
    CNI_WAIT(&N, strstr(N.told, "-uid-a +uid-a -uid-a"));
    ck_assert(!cni_kept(&N, &p));
}
END_TEST

START_TEST(check_sees_what_is_missing)
{
    cni_node_start(&N);
    struct cni_pod p = cni_pod(&N, "a", ""), free_pod = cni_pod(&N, "b",
                                                                "labels: "
                                                                "{istio.io/dataplane-mode: none}");
    ck_assert_uint_eq(cni(&N, "CHECK", &p), 100); /* not known */
    ck_assert_uint_eq(cni(&N, "ADD", &p), 0);
    ck_assert_uint_eq(cni(&N, "ADD", &free_pod), 0);
    ck_assert_uint_eq(cni(&N, "CHECK", &p), 0);
    ck_assert_uint_eq(cni(&N, "CHECK", &free_pod), 0);
    cni_tamper(&p);
    ck_assert_uint_eq(cni(&N, "CHECK", &p), 100);
    ck_assert_ptr_nonnull(strstr(cni_text, "differs from what is intended"));
    ck_assert_rc(rules_remove(p.netns, NULL), RC_OK);
    ck_assert_uint_eq(cni(&N, "CHECK", &p), 100);
    ck_assert_ptr_nonnull(strstr(cni_text, "missing"));
    ck_assert_uint_eq(cni(&N, "ADD", &p), 0); /* the runtime starts over */
    ck_assert_uint_eq(cni(&N, "CHECK", &p), 0);
    struct strbuf conf AUTO_STRBUF;
    strbuf_init(&conf, 10000);
    cni_config(&N, "1.1.0", "", &conf);
    ck_assert_uint_eq(cni_do(&N, &(struct cni_call){"CHECK", &p, .input = conf.p}), 7);
    cni_agent_kill(&N, SIGKILL);
    ck_assert_uint_eq(cni(&N, "CHECK", &p), 11);
    cni_pod_gone(&p);
    cni_pod_gone(&free_pod);
}
END_TEST

START_TEST(status_says_whether_an_add_could_work)
{
    ck_assert_uint_eq(cni(&N, "STATUS", NULL), 50);
    cni_agent_start(&N);
    cni_agent_ready(&N);
    ck_assert_uint_eq(cni(&N, "STATUS", NULL), 50);
    ck_assert_ptr_nonnull(strstr(cni_text, "no ztunnel is connected"));
    cni_ztunnel_start(&N);
    CNI_WAIT(&N, cni_told(&N, "."));
    ck_assert_uint_eq(cni(&N, "STATUS", NULL), 0);
    ck_assert_str_eq(cni_text, "");
}
END_TEST

START_TEST(gc_drops_what_is_not_in_the_list)
{
    struct strbuf conf AUTO_STRBUF;
    strbuf_init(&conf, 10000);
    cni_node_start(&N);
    struct cni_pod a = cni_pod(&N, "a", ""), b = cni_pod(&N, "b", "");
    ck_assert_uint_eq(cni(&N, "ADD", &a), 0);
    ck_assert_uint_eq(cni(&N, "ADD", &b), 0);
    ck_assert_uint_eq(cni(&N, "GC", NULL), 0); /* no list is not an empty list */
    ck_assert(cni_captured(&a) && cni_captured(&b));
    cni_config(&N, "1.1.0",
               ",\"cni.dev/valid-attachments\":[{\"containerID\":\"c-a\",\"ifname\":\"eth0\"},"
               "{\"containerID\":\"c-b\",\"ifname\":\"eth1\"}]",
               &conf);
    ck_assert_uint_eq(cni_do(&N, &(struct cni_call){.verb = "GC", .input = conf.p}), 0);
    ck_assert(cni_captured(&a) && cni_kept(&N, &a));
    ck_assert(cni_untouched(&b) && !cni_kept(&N, &b));
    CNI_WAIT(&N, cni_told(&N, "-uid-b"));
    strbuf_reset(&conf);
    cni_config(&N, "1.1.0", ",\"cni.dev/valid-attachments\":[]", &conf);
    ck_assert_uint_eq(cni_do(&N, &(struct cni_call){.verb = "GC", .input = conf.p}), 0);
    ck_assert(cni_untouched(&a) && !cni_kept(&N, &a));
    cni_pod_gone(&a);
    cni_pod_gone(&b);
}
END_TEST

START_TEST(version_needs_nothing)
{
    ck_assert_uint_eq(cni_do(&N, &(struct cni_call){.verb = "VERSION", .input = ""}), 0);
    ck_assert_str_eq(cni_text,
                     "{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"0.3.1\",\"0.4.0\","
                     "\"1.0.0\",\"1.1.0\"]}\n");
    ck_assert_uint_eq(
        cni_do(&N, &(struct cni_call){.verb = "VERSION", .input = "{\"cniVersion\":\"0.4.0\"}"}),
        0);
    ck_assert_ptr_nonnull(strstr(cni_text, "{\"cniVersion\":\"0.4.0\""));
    ck_assert_uint_eq(cni_do(&N, &(struct cni_call){.verb = "", .input = ""}), 0);
    ck_assert_str_eq(cni_text, ""); /* for a human, on standard error */
}
END_TEST

START_TEST(garbage_is_refused_and_changes_nothing)
{
    cni_node_start(&N);
    struct cni_pod p = cni_pod(&N, "a", "");
    static char big[(5 << 20) + 1];
    memset(big, ' ', sizeof(big) - 1);
    static const struct {
        const char *input;
        size_t n;
        unsigned code;
    } rows[] = {
        {"\0\0\0", 3, 6},
        {"\xff\xfe{", 0, 6},
        {"{", 0, 6},
        {"[]", 0, 6},
        {"{}", 0, 7},
        {"{\"name\":7}", 0, 6},
        {"{\"name\":\"n\"}", 0, 1},
        {"{\"name\":\"n\",\"cniVersion\":\"9.9.9\"}", 0, 1},
        {"{\"name\":\"n\",\"cniVersion\":\"1.0.0\",\"prevResult\":7}", 0, 6},
        {big, sizeof(big) - 1, 5},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct cni_call c = {"ADD", &p, .input = rows[i].input, .input_n = rows[i].n};
        unsigned code = cni_do(&N, &c);
        ck_assert_msg(code == rows[i].code, "%zu: %u: %s", i, code, cni_text);
    }
    ck_assert_uint_eq(cni(&N, "ADD", NULL), 4);
    ck_assert_ptr_nonnull(strstr(cni_text, "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME"));
    ck_assert_uint_eq(cni(&N, "MUL", &p), 4);
    struct cni_pod wrong = p;
    strcpy(wrong.path, "/proc/self/ns/mnt");
    ck_assert_uint_eq(cni(&N, "ADD", &wrong), 8); /* not a network namespace */
    strcpy(wrong.path, "/proc/self/ns/net");
    ck_assert_uint_eq(cni(&N, "ADD", &wrong), 8); /* the plug-in's own */
    snprintf(wrong.path, sizeof(wrong.path), "%s/netns", N.dir);
    ck_assert_uint_eq(cni(&N, "ADD", &wrong), 8); /* vanished */
    strcpy(wrong.container, "../../x");
    ck_assert_uint_eq(cni(&N, "ADD", &wrong), 4);
    ck_assert(cni_untouched(&p) && !cni_kept(&N, &p) && !cni_told(&N, "+"));
    ck_assert_uint_eq(cni(&N, "ADD", &p), 0);
    cni_pod_gone(&p);
}
END_TEST

START_TEST(without_prev_result_and_in_every_version)
{
    static const char *const versions[] = {"0.3.1", "0.4.0", "1.0.0", "1.1.0"};
    cni_node_start(&N);
    struct cni_pod p = cni_pod(&N, "a", "");
    for (int i = 0; i < 4; i++) {
        struct strbuf conf AUTO_STRBUF;
        char want[60];
        strbuf_init(&conf, 10000);
        cni_config(&N, versions[i], "", &conf);
        ck_assert_uint_eq(cni_do(&N, &(struct cni_call){"ADD", &p, .input = conf.p}), 0);
        snprintf(want, sizeof(want), "{\"cniVersion\":\"%s\"}\n", versions[i]);
        ck_assert_str_eq(cni_text, want);
        ck_assert(cni_captured(&p));
        ck_assert_uint_eq(cni_do(&N, &(struct cni_call){"DEL", &p, .input = conf.p}), 0);
    }
    cni_pod_gone(&p);
}
END_TEST

START_TEST(who_is_not_enrolled_passes_untouched)
{
    static const char *const metas[] = {"labels: {istio.io/dataplane-mode: none}",
                                        "annotations: {sidecar.istio.io/status: '{}'}"};
    cni_node_start(&N);
    for (int i = 0; i < 2; i++) {
        struct cni_pod p = cni_pod(&N, i ? "b" : "a", metas[i]);
        ck_assert_uint_eq(cni(&N, "ADD", &p), 0);
        ck_assert_str_eq(cni_text, CNI_PREV "\n");
        ck_assert(cni_untouched(&p));
        cni_pod_gone(&p);
    }
    struct cni_pod p = cni_pod(&N, "c", NULL);
    static const char *const left_alone[] = {"kube-system", "istio-system"};
    for (int i = 0; i < 2; i++) /* not even looked for in the source */
        ck_assert_uint_eq(cni_do(&N, &(struct cni_call){"ADD", &p, .ns = left_alone[i]}), 0);
    ck_assert(cni_untouched(&p) && !cni_told(&N, "+"));
    ck_assert_uint_eq(cni(&N, "ADD", &p), 11); /* unknown: nobody can say that it may pass */
    ck_assert_ptr_nonnull(strstr(cni_text, "shop/c is not known"));
    cni_pod_gone(&p);
}
END_TEST

START_TEST(a_pod_the_source_tells_of_a_moment_later)
{
    struct cni_run run;
    cni_node_start(&N);
    struct cni_pod p = cni_pod(&N, "late", NULL);
    cni_start(&N, &(struct cni_call){.verb = "ADD", .pod = &p}, &run);
    for (int i = 0; i < 10; i++)
        loop_turn(N.l, 10);
    cni_pod_object(&N, "late", "uid-late", "");
    CNI_WAIT(&N, cni_over(&run));
    ck_assert_uint_eq(cni_result(&run), 0);
    ck_assert(cni_captured(&p) && cni_told(&N, "+uid-late"));
    cni_pod_gone(&p);
}
END_TEST

START_TEST(labels_that_change_capture_and_release)
{
    cni_node_start(&N);
    struct cni_pod p = cni_pod(&N, "a", "");
    ck_assert_uint_eq(cni(&N, "ADD", &p), 0);
    cni_pod_object(&N, "a", "uid-a", "labels: {istio.io/dataplane-mode: none}");
    CNI_WAIT(&N, cni_told(&N, "-uid-a") && cni_untouched(&p));
    ck_assert_uint_eq(cni(&N, "CHECK", &p), 0);
    cni_pod_object(&N, "a", "uid-a", "labels: {}");
    CNI_WAIT(&N, cni_told(&N, "-uid-a +uid-a") && cni_captured(&p));
    cni_namespace(&N, "shop", "");
    CNI_WAIT(&N, cni_told(&N, "-uid-a +uid-a -uid-a") && cni_untouched(&p));
    cni_namespace(&N, "shop", "istio.io/dataplane-mode: ambient");
    CNI_WAIT(&N, cni_told(&N, "-uid-a +uid-a -uid-a +uid-a") && cni_captured(&p));
    CNI_WAIT(&N, cni_shows(&N, "\"uid\":\"uid-a\",\"state\":\"captured\""));
    ck_assert_uint_eq(cni(&N, "DEL", &p), 0);
    cni_pod_gone(&p);
}
END_TEST

START_TEST(two_interfaces_of_one_pod)
{
    cni_node_start(&N);
    struct cni_pod p = cni_pod(&N, "a", "");
    ck_assert_uint_eq(cni(&N, "ADD", &p), 0);
    ck_assert_uint_eq(cni_do(&N, &(struct cni_call){"ADD", &p, .ifname = "net1"}), 0);
    ck_assert_str_eq(strchr(N.told, '+'), "+uid-a "); /* the ztunnel knows it already */
    ck_assert_uint_eq(cni(&N, "DEL", &p), 0);
    ck_assert_msg(cni_captured(&p), "the pod still has an interface"); /* never open in between */
    ck_assert_uint_eq(cni_do(&N, &(struct cni_call){"CHECK", &p, .ifname = "net1"}), 0);
    ck_assert(!cni_told(&N, "-uid-a"));
    ck_assert_uint_eq(cni_do(&N, &(struct cni_call){"DEL", &p, .ifname = "net1"}), 0);
    CNI_WAIT(&N, cni_told(&N, "-uid-a"));
    ck_assert(cni_untouched(&p));
    cni_pod_gone(&p);
}
END_TEST

START_TEST(a_sandbox_that_replaces_another)
{
    cni_node_start(&N);
    struct cni_pod old = cni_pod(&N, "a", ""), young = cni_pod(&N, "a", NULL);
    strcpy(young.container, "c-a-2");
    ck_assert_uint_eq(cni(&N, "ADD", &old), 0);
    ck_assert_uint_eq(cni(&N, "ADD", &young), 0);
    struct netns_id id;
    ck_assert_rc(netns_id(young.netns, &id), RC_OK);
    ck_assert_uint_eq(N.netns, id.ino);
    cni_pod_object(&N, "a", "uid-a", "labels: {x: y}"); /* everything is looked at again */
    struct cni_pod other = cni_pod(&N, "b", "labels: {istio.io/dataplane-mode: none}");
    ck_assert_uint_eq(cni(&N, "ADD", &other), 0);
    cni_pod_gone(&other);
    ck_assert_uint_eq(cni(&N, "DEL", &old), 0); /* must not take the new one's ztunnel away */
    ck_assert_uint_eq(cni(&N, "CHECK", &young), 0);
    ck_assert(cni_captured(&young));
    ck_assert_str_eq(N.told, ". +uid-a +uid-a ");
    ck_assert(cni_shows(&N, "\"uid\":\"uid-a\",\"state\":\"captured\""));
    cni_pod_gone(&old);
    cni_pod_gone(&young);
}
END_TEST

START_TEST(pods_without_a_uid_are_told_apart)
{
    cni_node_start(&N);
    struct cni_pod a = cni_pod(&N, "a", NULL), b = cni_pod(&N, "b", NULL);
    cni_pod_object(&N, "a", NULL, "");
    cni_pod_object(&N, "b", NULL, "");
    ck_assert_uint_eq(cni(&N, "ADD", &a), 0);
    ck_assert_uint_eq(cni(&N, "ADD", &b), 0);
    ck_assert(cni_captured(&a) && cni_captured(&b));
    CNI_WAIT(&N, cni_metric(&N, "mesh_cni_pods{state=\"captured\"}") == 2);
    ck_assert_msg(!strstr(N.told, "+ "), "a pod without a name: %s", N.told);
    cni_pod_gone(&a);
    cni_pod_gone(&b);
}
END_TEST

TEST_MAIN_FIXTURE("cni", setup, teardown, add_returns_when_the_pod_is_captured_and_not_before,
                  del_always_succeeds, check_sees_what_is_missing,
                  status_says_whether_an_add_could_work, gc_drops_what_is_not_in_the_list,
                  version_needs_nothing, garbage_is_refused_and_changes_nothing,
                  without_prev_result_and_in_every_version, who_is_not_enrolled_passes_untouched,
                  a_pod_the_source_tells_of_a_moment_later, labels_that_change_capture_and_release,
                  two_interfaces_of_one_pod, a_sandbox_that_replaces_another,
                  pods_without_a_uid_are_told_apart)
