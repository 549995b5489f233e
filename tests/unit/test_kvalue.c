#include "lib/kobj/ktable.h"
#include "tests/helper/check.h"

START_TEST(durations_of_go)
{
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {{"0", 0},
                {"0s", 0},
                {"5s", 5000},
                {"1m30s", 90000},
                {"1.5h", 5400000},
                {".5s", 500},
                {"2.s", 2000},
                {"100ms", 100},
                {"1500us", 2},
                {"1ns", 1},
                {"1\xc2\xb5s", 1},
                {"1h2m3.004s", 3723004},
                {"8784h", KDURATION_MAX_MS}};
    static const char *const bad[] = {
        "",       "5",  "s",   "-5s",   "+5s",      "5 s",  "5d",
        "1.2.3s", ".s", "5sx", "8785h", "8784h1ms", "1e3s", "99999999999999999999s",
        "0.5"};
    int64_t ms;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        ck_assert_msg(kduration_parse(str_of(good[i].text), &ms), "%s", good[i].text);
        ck_assert_msg(ms == good[i].ms, "%s: %lld", good[i].text, (long long)ms);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(!kduration_parse(str_of(bad[i]), &ms), "%s", bad[i]);
}
END_TEST

START_TEST(durations_of_the_gateway_api)
{
    static const char *const good[] = {"0s", "1h30m", "99999ms", "1h2m3s4ms", "5s5s"};
    static const char *const bad[] = {"", "0", "1.5s", "100000s", "1h1h1h1h1h", "5us", "5", "s"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        ck_assert_msg(!kcheck_gep_duration(str_of(good[i])), "%s", good[i]);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(kcheck_gep_duration(str_of(bad[i])) != NULL, "%s", bad[i]);
}
END_TEST

START_TEST(base64_both_ways)
{
    for (size_t n = 0; n < 200; n++) {
        char bytes[200], back[300];
        struct strbuf text AUTO_STRBUF;
        size_t got;
        strbuf_init(&text, 1000);
        for (size_t i = 0; i < n; i++)
            bytes[i] = (char)(i * 37 + n);
        kbase64_encode((struct str){bytes, n}, &text);
        ck_assert_uint_eq(text.n, (n + 2) / 3 * 4);
        ck_assert(kbase64_decode(strbuf_str(&text), back, &got));
        ck_assert_uint_eq(got, n);
        ck_assert_mem_eq(back, bytes, n);
    }
}
END_TEST

START_TEST(what_is_no_base64)
{
    static const char *const bad[] = {"A",    "AA",   "AAA",   "A===",     "AA=A",     "AAA\n",
                                      " AAA", "AA-_", "AAAA=", "AAA=AAAA", "AAAA\nAAA"};
    char back[100];
    size_t got;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(!kbase64_decode(str_of(bad[i]), back, &got), "%s", bad[i]);
}
END_TEST

TEST_MAIN("kvalue", durations_of_go, durations_of_the_gateway_api, base64_both_ways,
          what_is_no_base64)
