/* The ADS server against a model: whatever happens in whatever order, a client that has caught up holds
 * exactly what it subscribed to, in the present versions. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/mem.h"
#include "tests/helper/ads_peer.h"
#include "tests/helper/check.h"
#include "tests/helper/io_mem.h"

#define NAMES  40
#define ROUNDS 1500

static struct loop *l;
static struct ads_server *s;
static struct ads_peer p;
static const struct ads_type types[] = {{XDS_AUTHORIZATION, true}, {XDS_ADDRESS, false}};

/* What the client holds, over streams; and what it asked for, of type 1. */
static char held[2][NAMES][20];
static bool wanted[NAMES], wildcard;
static uint64_t seed;

static unsigned rnd(unsigned n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % n;
}

static enum grpc_status on_client(void *owner, const struct ads_client_info *c, const char **text)
{
    (void)owner, (void)c, (void)text;
    return GRPC_OK;
}

static const struct ads_server_ops ops = {.on_client = on_client};

static void on_change(struct str url, struct str name, struct str version)
{
    size_t type = str_eqz(url, XDS_ADDRESS);
    uint64_t i;
    ck_assert(str_to_u64((struct str){name.p + 1, name.n - 1}, NAMES - 1, &i));
    snprintf(held[type][i], sizeof(held[type][i]), "%.*s", STR_ARG(version));
}

static void settle(void)
{
    for (size_t calm = 0, before = SIZE_MAX; calm < 10; calm++) {
        loop_turn(l, 0);
        calm = p.bytes + p.responses == before ? calm : 0;
        before = p.bytes + p.responses;
    }
}

static const char *name_of(unsigned i)
{
    static char text[8];
    snprintf(text, sizeof(text), "n%u", i);
    return text;
}

/* A new stream: tells what it holds. */
static void connect(void)
{
    struct strbuf m AUTO_STRBUF;
    strbuf_init(&m, 1 << 20);
    ads_peer_open(&p, l, s, 16384);
    p.ack = true;
    p.on_change = on_change;
    for (size_t t = 0; t < 2; t++) {
        ads_peer_begin(&m, types[t].url, "node");
        if (t == 1 && !wildcard) {
            ads_peer_name(&m, 3, "*");
            for (unsigned i = 0; i < NAMES; i++)
                if (wanted[i])
                    ads_peer_name(&m, 3, name_of(i));
            ads_peer_name(&m, 4, "*");
        }
        for (unsigned i = 0; i < NAMES; i++)
            if (held[t][i][0])
                ads_peer_held(&m, name_of(i), held[t][i]);
        ads_peer_send(&p, strbuf_str(&m));
    }
}

static void disconnect(void)
{
    io_mem_hold(p.io, false);
    ads_peer_close(&p);
}

static void change(void)
{
    static char bytes[40000];
    size_t type = rnd(2);
    const char *name = name_of(rnd(NAMES));
    if (rnd(3) == 0) {
        ads_server_remove(s, type, str_of(name));
        return;
    }
    snprintf(bytes, sizeof(bytes), "%u", rnd(4)); /* the same bytes come again */
    struct resource *r =
        resource_new(str_of(name), (struct str){bytes, rnd(2) ? 1 : sizeof(bytes)});
    ads_server_set(s, type, r);
    resource_unref(r);
}

/* The client asks for a name, or no longer does (then it forgets it). */
static void demand(void)
{
    struct strbuf m AUTO_STRBUF;
    unsigned i = rnd(NAMES);
    strbuf_init(&m, 4096);
    if (wildcard)
        return;
    wanted[i] = !wanted[i];
    ads_peer_begin(&m, XDS_ADDRESS, NULL);
    ads_peer_name(&m, wanted[i] ? 3 : 4, name_of(i));
    ads_peer_send(&p, strbuf_str(&m));
    settle();
    if (!wanted[i])
        held[1][i][0] = '\0';
}

static void restart(void)
{
    struct ads_server *old = s;
    s = ads_server_new(l, types, 2, &ops, NULL);
    for (size_t t = 0; t < 2; t++)
        for (unsigned i = 0; i < NAMES; i++) {
            const struct resource *r = ads_server_find(old, t, str_of(name_of(NAMES - 1 - i)));
            if (!r)
                continue;
            struct resource *copy = resource_new(r->name, r->bytes);
            ads_server_set(s, t, copy);
            resource_unref(copy);
        }
    ads_server_free(old);
}

static void check(unsigned round)
{
    for (size_t t = 0; t < 2; t++)
        for (unsigned i = 0; i < NAMES; i++) {
            const struct resource *r = ads_server_find(s, t, str_of(name_of(i)));
            const char *want = r && (t == 0 || wildcard || wanted[i]) ? r->version : "";
            ck_assert_msg(strcmp(held[t][i], want) == 0,
                          "seed %u round %u: type %zu %s is \"%s\", not \"%s\"", (unsigned)seed,
                          round, t, name_of(i), held[t][i], want);
        }
}

static void run(uint64_t with, bool all)
{
    l = loop_new();
    loop_clock_fake(l, 1000);
    seed = with;
    wildcard = all;
    memset(held, 0, sizeof(held));
    memset(wanted, 0, sizeof(wanted));
    s = ads_server_new(l, types, 2, &ops, NULL);
    connect();
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned steps = 1 + rnd(8);
        for (unsigned i = 0; i < steps; i++) {
            unsigned what = rnd(10);
            if (what < 5)
                change();
            else if (what < 7)
                ads_server_push(s);
            else if (what < 8)
                io_mem_hold(p.io, rnd(2));
            else
                loop_turn(l, 0);
        }
        if (rnd(3))
            continue;
        io_mem_hold(p.io, false);
        if (rnd(20) == 0) { /* breaks somewhere */
            disconnect();
            if (rnd(4) == 0)
                restart();
            connect();
        }
        ads_server_push(s);
        settle();
        demand();
        settle();
        check(round);
    }
    disconnect();
    ads_server_free(s);
    loop_turn(l, 0);
    loop_free(l);
}

START_TEST(everything)
{
    for (uint64_t i = 1; i <= 10; i++)
        run(i, true);
}
END_TEST

START_TEST(by_name)
{
    for (uint64_t i = 1; i <= 10; i++)
        run(i, false);
}
END_TEST

TEST_MAIN("ads_random", everything, by_name)
