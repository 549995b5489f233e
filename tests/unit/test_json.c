#include <stdio.h>

#include "lib/codec/node.h"
#include "tests/helper/check.h"

static struct arena arena;
static struct errmsg err;

static void setup(void)
{
    arena_init(&arena, 64 << 20);
    err.text[0] = '\0';
}

static void teardown(void)
{
    arena_fini(&arena);
}

static const struct node *parse(struct str text)
{
    struct node *n = NULL;
    enum rc rc = json_parse(&arena, text, &n, &err);
    ck_assert_msg(rc == RC_OK, "%.*s: %s: %s", STR_ARG(text), rc_name(rc), err.text);
    return n;
}

static void refused(struct str text, enum rc want, const char *want_text)
{
    struct node *n = NULL;
    enum rc rc = json_parse(&arena, text, &n, &err);
    ck_assert_msg(rc == want, "%.*s: %s, not %s", STR_ARG(text), rc_name(rc), rc_name(want));
    ck_assert_msg(strstr(err.text, want_text), "%.*s: %s", STR_ARG(text), err.text);
    ck_assert_ptr_null(n);
}

START_TEST(all_kinds)
{
    const struct node *n = parse(STR(" {\n \"a\" : [ 1 , -2.50e+3 , true, false , null ] ,\r\n"
                                     "\t\"b\":{},\"c\":[],\"d\":{\"e\":\"f\"}}\n"));
    const struct node *a = node_get(n, "a"), *v = a->child;
    ck_assert_int_eq(n->kind, NODE_MAP);
    ck_assert_uint_eq(n->len, 4);
    ck_assert_uint_eq(a->len, 5);
    ck_assert_uint_eq(a->line, 2);
    ck_assert(v->kind == NODE_NUMBER && str_eqz(v->text, "1"));
    v = v->next;
    ck_assert(v->kind == NODE_NUMBER && str_eqz(v->text, "-2.50e+3"));
    v = v->next;
    ck_assert(v->kind == NODE_BOOL && str_eqz(v->text, "true"));
    v = v->next;
    ck_assert(v->kind == NODE_BOOL && str_eqz(v->text, "false"));
    ck_assert_int_eq(v->next->kind, NODE_NULL);
    ck_assert_ptr_eq(a->last, v->next);
    ck_assert_int_eq(node_get(n, "b")->kind, NODE_MAP);
    ck_assert_int_eq(node_get(n, "c")->kind, NODE_LIST);
    ck_assert(str_eqz(node_str(node_path(n, "d.e")), "f"));
    ck_assert_uint_eq(node_path(n, "d.e")->line, 3);
    ck_assert(str_eqz(parse(STR("\"alone\""))->text, "alone"));
    ck_assert(str_eqz(parse(STR("0"))->text, "0"));
}
END_TEST

START_TEST(strings)
{
    const struct node *n =
        parse(STR("\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e4\\u20AC\\ud83d\\uDE00\\u0000z\""));
    ck_assert(str_eq(n->text, STR("a\"\\/\b\f\n\r\tA\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\0z")));
    ck_assert(str_eq(parse(STR("\"\xc3\xa4\x7f\""))->text, STR("\xc3\xa4\x7f")));
    ck_assert(str_eqz(parse(STR("{\"\\u006bey\":1}"))->child->key, "key"));
    refused(STR("\"\\ud83d\""), RC_INVALID, "surrogate");
    refused(STR("\"\\ud83dx\\ude00\""), RC_INVALID, "surrogate");
    refused(STR("\"\\ud83d\\u0041\""), RC_INVALID, "surrogate");
    refused(STR("\"\\ude00\""), RC_INVALID, "surrogate");
    refused(STR("\"\\u12g4\""), RC_INVALID, "hexadecimal");
    refused(STR("\"\\u:234\""), RC_INVALID, "hexadecimal");
    refused(STR("\"\\u12"), RC_INVALID, "hexadecimal");
    refused(STR("\"\\x41\""), RC_INVALID, "escape");
    refused(STR("\"\\"), RC_INVALID, "ends inside");
    refused(STR("\"a"), RC_INVALID, "ends inside");
    refused(STR("\"a\nb\""), RC_INVALID, "control character");
    refused(STR("\"a\0b\""), RC_INVALID, "control character");
    refused(STR("\"\xff\""), RC_INVALID, "not UTF-8");
    refused(STR("\"\xed\xa0\x80\""), RC_INVALID, "not UTF-8");
}
END_TEST

START_TEST(what_is_not_json)
{
    static const char *const bad[] = {"",
                                      " ",
                                      "[",
                                      "{",
                                      "]",
                                      "[1,]",
                                      "[,1]",
                                      "[1 2]",
                                      "{,}",
                                      "{\"a\"}",
                                      "{a:1}",
                                      "{\"a\":}",
                                      "{\"a\":1,}",
                                      "[1}",
                                      "{\"a\":1]",
                                      "1 1",
                                      "nul",
                                      "nulll",
                                      "True",
                                      "01",
                                      "-",
                                      "1.",
                                      ".5",
                                      "1e",
                                      "+1",
                                      "0x1",
                                      "NaN",
                                      "'a'",
                                      "[1]]",
                                      "// c\n1",
                                      "\xef\xbb\xbf"
                                      "1",
                                      "{1:2}",
                                      "{\"a\" 1}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        refused(str_of(bad[i]), RC_INVALID, "line 1: ");
    refused(STR("{\"a\":1,\n\"b\":tru}"), RC_INVALID, "line 2: a value is missing");
    refused(STR("{\"a\":1,\n\"b\":2,\n\"\\u0061\":3}"), RC_EXISTS,
            "line 3: key \"a\" occurs twice");
    refused(STR("[{\"a\":[{\"b\":1,\"b\":1}]}]"), RC_EXISTS, "line 1: key \"b\"");
}
END_TEST

static void nested(struct strbuf *b, int depth)
{
    strbuf_reset(b);
    for (int i = 0; i < depth; i++)
        strbuf_addz(b, i % 2 ? "[" : "{\"a\":");
    strbuf_addz(b, "1");
    for (int i = depth; i-- > 0;)
        strbuf_addz(b, i % 2 ? "]" : "}");
}

START_TEST(limits)
{
    struct strbuf b AUTO_STRBUF;
    strbuf_init(&b, 16 << 20);
    nested(&b, 64);
    parse(strbuf_str(&b));
    nested(&b, 65);
    refused(strbuf_str(&b), RC_LIMIT, "nested deeper than 64");
    nested(&b, 1000000);
    refused(strbuf_str(&b), RC_LIMIT, "nested deeper than 64");
    strbuf_reset(&b);
    strbuf_addc(&b, '[');
    for (int i = 0; i < 1000000; i++)
        strbuf_addz(&b, "1,");
    strbuf_addz(&b, "1]");
    arena_fini(&arena);
    arena_init(&arena, 512 << 20);
    refused(strbuf_str(&b), RC_LIMIT, "more than 1000000 values");
    arena_fini(&arena);
    arena_init(&arena, 300);
    refused(STR("[1,2,3]"), RC_LIMIT, "too large");
    arena_reset(&arena);
    refused(
        STR("{\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\":1}"),
        RC_LIMIT, "too large");
}
END_TEST

TEST_MAIN_FIXTURE("json", setup, teardown, all_kinds, strings, what_is_not_json, limits)
