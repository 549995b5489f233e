#include <stdio.h>

#include "lib/codec/node.h"
#include "tests/helper/check.h"

static struct arena arena;
static struct errmsg err;
static unsigned line;

static void setup(void)
{
    arena_init(&arena, 64 << 20);
    err.text[0] = '\0';
    line = 0;
}

static void teardown(void)
{
    arena_fini(&arena);
}

static const struct node *parse(const char *text)
{
    struct node *n = NULL;
    enum rc rc = yaml_parse(&arena, str_of(text), &n, &line, &err);
    ck_assert_msg(rc == RC_OK, "%s: %s", rc_name(rc), err.text);
    return n;
}

static void refused(const char *text, enum rc want, unsigned want_line, const char *want_text)
{
    struct node *n = NULL;
    line = 0;
    ck_assert_rc(yaml_parse(&arena, str_of(text), &n, &line, &err), want);
    ck_assert_msg(line == want_line, "%s: line %u, not %u", text, line, want_line);
    ck_assert_msg(strstr(err.text, want_text), "%s: %s", text, err.text);
}

START_TEST(a_stream_of_documents)
{
    const struct node *n = parse("# head\n"
                                 "---\n"
                                 "kind: Pod\n"
                                 "metadata:\n"
                                 "  name: cart-0\n"
                                 "  labels: {app: cart, tier: \"1\"}\n"
                                 "spec:\n"
                                 "  ports:\n"
                                 "  - 80\n"
                                 "  - 8080\n"
                                 "---\n"
                                 "# nothing\n"
                                 "---\n"
                                 "kind: Service\n"
                                 "...\n");
    ck_assert_uint_eq(n->line, 3);
    ck_assert(str_eqz(node_str(node_path(n, "metadata.name")), "cart-0"));
    ck_assert_uint_eq(node_path(n, "metadata.name")->line, 5);
    ck_assert_uint_eq(node_path(n, "metadata.labels")->len, 2);
    ck_assert(str_eqz(node_path(n, "metadata.labels.tier")->text, "1"));
    ck_assert_int_eq(node_path(n, "metadata.labels.tier")->kind, NODE_STRING);
    ck_assert(node_path(n, "metadata.labels.tier")->quoted);
    const struct node *ports = node_path(n, "spec.ports");
    ck_assert_int_eq(ports->kind, NODE_LIST);
    ck_assert(str_eqz(ports->child->text, "80") && str_eqz(ports->last->text, "8080"));
    ck_assert_uint_eq(ports->last->line, 10);
    ck_assert_ptr_nonnull(n->next);
    ck_assert(str_eqz(node_str(node_get(n->next, "kind")), "Service"));
    ck_assert_ptr_null(n->next->next);
    ck_assert_ptr_null(parse(""));
    ck_assert_ptr_null(parse("# only a comment\n---\n---\n"));
}
END_TEST

