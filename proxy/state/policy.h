/* A layer-4 policy as xDS tells it: immutable, counted, ready to be matched. */
#pragma once

#include "lib/base/arena.h"
#include "lib/net/addr.h"
#include "lib/proto/authorization.pb-c.h"
#include "proxy/state/workload.h"

enum policy_scope { POLICY_GLOBAL, POLICY_NAMESPACE, POLICY_WORKLOAD };
enum text_match_kind { TEXT_EXACT, TEXT_PREFIX, TEXT_SUFFIX, TEXT_PRESENCE };

struct text_match {
    enum text_match_kind kind;
    struct str text;
};
struct sa_match {
    struct str ns, sa;
};
/* Fields are ANDed; within a field any positive value, and none of the negative ones. */
struct policy_match {
    struct text_match *namespaces, *not_namespaces, *principals, *not_principals;
    struct cidr *source_ips, *not_source_ips, *destination_ips, *not_destination_ips;
    uint16_t *ports, *not_ports;
    struct sa_match *sas, *not_sas;
    uint16_t n_namespaces, n_not_namespaces, n_principals, n_not_principals, n_source_ips,
        n_not_source_ips, n_destination_ips, n_not_destination_ips, n_ports, n_not_ports, n_sas,
        n_not_sas;
};
struct policy_clause {
    size_t n;
    struct policy_match *match; /* ORed; none: true */
};
struct policy_rule {
    size_t n;
    struct policy_clause *clause; /* ANDed; none: matches all */
};
struct policy {
    struct ref ref;
    struct arena arena; /* everything below */
    struct str key;     /* NAMESPACE/NAME */
    struct str ns, name;
    enum policy_scope scope;
    bool deny, dry_run;
    size_t n;
    struct policy_rule *rule; /* ORed; none: never matches */
};

struct policy *policy_ref(struct policy *p);
void policy_unref(struct policy *p);
/* Anything not understood is refused: unset matches, unparsable addresses, ports over 65535 (dropping
 * them would widen the rule). Unknown fields are the caller's to refuse, by pb_check(). */
NODISCARD enum rc policy_decode(const Istio__Security__Authorization *m, struct policy **ret,
                                struct errmsg *ret_msg);
