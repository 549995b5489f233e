#include <stdio.h>

#include "lib/base/hash.h"
#include "lib/base/mem.h"
#include "proxy/state/intern.h"
#include "tests/helper/check.h"

static struct intern *t;

static void setup(void)
{
    t = intern_new();
}

static void teardown(void)
{
    intern_free(t);
}

START_TEST(equal_words_are_one)
{
    struct atom *a = intern_atom(t, STR("shop/cart")), *b = intern_atom(t, STR("shop/cart")),
                *c = intern_atom(t, STR("shop/cart2")), *e = intern_atom(t, STR(""));
    ck_assert_ptr_eq(a, b);
    ck_assert_ptr_ne(a, c);
    ck_assert(str_eqz(atom_str(c), "shop/cart2") && atom_str(e).n == 0);
    ck_assert_uint_eq(atom_hash(a), hash_str(STR("shop/cart")));
    atom_unref(a);
    atom_unref(c);
    atom_unref(e);
    intern_sweep(t); /* b is still held */
    ck_assert_uint_eq(intern_len(t), 1);
    ck_assert(str_eqz(atom_str(b), "shop/cart"));
    atom_unref(b);
    intern_sweep(t);
    ck_assert_uint_eq(intern_len(t), 0);
    atom_unref(NULL);
}
END_TEST

START_TEST(places_differ_by_each_part)
{
    struct place base = {.network = STR("n"),
                         .cluster = STR("c"),
                         .node = STR("o"),
                         .region = STR("r"),
                         .zone = STR("z"),
                         .subzone = STR("s")};
    struct place *one = intern_place(t, &base), *again = intern_place(t, &base);
    ck_assert_ptr_eq(one, again);
    place_unref(again);
    struct str *part[] = {&base.network, &base.cluster, &base.node,
                          &base.region,  &base.zone,    &base.subzone};
    for (size_t i = 0; i < ARRAY_LEN(part); i++) {
        struct str was = *part[i];
        *part[i] = STR("x");
        struct place *other = intern_place(t, &base);
        ck_assert_ptr_ne(other, one);
        place_unref(other);
        *part[i] = was;
    }
    /* no part runs into the next one */
    base.network = STR("nc");
    base.cluster = STR("");
    struct place *shifted = intern_place(t, &base);
    ck_assert_ptr_ne(shifted, one);
    ck_assert(str_eqz(one->network, "n") && str_eqz(one->subzone, "s") &&
              str_eqz(shifted->network, "nc"));
    place_unref(shifted);
    place_unref(one);
}
END_TEST

START_TEST(gateways_by_service_or_address)
{
    struct gateway_addr by_key = {.port = 15008, .key = STR("shop/wp.shop")};
    struct gateway_addr by_ip = {.port = 15008, .network = STR("net")};
    ck_assert_rc(addr_parse_ip(STR("10.0.0.1"), &by_ip.ip), RC_OK);
    struct gateway_addr *k = intern_gateway(t, &by_key), *i = intern_gateway(t, &by_ip);
    ck_assert(str_eqz(k->ns, "shop") && str_eqz(k->host, "wp.shop") && k->ip.family == 0);
    ck_assert(i->key.n == 0 && str_eqz(i->network, "net") && addr_eq_ip(&i->ip, &by_ip.ip));
    by_ip.port = 15009;
    struct gateway_addr *other = intern_gateway(t, &by_ip), *same = intern_gateway(t, &by_key);
    ck_assert_ptr_ne(other, i);
    ck_assert_ptr_eq(same, k);
    gateway_unref(k);
    gateway_unref(same);
    gateway_unref(i);
    gateway_unref(other);
    intern_sweep(t);
    ck_assert_uint_eq(intern_len(t), 0);
}
END_TEST

START_TEST(identities_are_shared_and_may_fail)
{
    struct identity *a = intern_identity(t, STR("td"), STR("shop"), STR("cart")),
                    *b = intern_identity_uri(t, STR("spiffe://td/ns/shop/sa/cart"));
    ck_assert_ptr_eq(a, b);
    ck_assert_ptr_null(intern_identity(t, STR("td"), STR(""), STR("cart")));
    ck_assert_ptr_null(intern_identity_uri(t, STR("shop.example.com")));
    identity_unref(a);
    intern_sweep(t);
    ck_assert_uint_eq(intern_len(t), 1);
    identity_unref(b);
    intern_sweep(t);
    ck_assert_uint_eq(intern_len(t), 0);
}
END_TEST

START_TEST(tidying_waits_for_growth)
{
    char text[16];
    for (int i = 0; i < 5000; i++) {
        snprintf(text, sizeof(text), "w%d", i);
        atom_unref(intern_atom(t, str_of(text)));
    }
    ck_assert_uint_eq(intern_len(t), 5000);
    intern_tidy(t);
    ck_assert_uint_eq(intern_len(t), 0);
    atom_unref(intern_atom(t, STR("x")));
    intern_tidy(t); /* not worth it */
    ck_assert_uint_eq(intern_len(t), 1);
}
END_TEST

START_TEST(what_is_held_outlives_the_table)
{
    struct atom *a = intern_atom(t, STR("left"));
    struct identity *id = intern_identity(t, STR("td"), STR("shop"), STR("cart"));
    intern_free(t);
    ck_assert(str_eqz(atom_str(a), "left") && str_eqz(id->sa, "cart"));
    atom_unref(a);
    identity_unref(id);
    t = NULL;
}
END_TEST

TEST_MAIN_FIXTURE("intern", setup, teardown, equal_words_are_one, places_differ_by_each_part,
                  gateways_by_service_or_address, identities_are_shared_and_may_fail,
                  tidying_waits_for_growth, what_is_held_outlives_the_table)
