/* A role that does nothing, with its ports and its end. The log goes to a memory file, from which
 * the test also learns the ports. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/runtime.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/log/log.h"
#include "lib/metric/metric.h"
#include "lib/net/sock.h"
#include "tests/helper/check.h"

struct conf {
    struct runtime_config runtime;
    const char *token;
};
static const struct config_setting settings[] = {
    RUNTIME_SETTINGS(struct conf, runtime, "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"),
    {.name = "token",
     .type = CONFIG_STRING,
     .offset = offsetof(struct conf, token),
     .doc = "A token.",
     .secret = true},
    CONFIG_END,
};
static const struct role role = {.name = "test", .help = "t", .about = "T.", .settings = settings};

static struct conf conf;
static struct runtime *rt;
static int log_fd;

static void start(void)
{
    struct errmsg e;
    const char *const argv[] = {"--log=info,x=off", "--token=secret"};
    ck_assert_msg(config_parse(settings, &conf, 2, argv, &e) == RC_OK, "%s", e.text);
    log_fd = memfd_create("log", MFD_CLOEXEC);
    log_output(log_fd);
    rt = runtime_new(&role, &conf.runtime, &conf);
    ck_assert_ptr_nonnull(rt);
}

static void stop(void)
{
    runtime_free(rt);
    config_fini(settings, &conf);
    log_output(STDOUT_FILENO);
    close(log_fd);
}

static const char *logged(const char *want)
{
    static char buf[65536];
    int64_t until = clock_mono_ms() + 10000;
    for (;;) {
        ssize_t n = pread(log_fd, buf, sizeof(buf) - 1, 0);
        ck_assert_int_ge(n, 0);
        buf[n] = '\0';
        const char *at = strstr(buf, want);
        if (at)
            return at;
        ck_assert_msg(clock_mono_ms() < until, "not logged: %s; but: %s", want, buf);
        loop_turn(runtime_loop(rt), 5);
    }
}

static char answer[1 << 20];

/* One request to the port called name; the whole answer. */
static const char *ask(const char *name, const char *method, const char *target, const char *accept)
{
    char key[64];
    snprintf(key, sizeof(key), "port=\"%s\" address=", name);
    struct str rest, line = str_split(str_of(logged(key) + strlen(key)), '\n', &rest);
    struct addr at;
    ck_assert_rc(addr_parse_port(line, &at), RC_OK);
    int fd;
    bool connecting;
    ck_assert_rc(sock_connect_tcp(&at, NULL, &SOCK_OPTS_DEFAULT, &fd, &connecting), RC_OK);
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    ck_assert_int_eq(poll(&p, 1, 5000), 1);
    dprintf(fd, "%s %s HTTP/1.0\r\nAccept: %s\r\n\r\n", method, target, accept);
    size_t n = 0;
    int64_t until = clock_mono_ms() + 10000;
    for (;;) {
        ssize_t got = recv(fd, answer + n, sizeof(answer) - 1 - n, 0);
        if (got == 0)
            break;
        ck_assert(got > 0 || errno == EAGAIN);
        ck_assert_int_lt(clock_mono_ms(), until);
        if (got < 0)
            loop_turn(runtime_loop(rt), 5);
        else
            n += (size_t)got;
    }
    answer[n] = '\0';
    close(fd);
    return answer;
}

