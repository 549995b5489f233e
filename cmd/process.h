/* What a daemon asks of its process, once, before anything else. Works without /proc, /dev and /etc. */
#pragma once

#include "lib/event/loop.h"

/* Descriptors 0 to 2 are taken, the limit of open files is the hard one, SIGPIPE is ignored, the
 * allocator has few arenas and gives back early. */
void process_setup(void);

/* Gives freed memory back when the process has become idle: RSS after load falls to what is used. */
struct process_trim {
    struct loop_timer timer;
    int64_t cpu_ms;   /* the process' CPU time when it was last looked at */
    int64_t since_ms; /* CPU time since the last trim */
};
void process_trim_start(struct process_trim *t, struct loop *l);
void process_trim_stop(struct process_trim *t);
