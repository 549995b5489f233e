/* Whole small files: read with a limit, written so that a crash or a full disk leaves the old one or
 * the new one and never a half. Blocking; not for data paths. */
#pragma once

#include <stdbool.h>

#include "lib/base/rc.h"
#include "lib/base/str.h"

/* Appends the content to out. RC_NOT_FOUND, RC_LIMIT (over max bytes), RC_IO; ret_msg names the path. */
NODISCARD enum rc file_read(const char *path, size_t max, struct strbuf *out,
                            struct errmsg *ret_msg);

/* Writes ".NAME.tmp" in the same folder, syncs it, renames it, syncs the folder. One writer for a path
 * at a time. RC_IO: nothing changed, or (said in ret_msg) the folder could not be synced. */
NODISCARD enum rc file_replace(const char *path, unsigned mode, struct str bytes,
                               struct errmsg *ret_msg);
/* The same for a new file: RC_EXISTS, touching nothing, when there is one. */
NODISCARD enum rc file_create(const char *path, unsigned mode, struct str bytes,
                              struct errmsg *ret_msg);
