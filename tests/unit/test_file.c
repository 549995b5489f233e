#include <dirent.h>
#include <errno.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/mem.h"
#include "tests/helper/check.h"
#include "tests/helper/tmpfs.h"

static char dir[64];

static void setup(void)
{
    strcpy(dir, "/tmp/test_file_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

static char *at(const char *name)
{
    static char path[200];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static int entries(void)
{
    int n = 0;
    DIR *d = opendir(dir);
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

static void teardown(void)
{
    unlink(at("a"));
    ck_assert_int_eq(entries(), 0);
    ck_assert_int_eq(rmdir(dir), 0);
}

static void expect(const char *want)
{
    struct strbuf b AUTO_STRBUF;
    strbuf_init(&b, 100000);
    ck_assert_rc(file_read(at("a"), 100000, &b, NULL), RC_OK);
    ck_assert(str_eqz(strbuf_str(&b), want));
}

START_TEST(write_and_read_back)
{
    struct stat st;
    ck_assert_rc(file_create(at("a"), 0600, STR("one"), NULL), RC_OK);
    expect("one");
    ck_assert_int_eq(stat(at("a"), &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0600);
    ck_assert_rc(file_create(at("a"), 0600, STR("two"), NULL), RC_EXISTS);
    expect("one");
    ck_assert_rc(file_replace(at("a"), 0644, STR("three"), NULL), RC_OK);
    expect("three");
    ck_assert_int_eq(stat(at("a"), &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0644);
    ck_assert_int_eq(entries(), 1);
}
END_TEST

START_TEST(left_over_of_a_killed_run)
{
    ck_assert_int_eq(symlink("/nowhere/else", at(".a.tmp")), 0);
    ck_assert_rc(file_create(at("a"), 0600, STR("one"), NULL), RC_OK);
    expect("one");
    ck_assert_int_eq(entries(), 1);
}
END_TEST

START_TEST(read_limits)
{
    struct strbuf b AUTO_STRBUF;
    struct errmsg e;
    strbuf_init(&b, 100);
    ck_assert_rc(file_read(at("a"), 10, &b, &e), RC_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(e.text, at("a")));
    ck_assert_rc(file_read(dir, 10, &b, &e), RC_IO);
    ck_assert_rc(file_replace(at("a"), 0600, STR("0123456789"), NULL), RC_OK);
    ck_assert_rc(file_read(at("a"), 10, &b, &e), RC_OK);
    ck_assert_rc(file_read(at("a"), 9, &b, &e), RC_LIMIT);
    ck_assert_rc(file_replace("/nowhere/else/a", 0600, STR("x"), &e), RC_NOT_FOUND);
}
END_TEST

START_TEST(full_disk)
{
    if (!tmpfs_mount(dir, 16))
        return;
    char *big = mem_alloc(65536);
    memset(big, 'x', 65536);
    struct errmsg e;
    ck_assert_rc(file_create(at("a"), 0600, (struct str){big, 65536}, &e), RC_IO);
    ck_assert_ptr_nonnull(strstr(e.text, strerror(ENOSPC)));
    ck_assert_int_eq(entries(), 0);
    ck_assert_rc(file_create(at("a"), 0600, STR("old"), &e), RC_OK);
    ck_assert_rc(file_replace(at("a"), 0600, (struct str){big, 65536}, &e), RC_IO);
    expect("old");
    ck_assert_int_eq(entries(), 1);
    mem_free(big);
    ck_assert_int_eq(umount(dir), 0);
}
END_TEST

TEST_MAIN_FIXTURE("file", setup, teardown, write_and_read_back, left_over_of_a_killed_run,
                  read_limits, full_disk)
