/* A response of the controller, whole and in parts: both must give the same. The first byte chooses the
 * size of the parts. */
#include "lib/base/hash.h"
#include "lib/base/must.h"
#include "lib/xds/ads_response.h"
#include "tests/helper/fuzz.h"

struct outcome {
    enum rc rc;
    size_t resources, removed, refused;
    uint64_t hash;
};

static void mix(struct outcome *o, struct str s)
{
    o->hash = hash_mix(o->hash, hash_str(s));
}

static enum rc on_resource(void *owner, const struct ads_resource *r, struct errmsg *ret_msg)
{
    struct outcome *o = owner;
    o->resources++;
    MUST(r->name.n > 0 && str_is_utf8(r->name) && str_is_utf8(r->version));
    mix(o, r->name);
    mix(o, r->version);
    mix(o, r->type_url);
    mix(o, r->bytes);
    if (r->bytes.n % 2 == 0)
        return RC_OK;
    errmsg_set(ret_msg, "odd");
    return RC_INVALID;
}

static struct outcome take(struct str bytes, size_t part)
{
    struct outcome o = {0};
    struct ads_response r;
    ads_response_init(&r, on_resource, &o);
    do {
        size_t n = bytes.n < part ? bytes.n : part;
        o.rc = ads_response_feed(&r, (struct str){bytes.p, n}, n == bytes.n);
        bytes.p += n;
        bytes.n -= n;
    } while (bytes.n && o.rc == RC_OK);
    o.removed = r.n_removed;
    o.refused = r.refused;
    mix(&o, strbuf_str(&r.errors));
    mix(&o, str_of(r.type_url));
    mix(&o, str_of(r.nonce));
    for (size_t i = 0; i < r.n_removed; i++)
        mix(&o, str_of(r.removed[i]));
    ads_response_fini(&r);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n == 0)
        return 0;
    struct str bytes = {(const char *)data + 1, n - 1};
    struct outcome whole = take(bytes, SIZE_MAX), parts = take(bytes, 1 + data[0] % 64u);
    MUST((whole.rc == RC_OK) == (parts.rc == RC_OK));
    MUST(whole.resources == parts.resources && whole.removed == parts.removed &&
         whole.refused == parts.refused && whole.hash == parts.hash);
    return 0;
}
