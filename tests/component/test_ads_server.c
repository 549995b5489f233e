/* The serving side of delta ADS against clients that are slow, old, strange or hostile. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/mem.h"
#include "tests/helper/ads_peer.h"
#include "tests/helper/check.h"
#include "tests/helper/io_mem.h"

#define POLICY  0
#define ADDRESS 1

static struct loop *l;
static struct ads_server *s;
static struct ads_peer p;
static struct strbuf m;
static char nack[8192];
static int clients, gone;

static enum grpc_status on_client(void *owner, const struct ads_client_info *c, const char **text)
{
    (void)owner, (void)c, (void)text;
    clients++;
    return GRPC_OK;
}

static void on_nack(void *owner, const struct ads_client_info *c, const char *url, struct str error)
{
    (void)owner, (void)c, (void)url;
    snprintf(nack, sizeof(nack), "%.*s", STR_ARG(error));
}

static void on_gone(void *owner, const struct ads_client_info *c)
{
    (void)owner, (void)c;
    gone++;
}

/* A service brings its workloads, an address its pod. */
static void on_lookup(void *owner, const char *url, struct str key,
                      void (*add)(void *arg, struct str name), void *arg)
{
    (void)owner, (void)url;
    if (str_eqz(key, "shop/cart")) {
        add(arg, STR("pod-1"));
        add(arg, STR("pod-2"));
    }
    if (str_eqz(key, "/10.0.0.2"))
        add(arg, STR("pod-2"));
}

static const struct ads_server_ops ops = {on_client, on_nack, on_gone, on_lookup};
static const struct ads_type types[] = {{XDS_AUTHORIZATION, true}, {XDS_ADDRESS, false}};

static void setup(void)
{
    l = loop_new();
    loop_clock_fake(l, 1000);
    s = ads_server_new(l, types, 2, &ops, NULL);
    strbuf_init(&m, 64 << 20);
    clients = gone = 0;
    nack[0] = '\0';
    ads_peer_open(&p, l, s, 4096);
    p.ack = true;
}

static void teardown(void)
{
    ads_peer_close(&p);
    ads_server_free(s);
    strbuf_fini(&m);
    loop_turn(l, 0);
    loop_free(l);
}

/* Turns until nothing moves any more. */
static void settle(void)
{
    for (size_t calm = 0, before = SIZE_MAX; calm < 20; calm++) {
        loop_turn(l, 0);
        size_t now = p.log.n + p.bytes + p.responses + (p.call ? grpc_pending(p.call) : 0);
        if (now != before)
            calm = 0;
        before = now;
    }
}

/* For what travels long through the small pipe. */
#define TURN_UNTIL(cond)                               \
    do {                                               \
        for (int i_ = 0; i_ < 100000 && !(cond); i_++) \
            loop_turn(l, 0);                           \
        ck_assert(cond);                               \
    } while (0)

static void put(size_t type, const char *name, struct str bytes)
{
    struct resource *r = resource_new(str_of(name), bytes);
    ads_server_set(s, type, r);
    resource_unref(r);
}

static void send(void)
{
    ads_peer_send(&p, strbuf_str(&m));
    settle();
}

static void first(const char *url)
{
    ads_peer_begin(&m, url, "node");
    send();
}

/* What came since the last call. */
static void came(const char *want)
{
    ck_assert_str_eq(p.log.n ? p.log.p : "", want);
    strbuf_reset(&p.log);
}

static char big[20000];

/* 200 resources of 20 kB: the pipe holds none of them. */
static void put_large_of(size_t type)
{
    for (int i = 0; i < 200; i++) {
        char name[20];
        snprintf(name, sizeof(name), "pod-%d", i);
        memset(big, 'a' + i % 26, sizeof(big));
        put(type, name, (struct str){big, sizeof(big)});
    }
}

static void put_large(void)
{
    put_large_of(ADDRESS);
}

