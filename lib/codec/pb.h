/* protobuf wire format: a bounded reader and a writer. protobuf-c decodes whole messages only after
 * pb_check() has bounded nesting and size, in an arena, one resource at a time. */
#pragma once

#include <stdbool.h>

#include <protobuf-c/protobuf-c.h>

#include "lib/base/arena.h"
#include "lib/base/str.h"

#define PB_DEPTH_MAX  16
#define PB_FIELDS_MAX (1u << 20) /* of one message, nested ones and packed values included */

struct pb_field {
    uint32_t number;
    uint8_t wire;     /* 0 varint, 1 fixed64, 2 bytes, 5 fixed32 */
    uint64_t value;   /* of varint and fixed */
    struct str bytes; /* of wire type 2 */
};
/* Takes the next field off *rest. RC_EOF at the end, RC_INVALID when malformed. */
NODISCARD enum rc pb_next(struct str *rest, struct pb_field *ret);

/* One varint off the front; false when malformed or over 64 bits. */
NODISCARD bool pb_take_varint(struct str *s, uint64_t *ret);

/* Checks the message against its descriptor: nesting at most PB_DEPTH_MAX, lengths inside, strings
 * UTF-8, at most max_fields fields in all. *ret_unknown (may be NULL): a field, enum value or oneof
 * case that the descriptor does not know occurs somewhere. */
NODISCARD enum rc pb_check(const ProtobufCMessageDescriptor *d, struct str bytes, size_t max_fields,
                           bool *ret_unknown, struct errmsg *ret_msg);
/* pb_check() and protobuf_c_message_unpack() into the arena: freed with it, never one by one. */
NODISCARD enum rc pb_unpack(const ProtobufCMessageDescriptor *d, struct arena *a, struct str bytes,
                            ProtobufCMessage **ret, struct errmsg *ret_msg);

/* Writing by hand, for messages that are streamed. */
void pb_put_varint(struct strbuf *out, uint64_t v);
void pb_put_bytes(struct strbuf *out, uint32_t number, struct str s); /* omits nothing */
void pb_put_str(struct strbuf *out, uint32_t number, struct str s);   /* omits the empty string */
void pb_put_u64(struct strbuf *out, uint32_t number, uint64_t v);     /* omits 0 */
/* Serialised protobuf-c message, appended. */
void pb_put_message(struct strbuf *out, const ProtobufCMessage *m);
size_t pb_varint_len(uint64_t v);
