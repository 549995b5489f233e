/* Both sides of ZDS over a real socket, with real namespaces. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/net/netns.h"
#include "lib/net/sock.h"
#include "lib/zds/zds_client.h"
#include "lib/zds/zds_server.h"
#include "tests/helper/check.h"

struct rig {
    struct loop *l;
    struct zds_server *s;
    struct zds_client *c[2];
    char dir[40], path[60];
    char log[2000]; /* what the ztunnels were told: "0+uid 1-uid 0=uid 0. " */
    char announced[2000];
    bool connected[2];
    const char *answer; /* to adds; NULL: accepted */
    bool hold;          /* do not answer adds */
    struct zds_client *held;
    int netns;
    int n_pods; /* to announce: pod0 … */
    int done;
    char error[200];
    bool right_netns;
};

static struct rig *rig;

static int which(struct zds_client *c)
{
    return c == rig->c[1];
}

static void note(struct zds_client *c, char what, struct str uid)
{
    size_t n = strlen(rig->log);
    snprintf(rig->log + n, sizeof(rig->log) - n, "%d%c%.*s ", which(c), what, STR_ARG(uid));
}

static void on_add(void *owner, struct zds_client *c, const struct zds_request *r, int netns)
{
    (void)owner;
    struct netns_id a, b;
    ck_assert(r->has_info && str_eqz(r->ns, "shop") && str_eqz(r->sa, "cart") && r->name.n);
    ck_assert_rc(netns_id(netns, &a), RC_OK);
    ck_assert_rc(netns_id(rig->netns, &b), RC_OK);
    rig->right_netns = a.ino == b.ino;
    close(netns);
    note(c, '+', r->uid);
    if (rig->hold)
        rig->held = c;
    else
        zds_client_ack(c, rig->answer);
}

static void on_del(void *owner, struct zds_client *c, struct str uid)
{
    (void)owner;
    note(c, '-', uid);
    zds_client_ack(c, NULL);
}

static void on_keep(void *owner, struct zds_client *c, struct str uid)
{
    (void)owner;
    note(c, '=', uid);
    zds_client_ack(c, NULL);
}

static void on_snapshot(void *owner, struct zds_client *c)
{
    (void)owner;
    note(c, '.', (struct str){"", 0});
    zds_client_ack(c, NULL);
}

static void on_state_0(void *owner, bool connected, const char *error)
{
    (void)error;
    ((struct rig *)owner)->connected[0] = connected;
}

static void on_state_1(void *owner, bool connected, const char *error)
{
    (void)error;
    ((struct rig *)owner)->connected[1] = connected;
}

static const struct zds_client_ops client_ops[2] = {
    {on_add, on_del, on_keep, on_snapshot, on_state_0},
    {on_add, on_del, on_keep, on_snapshot, on_state_1}};

static struct zds_request pod(const char *uid)
{
    return (struct zds_request){.kind = ZDS_ADD,
                                .uid = str_of(uid),
                                .name = STR("cart-0"),
                                .ns = STR("shop"),
                                .sa = STR("cart")};
}

static void each_pod(void *owner, void (*add)(void *arg, const struct zds_request *r, int netns),
                     void *arg)
{
    struct rig *r = owner;
    for (int i = 0; i < r->n_pods; i++) {
        char uid[20];
        snprintf(uid, sizeof(uid), "pod%d", i);
        struct zds_request q = pod(uid);
        add(arg, &q, i == 1 ? -1 : r->netns);
    }
}

static void on_announced(void *owner, struct str uid, const char *error)
{
    struct rig *r = owner;
    size_t n = strlen(r->announced);
    snprintf(r->announced + n, sizeof(r->announced) - n, "%.*s:%s ", STR_ARG(uid),
             error ? error : "ok");
}

static const struct zds_server_ops server_ops = {each_pod, on_announced, NULL};

static void on_done(void *owner, const char *error)
{
    struct rig *r = owner;
    r->done++;
    snprintf(r->error, sizeof(r->error), "%s", error ? error : "");
}

