/* libcheck with less ceremony: TEST_MAIN("suite", test, …) at the end of a test file. */
#pragma once

#include <stdlib.h>

#include <check.h>

#define TEST_MAIN(suite, ...) TEST_MAIN_FIXTURE(suite, NULL, NULL, __VA_ARGS__)

/* setup and teardown (void functions, or NULL) run around each test. */
#define TEST_MAIN_FIXTURE(suite, setup, teardown, ...)                \
    int main(void)                                                    \
    {                                                                 \
        const TTest *tests[] = {__VA_ARGS__};                         \
        Suite *s = suite_create(suite);                               \
        TCase *c = tcase_create(suite);                               \
        tcase_add_checked_fixture(c, setup, teardown);                \
        for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) \
            tcase_add_test(c, tests[i]);                              \
        suite_add_tcase(s, c);                                        \
        SRunner *r = srunner_create(s);                               \
        srunner_run_all(r, CK_ENV);                                   \
        int failed = srunner_ntests_failed(r);                        \
        srunner_free(r);                                              \
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;                  \
    }

#define ck_assert_rc(expr, want)                                                            \
    do {                                                                                    \
        enum rc rc_ = (expr);                                                               \
        ck_assert_msg(rc_ == (want), "%s: %s, not %s", #expr, rc_name(rc_), rc_name(want)); \
    } while (0)
