/* cni.sock: where plug-ins ask. One request a connection, only of root (or of the agent's own user); at most
 * DOOR_MAX connections, a request within DOOR_MS. Thread: one loop. */
#pragma once

#include "cni/agent.h"

#define DOOR_MAX 256
#define DOOR_MS  5000

struct door;

/* NULL with msg when the socket can't be made. */
struct door *door_new(struct loop *l, const char *path, struct agent *agent, struct errmsg *msg);
void door_free(struct door *d); /* NULL is legal */
