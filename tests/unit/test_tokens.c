#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/ca/tokens.h"
#include "lib/base/file.h"
#include "tests/helper/check.h"
#include "tests/helper/tmpfs.h"

static char dir[64];
static struct tokens *t;

static char *at(const char *name)
{
    static char path[400];
    snprintf(path, sizeof(path), "%s/tokens/%s", dir, name);
    return path;
}

static void setup(void)
{
    strcpy(dir, "/tmp/test_tokens_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    ck_assert_rc(tokens_open(dir, &t, NULL), RC_OK);
}

static void teardown(void) /* the empty set leaves nothing but the folders */
{
    tokens_begin(t);
    ck_assert_rc(tokens_commit(t, NULL), RC_OK);
    tokens_free(t);
    t = NULL;
    ck_assert_int_eq(rmdir(at("node")), 0);
    ck_assert_int_eq(rmdir(at("workload")), 0);
    ck_assert_int_eq(rmdir(at("")), 0);
    ck_assert_int_eq(rmdir(dir), 0);
}

/* "Bearer …" with what the file holds, in a static buffer. */
static struct str header(const char *name)
{
    static char text[300];
    struct strbuf b AUTO_STRBUF;
    strbuf_init(&b, 256);
    ck_assert_rc(file_read(at(name), 256, &b, NULL), RC_OK);
    struct str s = str_trim(strbuf_str(&b));
    ck_assert_uint_eq(s.n, 64);
    int n = snprintf(text, sizeof(text), "Bearer %.*s", STR_ARG(s));
    return (struct str){text, (size_t)n};
}

static void sync_two(void)
{
    tokens_begin(t);
    tokens_want_node(t, STR("node-1"));
    tokens_want_workload(t, STR("shop"), STR("web"));
    ck_assert_rc(tokens_commit(t, NULL), RC_OK);
}

START_TEST(made_and_recognised)
{
    struct stat st;
    struct caller c;
    struct errmsg e;
    sync_two();
    ck_assert_int_eq(stat(at("node/node-1"), &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0600);
    ck_assert_int_eq(stat(at(""), &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0700);
    ck_assert_rc(tokens_authenticate(t, header("node/node-1"), &c, &e), RC_OK);
    ck_assert_int_eq(c.kind, CALLER_NODE);
    ck_assert(str_eqz(c.node, "node-1"));
    ck_assert_rc(tokens_authenticate(t, header("workload/shop/web"), &c, &e), RC_OK);
    ck_assert_int_eq(c.kind, CALLER_WORKLOAD);
    ck_assert(str_eqz(c.ns, "shop"));
    ck_assert(str_eqz(c.sa, "web"));
}
END_TEST

START_TEST(strangers_are_refused)
{
    struct caller c;
    struct errmsg e;
    sync_two();
    static const char *const bad[] = {
        "",
        "Bearer ",
        "Bearer x",
        "bearer 0",
        "Basic Zm9vOmJhcg==",
        "Bearer 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_rc(tokens_authenticate(t, str_of(bad[i]), &c, &e), RC_UNAUTHENTICATED);
    struct str good = header("node/node-1");
    char cut[300];
    memcpy(cut, good.p, good.n);
    cut[good.n - 1] ^= 1;
    ck_assert_rc(tokens_authenticate(t, (struct str){cut, good.n}, &c, &e), RC_UNAUTHENTICATED);
    ck_assert_rc(tokens_authenticate(t, (struct str){good.p, good.n - 1}, &c, &e),
                 RC_UNAUTHENTICATED);
    ck_assert_ptr_null(strstr(e.text, good.p + 7)); /* never the token itself */
    ck_assert_rc(tokens_authenticate(t, good, &c, &e), RC_OK);
}
END_TEST

START_TEST(kept_over_a_restart)
{
    struct caller c;
    sync_two();
    char before[300];
    struct str h = header("workload/shop/web");
    memcpy(before, h.p, h.n);
    tokens_free(t);
    ck_assert_rc(tokens_open(dir, &t, NULL), RC_OK);
    ck_assert_rc(tokens_authenticate(t, (struct str){before, h.n}, &c, NULL), RC_OK);
    sync_two();
    ck_assert_rc(tokens_authenticate(t, (struct str){before, h.n}, &c, NULL), RC_OK);
    ck_assert(str_eqz(c.sa, "web"));
}
END_TEST

START_TEST(gone_with_its_node)
{
    struct caller c;
    sync_two();
    struct str h = header("node/node-1");
    tokens_begin(t);
    tokens_want_workload(t, STR("shop"), STR("web"));
    ck_assert_rc(tokens_commit(t, NULL), RC_OK);
    ck_assert_int_ne(access(at("node/node-1"), F_OK), 0);
    ck_assert_rc(tokens_authenticate(t, h, &c, NULL), RC_UNAUTHENTICATED);
    ck_assert_rc(tokens_authenticate(t, header("workload/shop/web"), &c, NULL), RC_OK);
    tokens_begin(t);
    ck_assert_rc(tokens_commit(t, NULL), RC_OK);
    ck_assert_int_ne(access(at("workload/shop"), F_OK), 0); /* the empty folder too */
}
END_TEST

START_TEST(the_file_is_the_truth)
{
    struct caller c;
    struct errmsg e;
    sync_two();
    char old[300];
    struct str h = header("node/node-1");
    memcpy(old, h.p, h.n);
    struct str was = {old, h.n};
    unlink(at("node/node-1"));
    ck_assert_rc(tokens_authenticate(t, was, &c, &e), RC_UNAUTHENTICATED);
    ck_assert_ptr_nonnull(strstr(e.text, "node/node-1"));
    sync_two();
    ck_assert_rc(tokens_authenticate(t, was, &c, &e), RC_UNAUTHENTICATED); /* stays dead */
    h = header("node/node-1");
    ck_assert(!str_eq(h, was));
    ck_assert_rc(tokens_authenticate(t, h, &c, &e), RC_OK);

    memcpy(old, h.p, h.n);
    struct str mine =
        STR("  fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210\r\n\n");
    ck_assert_rc(file_replace(at("node/node-1"), 0600, mine, NULL), RC_OK);
    ck_assert_rc(tokens_authenticate(t, was, &c, &e), RC_UNAUTHENTICATED);
    sync_two();
    h = header("node/node-1");
    ck_assert_int_eq(memcmp(h.p + 7, "fedcba98", 8), 0); /* the operator's is kept */
    ck_assert_rc(tokens_authenticate(t, h, &c, &e), RC_OK);
    ck_assert_rc(tokens_authenticate(t, was, &c, &e), RC_UNAUTHENTICATED);
}
END_TEST

/* As a node does that reads the file anew for each call: the old secret is never seen again. */
START_TEST(changes_are_noticed_without_a_call)
{
    struct caller c;
    char first[300];
    sync_two();
    struct str h = header("node/node-1");
    memcpy(first, h.p, h.n);
    struct str was = {first, h.n};
    sync_two();
    ck_assert(str_eq(header("node/node-1"), was)); /* nothing changed */
    unlink(at("node/node-1"));
    sync_two();
    h = header("node/node-1");
    ck_assert(!str_eq(h, was));
    ck_assert_rc(tokens_authenticate(t, h, &c, NULL), RC_OK);
    ck_assert_rc(tokens_authenticate(t, was, &c, NULL), RC_UNAUTHENTICATED);
    struct str mine = STR("fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210\n");
    ck_assert_rc(file_replace(at("node/node-1"), 0600, mine, NULL), RC_OK);
    ck_assert_rc(tokens_authenticate(t, header("node/node-1"), &c, NULL), RC_UNAUTHENTICATED);
    sync_two();
    ck_assert_rc(tokens_authenticate(t, header("node/node-1"), &c, NULL), RC_OK);
    ck_assert(str_eqz(c.node, "node-1"));
    char *junk AUTO_FREE = mem_alloc(5000);
    memset(junk, 'a', 5000);
    ck_assert_rc(file_replace(at("node/node-1"), 0600, (struct str){junk, 5000}, NULL), RC_OK);
    sync_two();
    ck_assert_rc(tokens_authenticate(t, header("node/node-1"), &c, NULL), RC_OK);
}
END_TEST

START_TEST(names_that_are_no_files)
{
    char longest[300];
    memset(longest, 'a', sizeof(longest));
    tokens_begin(t);
    tokens_want_node(t, STR(""));
    tokens_want_node(t, STR(".."));
    tokens_want_node(t, STR(".hidden"));
    tokens_want_node(t, STR("../../etc/passwd"));
    tokens_want_node(t, STR("a\0b"));
    tokens_want_node(t, (struct str){longest, 254});
    tokens_want_workload(t, STR("a/b"), STR("c"));
    tokens_want_workload(t, STR("a"), STR("b/c"));
    ck_assert_rc(tokens_commit(t, NULL), RC_OK);
    ck_assert_int_eq(rmdir(at("node")), 0);
    ck_assert_int_eq(mkdir(at("node"), 0700), 0);
    tokens_begin(t);
    tokens_want_node(t, (struct str){longest, 200});
    tokens_want_node(t, (struct str){longest, 200});
    ck_assert_rc(tokens_commit(t, NULL), RC_OK);
}
END_TEST

START_TEST(full_disk_then_room)
{
    struct caller c;
    struct errmsg e;
    if (!tmpfs_mount(at("node"), 4))
        return;
    char page[4096] = {0};
    ck_assert_rc(file_create(at("node/fill"), 0600, (struct str){page, sizeof(page)}, NULL), RC_OK);
    tokens_begin(t);
    tokens_want_node(t, STR("node-1"));
    tokens_want_workload(t, STR("shop"), STR("web"));
    ck_assert_rc(tokens_commit(t, &e), RC_IO);
    ck_assert_ptr_nonnull(strstr(e.text, "node-1"));
    ck_assert_int_ne(access(at("node/node-1"), F_OK), 0);
    ck_assert_rc(tokens_authenticate(t, header("workload/shop/web"), &c, &e), RC_OK);
    unlink(at("node/fill"));
    sync_two();
    ck_assert_rc(tokens_authenticate(t, header("node/node-1"), &c, &e), RC_OK);
    tokens_begin(t);
    ck_assert_rc(tokens_commit(t, NULL), RC_OK);
    ck_assert_int_eq(umount(at("node")), 0);
}
END_TEST

START_TEST(garbage_in_the_folder)
{
    tokens_free(t);
    ck_assert_rc(file_create(at("node/short"), 0600, STR("abc"), NULL), RC_OK);
    ck_assert_rc(file_create(at("workload/file"), 0600, STR("abc"), NULL), RC_OK);
    ck_assert_int_eq(mkdir(at("node/folder"), 0700), 0);
    ck_assert_rc(tokens_open(dir, &t, NULL), RC_OK);
    tokens_begin(t);
    tokens_want_node(t, STR("short")); /* overwritten by a good one */
    ck_assert_rc(tokens_commit(t, NULL), RC_OK);
    struct caller c;
    ck_assert_rc(tokens_authenticate(t, header("node/short"), &c, NULL), RC_OK);
    unlink(at("workload/file"));
    rmdir(at("node/folder"));
}
END_TEST

TEST_MAIN_FIXTURE("tokens", setup, teardown, made_and_recognised, strangers_are_refused,
                  kept_over_a_restart, gone_with_its_node, the_file_is_the_truth,
                  changes_are_noticed_without_a_call, names_that_are_no_files, full_disk_then_room,
                  garbage_in_the_folder)
