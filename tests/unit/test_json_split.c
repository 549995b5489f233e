#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/codec/json_split.h"
#include "tests/helper/check.h"

static struct strbuf seen;
static enum rc verdict;

static enum rc on_value(void *owner, struct str key, struct str text)
{
    ck_assert_ptr_eq(owner, &seen);
    strbuf_printf(&seen, "%.*s=%.*s|", STR_ARG(key), STR_ARG(text));
    return verdict;
}

static void setup(void)
{
    strbuf_init(&seen, 1 << 20);
    verdict = RC_OK;
}

static void teardown(void)
{
    strbuf_fini(&seen);
}

/* Fed in parts of that size; *ret_complete: nothing was missing at the end. */
static enum rc outcome(enum json_split_mode mode, const char *text, size_t part, size_t max,
                       bool *ret_complete, struct errmsg *ret_msg)
{
    struct json_split s;
    size_t n = strlen(text);
    enum rc rc = RC_OK;
    strbuf_reset(&seen);
    json_split_init(&s, mode, max, on_value, &seen);
    for (size_t at = 0; at < n && rc == RC_OK; at += part) {
        /* a block of its own, so that reading past it is seen */
        char *copy AUTO_FREE = mem_dup(text + at, MIN(part, n - at));
        rc = json_split_feed(&s, (struct str){copy, MIN(part, n - at)}, ret_msg);
    }
    *ret_complete = json_split_complete(&s);
    json_split_fini(&s);
    return rc;
}

static void gives(enum json_split_mode mode, const char *text, const char *expected, bool complete)
{
    for (size_t part = 1; part <= strlen(text); part++) {
        bool whole;
        struct errmsg e = {""};
        ck_assert_msg(outcome(mode, text, part, 1000, &whole, &e) == RC_OK, "%s", e.text);
        ck_assert_str_eq(seen.p ? seen.p : "", expected);
        ck_assert_int_eq(whole, complete);
    }
}

static void refuses(enum json_split_mode mode, const char *text, enum rc expected, const char *why)
{
    for (size_t part = 1; part <= strlen(text); part++) {
        bool whole;
        struct errmsg e = {""};
        ck_assert_rc(outcome(mode, text, part, 40, &whole, &e), expected);
        ck_assert_str_eq(e.text, why);
    }
}

START_TEST(events_of_a_watch)
{
    gives(JSON_SPLIT_VALUES,
          " {\"type\":\"ADDED\",\"object\":{\"a\":[1,{}]}}\n{}\n\n{\"b\":\"}\"} ",
          "={\"type\":\"ADDED\",\"object\":{\"a\":[1,{}]}}|={}|={\"b\":\"}\"}|", true);
    gives(JSON_SPLIT_VALUES, "{\"a\":\"\\\"}{\\\\\"}{\"b", "={\"a\":\"\\\"}{\\\\\"}|", false);
}
END_TEST

START_TEST(items_of_a_list)
{
    gives(
        JSON_SPLIT_ITEMS,
        "{\"kind\":\"PodList\", \"metadata\" : {\"resourceVersion\":\"7\"},\"n\":-1.5e3,\"items\": "
        "[ {\"a\":1},\"x,]\" ,[2,[3]],null,12 ] ,\"t\":true}\n",
        "kind=\"PodList\"|metadata={\"resourceVersion\":\"7\"}|n=-1.5e3|items={\"a\":1}|"
        "items=\"x,]\"|items=[2,[3]]|items=null|items=12|t=true|",
        true);
    gives(JSON_SPLIT_ITEMS, "{\"items\":[]}", "", true);
    gives(JSON_SPLIT_ITEMS, "{\"items\":null}", "items=null|", true);
    gives(JSON_SPLIT_ITEMS, "{}", "", true);
    gives(JSON_SPLIT_ITEMS, "{\"items\":[{\"a\":1},{\"b\"", "items={\"a\":1}|", false);
    gives(JSON_SPLIT_ITEMS, "{\"items\":[{\"a\":1}]", "items={\"a\":1}|", false);
}
END_TEST

START_TEST(what_has_another_form)
{
    const char *e = "no JSON of the expected form: unexpected character 0x";
    static const struct {
        enum json_split_mode mode;
        const char *text, *at;
    } cases[] = {
        {JSON_SPLIT_VALUES, "[", "5b"},
        {JSON_SPLIT_VALUES, "{} x", "78"},
        {JSON_SPLIT_VALUES, "{},{}", "2c"},
        {JSON_SPLIT_ITEMS, "\"a\"", "22"},
        {JSON_SPLIT_ITEMS, "{a", "61"},
        {JSON_SPLIT_ITEMS, "{\"a\" 1", "31"},
        {JSON_SPLIT_ITEMS, "{\"a\":}", "7d"},
        {JSON_SPLIT_ITEMS, "{\"a\":1 2", "32"},
        {JSON_SPLIT_ITEMS, "{\"a\":1,}", "7d"},
        {JSON_SPLIT_ITEMS, "{\"items\":[,", "2c"},
        {JSON_SPLIT_ITEMS, "{} {", "7b"},
        {JSON_SPLIT_ITEMS, "{\"items\":[1,]", "5d"},
        {JSON_SPLIT_ITEMS, "{\"items\":[}", "7d"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *why AUTO_FREE = mem_printf("%s%s", e, cases[i].at);
        refuses(cases[i].mode, cases[i].text, RC_INVALID, why);
    }
}
END_TEST

START_TEST(values_over_the_limit)
{
    const char *why = "a value is larger than 40 bytes";
    refuses(JSON_SPLIT_VALUES, "{\"a\":\"0123456789012345678901234567890123456789\"}", RC_LIMIT,
            why);
    refuses(JSON_SPLIT_ITEMS, "{\"items\":[\"0123456789012345678901234567890123456789\"]}",
            RC_LIMIT, why);
    refuses(JSON_SPLIT_ITEMS, "{\"a0123456789012345678901234567890123456789\":1}", RC_LIMIT, why);
}
END_TEST

START_TEST(who_takes_the_values_may_end_it)
{
    bool whole;
    verdict = RC_DENIED;
    ck_assert_rc(outcome(JSON_SPLIT_VALUES, "{}{}", 4, 40, &whole, NULL), RC_DENIED);
    ck_assert_str_eq(seen.p, "={}|");
}
END_TEST

TEST_MAIN_FIXTURE("json_split", setup, teardown, events_of_a_watch, items_of_a_list,
                  what_has_another_form, values_over_the_limit, who_takes_the_values_may_end_it)