START_TEST(the_first_answer_is_one_response_however_large)
{
    put_large();
    first(XDS_ADDRESS);
    ck_assert_uint_eq(p.responses, 1);
    ck_assert_uint_eq(p.resources, 200);
    ck_assert_uint_gt(p.largest, 200 * sizeof(big));
    strbuf_reset(&p.log);
    put_large(); /* the same: nothing */
    for (int i = 0; i < 200; i++) {
        char name[20];
        snprintf(name, sizeof(name), "pod-%d", i);
        big[0] = (char)i;
        put(ADDRESS, name, (struct str){big, sizeof(big)});
    }
    p.largest = 0;
    ads_server_push(s);
    settle();
    ck_assert_uint_eq(p.resources, 400);
    ck_assert_uint_eq(p.responses, 1 + 4); /* 1 MiB each */
    ck_assert_uint_lt(p.largest, ADS_PUSH_MAX + 2 * sizeof(big));
}
END_TEST

START_TEST(requests_of_one_turn_are_answered_policies_first)
{
    put(POLICY, "deny", STR("p"));
    put(ADDRESS, "pod-1", STR("a"));
    ads_peer_begin(&m, XDS_ADDRESS, "node"); /* ztunnel's order */
    ads_peer_send(&p, strbuf_str(&m));
    ads_peer_begin(&m, XDS_AUTHORIZATION, "node");
    ads_peer_send(&p, strbuf_str(&m));
    settle();
    came("< +deny> Authorization\n< +pod-1> Address\n");
}
END_TEST

START_TEST(what_changes_while_a_client_is_slow_comes_once_and_last)
{
    put_large();
    put(POLICY, "deny-1", STR("p"));
    first(XDS_AUTHORIZATION);
    came("< +deny-1> Authorization\n");
    ads_peer_begin(&m, XDS_ADDRESS, "node");
    ads_peer_send(&p, strbuf_str(&m));
    loop_turn(l, 0);
    loop_turn(l, 0);
    io_mem_hold(p.io, true);
    settle();
    ck_assert_uint_lt(p.resources, 50);
    for (int i = 0; i < 50; i++) {
        char bytes[20];
        snprintf(bytes, sizeof(bytes), "v%d", i);
        put(ADDRESS, "pod-7", str_of(bytes));
        put(ADDRESS, "late", str_of(bytes));
        ads_server_remove(s, ADDRESS, STR("pod-9"));
        put(POLICY, "deny-2", str_of(bytes));
        ads_server_remove(s, POLICY, STR("deny-1"));
        ads_server_push(s);
        settle();
    }
    ck_assert_uint_lt(p.resources, 50);
    io_mem_hold(p.io, false);
    settle();
    const char *rest = strstr(p.log.p, "> Address\n");
    ck_assert_ptr_nonnull(rest);
    ck_assert_str_eq(rest, "> Address\n"
                           "< +deny-2> Authorization\n"
                           "< +pod-7 +late -pod-9> Address\n"
                           "< -deny-1> Authorization\n");
    ck_assert_uint_eq(ads_server_clients(s), 1);
}
END_TEST

START_TEST(what_goes_stays_known_until_the_slowest_has_heard_of_it)
{
    put_large();
    first(XDS_ADDRESS);
    for (int i = 0; i < 100; i++) { /* more than is sent ahead of a client */
        char name[20];
        snprintf(name, sizeof(name), "pod-%d", i);
        big[0] = (char)i;
        put(ADDRESS, name, (struct str){big, sizeof(big)});
    }
    io_mem_hold(p.io, true);
    ads_server_push(s);
    settle();
    strbuf_reset(&p.log);
    ads_server_remove(s, ADDRESS, STR("pod-199"));
    for (int i = 0; i < 1200; i++) {
        char bytes[20];
        snprintf(bytes, sizeof(bytes), "%d", i);
        put(ADDRESS, "busy", str_of(bytes));
        if (i % 100 == 0)
            ads_server_push(s);
    }
    ads_server_push(s);
    io_mem_hold(p.io, false);
    settle();
    ck_assert_ptr_nonnull(strstr(p.log.p, " +busy -pod-199> Address\n"));
}
END_TEST

START_TEST(a_client_that_takes_nothing_is_dropped)
{
    put_large();
    first(XDS_AUTHORIZATION);
    ads_peer_begin(&m, XDS_ADDRESS, "node");
    ads_peer_send(&p, strbuf_str(&m));
    loop_turn(l, 0);
    io_mem_hold(p.io, true);
    settle();
    loop_clock_advance(l, ADS_STALL_MS / 2);
    settle();
    ck_assert_uint_eq(ads_server_clients(s), 1);
    loop_clock_advance(l, ADS_STALL_MS / 2 + 1000);
    settle();
    ck_assert_uint_eq(ads_server_clients(s), 0);
    ck_assert_int_eq(gone, 1);
}
END_TEST

