#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cni/wire.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/net/sock.h"
#include "tests/helper/check.h"

static struct arena arena;
static struct strbuf text;
static int pair[2];

static void setup(void)
{
    arena_init(&arena, 16u << 20);
    strbuf_init(&text, 1u << 20);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
}

static void teardown(void)
{
    close(pair[0]);
    close(pair[1]);
    strbuf_fini(&text);
    arena_fini(&arena);
}

static const struct attachment pod = {.container = {"c1", 2},
                                      .ifname = {"eth0", 4},
                                      .netns = {"/run/netns/x", 12},
                                      .ns = {"shop", 4},
                                      .name = {"cart", 4}};

START_TEST(requests_there_and_back)
{
    static const enum wire_type types[] = {WIRE_ADD, WIRE_DEL, WIRE_CHECK, WIRE_STATUS, WIRE_GC};
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        struct wire_request r = {0};
        struct errmsg e = {""};
        bool with_pod = types[i] <= WIRE_CHECK;
        strbuf_reset(&text);
        wire_request_format(types[i], with_pod ? &pod : NULL, STR("[\"c1/eth0\",\"c2/net1\"]"),
                            &text);
        ck_assert_msg(wire_request_parse(&arena, strbuf_str(&text), &r, &e) == RC_OK, "%s", e.text);
        ck_assert_int_eq(r.type, types[i]);
        if (with_pod)
            ck_assert(str_eqz(r.a.container, "c1") && str_eqz(r.a.netns, "/run/netns/x"));
        if (types[i] == WIRE_GC)
            ck_assert_uint_eq(r.valid->len, 2);
    }
}
END_TEST

START_TEST(requests_that_are_none)
{
    static const struct {
        const char *text, *why;
        enum rc rc;
    } rows[] = {
        {"", "", RC_INVALID},
        {"\xff\xfe", "", RC_INVALID},
        {"{\"type\":\"add\"", "", RC_INVALID},
        {"[]", "type: not one", RC_UNSUPPORTED},
        {"{\"type\":7}", "type: not one", RC_UNSUPPORTED},
        {"{\"type\":\"probe\"}", "type: not one", RC_UNSUPPORTED},
        {"{\"type\":\"add\"}", "attachment: not a map", RC_INVALID},
        {"{\"type\":\"del\",\"attachment\":{\"container\":\"/\"}}", "container", RC_INVALID},
        {"{\"type\":\"gc\"}", "valid: not a list", RC_INVALID},
        {"{\"type\":\"gc\",\"valid\":{}}", "valid: not a list", RC_INVALID},
        {"{\"type\":\"gc\",\"valid\":[\"a\"]}", "valid: not CONTAINER/INTERFACE", RC_INVALID},
        {"{\"type\":\"gc\",\"valid\":[\"a/b\",7]}", "valid: not CONTAINER/INTERFACE", RC_INVALID},
        {"{\"type\":\"gc\",\"valid\":[\"a/b/c\"]}", "valid: not CONTAINER/INTERFACE", RC_INVALID},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct wire_request r;
        struct errmsg e = {""};
        enum rc rc = wire_request_parse(&arena, str_of(rows[i].text), &r, &e);
        ck_assert_msg(rc == rows[i].rc, "%s: %s", rows[i].text, rc_name(rc));
        ck_assert_msg(strstr(e.text, rows[i].why) && e.text[0], "%s: %s", rows[i].text, e.text);
    }
    struct wire_request r;
    ck_assert_rc(
        wire_request_parse(&arena, STR("{\"type\":\"status\",\"new\":1,\"version\":9}"), &r, NULL),
        RC_OK);
}
END_TEST

