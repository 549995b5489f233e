/* protobuf's wire format: fields read and written by hand. */
#include "lib/base/must.h"
#include "lib/codec/pb.h"

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };
#define FIELD_MAX ((1u << 29) - 1)

bool pb_take_varint(struct str *s, uint64_t *ret)
{
    uint64_t v = 0;
    for (size_t i = 0; i < s->n && i < 10; i++) {
        unsigned char b = (unsigned char)s->p[i];
        if (i == 9 && b > 1)
            return false; /* over 64 bits */
        v |= (uint64_t)(b & 0x7f) << (7 * i);
        if (b & 0x80)
            continue;
        s->p += i + 1;
        s->n -= i + 1;
        *ret = v;
        return true;
    }
    return false;
}

static bool take_fixed(struct str *s, size_t n, uint64_t *ret)
{
    if (s->n < n)
        return false;
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)(unsigned char)s->p[i] << (8 * i);
    s->p += n;
    s->n -= n;
    *ret = v;
    return true;
}

static bool take_bytes(struct str *s, struct str *ret)
{
    uint64_t n;
    if (!pb_take_varint(s, &n) || n > s->n)
        return false;
    *ret = (struct str){s->p, (size_t)n};
    s->p += n;
    s->n -= (size_t)n;
    return true;
}

enum rc pb_next(struct str *rest, struct pb_field *ret)
{
    if (rest->n == 0)
        return RC_EOF;
    struct str s = *rest;
    struct pb_field f = {0};
    uint64_t key;
    if (!pb_take_varint(&s, &key) || key >> 3 == 0 || key >> 3 > FIELD_MAX)
        return RC_INVALID;
    f.number = (uint32_t)(key >> 3);
    f.wire = key & 7;
    bool ok = false;
    switch (f.wire) {
    case WIRE_VARINT:  ok = pb_take_varint(&s, &f.value); break;
    case WIRE_FIXED64: ok = take_fixed(&s, 8, &f.value); break;
    case WIRE_BYTES:   ok = take_bytes(&s, &f.bytes); break;
    case WIRE_FIXED32: ok = take_fixed(&s, 4, &f.value); break;
    default:           break; /* groups are not used by anything we speak */
    }
    if (!ok)
        return RC_INVALID;
    *rest = s;
    *ret = f;
    return RC_OK;
}

size_t pb_varint_len(uint64_t v)
{
    size_t n = 1;
    for (; v >= 0x80; v >>= 7)
        n++;
    return n;
}

void pb_put_varint(struct strbuf *out, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        strbuf_addc(out, (char)(v | 0x80));
    strbuf_addc(out, (char)v);
}

void pb_put_bytes(struct strbuf *out, uint32_t number, struct str s)
{
    MUST(number > 0 && number <= FIELD_MAX);
    pb_put_varint(out, (uint64_t)number << 3 | WIRE_BYTES);
    pb_put_varint(out, s.n);
    strbuf_adds(out, s);
}

void pb_put_str(struct strbuf *out, uint32_t number, struct str s)
{
    if (s.n)
        pb_put_bytes(out, number, s);
}

void pb_put_u64(struct strbuf *out, uint32_t number, uint64_t v)
{
    if (v == 0)
        return;
    pb_put_varint(out, (uint64_t)number << 3 | WIRE_VARINT);
    pb_put_varint(out, v);
}
