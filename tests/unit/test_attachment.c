#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cni/attachment.h"
#include "lib/base/file.h"
#include "lib/base/mem.h"
#include "tests/helper/check.h"
#include "tests/helper/tmpfs.h"

static char state[64];
static int seen, bad;
static struct attachment *last;

static void setup(void)
{
    strcpy(state, "/tmp/test_attachment_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(state));
    seen = bad = 0;
    last = NULL;
}

static char *at(const char *name)
{
    static char path[400];
    snprintf(path, sizeof(path), "%s/pods/%s", state, name);
    return path;
}

static int entries(void)
{
    int n = 0;
    DIR *d = opendir(at(""));
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

static void teardown(void)
{
    mem_free(last);
    DIR *d = opendir(at(""));
    for (struct dirent *e; d && (e = readdir(d));)
        unlink(at(e->d_name));
    if (d)
        closedir(d);
    rmdir(at(""));
    ck_assert_int_eq(rmdir(state), 0);
}

static struct addr ip(const char *s)
{
    struct addr a;
    ck_assert_rc(addr_parse_ip(str_of(s), &a), RC_OK);
    return a;
}

static struct attachment sample(void)
{
    return (struct attachment){
        .container = STR("c0ffee-1_2.3"),
        .ifname = STR("eth0"),
        .netns = STR("/var/run/netns/cni-\"quoted\"\\"),
        .id = {.dev = 4, .ino = (ino_t)0xfffffffffffffffe},
        .ns = STR("shop"),
        .name = STR("cart-0"),
        .uid = STR("6d6f7264-0000-4000-8000-000000000001"),
        .ips = {ip("10.1.2.3"), ip("fd00::1:2")},
        .n_ips = 2,
        .passed = true,
    };
}

static void expect_same(const struct attachment *a, const struct attachment *b)
{
    ck_assert(str_eq(a->container, b->container) && str_eq(a->ifname, b->ifname));
    ck_assert(str_eq(a->netns, b->netns) && str_eq(a->uid, b->uid));
    ck_assert(str_eq(a->ns, b->ns) && str_eq(a->name, b->name));
    ck_assert(a->id.dev == b->id.dev && a->id.ino == b->id.ino && a->passed == b->passed);
    ck_assert_uint_eq(a->n_ips, b->n_ips);
    for (size_t i = 0; i < a->n_ips; i++)
        ck_assert(addr_eq_ip(&a->ips[i], &b->ips[i]));
}

static enum rc parse(struct arena *arena, const char *text, struct attachment *ret,
                     struct errmsg *e)
{
    struct node *n;
    arena_init(arena, 1 << 20);
    ck_assert_rc(json_parse(arena, str_of(text), &n, e), RC_OK);
    return attachment_parse(n, ret, e);
}

START_TEST(written_and_read_it_is_the_same)
{
    struct arena arena AUTO_ARENA;
    struct strbuf b AUTO_STRBUF;
    struct attachment a = sample(), again;
    struct errmsg e = {""};
    strbuf_init(&b, ATTACHMENT_MAX);
    attachment_format(&a, &b);
    ck_assert_msg(parse(&arena, b.p, &again, &e) == RC_OK, "%s", e.text);
    expect_same(&a, &again);
    struct attachment *copy = attachment_dup(&again);
    arena_fini(&arena); /* the copy stands alone */
    expect_same(&a, copy);
    ck_assert(copy->container.p[copy->container.n] == '\0' && copy->uid.p[copy->uid.n] == '\0');
    mem_free(copy);
    arena_init(&arena, 1 << 20);
}
END_TEST

START_TEST(names_have_their_alphabets)
{
    char long_id[202], long_name[255];
    memset(long_id, 'a', sizeof(long_id));
    memset(long_name, 'a', sizeof(long_name));
    ck_assert(attachment_container_ok((struct str){long_id, 200}));
    ck_assert(!attachment_container_ok((struct str){long_id, 201}));
    ck_assert(attachment_container_ok(STR("A.b_c-9")));
    static const char *const bad_ids[] = {"",    ".",   "..",  "-a",      "_a",
                                          "a/b", "a b", "a\n", "\xc3\xa4"};
    for (size_t i = 0; i < ARRAY_LEN(bad_ids); i++)
        ck_assert_msg(!attachment_container_ok(str_of(bad_ids[i])), "%s", bad_ids[i]);
    ck_assert(!attachment_container_ok((struct str){"a\0b", 3}));
    ck_assert(attachment_ifname_ok(STR("eth0")) && attachment_ifname_ok(STR("a.b-c_d@e")));
    ck_assert(attachment_ifname_ok(STR("fifteen-bytes-1")));
    static const char *const bad_ifs[] = {
        "", ".", "..", "a/b", "a:b", "a b", "a\tb", "sixteen-bytes-12", "a\x7f", "\xff"};
    for (size_t i = 0; i < ARRAY_LEN(bad_ifs); i++)
        ck_assert_msg(!attachment_ifname_ok(str_of(bad_ifs[i])), "%s", bad_ifs[i]);
    ck_assert(attachment_pod_name_ok((struct str){long_name, 253}));
    ck_assert(!attachment_pod_name_ok((struct str){long_name, 254}));
    ck_assert(!attachment_pod_name_ok(STR("")) && !attachment_pod_name_ok(STR("../etc")));
    ck_assert(!attachment_pod_name_ok(STR("a\nb")) && !attachment_pod_name_ok(STR("a b")));
}
END_TEST

START_TEST(what_is_wrong_is_named)
{
    static const struct {
        const char *text, *why;
        enum rc rc;
    } rows[] = {
        {"[]", "attachment: not a map", RC_INVALID},
        {"{}", "container: not a container id", RC_INVALID},
        {"{\"container\":7,\"interface\":\"e\"}", "container: not a container id", RC_INVALID},
        {"{\"container\":\"../x\",\"interface\":\"e\"}", "container: not a container id",
         RC_INVALID},
        {"{\"container\":\"a\"}", "interface: not an interface's name", RC_INVALID},
        {"{\"container\":\"a\",\"interface\":\"a/b\"}", "interface: not an interface's name",
         RC_INVALID},
        {"{\"container\":\"a\",\"interface\":\"e\",\"namespace\":\"a/b\"}", "namespace: not a name",
         RC_INVALID},
        {"{\"container\":\"a\",\"interface\":\"e\",\"name\":\"a b\"}", "name: not a name",
         RC_INVALID},
        {"{\"container\":\"a\",\"interface\":\"e\",\"uid\":\"..\"}", "uid: not a uid", RC_INVALID},
        {"{\"container\":\"a\",\"interface\":\"e\",\"ips\":[\"10.0.0.300\"]}",
         "ips: not an IP address", RC_INVALID},
        {"{\"container\":\"a\",\"interface\":\"e\",\"ips\":[1]}", "ips: not an IP address",
         RC_INVALID},
        {"{\"container\":\"a\",\"interface\":\"e\",\"ips\":[\"::\",\"::\",\"::\",\"::\",\"::\",\"::"
         "\","
         "\"::\",\"::\",\"::\",\"::\",\"::\",\"::\",\"::\",\"::\",\"::\",\"::\",\"::\"]}",
         "ips: more than 16", RC_LIMIT},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena arena AUTO_ARENA;
        struct errmsg e = {""};
        struct attachment a;
        ck_assert_rc(parse(&arena, rows[i].text, &a, &e), rows[i].rc);
        ck_assert_str_eq(e.text, rows[i].why);
    }
    struct arena arena AUTO_ARENA;
    struct attachment a;
    ck_assert_rc(parse(&arena,
                       "{\"container\":\"a\",\"interface\":\"e\",\"inode\":-1,\"passed\":1,"
                       "\"later\":{\"x\":[]}}",
                       &a, NULL),
                 RC_OK);
    ck_assert(a.id.ino == 0 && !a.passed && a.n_ips == 0 && a.netns.n == 0);
    ck_assert_rc(attachment_parse(NULL, &a, NULL), RC_INVALID);
}
END_TEST

static void on_each(void *owner, const struct attachment *a, const char *file)
{
    (void)owner;
    ck_assert_ptr_nonnull(file);
    seen++;
    if (!a) {
        bad++;
        return;
    }
    mem_free(last);
    last = attachment_dup(a);
}

static void each(void)
{
    seen = bad = 0;
    attachment_each(state, on_each, NULL);
}

START_TEST(kept_until_it_is_removed)
{
    struct attachment a = sample(), b = sample();
    struct stat st;
    b.ifname = STR("net1");
    each();
    ck_assert_int_eq(seen, 0); /* no folder yet */
    ck_assert_rc(attachment_save(state, &a, NULL), RC_OK);
    ck_assert_int_eq(stat(at("c0ffee-1_2.3@eth0"), &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0600);
    ck_assert_int_eq(stat(at(""), &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0700);
    each();
    ck_assert_int_eq(seen, 1);
    expect_same(&a, last);
    a.passed = false;
    ck_assert_rc(attachment_save(state, &a, NULL), RC_OK); /* replaced */
    ck_assert_rc(attachment_save(state, &b, NULL), RC_OK);
    each();
    ck_assert_int_eq(seen, 2);
    ck_assert_int_eq(entries(), 2 + 2);
    attachment_remove(state, b.container, b.ifname);
    attachment_remove(state, b.container, b.ifname);
    each();
    ck_assert_int_eq(seen, 1);
    expect_same(&a, last);
}
END_TEST

/* A killed writer leaves a temporary file; a disk that lies, half a file; a copy, another's name. */
START_TEST(what_is_no_attachment_is_removed_and_told)
{
    struct attachment a = sample();
    struct strbuf b AUTO_STRBUF;
    strbuf_init(&b, ATTACHMENT_MAX);
    attachment_format(&a, &b);
    ck_assert_rc(attachment_save(state, &a, NULL), RC_OK);
    ck_assert_rc(file_create(at("half@eth0"), 0600, (struct str){b.p, b.n / 2}, NULL), RC_OK);
    ck_assert_rc(file_create(at("empty@eth0"), 0600, STR(""), NULL), RC_OK);
    ck_assert_rc(file_create(at("other@eth0"), 0600, strbuf_str(&b), NULL), RC_OK);
    ck_assert_rc(file_create(at(".left@eth0"), 0600, (struct str){b.p, 5}, NULL), RC_OK);
    each();
    ck_assert_int_eq(seen, 4);
    ck_assert_int_eq(bad, 3);
    expect_same(&a, last);
    each();
    ck_assert_int_eq(seen, 1);
    ck_assert_int_eq(bad, 0);
}
END_TEST

START_TEST(a_killed_writers_file_is_in_nobodys_way)
{
    struct attachment a = sample();
    ck_assert_rc(attachment_save(state, &a, NULL), RC_OK);
    ck_assert_int_eq(symlink("/nowhere/else", at(".c0ffee-1_2.3@eth0")), 0);
    ck_assert_rc(attachment_save(state, &a, NULL), RC_OK);
    ck_assert_int_eq(access("/nowhere/else", F_OK), -1);
    each();
    ck_assert_int_eq(seen, 1);
    ck_assert_int_eq(bad, 0);
}
END_TEST

START_TEST(what_can_not_be_read_now_is_kept)
{
    struct attachment a = sample();
    struct rlimit old, few;
    ck_assert_rc(attachment_save(state, &a, NULL), RC_OK);
    int next = dup(0); /* the folder itself can be opened, no file in it */
    close(next);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
    few = old;
    few.rlim_cur = (rlim_t)next + 1;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    each();
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
    ck_assert_ptr_null(last);
    ck_assert_int_eq(bad, 1); /* told */
    each();
    ck_assert_int_eq(seen, 1);
    ck_assert_int_eq(bad, 0);
    expect_same(&a, last);
}
END_TEST

static int on_a_full_disk(void)
{
    struct attachment a = sample();
    struct errmsg e = {""};
    char block[4096];
    memset(block, 1, sizeof(block));
    if (!tmpfs_mount(state, 64))
        return 0; /* no right to mount: shows nothing */
    if (attachment_save(state, &a, NULL) != RC_OK)
        return 2;
    a.passed = false;
    int fd = open(at("../filler"), O_WRONLY | O_CREAT, 0600);
    while (write(fd, block, sizeof(block)) > 0)
        ;
    close(fd);
    if (attachment_save(state, &a, &e) != RC_IO || !strstr(e.text, "No space left"))
        return 3;
    each();
    if (seen != 1 || bad || !last->passed) /* as it was before */
        return 4;
    if (entries() != 3)
        return 5; /* nothing half */
    unlink(at("../filler"));
    return attachment_save(state, &a, NULL) == RC_OK ? 0 : 6;
}

START_TEST(a_full_disk_leaves_the_old_one)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(on_a_full_disk());
    int status = -1;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
}
END_TEST

TEST_MAIN_FIXTURE("attachment", setup, teardown, written_and_read_it_is_the_same,
                  names_have_their_alphabets, what_is_wrong_is_named, kept_until_it_is_removed,
                  what_is_no_attachment_is_removed_and_told,
                  a_killed_writers_file_is_in_nobodys_way, what_can_not_be_read_now_is_kept,
                  a_full_disk_leaves_the_old_one)
