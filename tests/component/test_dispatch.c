/* The command line from outside: each case in a child, with what it prints and its exit status. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/dispatch.h"
#include "cmd/roles.h"
#include "lib/base/mem.h"
#include "tests/helper/check.h"

struct ran {
    int status;
    char out[65536], err[8192];
};
static struct ran ran;

static void slurp(int fd, char *buf, size_t cap)
{
    ssize_t n = pread(fd, buf, cap - 1, 0);
    ck_assert_int_ge(n, 0);
    buf[n] = '\0';
    close(fd);
}

static void run_words(int argc, const char *const argv[])
{
    int out = memfd_create("out", 0), err = memfd_create("err", 0);
    ck_assert(out >= 0 && err >= 0);
    fflush(NULL);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        dup2(out, STDOUT_FILENO);
        dup2(err, STDERR_FILENO);
        int status = dispatch(argc, argv);
        fflush(NULL);
        _exit(status);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status));
    ran.status = WEXITSTATUS(status);
    slurp(out, ran.out, sizeof(ran.out));
    slurp(err, ran.err, sizeof(ran.err));
}
#define RUN(...)                                           \
    do {                                                   \
        const char *const argv_[] = {"mesh", __VA_ARGS__}; \
        run_words((int)ARRAY_LEN(argv_), argv_);           \
    } while (0)

START_TEST(versions_of_all_libraries)
{
    RUN("version");
    ck_assert_int_eq(ran.status, 0);
    static const char *const names[] = {"mesh ",    "OpenSSL 3.", "libevent 2.", "nghttp2 1.",
                                        "libyaml ", "jansson ",   "protobuf-c ", "c-ares "};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        ck_assert_ptr_nonnull(strstr(ran.out, names[i]));
}
END_TEST

START_TEST(help_names_every_role)
{
    RUN("help");
    ck_assert_int_eq(ran.status, 0);
    for (const struct role *const *r = roles; *r; r++)
        ck_assert_ptr_nonnull(strstr(ran.out, (*r)->name));
    ck_assert_ptr_null(strstr(ran.out, "waypoint")); /* not built: not offered */
}
END_TEST

START_TEST(wrong_words_exit_2)
{
    RUN("verison");
    ck_assert_int_eq(ran.status, 2);
    ck_assert_str_eq(ran.err,
                     "mesh: there is no role \"verison\", did you mean \"mesh version\"?\n");
    RUN("qqqqqqqqqqqqqq");
    ck_assert_int_eq(ran.status, 2);
    ck_assert_str_eq(ran.err, "mesh: there is no role \"qqqqqqqqqqqqqq\"; see mesh help\n");
    const char *const none[] = {"mesh"};
    run_words(1, none);
    ck_assert_int_eq(ran.status, 2);
    ck_assert_ptr_nonnull(strstr(ran.err, "Usage: mesh ROLE"));
}
END_TEST

START_TEST(every_role_has_help_and_refuses_unknown_flags)
{
    for (const struct role *const *r = roles; *r; r++) {
        struct str second, first = str_split(str_of((*r)->name), ' ', &second);
        char *a AUTO_FREE = str_dup(first), *b AUTO_FREE = str_dup(second);
        const char *argv[4] = {"mesh", a, b, "--no-such-flag-at-all"};
        int argc = second.n ? 4 : 3;
        if (argc == 3)
            argv[2] = argv[3];
        run_words(argc, argv);
        ck_assert_int_eq(ran.status, 2);
        ck_assert_ptr_nonnull(strstr(ran.err, "--no-such-flag-at-all: there is no such flag"));
        argv[argc - 1] = "--help";
        run_words(argc, argv);
        ck_assert_int_eq(ran.status, 0);
        for (const struct config_setting *s = (*r)->settings; s->name; s++)
            ck_assert_ptr_nonnull(strstr(ran.out, s->name));
    }
}
END_TEST

START_TEST(reference_page)
{
    RUN("help", "--reference");
    ck_assert_int_eq(ran.status, 0);
    ck_assert_ptr_nonnull(strstr(ran.out, "| `RC_DENIED` | policy denied | `DENY` | 401 |\n"));
    for (const struct role *const *r = roles; *r; r++)
        ck_assert_ptr_nonnull(strstr(ran.out, (*r)->name));
}
END_TEST

TEST_MAIN("dispatch", versions_of_all_libraries, help_names_every_role, wrong_words_exit_2,
          every_role_has_help_and_refuses_unknown_flags, reference_page)
