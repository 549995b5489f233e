/* The plug-in and the agent when something is missing, dies, lies or fills up. */
#include <dirent.h>
#include <sys/resource.h>

#include "cni/wire.h"
#include "tests/helper/check.h"
#include "tests/helper/cni.h"
#include "tests/helper/tmpfs.h"

static struct cni_node N;

static void setup(void)
{
    cni_node_init(&N);
}

static void teardown(void)
{
    cni_node_fini(&N);
}

static size_t count(const char *text, const char *what)
{
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, what)); at++)
        n++;
    return n;
}

static bool is_captured(const char *uid)
{
    char want[100];
    snprintf(want, sizeof(want), "\"uid\":\"%s\",\"state\":\"captured\"", uid);
    return cni_shows(&N, want);
}

/* -- the ztunnel -- */

START_TEST(without_a_ztunnel_nothing_starts_and_nothing_is_open)
{
    cni_agent_start(&N);
    cni_agent_ready(&N);
    struct cni_pod p = cni_pod(&N, "a", "");
    ck_assert_uint_eq(cni(&N, "ADD", &p), 11);
    ck_assert_ptr_nonnull(strstr(cni_text, "no ztunnel is connected"));
    ck_assert(cni_captured(&p)); /* nothing leaves in plaintext */
    ck_assert_uint_eq(cni(&N, "CHECK", &p), 11);
    ck_assert_uint_eq(cni(&N, "DEL", &p), 0);
    ck_assert(cni_untouched(&p));
    ck_assert_uint_eq(cni(&N, "ADD", &p), 11);
    cni_ztunnel_start(&N); /* it comes, and takes what waits */
    CNI_WAIT(&N, is_captured("uid-a"));
    ck_assert_uint_eq(cni(&N, "CHECK", &p), 0);
    cni_pod_gone(&p);
}
END_TEST

START_TEST(a_ztunnel_that_refuses)
{
    N.verify = "100ms";
    cni_node_start(&N);
    struct cni_pod p = cni_pod(&N, "a", "");
    N.refuse = "no listener: \"address in use\"";
    ck_assert_uint_eq(cni(&N, "ADD", &p), 11);
    ck_assert_ptr_nonnull(strstr(cni_text, "ztunnel: no listener: \\\"address in use\\\""));
    ck_assert(cni_captured(&p));
    N.refuse = NULL;
    CNI_WAIT(&N, is_captured("uid-a")); /* asked again */
    cni_pod_gone(&p);
}
END_TEST

START_TEST(a_ztunnel_that_is_silent_or_leaves)
{
    struct cni_run run;
    cni_node_start(&N);
    struct cni_pod p = cni_pod(&N, "a", "");
    N.hold = true;
    cni_start(&N, &(struct cni_call){.verb = "ADD", .pod = &p}, &run);
    CNI_WAIT(&N, cni_told(&N, "+uid-a"));
    cni_ztunnel_stop(&N);
    CNI_WAIT(&N, cni_over(&run));
    ck_assert_uint_eq(cni_result(&run), 11);
    ck_assert_ptr_nonnull(strstr(cni_text, "closed the link"));
    ck_assert_uint_eq(cni(&N, "DEL", &p), 0);
    cni_ztunnel_start(&N);
    CNI_WAIT(&N, cni_told(&N, "."));
    ck_assert_uint_eq(cni(&N, "ADD", &p), 11); /* 5 s */
    ck_assert_ptr_nonnull(strstr(cni_text, "did not answer"));
    N.hold = false;
    zds_client_ack(N.held, NULL); /* too late: it dials again, and is told */
    CNI_WAIT(&N, is_captured("uid-a"));
    cni_pod_gone(&p);
}
END_TEST

START_TEST(each_ztunnel_that_connects_is_told_everything)
{
    cni_node_start(&N);
    struct cni_pod a = cni_pod(&N, "a", ""), b = cni_pod(&N, "b", "");
    ck_assert_uint_eq(cni(&N, "ADD", &a), 0);
    ck_assert_uint_eq(cni(&N, "ADD", &b), 0);
    for (int i = 0; i < 3; i++) {
        cni_ztunnel_stop(&N);
        cni_ztunnel_start(&N);
        CNI_WAIT(&N, cni_told(&N, "."));
        ck_assert_str_eq(N.told, "+uid-a +uid-b . ");
    }
    cni_pod_gone(&a);
    cni_pod_gone(&b);
}
END_TEST

