/* Request heads of the admin, metrics and readiness ports. */
#include "lib/base/must.h"
#include "lib/http/h1_request.h"
#include "lib/http/httpd.h"
#include "tests/helper/fuzz.h"

static bool inside(struct str s, struct str all)
{
    return s.p >= all.p && s.p + s.n <= all.p + all.n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str in = {(const char *)data, n};
    struct h1_request r;
    size_t len = 0;
    if (h1_request_parse(in, &r, &len) != RC_OK)
        return 0;
    MUST(len <= n && len >= 4 && memcmp(in.p + len - 4, "\r\n\r\n", 4) == 0);
    MUST(r.method.n && inside(r.method, in) && inside(r.path, in) && inside(r.query, in));
    MUST(r.headers_n <= H1_HEADERS_MAX);
    for (size_t i = 0; i < r.headers_n; i++) {
        MUST(r.headers[i].name.n && inside(r.headers[i].name, in));
        MUST(r.headers[i].value.n == 0 || inside(r.headers[i].value, in));
        MUST(!memchr(r.headers[i].value.p, '\n', r.headers[i].value.n));
    }
    /* a head is read the same whatever follows it, and not before it is whole */
    struct h1_request again;
    size_t again_len = 0;
    MUST(h1_request_parse((struct str){in.p, len}, &again, &again_len) == RC_OK);
    MUST(again_len == len && again.headers_n == r.headers_n && again.body_len == r.body_len);
    MUST(h1_request_parse((struct str){in.p, len - 1}, &again, &again_len) == RC_AGAIN);
    struct strbuf out AUTO_STRBUF;
    strbuf_init(&out, 8192);
    if (httpd_query(r.query, "level", &out))
        MUST(out.n <= r.query.n);
    return 0;
}
