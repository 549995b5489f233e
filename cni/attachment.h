/* An attachment: what a runtime calls the plug-in for, a sandbox (container id) and an interface, with the
 * pod and the network namespace that belong to it.
 *
 * Each is kept as STATE/pods/CONTAINER@INTERFACE, one JSON object, from ADD until DEL. The agent writes it;
 * the plug-in too, when it lets a pod pass while no agent answers. Not synced to disk: no network namespace
 * survives what loses it. Nothing is believed because it is written there: the agent compares it with
 * the kernel and with the source of pods. Any thread. */
#pragma once

#include "lib/codec/node.h"
#include "lib/net/addr.h"
#include "lib/net/netns.h"

#define ATTACHMENT_IPS_MAX 16
#define ATTACHMENT_MAX     8192 /* bytes as JSON */

struct attachment {
    struct str container, ifname; /* the key */
    struct str netns;             /* the namespace's path, as the runtime sees it; may be empty */
    struct netns_id id;           /* of the namespace; ino 0: not known */
    struct str ns, name, uid;     /* the pod; uid may be empty */
    struct addr ips[ATTACHMENT_IPS_MAX];
    size_t n_ips;
    bool passed; /* no agent was asked */
};

/* The alphabets of the CNI specification. */
bool attachment_container_ok(struct str s);
bool attachment_ifname_ok(struct str s);
/* A Kubernetes name (RFC 1123, at most 253 bytes). */
bool attachment_pod_name_ok(struct str s);

void attachment_format(const struct attachment *a, struct strbuf *out);
/* Views into the tree. RC_INVALID, RC_LIMIT with the key and the reason; unknown keys are ignored. */
NODISCARD enum rc attachment_parse(const struct node *n, struct attachment *ret,
                                   struct errmsg *ret_msg);
/* In one allocation, to be freed by mem_free(). */
struct attachment *attachment_dup(const struct attachment *a);

NODISCARD enum rc attachment_save(const char *state, const struct attachment *a,
                                  struct errmsg *ret_msg);
void attachment_remove(const char *state, struct str container, struct str ifname);
/* All that are kept. A file that is none is removed and told as a == NULL; one that can't be read now is
 * told so, too, and stays. */
void attachment_each(const char *state,
                     void (*fn)(void *owner, const struct attachment *a, const char *file),
                     void *owner);
