/* protobuf-c messages as short text, for golden tests: {field:value list:[a b]}; what is unset or zero
 * is left out, bytes are written as IP addresses. */
#pragma once

#include <stdio.h>

#include <protobuf-c/protobuf-c.h>

#include "lib/base/str.h"
#include "lib/net/addr.h"

static inline void pb_text(const ProtobufCMessage *m, struct strbuf *out);

static inline void pb_text_bytes(const ProtobufCBinaryData *b, struct strbuf *out)
{
    struct addr a;
    char buf[ADDR_TEXT];
    if (addr_from_bytes(b->data, b->len, &a) == RC_OK)
        strbuf_add(out, buf, addr_format_ip(&a, buf));
    else
        strbuf_printf(out, "(%zu bytes)", b->len);
}

static inline void pb_text_value(const ProtobufCFieldDescriptor *f, const void *p,
                                 struct strbuf *out)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING:  strbuf_addz(out, *(char *const *)p); break;
    case PROTOBUF_C_TYPE_BYTES:   pb_text_bytes(p, out); break;
    case PROTOBUF_C_TYPE_MESSAGE: pb_text(*(ProtobufCMessage *const *)p, out); break;
    case PROTOBUF_C_TYPE_BOOL:
        strbuf_addz(out, *(const protobuf_c_boolean *)p ? "true" : "false");
        break;
    case PROTOBUF_C_TYPE_ENUM:
        strbuf_addz(out,
                    protobuf_c_enum_descriptor_get_value(f->descriptor, *(const int *)p)->name);
        break;
    default: strbuf_printf(out, "%u", *(const uint32_t *)p); break;
    }
}

static inline size_t pb_text_size(const ProtobufCFieldDescriptor *f)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE: return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:   return sizeof(ProtobufCBinaryData);
    default:                      return 4;
    }
}

static inline bool pb_text_unset(const ProtobufCFieldDescriptor *f, const ProtobufCMessage *m,
                                 const void *p)
{
    const int *quantifier = (const void *)((const char *)m + f->quantifier_offset);
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        return *quantifier != (int)f->id;
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING:  return !*(char *const *)p || !**(char *const *)p;
    case PROTOBUF_C_TYPE_MESSAGE: return !*(void *const *)p;
    case PROTOBUF_C_TYPE_BYTES:   return ((const ProtobufCBinaryData *)p)->len == 0;
    default:                      return *(const uint32_t *)p == 0;
    }
}

static inline void pb_text(const ProtobufCMessage *m, struct strbuf *out)
{
    bool some = false;
    strbuf_addc(out, '{');
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        const char *p = (const char *)m + f->offset;
        bool list = f->label == PROTOBUF_C_LABEL_REPEATED;
        size_t n =
            list ? *(const size_t *)(const void *)((const char *)m + f->quantifier_offset) : 1;
        if (list ? n == 0 : pb_text_unset(f, m, p))
            continue;
        strbuf_printf(out, "%s%s:%s", some ? " " : "", f->name, list ? "[" : "");
        some = true;
        const char *v = list ? *(char *const *)(const void *)p : p;
        for (size_t j = 0; j < n; j++) {
            if (j)
                strbuf_addc(out, ' ');
            pb_text_value(f, v + j * pb_text_size(f), out);
        }
        if (list)
            strbuf_addc(out, ']');
    }
    strbuf_addc(out, '}');
}
