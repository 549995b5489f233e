#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/event/loop.h"
#include "tests/helper/check.h"

static char trace[64];
static size_t trace_n;

static void note(void *owner)
{
    trace[trace_n++] = *(const char *)owner;
    trace[trace_n] = '\0';
}

START_TEST(timers_fire_in_order_of_their_deadlines)
{
    struct loop *l = loop_new();
    struct loop_timer t[5];
    const char *names = "abcde";
    loop_clock_fake(l, 1000);
    trace_n = 0;
    for (int i = 0; i < 5; i++)
        loop_timer_init(&t[i], l, note, (void *)(uintptr_t)(names + i));
    loop_timer_set(&t[0], 50);
    loop_timer_set(&t[1], 10);
    loop_timer_set(&t[2], 30);
    loop_timer_set(&t[3], 20);
    loop_timer_set(&t[4], 40);
    loop_timer_clear(&t[3]);
    loop_timer_set(&t[0], 5); /* re-armed: first now */
    loop_turn(l, 0);
    ck_assert_uint_eq(trace_n, 0);
    loop_clock_advance(l, 35);
    loop_turn(l, 0);
    ck_assert_str_eq(trace, "abc");
    ck_assert(!loop_timer_armed(&t[0]));
    ck_assert(loop_timer_armed(&t[4]));
    loop_clock_advance(l, 5);
    loop_turn(l, 0);
    ck_assert_str_eq(trace, "abce");
    loop_free(l);
}
END_TEST

START_TEST(phases_run_in_order_and_once)
{
    struct loop *l = loop_new();
    struct loop_task w, f, z;
    char names[] = "wfz";
    trace_n = 0;
    loop_task_init(&z, note, names + 2);
    loop_task_init(&f, note, names + 1);
    loop_task_init(&w, note, names);
    loop_defer(l, &z, LOOP_FREE);
    loop_defer(l, &f, LOOP_FLUSH);
    loop_defer(l, &w, LOOP_WORK);
    loop_defer(l, &w, LOOP_WORK);
    loop_turn(l, -1); /* does not sleep: there is work */
    ck_assert_str_eq(trace, "wfz");
    loop_defer(l, &f, LOOP_FLUSH);
    loop_task_cancel(&f);
    loop_turn(l, 0);
    ck_assert_str_eq(trace, "wfz");
    loop_free(l);
}
END_TEST

struct pair {
    struct loop *l;
    struct loop_fd f[2];
    int fd[2][2];
    int calls;
    unsigned last;
};

static void on_ready_close_other(void *owner, unsigned ready)
{
    struct pair *p = owner;
    p->calls++;
    p->last = ready;
    loop_fd_close(&p->f[0]);
    loop_fd_close(&p->f[1]);
}

START_TEST(a_descriptor_closed_in_the_same_turn_is_not_called)
{
    struct pair p = {.l = loop_new()};
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p.fd[i]), 0);
        ck_assert_rc(loop_fd_open(&p.f[i], p.l, p.fd[i][0], LOOP_READ, on_ready_close_other, &p),
                     RC_OK);
        ck_assert_int_eq(write(p.fd[i][1], "x", 1), 1);
    }
    loop_turn(p.l, 1000);
    ck_assert_int_eq(p.calls, 1);
    ck_assert_uint_eq(p.last, LOOP_READ);
    for (int i = 0; i < 4; i++)
        close(p.fd[i / 2][i % 2]);
    loop_free(p.l);
}
END_TEST

static void on_ready_count(void *owner, unsigned ready)
{
    struct pair *p = owner;
    p->calls++;
    p->last |= ready;
}

START_TEST(edges_and_hangup_are_told)
{
    struct pair p = {.l = loop_new()};
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p.fd[0]), 0);
    ck_assert_rc(loop_fd_open(&p.f[0], p.l, p.fd[0][0], LOOP_READ | LOOP_WRITE, on_ready_count, &p),
                 RC_OK);
    loop_turn(p.l, 1000);
    ck_assert_int_eq(p.calls, 1);
    ck_assert_uint_eq(p.last, LOOP_WRITE);
    loop_turn(p.l, 0); /* an edge is told once */
    ck_assert_int_eq(p.calls, 1);
    shutdown(p.fd[0][1], SHUT_WR);
    loop_turn(p.l, 1000);
    ck_assert_uint_eq(p.last, LOOP_READ | LOOP_WRITE | LOOP_HANGUP);
    loop_fd_close(&p.f[0]);
    loop_fd_close(&p.f[0]);
    close(p.fd[0][0]);
    close(p.fd[0][1]);
    loop_free(p.l);
}
END_TEST

TEST_MAIN("loop", timers_fire_in_order_of_their_deadlines, phases_run_in_order_and_once,
          a_descriptor_closed_in_the_same_turn_is_not_called, edges_and_hangup_are_told)