/* -- the agent -- */

START_TEST(while_no_agent_runs_only_what_is_free_may_start)
{
    struct cni_pod p = cni_pod(&N, "a", "labels: {istio.io/dataplane-mode: ambient}");
    ck_assert_uint_eq(cni(&N, "ADD", &p), 11); /* none has ever run */
    cni_namespace(&N, "free", "");
    cni_node_start(&N);
    cni_agent_kill(&N, SIGKILL);
    ck_assert_uint_eq(cni(&N, "ADD", &p), 11);
    ck_assert_ptr_nonnull(strstr(cni_text, "namespace shop is enrolled"));
    ck_assert_uint_eq(cni_do(&N, &(struct cni_call){"ADD", &p, .ns = "unknown"}), 11);
    ck_assert_uint_eq(cni_do(&N, &(struct cni_call){"ADD", &p, .ns = "kube-system"}), 11);
    ck_assert_uint_eq(cni_do(&N, &(struct cni_call){"ADD", &p, .ns = "istio-system"}), 0);
    ck_assert(!cni_kept(&N, &p));
    ck_assert_uint_eq(cni_do(&N, &(struct cni_call){"ADD", &p, .ns = "free"}), 0);
    ck_assert_str_eq(cni_text, CNI_PREV "\n");
    ck_assert(cni_kept(&N, &p) && cni_untouched(&p));
    ck_assert_uint_eq(cni(&N, "DEL", &p), 0);
    ck_assert(!cni_kept(&N, &p));
    cni_pod_gone(&p);
}
END_TEST

START_TEST(a_pod_that_passed_is_captured_when_the_agent_is_back)
{
    cni_namespace(&N, "shop", "");
    cni_node_start(&N);
    cni_agent_kill(&N, SIGKILL);
    struct cni_pod p = cni_pod(&N, "a", "labels: {istio.io/dataplane-mode: ambient}");
    ck_assert_uint_eq(cni(&N, "ADD", &p), 0);
    ck_assert(cni_untouched(&p));
    cni_agent_start(&N);
    CNI_WAIT(&N, cni_told(&N, "+uid-a") && cni_captured(&p));
    cni_agent_ready(&N);
    CNI_WAIT(&N, is_captured("uid-a"));
    cni_pod_gone(&p);
}
END_TEST

START_TEST(killed_in_the_middle_of_an_add)
{
    struct cni_run run;
    struct netns_id id;
    cni_node_start(&N);
    struct cni_pod p = cni_pod(&N, "a", "");
    N.hold = true;
    cni_start(&N, &(struct cni_call){.verb = "ADD", .pod = &p}, &run);
    CNI_WAIT(&N, cni_told(&N, "+uid-a"));
    cni_agent_kill(&N, SIGKILL);
    CNI_WAIT(&N, cni_over(&run));
    ck_assert_uint_eq(cni_result(&run), 11);
    N.hold = false;
    zds_client_ack(N.held, NULL);
    ck_assert_uint_eq(cni(&N, "DEL", &p),
                      0); /* kubelet clears away, in a new sandbox it tries again */
    cni_pod_gone(&p);
    cni_agent_start(&N);
    cni_agent_ready(&N);
    N.told[0] = '\0';
    struct cni_pod q = cni_pod(&N, "a", NULL);
    strcpy(q.container, "c-a-2");
    CNI_WAIT(&N, cni_told(&N, ". "));
    ck_assert_str_eq(N.told, ". ");
    ck_assert_uint_eq(cni(&N, "ADD", &q), 0);
    ck_assert_rc(netns_id(q.netns, &id), RC_OK);
    ck_assert(N.netns == id.ino && cni_captured(&q));
    cni_pod_gone(&q);
}
END_TEST

