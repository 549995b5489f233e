#include <stdio.h>

#include "cni/plugin_in.h"
#include "cni/wire.h"
#include "lib/base/mem.h"
#include "tests/helper/check.h"

static struct arena arena;
static struct plugin_env env;
static struct plugin_in in;
static struct plugin_error err;

static void setup(void)
{
    arena_init(&arena, 16u << 20);
    env = (struct plugin_env){
        .command = "ADD",
        .container = "c1",
        .netns = "/run/netns/c1",
        .ifname = "eth0",
        .args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-0;"
                "K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=u-1",
        .path = "/opt/cni/bin",
    };
}

static void teardown(void)
{
    arena_fini(&arena);
}

static void again(void)
{
    teardown();
    setup();
}

static bool parse(const char *input)
{
    return plugin_in_parse(&arena, &env, str_of(input), &in, &err);
}

#define CONF(version, more) "{\"cniVersion\":\"" version "\",\"name\":\"net\"" more "}"

static void refused(const char *input, unsigned code, const char *why)
{
    ck_assert_msg(!parse(input), "accepted: %.100s", input);
    ck_assert_msg(err.code == code, "%.100s: code %u: %s", input, err.code, err.msg);
    ck_assert_msg(strstr(err.msg, why) != NULL, "%.100s: %s", input, err.msg);
}

#define PREV                                                                             \
    "{ \"cniVersion\": \"0.4.0\", \"x\" :[1.50, {\"a\":\"}\\\"]\"}], \"interfaces\":[]," \
    "\"ips\":[{\"version\":\"4\",\"address\":\"10.1.2.3/"                                \
    "24\",\"interface\":0},{\"address\":\"fd00::2/64\"}] }"

START_TEST(an_add_as_runtimes_send_it)
{
    static const char *const versions[] = {"0.3.1", "0.4.0", "1.0.0", "1.1.0"};
    for (int i = 0; i < 4; i++) {
        char text[1000];
        snprintf(text, sizeof(text),
                 "\n{\"prevResult\" :  " PREV
                 " ,\"name\":\"net\",\"cniVersion\":\"%s\",\"type\":\"mesh-cni\","
                 "\"capabilities\":{\"portMappings\":true},\"runtimeConfig\":{},\"ipam\":{},"
                 "\"args\":{\"prevResult\":1}}\n",
                 versions[i]);
        ck_assert_msg(parse(text), "%s: %s", versions[i], err.msg);
        ck_assert(in.verb == PLUGIN_ADD && str_eqz(in.version, versions[i]));
        ck_assert(in.has_prev && str_eqz(in.prev, PREV)); /* not one byte other */
        ck_assert(str_eqz(in.a.container, "c1") && str_eqz(in.a.ifname, "eth0"));
        ck_assert(str_eqz(in.a.netns, "/run/netns/c1") && !in.foreign_netns);
        ck_assert(str_eqz(in.a.ns, "shop") && str_eqz(in.a.name, "cart-0"));
        ck_assert(str_eqz(in.a.uid, "u-1"));
        ck_assert_uint_eq(in.a.n_ips, 2);
        char ip[ADDR_TEXT];
        addr_format_ip(&in.a.ips[0], ip);
        ck_assert_str_eq(ip, "10.1.2.3");
        addr_format_ip(&in.a.ips[1], ip);
        ck_assert_str_eq(ip, "fd00::2");
    }
}
END_TEST

START_TEST(what_may_be_absent)
{
    ck_assert(parse(CONF("1.0.0", "")));
    ck_assert(!in.has_prev && !in.has_valid && in.socket.n == 0 && in.state.n == 0);
    ck_assert(parse(CONF("1.0.0", ",\"prevResult\":null")));
    ck_assert(!in.has_prev);
    env.args = NULL;
    ck_assert(parse(CONF("1.0.0", "")));
    ck_assert(in.a.name.n == 0 && in.a.ns.n == 0);
    env.args = ";;A=;";
    ck_assert(parse(CONF("1.0.0", "")));
    env.path = NULL;
    ck_assert(parse(CONF("1.0.0", "")));
    env.command = "DEL";
    env.netns = NULL;
    ck_assert(parse(CONF("0.3.1", "")));
    ck_assert(in.verb == PLUGIN_DEL && in.a.netns.n == 0);
    env.netns_override = "TRUE";
    ck_assert(parse(CONF("0.3.1", "")) && in.foreign_netns);
    env.netns_override = "0";
    ck_assert(parse(CONF("0.3.1", "")) && !in.foreign_netns);
}
END_TEST

