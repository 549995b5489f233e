#include "lib/cert/identity.h"

#include <string.h>

#include "lib/base/hash.h"
#include "lib/base/mem.h"

#define SCHEME "spiffe://"

/* Unreserved characters and sub-delims of RFC 3986; SPIFFE has no percent-encoding, so two
 * spellings of one name can't exist. */
static bool char_ok(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("-._~!$&'()*+,;=", c));
}

/* colon: ':' and '@' too, legal in a path but not in the authority (they would be a port or user). */
static bool segment_ok(struct str s, bool colon)
{
    if (s.n == 0 || str_eqz(s, ".") || str_eqz(s, ".."))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (!char_ok(c) && !(colon && (c == ':' || c == '@')))
            return false;
    }
    return true;
}

enum rc identity_make(struct str trust_domain, struct str ns, struct str sa, struct identity **ret)
{
    if (trust_domain.n + ns.n + sa.n > IDENTITY_MAX)
        return RC_INVALID;
    if (!segment_ok(trust_domain, false) || !segment_ok(ns, true) || !segment_ok(sa, true))
        return RC_INVALID;
    size_t n = sizeof(SCHEME "/ns//sa/") - 1 + trust_domain.n + ns.n + sa.n;
    if (n > IDENTITY_MAX)
        return RC_INVALID;
    struct identity *id = mem_zalloc(sizeof(*id) + n + 1);
    ref_init(&id->ref);
    char *p = (char *)(id + 1);
    id->uri = (struct str){p, n};
    memcpy(p, SCHEME, sizeof(SCHEME) - 1);
    p += sizeof(SCHEME) - 1;
    id->principal = (struct str){p, n - (sizeof(SCHEME) - 1)};
    memcpy(p, trust_domain.p, trust_domain.n);
    id->trust_domain = (struct str){p, trust_domain.n};
    p += trust_domain.n;
    memcpy(p, "/ns/", 4);
    p += 4;
    memcpy(p, ns.p, ns.n);
    id->ns = (struct str){p, ns.n};
    p += ns.n;
    memcpy(p, "/sa/", 4);
    p += 4;
    memcpy(p, sa.p, sa.n);
    id->sa = (struct str){p, sa.n};
    id->hash = hash_str(id->uri);
    *ret = id;
    return RC_OK;
}

enum rc identity_parse(struct str uri, struct identity **ret)
{
    if (uri.n > IDENTITY_MAX || !str_starts(uri, STR(SCHEME)))
        return RC_INVALID;
    struct str rest = {uri.p + sizeof(SCHEME) - 1, uri.n - (sizeof(SCHEME) - 1)};
    struct str td = str_split(rest, '/', &rest);
    struct str ns_word = str_split(rest, '/', &rest);
    struct str ns = str_split(rest, '/', &rest);
    struct str sa_word = str_split(rest, '/', &rest);
    if (!str_eqz(ns_word, "ns") || !str_eqz(sa_word, "sa"))
        return RC_INVALID;
    return identity_make(td, ns, rest, ret); /* refuses a '/' in rest */
}

struct identity *identity_ref(struct identity *id)
{
    ref_get(&id->ref);
    return id;
}

void identity_unref(struct identity *id)
{
    if (id && ref_put(&id->ref))
        mem_free(id);
}

bool identity_eq(const struct identity *a, const struct identity *b)
{
    return a == b || (a->hash == b->hash && str_eq(a->uri, b->uri));
}