START_TEST(answers_there_and_back)
{
    struct wire_answer a = {CNI_AGAIN, true, STR("no \"ztunnel\"\n"), STR("d\\")}, b;
    wire_answer_format(&a, &text);
    ck_assert_rc(wire_answer_parse(&arena, strbuf_str(&text), &b), RC_OK);
    ck_assert(b.code == CNI_AGAIN && b.captured && str_eq(a.msg, b.msg));
    ck_assert(str_eq(a.details, b.details));
    static const char *const bad[] = {"",
                                      "{}",
                                      "{\"code\":\"0\"}",
                                      "{\"code\":-1}",
                                      "{\"code\":1.5}",
                                      "{\"code\":4294967296}",
                                      "[0]",
                                      "{\"code\":0"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_rc(wire_answer_parse(&arena, str_of(bad[i]), &b), RC_INVALID);
    ck_assert_rc(wire_answer_parse(&arena, STR("{\"code\":0,\"captured\":\"true\"}"), &b), RC_OK);
    ck_assert(!b.captured && b.msg.n == 0);
}
END_TEST

static int fds_open(void)
{
    int n = 0;
    for (int i = 0; i < 256; i++)
        n += fcntl(i, F_GETFD) >= 0;
    return n;
}

START_TEST(a_packet_carries_a_descriptor)
{
    int fd = -2, file = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct stat a, b;
    ck_assert_rc(wire_recv(pair[1], 100, &text, &fd), RC_AGAIN);
    ck_assert_rc(wire_send(pair[0], STR("one"), file), RC_OK);
    ck_assert_rc(wire_send(pair[0], STR("two"), -1), RC_OK);
    ck_assert_rc(wire_recv(pair[1], 3, &text, &fd), RC_OK);
    ck_assert(str_eqz(strbuf_str(&text), "one") && fd >= 0);
    ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    fstat(fd, &a);
    fstat(file, &b);
    ck_assert(a.st_ino == b.st_ino);
    close(fd);
    strbuf_reset(&text);
    ck_assert_rc(wire_recv(pair[1], 3, &text, &fd), RC_OK);
    ck_assert(str_eqz(strbuf_str(&text), "two") && fd == -1);
    close(pair[0]);
    ck_assert_rc(wire_recv(pair[1], 3, &text, &fd), RC_EOF);
    pair[0] = file;
}
END_TEST

static void send_fds(int n, size_t bytes)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(8 * sizeof(int))];
    } control = {.bytes = {0}};
    struct iovec iov = {(char[]){"x"}, bytes};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control.bytes,
                       .msg_controllen = CMSG_SPACE((size_t)n * sizeof(int))};
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN((size_t)n * sizeof(int));
    for (int i = 0; i < n; i++)
        memcpy(CMSG_DATA(h) + (size_t)i * sizeof(int), &(int){1}, sizeof(int));
    ck_assert_int_eq(sendmsg(pair[0], &m, 0), (ssize_t)bytes);
}

START_TEST(descriptors_nobody_asked_for_do_not_stay)
{
    int fd = -1, before = fds_open();
    static const int counts[] = {2, 4, 5, 8};
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        send_fds(counts[i], 1);
        ck_assert_rc(wire_recv(pair[1], 100, &text, &fd), RC_INVALID);
        ck_assert_int_eq(fds_open(), before);
    }
    send_fds(1, 0); /* an empty packet is no packet */
    ck_assert_rc(wire_recv(pair[1], 100, &text, &fd), RC_EOF);
    ck_assert_int_eq(fds_open(), before);
    ck_assert_uint_eq(text.n, 0);
}
END_TEST

START_TEST(packets_have_a_limit)
{
    char big[101];
    int fd = -1;
    memset(big, 'x', sizeof(big));
    ck_assert_rc(wire_send(pair[0], (struct str){big, 101}, -1), RC_OK);
    ck_assert_rc(wire_recv(pair[1], 100, &text, &fd), RC_LIMIT);
    ck_assert_uint_eq(text.n, 0);
    char *packet AUTO_FREE = mem_zalloc(WIRE_PACKET_MAX); /* the largest does go through */
    int other[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, other), 0);
    ck_assert_rc(wire_send(other[0], (struct str){packet, WIRE_PACKET_MAX}, -1), RC_OK);
    ck_assert_rc(wire_recv(other[1], WIRE_PACKET_MAX, &text, &fd), RC_OK);
    ck_assert_uint_eq(text.n, WIRE_PACKET_MAX);
    close(other[0]);
    close(other[1]);
}
END_TEST

