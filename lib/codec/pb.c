#include "lib/codec/pb.h"

#include <string.h>

#include "lib/base/mem.h"

/* -- checking -- */

struct check {
    size_t fields, max_fields;
    bool unknown;
    struct errmsg *msg;
};

static enum rc bad(struct check *c, const ProtobufCMessageDescriptor *d, const char *field,
                   const char *why)
{
    errmsg_set(c->msg, "%s%s%s: %s", d->short_name, field ? "." : "", field ? field : "", why);
    return RC_INVALID;
}

static unsigned wire_of(ProtobufCType t)
{
    switch (t) {
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:    return 5;
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:   return 1;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:  return 2;
    default:                       return 0;
    }
}

static void check_enum(struct check *c, const ProtobufCFieldDescriptor *f, uint64_t v)
{
    if (f->type == PROTOBUF_C_TYPE_ENUM &&
        !protobuf_c_enum_descriptor_get_value(f->descriptor, (int)v))
        c->unknown = true;
}

static enum rc check_packed(struct check *c, const ProtobufCMessageDescriptor *d,
                            const ProtobufCFieldDescriptor *f, struct str bytes)
{
    size_t unit = wire_of(f->type) == 5 ? 4 : wire_of(f->type) == 1 ? 8 : 0;
    if (unit)
        return bytes.n % unit ? bad(c, d, f->name, "cut short") : RC_OK;
    while (bytes.n) {
        uint64_t v;
        if (!pb_take_varint(&bytes, &v))
            return bad(c, d, f->name, "malformed number");
        if (++c->fields > c->max_fields)
            return bad(c, d, f->name, "too many values");
        check_enum(c, f, v);
    }
    return RC_OK;
}

static enum rc check_message(struct check *c, const ProtobufCMessageDescriptor *d, struct str bytes,
                             unsigned depth);

static enum rc check_field(struct check *c, const ProtobufCMessageDescriptor *d,
                           const struct pb_field *f, unsigned depth)
{
    const ProtobufCFieldDescriptor *fd = protobuf_c_message_descriptor_get_field(d, f->number);
    if (!fd) {
        c->unknown = true;
        return RC_OK;
    }
    if (f->wire != wire_of(fd->type)) {
        if (fd->label == PROTOBUF_C_LABEL_REPEATED && f->wire == 2 && wire_of(fd->type) != 2)
            return check_packed(c, d, fd, f->bytes);
        return bad(c, d, fd->name, "wrong wire type");
    }
    if (fd->type == PROTOBUF_C_TYPE_MESSAGE)
        return check_message(c, fd->descriptor, f->bytes, depth + 1);
    if (fd->type == PROTOBUF_C_TYPE_STRING) {
        if (!str_is_utf8(f->bytes) || (f->bytes.n && memchr(f->bytes.p, 0, f->bytes.n)))
            return bad(c, d, fd->name, "not UTF-8, or with a NUL inside");
    } else {
        check_enum(c, fd, f->value);
    }
    return RC_OK;
}

static enum rc check_message(struct check *c, const ProtobufCMessageDescriptor *d, struct str bytes,
                             unsigned depth)
{
    if (depth > PB_DEPTH_MAX)
        return bad(c, d, NULL, "nested too deep");
    struct pb_field f;
    enum rc rc;
    while ((rc = pb_next(&bytes, &f)) == RC_OK) {
        if (++c->fields > c->max_fields)
            return bad(c, d, NULL, "too many fields");
        rc = check_field(c, d, &f, depth);
        if (rc != RC_OK)
            return rc;
    }
    return rc == RC_EOF ? RC_OK : bad(c, d, NULL, "malformed protobuf");
}

enum rc pb_check(const ProtobufCMessageDescriptor *d, struct str bytes, size_t max_fields,
                 bool *ret_unknown, struct errmsg *ret_msg)
{
    struct check c = {.max_fields = max_fields, .msg = ret_msg};
    enum rc rc = check_message(&c, d, bytes, 1);
    if (rc == RC_OK && ret_unknown)
        *ret_unknown = c.unknown;
    return rc;
}

/* -- decoding into an arena -- */

static void *arena_alloc_cb(void *arena, size_t n)
{
    return arena_alloc(arena, n);
}

static void arena_free_cb(void *arena, void *p)
{
    (void)arena, (void)p; /* goes with the arena */
}

enum rc pb_unpack(const ProtobufCMessageDescriptor *d, struct arena *a, struct str bytes,
                  ProtobufCMessage **ret, struct errmsg *ret_msg)
{
    enum rc rc = pb_check(d, bytes, PB_FIELDS_MAX, NULL, ret_msg);
    if (rc != RC_OK)
        return rc;
    ProtobufCAllocator alloc = {arena_alloc_cb, arena_free_cb, a};
    ProtobufCMessage *m = protobuf_c_message_unpack(d, &alloc, bytes.n, (const uint8_t *)bytes.p);
    if (!m) {
        errmsg_set(ret_msg, "%s: too large to decode", d->short_name);
        return RC_LIMIT;
    }
    *ret = m;
    return RC_OK;
}

/* -- encoding -- */

void pb_put_message(struct strbuf *out, const ProtobufCMessage *m)
{
    size_t n = protobuf_c_message_get_packed_size(m);
    uint8_t *buf AUTO_FREE = mem_alloc(n);
    protobuf_c_message_pack(m, buf);
    strbuf_add(out, buf, n);
}
