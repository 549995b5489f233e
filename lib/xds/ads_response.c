#include "lib/xds/ads_response.h"

#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/xds/resource.h"

static bool text_ok(struct str s, size_t max)
{
    return s.n <= max && str_is_utf8(s) && !memchr(s.p, 0, s.n);
}

/* Any: 1 type_url, 2 value. */
static enum rc any_parse(struct str bytes, struct ads_resource *ret)
{
    struct pb_field f;
    enum rc rc;
    while ((rc = pb_next(&bytes, &f)) == RC_OK) {
        if (f.wire == 2 && f.number == 1)
            ret->type_url = f.bytes;
        else if (f.wire == 2 && f.number == 2)
            ret->bytes = f.bytes;
    }
    return rc == RC_EOF ? RC_OK : rc;
}

/* Resource: 1 version, 2 Any, 3 name. */
static enum rc resource_parse(struct str bytes, struct ads_resource *ret)
{
    struct pb_field f;
    enum rc rc;
    *ret = (struct ads_resource){STR(""), STR(""), STR(""), STR("")};
    while ((rc = pb_next(&bytes, &f)) == RC_OK) {
        if (f.wire != 2)
            continue;
        if (f.number == 1)
            ret->version = f.bytes;
        else if (f.number == 3)
            ret->name = f.bytes;
        else if (f.number == 2 && (rc = any_parse(f.bytes, ret)) != RC_OK)
            return rc;
    }
    if (rc != RC_EOF)
        return rc;
    return ret->name.n && text_ok(ret->name, XDS_NAME_MAX) && text_ok(ret->version, 256)
               ? RC_OK
               : RC_INVALID;
}

static enum rc on_resource(struct ads_response *r, struct str bytes)
{
    struct ads_resource p;
    struct errmsg msg = {""};
    enum rc rc = resource_parse(bytes, &p);
    if (rc != RC_OK || r->fn(r->owner, &p, &msg) == RC_OK)
        return rc;
    r->refused++;
    strbuf_printf(&r->errors, "%s%.*s: %s", r->errors.n ? "; " : "", STR_ARG(p.name), msg.text);
    return RC_OK;
}

static enum rc on_removed(struct ads_response *r, struct str name)
{
    if (r->n_removed >= ADS_REMOVED_MAX)
        return RC_LIMIT;
    if (!text_ok(name, XDS_NAME_MAX))
        return RC_INVALID;
    mem_grow(r->removed, r->cap_removed, r->n_removed + 1);
    r->removed[r->n_removed++] = str_dup(name);
    return RC_OK;
}

static enum rc set_text(char **to, struct str s)
{
    if (!text_ok(s, 1024))
        return RC_INVALID;
    free(*to);
    *to = str_dup(s);
    return RC_OK;
}

static enum rc on_field(void *owner, const struct pb_field *f)
{
    struct ads_response *r = owner;
    if (f->wire != 2)
        return RC_OK;
    switch (f->number) {
    case 2:  return on_resource(r, f->bytes);
    case 4:  return set_text(&r->type_url, f->bytes);
    case 5:  return set_text(&r->nonce, f->bytes);
    case 6:  return on_removed(r, f->bytes);
    default: return RC_OK;
    }
}

void ads_response_init(struct ads_response *r, ads_resource_fn *fn, void *owner)
{
    *r = (struct ads_response){.fn = fn, .owner = owner};
    pb_stream_init(&r->in, ADS_RESOURCE_MAX, on_field, r);
    strbuf_init(&r->errors, ADS_ERRORS_MAX);
}

void ads_response_reset(struct ads_response *r)
{
    (void)!pb_stream_end(&r->in);
    for (size_t i = 0; i < r->n_removed; i++)
        free(r->removed[i]);
    free(r->removed);
    free(r->type_url);
    free(r->nonce);
    r->removed = NULL;
    r->type_url = r->nonce = NULL;
    r->n_removed = r->cap_removed = r->refused = 0;
    strbuf_fini(&r->errors);
    strbuf_init(&r->errors, ADS_ERRORS_MAX);
}

void ads_response_fini(struct ads_response *r)
{
    ads_response_reset(r);
    strbuf_fini(&r->errors);
    pb_stream_fini(&r->in);
}

enum rc ads_response_feed(struct ads_response *r, struct str part, bool end)
{
    enum rc rc = pb_stream_feed(&r->in, part);
    return rc == RC_OK && end ? pb_stream_end(&r->in) : rc;
}
