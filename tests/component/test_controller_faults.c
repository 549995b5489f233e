/* `mesh controller` among strangers, slow and broken clients, and on disks and folders that fail. */
#include <errno.h>

#include "lib/ca/ca_msg.h"
#include "tests/helper/controller.h"
#include "tests/helper/tmpfs.h"

static struct ctl C;

static void setup(void)
{
    ctl_init(&C);
    ctl_put_mesh(&C);
}

static void teardown(void)
{
    ctl_fini(&C);
}

/* It still serves who is there, who comes, and what changes. */
static void check_serves(struct ctl_client *k, const char *pod)
{
    struct ctl_client newcomer;
    char want[100];
    snprintf(want, sizeof(want), " +Kubernetes//Pod/shop/%s", pod);
    ctl_put_pod(&C, pod, "n1", "cart", "10.1.7.7");
    CTL_WAIT(&C, ctl_told(k, want));
    ctl_join(&C, &newcomer, "node/n2");
    ck_assert(ctl_told(&newcomer, want));
    ctl_leave(&C, &newcomer);
    ck_assert(ctl_ready());
}

/* -- raw HTTP/2 -- */

#define H2_PREFACE  "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define H2_SETTINGS "\0\0\0\4\0\0\0\0\0"

static void add_frame(struct strbuf *b, unsigned type, unsigned flags, unsigned stream,
                      struct str payload)
{
    strbuf_addc(b, (char)(payload.n >> 16));
    strbuf_addc(b, (char)(payload.n >> 8));
    strbuf_addc(b, (char)payload.n);
    strbuf_addc(b, (char)type);
    strbuf_addc(b, (char)flags);
    for (int shift = 24; shift >= 0; shift -= 8)
        strbuf_addc(b, (char)(stream >> shift));
    strbuf_adds(b, payload);
}

static void add_header(struct strbuf *b, const char *name, const char *value)
{
    ck_assert_uint_lt(strlen(value), 127);
    strbuf_addc(b, 0); /* literal, not indexed */
    strbuf_addc(b, (char)strlen(name));
    strbuf_addz(b, name);
    strbuf_addc(b, (char)strlen(value));
    strbuf_addz(b, value);
}

/* A new connection's bytes up to a call's headers on stream 1. */
static void begin_call(struct strbuf *b, const char *path, const char *token)
{
    struct strbuf hs AUTO_STRBUF;
    char bearer[200];
    strbuf_init(&hs, 4096);
    snprintf(bearer, sizeof(bearer), "Bearer %s", ctl_read(ctl_at(&C, "state/tokens/%s", token)));
    add_header(&hs, ":method", "POST");
    add_header(&hs, ":scheme", "https");
    add_header(&hs, ":authority", "localhost");
    add_header(&hs, ":path", path);
    add_header(&hs, "content-type", "application/grpc");
    add_header(&hs, "te", "trailers");
    add_header(&hs, "authorization", bearer);
    strbuf_add(b, H2_PREFACE, sizeof(H2_PREFACE) - 1);
    strbuf_add(b, H2_SETTINGS, sizeof(H2_SETTINGS) - 1);
    add_frame(b, 1, 4, 1, strbuf_str(&hs));
}

/* A gRPC message of which part is sent; announced: its length. */
static void add_message(struct strbuf *b, size_t announced, struct str part)
{
    struct strbuf m AUTO_STRBUF;
    strbuf_init(&m, 16384);
    strbuf_addc(&m, 0);
    for (int shift = 24; shift >= 0; shift -= 8)
        strbuf_addc(&m, (char)(announced >> shift));
    strbuf_adds(&m, part);
    add_frame(b, 0, 0, 1, strbuf_str(&m));
}