static bool has(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

START_TEST(readiness)
{
    start();
    struct runtime_task *a = runtime_task_new(rt, "state manager");
    struct runtime_task *b = runtime_task_new(rt, "proxy");
    const char *got = ask("readiness", "GET", "/healthz/ready", "*/*");
    ck_assert(has(got, "HTTP/1.1 500 "));
    ck_assert(has(got, "\r\n\r\nnot ready, pending: state manager, proxy"));
    runtime_task_done(a);
    ck_assert(has(ask("readiness", "GET", "/ready", "*/*"), "pending: proxy"));
    runtime_task_done(b);
    ck_assert(has(ask("readiness", "GET", "/healthz/ready", "*/*"), "200 OK"));
    ck_assert(has(answer, "\r\n\r\nready"));
    ck_assert(has(ask("readiness", "GET", "/readyz", "*/*"), "200 OK"));
    ck_assert(has(ask("readiness", "POST", "/healthz/ready", "*/*"), " 405 "));
    ck_assert(has(ask("readiness", "GET", "/", "*/*"), " 404 "));
    runtime_task_undone(a);
    ck_assert(!runtime_ready(rt));
    ck_assert(has(ask("readiness", "GET", "/healthz", "*/*"), "200 OK")); /* alive all the same */
    stop();
}
END_TEST

START_TEST(metrics)
{
    start();
    const char *got = ask("metrics", "GET", "/metrics", "text/plain");
    ck_assert(has(got, "content-type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    ck_assert(has(got, "\nprocess_open_fds "));
    ck_assert(!has(got, "# EOF"));
    got = ask("metrics", "GET", "/stats/prometheus", "application/openmetrics-text;version=1.0.0");
    ck_assert(has(got, "content-type: application/openmetrics-text; version=1.0.0"));
    ck_assert(has(got, "# EOF\n"));
    struct rlimit l;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &l), 0);
    ck_assert_uint_eq(l.rlim_cur, l.rlim_max);
    stop();
}
END_TEST

static void dump(void *owner, struct strbuf *out)
{
    strbuf_printf(out, "[%d]", *(int *)owner);
}

START_TEST(dump_of_settings_and_state)
{
    start();
    int n = 42;
    runtime_on_dump(rt, "workloads", dump, &n);
    const char *got = ask("admin", "GET", "/config_dump", "*/*");
    ck_assert(has(got, "content-type: application/json\r\n"));
    ck_assert(has(got, "\"log\": \"info,x=off\""));
    ck_assert(has(got, "\"token\": \"(set)\""));
    ck_assert(!has(got, "secret"));
    ck_assert(has(got, "\"workloads\": [42]}\n"));
    ck_assert(has(ask("admin", "GET", "/", "*/*"), "<a href=\"/config_dump\">"));
    stop();
}
END_TEST

START_TEST(logging)
{
    start();
    ck_assert(has(ask("admin", "GET", "/logging", "*/*"), " 405 "));
    ck_assert(has(ask("admin", "POST", "/logging", "*/*"), "current log level is info,x=off\n"));
    ck_assert(has(ask("admin", "POST", "/logging?level=xds=debug", "*/*"),
                  "current log level is info,x=off,xds=debug\n"));
    ck_assert(log_enabled(LOG_DEBUG, "xds"));
    ck_assert(has(ask("admin", "POST", "/logging?level=bogus", "*/*"), " 400 "));
    ck_assert(has(ask("admin", "POST", "/logging?reset=&level=bogus", "*/*"), " 400 "));
    ck_assert(has(ask("admin", "POST", "/logging?lvl=debug", "*/*"), " 400 "));
    ck_assert(log_enabled(LOG_DEBUG, "xds")); /* as it was */
    ck_assert(
        has(ask("admin", "POST", "/logging?reset=", "*/*"), "current log level is info,x=off\n"));
    ck_assert(!log_enabled(LOG_DEBUG, "xds"));
    stop();
}
END_TEST

static void drained(void *owner)
{
    ++*(int *)owner;
}

START_TEST(the_first_signal_drains)
{
    start();
    int drains = 0;
    runtime_on_drain(rt, drained, &drains);
    raise(SIGTERM);
    logged("draining");
    ck_assert_int_eq(drains, 1);
    ck_assert(has(ask("readiness", "GET", "/healthz/ready", "*/*"), "pending: draining"));
    runtime_stop(rt, 7);
    ck_assert_int_eq(runtime_run(rt), 7);
    stop();
}
END_TEST

START_TEST(the_second_signal_ends)
{
    fflush(NULL);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        start();
        int drains = 0;
        runtime_on_drain(rt, drained, &drains);
        raise(SIGINT);
        logged("draining");
        raise(SIGINT);
        _exit(runtime_run(rt));
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 128 + SIGINT);
}
END_TEST

START_TEST(quitquitquit)
{
    start();
    ck_assert(has(ask("admin", "GET", "/quitquitquit", "*/*"), " 405 "));
    ck_assert(has(ask("admin", "POST", "/quitquitquit", "*/*"), "shutdown now"));
    ck_assert_int_eq(runtime_run(rt), EXIT_SUCCESS); /* nothing drains: it ends by itself */
    stop();
}
END_TEST

