/* Versions of the xDS resources that are held, for the controller to be told at the next connection. Only a
 * hash of each name is kept: the names themselves are in the state. Main thread. */
#pragma once

#include "lib/base/htab.h"
#include "lib/base/str.h"

#define VERSION_MAX 23 /* bytes; a longer one is treated as unknown: the resource comes again */

struct versions {
    struct htab tab;
};

void versions_init(struct versions *v);
void versions_fini(struct versions *v);
void versions_set(struct versions *v, struct str name, struct str version);
void versions_del(struct versions *v, struct str name);
/* Empty when unknown. Borrowed until the next change. */
struct str versions_get(const struct versions *v, struct str name);
