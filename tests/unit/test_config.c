#include "lib/base/mem.h"
#include "lib/config/config.h"
#include "tests/helper/check.h"

struct conf {
    const char *name, *admin;
    bool on;
    uint32_t workers;
    uint64_t big, window;
    uint16_t port;
    int64_t idle_ms;
    int format;
    struct config_list roots;
    const char *token;
};
static const char *const formats[] = {"plain", "json", NULL};
static const struct config_setting table[] = {
    {.name = "node-name",
     .type = CONFIG_STRING,
     .offset = offsetof(struct conf, name),
     .env = "MESH_TEST_NODE",
     .doc = "The node.",
     .required = true},
    {.name = "admin",
     .type = CONFIG_ADDRESS,
     .offset = offsetof(struct conf, admin),
     .text = "127.0.0.1:15000",
     .doc = "Where admin listens."},
    {.name = "on",
     .type = CONFIG_BOOL,
     .offset = offsetof(struct conf, on),
     .env = "MESH_TEST_ON",
     .doc = "Switch."},
    {.name = "workers",
     .type = CONFIG_U32,
     .offset = offsetof(struct conf, workers),
     .text = "2",
     .min = 1,
     .max = 64,
     .doc = "Threads."},
    {.name = "big", .type = CONFIG_U64, .offset = offsetof(struct conf, big), .doc = "Any."},
    {.name = "window",
     .type = CONFIG_BYTES,
     .offset = offsetof(struct conf, window),
     .text = "4MiB",
     .min = 65536,
     .doc = "Window."},
    {.name = "port",
     .type = CONFIG_PORT,
     .offset = offsetof(struct conf, port),
     .text = "15008",
     .doc = "Port."},
    {.name = "idle",
     .type = CONFIG_DURATION_MS,
     .offset = offsetof(struct conf, idle_ms),
     .text = "5m",
     .env = "MESH_TEST_IDLE|MESH_TEST_IDLE_OLD",
     .doc = "Idle time."},
    {.name = "log-format",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct conf, format),
     .text = "plain",
     .words = formats,
     .doc = "Form of the log.",
     .reloadable = true},
    {.name = "root",
     .type = CONFIG_LIST,
     .offset = offsetof(struct conf, roots),
     .text = "a,b",
     .unit = "FILE",
     .doc = "Roots."},
    {.name = "token",
     .type = CONFIG_STRING,
     .offset = offsetof(struct conf, token),
     .doc = "Token.",
     .secret = true},
    CONFIG_END,
};

static enum rc parse(struct conf *c, struct errmsg *e, int argc, const char *const argv[])
{
    memset(c, 0xaa, sizeof(*c)); /* nothing may depend on what was there */
    return config_parse(table, c, argc, argv, e);
}
#define PARSE(c, e, ...)                               \
    ({                                                 \
        const char *const argv_[] = {__VA_ARGS__};     \
        parse((c), (e), (int)ARRAY_LEN(argv_), argv_); \
    })

START_TEST(defaults)
{
    struct conf c;
    struct errmsg e;
    ck_assert_rc(PARSE(&c, &e, "--node-name", "n1"), RC_OK);
    ck_assert_str_eq(c.name, "n1");
    ck_assert_str_eq(c.admin, "127.0.0.1:15000");
    ck_assert(!c.on);
    ck_assert_uint_eq(c.workers, 2);
    ck_assert_uint_eq(c.big, 0);
    ck_assert_uint_eq(c.window, 4 << 20);
    ck_assert_uint_eq(c.port, 15008);
    ck_assert_int_eq(c.idle_ms, 300000);
    ck_assert_int_eq(c.format, 0);
    ck_assert_uint_eq(c.roots.n, 2);
    ck_assert_str_eq(c.roots.v[1], "b");
    ck_assert_ptr_null(c.token);
    config_fini(table, &c);
}
END_TEST