START_TEST(a_taken_port_is_told)
{
    struct addr any;
    int fd;
    ck_assert_rc(addr_parse_port(STR("127.0.0.1:0"), &any), RC_OK);
    ck_assert_rc(sock_listen_tcp(&any, &SOCK_OPTS_DEFAULT, &fd), RC_OK);
    sock_local(fd, &any);
    char at[ADDR_TEXT];
    addr_format(&any, at);
    log_fd = memfd_create("log", MFD_CLOEXEC);
    log_output(log_fd);
    struct runtime_config c = {.log_levels = "info", .admin = at};
    ck_assert_ptr_null(runtime_new(&role, &c, &conf));
    ck_assert(has(logged("error"), "Address already in use; choose another address with --admin"));
    log_output(STDOUT_FILENO);
    close(log_fd);
    close(fd);
}
END_TEST

/* Runs fn in a child, which has to end with 0. */
static void in_child(void (*fn)(void))
{
    fflush(NULL);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        fn();
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
}

/* ck_assert needs the parent: a child tells by its status where it failed. */
#define CHECK(cond) ((cond) ? (void)0 : _exit(__LINE__ & 0x7f ? __LINE__ & 0x7f : 1))

static char root[] = "/tmp/mesh-test-XXXXXX";

static void with_nothing(void)
{
    CHECK(chroot(root) == 0 && chdir("/") == 0);
    start();
    CHECK(has(ask("readiness", "GET", "/healthz/ready", "*/*"), "\r\n\r\nready"));
    const char *got = ask("metrics", "GET", "/metrics", "*/*");
    CHECK(has(got, "process_max_fds "));
    CHECK(!has(got, "process_open_fds ")); /* no /proc: absent, not zero */
    CHECK(has(ask("admin", "GET", "/config_dump", "*/*"), "200 OK"));
    raise(SIGTERM);
    CHECK(runtime_run(rt) == 0);
    stop();
}

START_TEST(an_empty_root_is_enough)
{
    if (geteuid() != 0)
        return;
    ck_assert_ptr_nonnull(mkdtemp(root));
    in_child(with_nothing);
    rmdir(root);
}
END_TEST

static void without_standard_fds(void)
{
    for (int fd = 0; fd < 3; fd++)
        close(fd);
    start();
    struct stat st;
    for (int fd = 0; fd < 3; fd++)
        CHECK(fstat(fd, &st) == 0 && !S_ISSOCK(st.st_mode));
    stop();
}

static void without_standard_fds_and_dev(void)
{
    CHECK(chroot(root) == 0 && chdir("/") == 0);
    without_standard_fds();
}

START_TEST(no_socket_becomes_standard_output)
{
    in_child(without_standard_fds);
    if (geteuid() != 0)
        return;
    memcpy(root + sizeof(root) - 7, "XXXXXX", 6);
    ck_assert_ptr_nonnull(mkdtemp(root));
    in_child(without_standard_fds_and_dev);
    rmdir(root);
}
END_TEST

#ifndef MESH_SANITIZED
START_TEST(an_idle_process_gives_memory_back)
{
    start();
    struct loop *l = runtime_loop(rt);
    loop_clock_fake(l, loop_now(l));
    enum { BLOCKS = 100000 };
    void **p = mem_calloc(BLOCKS, sizeof(*p));
    for (int i = 0; i < BLOCKS; i++)
        memset(p[i] = mem_alloc(500), 1, 500);
    for (int i = 0; i < BLOCKS; i++)
        if (i % 100) /* what stays pins the top of the heap */
            mem_free(p[i]);
    int64_t full = metric_sum("process_resident_memory_bytes", "");
    for (int i = 0; i < 2; i++) {
        loop_clock_advance(l, 10001);
        loop_turn(l, 0);
    }
    int64_t trimmed = metric_sum("process_resident_memory_bytes", "");
    ck_assert_int_lt(trimmed, full - 30000000);
    for (int i = 0; i < BLOCKS; i += 100)
        mem_free(p[i]);
    mem_free(p);
    stop();
}
END_TEST
#define ALL_FORMS_BUT_SANITIZED an_idle_process_gives_memory_back,
#else
#define ALL_FORMS_BUT_SANITIZED
#endif

TEST_MAIN("runtime", ALL_FORMS_BUT_SANITIZED an_empty_root_is_enough,
          no_socket_becomes_standard_output, readiness, metrics, dump_of_settings_and_state,
          logging, the_first_signal_drains, the_second_signal_ends, quitquitquit,
          a_taken_port_is_told)