START_TEST(killed_and_back_with_what_was_captured)
{
    struct netns_id id;
    cni_node_start(&N);
    struct cni_pod a = cni_pod(&N, "a", ""), b = cni_pod(&N, "b", ""), c = cni_pod(&N, "c", "");
    ck_assert_uint_eq(cni(&N, "ADD", &a), 0);
    ck_assert_uint_eq(cni(&N, "ADD", &b), 0);
    ck_assert_uint_eq(cni(&N, "ADD", &c), 0);
    cni_agent_kill(&N, SIGKILL);
    ck_assert(cni_captured(&a));                      /* it goes on without an agent */
    cni_tamper(&a);                                   /* somebody opens a hole */
    ck_assert_rc(rules_remove(b.netns, NULL), RC_OK); /* or flushes everything */
    cni_pod_gone(&c);                                 /* and a pod goes */
    N.told[0] = '\0';
    cni_agent_start(&N);
    cni_agent_ready(&N);
    ck_assert_msg(cni_captured(&a) && cni_captured(&b), "ready, and not captured");
    CNI_WAIT(&N, cni_told(&N, ". ") && cni_told(&N, "+uid-a") && cni_told(&N, "+uid-b"));
    ck_assert(!cni_told(&N, "uid-c") && !cni_kept(&N, &c));
    CNI_WAIT(&N, is_captured("uid-a") && is_captured("uid-b"));
    ck_assert_rc(netns_id(b.netns, &id), RC_OK);
    ck_assert_uint_eq(cni(&N, "DEL", &a), 0);
    ck_assert(cni_untouched(&a));
    cni_pod_gone(&a);
    cni_pod_gone(&b);
}
END_TEST

START_TEST(killed_while_the_source_knows_nothing)
{
    cni_node_start(&N);
    struct cni_pod p = cni_pod(&N, "a", "");
    ck_assert_uint_eq(cni(&N, "ADD", &p), 0);
    cni_agent_kill(&N, SIGKILL);
    char file[200];
    snprintf(file, sizeof(file), "%s/a.yaml", N.source);
    ck_assert_int_eq(unlink(file), 0);
    N.told[0] = '\0';
    cni_agent_start(&N);
    cni_agent_ready(&N);
    CNI_WAIT(&N, cni_told(&N, ". "));
    ck_assert_str_eq(N.told, "=uid-a . "); /* the ztunnel keeps what it has */
    ck_assert(cni_captured(&p));
    cni_pod_gone(&p);
}
END_TEST

/* -- the pods' namespaces -- */

START_TEST(rules_that_are_changed_are_written_again)
{
    N.verify = "100ms";
    cni_node_start(&N);
    struct cni_pod p = cni_pod(&N, "a", "");
    ck_assert_uint_eq(cni(&N, "ADD", &p), 0);
    cni_tamper(&p);
    CNI_WAIT(&N, cni_captured(&p));
    ck_assert_rc(rules_remove(p.netns, NULL), RC_OK);
    CNI_WAIT(&N, cni_captured(&p));
    CNI_WAIT(&N, cni_metric(&N, "mesh_cni_rule_repairs_total") >= 2);
    cni_pod_gone(&p);
}
END_TEST

START_TEST(a_namespace_that_vanishes_is_dropped)
{
    N.verify = "100ms";
    cni_node_start(&N);
    struct cni_pod p = cni_pod(&N, "a", ""), q = cni_pod(&N, "b", "");
    ck_assert_uint_eq(cni(&N, "ADD", &p), 0);
    ck_assert_uint_eq(cni(&N, "ADD", &q), 0);
    cni_pod_gone(&p);
    CNI_WAIT(&N, cni_told(&N, "-uid-a") && !cni_kept(&N, &p));
    CNI_WAIT(&N, strstr(cni_log(&N), "the network namespace of shop/a"));
    ck_assert(cni_captured(&q) && cni_kept(&N, &q) && !cni_told(&N, "-uid-b"));
    ck_assert_uint_eq(cni(&N, "DEL", &p), 0);
    cni_pod_gone(&q);
}
END_TEST

static rlim_t lowest_free(pid_t pid)
{
    for (rlim_t fd = 0;; fd++) {
        char path[60];
        struct stat st;
        snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, (int)fd);
        if (lstat(path, &st) != 0)
            return fd;
    }
}

