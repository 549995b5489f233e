/* DeltaDiscoveryRequest, field by field. */
#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/xds/ads_priv.h"

#define FIELD_MAX (4u << 20) /* of a request: an error that lists thousands of resources */

static void set_text(char **to, struct str s)
{
    free(*to);
    *to = str_dup(s);
}

static void add_text(char ***list, size_t *n, size_t *cap, struct str s)
{
    mem_grow(*list, *cap, *n + 1);
    (*list)[(*n)++] = str_dup(s);
}

void ads_request_reset(struct ads_request *r)
{
    for (size_t i = 0; i < r->n_subscribe; i++)
        free(r->subscribe[i]);
    for (size_t i = 0; i < r->n_unsubscribe; i++)
        free(r->unsubscribe[i]);
    free(r->subscribe);
    free(r->unsubscribe);
    free(r->held.text);
    free(r->node_id);
    free(r->node_name);
    free(r->ns);
    free(r->type_url);
    free(r->nonce);
    free(r->error);
    *r = (struct ads_request){0};
}

/* A map entry: 1 key, 2 value (a string, or what value_field says of a message). */
static bool entry_of(struct str bytes, struct str *key, struct str *value)
{
    struct pb_field f;
    enum rc rc;
    *key = *value = (struct str){"", 0};
    while ((rc = pb_next(&bytes, &f)) == RC_OK) {
        if (f.wire == 2 && f.number == 1)
            *key = f.bytes;
        else if (f.wire == 2 && f.number == 2)
            *value = f.bytes;
    }
    return rc == RC_EOF;
}

/* google.protobuf.Struct: fields = 1 (map to Value); only string values matter here. */
static enum rc metadata_read(struct ads_request *r, struct str bytes)
{
    struct pb_field f;
    enum rc rc;
    while ((rc = pb_next(&bytes, &f)) == RC_OK) {
        struct str key, value;
        if (f.number != 1 || f.wire != 2)
            continue;
        if (!entry_of(f.bytes, &key, &value))
            return RC_INVALID;
        struct pb_field v;
        while ((rc = pb_next(&value, &v)) == RC_OK) {
            if (v.number != 3 || v.wire != 2 || v.bytes.n > 1024 || !str_is_utf8(v.bytes))
                continue;
            if (str_eqz(key, "NODE_NAME"))
                set_text(&r->node_name, v.bytes);
            else if (str_eqz(key, "NAMESPACE"))
                set_text(&r->ns, v.bytes);
        }
        if (rc != RC_EOF)
            return rc;
    }
    return rc == RC_EOF ? RC_OK : rc;
}

static enum rc node_read(struct ads_request *r, struct str bytes)
{
    struct pb_field f;
    enum rc rc;
    while ((rc = pb_next(&bytes, &f)) == RC_OK) {
        if (f.wire != 2)
            continue;
        if (f.number == 1 && f.bytes.n <= 1024 && str_is_utf8(f.bytes))
            set_text(&r->node_id, f.bytes);
        else if (f.number == 3 && (rc = metadata_read(r, f.bytes)) != RC_OK)
            return rc;
    }
    return rc == RC_EOF ? RC_OK : rc;
}

static bool name_ok(struct str s)
{
    return s.n && s.n <= XDS_NAME_MAX && str_is_utf8(s) && !memchr(s.p, 0, s.n);
}

static enum rc held_read(struct ads_request *r, struct str bytes)
{
    struct str name, version;
    if (!entry_of(bytes, &name, &version) || !name_ok(name) || version.n > 256 ||
        memchr(version.p, 0, version.n))
        return RC_INVALID;
    struct ads_held *h = &r->held;
    mem_grow(h->text, h->cap, h->n + name.n + version.n + 2);
    memcpy(h->text + h->n, name.p, name.n);
    h->text[h->n + name.n] = '\0';
    memcpy(h->text + h->n + name.n + 1, version.p, version.n);
    h->n += name.n + version.n + 2;
    h->text[h->n - 1] = '\0';
    h->count++;
    return RC_OK;
}

static void error_read(struct ads_request *r, struct str bytes)
{
    struct pb_field f;
    r->has_error = true;
    while (pb_next(&bytes, &f) == RC_OK)
        if (f.number == 2 && f.wire == 2)
            set_text(&r->error, (struct str){f.bytes.p, MIN(f.bytes.n, (size_t)4096)});
}

enum rc ads_request_field(void *stream, const struct pb_field *f)
{
    struct ads_stream *st = stream;
    struct ads_request *r = &st->req;
    if (f->wire != 2)
        return RC_OK;
    bool is_name = f->number == 3 || f->number == 4;
    if (is_name && !name_ok(f->bytes))
        return RC_INVALID;
    if ((is_name || f->number == 5) && ++r->names > ADS_NAMES_MAX)
        return RC_LIMIT;
    switch (f->number) {
    case 1: return node_read(r, f->bytes);
    case 2:
        if (f->bytes.n > 256)
            return RC_INVALID;
        set_text(&r->type_url, f->bytes);
        return RC_OK;
    case 3: add_text(&r->subscribe, &r->n_subscribe, &r->cap_subscribe, f->bytes); return RC_OK;
    case 4:
        add_text(&r->unsubscribe, &r->n_unsubscribe, &r->cap_unsubscribe, f->bytes);
        return RC_OK;
    case 5: return held_read(r, f->bytes);
    case 6:
        if (f->bytes.n > 256)
            return RC_INVALID;
        set_text(&r->nonce, f->bytes);
        return RC_OK;
    case 7:  error_read(r, f->bytes); return RC_OK;
    default: return RC_OK;
    }
}

void ads_request_init(struct ads_stream *st)
{
    pb_stream_init(&st->in, FIELD_MAX, ads_request_field, st);
}
