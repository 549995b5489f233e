/* Bearer tokens of file mode: who is calling.
 *
 * FOLDER/tokens/node/NODE may obtain the identities of that node's workloads,
 * FOLDER/tokens/workload/NS/SA that identity only. Each file (0600, folders 0700) holds 64 hex digits,
 * 256 random bits, and nothing else (Istio's ztunnel sends a file as it is). Made for what the source
 * names, removed with it. The file is the truth: one that is removed or changed no longer authenticates
 * anybody; the next tokens_commit() makes a new one, or takes what stands in the changed one. A file
 * that is there beforehand is adopted. Thread: main. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/mem.h"
#include "lib/base/rc.h"
#include "lib/base/str.h"

struct tokens;

#define TOKENS_MAX 100000 /* of both kinds together */

enum caller_kind { CALLER_NODE, CALLER_WORKLOAD };
struct caller {
    enum caller_kind kind;
    struct str node;   /* CALLER_NODE */
    struct str ns, sa; /* CALLER_WORKLOAD */
};

/* Reads what an earlier run left; nothing is removed before the first tokens_commit(). RC_IO. */
NODISCARD enum rc tokens_open(const char *folder, struct tokens **ret, struct errmsg *ret_msg);
void tokens_free(struct tokens *t); /* the files stay; NULL is legal */
DEFINE_AUTO(struct tokens *, tokens_free)

/* The whole set, each time it changes: tokens_begin(), every name once or more often, then
 * tokens_commit(), which makes what is missing and removes what was not named. Names that can't be a
 * file (empty, over 253 bytes, with '/' or a leading '.') are ignored. commit: the first failure;
 * everything else was done all the same, and the next commit tries again. */
void tokens_begin(struct tokens *t);
void tokens_want_node(struct tokens *t, struct str node);
void tokens_want_workload(struct tokens *t, struct str ns, struct str sa);
NODISCARD enum rc tokens_commit(struct tokens *t, struct errmsg *ret_msg);

/* The value of an authorization header. RC_UNAUTHENTICATED with the reason (never the token). The
 * texts in *ret are valid until the next tokens_commit(). */
NODISCARD enum rc tokens_authenticate(struct tokens *t, struct str authorization,
                                      struct caller *ret, struct errmsg *ret_msg);
