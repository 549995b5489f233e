#include <string.h>

#include "lib/net/addr.h"
#include "tests/helper/check.h"

static const char *text(const char *s)
{
    static char buf[ADDR_TEXT];
    struct addr a;
    if (addr_parse_port(str_of(s), &a) != RC_OK && addr_parse_ip(str_of(s), &a) != RC_OK)
        return "refused";
    ck_assert_uint_eq(addr_format(&a, buf), strlen(buf));
    return buf;
}

START_TEST(parse_and_format)
{
    ck_assert_str_eq(text("10.1.2.3"), "10.1.2.3");
    ck_assert_str_eq(text("10.1.2.3:80"), "10.1.2.3:80");
    ck_assert_str_eq(text("[fd00::1]:65535"), "[fd00::1]:65535");
    ck_assert_str_eq(text("fd00:0:0::1"), "fd00::1");
    ck_assert_str_eq(text("::ffff:10.0.0.1"), "10.0.0.1"); /* mapped addresses are unmapped */
    ck_assert_str_eq(text("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255"),
                     "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    static const char *const bad[] = {
        "",          "10.1.2",       "10.1.2.3:",     "10.1.2.3:65536", "010.1.2.3",
        "10.1.2.3 ", "[10.1.2.3]:1", "[fd00::1]",     "fd00::1%eth0",   "::1:",
        "1.2.3.4.5", "[::1]80",      "10.1.2.3:80:1", "0x7f.0.0.1"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        ck_assert_msg(strcmp(text(bad[i]), "refused") == 0, "accepted '%s'", bad[i]);
}
END_TEST

static bool has(const char *cidr, const char *ip)
{
    struct cidr c;
    struct addr a;
    ck_assert_rc(cidr_parse(str_of(cidr), &c), RC_OK);
    ck_assert_rc(addr_parse_ip(str_of(ip), &a), RC_OK);
    return cidr_has(&c, &a);
}

START_TEST(prefixes)
{
    ck_assert(has("10.0.0.0/8", "10.255.0.1"));
    ck_assert(!has("10.0.0.0/8", "11.0.0.1"));
    ck_assert(has("10.1.2.130/25", "10.1.2.255"));
    ck_assert(!has("10.1.2.130/25", "10.1.2.127"));
    ck_assert(has("0.0.0.0/0", "255.1.1.1"));
    ck_assert(!has("0.0.0.0/0", "fd00::1"));
    ck_assert(has("fd00::/9", "fd7f::1"));
    ck_assert(!has("fd00::/9", "fd80::1"));
    ck_assert(has("1.2.3.4", "1.2.3.4"));
    ck_assert(!has("1.2.3.4", "1.2.3.5"));
    ck_assert(has("fd00::1/128", "fd00::1"));
    struct cidr c;
    static const char *const bad[] = {"10.0.0.0/33", "10.0.0.0/",   "/8",
                                      "fd00::/129",  "10.0.0.0/-1", "x/8"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        ck_assert_msg(cidr_parse(str_of(bad[i]), &c) == RC_INVALID, "accepted '%s'", bad[i]);
}
END_TEST

START_TEST(sockaddr_there_and_back)
{
    struct addr a, b;
    struct sockaddr_storage ss;
    ck_assert_rc(addr_parse_port(STR("[fd00::1]:443"), &a), RC_OK);
    ck_assert_uint_eq(addr_to_sockaddr(&a, &ss), sizeof(struct sockaddr_in6));
    addr_from_sockaddr((struct sockaddr *)&ss, &b);
    ck_assert(addr_eq(&a, &b));
    ck_assert(!addr_is_loopback(&a) && !addr_is_any(&a));
    ck_assert_rc(addr_parse_ip(STR("127.3.2.1"), &a), RC_OK);
    ck_assert(addr_is_loopback(&a));
    ck_assert_rc(addr_parse_ip(STR("::1"), &a), RC_OK);
    ck_assert(addr_is_loopback(&a));
    ck_assert_rc(addr_from_bytes("\1\2\3", 3, &a), RC_INVALID);
}
END_TEST

TEST_MAIN("addr", parse_and_format, prefixes, sockaddr_there_and_back)