/* What Kubernetes' own parser makes of each. */
static const struct {
    const char *plain;
    enum node_kind kind;
    const char *text;
} scalars[] = {
    {"a", NODE_STRING, "a"},
    {"~", NODE_NULL, ""},
    {"null", NODE_NULL, ""},
    {"nUll", NODE_STRING, "nUll"},
    {"true", NODE_BOOL, "true"},
    {"True", NODE_BOOL, "true"},
    {"yes", NODE_BOOL, "true"},
    {"on", NODE_BOOL, "true"},
    {"y", NODE_BOOL, "true"},
    {"NO", NODE_BOOL, "false"},
    {"off", NODE_BOOL, "false"},
    {"n", NODE_BOOL, "false"},
    {"tRue", NODE_STRING, "tRue"},
    {"yES", NODE_STRING, "yES"},
    {"0", NODE_NUMBER, "0"},
    {"-0", NODE_NUMBER, "-0"},
    {"12", NODE_NUMBER, "12"},
    {"+12", NODE_NUMBER, "12"},
    {"-12", NODE_NUMBER, "-12"},
    {"1_000", NODE_NUMBER, "1000"},
    {"0x1F", NODE_NUMBER, "31"},
    {"-0x10", NODE_NUMBER, "-16"},
    {"0o17", NODE_NUMBER, "15"},
    {"017", NODE_NUMBER, "15"},
    {"0b101", NODE_NUMBER, "5"},
    {"089", NODE_NUMBER, "89"}, /* no octal digits: a decimal fraction without a fraction */
    {"00", NODE_NUMBER, "0"},
    {"0x", NODE_STRING, "0x"},
    {"0x1g", NODE_STRING, "0x1g"},
    {"0xffffffffffffffff", NODE_NUMBER, "18446744073709551615"},
    {"0x10000000000000000", NODE_STRING, "0x10000000000000000"},
    {"-0x8000000000000000", NODE_NUMBER, "-9223372036854775808"},
    {"-0x8000000000000001", NODE_STRING, "-0x8000000000000001"},
    {"123456789012345678901234567890", NODE_NUMBER, "123456789012345678901234567890"},
    {"1.50", NODE_NUMBER, "1.50"},
    {".5", NODE_NUMBER, "0.5"},
    {"+.5", NODE_NUMBER, "0.5"},
    {"-.5", NODE_NUMBER, "-0.5"},
    {"1.", NODE_NUMBER, "1"},
    {"001.5", NODE_NUMBER, "1.5"},
    {"1e3", NODE_NUMBER, "1e3"},
    {"1.e+3", NODE_NUMBER, "1e+3"},
    {"1e", NODE_STRING, "1e"},
    {"12e4567", NODE_STRING, "12e4567"},
    {".", NODE_STRING, "."},
    {"-", NODE_LIST, ""}, /* a list of one null */
    {"+", NODE_STRING, "+"},
    {"1.2.3", NODE_STRING, "1.2.3"},
    {"10.0.0.1", NODE_STRING, "10.0.0.1"},
    {"12:30:45", NODE_STRING, "12:30:45"},
    {"2026-01-31", NODE_STRING, "2026-01-31"},
    {"2026-01-31T12:00:00Z", NODE_STRING, "2026-01-31T12:00:00Z"},
    {"_1", NODE_STRING, "_1"},
    {"._5", NODE_STRING, "._5"},
    {"!!str 12", NODE_STRING, "12"},
    {"! 12", NODE_STRING, "12"},
    {"!!int 12", NODE_NUMBER, "12"},
    {"!!float 1.5", NODE_NUMBER, "1.5"},
    {"!!bool yes", NODE_BOOL, "true"},
    {"!!bool \"yes\"", NODE_BOOL, "true"},
    {"!!null ''", NODE_NULL, ""},
    {"\"yes\"", NODE_STRING, "yes"},
    {"'12'", NODE_STRING, "12"},
    {"\"\\x41\\u00e4\\U0001F600\"", NODE_STRING, "A\xc3\xa4\xf0\x9f\x98\x80"},
    {"|\n  two\n  lines\n", NODE_STRING, "two\nlines\n"},
    {">-\n  two\n  words\n", NODE_STRING, "two words"},
};

START_TEST(plain_scalars_mean_what_they_mean_to_kubernetes)
{
    for (size_t i = 0; i < sizeof(scalars) / sizeof(scalars[0]); i++) {
        char text[200];
        snprintf(text, sizeof(text), "v: %s\n", scalars[i].plain);
        if (scalars[i].kind == NODE_LIST)
            snprintf(text, sizeof(text), "v:\n %s\n", scalars[i].plain);
        const struct node *v = node_get(parse(text), "v");
        ck_assert_msg(v->kind == scalars[i].kind && str_eqz(v->text, scalars[i].text),
                      "%s became %s \"%.*s\"", scalars[i].plain, node_kind_name(v->kind),
                      STR_ARG(v->text));
    }
}
END_TEST

START_TEST(bare_keys_become_strings)
{
    const struct node *n = parse("on: 1\n8080: 2\n0x10: 3\n\"off\": 4\n");
    const struct node *c = n->child;
    ck_assert(str_eqz(c->key, "true"));
    ck_assert(str_eqz((c = c->next)->key, "8080"));
    ck_assert(str_eqz((c = c->next)->key, "16"));
    ck_assert(str_eqz((c = c->next)->key, "off"));
    refused("on: 1\nyes: 2\n", RC_EXISTS, 2, "\"true\" occurs twice");
}
END_TEST

