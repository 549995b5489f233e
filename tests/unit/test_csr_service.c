#include <unistd.h>

#include <openssl/err.h>

#include "control/ca/csr_service.h"
#include "tests/helper/check.h"
#include "tests/helper/pki.h"

static char dir[64];
static struct csr_service s;
static EVP_PKEY *key;
static struct strbuf csr;
static char asked[200]; /* the last question to the model */
static int64_t later_s; /* the authority's clock is so far ahead */

static int64_t clock_s(void)
{
    return time(NULL) + later_s;
}

/* The model: node n1 runs pods of shop/web only. */
static bool node_runs(void *owner, struct str node, struct str ns, struct str sa)
{
    ck_assert_ptr_eq(owner, &s);
    snprintf(asked, sizeof(asked), "%.*s %.*s/%.*s", STR_ARG(node), STR_ARG(ns), STR_ARG(sa));
    return strcmp(asked, "n1 shop/web") == 0;
}

static const struct caller n1 = {.kind = CALLER_NODE, .node = {"n1", 2}};
static const struct caller n2 = {.kind = CALLER_NODE, .node = {"n2", 2}};
static const struct caller web = {.kind = CALLER_WORKLOAD, .ns = {"shop", 4}, .sa = {"web", 3}};
#define WEB "spiffe://cluster.local/ns/shop/sa/web"
#define DB  "spiffe://cluster.local/ns/shop/sa/db"

static void setup(void)
{
    strcpy(dir, "/tmp/test_csr_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    struct ca_opts o = {.folder = dir, .trust_domain = STR("cluster.local"), .now_s = clock_s};
    s = (struct csr_service){
        .trust_domain = STR("cluster.local"), .node_runs = node_runs, .owner = &s};
    ck_assert_rc(ca_open(&o, &s.ca, NULL), RC_OK);
    ck_assert_rc(key_new(&key), RC_OK);
    strbuf_init(&csr, CSR_PEM_MAX * 2);
    struct identity *any = NULL; /* what the request itself says must not matter */
    ck_assert_rc(identity_parse(STR("spiffe://evil/ns/kube-system/sa/admin"), &any), RC_OK);
    ck_assert_rc(csr_make(key, any, &csr), RC_OK);
    identity_unref(any);
    asked[0] = '\0';
    later_s = 0;
}

static void teardown(void)
{
    static const char *const files[] = {"ca-key.pem", "ca-cert.pem", "root-cert.pem"};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        char path[200];
        snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
        unlink(path);
    }
    ck_assert_int_eq(rmdir(dir), 0);
    ca_free(s.ca);
    EVP_PKEY_free(key);
    strbuf_fini(&csr);
    ck_assert_uint_eq(ERR_peek_error(), 0);
}

static int64_t life_of(X509 *x)
{
    int64_t end_s;
    ck_assert_rc(cert_time(X509_get0_notAfter(x), &end_s), RC_OK);
    return end_s - time(NULL);
}

static void granted(const struct csr_request *r, const char *uri, int64_t life_s)
{
    struct csr_answer a;
    csr_decide(&s, r, &a);
    ck_assert_msg(a.refusal == CSR_GRANTED, "%s", a.reason.text);
    ck_assert_int_eq(a.status, GRPC_OK);
    struct identity *id = NULL;
    ck_assert_rc(cert_identity(a.leaf, &id), RC_OK);
    ck_assert_str_eq(id->uri.p, uri);
    ck_assert(identity_eq(id, a.id));
    identity_unref(id);
    ck_assert_int_eq(EVP_PKEY_eq(X509_get0_pubkey(a.leaf), key), 1);
    ck_assert_int_le(llabs(life_of(a.leaf) - life_s), 5);
    ck_assert_rc(cert_verify(a.leaf, NULL, ca_trust(s.ca), X509_PURPOSE_SSL_SERVER, NULL), RC_OK);
    csr_answer_fini(&a);
}

static void refused(const struct csr_request *r, enum csr_refusal why, enum grpc_status status,
                    const char *reason)
{
    struct csr_answer a;
    csr_decide(&s, r, &a);
    ck_assert_msg(a.refusal == why, "%s: %s", csr_refusal_name(a.refusal), a.reason.text);
    ck_assert_int_eq(a.status, status);
    ck_assert_ptr_null(a.leaf);
    ck_assert_msg(strstr(a.reason.text, reason) != NULL, "%s", a.reason.text);
    ck_assert_ptr_null(strstr(a.client_text, "cluster.local"));
    ck_assert_ptr_null(strstr(a.client_text, "shop"));
    csr_answer_fini(&a);
}