/* -- asking -- */

static char path[64];

static int listening(void)
{
    char dir[] = "/tmp/test_wire_XXXXXX";
    int fd;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/sock", dir);
    ck_assert_rc(sock_listen_unix(path, SOCK_SEQPACKET, 0600, &fd), RC_OK);
    return fd;
}

static void gone(int fd)
{
    close(fd);
    unlink(path);
    *strrchr(path, '/') = '\0';
    ck_assert_int_eq(rmdir(path), 0);
}

static int next_guest(int l)
{
    struct pollfd p = {.fd = l, .events = POLLIN};
    if (poll(&p, 1, 10000) != 1)
        abort();
    return accept(l, NULL, NULL);
}

static void *answer_one(void *arg)
{
    struct strbuf b AUTO_STRBUF;
    int fd = -1, c = next_guest(*(int *)arg);
    strbuf_init(&b, WIRE_PACKET_MAX);
    while (wire_recv(c, WIRE_PACKET_MAX, &b, &fd) == RC_AGAIN)
        ;
    struct strbuf out AUTO_STRBUF;
    strbuf_init(&out, 100);
    strbuf_printf(&out, "%s %s", b.p, fd >= 0 ? "fd" : "none");
    if (wire_send(c, strbuf_str(&out), -1) != RC_OK)
        abort();
    close(fd);
    close(c);
    return NULL;
}

START_TEST(asked_and_answered)
{
    int l = listening();
    pthread_t t;
    struct errmsg e = {""};
    pthread_create(&t, NULL, answer_one, &l);
    enum rc rc = wire_ask(path, STR("who"), 0, clock_mono_ms() + 5000, &text, &e);
    ck_assert_msg(rc == RC_OK, "%s", e.text);
    ck_assert(str_eqz(strbuf_str(&text), "who fd"));
    pthread_join(t, NULL);
    gone(l);
}
END_TEST

static void *hang_up(void *arg)
{
    close(next_guest(*(int *)arg));
    return NULL;
}

START_TEST(nobody_there_nobody_answers)
{
    struct errmsg e = {""};
    ck_assert_rc(wire_ask("/nowhere/at/all.sock", STR("x"), -1, clock_mono_ms() + 50, &text, &e),
                 RC_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(e.text, "no agent at /nowhere/at/all.sock: "));
    int l = listening(), before = fds_open();
    int64_t t0 = clock_mono_ms();
    ck_assert_rc(wire_ask(path, STR("x"), -1, t0 + 50, &text, &e), RC_TIMEOUT);
    ck_assert_int_ge(clock_mono_ms(), t0 + 50);
    ck_assert_ptr_nonnull(strstr(e.text, "did not answer"));
    close(accept(l, NULL, NULL));
    pthread_t t;
    pthread_create(&t, NULL, hang_up, &l);
    enum rc rc = wire_ask(path, STR("x"), -1, clock_mono_ms() + 5000, &text, &e);
    pthread_join(t, NULL);
    ck_assert_msg(rc == RC_EOF || rc == RC_RESET, "%s", rc_name(rc));
    ck_assert_int_eq(fds_open(), before);
    gone(l);
}
END_TEST

TEST_MAIN_FIXTURE("wire", setup, teardown, requests_there_and_back, requests_that_are_none,
                  answers_there_and_back, a_packet_carries_a_descriptor,
                  descriptors_nobody_asked_for_do_not_stay, packets_have_a_limit,
                  asked_and_answered, nobody_there_nobody_answers)