START_TEST(a_slow_client_that_reads_on_stays)
{
    put_large();
    ads_peer_begin(&m, XDS_ADDRESS, "node");
    ads_peer_send(&p, strbuf_str(&m));
    for (int i = 0; i < 200 && p.responses == 0; i++) {
        io_mem_hold(p.io, true);
        loop_clock_advance(l, 5000);
        loop_turn(l, 0);
        io_mem_hold(p.io, false);
        for (int k = 0; k < 40; k++)
            loop_turn(l, 0);
    }
    ck_assert_uint_eq(p.responses, 1);
    ck_assert_uint_eq(p.resources, 200);
    ck_assert_int_eq(gone, 0);
}
END_TEST

START_TEST(equal_versions_are_not_sent_names_that_are_gone_are_told)
{
    put(ADDRESS, "same", STR("1"));
    put(ADDRESS, "other", STR("2"));
    put(ADDRESS, "new", STR("3"));
    put(ADDRESS, "died", STR("4"));
    ads_server_remove(s, ADDRESS, STR("died"));
    ads_server_remove(s, ADDRESS, STR("never was"));
    ads_peer_begin(&m, XDS_ADDRESS, "node");
    ads_peer_held(&m, "same", ads_server_find(s, ADDRESS, STR("same"))->version);
    ads_peer_held(&m, "other", "0000000000000000");
    ads_peer_held(&m, "died", "1");
    ads_peer_held(&m, "foreign", "");
    send();
    came("< +other +new -foreign -died> Address\n");
    put(ADDRESS, "same", STR("changed"));
    ads_server_push(s);
    settle();
    came("< +same> Address\n");
    put(ADDRESS, "same", STR("1")); /* back to what it had when it came */
    ads_server_push(s);
    settle();
    came("< +same> Address\n");
    /* policies: the removal is told after the addresses */
    ads_peer_begin(&m, XDS_AUTHORIZATION, "node");
    ads_peer_held(&m, "gone", "1");
    send();
    came("<> Authorization\n< -gone> Authorization\n");
}
END_TEST

START_TEST(a_change_under_way_is_not_taken_for_what_the_client_had)
{
    put_large_of(POLICY);
    put(ADDRESS, "same", STR("1"));
    ads_peer_begin(&m, XDS_AUTHORIZATION, "node");
    ads_peer_send(&p, strbuf_str(&m));
    ads_peer_begin(&m, XDS_ADDRESS, "node");
    ads_peer_held(&m, "same", ads_server_find(s, ADDRESS, STR("same"))->version);
    ads_peer_send(&p, strbuf_str(&m));
    loop_turn(l, 0);
    io_mem_hold(p.io, true);
    settle();
    put(ADDRESS, "same", STR("2"));
    ads_server_push(s);
    io_mem_hold(p.io, false);
    settle();
    ck_assert_ptr_nonnull(strstr(p.log.p, "> Authorization\n< +same> Address\n"));
}
END_TEST

START_TEST(on_demand_as_a_stock_ztunnel_asks)
{
    put(ADDRESS, "shop/cart", STR("service"));
    put(ADDRESS, "pod-1", STR("1"));
    put(ADDRESS, "pod-2", STR("2"));
    put(ADDRESS, "pod-3", STR("3"));
    ads_peer_begin(&m, XDS_ADDRESS, "node");
    ads_peer_name(&m, 3, "*");
    ads_peer_name(&m, 4, "*");
    send();
    came("<> Address\n");
    ads_peer_begin(&m, XDS_ADDRESS, NULL);
    ads_peer_name(&m, 3, "shop/cart");
    send();
    came("< +shop/cart +pod-1 +pod-2> Address\n");
    ads_peer_begin(&m, XDS_ADDRESS, NULL);
    ads_peer_name(&m, 3, "/10.0.0.2"); /* what waits for the key must not wait for ever */
    send();
    came("< +pod-2 -/10.0.0.2> Address\n");
    put(ADDRESS, "pod-1", STR("1b"));
    put(ADDRESS, "pod-3", STR("3b"));
    ads_server_remove(s, ADDRESS, STR("pod-2"));
    ads_server_push(s);
    settle();
    came("< +pod-1 -pod-2> Address\n");
    ads_peer_begin(&m, XDS_ADDRESS, NULL);
    ads_peer_name(&m, 4, "pod-1");
    send();
    put(ADDRESS, "pod-1", STR("1c"));
    ads_server_push(s);
    settle();
    came("");
    ads_peer_begin(&m, XDS_ADDRESS, NULL); /* and now everything */
    ads_peer_name(&m, 3, "*");
    send();
    came("< +shop/cart +pod-3 +pod-1 -pod-2> Address\n");
}
END_TEST

