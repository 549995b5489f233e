#include "lib/xds/resource.h"

#include <stdlib.h>

#include <openssl/sha.h>

#include "lib/base/mem.h"

struct resource *resource_new(struct str name, struct str bytes)
{
    static const char hex[] = "0123456789abcdef";
    unsigned char md[SHA256_DIGEST_LENGTH];
    struct resource *r = mem_alloc(sizeof(*r) + name.n + bytes.n);
    char *at = (char *)(r + 1);
    ref_init(&r->ref);
    memcpy(at, name.p, name.n);
    memcpy(at + name.n, bytes.p, bytes.n);
    r->name = (struct str){at, name.n};
    r->bytes = (struct str){at + name.n, bytes.n};
    SHA256((const unsigned char *)bytes.p, bytes.n, md);
    for (size_t i = 0; i < 16; i++)
        r->version[i] = hex[md[i / 2] >> (i % 2 ? 0 : 4) & 15];
    r->version[16] = '\0';
    return r;
}

struct resource *resource_ref(struct resource *r)
{
    ref_get(&r->ref);
    return r;
}

void resource_unref(struct resource *r)
{
    if (r && ref_put(&r->ref))
        free(r);
}
