/* From xDS resources to the next snapshot. Main thread.
 *
 * Calls change the state under construction; apply_commit() freezes it. Cost follows the change: a
 * commit copies the directories of touched maps and the touched shards. */
#pragma once

#include "proxy/state/state.h"

struct apply;
/* node: name of this node, whose workloads are local; empty: all are. */
struct apply *apply_new(struct str node);
void apply_free(struct apply *a);

/* One resource, its bytes as xDS carries them. A failure leaves the earlier version of the resource in
 * force; ret_msg names resource, field and reason. But a policy that can be read and is not understood
 * takes the place of its earlier version and refuses every connection it applies to. */
NODISCARD enum rc apply_address(struct apply *a, struct str name, struct str bytes,
                                struct errmsg *ret_msg);
NODISCARD enum rc apply_authorization(struct apply *a, struct str name, struct str bytes,
                                      struct errmsg *ret_msg);
/* Removal of an unknown name is harmless. */
void apply_remove_address(struct apply *a, struct str name);
void apply_remove_authorization(struct apply *a, struct str name);
/* ctx NULL: no certificate any more. */
void apply_cert(struct apply *a, struct identity *id, struct mtls_ctx *ctx);

bool apply_changed(const struct apply *a); /* since the last commit */
/* The caller's reference. */
struct proxy_state *apply_commit(struct apply *a);
/* What is being built, for looks on the main thread; dies with the next change. */
const struct proxy_state *apply_look(const struct apply *a);
/* Called for each workload of this node that appears or goes (an update is both). */
typedef void apply_local_fn(void *owner, struct workload *gone, struct workload *come);
void apply_on_local(struct apply *a, apply_local_fn *fn, void *owner);
