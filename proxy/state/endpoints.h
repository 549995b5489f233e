/* The workloads behind a service, arranged so that choosing needs no search: in groups, best first, as
 * seen from one place (`home`, where this node's pods are), and last those that may not be chosen.
 *
 * The workloads are borrowed: a snapshot holds them in its map by uid, and a workload never changes
 * without the endpoints of its services changing too. So a copy costs 8 bytes an endpoint.
 * Thread: edited by the main thread before its first publication, then read by all. */
#pragma once

#include "proxy/state/service.h"

/* Ranks of FAILOVER with 8 preferences, NETWORK first: 0 … 15; and one for the others. */
#define ENDPOINT_GROUPS_MAX (2 * SERVICE_PREFS + 1)

struct endpoints {
    struct ref ref;
    uint32_t n;
    struct atom *key;    /* of the service, counted */
    struct place *home;  /* counted; NULL: not arranged by place, the first group has all */
    uint64_t edition;    /* in which it was made: only that one may edit it */
    struct workload **w; /* n */
    uint32_t cap;
    uint32_t min_weight, max_weight; /* bounds of the capacities */
    struct balance_policy balance;
    uint8_t n_groups;
    uint32_t end[]; /* group g is w[end[g - 1]] … w[end[g] - 1]; the last group is never chosen */
};

struct endpoints *endpoints_new(struct atom *key, const struct balance_policy *b,
                                struct place *home, uint64_t edition);
struct endpoints *endpoints_copy(const struct endpoints *e, uint64_t edition);
/* The same workloads, arranged anew. */
struct endpoints *endpoints_arrange(const struct endpoints *e, const struct balance_policy *b,
                                    struct place *home, uint64_t edition);
struct endpoints *endpoints_ref(struct endpoints *e);
void endpoints_unref(struct endpoints *e); /* NULL is legal */
/* Is it arranged so already? */
bool endpoints_fits(const struct endpoints *e, const struct balance_policy *b,
                    const struct place *home);

void endpoints_add(struct endpoints *e, struct workload *w);
void endpoints_del(struct endpoints *e, const struct workload *w); /* must be in it */
void endpoints_swap(struct endpoints *e, const struct workload *old, struct workload *w);

/* How well does a workload at `there` fit a client at `here`? The higher the better; -1: not to be
 * chosen (STRICT). Counts the leading preferences that agree; when NETWORK is the first, the same
 * network outranks all others. */
int endpoints_rank(const struct balance_policy *b, const struct place *here,
                   const struct place *there);