START_TEST(flags)
{
    struct conf c;
    struct errmsg e;
    ck_assert_rc(PARSE(&c, &e, "--node-name=a=b", "--admin=[::1]:80", "--on", "--workers", "64",
                       "--big=18446744073709551615", "--window", "1GiB", "--idle", "100ms",
                       "--log-format=json", "--root", "x", "--root=y, z", "--token=secret"),
                 RC_OK);
    ck_assert_str_eq(c.name, "a=b");
    ck_assert_str_eq(c.admin, "[::1]:80");
    ck_assert(c.on);
    ck_assert_uint_eq(c.workers, 64);
    ck_assert_uint_eq(c.big, UINT64_MAX);
    ck_assert_uint_eq(c.window, 1 << 30);
    ck_assert_int_eq(c.idle_ms, 100);
    ck_assert_int_eq(c.format, 1);
    ck_assert_uint_eq(c.roots.n, 3); /* the default is replaced, flags add up */
    ck_assert_str_eq(c.roots.v[2], "z");
    config_fini(table, &c);
    ck_assert_rc(PARSE(&c, &e, "--on", "false", "--node-name", "n", "--idle=7"), RC_OK);
    ck_assert(!c.on);
    ck_assert_int_eq(c.idle_ms, 7000);
    config_fini(table, &c);
}
END_TEST

