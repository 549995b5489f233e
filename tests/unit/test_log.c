#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/log/log.h"
#include "tests/helper/check.h"

/* Everything written to fd (a memfd) so far. */
static char *written(int fd)
{
    static char buf[4 * 1024 * 1024];
    ssize_t n = pread(fd, buf, sizeof(buf) - 1, 0);
    ck_assert_int_ge(n, 0);
    buf[n] = '\0';
    return buf;
}

static int file_output(void)
{
    int fd = memfd_create("log", MFD_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    log_output(fd);
    log_json(false);
    ck_assert_rc(log_levels_set(STR("info"), NULL), RC_OK);
    return fd;
}

static unsigned lines(const char *text)
{
    unsigned n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

START_TEST(text_form)
{
    int fd = file_output();
    struct log_line l;
    log_begin(&l, LOG_INFO, "access", "connection complete");
    log_word(&l, "src.addr", STR("10.0.0.1:4000"));
    log_str(&l, "src.workload", STR("a \"b\"\n"));
    log_str(&l, "empty", STR(""));
    log_u64(&l, "bytes_sent", 18446744073709551615u);
    log_bool(&l, "local", true);
    log_end(&l);
    char *got = written(fd);
    ck_assert_uint_eq(strspn(got, "0123456789-T:.Z"), 27);
    ck_assert_str_eq(got + 27, "\tinfo\taccess\tconnection complete\tsrc.addr=10.0.0.1:4000 "
                               "src.workload=\"a \\\"b\\\"\\n\" bytes_sent=18446744073709551615 "
                               "local=true\n");
    close(fd);
}
END_TEST

START_TEST(json_form)
{
    int fd = file_output();
    log_json(true);
    struct log_line l;
    log_begin(&l, LOG_WARN, "x", "say \"\x01\xff\"");
    log_word(&l, "addr", STR("[::1]:1"));
    log_u64(&l, "n", 0);
    log_end(&l);
    char *got = written(fd);
    ck_assert_int_eq(strncmp(got, "{\"level\":\"warn\",\"time\":\"", 24), 0);
    ck_assert_str_eq(got + 24 + 27,
                     "\",\"scope\":\"x\",\"message\":\"say \\\"\\u0001\xef\xbf\xbd\\\"\","
                     "\"addr\":\"[::1]:1\",\"n\":0}\n");
    close(fd);
}
END_TEST

START_TEST(messages_stay_on_one_line)
{
    int fd = file_output();
    log_info("x", "one\ntwo\tthree \x1b[31m \"quoted\" h\xc3\xa9");
    char *got = written(fd);
    ck_assert_str_eq(got + 27, "\tinfo\tx\tone\\ntwo\\tthree \\x1b[31m \"quoted\" h\xc3\xa9\n");
    close(fd);
}
END_TEST

START_TEST(a_full_line_keeps_whole_fields)
{
    int fd = file_output();
    char big[3000];
    memset(big, 'a', sizeof(big));
    struct log_line l;
    for (int json = 0; json < 2; json++) {
        log_json(json == 1);
        log_begin(&l, LOG_INFO, "x", "m");
        log_str(&l, "one", (struct str){big, sizeof(big)});
        log_str(&l, "two", (struct str){big, sizeof(big)});
        log_u64(&l, "three", 3);
        log_end(&l);
    }
    char *text = written(fd);
    char *json = strchr(text, '\n') + 1;
    ck_assert_ptr_nonnull(strstr(text, " three=3 truncated=true\n"));
    ck_assert_ptr_nonnull(strstr(json, ",\"three\":3,\"truncated\":true}\n"));
    ck_assert_ptr_null(strstr(text, "two"));
    close(fd);
}
END_TEST

START_TEST(levels)
{
    struct errmsg e = {0};
    ck_assert_rc(log_levels_set(STR("warn,access=off, xds=debug"), &e), RC_OK);
    ck_assert(!log_enabled(LOG_INFO, "other"));
    ck_assert(log_enabled(LOG_WARN, "other"));
    ck_assert(!log_enabled(LOG_ERROR, "access"));
    ck_assert(log_enabled(LOG_DEBUG, "xds"));
    ck_assert(!log_enabled(LOG_TRACE, "xds"));
    ck_assert_rc(log_levels_set(STR("inof"), &e), RC_INVALID);
    ck_assert_ptr_nonnull(strstr(e.text, "did you mean info"));
    ck_assert_rc(log_levels_set(STR("a b=info"), &e), RC_INVALID);
    ck_assert_rc(log_levels_set(STR(" , "), &e), RC_INVALID);
    ck_assert(log_enabled(LOG_DEBUG, "xds")); /* as it was */
    ck_assert_rc(log_levels_add(STR("access=info"), &e), RC_OK);
    struct strbuf b AUTO_STRBUF;
    strbuf_init(&b, 1000);
    log_levels_get(&b);
    ck_assert_str_eq(b.p, "warn,access=info,xds=debug");
    strbuf_reset(&b);
    ck_assert_rc(log_levels_set(STR("error"), &e), RC_OK);
    log_levels_get(&b);
    ck_assert_str_eq(b.p, "error");
}
END_TEST

START_TEST(too_many_scopes)
{
    struct strbuf b AUTO_STRBUF;
    strbuf_init(&b, 10000);
    strbuf_addz(&b, "info");
    for (int i = 0; i < 65; i++)
        strbuf_printf(&b, ",many%d=debug", i);
    struct errmsg e = {0};
    ck_assert_rc(log_levels_set(strbuf_str(&b), &e), RC_LIMIT);
    ck_assert(!log_enabled(LOG_DEBUG, "many0"));
}
END_TEST

START_TEST(repeated_messages_are_counted)
{
    int fd = file_output();
    for (int i = 0; i < 100; i++)
        log_warn("x", "again");
    log_warn("x", "another");
    char *got = written(fd);
    ck_assert_uint_eq(lines(got), 3);
    ck_assert_ptr_nonnull(strstr(got, "the last message came again\trepeated=99\n"));
    close(fd);
}
END_TEST

/* -- rings -- */

static atomic_uint works;
static void on_work(void *arg)
{
    (void)arg;
    atomic_fetch_add(&works, 1);
}

START_TEST(work_is_coalesced)
{
    int fd = file_output();
    atomic_store(&works, 0);
    log_start(on_work, NULL);
    for (int i = 0; i < 10; i++)
        log_info("x", "line %d", i);
    ck_assert_uint_eq(atomic_load(&works), 1);
    ck_assert_uint_eq(lines(written(fd)), 0);
    ck_assert_int_eq(log_drain(), -1);
    ck_assert_uint_eq(lines(written(fd)), 10);
    log_info("x", "more");
    ck_assert_uint_eq(atomic_load(&works), 2);
    log_stop();
    ck_assert_uint_eq(lines(written(fd)), 11);
    log_info("x", "direct");
    ck_assert_uint_eq(lines(written(fd)), 12);
    close(fd);
}
END_TEST

#define WRITERS 4
#define EACH    2000
static void *writer(void *arg)
{
    for (int i = 0; i < EACH; i++)
        log_info("x", "thread %d line %d", *(const int *)arg, i);
    return NULL;
}

START_TEST(threads_lose_nothing_unnoticed)
{
    int fd = file_output();
    uint64_t dropped = log_dropped();
    log_start(on_work, NULL);
    pthread_t t[WRITERS];
    int id[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        id[i] = i;
        ck_assert_int_eq(pthread_create(&t[i], NULL, writer, &id[i]), 0);
    }
    for (int i = 0; i < 200; i++)
        log_drain();
    for (int i = 0; i < WRITERS; i++)
        pthread_join(t[i], NULL);
    log_stop();
    dropped = log_dropped() - dropped;
    /* every line is whole, those of a thread in order, and the sum adds up */
    unsigned seen = 0;
    int next[WRITERS] = {0};
    for (char *at = written(fd), *end; *at; at = end + 1) {
        end = strchr(at, '\n');
        ck_assert_ptr_nonnull(end);
        int who, line;
        const char *tail = at + 27;
        if (sscanf(tail, "\tinfo\tx\tthread %d line %d", &who, &line) == 2) {
            ck_assert_int_ge(line, next[who]);
            next[who] = line + 1;
            seen++;
        }
    }
    ck_assert_uint_eq(seen + dropped, WRITERS * EACH);
    close(fd);
}
END_TEST

/* A ring of a thread that is not the owner, filled while nobody drains. */
START_TEST(full_ring_drops_and_tells)
{
    int fd = file_output(), id = 7;
    uint64_t dropped = log_dropped();
    log_start(on_work, NULL);
    pthread_t t;
    for (int round = 0; round < 3; round++) {
        ck_assert_int_eq(pthread_create(&t, NULL, writer, &id), 0);
        pthread_join(t, NULL); /* the next thread takes over the same ring */
    }
    ck_assert_uint_gt(log_dropped(), dropped);
    log_stop();
    char want[64];
    snprintf(want, sizeof(want), "dropped=%llu\n", (unsigned long long)(log_dropped() - dropped));
    ck_assert_ptr_nonnull(strstr(written(fd), want));
    close(fd);
}
END_TEST

START_TEST(a_stalled_reader_does_not_block)
{
    int p[2];
    ck_assert_int_eq(pipe2(p, O_CLOEXEC), 0);
    fcntl(p[1], F_SETPIPE_SZ, 4096);
    signal(SIGPIPE, SIG_IGN);
    int file = file_output();
    log_output(p[1]);
    log_start(on_work, NULL);
    for (int i = 0; i < 300; i++)
        log_info("x", "line %d of a log that nobody reads", i);
    int64_t again = log_drain();
    ck_assert_int_gt(again, 0);
    static char buf[65536];
    ssize_t n = read(p[0], buf, sizeof(buf));
    ck_assert_int_gt(n, 0);
    ck_assert_int_eq(buf[n - 1], '\n'); /* lines are never cut */
    while (log_drain() >= 0)
        ck_assert_int_gt(read(p[0], buf, sizeof(buf)), 0);
    close(p[0]);
    log_info("x", "into a closed pipe");
    ck_assert_int_eq(log_drain(), -1);
    log_stop();
    close(p[1]);
    close(file);
}
END_TEST

TEST_MAIN("log", text_form, json_form, messages_stay_on_one_line, a_full_line_keeps_whole_fields,
          levels, too_many_scopes, repeated_messages_are_counted, work_is_coalesced,
          threads_lose_nothing_unnoticed, full_ring_drops_and_tells,
          a_stalled_reader_does_not_block)
