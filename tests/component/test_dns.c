/* Against a name server of our own, in network and mount namespaces of the test. */
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "lib/net/dns.h"
#include "lib/net/sock.h"
#include "tests/helper/check.h"

static struct loop *loop;
static struct loop_fd watch;
static int server;
static unsigned asked;
static struct {
    unsigned calls;
    enum rc rc;
    char first[ADDR_TEXT];
    size_t n;
} got;

static void bind_file(const char *path, const char *text)
{
    char temp[] = "/tmp/test_dns_XXXXXX";
    int fd = mkstemp(temp);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    ck_assert_int_eq(mount(temp, path, NULL, MS_BIND, NULL), 0);
    unlink(temp);
}

/* Answers NAME.known. with 192.0.2.7, "silent" not at all, everything else with NXDOMAIN. */
static void serve(void *owner, unsigned ready)
{
    (void)owner, (void)ready;
    unsigned char m[512];
    struct sockaddr_storage from;
    socklen_t len = sizeof(from);
    ssize_t n = recvfrom(server, m, sizeof(m) - 16, 0, (struct sockaddr *)&from, &len);
    if (n < 17)
        return;
    asked++;
    size_t q = 12;
    bool known = memmem(m + 12, (size_t)n - 12, "\5known", 6) != NULL;
    if (memmem(m + 12, (size_t)n - 12, "silent", 6))
        return;
    while (q < (size_t)n && m[q])
        q += m[q] + 1u;
    bool a = m[q + 2] == 1;
    m[2] = 0x81;
    m[3] = known ? 0x80 : 0x83;
    m[10] = m[11] = 0; /* no OPT in the answer */
    n = (ssize_t)q + 5;
    if (known && a) {
        static const unsigned char rr[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7};
        m[7] = 1;
        memcpy(m + n, rr, sizeof(rr));
        n += (ssize_t)sizeof(rr);
    }
    ck_assert_int_eq(sendto(server, m, (size_t)n, 0, (struct sockaddr *)&from, len), n);
}

static void setup(void)
{
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(53), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    ck_assert_int_eq(unshare(CLONE_NEWNET | CLONE_NEWNS), 0);
    ck_assert_int_eq(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    bind_file("/etc/resolv.conf", "nameserver 127.0.0.1\n");
    bind_file("/etc/hosts", "192.0.2.1 from-hosts\n");
    server = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(ioctl(server, SIOCSIFFLAGS, &lo), 0);
    ck_assert_int_eq(bind(server, (struct sockaddr *)&at, sizeof(at)), 0);
    loop = loop_new();
    ck_assert_rc(loop_fd_open(&watch, loop, server, LOOP_READ | LOOP_LEVEL, serve, NULL), RC_OK);
    memset(&got, 0, sizeof(got));
    asked = 0;
}

static void teardown(void)
{
    loop_fd_close(&watch);
    close(server);
    loop_free(loop);
    ck_assert_int_eq(umount("/etc/resolv.conf"), 0); /* the next test may be in this process */
    ck_assert_int_eq(umount("/etc/hosts"), 0);
}

static void done(void *owner, enum rc rc, const struct addr *addrs, size_t n)
{
    ck_assert_ptr_eq(owner, &got);
    got.calls++;
    got.rc = rc;
    got.n = n;
    if (n)
        addr_format(&addrs[0], got.first);
}

static void resolve(const char *name)
{
    got.calls = 0;
    got.first[0] = '\0';
    dns_resolve(loop, str_of(name), done, &got);
    ck_assert_uint_eq(got.calls, 0);
    int64_t end = loop_now(loop) + 20000;
    while (!got.calls && loop_now(loop) < end)
        loop_turn(loop, 100);
    ck_assert_uint_eq(got.calls, 1);
}

START_TEST(addresses_need_no_server)
{
    resolve("192.0.2.9");
    ck_assert_rc(got.rc, RC_OK);
    ck_assert_str_eq(got.first, "192.0.2.9");
    resolve("fd00::9");
    ck_assert_str_eq(got.first, "fd00::9");
    resolve("");
    ck_assert_rc(got.rc, RC_NOT_FOUND);
    char longest[300];
    memset(longest, 'a', 299);
    longest[299] = '\0';
    resolve(longest);
    ck_assert_rc(got.rc, RC_NOT_FOUND);
    ck_assert_uint_eq(asked, 0);
}
END_TEST

START_TEST(names)
{
    resolve("from-hosts");
    ck_assert_rc(got.rc, RC_OK);
    ck_assert_str_eq(got.first, "192.0.2.1");
    ck_assert_uint_eq(asked, 0);
    resolve("istiod.known");
    ck_assert_rc(got.rc, RC_OK);
    ck_assert_str_eq(got.first, "192.0.2.7");
    ck_assert_uint_eq(got.n, 1);
    resolve("istiod.unknown");
    ck_assert_rc(got.rc, RC_NOT_FOUND);
    ck_assert_uint_eq(got.n, 0);
    int fd = open("/etc/hosts", O_WRONLY | O_TRUNC); /* read anew each time */
    ck_assert_int_eq(write(fd, "192.0.2.2 from-hosts\n", 21), 21);
    close(fd);
    resolve("from-hosts");
    ck_assert_str_eq(got.first, "192.0.2.2");
}
END_TEST

START_TEST(silence_and_cancel)
{
    struct dns_query *q = dns_resolve(loop, STR("silent.known"), done, &got);
    loop_turn(loop, 100);
    dns_cancel(q);
    q = dns_resolve(loop, STR("192.0.2.9"), done, &got);
    dns_cancel(q);
    loop_turn(loop, 0);
    ck_assert_uint_eq(got.calls, 0);
    resolve("silent.known");
    ck_assert_rc(got.rc, RC_TIMEOUT);
}
END_TEST

TEST_MAIN_FIXTURE("dns", setup, teardown, addresses_need_no_server, names, silence_and_cancel)
