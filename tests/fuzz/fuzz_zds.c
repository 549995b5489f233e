/* Packets of ZDS: what either side reads, and that what was understood is written as the same. */
#include "lib/base/must.h"
#include "lib/zds/zds.h"
#include "tests/helper/fuzz.h"

static void request(struct str packet)
{
    struct strbuf out AUTO_STRBUF;
    struct zds_request r, again;
    strbuf_init(&out, 2 * ZDS_PACKET_MAX);
    if (zds_request_parse(packet, &r) != RC_OK || zds_request_format(&r, &out) != RC_OK)
        return;
    MUST(out.n <= ZDS_PACKET_MAX);
    MUST(zds_request_parse(strbuf_str(&out), &again) == RC_OK);
    MUST(r.kind == again.kind && str_eq(r.uid, again.uid) && str_eq(r.name, again.name));
    MUST(str_eq(r.ns, again.ns) && str_eq(r.sa, again.sa));
}

static void ack(struct str packet)
{
    struct strbuf out AUTO_STRBUF;
    struct str error, again;
    strbuf_init(&out, 2 * ZDS_PACKET_MAX);
    if (zds_ack_parse(packet, &error) != RC_OK)
        return;
    zds_ack_format(error, &out);
    MUST(out.n && out.n <= ZDS_PACKET_MAX);
    MUST(zds_ack_parse(strbuf_str(&out), &again) == RC_OK);
    MUST(again.n <= error.n && memcmp(again.p, error.p, again.n) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str packet = {(const char *)data, n};
    uint32_t version;
    request(packet);
    ack(packet);
    (void)!zds_hello_parse(packet, &version);
    return 0;
}