/* The other side ended the connection (after whatever it had to say). */
static bool ended(int fd)
{
    char buf[4096];
    ssize_t k;
    while ((k = recv(fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
        ;
    return k == 0 || errno != EAGAIN;
}

/* -- bytes that are wrong -- */

START_TEST(garbage_ends_at_once)
{
    static const struct {
        const char *p;
        size_t n;
    } garbage[] = {
#define BYTES(text) {text, sizeof(text) - 1}
        BYTES("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        BYTES(H2_PREFACE H2_SETTINGS), /* without TLS */
        BYTES("\x16\x03\x01\xff\xff\x01"),
        BYTES("\x16\x03\x01\x00\x04\x01\x00\x00\x00"),
        BYTES("\x15\x03\x03\x00\x02\x02\x28"),
        BYTES("\x17\x03\x03\x00\x05hello"),
        BYTES("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
    };
    struct ctl_client k;
    static char noise[20000];
    ctl_start(&C);
    ctl_join(&C, &k, "node/n1");
    for (size_t i = 0; i < ARRAY_LEN(garbage); i++) {
        int fd = ctl_connect(CTL_GRPC);
        ck_assert_int_ge(write(fd, garbage[i].p, garbage[i].n), 0);
        CTL_WAIT(&C, ended(fd));
        close(fd);
    }
    unsigned seed = 1;
    for (int i = 0; i < 100; i++) {
        for (size_t j = 0; j < sizeof(noise); j++)
            noise[j] = (char)(seed = seed * 1103515245 + 12345) >> 3;
        struct ctl_tls t = ctl_tls_open(); /* within TLS: half of it after a good beginning */
        struct strbuf b AUTO_STRBUF;
        strbuf_init(&b, 65536);
        if (i % 2)
            begin_call(&b, i % 4 == 1 ? XDS_DELTA_PATH : CA_PATH, "node/n1");
        if (i % 4 == 3)
            add_message(&b, 1000, (struct str){noise, 1000});
        else
            strbuf_add(&b, noise, sizeof(noise));
        if (i % 8 == 7)
            add_frame(&b, 0, 1, 1, STR(""));
        (void)!SSL_write(t.ssl, b.p, (int)b.n);
        if (i % 4 != 3)
            CTL_WAIT(&C, ended(t.fd));
        ctl_tls_close(&t);
    }
    check_serves(&k, "after-garbage");
    ctl_leave(&C, &k);
}
END_TEST

/* Every prefix of a whole connection, left hanging or cut. */
START_TEST(half_messages)
{
    struct ctl_client k;
    struct strbuf b AUTO_STRBUF, request AUTO_STRBUF;
    struct ctl_tls open[40];
    size_t n = 0;
    strbuf_init(&b, 65536);
    strbuf_init(&request, 4096);
    ctl_start(&C);
    ctl_join(&C, &k, "node/n1");
    begin_call(&b, XDS_DELTA_PATH, "node/n1");
    ads_peer_begin(&request, XDS_ADDRESS, "half");
    add_message(&b, request.n, strbuf_str(&request));
    add_message(&b, 5000, STR("half of another"));
    size_t step = b.n / ARRAY_LEN(open) + 1;
    for (size_t cut = 1; cut < b.n; cut += step, n++) {
        open[n] = ctl_tls_open();
        ctl_tls_send(&open[n], (struct str){b.p, cut});
    }
    check_serves(&k, "beside-halves");
    for (size_t i = 0; i < n; i++)
        ctl_tls_close(&open[i]);
    CTL_WAIT(&C, ctl_metric("mesh_controller_connections") == 1);
    check_serves(&k, "after-halves");
    ctl_leave(&C, &k);
}
END_TEST

/* Who says nothing, or stops in the middle of TLS or of HTTP/2's first words, is let go in time. */
START_TEST(silence_has_an_end)
{
    int fd[4];
    ctl_start(&C);
    fd[0] = ctl_connect(CTL_GRPC);
    fd[1] = ctl_connect(CTL_GRPC);
    ck_assert_int_eq(write(fd[1], "\x16\x03\x01\x02\x00\x01\x00\x01", 8), 8);
    struct ctl_tls a = ctl_tls_open(), b = ctl_tls_open();
    ctl_tls_send(&b, STR("PRI * HTTP/2.0\r\n"));
    fd[2] = a.fd;
    fd[3] = b.fd;
    for (int i = 0; i < 4; i++)
        CTL_WAIT(&C, ended(fd[i]));
    ck_assert_int_eq(ctl_metric("mesh_controller_connections"), 0);
    close(fd[0]);
    close(fd[1]);
    ctl_tls_close(&a);
    ctl_tls_close(&b);
}
END_TEST

START_TEST(strangers_make_room)
{
    enum { CROWD = 700 };
    static int fd[CROWD];
    struct ctl_client k;
    ctl_start(&C);
    ctl_join(&C, &k, "node/n1");
    long before = ctl_memory_kib(&C, "RssAnon:");
    for (int i = 0; i < CROWD; i++)
        ck_assert_int_ge(fd[i] = ctl_connect(CTL_GRPC), 0);
    CTL_WAIT(&C, ctl_metric("mesh_controller_connections_evicted_total") == CROWD - 128);
    ck_assert_int_eq(ctl_metric("mesh_controller_connections"), 129);
    check_serves(&k, "in-a-crowd");
    ck_assert(ended(fd[0]));
    ck_assert(!ended(fd[CROWD - 1]));
    ck_assert_int_lt(ctl_memory_kib(&C, "RssAnon:") - before, 20 * 1024);
    for (int i = 0; i < CROWD; i++)
        close(fd[i]);
    CTL_WAIT(&C, ctl_metric("mesh_controller_connections") == 1);
    ctl_leave(&C, &k);
}
END_TEST

/* -- many objects, slow clients -- */

enum { MANY = 5000 };

static void put_many(const char *sa)
{
    struct strbuf b AUTO_STRBUF;
    char name[20], ip[40];
    strbuf_init(&b, 8u << 20);
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "p%u", i);
        snprintf(ip, sizeof(ip), "10.2.%u.%u", i / 250, i % 250 + 1);
        ctl_pod_text(&b, name, i % 2 ? "n1" : "n2", sa, ip);
    }
    strbuf_addc(&b, '\0');
    ctl_put(&C, "many.yaml", b.p);
}

START_TEST(slow_clients_keep_nobody_waiting)
{
    struct ctl_client k;
    struct ctl_tls slow[20];
    struct strbuf b AUTO_STRBUF, request AUTO_STRBUF;
    put_many("web");
    ctl_start(&C);
    strbuf_init(&b, 65536);
    strbuf_init(&request, 4096);
    begin_call(&b, XDS_DELTA_PATH, "node/n1");
    ads_peer_begin(&request, XDS_ADDRESS, "slow");
    add_message(&b, request.n, strbuf_str(&request));
    long before = ctl_memory_kib(&C, "RssAnon:");
    for (size_t i = 0; i < ARRAY_LEN(slow); i++) { /* they subscribe, and never read */
        slow[i] = ctl_tls_open();
        ctl_tls_send(&slow[i], strbuf_str(&b));
    }
    ctl_join(&C, &k, "node/n1");
    ck_assert_uint_eq(k.ads.resources, MANY + 4);
    check_serves(&k, "besides");
    put_many("cart"); /* all of it is replaced while they stand still */
    CTL_WAIT(&C, k.ads.resources >= 2 * MANY + 5);
    ck_assert_ptr_nonnull(strstr(ctl_status(), "\"behind\":true"));
    ck_assert_int_lt(ctl_memory_kib(&C, "RssAnon:") - before, 32 * 1024);
    for (size_t i = 0; i < ARRAY_LEN(slow); i++)
        ctl_tls_close(&slow[i]);
    ctl_leave(&C, &k);
}
END_TEST

START_TEST(five_thousand_pods_in_a_file)
{
    struct ctl_client k;
    put_many("web");
    int64_t start = clock_mono_ms();
    ctl_start(&C);
    ctl_join(&C, &k, "node/n1");
    ck_assert_uint_eq(k.ads.resources, MANY + 4);
    ck_assert_int_lt(clock_mono_ms() - start, 15000);
    ck_assert_int_lt(ctl_memory_kib(&C, "VmRSS:"), 64 * 1024);
    strbuf_reset(&k.ads.log);
    start = clock_mono_ms();
    ctl_put_pod(&C, "one-more", "n1", "cart", "10.1.0.9"); /* its cost is its own */
    CTL_WAIT(&C, k.ads.log.n);
    ck_assert_str_eq(k.ads.log.p, "< +Kubernetes//Pod/shop/one-more> Address\n");
    ck_assert_int_lt(clock_mono_ms() - start, 2000);
    unlink(ctl_at(&C, "source/many.yaml"));
    CTL_WAIT(&C, strstr(ctl_status(), "\"addresses\":4,"));
    ctl_leave(&C, &k);
}
END_TEST

/* -- folders -- */

START_TEST(a_folder_that_goes_away_takes_nothing_with_it)
{
    struct ctl_client k;
    ctl_start(&C);
    ctl_join(&C, &k, "node/n1");
    strbuf_reset(&k.ads.log);
    ck_assert_int_eq(rename(C.source, ctl_at(&C, "away")), 0);
    CTL_WAIT(&C, ctl_metric("mesh_source_problems{severity=\"system\"}") == 1);
    CTL_WAIT(&C, ctl_logged(&C, "source: No such file or directory"));
    ck_assert(!ctl_logged(&C, "inotify"));
    ck_assert_ptr_nonnull(strstr(ctl_status(), "\"addresses\":3,\"policies\":1,"));
    ctl_stop(&C); /* not even when it is started without */
    ck_assert_str_eq(k.ads.log.n ? k.ads.log.p : "", "");
    ctl_leave(&C, &k);
    ctl_start(&C);
    ctl_join(&C, &k, "node/n1");
    ck_assert_uint_eq(k.ads.resources, 4);
    strbuf_reset(&k.ads.log);
    ck_assert_int_eq(rename(ctl_at(&C, "away"), C.source), 0);
    CTL_WAIT(&C, ctl_metric("mesh_source_problems{severity=\"system\"}") == 0);
    ck_assert_str_eq(k.ads.log.n ? k.ads.log.p : "", "");
    ctl_put_pod(&C, "back", "n1", "cart", "10.1.0.9");
    CTL_WAIT(&C, k.ads.log.n);
    ck_assert_str_eq(k.ads.log.p, "< +Kubernetes//Pod/shop/back> Address\n");
    ctl_leave(&C, &k);
}
END_TEST

/* -- disks -- */

/* It starts, and does not stay; its log says why. */
static void check_refuses(const char *why)
{
    ctl_spawn(&C);
    int status = ctl_ended(&C);
    ck_assert_msg(status == 1, "%d: %s", status, ctl_log(&C));
    ck_assert_msg(ctl_logged(&C, why), "%s is not in %s", why, ctl_log(&C));
    unlink(C.log);
}

static void fill(const char *path)
{
    char page[4096] = {1};
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    while (write(fd, page, sizeof(page)) > 0)
        ;
    close(fd);
}

START_TEST(a_full_disk_under_the_authority)
{
    ck_assert_int_eq(mkdir(C.state, 0755), 0);
    if (!tmpfs_mount(C.state, 4096))
        return;
    struct ctl_client k;
    fill(ctl_at(&C, "state/fill"));
    check_refuses("state/.ca-key.pem.tmp: No space left on device");
    ck_assert_int_ne(access(ctl_at(&C, "state/ca-key.pem"), F_OK), 0);
    unlink(ctl_at(&C, "state/fill"));
    ctl_start(&C);
    ctl_join(&C, &k, "node/n1");
    fill(ctl_at(&C, "state/fill"));
    ctl_put(&C, "n3.yaml", "apiVersion: v1\nkind: Node\nmetadata: {name: n3}\n");
    CTL_WAIT(&C,
             ctl_logged(&C, "tokens: ") && ctl_logged(&C, "node/.n3.tmp: No space left on device"));
    CTL_WAIT(&C,
             ctl_metric("mesh_source_problems{severity=\"system\"}") > 0); /* no copies either */
    check_serves(&k, "meanwhile");
    unlink(ctl_at(&C, "state/fill"));
    CTL_WAIT(&C, strlen(ctl_read(ctl_at(&C, "state/tokens/node/n3"))) == 64);
    CTL_WAIT(&C, ctl_metric("mesh_source_problems{severity=\"system\"}") == 0);
    ctl_leave(&C, &k);
    ctl_stop(&C);
    ck_assert_int_eq(umount(C.state), 0);
}
END_TEST

START_TEST(a_state_that_cannot_be_used)
{
    int fd = open(C.state, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    close(fd);
    check_refuses("state: Not a directory");
    unlink(C.state);
    ctl_start(&C);
    ctl_stop(&C);
    ck_assert_int_eq(chmod(ctl_at(&C, "state/ca-key.pem"), 0644), 0);
    check_refuses("chmod 600 it");
    ck_assert_int_eq(chmod(ctl_at(&C, "state/ca-key.pem"), 0600), 0);
    ck_assert_int_eq(truncate(ctl_at(&C, "state/ca-cert.pem"), 100), 0);
    check_refuses("state/ca-cert.pem");
    unlink(ctl_at(&C, "state/ca-cert.pem"));
    check_refuses("ca-cert.pem is missing but other files of the authority are there");
}
END_TEST

START_TEST(two_of_them)
{
    struct ctl second = C;
    ctl_start(&C);
    snprintf(second.log, sizeof(second.log), "%s/log-2", C.dir);
    ctl_spawn(&second);
    ck_assert_int_eq(ctl_ended(&second), 1);
    ck_assert(ctl_logged(&second, "Address already in use"));
    ck_assert(ctl_ready());
}
END_TEST

/* At any moment of its first start: what is there afterwards is whole. */
START_TEST(killed_at_any_moment)
{
    char root[5000] = "";
    for (int i = 0; i < 60; i++) {
        ctl_spawn(&C);
        struct timespec moment = {.tv_nsec = i * 500000L};
        nanosleep(&moment, NULL);
        ctl_kill(&C);
        const char *now = ctl_read(ctl_at(&C, "state/root-cert.pem"));
        if (root[0])
            ck_assert_str_eq(now, root);
        else
            snprintf(root, sizeof(root), "%s", now);
    }
    struct ctl_client k;
    ctl_start(&C);
    ctl_join(&C, &k, "node/n1");
    ck_assert_uint_eq(k.ads.resources, 4);
    ctl_leave(&C, &k);
}
END_TEST

TEST_MAIN_FIXTURE("controller_faults", setup, teardown, garbage_ends_at_once, half_messages,
                  silence_has_an_end, strangers_make_room, slow_clients_keep_nobody_waiting,
                  five_thousand_pods_in_a_file, a_folder_that_goes_away_takes_nothing_with_it,
                  a_full_disk_under_the_authority, a_state_that_cannot_be_used, two_of_them,
                  killed_at_any_moment)
