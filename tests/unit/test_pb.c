#include "lib/codec/pb.h"
#include "lib/proto/authorization.pb-c.h"
#include "lib/proto/workload.pb-c.h"
#include "tests/helper/check.h"

static const ProtobufCMessageDescriptor *const auth = &istio__security__authorization__descriptor;
static const ProtobufCMessageDescriptor *const addr = &istio__workload__address__descriptor;
static const ProtobufCMessageDescriptor *const value = &google__protobuf__value__descriptor;

START_TEST(presence_of_an_empty_message_survives)
{
    struct arena a;
    ProtobufCMessage *m;
    struct strbuf b;
    arena_init(&a, 65536);
    strbuf_init(&b, 1000);
    /* rules[0].clauses[0].matches[0].not_principals[0].presence = {} */
    ck_assert_rc(pb_unpack(auth, &a, STR("\x2a\x08\x0a\x06\x12\x04\x22\x02\x22\x00"), &m, NULL),
                 RC_OK);
    const Istio__Security__Authorization *z = (void *)m;
    const Istio__Security__Match *match = z->rules[0]->clauses[0]->matches[0];
    ck_assert_uint_eq(match->n_not_principals, 1);
    ck_assert_int_eq(match->not_principals[0]->match_type_case,
                     ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_PRESENCE);
    pb_put_message(&b, m);
    ck_assert(str_eq(strbuf_str(&b), STR("\x2a\x08\x0a\x06\x12\x04\x22\x02\x22\x00")));
    strbuf_fini(&b);
    arena_fini(&a);
}
END_TEST

START_TEST(deep_nesting_is_refused_before_the_decoder_sees_it)
{
    struct strbuf in, out;
    struct errmsg e = {""};
    strbuf_init(&in, 1 << 20);
    strbuf_init(&out, 1 << 20);
    strbuf_add(&in, "\x20\x01", 2);  /* bool_value */
    for (int i = 0; i < 5000; i++) { /* list_value { values { … } } */
        strbuf_reset(&out);
        pb_put_bytes(&out, i % 2 ? 6 : 1, strbuf_str(&in));
        struct strbuf t = in;
        in = out;
        out = t;
    }
    ck_assert_rc(pb_check(value, strbuf_str(&in), 1000000, NULL, &e), RC_INVALID);
    ck_assert_ptr_nonnull(strstr(e.text, "nested too deep"));
    strbuf_fini(&in);
    strbuf_fini(&out);
}
END_TEST

START_TEST(what_is_unknown_is_told)
{
    bool unknown = false;
    ck_assert_rc(pb_check(auth, STR("\x0a\x01n"), 100, &unknown, NULL), RC_OK);
    ck_assert(!unknown);
    ck_assert_rc(pb_check(auth, STR("\x50\x01"), 100, &unknown, NULL), RC_OK); /* field 10 */
    ck_assert(unknown);
    unknown = false;
    ck_assert_rc(pb_check(auth, STR("\x20\x07"), 100, &unknown, NULL), RC_OK); /* action 7 */
    ck_assert(unknown);
    unknown = false; /* an unknown field deep inside a match */
    ck_assert_rc(pb_check(auth, STR("\x2a\x08\x0a\x06\x12\x04\x8a\x01\x01x"), 100, &unknown, NULL),
                 RC_OK);
    ck_assert(unknown);
}
END_TEST

START_TEST(limits_and_malformed_bytes)
{
    struct errmsg e = {""};
    ck_assert_rc(pb_check(auth, STR("\x0a\x05n"), 100, NULL, NULL), RC_INVALID);
    ck_assert_rc(pb_check(auth, STR("\x0a\x01\xff"), 100, NULL, &e), RC_INVALID);
    ck_assert_ptr_nonnull(strstr(e.text, "name"));
    ck_assert_rc(pb_check(auth, STR("\x0a\x01n\x0a\x01n\x0a\x01n"), 2, NULL, NULL), RC_INVALID);
    ck_assert_rc(pb_check(auth, STR("\x08\x01"), 100, NULL, NULL),
                 RC_INVALID);                                               /* name as a number */
    ck_assert_rc(pb_check(auth, STR("\x0b"), 100, NULL, NULL), RC_INVALID); /* a group */
    /* packed ports: 3 values against a limit of 5 fields in all */
    ck_assert_rc(pb_check(auth, STR("\x2a\x09\x0a\x07\x12\x05\x4a\x03\x01\x02\x03"), 5, NULL, NULL),
                 RC_INVALID);
    ck_assert_rc(
        pb_check(auth, STR("\x2a\x09\x0a\x07\x12\x05\x4a\x03\x01\x02\x03"), 10, NULL, NULL), RC_OK);
    struct arena a;
    ProtobufCMessage *m;
    arena_init(&a, 200); /* too small for the message */
    ck_assert_rc(pb_unpack(addr, &a,
                           STR("\x0a\x05\x0a\x03"
                               "abc"),
                           &m, &e),
                 RC_LIMIT);
    arena_fini(&a);
}
END_TEST

TEST_MAIN("pb", presence_of_an_empty_message_survives,
          deep_nesting_is_refused_before_the_decoder_sees_it, what_is_unknown_is_told,
          limits_and_malformed_bytes)