START_TEST(without_descriptors_nothing_is_forgotten)
{
    struct rlimit old, few;
    N.verify = "100ms";
    cni_node_start(&N);
    struct cni_pod p = cni_pod(&N, "a", "");
    ck_assert_uint_eq(cni(&N, "ADD", &p), 0);
    ck_assert_int_eq(prlimit(N.agent, RLIMIT_NOFILE, NULL, &old), 0);
    few = old;
    few.rlim_cur = lowest_free(N.agent);
    ck_assert_int_eq(prlimit(N.agent, RLIMIT_NOFILE, &few, NULL), 0);
    size_t before = strlen(cni_log(&N));
    CNI_WAIT(&N, count(cni_log(&N) + before, "shop/a") >= 2); /* two rounds have failed */
    ck_assert_int_eq(prlimit(N.agent, RLIMIT_NOFILE, &old, NULL), 0);
    ck_assert_msg(cni_kept(&N, &p) && !cni_told(&N, "-uid"), "%s", cni_log(&N));
    CNI_WAIT(&N, is_captured("uid-a"));
    ck_assert_uint_eq(cni(&N, "CHECK", &p), 0);
    cni_pod_gone(&p);
}
END_TEST

/* -- killed at any moment -- */

enum { PODS = 8, ROUNDS = 12 };

/* What kubelet does: until it works; after each failure it clears away. */
static void until_added(struct cni_pod *p, struct cni_run *run)
{
    for (int i = 0; i < 20; i++) {
        CNI_WAIT(&N, cni_over(run));
        unsigned code = cni_result(run);
        if (code == 0)
            return;
        ck_assert_msg(code == 11 || code == 50, "%u: %s", code, cni_text);
        ck_assert_uint_eq(cni(&N, "DEL", p), 0);
        cni_start(&N, &(struct cni_call){.verb = "ADD", .pod = p}, run);
    }
    ck_abort_msg("%s never started: %s", p->name, cni_log(&N));
}

START_TEST(killed_at_any_moment)
{
    struct cni_pod pods[PODS];
    struct cni_run runs[PODS];
    bool in[PODS] = {false};
    unsigned seed = 1;
    cni_node_start(&N);
    for (int i = 0; i < PODS; i++) {
        char name[20];
        snprintf(name, sizeof(name), "p%d", i);
        pods[i] = cni_pod(&N, name, "");
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < PODS; i++) {
            const char *verb = in[i] ? "DEL" : "ADD";
            cni_start(&N, &(struct cni_call){.verb = verb, .pod = &pods[i]}, &runs[i]);
        }
        int64_t end = clock_mono_ms() + rand_r(&seed) % 60;
        while (clock_mono_ms() < end)
            loop_turn(N.l, 1);
        cni_agent_kill(&N, SIGKILL);
        cni_agent_start(&N);
        for (int i = 0; i < PODS; i++) {
            if (!in[i]) {
                until_added(&pods[i], &runs[i]);
            } else {
                CNI_WAIT(&N, cni_over(&runs[i]));
                ck_assert_uint_eq(cni_result(&runs[i]), 0);
            }
            in[i] = !in[i];
        }
        cni_agent_ready(&N);
        for (int i = 0; i < PODS; i++)
            ck_assert_msg(in[i] == cni_kept(&N, &pods[i]) && (!in[i] || cni_captured(&pods[i])),
                          "round %d, pod %d: %s", round, i, cni_log(&N));
    }
    cni_ztunnel_stop(&N);
    cni_ztunnel_start(&N);
    CNI_WAIT(&N, cni_told(&N, "."));
    for (int i = 0; i < PODS; i++) {
        ck_assert_msg(cni_told(&N, pods[i].name) == in[i], "%s", N.told);
        cni_pod_gone(&pods[i]);
    }
}
END_TEST

/* -- many, full, hostile -- */

#define MANY 50