#define WAIT(cond)                                                                    \
    do {                                                                              \
        for (int i_ = 0; i_ < 600 && !(cond); i_++)                                   \
            loop_turn(rig->l, 10);                                                    \
        ck_assert_msg((cond), "%s never came: %s | %s", #cond, rig->log, rig->error); \
    } while (0)

static void server_start(struct rig *r)
{
    struct errmsg e = {""};
    r->s = zds_server_new(r->l, r->path, &server_ops, r, &e);
    ck_assert_msg(r->s != NULL, "%s", e.text);
}

static void rig_init(struct rig *r, int pods)
{
    memset(r, 0, sizeof(*r));
    rig = r;
    strcpy(r->dir, "/tmp/test-zds-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(r->dir));
    snprintf(r->path, sizeof(r->path), "%s/ztunnel.sock", r->dir);
    ck_assert_rc(netns_init(), RC_OK);
    ck_assert_rc(netns_new(&r->netns), RC_OK);
    r->n_pods = pods;
    r->l = loop_new();
    server_start(r);
    for (int i = 0; i < 2; i++)
        r->c[i] = zds_client_new(r->l, r->path, &client_ops[i], r);
}

static void rig_fini(struct rig *r)
{
    for (int i = 0; i < 2; i++)
        zds_client_free(r->c[i]);
    for (int i = 0; i < 5; i++)
        loop_turn(r->l, 5);
    zds_server_free(r->s);
    close(r->netns);
    loop_free(r->l);
    ck_assert_int_eq(rmdir(r->dir), 0); /* the socket is gone too */
}

static struct rig the_rig;

START_TEST(a_ztunnel_is_told_everything_then_what_changes)
{
    struct rig *r = &the_rig;
    rig_init(r, 3);
    zds_client_start(r->c[0]);
    WAIT(strstr(r->log, "0. "));
    ck_assert_str_eq(r->log, "0+pod0 0=pod1 0+pod2 0. ");
    ck_assert(r->right_netns);
    WAIT(strstr(r->announced, "pod2:ok"));
    struct zds_request q = pod("new");
    zds_server_add(r->s, &q, r->netns, on_done, r);
    WAIT(r->done == 1);
    ck_assert_str_eq(r->error, "");
    zds_server_del(r->s, STR("pod0"), on_done, r);
    WAIT(r->done == 2);
    ck_assert_str_eq(r->log, "0+pod0 0=pod1 0+pod2 0. 0+new 0-pod0 ");
    rig_fini(r);
}
END_TEST

START_TEST(additions_go_to_the_newest_removals_to_all)
{
    struct rig *r = &the_rig;
    rig_init(r, 0);
    zds_client_start(r->c[0]);
    WAIT(strstr(r->log, "0. "));
    zds_client_start(r->c[1]);
    WAIT(strstr(r->log, "1. "));
    struct zds_request q = pod("a");
    zds_server_add(r->s, &q, r->netns, on_done, r);
    zds_server_del(r->s, STR("b"), on_done, r);
    WAIT(r->done == 2);
    ck_assert_ptr_nonnull(strstr(r->log, "1+a "));
    ck_assert_ptr_null(strstr(r->log, "0+a "));
    ck_assert_ptr_nonnull(strstr(r->log, "0-b "));
    ck_assert_ptr_nonnull(strstr(r->log, "1-b "));
    rig_fini(r);
}
END_TEST

START_TEST(refusals_and_absence_are_told)
{
    struct rig *r = &the_rig;
    rig_init(r, 1);
    struct zds_request q = pod("a");
    zds_server_add(r->s, &q, r->netns, on_done, r);
    ck_assert_int_eq(r->done, 0); /* never from inside */
    WAIT(r->done == 1);
    ck_assert_str_eq(r->error, "no ztunnel is connected");
    r->answer = "no room";
    zds_client_start(r->c[0]);
    WAIT(strstr(r->announced, "pod0:no room"));
    zds_server_add(r->s, &q, r->netns, on_done, r);
    WAIT(r->done == 2);
    ck_assert_str_eq(r->error, "no room");
    char longest[1100];
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    q = pod(longest);
    zds_server_add(r->s, &q, r->netns, on_done, r);
    WAIT(r->done == 3);
    ck_assert_ptr_nonnull(strstr(r->error, "do not fit"));
    rig_fini(r);
}
END_TEST

START_TEST(either_side_may_go_and_come_back)
{
    struct rig *r = &the_rig;
    rig_init(r, 1);
    zds_client_start(r->c[0]);
    WAIT(strstr(r->log, "0. "));
    zds_server_free(r->s); /* the agent restarts */
    WAIT(!r->connected[0]);
    r->log[0] = '\0';
    server_start(r);
    WAIT(strstr(r->log, "0+pod0 0. "));
    r->hold = true; /* the ztunnel dies with a request unanswered */
    struct zds_request q = pod("a");
    zds_server_add(r->s, &q, r->netns, on_done, r);
    WAIT(r->held);
    zds_client_free(r->c[0]);
    r->c[0] = NULL;
    WAIT(r->done == 1);
    ck_assert_ptr_nonnull(strstr(r->error, "closed the link"));
    rig_fini(r);
}
END_TEST

START_TEST(when_the_newest_leaves_the_one_before_catches_up)
{
    struct rig *r = &the_rig;
    rig_init(r, 2);
    zds_client_start(r->c[0]);
    WAIT(strstr(r->log, "0. "));
    zds_client_start(r->c[1]);
    WAIT(strstr(r->log, "1. "));
    r->n_pods = 3; /* the newest alone is told of this one */
    r->log[0] = r->announced[0] = '\0';
    zds_client_free(r->c[1]);
    r->c[1] = NULL;
    WAIT(strstr(r->announced, "pod2:ok"));
    ck_assert_str_eq(r->log, "0+pod0 0+pod2 "); /* no Keep after a snapshot */
    rig_fini(r);
}
END_TEST

static bool ended(int fd)
{
    char buf[64];
    return recv(fd, buf, sizeof(buf), MSG_DONTWAIT) == 0;
}

static bool waits(int fd) /* a packet of two bytes */
{
    char buf[64];
    return recv(fd, buf, sizeof(buf), MSG_DONTWAIT | MSG_PEEK) == 2;
}

/* Packets after the hello and the acknowledged snapshot; or at once. */
START_TEST(who_talks_nonsense_is_disconnected)
{
    struct rig *r = &the_rig;
    static const struct {
        const char *packet;
        size_t n;
        bool at_once;
    } rows[] = {
        {"\xff\xff", 2, true},                  /* not protobuf */
        {"\x08\x02", 2, true},                  /* another version */
        {"\x0a\x00", 2, false},                 /* an answer to nothing */
        {"\x08\x01", 2, false},                 /* a second hello */
        {"\x0a\x02\x0a\x05", 4, false},         /* cut short */
        {"\x0a\x04\x0a\x02\xff\xfe", 6, false}, /* not UTF-8 */
    };
    static const char big[ZDS_PACKET_MAX + 1] = "\x08\x01";
    rig_init(r, 0);
    for (size_t i = 0; i <= ARRAY_LEN(rows); i++) {
        int fd;
        ck_assert_rc(sock_connect_unix(r->path, SOCK_SEQPACKET, &fd), RC_OK);
        if (i == ARRAY_LEN(rows)) {
            ck_assert_int_eq(send(fd, big, sizeof(big), 0), (ssize_t)sizeof(big));
        } else {
            if (!rows[i].at_once) {
                ck_assert_int_eq(send(fd, "\x08\x01", 2, 0), 2);
                char snapshot[2];
                WAIT(waits(fd));
                ck_assert_int_eq(recv(fd, snapshot, 2, 0), 2);
                ck_assert_int_eq(send(fd, "\x0a\x00", 2, 0), 2);
            }
            ck_assert_int_eq(send(fd, rows[i].packet, rows[i].n, 0), (ssize_t)rows[i].n);
        }
        WAIT(ended(fd));
        ck_assert_uint_eq(zds_server_clients(r->s), 0);
        close(fd);
    }
    rig_fini(r);
}
END_TEST

START_TEST(no_answer_ends_the_link)
{
    struct rig *r = &the_rig;
    rig_init(r, 0);
    loop_clock_fake(r->l, loop_now(r->l));
    zds_client_start(r->c[0]);
    WAIT(strstr(r->log, "0. "));
    r->hold = true;
    struct zds_request q = pod("a");
    zds_server_add(r->s, &q, r->netns, on_done, r);
    WAIT(r->held);
    loop_clock_advance(r->l, ZDS_ACK_MS + 1);
    WAIT(r->done == 1);
    ck_assert_str_eq(r->error, "the ztunnel did not answer within 5 s");
    zds_client_ack(r->c[0], NULL); /* late: of no use */
    r->hold = false;
    r->log[0] = '\0';
    WAIT(!r->connected[0]);
    loop_clock_advance(r->l, 5000); /* its back-off */
    WAIT(strstr(r->log, "0. "));
    rig_fini(r);
}
END_TEST

TEST_MAIN("zds", a_ztunnel_is_told_everything_then_what_changes,
          additions_go_to_the_newest_removals_to_all, refusals_and_absence_are_told,
          either_side_may_go_and_come_back, when_the_newest_leaves_the_one_before_catches_up,
          who_talks_nonsense_is_disconnected, no_answer_ends_the_link)