START_TEST(on_demand_again_its_names_come_as_held_ones)
{
    put(ADDRESS, "pod-1", STR("1"));
    put(ADDRESS, "pod-2", STR("2"));
    put(ADDRESS, "pod-3", STR("3"));
    ads_peer_begin(&m, XDS_ADDRESS, "node");
    ads_peer_name(&m, 3, "*");
    ads_peer_name(&m, 4, "*");
    ads_peer_held(&m, "pod-1", ads_server_find(s, ADDRESS, STR("pod-1"))->version);
    ads_peer_held(&m, "pod-2", "");
    ads_peer_held(&m, "pod-9", "1");
    send();
    came("< +pod-2 -pod-9> Address\n");
    put(ADDRESS, "pod-1", STR("1b"));
    put(ADDRESS, "pod-3", STR("3b"));
    put(ADDRESS, "pod-9", STR("9"));
    ads_server_push(s);
    settle();
    came("< +pod-1 +pod-9> Address\n");
}
END_TEST

static void answer(const char *nonce, const char *error)
{
    struct strbuf status AUTO_STRBUF;
    strbuf_init(&status, 8 << 20);
    pb_put_str(&status, 2, str_of(error));
    ads_peer_begin(&m, XDS_ADDRESS, NULL);
    pb_put_str(&m, 6, str_of(nonce));
    if (error)
        pb_put_bytes(&m, 7, strbuf_str(&status));
    send();
}

static void dump_has(const char *text)
{
    struct strbuf out AUTO_STRBUF;
    strbuf_init(&out, 65536);
    ads_server_dump(s, &out);
    ck_assert_msg(strstr(out.p, text), "%s lacks %s", out.p, text);
}

START_TEST(answers_are_counted_stale_ones_not)
{
    p.ack = false;
    put(ADDRESS, "pod-1", STR("1"));
    first(XDS_ADDRESS);
    char old[64];
    strcpy(old, p.nonce);
    answer("1-7", NULL); /* never sent */
    answer("0-1", NULL); /* of the other type */
    answer("nonsense", NULL);
    answer("-", "x");
    dump_has("\"sent\":1,\"acked\":0,\"nacked\":0,\"error\":\"\"");
    answer(old, NULL);
    dump_has("\"acked\":1,\"nacked\":0");
    answer(old, NULL);
    dump_has("\"acked\":1,\"nacked\":0");
    put(ADDRESS, "pod-1", STR("2"));
    ads_server_push(s);
    settle();
    ck_assert_str_ne(p.nonce, old);
    answer(old, "late");
    ck_assert_str_eq(nack, "");
    strbuf_reset(&p.log);
    answer(p.nonce, "pod-1: no good");
    ck_assert_str_eq(nack, "pod-1: no good");
    dump_has("\"acked\":1,\"nacked\":1,\"error\":\"pod-1: no good\"");
    came(""); /* nothing is sent again */
}
END_TEST

START_TEST(a_long_complaint_does_not_end_the_stream)
{
    p.ack = false;
    first(XDS_ADDRESS);
    char *text AUTO_FREE = mem_alloc(1000001);
    memset(text, 'x', 1000000);
    text[1000000] = '\0';
    answer(p.nonce, text);
    TURN_UNTIL(nack[0]);
    ck_assert_uint_eq(strlen(nack), 4096);
    ck_assert(!p.done);
}
END_TEST

START_TEST(the_first_request_names_its_node)
{
    ads_peer_begin(&m, XDS_ADDRESS, NULL);
    send();
    ck_assert(p.done);
    ck_assert_int_eq(p.status, GRPC_INVALID_ARGUMENT);
    ck_assert_str_eq(p.message, "node.id is missing");
    ck_assert_int_eq(clients + gone, 0);
}
END_TEST

