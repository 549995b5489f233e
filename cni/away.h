/* What the plug-in may do while no agent answers: the list of namespaces that the agent keeps for it in
 * STATE/namespaces. It survives reboots, when the plug-in is called before any agent runs.
 *
 * Namespaces that are excluded or not enrolled pass; enrolled ones, and those that are not in the list, are
 * refused: nothing that should be captured starts in plaintext. Pods of the system's own namespace pass,
 * or the agent itself could not come back. Any thread. */
#pragma once

#include "lib/base/str.h"

enum away_kind { AWAY_EXCLUDED, AWAY_OPEN, AWAY_ENROLLED };

void away_begin(struct strbuf *out);
void away_add(struct strbuf *out, enum away_kind k, struct str ns);
NODISCARD enum rc away_write(const char *state, struct str list, struct errmsg *ret_msg);

/* RC_OK: may pass, *ret_kind says why. RC_DENIED: may not; RC_NOT_FOUND, RC_INVALID …: there is no list that
 * could be read; ret_msg says so. */
NODISCARD enum rc away_ask(const char *state, struct str ns, const char *system_ns,
                           enum away_kind *ret_kind, struct errmsg *ret_msg);