START_TEST(variables_that_are_missing_or_bad)
{
    const char *good = CONF("1.1.0", "");
    env.container = env.netns = env.ifname = "";
    refused(good, CNI_ENV, "[CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME] missing");
    env.command = "CHECK";
    refused(good, CNI_ENV, "[CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME] missing");
    env.command = "DEL";
    refused(good, CNI_ENV, "[CNI_CONTAINERID,CNI_IFNAME] missing");
    env.command = "GC";
    env.path = NULL;
    refused(good, CNI_ENV, "[CNI_PATH] missing");
    env.command = "add";
    refused(good, CNI_ENV, "unknown CNI_COMMAND: add");
    env.command = "DESTROY-AND-A-VERY-LONG-WORD-BEHIND-IT-THAT-GOES-ON-AND-ON-AND-ON";
    refused(good, CNI_ENV, "unknown CNI_COMMAND: DESTROY-");
    again();
    env.container = "../../etc/passwd";
    refused(good, CNI_ENV, "CNI_CONTAINERID");
    again();
    static const char *const ifs[] = {"a/b", "..", "a b", "a:b", "0123456789abcdef"};
    for (int i = 0; i < 5; i++) {
        env.ifname = ifs[i];
        refused(good, CNI_ENV, "CNI_IFNAME");
    }
    again();
    static const char *const args[] = {
        "K8S_POD_NAME",          "A=b=c",          "=", "K8S_POD_NAME=a=b", "K8S_POD_NAME=../a",
        "K8S_POD_NAMESPACE=a/b", "K8S_POD_UID=a b"};
    for (int i = 0; i < 7; i++) {
        env.args = args[i];
        if (i == 2) /* an empty key is a key */
            ck_assert(parse(good));
        else
            refused(good, CNI_ENV, "CNI_ARGS");
    }
}
END_TEST

START_TEST(verbs_and_versions)
{
    static const struct {
        const char *verb;
        bool ok[4]; /* 0.3.1 0.4.0 1.0.0 1.1.0 */
    } rows[] = {{"ADD", {true, true, true, true}},
                {"DEL", {true, true, true, true}},
                {"CHECK", {false, true, true, true}},
                {"STATUS", {false, false, false, true}},
                {"GC", {false, false, false, true}}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (int v = 0; plugin_versions[v]; v++) {
            char text[100];
            snprintf(text, sizeof(text), "{\"cniVersion\":\"%s\",\"name\":\"n\"}",
                     plugin_versions[v]);
            env.command = rows[i].verb;
            ck_assert_int_eq(parse(text), rows[i].ok[v]);
            ck_assert(str_eqz(in.version, plugin_versions[v]));
            if (!rows[i].ok[v]) {
                ck_assert_uint_eq(err.code, CNI_VERSION);
                ck_assert_ptr_nonnull(strstr(err.details, "plugin supports"));
            }
        }
    }
    env.command = "ADD";
    static const char *const old[] = {"0.1.0", "0.2.0", "0.3.0", "9.9.9", "1.1", ""};
    for (int i = 0; i < 6; i++) {
        char text[100];
        snprintf(text, sizeof(text), "{\"cniVersion\":\"%s\",\"name\":\"n\"}", old[i]);
        refused(text, CNI_VERSION, "incompatible CNI versions");
    }
    refused("{\"name\":\"n\"}", CNI_VERSION, "incompatible CNI versions");
    refused("{\"name\":\"n\",\"cniVersion\":\"1.0.0\\\"}\"}", CNI_VERSION, "incompatible");
    ck_assert(str_eqz(in.version, "1.1.0")); /* what answers can say */
}
END_TEST

START_TEST(version_can_always_be_answered)
{
    env = (struct plugin_env){.command = "VERSION"};
    static const char *const any[] = {
        "", "{", "null", "[]", "{\"cniVersion\":7}", "\xff", "{\"cniVersion\":\"\\\"\"}"};
    for (int i = 0; i < 7; i++) {
        ck_assert(parse(any[i]) && in.verb == PLUGIN_VERSION);
        ck_assert(str_eqz(in.version, "1.1.0"));
    }
    ck_assert(parse("{\"cniVersion\":\"0.4.0\"}") && str_eqz(in.version, "0.4.0"));
    env.command = NULL;
    ck_assert(parse("") && in.verb == PLUGIN_NONE);
    env.command = "";
    ck_assert(parse("") && in.verb == PLUGIN_NONE);
}
END_TEST

