/* The messages of the wire: what passes the check is decoded, and survives writing and reading. The
 * first byte chooses the message. */
#include "lib/base/must.h"
#include "lib/codec/pb.h"
#include "lib/proto/authorization.pb-c.h"
#include "lib/proto/citadel.pb-c.h"
#include "lib/proto/discovery.pb-c.h"
#include "lib/proto/workload.pb-c.h"
#include "tests/helper/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const ProtobufCMessageDescriptor *const all[] = {
        &istio__workload__address__descriptor,
        &istio__security__authorization__descriptor,
        &google__protobuf__struct__descriptor,
        &envoy__service__discovery__v3__delta_discovery_request__descriptor,
        &envoy__service__discovery__v3__delta_discovery_response__descriptor,
        &istio__v1__auth__istio_certificate_request__descriptor,
    };
    if (n == 0)
        return 0;
    const ProtobufCMessageDescriptor *d = all[data[0] % (sizeof(all) / sizeof(all[0]))];
    struct str bytes = {(const char *)data + 1, n - 1};
    struct arena a AUTO_ARENA;
    struct strbuf once AUTO_STRBUF, twice AUTO_STRBUF;
    struct errmsg e = {""};
    ProtobufCMessage *m;
    bool unknown = false;
    arena_init(&a, 64 << 20);
    strbuf_init(&once, 64 << 20);
    strbuf_init(&twice, 64 << 20);
    enum rc rc = pb_check(d, bytes, PB_FIELDS_MAX, &unknown, &e);
    MUST(rc == RC_OK || e.text[0]);
    if (rc != RC_OK) {
        MUST(pb_unpack(d, &a, bytes, &m, NULL) == rc);
        return 0;
    }
    if (pb_unpack(d, &a, bytes, &m, NULL) != RC_OK)
        return 0;
    pb_put_message(&once, m);
    MUST(pb_unpack(d, &a, strbuf_str(&once), &m, &e) == RC_OK);
    pb_put_message(&twice, m);
    MUST(str_eq(strbuf_str(&once), strbuf_str(&twice)));
    return 0;
}