START_TEST(other_types_stay_unanswered)
{
    first("type.googleapis.com/envoy.config.cluster.v3.Cluster");
    came("");
    ck_assert(!p.done);
    first(XDS_ADDRESS);
    came("<> Address\n");
}
END_TEST

/* Bytes that are no request end the stream. */
static void ends(struct str bytes, enum grpc_status want)
{
    ads_peer_send(&p, bytes);
    settle();
    ck_assert(p.done);
    ck_assert_int_eq(p.status, want);
    ck_assert_uint_eq(ads_server_clients(s), 0);
    ads_peer_close(&p);
    ads_peer_open(&p, l, s, 65536);
}

START_TEST(bad_requests)
{
    ends(STR("\x0a\x7f"), GRPC_INVALID_ARGUMENT);
    ends(STR("\x1a\x01\xff"), GRPC_INVALID_ARGUMENT);         /* a name that is not UTF-8 */
    ends(STR("\x1a\x02z\0"), GRPC_INVALID_ARGUMENT);          /* with a NUL */
    ends(STR("\x1a\x00"), GRPC_INVALID_ARGUMENT);             /* empty */
    ends(STR("\x2a\x03\x0a\x01\xff"), GRPC_INVALID_ARGUMENT); /* held */
    ends(STR("\x2a\x04\x0a\x05n"), GRPC_INVALID_ARGUMENT);
    strbuf_reset(&m);
    pb_put_varint(&m, 3 << 3 | 2);
    pb_put_varint(&m, 5u << 20);
    ends(strbuf_str(&m), GRPC_RESOURCE_EXHAUSTED); /* announced, never to come */
    strbuf_reset(&m);
    strbuf_addz(&m, "\x1a\x81\x10"); /* a name of 2049 bytes */
    for (int i = 0; i < 2049; i++)
        strbuf_addc(&m, 'n');
    ends(strbuf_str(&m), GRPC_INVALID_ARGUMENT);
}
END_TEST

START_TEST(names_are_limited)
{
    ads_peer_begin(&m, XDS_ADDRESS, "node");
    ads_peer_name(&m, 3, "a");
    send();
    for (int round = 0; round < 2; round++) {
        ads_peer_begin(&m, XDS_ADDRESS, NULL);
        for (int i = 0; i < 600000; i++) {
            char name[20];
            snprintf(name, sizeof(name), "%d-%d", round, i);
            ads_peer_name(&m, 3, name);
        }
        ads_peer_send(&p, strbuf_str(&m));
    }
    TURN_UNTIL(p.done);
    ck_assert_int_eq(ads_server_clients(s), 0);
    ck_assert_int_eq(gone, 1);
}
END_TEST

START_TEST(the_server_goes_in_the_middle_of_a_response)
{
    put_large();
    ads_peer_begin(&m, XDS_ADDRESS, "node");
    ads_peer_send(&p, strbuf_str(&m));
    loop_turn(l, 0);
    io_mem_hold(p.io, true);
    settle();
    ads_server_free(s);
    s = ads_server_new(l, types, 2, &ops, NULL);
    p.ads = s;
    io_mem_hold(p.io, false);
    settle();
    ck_assert(p.done && p.status != GRPC_OK);
    ck_assert_uint_eq(p.responses, 0);
}
END_TEST

TEST_MAIN_FIXTURE("ads_server", setup, teardown, the_first_answer_is_one_response_however_large,
                  requests_of_one_turn_are_answered_policies_first,
                  what_changes_while_a_client_is_slow_comes_once_and_last,
                  what_goes_stays_known_until_the_slowest_has_heard_of_it,
                  a_client_that_takes_nothing_is_dropped, a_slow_client_that_reads_on_stays,
                  equal_versions_are_not_sent_names_that_are_gone_are_told,
                  a_change_under_way_is_not_taken_for_what_the_client_had,
                  on_demand_as_a_stock_ztunnel_asks, on_demand_again_its_names_come_as_held_ones,
                  answers_are_counted_stale_ones_not, a_long_complaint_does_not_end_the_stream,
                  the_first_request_names_its_node, other_types_stay_unanswered, bad_requests,
                  names_are_limited, the_server_goes_in_the_middle_of_a_response)
