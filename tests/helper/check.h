/* libcheck with less ceremony: TEST_MAIN("suite", test, …) at the end of a test file. */
#pragma once

#include <stdlib.h>

#include <check.h>

#define TEST_MAIN(suite, ...) TEST_MAIN_FIXTURE(suite, NULL, NULL, __VA_ARGS__)

/* setup and teardown (void functions, or NULL) run around each test. */
#define TEST_MAIN_FIXTURE(suite, setup, teardown, ...)                  \
    int main(void)                                                      \
    {                                                                   \
        const TTest *tests_[] = {__VA_ARGS__};                          \
        Suite *suite_ = suite_create(suite);                            \
        TCase *case_ = tcase_create(suite);                             \
        tcase_add_checked_fixture(case_, setup, teardown);              \
        for (size_t i = 0; i < sizeof(tests_) / sizeof(tests_[0]); i++) \
            tcase_add_test(case_, tests_[i]);                           \
        suite_add_tcase(suite_, case_);                                 \
        SRunner *run_ = srunner_create(suite_);                         \
        srunner_run_all(run_, CK_ENV);                                  \
        int failed_ = srunner_ntests_failed(run_);                      \
        srunner_free(run_);                                             \
        return failed_ ? EXIT_FAILURE : EXIT_SUCCESS;                   \
    }

#define ck_assert_rc(expr, want)                                                            \
    do {                                                                                    \
        enum rc rc_ = (expr);                                                               \
        ck_assert_msg(rc_ == (want), "%s: %s, not %s", #expr, rc_name(rc_), rc_name(want)); \
    } while (0)