START_TEST(errors_name_flag_and_remedy)
{
    static const struct {
        const char *arg, *want;
    } cases[] = {
        {"--wrokers=3", "--wrokers: there is no such flag, did you mean --workers?"},
        {"--zzzzzzzzzzzzzzzzz", "--zzzzzzzzzzzzzzzzz: there is no such flag; see --help"},
        {"--workers", "--workers: needs a value: --workers NUMBER"},
        {"--workers=0", "--workers: \"0\" is not a whole number of at least 1 and at most 64"},
        {"--workers=-1", "--workers: \"-1\" is not a whole number of at least 1 and at most 64"},
        {"--window=1KiB", "--window: \"1KiB\" is not a size like 65536, 64KiB, 4MiB or 1GiB of at "
                          "least 64KiB"},
        {"--window=99999999999GiB", "is not a size"},
        {"--port=65536", "--port: \"65536\" is not a port number"},
        {"--idle=5 minutes", "is not a duration like 100ms, 5s, 5m or 24h"},
        {"--idle=", "is not a duration"},
        {"--admin=localhost:80", "is not an address and port like 127.0.0.1:15000"},
        {"--admin=1.2.3.4", "is not an address"},
        {"--admin=1.2.3.4:", "is not an address"},
        {"--admin=::1:80", "is not an address"},
        {"--admin=[1.2.3.4]:80", "is not an address"},
        {"--log-format=jason", "is not one of plain|json, did you mean \"json\"?"},
        {"--on=yes", "--on: \"yes\" is not true or false"},
        {"word", "\"word\": no argument is expected here"},
        {"--", "no argument is expected here"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct conf c;
        struct errmsg e = {0};
        ck_assert_rc(PARSE(&c, &e, "--node-name=n", cases[i].arg), RC_INVALID);
        ck_assert_msg(strstr(e.text, cases[i].want), "%s", e.text);
    }
}
END_TEST

START_TEST(required)
{
    struct conf c;
    struct errmsg e = {0};
    ck_assert_rc(parse(&c, &e, 0, NULL), RC_INVALID);
    ck_assert_str_eq(e.text, "--node-name TEXT is missing: The node.");
}
END_TEST

START_TEST(environment)
{
    struct conf c;
    struct errmsg e = {0};
    setenv("MESH_TEST_NODE", "from-env", 1);
    setenv("MESH_TEST_ON", "true", 1);
    setenv("MESH_TEST_IDLE", "", 1); /* as if unset */
    setenv("MESH_TEST_IDLE_OLD", "24h", 1);
    ck_assert_rc(parse(&c, &e, 0, NULL), RC_OK);
    ck_assert_str_eq(c.name, "from-env");
    ck_assert(c.on);
    ck_assert_int_eq(c.idle_ms, 86400000);
    config_fini(table, &c);
    ck_assert_rc(PARSE(&c, &e, "--node-name=flag"), RC_OK);
    ck_assert_str_eq(c.name, "flag");
    config_fini(table, &c);
    setenv("MESH_TEST_ON", "1", 1);
    ck_assert_rc(parse(&c, &e, 0, NULL), RC_INVALID);
    ck_assert_str_eq(e.text, "environment variable MESH_TEST_ON: \"1\" is not true or false");
    unsetenv("MESH_TEST_NODE");
    unsetenv("MESH_TEST_ON");
    unsetenv("MESH_TEST_IDLE_OLD");
}
END_TEST

START_TEST(one_value_is_set_whole_or_not_at_all)
{
    struct conf c;
    struct errmsg e = {0};
    ck_assert_rc(PARSE(&c, &e, "--node-name=n"), RC_OK);
    ck_assert_rc(config_set(table, &c, "admin", STR("1.2.3.4:5"), &e), RC_OK);
    ck_assert_rc(config_set(table, &c, "admin", STR("no"), &e), RC_INVALID);
    ck_assert_str_eq(c.admin, "1.2.3.4:5");
    ck_assert_rc(config_set(table, &c, "adnim", STR("no"), &e), RC_INVALID);
    ck_assert_ptr_nonnull(strstr(e.text, "did you mean --admin?"));
    config_fini(table, &c);
}
END_TEST

START_TEST(dump_is_json_without_secrets)
{
    struct conf c;
    struct errmsg e = {0};
    ck_assert_rc(PARSE(&c, &e, "--node-name=a\"b", "--token=verysecret", "--idle=90s"), RC_OK);
    struct strbuf b AUTO_STRBUF;
    strbuf_init(&b, 10000);
    config_dump(table, &c, &b);
    ck_assert_str_eq(b.p, "{\n  \"node-name\": \"a\\\"b\",\n  \"admin\": \"127.0.0.1:15000\",\n"
                          "  \"on\": false,\n  \"workers\": 2,\n  \"big\": 0,\n"
                          "  \"window\": \"4MiB\",\n  \"port\": 15008,\n  \"idle\": \"90s\",\n"
                          "  \"log-format\": \"plain\",\n  \"root\": [\"a\",\"b\"],\n"
                          "  \"token\": \"(set)\"\n}");
    config_fini(table, &c);
}
END_TEST

START_TEST(help_and_reference_name_everything)
{
    struct strbuf help AUTO_STRBUF, md AUTO_STRBUF;
    strbuf_init(&help, 100000);
    strbuf_init(&md, 100000);
    config_help(table, "mesh test", "A test.", &help);
    config_markdown(table, &md);
    for (const struct config_setting *s = table; s->name; s++) {
        ck_assert_ptr_nonnull(strstr(help.p, s->name));
        ck_assert_ptr_nonnull(strstr(help.p, s->doc));
        ck_assert_ptr_nonnull(strstr(md.p, s->name));
    }
    ck_assert_ptr_nonnull(strstr(help.p, "Usage: mesh test "));
    ck_assert_ptr_nonnull(strstr(help.p, "  --workers NUMBER\n        Threads. From 1 to 64. "
                                         "Default: 2.\n"));
    ck_assert_ptr_nonnull(strstr(md.p, "| `--log-format` | plain\\|json | `plain` |  | Form of the "
                                       "log. Reloadable. |\n"));
    ck_assert_ptr_nonnull(strstr(md.p, "`MESH_TEST_IDLE`, `MESH_TEST_IDLE_OLD`"));
    const char *yes[] = {"--on", "--help"}, *no[] = {"--", "--help"};
    ck_assert(config_wants_help(2, yes));
    ck_assert(!config_wants_help(2, no));
}
END_TEST

TEST_MAIN("config", defaults, flags, errors_name_flag_and_remedy, required, environment,
          one_value_is_set_whole_or_not_at_all, dump_is_json_without_secrets,
          help_and_reference_name_everything)
