/* The objects of a folder (lib/kdir) as a source of the model, with what is wrong in it kept for the log,
 * the debug page and the metrics. Thread: main. */
#pragma once

#include "control/model/object.h"
#include "lib/event/loop.h"

struct src_kdir;

struct src_kdir_opts {
    const char *folder;
    const char *keep; /* where last good states are kept */
};

/* Never fails: what can't be read is reported and tried again. Both texts are copied. */
struct src_kdir *src_kdir_new(struct loop *l, const struct src_kdir_opts *o,
                              struct object_sink sink);
void src_kdir_free(struct src_kdir *s); /* NULL is legal */
/* JSON list of the problems there are now: severity, file, line, message. */
void src_kdir_problems(const struct src_kdir *s, struct strbuf *out);