START_TEST(fifty_at_once)
{
    static struct cni_pod pods[MANY];
    static struct cni_run runs[MANY];
    cni_node_start(&N);
    for (int i = 0; i < MANY; i++) {
        char name[20];
        snprintf(name, sizeof(name), "p%d", i);
        pods[i] = cni_pod(&N, name, "");
    }
    static const char *const verbs[] = {"ADD", "CHECK", "DEL"};
    for (int v = 0; v < 3; v++) {
        int64_t t0 = clock_mono_ms();
        for (int i = 0; i < MANY; i++)
            cni_start(&N, &(struct cni_call){.verb = verbs[v], .pod = &pods[i]}, &runs[i]);
        for (int i = 0; i < MANY; i++) {
            CNI_WAIT(&N, cni_over(&runs[i]));
            ck_assert_msg(cni_result(&runs[i]) == 0, "%s %d: %s", verbs[v], i, cni_text);
        }
        ck_assert_int_lt(clock_mono_ms() - t0, 25000);
        for (int i = 0; i < MANY; i++)
            ck_assert(v < 2 ? cni_captured(&pods[i]) : cni_untouched(&pods[i]));
    }
    CNI_WAIT(&N, count(N.told, "-uid-p") == MANY);
    ck_assert_uint_eq(count(N.told, "+uid-p"), MANY);
    for (int i = 0; i < MANY; i++)
        cni_pod_gone(&pods[i]);
}
END_TEST

static void a_full_disk(void)
{
    char filler[200], block[4096];
    struct cni_pod p = cni_pod(&N, "a", "");
    if (!tmpfs_mount(N.state, 256))
        return; /* no right to mount: shows nothing */
    memset(block, 1, sizeof(block));
    snprintf(filler, sizeof(filler), "%s/filler", N.state);
    cni_node_start(&N);
    int fd = open(filler, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    while (write(fd, block, sizeof(block)) > 0)
        ;
    close(fd);
    ck_assert_uint_eq(cni(&N, "ADD", &p), 5);
    ck_assert_ptr_nonnull(strstr(cni_text, "No space left on device"));
    ck_assert(cni_untouched(&p) && !cni_kept(&N, &p) && !cni_told(&N, "+"));
    ck_assert_uint_eq(cni(&N, "DEL", &p), 0);
    ck_assert_int_eq(unlink(filler), 0);
    ck_assert_uint_eq(cni(&N, "ADD", &p), 0);
    ck_assert(cni_captured(&p) && cni_kept(&N, &p));
    cni_agent_kill(&N, SIGTERM);
    cni_pod_gone(&p);
    ck_assert_int_eq(umount(N.state), 0);
}

START_TEST(a_full_disk_under_the_state)
{
    a_full_disk();
}
END_TEST

static int dial(void)
{
    int fd = -1;
    enum rc rc;
    while ((rc = sock_connect_unix(N.cni, SOCK_SEQPACKET, &fd)) == RC_AGAIN)
        loop_turn(N.l, 5);
    ck_assert_rc(rc, RC_OK);
    return fd;
}

/* What the agent answers to raw bytes; 0: it hung up. */
static uint64_t say(struct str packet, int fd)
{
    struct arena arena AUTO_ARENA;
    struct strbuf b AUTO_STRBUF;
    struct wire_answer a = {0};
    int s = dial(), got = -1;
    struct pollfd p = {.fd = s, .events = POLLIN};
    arena_init(&arena, 1 << 20);
    strbuf_init(&b, WIRE_ANSWER_MAX);
    ck_assert_rc(wire_send(s, packet, fd), RC_OK);
    ck_assert_int_eq(poll(&p, 1, 20000), 1);
    if (wire_recv(s, WIRE_ANSWER_MAX, &b, &got) == RC_OK)
        ck_assert_rc(wire_answer_parse(&arena, strbuf_str(&b), &a), RC_OK);
    ck_assert(got == -1);
    close(s);
    return a.code;
}

static size_t descriptors(void)
{
    char path[40];
    size_t n = 0;
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)N.agent);
    DIR *d = opendir(path);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

