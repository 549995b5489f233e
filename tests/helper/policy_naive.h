/* Does a policy match? The description of the facts, word by word on the message itself: the twin of
 * proxy/core/authz.c. Only for messages that policy_decode() accepts. */
#pragma once

#include <string.h>

#include "lib/net/addr.h"
#include "lib/proto/authorization.pb-c.h"

struct view {
    const char *ns, *principal, *sa; /* NULL: no identity */
    struct addr src, dst;
};

static bool naive_text(const Istio__Security__StringMatch *m, const char *s)
{
    size_t n = strlen(s), k;
    switch (m->match_type_case) {
    case ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_EXACT: return strcmp(m->exact, s) == 0;
    case ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_PREFIX:
        return strncmp(s, m->prefix, strlen(m->prefix)) == 0;
    case ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_SUFFIX:
        k = strlen(m->suffix);
        return k <= n && strcmp(s + n - k, m->suffix) == 0;
    default: return n > 0;
    }
}

static bool naive_ip(const Istio__Security__Address *a, const struct addr *ip)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    const uint8_t *net = a->address.data;
    unsigned bits = a->length;
    size_t n = a->address.len;
    if (n == 16 && memcmp(net, mapped, 12) == 0)
        net += 12, n = 4, bits -= 96;
    if (n != addr_len(ip))
        return false;
    for (unsigned bit = 0; bit < bits; bit++)
        if (((net[bit / 8] ^ ip->ip[bit / 8]) >> (7 - bit % 8)) & 1)
            return false;
    return true;
}

/* any of the list fits */
#define ANY(list, test)                          \
    ({                                           \
        bool any_ = false;                       \
        for (size_t i = 0; i < m->n_##list; i++) \
            any_ = any_ || (test);               \
        any_;                                    \
    })
#define FIELD_HOLDS(list, test, not_test) \
    ((m->n_##list == 0 || ANY(list, test)) && !ANY(not_##list, not_test))

static bool naive_match(const Istio__Security__Match *m, const struct view *v)
{
    const char *ns = v->ns ? v->ns : "";
    if (m->n_namespaces + m->n_not_namespaces + m->n_principals + m->n_not_principals +
            m->n_source_ips + m->n_not_source_ips + m->n_destination_ips +
            m->n_not_destination_ips + m->n_destination_ports + m->n_not_destination_ports +
            m->n_service_accounts + m->n_not_service_accounts ==
        0)
        return false;
#define SA(x) \
    (v->ns && strcmp((x)->namespace_, v->ns) == 0 && strcmp((x)->serviceaccount, v->sa) == 0)
    return FIELD_HOLDS(namespaces, naive_text(m->namespaces[i], ns),
                       naive_text(m->not_namespaces[i], ns)) &&
           FIELD_HOLDS(principals, v->ns && naive_text(m->principals[i], v->principal),
                       v->ns && naive_text(m->not_principals[i], v->principal)) &&
           FIELD_HOLDS(source_ips, naive_ip(m->source_ips[i], &v->src),
                       naive_ip(m->not_source_ips[i], &v->src)) &&
           FIELD_HOLDS(destination_ips, naive_ip(m->destination_ips[i], &v->dst),
                       naive_ip(m->not_destination_ips[i], &v->dst)) &&
           FIELD_HOLDS(destination_ports, m->destination_ports[i] == v->dst.port,
                       m->not_destination_ports[i] == v->dst.port) &&
           FIELD_HOLDS(service_accounts, SA(m->service_accounts[i]),
                       SA(m->not_service_accounts[i]));
#undef SA
}

static bool naive_policy(const Istio__Security__Authorization *z, const struct view *v)
{
    for (size_t r = 0; r < z->n_rules; r++) {
        bool all = true;
        for (size_t c = 0; c < z->rules[r]->n_clauses; c++) {
            const Istio__Security__Clause *clause = z->rules[r]->clauses[c];
            bool any = clause->n_matches == 0;
            for (size_t k = 0; k < clause->n_matches; k++)
                any = any || naive_match(clause->matches[k], v);
            all = all && any;
        }
        if (all)
            return true;
    }
    return false;
}
