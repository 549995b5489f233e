/* SPIFFE identities of certificates and requests. */
#include "lib/base/must.h"
#include "lib/cert/identity.h"
#include "tests/helper/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct identity *id = NULL, *again = NULL;
    if (identity_parse((struct str){(const char *)data, n}, &id) != RC_OK)
        return 0;
    MUST(id->uri.n == n && strlen(id->uri.p) == n);
    MUST(identity_make(id->trust_domain, id->ns, id->sa, &again) == RC_OK);
    MUST(identity_eq(id, again) && id->hash == again->hash);
    MUST(str_ends(id->uri, id->principal));
    identity_unref(id);
    identity_unref(again);
    return 0;
}
