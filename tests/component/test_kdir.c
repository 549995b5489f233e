/* A folder of YAML as people and programs really treat it: edited, broken, moved, swapped, removed. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/kdir/kdir.h"
#include "lib/kobj/core.h"
#include "tests/helper/check.h"
#include "tests/helper/tmpfs.h"

static char dir[64];
static struct loop *loop;
static struct kdir *kdir;
static char events[20000];   /* "+Pod default/a -Pod default/b " */
static char problems[20000]; /* "a.yaml:3: text\n" */
static unsigned batches;

static const char *at(const char *name)
{
    static char path[4][300];
    static unsigned turn;
    char *p = path[turn++ % 4];
    snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
    return p;
}

static void note(char mark, const struct kobj *o)
{
    size_t n = strlen(events);
    snprintf(events + n, sizeof(events) - n, "%c%s %s%s%s ", mark, kobj_kind_name(o->kind),
             o->meta.ns.p, o->meta.ns.n ? "/" : "", o->meta.name.p);
}

static void on_set(void *owner, struct kobj *o)
{
    (void)owner;
    note('+', o);
}

static void on_delete(void *owner, struct kobj *o)
{
    (void)owner;
    note('-', o);
}

static void on_batch(void *owner)
{
    (void)owner;
    batches++;
}

static void add_problem(void *arg, const struct kdir_problem *p)
{
    char *to = arg;
    size_t n = strlen(to);
    snprintf(to + n, sizeof(problems) - n, "%s:%u: %s\n", p->file, p->line, p->text);
}

static void on_problem(void *owner, const struct kdir_problem *p)
{
    (void)owner;
    add_problem(problems, p);
}

static const struct kdir_ops ops = {on_set, on_delete, on_batch, on_problem};

static void start_with(uint32_t kinds)
{
    char folder[200], keep[200];
    snprintf(folder, sizeof(folder), "%s/src", dir);
    snprintf(keep, sizeof(keep), "%s/state/last-good", dir);
    struct kdir_opts o = {
        .folder = folder, .keep = keep, .kinds = kinds, .quiet_ms = 5, .absent_ms = 30};
    events[0] = problems[0] = '\0';
    batches = 0;
    kdir = kdir_open(loop, &o, &ops, NULL);
    while (!batches)
        loop_turn(loop, 50);
}

static void start(void)
{
    start_with(0);
}

static void stop(void)
{
    kdir_close(kdir);
    kdir = NULL;
}

static bool has(const char *in, const char *what)
{
    return strstr(in, what) != NULL;
}

/* Until the text appears, at most 10 s. */
static void wait_for(const char *in, const char *what)
{
    time_t end = time(NULL) + 10;
    while (!has(in, what) && time(NULL) < end)
        loop_turn(loop, 20);
    ck_assert_msg(has(in, what), "%s did not come; events: %s problems: %s", what, events,
                  problems);
}

static void put(const char *name, const char *text)
{
    struct errmsg e;
    ck_assert_msg(file_replace(at(name), 0644, str_of(text), &e) == RC_OK, "%s", e.text);
}

