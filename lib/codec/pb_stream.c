#include "lib/codec/pb_stream.h"

#include "lib/base/mem.h"

void pb_stream_init(struct pb_stream *s, size_t max_field, pb_stream_fn *fn, void *owner)
{
    s->fn = fn;
    s->owner = owner;
    strbuf_init(&s->part, max_field);
}

void pb_stream_fini(struct pb_stream *s)
{
    strbuf_fini(&s->part);
}

/* How many bytes the field at the front needs in all. RC_AGAIN: its head is cut. */
static enum rc field_size(struct str s, size_t *ret)
{
    struct str rest = s;
    uint64_t key, n;
    if (!pb_take_varint(&rest, &key))
        return s.n < 10 ? RC_AGAIN : RC_INVALID;
    switch (key & 7) {
    case 0:
        n = 0;
        while (n < rest.n && n < 10 && (rest.p[n] & 0x80))
            n++;
        if (n == 10)
            return RC_INVALID;
        if (n == rest.n)
            return RC_AGAIN;
        *ret = s.n - rest.n + (size_t)n + 1;
        return RC_OK;
    case 1: *ret = s.n - rest.n + 8; return RC_OK;
    case 5: *ret = s.n - rest.n + 4; return RC_OK;
    case 2: {
        size_t before = rest.n;
        if (!pb_take_varint(&rest, &n))
            return before < 10 ? RC_AGAIN : RC_INVALID;
        if (n > SIZE_MAX / 2)
            return RC_INVALID;
        *ret = s.n - rest.n + (size_t)n;
        return RC_OK;
    }
    default: return RC_INVALID;
    }
}

static enum rc hand_on(struct pb_stream *s, struct str bytes)
{
    struct pb_field f;
    enum rc rc = pb_next(&bytes, &f);
    return rc == RC_OK ? s->fn(s->owner, &f) : RC_INVALID;
}

static enum rc keep(struct pb_stream *s, struct str bytes)
{
    strbuf_adds(&s->part, bytes);
    return s->part.truncated ? RC_LIMIT : RC_OK;
}

/* Completes the field that an earlier part began. RC_AGAIN: still not whole. */
static enum rc complete(struct pb_stream *s, struct str *bytes)
{
    size_t need;
    enum rc rc;
    /* its head first, byte by byte: at most 20 */
    while ((rc = field_size(strbuf_str(&s->part), &need)) == RC_AGAIN) {
        if (bytes->n == 0)
            return RC_AGAIN;
        if ((rc = keep(s, (struct str){bytes->p, 1})) != RC_OK)
            return rc;
        bytes->p++, bytes->n--;
    }
    if (rc != RC_OK)
        return rc;
    if (need > s->part.max)
        return RC_LIMIT;
    size_t take = MIN(bytes->n, need - s->part.n);
    if ((rc = keep(s, (struct str){bytes->p, take})) != RC_OK)
        return rc;
    bytes->p += take, bytes->n -= take;
    if (s->part.n < need)
        return RC_AGAIN;
    rc = hand_on(s, strbuf_str(&s->part));
    if (s->part.cap > 65536)
        strbuf_fini(&s->part); /* a rare large one must not stay */
    else
        strbuf_reset(&s->part);
    return rc;
}

enum rc pb_stream_feed(struct pb_stream *s, struct str bytes)
{
    while (bytes.n) {
        size_t need;
        enum rc rc = s->part.n ? RC_AGAIN : field_size(bytes, &need);
        if (rc == RC_AGAIN) {
            rc = complete(s, &bytes);
            if (rc == RC_AGAIN)
                return RC_OK;
        } else if (rc == RC_OK && need > s->part.max) {
            return RC_LIMIT;
        } else if (rc == RC_OK && need > bytes.n) {
            return keep(s, bytes);
        } else if (rc == RC_OK) {
            rc = hand_on(s, (struct str){bytes.p, need});
            bytes.p += need, bytes.n -= need;
        }
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}

enum rc pb_stream_end(struct pb_stream *s)
{
    enum rc rc = s->part.n ? RC_INVALID : RC_OK;
    strbuf_reset(&s->part);
    return rc;
}
