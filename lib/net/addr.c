#include "lib/net/addr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/hash.h"
#include "lib/base/mem.h"

static bool is_mapped(const uint8_t ip[16])
{
    static const uint8_t prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return memcmp(ip, prefix, 12) == 0;
}

enum rc addr_from_bytes(const void *p, size_t n, struct addr *ret)
{
    if (n != 4 && n != 16)
        return RC_INVALID;
    struct addr a = {.family = n == 4 ? AF_INET : AF_INET6};
    memcpy(a.ip, p, n);
    if (n == 16 && is_mapped(a.ip)) {
        memcpy(a.ip, a.ip + 12, 4);
        memset(a.ip + 4, 0, 12);
        a.family = AF_INET;
    }
    *ret = a;
    return RC_OK;
}

void addr_from_sockaddr(const struct sockaddr *sa, struct addr *ret)
{
    const struct sockaddr_in *in = (const void *)sa;
    const struct sockaddr_in6 *in6 = (const void *)sa;
    *ret = (struct addr){0};
    if (sa->sa_family == AF_INET) {
        (void)!addr_from_bytes(&in->sin_addr, 4, ret);
        ret->port = ntohs(in->sin_port);
    } else if (sa->sa_family == AF_INET6) {
        (void)!addr_from_bytes(&in6->sin6_addr, 16, ret);
        ret->port = ntohs(in6->sin6_port);
    }
}

socklen_t addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (a->family == AF_INET) {
        struct sockaddr_in *in = (void *)ret;
        in->sin_family = AF_INET;
        in->sin_port = htons(a->port);
        memcpy(&in->sin_addr, a->ip, 4);
        return sizeof(*in);
    }
    struct sockaddr_in6 *in6 = (void *)ret;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(a->port);
    memcpy(&in6->sin6_addr, a->ip, 16);
    return sizeof(*in6);
}

enum rc addr_parse_ip(struct str s, struct addr *ret)
{
    char text[INET6_ADDRSTRLEN];
    uint8_t ip[16];
    if (s.n == 0 || s.n >= sizeof(text))
        return RC_INVALID;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    if (strlen(text) != s.n)
        return RC_INVALID;
    if (str_find(s, ':') >= 0)
        return inet_pton(AF_INET6, text, ip) == 1 ? addr_from_bytes(ip, 16, ret) : RC_INVALID;
    return inet_pton(AF_INET, text, ip) == 1 ? addr_from_bytes(ip, 4, ret) : RC_INVALID;
}

enum rc addr_parse_port(struct str s, struct addr *ret)
{
    struct str ip, port;
    uint64_t v;
    if (s.n && s.p[0] == '[') {
        ip = str_split((struct str){s.p + 1, s.n - 1}, ']', &port);
        if (port.n == 0 || port.p[0] != ':' || str_find(ip, ':') < 0)
            return RC_INVALID;
        port = (struct str){port.p + 1, port.n - 1};
    } else {
        ip = str_split(s, ':', &port);
    }
    struct addr a;
    if (!str_to_u64(port, 65535, &v) || addr_parse_ip(ip, &a) != RC_OK)
        return RC_INVALID;
    a.port = (uint16_t)v;
    *ret = a;
    return RC_OK;
}

/* Own decimal writer: this runs for each line of the access log. */
static char *put_u(char *p, unsigned v)
{
    char d[10];
    size_t n = 0;
    do {
        d[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    while (n)
        *p++ = d[--n];
    return p;
}

size_t addr_format_ip(const struct addr *a, char *buf)
{
    char *p = buf;
    if (a->family == AF_INET) {
        for (int i = 0; i < 4; i++) {
            p = put_u(p, a->ip[i]);
            *p++ = '.';
        }
        p--;
    } else if (a->family == AF_INET6) {
        inet_ntop(AF_INET6, a->ip, buf, ADDR_TEXT);
        p += strlen(buf);
    }
    *p = '\0';
    return (size_t)(p - buf);
}

size_t addr_format(const struct addr *a, char *buf)
{
    if (a->port == 0 || a->family == 0)
        return addr_format_ip(a, buf);
    char *p = buf;
    if (a->family == AF_INET6)
        *p++ = '[';
    p += addr_format_ip(a, p);
    if (a->family == AF_INET6)
        *p++ = ']';
    *p++ = ':';
    p = put_u(p, a->port);
    *p = '\0';
    return (size_t)(p - buf);
}

bool addr_eq_ip(const struct addr *a, const struct addr *b)
{
    return a->family == b->family && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

bool addr_eq(const struct addr *a, const struct addr *b)
{
    return addr_eq_ip(a, b) && a->port == b->port;
}

uint64_t addr_hash_ip(const struct addr *a)
{
    return hash_bytes(a->ip, addr_len(a));
}

bool addr_is_loopback(const struct addr *a)
{
    static const uint8_t one[16] = {[15] = 1};
    return a->family == AF_INET ? a->ip[0] == 127
                                : a->family == AF_INET6 && memcmp(a->ip, one, 16) == 0;
}

bool addr_is_any(const struct addr *a)
{
    static const uint8_t zero[16];
    return memcmp(a->ip, zero, 16) == 0;
}

/* -- prefixes -- */

enum rc cidr_make(const struct addr *a, unsigned bits, struct cidr *ret)
{
    size_t len = addr_len(a);
    if (len == 0 || bits > len * 8)
        return RC_INVALID;
    struct cidr c = {.base = *a, .bits = (uint8_t)bits};
    c.base.port = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned keep = bits > i * 8 ? MIN(bits - (unsigned)i * 8, 8u) : 0;
        c.base.ip[i] &= (uint8_t)(0xff00u >> keep);
    }
    *ret = c;
    return RC_OK;
}

enum rc cidr_parse(struct str s, struct cidr *ret)
{
    struct str bits, ip = str_split(s, '/', &bits);
    struct addr a;
    uint64_t v;
    if (addr_parse_ip(ip, &a) != RC_OK)
        return RC_INVALID;
    if (ip.n == s.n)
        return cidr_make(&a, (unsigned)addr_len(&a) * 8, ret);
    if (!str_to_u64(bits, 128, &v))
        return RC_INVALID;
    return cidr_make(&a, (unsigned)v, ret);
}

bool cidr_has(const struct cidr *c, const struct addr *a)
{
    if (c->base.family != a->family)
        return false;
    size_t whole = c->bits / 8;
    if (memcmp(c->base.ip, a->ip, whole) != 0)
        return false;
    unsigned rest = c->bits % 8;
    return rest == 0 || ((c->base.ip[whole] ^ a->ip[whole]) & (0xff00u >> rest) & 0xff) == 0;
}