/* Writes in place, as cat > FILE does. */
static void write_in_place(const char *name, const char *text)
{
    FILE *f = fopen(at(name), "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    ck_assert_int_eq(fclose(f), 0);
}

/* What was going to happen has happened once another file's change is seen. */
static void settle(void)
{
    static unsigned n;
    char text[200], mark[40];
    n++;
    snprintf(text, sizeof(text), "apiVersion: v1\nkind: Node\nmetadata: {name: mark%u}\n", n);
    snprintf(mark, sizeof(mark), "+Node mark%u ", n);
    put("src/zz-mark.yaml", text);
    wait_for(events, mark);
}

#define NODE(name, label) \
    "apiVersion: v1\nkind: Node\nmetadata: {name: " name ", labels: {l: " label "}}\n"
#define SEP "---\n"

static void all_problems(char *to)
{
    to[0] = '\0';
    kdir_problems(kdir, add_problem, to);
}

static void remove_tree(const char *path)
{
    DIR *d = opendir(path);
    const struct dirent *e;
    while (d && (e = readdir(d))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        char *below AUTO_FREE = mem_printf("%s/%s", path, e->d_name);
        if (unlink(below) != 0)
            remove_tree(below);
    }
    if (d)
        closedir(d);
    rmdir(path);
}

static void setup(void)
{
    strcpy(dir, "/tmp/test_kdir_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    ck_assert_int_eq(mkdir(at("src"), 0755), 0);
    ck_assert_int_eq(mkdir(at("state"), 0755), 0);
    loop = loop_new();
}

static void teardown(void)
{
    stop();
    loop_free(loop);
    remove_tree(dir);
}

/* -- the ordinary -- */

START_TEST(an_empty_folder_is_a_batch)
{
    start();
    ck_assert_str_eq(events, "");
    ck_assert_str_eq(problems, "");
}
END_TEST

START_TEST(everything_is_read)
{
    ck_assert_int_eq(mkdir(at("src/sub"), 0755), 0);
    put("src/a.yaml", NODE("a1", "v1") SEP SEP "# nothing\n" SEP NODE("a2", "v1"));
    put("src/b.yml", "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, "
                     "metadata: {name: shop}}\n");
    put("src/c.json", "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"}}");
    put("src/sub/d.yaml", NODE("d", "v1"));
    put("src/.hidden.yaml", NODE("no", "v1"));
    put("src/notes.txt", NODE("no", "v1"));
    put("src/e.yaml", "apiVersion: v1\nkind: LimitRange\nmetadata: {name: s}\n");
    start();
    static const char *const want[] = {"+Node a1 ", "+Node a2 ", "+Namespace shop ",
                                       "+Pod default/p ", "+Node d "};
    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        ck_assert_msg(has(events, want[i]), "%s", events);
    ck_assert(!has(events, "no"));
    ck_assert_uint_eq(batches, 1);
    ck_assert_str_eq(problems, "e.yaml:1: LimitRange s: this kind is not yet used\n");
}
END_TEST

START_TEST(only_the_change_is_told)
{
    put("src/a.yaml", NODE("a", "v1") SEP NODE("b", "v1"));
    start();
    events[0] = '\0';
    write_in_place("src/a.yaml", NODE("a", "v1") SEP "# a comment\n" NODE("b", "v2"));
    wait_for(events, "+Node b ");
    ck_assert_str_eq(events, "+Node b ");
    settle();
    events[0] = '\0';
    write_in_place("src/a.yaml", NODE("b", "v2"));
    wait_for(events, "-Node a ");
    ck_assert_str_eq(events, "-Node a ");
    put("src/sub.yaml", NODE("c", "v2"));
    wait_for(events, "+Node c ");
    unlink(at("src/sub.yaml"));
    wait_for(events, "-Node c ");
}
END_TEST

START_TEST(only_the_kinds_asked_for)
{
    put("src/a.yaml",
        NODE("a", "v1") SEP "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n" SEP
                            "apiVersion: v1\nkind: LimitRange\nmetadata: {name: s}\n");
    start_with(1u << KOBJ_POD);
    ck_assert_str_eq(events, "+Pod default/p ");
    ck_assert_str_eq(problems, "");
}
END_TEST

START_TEST(new_folders_are_watched)
{
    start();
    ck_assert_int_eq(mkdir(at("src/new"), 0755), 0);
    settle();
    put("src/new/a.yaml", NODE("a", "v1"));
    wait_for(events, "+Node a ");
    write_in_place("src/new/a.yaml", NODE("a", "v2"));
    settle();
    ck_assert_int_eq(rename(at("src/new"), at("gone")), 0);
    wait_for(events, "-Node a ");
    remove_tree(at("gone"));
}
END_TEST

/* -- editors -- */

START_TEST(a_file_being_written_is_left_alone)
{
    put("src/a.yaml", NODE("a", "v1") SEP NODE("b", "v1"));
    start();
    events[0] = '\0';
    int fd = open(at("src/a.yaml"), O_WRONLY | O_TRUNC | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    settle();
    static const char first[] = NODE("a", "v1"), second[] = SEP NODE("b", "v2");
    ck_assert_int_eq(write(fd, first, sizeof(first) - 1), sizeof(first) - 1);
    settle();
    ck_assert(!has(events, "Node a "));
    ck_assert(!has(events, "Node b "));
    ck_assert_int_eq(write(fd, second, sizeof(second) - 1), sizeof(second) - 1);
    close(fd);
    wait_for(events, "+Node b ");
    ck_assert(!has(events, "-Node a ") && !has(events, "-Node b "));
}
END_TEST

START_TEST(a_file_that_goes_and_comes_back_at_once_was_never_gone)
{
    put("src/a.yaml", NODE("a", "v1") SEP NODE("b", "v1"));
    start();
    events[0] = '\0';
    ck_assert_int_eq(rename(at("src/a.yaml"), at("src/a.yaml~")), 0);
    write_in_place("src/a.yaml", NODE("a", "v2") SEP NODE("b", "v1"));
    wait_for(events, "+Node a ");
    settle();
    ck_assert(!has(events, "-Node a "));
    ck_assert(!has(events, "Node b "));
}
END_TEST

START_TEST(links_that_are_swapped)
{
    ck_assert_int_eq(mkdir(at("src/..v1"), 0755), 0);
    ck_assert_int_eq(mkdir(at("src/..v2"), 0755), 0);
    put("src/..v1/a.yaml", NODE("a", "v1"));
    put("src/..v2/a.yaml", NODE("a", "v2"));
    ck_assert_int_eq(symlink("..v1", at("src/..data")), 0);
    ck_assert_int_eq(symlink("..data/a.yaml", at("src/a.yaml")), 0);
    start();
    ck_assert_str_eq(events, "+Node a ");
    events[0] = '\0';
    ck_assert_int_eq(symlink("..v2", at("src/..tmp")), 0);
    ck_assert_int_eq(rename(at("src/..tmp"), at("src/..data")), 0);
    wait_for(events, "+Node a ");
    ck_assert_str_eq(events, "+Node a ");
}
END_TEST

/* -- broken content -- */

START_TEST(a_bad_document_leaves_the_last_good_state)
{
    put("src/a.yaml", NODE("a", "v1") SEP NODE("b", "v1"));
    start();
    events[0] = '\0';
    put("src/a.yaml", NODE("a", "v2") SEP NODE("b", "'-'"));
    wait_for(events, "+Node a ");
    ck_assert_str_eq(events, "+Node a ");
    ck_assert_str_eq(problems,
                     "a.yaml:7: Node b: metadata.labels.l: \"-\" must be letters, digits, '-', '_' "
                     "and '.', and start and end with a letter or digit\n");
    static char now[sizeof(problems)];
    all_problems(now);
    ck_assert_str_eq(now, problems);
    put("src/a.yaml", NODE("a", "v2") SEP NODE("b", "v3"));
    wait_for(events, "+Node b ");
    all_problems(now);
    ck_assert_str_eq(now, "");
}
END_TEST

START_TEST(what_is_no_yaml_keeps_everything)
{
    put("src/a.yaml", NODE("a", "v1") SEP NODE("b", "v1"));
    start();
    events[0] = '\0';
    put("src/a.yaml", "{{{ not yaml\n");
    wait_for(problems, "a.yaml:");
    settle();
    ck_assert(!has(events, "Node a"));
    ck_assert(!has(events, "Node b"));
    problems[0] = '\0';
    put("src/a.yaml", NODE("a", "\xff"));
    wait_for(problems, "a.yaml:");
    settle();
    ck_assert(!has(events, "Node a"));
    put("src/a.yaml", NODE("a", "v2") SEP "x: [\n"); /* whole up to there */
    wait_for(events, "+Node a ");
    settle();
    ck_assert(!has(events, "Node b"));
    put("src/a.yaml", NODE("a", "v2"));
    wait_for(events, "-Node b ");
}
END_TEST

START_TEST(a_document_without_a_name_might_be_any)
{
    put("src/a.yaml", NODE("a", "v1") SEP NODE("b", "v1"));
    start();
    events[0] = '\0';
    put("src/a.yaml", NODE("a", "v2") SEP "apiVersion: v1\nkind: Node\nmetadata: {nmae: b}\n");
    wait_for(events, "+Node a ");
    settle();
    ck_assert(!has(events, "Node b"));
    ck_assert(has(problems, "a.yaml:7: Node: metadata.name: is required"));
}
END_TEST

START_TEST(an_object_in_two_places)
{
    put("src/a.yaml", NODE("a", "first"));
    put("src/b.yaml", NODE("b", "v1") SEP NODE("a", "second") SEP NODE("b", "again"));
    start();
    ck_assert(has(problems, "b.yaml:5: Node a: is also in a.yaml:1, which comes first and is in "
                            "force\n"));
    ck_assert(has(problems, "b.yaml:9: Node b: is also in b.yaml:1, which comes first and is in "
                            "force\n"));
    events[0] = problems[0] = '\0';
    put("src/a.yaml", NODE("a", "'-'")); /* the first is broken, and stays the one that counts */
    wait_for(problems, "a.yaml:3: Node a:");
    settle();
    ck_assert(!has(events, "Node a "));
    unlink(at("src/a.yaml"));
    wait_for(events, "+Node a ");
    static char now[sizeof(problems)];
    all_problems(now);
    ck_assert_str_eq(now, "b.yaml:9: Node b: is also in b.yaml:1, which comes first and is in "
                          "force\n");
}
END_TEST

START_TEST(moved_and_broken)
{
    put("src/a.yaml", NODE("a", "v1"));
    start();
    events[0] = '\0';
    put("src/b.yaml", NODE("a", "'-'"));
    unlink(at("src/a.yaml"));
    wait_for(problems, "b.yaml:3: Node a:");
    settle();
    loop_turn(loop, 60);
    settle();
    ck_assert(!has(events, "Node a "));
    stop();
    start();
    ck_assert_msg(has(events, "+Node a "), "%s", events);
    unlink(at("src/b.yaml"));
    wait_for(events, "-Node a ");
}
END_TEST

/* -- restarts -- */

START_TEST(broken_over_a_restart)
{
    struct stat st;
    put("src/a.yaml", NODE("a", "v1") SEP NODE("b", "v1") SEP NODE("c", "v1"));
    put("src/sub.yaml", NODE("d", "v1"));
    start();
    ck_assert_int_eq(stat(at("state/last-good/a.yaml.json"), &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0600);
    ck_assert_int_eq(stat(at("state/last-good"), &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0700);
    stop();
    put("src/a.yaml", NODE("a", "'-'") SEP NODE("b", "v2"));
    put("src/sub.yaml", "]\n");
    start();
    ck_assert_msg(has(events, "+Node a "), "%s", events);
    ck_assert(has(events, "+Node b "));
    ck_assert(has(events, "+Node d "));
    ck_assert(!has(events, "Node c ")); /* removed by an otherwise readable file */
    ck_assert(has(problems, "a.yaml:3: Node a:"));
    stop();
    start(); /* and again: the copy is not forgotten while the file is broken */
    ck_assert(has(events, "+Node a "));
    ck_assert(has(events, "+Node d "));
}
END_TEST

START_TEST(removed_while_nobody_looked)
{
    put("src/a.yaml", NODE("a", "v1"));
    start();
    stop();
    unlink(at("src/a.yaml"));
    start();
    ck_assert_str_eq(events, "");
    ck_assert_int_ne(access(at("state/last-good/a.yaml.json"), F_OK), 0);
}
END_TEST

START_TEST(a_folder_that_is_not_there)
{
    put("src/a.yaml", NODE("a", "v1"));
    put("src/b.yaml", NODE("b", "v1"));
    start();
    stop();
    ck_assert_int_eq(rename(at("src"), at("away")), 0);
    start();
    ck_assert(has(events, "+Node a "));
    ck_assert(has(events, "+Node b "));
    ck_assert_msg(has(problems, "src: No such file or directory"), "%s", problems);
    events[0] = '\0';
    unlink(at("away/b.yaml"));
    ck_assert_int_eq(rename(at("away"), at("src")), 0);
    wait_for(events, "-Node b "); /* found by trying again */
    ck_assert_str_eq(events, "-Node b ");
    ck_assert_int_eq(rename(at("src"), at("away")), 0); /* and gone while running */
    problems[0] = '\0';
    wait_for(problems, "No such file");
    loop_turn(loop, 60);
    ck_assert_str_eq(events, "-Node b ");
    ck_assert_int_eq(rename(at("away"), at("src")), 0);
    put("src/a.yaml", NODE("a", "v2"));
    wait_for(events, "+Node a ");
}
END_TEST

START_TEST(a_full_disk_is_reported_and_got_over)
{
    ck_assert_int_eq(mkdir(at("state/last-good"), 0700), 0);
    if (!tmpfs_mount(at("state/last-good"), 8))
        return;
    static const char page[8192];
    (void)!file_create(at("state/last-good/fill"), 0600, (struct str){page, 8192}, NULL);
    (void)!file_create(at("state/last-good/fill2"), 0600, (struct str){page, 4096}, NULL);
    put("src/a.yaml", NODE("a", "v1"));
    start();
    ck_assert_str_eq(events, "+Node a ");
    wait_for(problems, "a.yaml:0: its last good state could not be kept");
    put("src/a.yaml", NODE("a", "v2"));
    problems[0] = '\0';
    settle();
    unlink(at("state/last-good/fill"));
    unlink(at("state/last-good/fill2"));
    time_t end = time(NULL) + 10;
    while (access(at("state/last-good/a.yaml.json"), F_OK) != 0 && time(NULL) < end)
        loop_turn(loop, 50);
    ck_assert_int_eq(access(at("state/last-good/a.yaml.json"), F_OK), 0);
    static char now[sizeof(problems)];
    all_problems(now);
    ck_assert_str_eq(now, "");
    stop();
    ck_assert_int_eq(umount(at("state/last-good")), 0);
}
END_TEST

START_TEST(too_large)
{
    put("src/a.yaml", NODE("a", "v1"));
    start();
    events[0] = '\0';
    FILE *f = fopen(at("src/a.yaml"), "a");
    ck_assert_ptr_nonnull(f);
    for (int i = 0; i < (16 << 10) + 1; i++)
        fprintf(f, "#%01022d\n", 0);
    ck_assert_int_eq(fclose(f), 0);
    wait_for(problems, "larger than 16777216 bytes");
    settle();
    ck_assert(!has(events, "Node a "));
    put("src/a.yaml", NODE("a", "v2"));
    wait_for(events, "+Node a ");
}
END_TEST

START_TEST(garbage_among_the_copies)
{
    put("src/a.yaml", NODE("a", "v1"));
    start();
    stop();
    put("state/last-good/a.yaml.json", "{\"file\":\"a.yaml\"}\nnot json\n{\"kind\":\"Node\"}\n");
    put("state/last-good/other.json", "\xff\xfe");
    put("src/a.yaml", "]");
    start();
    ck_assert_str_eq(events, "");
    put("src/a.yaml", NODE("a", "v1"));
    wait_for(events, "+Node a ");
}
END_TEST

TEST_MAIN_FIXTURE("kdir", setup, teardown, an_empty_folder_is_a_batch, everything_is_read,
                  only_the_change_is_told, only_the_kinds_asked_for, new_folders_are_watched,
                  a_file_being_written_is_left_alone,
                  a_file_that_goes_and_comes_back_at_once_was_never_gone, links_that_are_swapped,
                  a_bad_document_leaves_the_last_good_state, what_is_no_yaml_keeps_everything,
                  a_document_without_a_name_might_be_any, an_object_in_two_places, moved_and_broken,
                  broken_over_a_restart, removed_while_nobody_looked, a_folder_that_is_not_there,
                  a_full_disk_is_reported_and_got_over, too_large, garbage_among_the_copies)