START_TEST(bad_configurations)
{
    static const char *const garbage[] = {"",
                                          "x",
                                          "{",
                                          "[]",
                                          "null",
                                          "7",
                                          "\"a\"",
                                          "{\"name\":\"a\",}",
                                          "{\"name\":\"\xff\"}",
                                          "{\"name\":\"a\",\"name\":\"b\"}",
                                          "{\"name\":\"n\"} x"};
    for (size_t i = 0; i < ARRAY_LEN(garbage); i++)
        refused(garbage[i], CNI_DECODE, "network configuration: ");
    refused("{\"cniVersion\":\"1.0.0\"}", CNI_CONFIG, "missing network name");
    refused("{\"cniVersion\":\"1.0.0\",\"name\":\"\"}", CNI_CONFIG, "missing network name");
    refused("{\"cniVersion\":\"1.0.0\",\"name\":\"a/b\"}", CNI_CONFIG, "network name");
    refused("{\"cniVersion\":\"1.0.0\",\"name\":7}", CNI_DECODE, "name: must be a text");
    refused("{\"cniVersion\":1.0,\"name\":\"n\"}", CNI_DECODE, "cniVersion: must be a text");
    refused(CONF("1.0.0", ",\"prevResult\":[]"), CNI_DECODE, "prevResult: must be a map");
    refused(CONF("1.0.0", ",\"prevResult\":{\"ips\":[{}]}"), CNI_DECODE, "prevResult: ips");
    refused(CONF("1.0.0", ",\"prevResult\":{\"ips\":[{\"address\":\"10.0.0.256/8\"}]}"), CNI_DECODE,
            "prevResult: ips");
    struct strbuf b AUTO_STRBUF;
    strbuf_init(&b, 100000);
    strbuf_addz(&b, "{\"cniVersion\":\"1.0.0\",\"name\":\"n\",\"prevResult\":{\"ips\":[");
    for (int i = 0; i < 17; i++)
        strbuf_printf(&b, "%s{\"address\":\"10.0.0.%d/8\"}", i ? "," : "", i);
    strbuf_addz(&b, "]}}");
    refused(b.p, CNI_DECODE, "over 16");
    strbuf_reset(&b);
    for (int i = 0; i < 50000; i++) /* deeper than anybody needs */
        strbuf_addc(&b, '[');
    refused(b.p, CNI_DECODE, "network configuration: ");
}
END_TEST

/* The same key for the parser, another text for whoever looks for the raw value: never answered with nothing. */
START_TEST(an_escaped_key_is_refused)
{
    refused("{\"cniVersion\":\"1.0.0\",\"name\":\"n\",\"prev\\u0052esult\":{\"ips\":[]}}",
            CNI_DECODE, "prevResult: its name is written with escapes");
}
END_TEST

START_TEST(raw_members)
{
    struct str json = STR("{\"a\":1,\"b\" : \"x\\\\\",\"c\":{\"d\":[{},\"}\"]} ,\"d\":\t[1, 2]\n,"
                          "\"e\":\"\\\"d\\\":7\",\"f\":null}");
    static const struct {
        const char *key, *want;
    } rows[] = {{"a", "1"},      {"b", "\"x\\\\\""},       {"c", "{\"d\":[{},\"}\"]}"},
                {"d", "[1, 2]"}, {"e", "\"\\\"d\\\":7\""}, {"f", "null"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        ck_assert_msg(str_eqz(plugin_raw_member(json, rows[i].key), rows[i].want), "%s",
                      rows[i].key);
    ck_assert_ptr_null(plugin_raw_member(json, "g").p);
    ck_assert_ptr_null(plugin_raw_member(STR("{}"), "a").p);
    ck_assert_ptr_null(plugin_raw_member(STR("{\"b\":\"a\"}"), "a").p);
}
END_TEST

START_TEST(gc_takes_a_list_or_nothing)
{
    env = (struct plugin_env){.command = "GC", .path = "/opt"};
    ck_assert(parse(CONF("1.1.0", "")) && !in.has_valid);
    ck_assert(parse(CONF("1.1.0", ",\"cni.dev/valid-attachments\":null")) && !in.has_valid);
    ck_assert(parse(CONF("1.1.0", ",\"cni.dev/valid-attachments\":[]")) && in.has_valid);
    ck_assert_uint_eq(in.valid->len, 0);
    ck_assert(parse(
        CONF("1.1.0", ",\"cni.dev/attachments\":[{\"containerID\":\"a\",\"ifname\":\"e\"}]")));
    ck_assert(in.has_valid && in.valid->len == 1);
    static const char *const bad[] = {
        CONF("1.1.0", ",\"cni.dev/valid-attachments\":{}"),
        CONF("1.1.0", ",\"cni.dev/valid-attachments\":[{}]"),
        CONF("1.1.0", ",\"cni.dev/valid-attachments\":[\"a\"]"),
        CONF("1.1.0",
             ",\"cni.dev/valid-attachments\":[{\"containerID\":\"a\",\"ifname\":\"e/f\"}]")};
    for (int i = 0; i < 4; i++)
        refused(bad[i], CNI_CONFIG, "cni.dev/valid-attachments");
}
END_TEST

TEST_MAIN_FIXTURE("plugin_in", setup, teardown, an_add_as_runtimes_send_it, what_may_be_absent,
                  variables_that_are_missing_or_bad, verbs_and_versions,
                  version_can_always_be_answered, bad_configurations, an_escaped_key_is_refused,
                  raw_members, gc_takes_a_list_or_nothing)
