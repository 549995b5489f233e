/* Between the files of this folder. */
#pragma once

#include <stddef.h>

#include "lib/log/log.h"

/* A whole line with its newline: into the thread's ring, or out at once. */
void log_ring_put(const char *line, size_t n);
const char *log_level_name(enum log_level level);
