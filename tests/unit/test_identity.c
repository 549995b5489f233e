#include "lib/base/mem.h"
#include "lib/cert/identity.h"
#include "tests/helper/check.h"

START_TEST(parts_of_a_good_one)
{
    struct identity *id = NULL;
    ck_assert_rc(identity_parse(STR("spiffe://cluster.local/ns/default/sa/web"), &id), RC_OK);
    ck_assert(str_eqz(id->trust_domain, "cluster.local"));
    ck_assert(str_eqz(id->ns, "default"));
    ck_assert(str_eqz(id->sa, "web"));
    ck_assert(str_eqz(id->principal, "cluster.local/ns/default/sa/web"));
    ck_assert_str_eq(id->uri.p, "spiffe://cluster.local/ns/default/sa/web");
    identity_unref(id);
}
END_TEST

START_TEST(made_equals_parsed)
{
    struct identity *a = NULL, *b = NULL, *c = NULL;
    ck_assert_rc(identity_parse(STR("spiffe://td/ns/n/sa/s"), &a), RC_OK);
    ck_assert_rc(identity_make(STR("td"), STR("n"), STR("s"), &b), RC_OK);
    ck_assert_rc(identity_make(STR("td"), STR("n"), STR("t"), &c), RC_OK);
    ck_assert(identity_eq(a, b));
    ck_assert_uint_eq(a->hash, b->hash);
    ck_assert(!identity_eq(a, c));
    struct identity *again = identity_ref(a);
    identity_unref(a);
    ck_assert(str_eqz(again->sa, "s")); /* still alive */
    identity_unref(again);
    identity_unref(b);
    identity_unref(c);
    identity_unref(NULL);
}
END_TEST

START_TEST(bad_ones_are_refused)
{
    static const char *const bad[] = {
        "",
        "spiffe://",
        "spiffe:///ns/a/sa/b",
        "spiffe://td/ns/a/sa/",
        "spiffe://td/ns//sa/b",
        "spiffe://td/ns/a/sa",
        "spiffe://td/ns/a/sa/b/",
        "spiffe://td/ns/a/sa/b/c",
        "spiffe://td/sa/a/ns/b",
        "spiffe://td/NS/a/sa/b",
        "SPIFFE://td/ns/a/sa/b",
        "https://td/ns/a/sa/b",
        "spiffe://td/ns/a/sa/b?x",
        "spiffe://td/ns/a/sa/b#x",
        "spiffe://td/ns/a b/sa/c",
        "spiffe://td/ns/a%2f/sa/c",
        "spiffe://td/ns/../sa/c",
        "spiffe://td/ns/./sa/c",
        "spiffe://td:80/ns/a/sa/b",
        "spiffe://u@td/ns/a/sa/b",
        "spiffe://td/ns/\xc3\xa9/sa/b",
        "spiffe://td/ns/a\n/sa/b",
        " spiffe://td/ns/a/sa/b",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct identity *id = NULL;
        ck_assert_msg(identity_parse(str_of(bad[i]), &id) == RC_INVALID, "accepted: %s", bad[i]);
        ck_assert_ptr_null(id);
    }
    struct identity *id = NULL;
    ck_assert_rc(identity_parse((struct str){"spiffe://td/ns/a\0b/sa/c", 24}, &id), RC_INVALID);
    ck_assert_rc(identity_make(STR("td"), STR("a/sa/b"), STR("c"), &id), RC_INVALID);
}
END_TEST

START_TEST(length_is_limited)
{
    char sa[IDENTITY_MAX + 1];
    memset(sa, 'a', sizeof(sa));
    struct identity *id = NULL;
    size_t fixed = sizeof("spiffe://td/ns/n/sa/") - 1;
    ck_assert_rc(identity_make(STR("td"), STR("n"), (struct str){sa, IDENTITY_MAX - fixed}, &id),
                 RC_OK);
    ck_assert_uint_eq(id->uri.n, IDENTITY_MAX);
    identity_unref(id);
    ck_assert_rc(
        identity_make(STR("td"), STR("n"), (struct str){sa, IDENTITY_MAX - fixed + 1}, &id),
        RC_INVALID);
    ck_assert_rc(identity_make(STR("td"), STR("n"), (struct str){sa, SIZE_MAX / 2}, &id),
                 RC_INVALID);
}
END_TEST

TEST_MAIN("identity", parts_of_a_good_one, made_equals_parsed, bad_ones_are_refused,
          length_is_limited)
