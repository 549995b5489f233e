/* A layer-4 policy as xDS tells it: immutable, counted, ready to be evaluated, in one allocation. */
#pragma once

#include "lib/base/ref.h"
#include "lib/net/addr.h"
#include "lib/proto/authorization.pb-c.h"

enum policy_scope { POLICY_GLOBAL, POLICY_NAMESPACE, POLICY_WORKLOAD };

enum policy_field {
    POLICY_NAMESPACES,
    POLICY_PRINCIPALS,
    POLICY_SOURCE_IPS,
    POLICY_DESTINATION_IPS,
    POLICY_DESTINATION_PORTS,
    POLICY_SERVICE_ACCOUNTS,
};
enum text_match_kind { TEXT_EXACT, TEXT_PREFIX, TEXT_SUFFIX, TEXT_PRESENCE };

struct text_match {
    enum text_match_kind kind;
    struct str text;
};
struct sa_match {
    struct str ns, sa;
};
/* One field of a match: true when one of the values fits, negate: when none does. */
struct policy_test {
    uint8_t field; /* enum policy_field */
    bool negate;
    uint16_t n;
    union {
        const struct text_match *text;
        const struct cidr *cidr;
        const uint16_t *port;
        const struct sa_match *sa;
    };
};
struct policy_match {
    size_t n;
    const struct policy_test *test; /* ANDed; none: never matches */
};
struct policy_clause {
    size_t n;
    const struct policy_match *match; /* ORed; none: true */
};
struct policy_rule {
    size_t n;
    const struct policy_clause *clause; /* ANDed; none: matches all */
};
struct policy {
    struct ref ref;
    enum policy_scope scope;
    bool deny, dry_run;
    bool unknown;    /* received but not understood: refuses every connection it applies to */
    uint64_t digest; /* of the message it was made of */
    size_t n;
    const struct policy_rule *rule; /* ORed; none: never matches */
    struct str key;                 /* NAMESPACE/NAME */
    struct str ns, name;            /* parts of key */
};

struct policy *policy_ref(struct policy *p);
void policy_unref(struct policy *p);
/* Anything not understood is refused (RC_INVALID), because dropping it would widen the policy: unset
 * matches, unparsable addresses, ports over 65535, extensions. RC_LIMIT. Unknown fields are the caller's
 * to refuse, by pb_check(). */
NODISCARD enum rc policy_decode(const Istio__Security__Authorization *m, struct policy **ret,
                                struct errmsg *ret_msg);
/* What stands for a policy that was not understood. */
struct policy *policy_unknown(struct str ns, struct str name, enum policy_scope scope);