START_TEST(what_is_refused_is_told_with_its_line)
{
    refused("a: 1\nb: 2\na: 3\n", RC_EXISTS, 3, "\"a\" occurs twice");
    refused("a: &x 1\n", RC_INVALID, 1, "anchors");
    refused("a: &x [1]\n", RC_INVALID, 1, "anchors");
    refused("a: &x {b: 1}\n", RC_INVALID, 1, "anchors");
    refused("b: 1\na: *x\n", RC_INVALID, 2, "aliases");
    refused("a: 1\n<<: {b: 1}\n", RC_INVALID, 2, "merge keys");
    refused("a: 1\n[1, 2]: 3\n", RC_INVALID, 2, "a key is a list or a map");
    refused("{a: 1}: 3\n", RC_INVALID, 1, "a key is a list or a map");
    refused("a: 1\n~: 2\n", RC_INVALID, 2, "a key is empty or null");
    refused("a: .inf\n", RC_INVALID, 1, "infinity");
    refused("a: 1\nb: !!binary aGk=\n", RC_INVALID, 2, "tags other than");
    refused("a: !!int x\n", RC_INVALID, 1, "not what its tag says");
    refused("a: !!set {x}\n", RC_INVALID, 1, "the tag is none");
    refused("a: [1\nb: 2\n", RC_INVALID, 2, "not YAML");
    refused("a: 1\n b: 2\n", RC_INVALID, 2, "not YAML");
    refused("a: 1\nb:\t\t- x\n\t- y\n", RC_INVALID, 2, "not YAML");
    refused("a: 1\nb: \xff\n", RC_INVALID, 2, "not UTF-8");
    refused("\xff\xfe"
            "a",
            RC_INVALID, 1, "not UTF-8");
    refused("a: 1\nb: x\x01y\n", RC_INVALID, 2, "control characters");
    refused("a: \"\\ud800\"\n", RC_INVALID, 1, "not YAML");
}
END_TEST

START_TEST(what_came_before_an_error_stays)
{
    struct node *n = NULL;
    ck_assert_rc(yaml_parse(&arena, STR("a: 1\n---\nb: 2\n---\nc: [\n"), &n, &line, &err),
                 RC_INVALID);
    ck_assert(str_eqz(n->child->key, "a"));
    ck_assert(str_eqz(n->next->child->key, "b"));
    ck_assert_ptr_null(n->next->next);
    ck_assert_rc(yaml_parse(&arena, STR("{"), &n, NULL, NULL), RC_INVALID);
    ck_assert_ptr_null(n);
}
END_TEST

START_TEST(limits)
{
    struct strbuf b AUTO_STRBUF;
    struct node *n;
    strbuf_init(&b, 16 << 20);
    for (int i = 0; i < 64; i++)
        strbuf_addc(&b, '[');
    for (int i = 0; i < 64; i++)
        strbuf_addc(&b, ']');
    ck_assert_rc(yaml_parse(&arena, strbuf_str(&b), &n, &line, &err), RC_OK);
    strbuf_reset(&b);
    for (int i = 0; i < 1 << 20; i++)
        strbuf_addc(&b, '[');
    refused(strbuf_str(&b).p, RC_LIMIT, 1, "nested deeper than 64");
    strbuf_reset(&b);
    strbuf_addz(&b, "- 1\n- ");
    for (int i = 0; i < 500000; i++)
        strbuf_addz(&b, "- ");
    refused(strbuf_str(&b).p, RC_LIMIT, 2, "nested deeper than 64");
    strbuf_reset(&b);
    for (int i = 0; i < 1000000; i++)
        strbuf_addz(&b, "- a\n");
    arena_fini(&arena);
    arena_init(&arena, 512 << 20);
    refused(strbuf_str(&b).p, RC_LIMIT, 1000000, "more than 1000000 values");
    arena_fini(&arena);
    arena_init(&arena, 1000);
    strbuf_reset(&b);
    strbuf_addz(&b, "- a\n- ");
    for (int i = 0; i < 2000; i++)
        strbuf_addc(&b, 'b');
    refused(strbuf_str(&b).p, RC_LIMIT, 2, "too large");
}
END_TEST

START_TEST(a_million_keys_are_checked_in_time)
{
    struct strbuf b AUTO_STRBUF;
    struct node *n;
    strbuf_init(&b, 16 << 20);
    for (int i = 0; i < 200000; i++)
        strbuf_printf(&b, "k%d: 1\n", i);
    ck_assert_rc(yaml_parse(&arena, strbuf_str(&b), &n, NULL, NULL), RC_OK);
    ck_assert_uint_eq(n->len, 200000);
    strbuf_addz(&b, "k77777: 2\n");
    refused(strbuf_str(&b).p, RC_EXISTS, 200001, "\"k77777\" occurs twice");
}
END_TEST

TEST_MAIN_FIXTURE("yaml", setup, teardown, a_stream_of_documents,
                  plain_scalars_mean_what_they_mean_to_kubernetes, bare_keys_become_strings,
                  what_is_refused_is_told_with_its_line, what_came_before_an_error_stays, limits,
                  a_million_keys_are_checked_in_time)
