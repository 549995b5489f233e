/* What the plug-in and the agent read from each other, and an attachment's file: what was understood is
 * written as the same. */
#include "cni/wire.h"
#include "lib/base/must.h"
#include "tests/helper/fuzz.h"

static void same(const struct attachment *a, const struct attachment *b)
{
    MUST(str_eq(a->container, b->container) && str_eq(a->ifname, b->ifname));
    MUST(str_eq(a->netns, b->netns) && str_eq(a->ns, b->ns));
    MUST(str_eq(a->name, b->name) && str_eq(a->uid, b->uid));
    MUST(a->id.dev == b->id.dev && a->id.ino == b->id.ino && a->passed == b->passed);
    MUST(a->n_ips == b->n_ips);
    for (size_t i = 0; i < a->n_ips; i++)
        MUST(addr_eq_ip(&a->ips[i], &b->ips[i]));
}

static void request(struct str packet)
{
    struct arena arena AUTO_ARENA;
    struct strbuf out AUTO_STRBUF;
    struct wire_request r, again;
    struct errmsg e = {""};
    arena_init(&arena, 16u << 20);
    strbuf_init(&out, 1u << 20);
    if (wire_request_parse(&arena, packet, &r, &e) != RC_OK) {
        MUST(e.text[0]);
        return;
    }
    if (r.type == WIRE_GC || r.type == WIRE_STATUS)
        return;
    wire_request_format(r.type, &r.a, STR(""), &out);
    MUST(!out.truncated && wire_request_parse(&arena, strbuf_str(&out), &again, NULL) == RC_OK);
    MUST(r.type == again.type);
    same(&r.a, &again.a);
}

static void answer(struct str packet)
{
    struct arena arena AUTO_ARENA;
    struct strbuf out AUTO_STRBUF;
    struct wire_answer a, again;
    arena_init(&arena, 16u << 20);
    strbuf_init(&out, 1u << 20);
    if (wire_answer_parse(&arena, packet, &a) != RC_OK)
        return;
    wire_answer_format(&a, &out);
    MUST(!out.truncated && wire_answer_parse(&arena, strbuf_str(&out), &again) == RC_OK);
    MUST(a.code == again.code && a.captured == again.captured);
    MUST(str_eq(a.msg, again.msg) && str_eq(a.details, again.details));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str packet = {(const char *)data, n};
    if (n > WIRE_PACKET_MAX)
        return 0;
    request(packet);
    if (n <= WIRE_ANSWER_MAX)
        answer(packet);
    return 0;
}
