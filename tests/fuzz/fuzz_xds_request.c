/* A stream of requests to the ADS server, as gRPC messages over HTTP/2, between changes of what it
 * serves. Input: a byte each, then what it says. 0-199: that many bytes are a request; above: a change. */
#include <stdio.h>

#include "lib/base/must.h"
#include "lib/codec/node.h"
#include "tests/helper/ads_peer.h"
#include "tests/helper/fuzz.h"
#include "tests/helper/io_mem.h"

static enum grpc_status on_client(void *owner, const struct ads_client_info *c, const char **text)
{
    (void)owner, (void)text;
    MUST(c->node_id.n > 0 && str_is_utf8(c->node_id) && str_eqz(c->peer, "peer"));
    return GRPC_OK;
}

static void on_nack(void *owner, const struct ads_client_info *c, const char *url, struct str error)
{
    (void)owner, (void)c, (void)url;
    MUST(error.n <= 4096);
}

static void on_lookup(void *owner, const char *url, struct str key,
                      void (*add)(void *arg, struct str name), void *arg)
{
    (void)owner, (void)url;
    if (key.n == 1)
        add(arg, STR("a"));
}

static const struct ads_server_ops ops = {
    .on_client = on_client, .on_nack = on_nack, .on_lookup = on_lookup};
static const struct ads_type types[] = {{XDS_AUTHORIZATION, true}, {XDS_ADDRESS, false}};

static void change(struct ads_server *s, struct ads_peer *p, unsigned what)
{
    static const struct str names[] = {STR("a"), STR("b"), STR("ns/c")};
    static const char large[70000];
    struct str name = names[what % 3];
    size_t type = what / 3 % 2;
    switch (what / 6 % 5) {
    case 0:  ads_server_remove(s, type, name); break;
    case 1:  ads_server_push(s); break;
    case 2:  io_mem_hold(p->io, what % 2); break;
    default: {
        struct resource *r =
            resource_new(name, (struct str){large, what / 6 % 5 == 3 ? 5 : sizeof(large)});
        ads_server_set(s, type, r);
        resource_unref(r);
    }
    }
}

/* What the server says of itself is JSON, whatever the client said. */
static void check_dump(const struct ads_server *s)
{
    struct strbuf out AUTO_STRBUF;
    struct arena a AUTO_ARENA;
    struct node *n;
    arena_init(&a, 1 << 20);
    strbuf_init(&out, 1 << 20);
    ads_server_dump(s, &out);
    MUST(json_parse(&a, strbuf_str(&out), &n, NULL) == RC_OK);
    MUST(n->len == ads_server_clients(s));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct ads_peer p;
    struct loop *l = loop_new();
    loop_clock_fake(l, 1000);
    struct ads_server *s = ads_server_new(l, types, 2, &ops, NULL);
    ads_peer_open(&p, l, s, 8192);
    for (size_t i = 0; i < 3; i++)
        loop_turn(l, 0);
    while (n > 0) {
        unsigned what = *data++;
        n--;
        if (what >= 200) {
            change(s, &p, what - 200);
        } else {
            size_t len = what < n ? what : n;
            ads_peer_send(&p, (struct str){(const char *)data, len});
            data += len;
            n -= len;
        }
        loop_turn(l, 0);
    }
    io_mem_hold(p.io, false);
    for (size_t i = 0; i < 8; i++)
        loop_turn(l, 0);
    check_dump(s);
    ads_peer_close(&p);
    MUST(ads_server_clients(s) == 0);
    ads_server_free(s);
    loop_turn(l, 0);
    loop_free(l);
    return 0;
}
