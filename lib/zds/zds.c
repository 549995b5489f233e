#include "lib/zds/zds.h"

#include "lib/codec/pb.h"

#define ZDS_BUF (4 * ZDS_PACKET_MAX) /* over a packet: what does not fit is seen, not cut */

/* The only field of the message, of wire type 2; RC_INVALID when it is something else. */
static enum rc only_field(struct str packet, uint32_t *ret_number, struct str *ret_bytes)
{
    struct pb_field f;
    if (pb_next(&packet, &f) != RC_OK || f.wire != 2 || packet.n)
        return RC_INVALID;
    *ret_number = f.number;
    *ret_bytes = f.bytes;
    return RC_OK;
}

static bool text_ok(struct str s)
{
    return str_is_utf8(s) && (s.n == 0 || !memchr(s.p, 0, s.n));
}

static enum rc info_parse(struct str bytes, struct zds_request *r)
{
    struct pb_field f;
    enum rc rc;
    r->has_info = true;
    while ((rc = pb_next(&bytes, &f)) == RC_OK) {
        if (f.wire != 2)
            continue;
        if (!text_ok(f.bytes))
            return RC_INVALID;
        switch (f.number) {
        case 1:  r->name = f.bytes; break;
        case 2:  r->ns = f.bytes; break;
        case 3:  r->sa = f.bytes; break;
        default: break;
        }
    }
    return rc == RC_EOF ? RC_OK : rc;
}

enum rc zds_request_parse(struct str packet, struct zds_request *ret)
{
    /* of WorkloadRequest, and where the uid is inside */
    static const struct {
        uint32_t number, uid;
        enum zds_kind kind;
    } kinds[] = {{1, 1, ZDS_ADD}, {2, 2, ZDS_DEL}, {3, 0, ZDS_SNAPSHOT_SENT}, {5, 1, ZDS_KEEP}};
    struct zds_request r = {0};
    uint32_t number;
    struct str bytes;
    if (only_field(packet, &number, &bytes) != RC_OK)
        return RC_INVALID;
    size_t i = 0;
    while (i < 4 && kinds[i].number != number)
        i++;
    if (i == 4)
        return RC_INVALID;
    r.kind = kinds[i].kind;
    struct pb_field f;
    enum rc rc;
    while ((rc = pb_next(&bytes, &f)) == RC_OK) {
        if (f.wire != 2)
            continue;
        if (f.number == kinds[i].uid)
            r.uid = f.bytes;
        else if (r.kind == ZDS_ADD && f.number == 2 && info_parse(f.bytes, &r) != RC_OK)
            return RC_INVALID;
    }
    if (rc != RC_EOF || !text_ok(r.uid) || (r.kind != ZDS_SNAPSHOT_SENT && r.uid.n == 0))
        return RC_INVALID;
    *ret = r;
    return RC_OK;
}

enum rc zds_request_format(const struct zds_request *r, struct strbuf *out)
{
    struct strbuf info AUTO_STRBUF, body AUTO_STRBUF, all AUTO_STRBUF;
    strbuf_init(&info, ZDS_BUF);
    strbuf_init(&body, ZDS_BUF);
    strbuf_init(&all, ZDS_BUF);
    uint32_t number = 3;
    switch (r->kind) {
    case ZDS_ADD:
        pb_put_str(&info, 1, r->name);
        pb_put_str(&info, 2, r->ns);
        pb_put_str(&info, 3, r->sa);
        pb_put_str(&body, 1, r->uid);
        pb_put_bytes(&body, 2, strbuf_str(&info));
        number = 1;
        break;
    case ZDS_DEL:
        pb_put_str(&body, 2, r->uid);
        number = 2;
        break;
    case ZDS_KEEP:
        pb_put_str(&body, 1, r->uid);
        number = 5;
        break;
    case ZDS_SNAPSHOT_SENT: break;
    }
    pb_put_bytes(&all, number, strbuf_str(&body));
    if (all.n > ZDS_PACKET_MAX || info.truncated || body.truncated)
        return RC_LIMIT;
    strbuf_adds(out, strbuf_str(&all));
    return RC_OK;
}

enum rc zds_hello_parse(struct str packet, uint32_t *ret_version)
{
    struct pb_field f;
    uint32_t version = 0;
    enum rc rc;
    while ((rc = pb_next(&packet, &f)) == RC_OK)
        if (f.number == 1 && f.wire == 0 && f.value <= UINT32_MAX)
            version = (uint32_t)f.value;
    if (rc != RC_EOF)
        return RC_INVALID;
    *ret_version = version;
    return RC_OK;
}

void zds_hello_format(struct strbuf *out)
{
    pb_put_u64(out, 1, ZDS_VERSION);
}

enum rc zds_ack_parse(struct str packet, struct str *ret_error)
{
    uint32_t number;
    struct str bytes, error = {"", 0};
    struct pb_field f;
    enum rc rc;
    if (only_field(packet, &number, &bytes) != RC_OK || number != 1)
        return RC_INVALID;
    while ((rc = pb_next(&bytes, &f)) == RC_OK)
        if (f.number == 1 && f.wire == 2)
            error = f.bytes;
    if (rc != RC_EOF || !str_is_utf8(error))
        return RC_INVALID;
    *ret_error = error;
    return RC_OK;
}

void zds_ack_format(struct str error, struct strbuf *out)
{
    struct strbuf ack AUTO_STRBUF;
    strbuf_init(&ack, ZDS_PACKET_MAX);
    /* cut on a boundary of a character, with room for the heads */
    size_t n = error.n < 900 ? error.n : 900;
    while (n && n < error.n && ((unsigned char)error.p[n] & 0xc0) == 0x80)
        n--;
    pb_put_str(&ack, 1, (struct str){error.p, n});
    pb_put_bytes(out, 1, strbuf_str(&ack)); /* never empty: a packet of no bytes is the end */
}
