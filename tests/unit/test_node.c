#include "lib/codec/node.h"
#include "tests/helper/check.h"

START_TEST(paths_end_where_a_part_is_absent)
{
    struct arena a;
    struct node *n;
    arena_init(&a, 65536);
    ck_assert_rc(
        json_parse(&a, STR("{\"m\":{\"k\":\"v\",\"n\":1,\"x.y\":2},\"l\":[{\"k\":1}]}"), &n, NULL),
        RC_OK);
    ck_assert(str_eqz(node_str(node_path(n, "m.k")), "v"));
    ck_assert_ptr_eq(node_path(n, "m"), node_get(n, "m"));
    ck_assert_ptr_null(node_path(n, "m.k.z"));
    ck_assert_ptr_null(node_path(n, "m.z"));
    ck_assert_ptr_null(node_path(n, "l.k")); /* a list has no keys */
    ck_assert_ptr_null(node_path(n, "m.x.y"));
    ck_assert_ptr_nonnull(node_get(node_get(n, "m"), "x.y"));
    ck_assert_ptr_null(node_get(NULL, "m"));
    ck_assert_uint_eq(node_str(node_path(n, "m.n")).n, 0);
    ck_assert_uint_eq(node_str(NULL).n, 0);
    arena_fini(&a);
}
END_TEST

START_TEST(loops_over_nothing)
{
    int turns = 0;
    NODE_FOREACH (c, (const struct node *)NULL)
        turns++;
    ck_assert_int_eq(turns, 0);
    ck_assert_str_eq(node_kind_name(NODE_LIST), "a list");
    ck_assert_str_eq(node_kind_name(NODE_NULL), "null");
}
END_TEST

TEST_MAIN("node", paths_end_where_a_part_is_absent, loops_over_nothing)
