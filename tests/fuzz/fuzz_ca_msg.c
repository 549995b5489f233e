/* CreateCertificate, request and response. */
#include "lib/base/must.h"
#include "lib/ca/ca_msg.h"
#include "tests/helper/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str bytes = {(const char *)data, n};
    struct strbuf out AUTO_STRBUF;
    strbuf_init(&out, CA_RESPONSE_MAX);
    struct ca_csr csr, again;
    if (ca_csr_decode(bytes, &csr) == RC_OK && n <= CA_REQUEST_MAX) {
        ca_csr_encode(&csr, &out);
        MUST(ca_csr_decode(strbuf_str(&out), &again) == RC_OK);
        MUST(str_eq(csr.csr, again.csr) && csr.valid_s == again.valid_s);
        MUST(str_eq(csr.impersonated, again.impersonated));
    }
    struct ca_chain chain, twice;
    strbuf_reset(&out);
    if (ca_chain_decode(bytes, &chain) == RC_OK) {
        ca_chain_encode(&chain, &out);
        MUST(ca_chain_decode(strbuf_str(&out), &twice) == RC_OK && twice.n == chain.n);
    }
    return 0;
}
