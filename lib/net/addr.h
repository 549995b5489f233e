/* IP addresses (with or without port). The only form addresses have inside the program; IPv4-mapped
 * IPv6 is unmapped at the edge. Ports are in host order. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "lib/base/rc.h"
#include "lib/base/str.h"

struct addr {
    uint8_t family; /* AF_INET, AF_INET6, or 0 = none */
    uint8_t unused;
    uint16_t port; /* 0 = none */
    union {
        uint8_t ip[16]; /* network order; the first 4 for IPv4, rest zero */
        uint32_t word[4];
    };
};

#define ADDR_TEXT 56 /* "[ffff:…:255.255.255.255]:65535" with its NUL */

static inline size_t addr_len(const struct addr *a) /* 4, 16 or 0 */
{
    return a->family == AF_INET ? 4 : a->family == AF_INET6 ? 16 : 0;
}
/* 4 or 16 bytes, as protobuf carries them; others RC_INVALID. */
NODISCARD enum rc addr_from_bytes(const void *p, size_t n, struct addr *ret);
void addr_from_sockaddr(const struct sockaddr *sa, struct addr *ret); /* other families: none */
socklen_t addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *ret);
/* "1.2.3.4", "fd00::1"; no port, no zone, no leading zeros in IPv4. */
NODISCARD enum rc addr_parse_ip(struct str s, struct addr *ret);
/* "1.2.3.4:80", "[fd00::1]:80". */
NODISCARD enum rc addr_parse_port(struct str s, struct addr *ret);
/* With ":port" when port is not 0. Returns the length; buf has ADDR_TEXT bytes. */
size_t addr_format(const struct addr *a, char *buf);
size_t addr_format_ip(const struct addr *a, char *buf);      /* never the port */
bool addr_eq(const struct addr *a, const struct addr *b);    /* with port */
bool addr_eq_ip(const struct addr *a, const struct addr *b); /* without */
uint64_t addr_hash_ip(const struct addr *a);
bool addr_is_loopback(const struct addr *a);
bool addr_is_any(const struct addr *a);

struct cidr {
    struct addr base; /* host bits zero */
    uint8_t bits;
};
/* "10.0.0.0/8" or a bare address (all bits). Host bits are masked. */
NODISCARD enum rc cidr_parse(struct str s, struct cidr *ret);
NODISCARD enum rc cidr_make(const struct addr *a, unsigned bits, struct cidr *ret);
bool cidr_has(const struct cidr *c, const struct addr *a);
