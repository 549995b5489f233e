/* Policies as xDS brings them: those that are accepted decide as their description says, those that can
 * be read but are refused refuse. */
#include "lib/base/must.h"
#include "proxy/core/authz.h"
#include "proxy/state/apply.h"
#include "tests/helper/fuzz.h"
#include "tests/helper/mesh.h"
#include "tests/helper/policy_naive.h"

static const char *const uris[] = {NULL, "spiffe://td/ns/web/sa/front",
                                   "spiffe://td/ns/shop/sa/cart", "spiffe://x/ns/a/sa/b"};
static const char *const addrs[] = {"10.1.2.3", "192.168.0.1", "fd00::1"};

static void compare(const struct proxy_state *st, const struct workload *w,
                    const Istio__Security__Authorization *z, const char *uri, size_t at)
{
    struct identity *id = NULL;
    struct view v = {0};
    char ns[64], sa[64];
    MUST(addr_parse_ip(str_of(addrs[at]), &v.src) == RC_OK);
    MUST(addr_parse_ip(str_of(addrs[(at + 1) % 3]), &v.dst) == RC_OK);
    v.dst.port = (uint16_t)(at ? 80 : 8080);
    if (uri) {
        MUST(identity_parse(str_of(uri), &id) == RC_OK);
        snprintf(ns, sizeof(ns), "%.*s", STR_ARG(id->ns));
        snprintf(sa, sizeof(sa), "%.*s", STR_ARG(id->sa));
        v.ns = ns, v.sa = sa, v.principal = uri + sizeof("spiffe://") - 1;
    }
    struct authz_conn c = {id, v.src, v.dst};
    struct authz_result r;
    enum rc rc = authz_check(st, w, &c, &r);
    MUST(rc == RC_OK || rc == RC_DENIED);
    bool deny = z->action == ISTIO__SECURITY__ACTION__DENY, fits = naive_policy(z, &v);
    MUST(rc == (z->dry_run || fits != deny ? RC_OK : RC_DENIED));
    identity_unref(id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str bytes = {(const char *)data, n};
    struct errmsg e = {""};
    struct arena mem;
    ProtobufCMessage *m = NULL;
    arena_init(&mem, 64 << 20);
    if (pb_unpack(&istio__security__authorization__descriptor, &mem, bytes, &m, &e) != RC_OK)
        m = NULL;
    const Istio__Security__Authorization *z = (const void *)m;
    char *key = z ? mem_printf("%s/%s", z->namespace_, z->name) : mem_strdup("shop/p");
    struct apply *a = apply_new(STR(""));
    enum rc rc = apply_authorization(a, str_of(key), bytes, &e);
    MUST(rc == RC_OK || e.text[0]);
    MUST(z || rc != RC_OK);
    /* a workload it applies to, whatever its scope: a name with a comma or a slash more can't be listed */
    bool listed = strchr(key, ',') == NULL && strlen(key) <= 2000;
    struct wl_spec spec = {.uid = "u",
                           .ns = z && z->namespace_[0] ? z->namespace_ : "shop",
                           .policies = listed ? key : NULL};
    if (listed && strlen(spec.ns) < 2000 && mesh_workload(a, &spec, NULL) == RC_OK) {
        struct proxy_state *st = apply_commit(a);
        const struct workload *w = state_workload(st, STR("u"));
        for (size_t i = 0; z && rc == RC_OK && i < ARRAY_LEN(uris); i++)
            for (size_t k = 0; k < ARRAY_LEN(addrs); k++)
                compare(st, w, z, uris[i], k);
        struct authz_conn c = {0};
        struct authz_result r;
        if (rc != RC_OK && !(z && z->dry_run))
            MUST(authz_check(st, w, &c, &r) != RC_OK);
        snapshot_unref(&st->base);
    }
    mem_free(key);
    apply_free(a);
    arena_fini(&mem);
    return 0;
}
