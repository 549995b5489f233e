#include "lib/ca/ca_msg.h"

#include "lib/codec/pb.h"

#define IMPERSONATED "ImpersonatedIdentity"

enum { WIRE_VARINT = 0, WIRE_BYTES = 2 };
/* Field numbers. */
enum { CSR_PEM = 1, CSR_VALIDITY = 3, CSR_METADATA = 4 };
enum { STRUCT_FIELDS = 1, ENTRY_KEY = 1, ENTRY_VALUE = 2, VALUE_STRING = 3 };
enum { RESPONSE_CHAIN = 1 };

/* google.protobuf.Value: the string in it, empty for any other kind. */
static enum rc value_decode(struct str bytes, struct str *ret)
{
    struct pb_field f;
    enum rc rc;
    *ret = STR("");
    while ((rc = pb_next(&bytes, &f)) == RC_OK)
        *ret = f.number == VALUE_STRING && f.wire == WIRE_BYTES ? f.bytes : STR("");
    return rc == RC_EOF ? RC_OK : rc;
}

/* An entry of google.protobuf.Struct's map. */
static enum rc entry_decode(struct str bytes, struct ca_csr *ret)
{
    struct str key = STR(""), value = STR("");
    struct pb_field f;
    enum rc rc;
    while ((rc = pb_next(&bytes, &f)) == RC_OK) {
        if (f.number == ENTRY_KEY && f.wire == WIRE_BYTES)
            key = f.bytes;
        if (f.number == ENTRY_VALUE && f.wire == WIRE_BYTES && value_decode(f.bytes, &value))
            return RC_INVALID;
    }
    if (rc == RC_EOF && str_eqz(key, IMPERSONATED))
        ret->impersonated = value;
    return rc == RC_EOF ? RC_OK : rc;
}

static enum rc metadata_decode(struct str bytes, struct ca_csr *ret)
{
    struct pb_field f;
    enum rc rc;
    while ((rc = pb_next(&bytes, &f)) == RC_OK)
        if (f.number == STRUCT_FIELDS && f.wire == WIRE_BYTES && entry_decode(f.bytes, ret))
            return RC_INVALID;
    return rc == RC_EOF ? RC_OK : rc;
}

enum rc ca_csr_decode(struct str bytes, struct ca_csr *ret)
{
    struct ca_csr m = {.csr = STR(""), .impersonated = STR("")};
    struct pb_field f;
    enum rc rc;
    while ((rc = pb_next(&bytes, &f)) == RC_OK) {
        if (f.number == CSR_PEM && f.wire == WIRE_BYTES)
            m.csr = f.bytes;
        else if (f.number == CSR_VALIDITY && f.wire == WIRE_VARINT)
            m.valid_s = (int64_t)f.value;
        else if (f.number == CSR_METADATA && f.wire == WIRE_BYTES && metadata_decode(f.bytes, &m))
            return RC_INVALID;
    }
    if (rc != RC_EOF)
        return rc;
    *ret = m;
    return RC_OK;
}

void ca_csr_encode(const struct ca_csr *m, struct strbuf *out)
{
    pb_put_str(out, CSR_PEM, m->csr);
    pb_put_u64(out, CSR_VALIDITY, (uint64_t)m->valid_s);
    if (!m->impersonated.n)
        return;
    struct strbuf value AUTO_STRBUF, entry AUTO_STRBUF, fields AUTO_STRBUF;
    strbuf_init(&value, CA_REQUEST_MAX);
    strbuf_init(&entry, CA_REQUEST_MAX);
    strbuf_init(&fields, CA_REQUEST_MAX);
    pb_put_str(&value, VALUE_STRING, m->impersonated);
    pb_put_str(&entry, ENTRY_KEY, STR(IMPERSONATED));
    pb_put_bytes(&entry, ENTRY_VALUE, strbuf_str(&value));
    pb_put_bytes(&fields, STRUCT_FIELDS, strbuf_str(&entry));
    pb_put_bytes(out, CSR_METADATA, strbuf_str(&fields));
}

enum rc ca_chain_decode(struct str bytes, struct ca_chain *ret)
{
    struct ca_chain m = {.n = 0};
    struct pb_field f;
    enum rc rc;
    while ((rc = pb_next(&bytes, &f)) == RC_OK) {
        if (f.number != RESPONSE_CHAIN || f.wire != WIRE_BYTES)
            continue;
        if (m.n == CA_CHAIN_MAX)
            return RC_LIMIT;
        m.pem[m.n++] = f.bytes;
    }
    if (rc != RC_EOF)
        return rc;
    *ret = m;
    return RC_OK;
}

void ca_chain_encode(const struct ca_chain *m, struct strbuf *out)
{
    for (size_t i = 0; i < m->n; i++)
        pb_put_bytes(out, RESPONSE_CHAIN, m->pem[i]);
}