START_TEST(a_node_gets_its_pods)
{
    struct csr_request r = {.caller = &n1, .csr = strbuf_str(&csr), .impersonated = STR(WEB)};
    granted(&r, WEB, 86400);
    ck_assert_str_eq(asked, "n1 shop/web");
    r.valid_s = 3600;
    granted(&r, WEB, 3600);
    r.valid_s = CA_LEAF_MAX_S;
    granted(&r, WEB, CA_LEAF_MAX_S);
    r.valid_s = -5;
    granted(&r, WEB, 86400);
}
END_TEST

START_TEST(and_no_others)
{
    struct csr_request r = {.caller = &n1, .csr = strbuf_str(&csr), .impersonated = STR(DB)};
    refused(&r, CSR_NODE, GRPC_UNAUTHENTICATED, "n1 runs no pod");
    r.caller = &n2;
    r.impersonated = STR(WEB);
    refused(&r, CSR_NODE, GRPC_UNAUTHENTICATED, "n2 runs no pod");
    r.caller = &n1;
    r.impersonated = STR("");
    refused(&r, CSR_IDENTITY, GRPC_UNAUTHENTICATED, "without ImpersonatedIdentity");
    asked[0] = '\0';
    r.impersonated = STR("spiffe://other/ns/shop/sa/web"); /* the trap of the trust domain */
    refused(&r, CSR_TRUST_DOMAIN, GRPC_UNAUTHENTICATED, "not of trust domain");
    r.impersonated = STR("shop/web");
    refused(&r, CSR_IDENTITY, GRPC_UNAUTHENTICATED, "not a SPIFFE identity");
    r.impersonated = STR(WEB "/x");
    refused(&r, CSR_IDENTITY, GRPC_UNAUTHENTICATED, "not a SPIFFE identity");
    ck_assert_str_eq(asked, ""); /* the model was not troubled */
}
END_TEST

START_TEST(a_workload_gets_itself)
{
    struct csr_request r = {.caller = &web, .csr = strbuf_str(&csr)};
    granted(&r, WEB, 86400);
    r.impersonated = STR(WEB);
    granted(&r, WEB, 86400);
    r.impersonated = STR(DB);
    refused(&r, CSR_IDENTITY, GRPC_UNAUTHENTICATED, "does not stand for");
    r.impersonated = STR("spiffe://other/ns/shop/sa/web");
    refused(&r, CSR_TRUST_DOMAIN, GRPC_UNAUTHENTICATED, "");
    ck_assert_str_eq(asked, "");
    struct caller odd = {.kind = CALLER_WORKLOAD, .ns = STR("a b"), .sa = STR("c")};
    r = (struct csr_request){.caller = &odd, .csr = strbuf_str(&csr)};
    refused(&r, CSR_IDENTITY, GRPC_UNAUTHENTICATED, "can't be an identity");
}
END_TEST

START_TEST(bad_requests)
{
    struct csr_request r = {.caller = &web, .csr = STR("garbage")};
    refused(&r, CSR_REQUEST, GRPC_INVALID_ARGUMENT, "");
    r.csr = STR("");
    refused(&r, CSR_REQUEST, GRPC_INVALID_ARGUMENT, "");
    r.csr = strbuf_str(&csr);
    r.valid_s = CA_LEAF_MAX_S + 1;
    refused(&r, CSR_VALIDITY, GRPC_INVALID_ARGUMENT, "at most 7776000 s");
    r.valid_s = INT64_MAX;
    refused(&r, CSR_VALIDITY, GRPC_INVALID_ARGUMENT, "");
    while (csr.n <= CSR_PEM_MAX)
        strbuf_addc(&csr, '\n');
    r = (struct csr_request){.caller = &web, .csr = strbuf_str(&csr)};
    refused(&r, CSR_REQUEST, GRPC_INVALID_ARGUMENT, "at most");
}
END_TEST

START_TEST(an_expired_authority_signs_nothing)
{
    struct csr_request r = {.caller = &web, .csr = strbuf_str(&csr)};
    later_s = CA_ROOT_S;
    refused(&r, CSR_SIGNING, GRPC_INTERNAL, "expired");
    later_s = CA_ROOT_S - 600; /* the last minutes: clipped */
    struct csr_answer a;
    csr_decide(&s, &r, &a);
    ck_assert_int_eq(a.refusal, CSR_GRANTED);
    ck_assert_int_le(llabs(life_of(a.leaf) - CA_ROOT_S), 5);
    csr_answer_fini(&a);
}
END_TEST

TEST_MAIN_FIXTURE("csr_service", setup, teardown, a_node_gets_its_pods, and_no_others,
                  a_workload_gets_itself, bad_requests, an_expired_authority_signs_nothing)
