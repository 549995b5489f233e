#include <stdio.h>

#include "lib/xds/resource.h"
#include "tests/helper/check.h"

START_TEST(the_version_is_of_the_bytes_only)
{
    struct resource *a = resource_new(STR("a"), STR("bytes"));
    struct resource *b = resource_new(STR("b"), STR("bytes"));
    struct resource *c = resource_new(STR("a"), STR("Bytes"));
    struct resource *d = resource_new(STR("a"), STR(""));
    /* SHA-256 of "bytes" and of nothing, cut: the same on every machine and after every restart */
    ck_assert_str_eq(a->version, "277089d91c0bdf4f");
    ck_assert_str_eq(d->version, "e3b0c44298fc1c14");
    ck_assert_str_eq(a->version, b->version);
    ck_assert_str_ne(a->version, c->version);
    ck_assert(str_eqz(b->name, "b") && str_eqz(b->bytes, "bytes") && d->bytes.n == 0);
    resource_unref(a);
    resource_unref(b);
    resource_unref(c);
    resource_unref(d);
}
END_TEST

START_TEST(it_is_a_copy_and_counted)
{
    char name[] = "name", bytes[] = "\0\1\2";
    struct resource *r = resource_new(str_of(name), (struct str){bytes, 3});
    name[0] = bytes[1] = 'x';
    ck_assert(str_eqz(r->name, "name") && str_eq(r->bytes, (struct str){"\0\1\2", 3}));
    ck_assert_ptr_eq(resource_ref(r), r);
    resource_unref(r);
    ck_assert(str_eqz(r->name, "name")); /* alive: the sanitizers would tell */
    resource_unref(r);
    resource_unref(NULL);
}
END_TEST

TEST_MAIN("resource", the_version_is_of_the_bytes_only, it_is_a_copy_and_counted)