START_TEST(nonsense_at_the_door)
{
    static char big[WIRE_PACKET_MAX];
    struct strbuf add AUTO_STRBUF;
    cni_node_start(&N);
    struct cni_pod p = cni_pod(&N, "a", "");
    struct attachment a = {
        .container = STR("c-a"), .ifname = STR("eth0"), .ns = STR("shop"), .name = STR("a")};
    memset(big, '[', sizeof(big));
    strbuf_init(&add, 10000);
    wire_request_format(WIRE_ADD, &a, STR(""), &add);
    ck_assert_uint_eq(say(STR("{\"type\":\"status\"}"), -1), 0);
    size_t before = descriptors();
    for (int i = 0; i < 20; i++) { /* connections of a moment ago close */
        loop_turn(N.l, 5);
        before = MIN(before, descriptors());
    }
    ck_assert_uint_eq(say(STR("\xff\xff"), -1), 100);
    ck_assert_uint_eq(say(STR("{\"type\":\"probe\"}"), 0), 100);
    ck_assert_uint_eq(say((struct str){big, sizeof(big)}, -1), 100);
    ck_assert_uint_eq(say(strbuf_str(&add), -1), 8);   /* no namespace */
    ck_assert_uint_eq(say(strbuf_str(&add), 0), 8);    /* something else */
    ck_assert_uint_eq(say(strbuf_str(&add), N.ns), 8); /* the node's own */
    struct cni_call call = {"ADD", &p};
    int idle[100];
    for (int i = 0; i < 100; i++)
        idle[i] = dial(); /* and never a word */
    ck_assert_uint_eq(cni_do(&N, &call), 0);
    for (int i = 0; i < 100; i++)
        close(idle[i]);
    ck_assert_uint_eq(cni(&N, "DEL", &p), 0);
    CNI_WAIT(&N, descriptors() <= before);
    ck_assert(cni_untouched(&p));
    cni_pod_gone(&p);
}
END_TEST

START_TEST(only_root_may_ask)
{
    cni_node_start(&N);
    ck_assert_int_eq(chmod(N.dir, 0755), 0);
    pid_t pid = fork();
    if (pid == 0) {
        int fd;
        if (setgid(65534) != 0 || setuid(65534) != 0)
            _exit(2);
        bool cni_open = sock_connect_unix(N.cni, SOCK_SEQPACKET, &fd) == RC_OK;
        bool zds_open = sock_connect_unix(N.zds, SOCK_SEQPACKET, &fd) == RC_OK;
        _exit(cni_open || zds_open);
    }
    int status = -1;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
}
END_TEST

static uint64_t kilobytes(const char *key)
{
    char path[40];
    struct strbuf b AUTO_STRBUF;
    strbuf_init(&b, 65536);
    snprintf(path, sizeof(path), "/proc/%d/status", (int)N.agent);
    ck_assert_rc(file_read(path, 65536, &b, NULL), RC_OK);
    char *at = strstr(b.p, key);
    return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

START_TEST(memory_stays_small)
{
    cni_node_start(&N);
    struct cni_pod pods[20];
    for (int i = 0; i < 20; i++) {
        char name[20];
        snprintf(name, sizeof(name), "p%d", i);
        pods[i] = cni_pod(&N, name, "");
        ck_assert_uint_eq(cni(&N, "ADD", &pods[i]), 0);
    }
#ifndef MESH_SANITIZED
    ck_assert_uint_le(kilobytes("VmRSS:"), 10 * 1024);
    ck_assert_uint_le(kilobytes("RssAnon:"), 3 * 1024);
#else
    ck_assert_uint_gt(kilobytes("VmRSS:"), 0);
#endif
    for (int i = 0; i < 20; i++)
        cni_pod_gone(&pods[i]);
}
END_TEST

TEST_MAIN_FIXTURE("cni_faults", setup, teardown,
                  without_a_ztunnel_nothing_starts_and_nothing_is_open, a_ztunnel_that_refuses,
                  a_ztunnel_that_is_silent_or_leaves, each_ztunnel_that_connects_is_told_everything,
                  while_no_agent_runs_only_what_is_free_may_start,
                  a_pod_that_passed_is_captured_when_the_agent_is_back,
                  killed_in_the_middle_of_an_add, killed_and_back_with_what_was_captured,
                  killed_while_the_source_knows_nothing, killed_at_any_moment,
                  rules_that_are_changed_are_written_again, a_namespace_that_vanishes_is_dropped,
                  without_descriptors_nothing_is_forgotten, fifty_at_once,
                  a_full_disk_under_the_state, nonsense_at_the_door, only_root_may_ask,
                  memory_stays_small)
