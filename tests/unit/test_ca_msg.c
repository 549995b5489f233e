#include "lib/ca/ca_msg.h"
#include "tests/helper/check.h"

static struct strbuf b;

static void setup(void)
{
    strbuf_init(&b, 100000);
}

static void teardown(void)
{
    strbuf_fini(&b);
}

START_TEST(request)
{
    struct ca_csr m = {.csr = STR("PEM"), .valid_s = 86400, .impersonated = STR("spiffe://x")};
    ca_csr_encode(&m, &b);
    /* as protoc writes it for {csr, validity_duration, metadata{ImpersonatedIdentity}} */
    static const char want[] = "\x0a\x03PEM\x18\x80\xa3\x05\x22\x26\x0a\x24\x0a\x14"
                               "ImpersonatedIdentity\x12\x0c\x1a\x0aspiffe://x";
    ck_assert_uint_eq(b.n, sizeof(want) - 1);
    ck_assert_mem_eq(b.p, want, b.n);
    struct ca_csr back;
    ck_assert_rc(ca_csr_decode(strbuf_str(&b), &back), RC_OK);
    ck_assert(str_eqz(back.csr, "PEM"));
    ck_assert_int_eq(back.valid_s, 86400);
    ck_assert(str_eqz(back.impersonated, "spiffe://x"));
    for (size_t n = 1; n < b.n; n++) /* cut anywhere: valid only between fields */
        ck_assert(ca_csr_decode((struct str){b.p, n}, &back) == RC_OK ? n == 5 || n == 9 : true);
}
END_TEST

START_TEST(request_without_metadata)
{
    struct ca_csr m = {.csr = STR("PEM")}, back;
    ca_csr_encode(&m, &b);
    ck_assert_uint_eq(b.n, 5);
    ck_assert_rc(ca_csr_decode(strbuf_str(&b), &back), RC_OK);
    ck_assert_uint_eq(back.impersonated.n, 0);
    ck_assert_int_eq(back.valid_s, 0);
    ck_assert_rc(ca_csr_decode(STR(""), &back), RC_OK);
    ck_assert_uint_eq(back.csr.n, 0);
}
END_TEST

START_TEST(other_metadata_is_ignored)
{
    /* CertSigner "x"; then the identity as a number, which stands for no string */
    static const struct str bytes = STR("\x22\x13\x0a\x11\x0a\x0a"
                                        "CertSigner\x12\x03\x1a\x01x\x22\x23\x0a\x21\x0a\x14"
                                        "ImpersonatedIdentity\x12\x09\x11\0\0\0\0\0\0\0\0");
    struct ca_csr m;
    ck_assert_rc(ca_csr_decode(bytes, &m), RC_OK);
    ck_assert_uint_eq(m.impersonated.n, 0);
    ck_assert_rc(ca_csr_decode(STR("\x22\x03\x0a\x05\x0a"), &m), RC_INVALID);
    ck_assert_rc(ca_csr_decode(STR("\xff"), &m), RC_INVALID);
}
END_TEST

START_TEST(response)
{
    struct ca_chain m = {.pem = {STR("leaf"), STR("mid"), STR("roots")}, .n = 3}, back;
    ca_chain_encode(&m, &b);
    ck_assert_rc(ca_chain_decode(strbuf_str(&b), &back), RC_OK);
    ck_assert_uint_eq(back.n, 3);
    ck_assert(str_eqz(back.pem[2], "roots"));
    ck_assert_rc(ca_chain_decode(STR(""), &back), RC_OK);
    ck_assert_uint_eq(back.n, 0);
    ck_assert_rc(ca_chain_decode((struct str){b.p, b.n - 1}, &back), RC_INVALID);
    m.n = CA_CHAIN_MAX;
    strbuf_reset(&b);
    ca_chain_encode(&m, &b);
    ck_assert_rc(ca_chain_decode(strbuf_str(&b), &back), RC_OK);
    strbuf_adds(&b, STR("\x0a\0"));
    ck_assert_rc(ca_chain_decode(strbuf_str(&b), &back), RC_LIMIT);
}
END_TEST

TEST_MAIN_FIXTURE("ca_msg", setup, teardown, request, request_without_metadata,
                  other_metadata_is_ignored, response)
