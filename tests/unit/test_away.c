#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cni/away.h"
#include "lib/base/file.h"
#include "tests/helper/check.h"

static char state[64];

static char *list(void)
{
    static char path[100];
    snprintf(path, sizeof(path), "%s/namespaces", state);
    return path;
}

static void setup(void)
{
    strcpy(state, "/tmp/test_away_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(state));
}

static void teardown(void)
{
    unlink(list());
    ck_assert_int_eq(rmdir(state), 0);
}

static enum rc ask(const char *ns, enum away_kind *k, struct errmsg *e)
{
    *e = (struct errmsg){""};
    return away_ask(state, str_of(ns), "istio-system", k, e);
}

START_TEST(only_what_is_known_to_be_free_passes)
{
    struct strbuf b AUTO_STRBUF;
    struct errmsg e;
    struct stat st;
    enum away_kind k = AWAY_ENROLLED;
    strbuf_init(&b, 10000);
    away_begin(&b);
    away_add(&b, AWAY_ENROLLED, STR("shop"));
    away_add(&b, AWAY_OPEN, STR("default"));
    away_add(&b, AWAY_EXCLUDED, STR("kube-system"));
    ck_assert_rc(away_write(state, strbuf_str(&b), &e), RC_OK);
    ck_assert_int_eq(stat(list(), &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0600);
    ck_assert_rc(ask("default", &k, &e), RC_OK);
    ck_assert_int_eq(k, AWAY_OPEN);
    ck_assert_rc(ask("kube-system", &k, &e), RC_OK);
    ck_assert_int_eq(k, AWAY_EXCLUDED);
    ck_assert_rc(ask("shop", &k, &e), RC_DENIED);
    ck_assert_str_eq(e.text, "namespace shop is enrolled");
    static const char *const unknown[] = {"new", "defaul", "defaultt", "open", ""};
    for (int i = 0; i < 5; i++)
        ck_assert_rc(ask(unknown[i], &k, &e), RC_DENIED);
    ck_assert_rc(ask("new", &k, &e), RC_DENIED);
    ck_assert_str_eq(e.text, "namespace new was not known when an agent last ran");
}
END_TEST

START_TEST(the_agents_own_namespace_passes_without_a_list)
{
    struct errmsg e;
    enum away_kind k = AWAY_ENROLLED;
    ck_assert_rc(ask("istio-system", &k, &e), RC_OK);
    ck_assert_int_eq(k, AWAY_EXCLUDED);
    ck_assert_rc(ask("default", &k, &e), RC_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(e.text, "namespaces"));
}
END_TEST

START_TEST(a_broken_list_lets_nothing_pass)
{
    static const char *const broken[] = {"",
                                         "\n",
                                         "mesh-namespaces 2\nopen default\n",
                                         "open default\n",
                                         "mesh-namespaces 1\nfree default\n",
                                         "mesh-namespaces 1\nopendefault\n default\n",
                                         "mesh-namespaces 1\nopen  default\n",
                                         "mesh-namespaces 1\nopen default \n"};
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        struct errmsg e;
        enum away_kind k;
        ck_assert_rc(file_replace(list(), 0600, str_of(broken[i]), NULL), RC_OK);
        enum rc rc = ask("default", &k, &e);
        ck_assert_msg(rc == RC_INVALID || rc == RC_DENIED, "%zu: %s", i, rc_name(rc));
        ck_assert_ptr_nonnull(strstr(e.text, "namespace"));
    }
    struct errmsg e;
    enum away_kind k;
    ck_assert_rc(file_replace(list(), 0600, STR("garbage\n"), NULL), RC_OK);
    ck_assert_rc(ask("default", &k, &e), RC_INVALID);
    ck_assert_ptr_nonnull(strstr(e.text, "not a list of namespaces"));
}
END_TEST

START_TEST(lists_have_a_limit)
{
    struct strbuf b AUTO_STRBUF;
    struct errmsg e = {""};
    strbuf_init(&b, 16u << 20);
    away_begin(&b);
    while (b.n <= 8u << 20)
        away_add(&b, AWAY_OPEN, STR("a-namespace-with-quite-a-long-name-to-get-there-soon"));
    ck_assert_rc(away_write(state, strbuf_str(&b), &e), RC_LIMIT);
    ck_assert_int_eq(access(list(), F_OK), -1);
}
END_TEST

TEST_MAIN_FIXTURE("away", setup, teardown, only_what_is_known_to_be_free_passes,
                  the_agents_own_namespace_passes_without_a_list, a_broken_list_lets_nothing_pass,
                  lists_have_a_limit)
