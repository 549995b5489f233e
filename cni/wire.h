/* What the plug-in and the agent say to each other on cni.sock: AF_UNIX SOCK_SEQPACKET, one request (with the
 * pod's network namespace as a descriptor, so that it does not matter how either sees the file system), one
 * answer, end. JSON, because a plug-in of one version meets an agent of another: unknown keys are ignored,
 * unknown types refused. Any thread; nothing here keeps state. */
#pragma once

#include "cni/attachment.h"

#define WIRE_SOCKET     "/var/run/mesh/cni.sock"
#define WIRE_STATE      "/var/lib/mesh"
#define WIRE_PACKET_MAX (128u << 10)
#define WIRE_ANSWER_MAX 4096u

/* Error codes of the CNI specification; from 100 on a plug-in's own. */
enum cni_code {
    CNI_OK = 0,
    CNI_VERSION = 1,
    CNI_ENV = 4,
    CNI_IO = 5,
    CNI_DECODE = 6,
    CNI_CONFIG = 7,
    CNI_NETNS = 8,
    CNI_AGAIN = 11,
    CNI_UNAVAILABLE = 50,
    CNI_DEGRADED = 51,
    CNI_REFUSED = 100, /* not as asked, now or later */
};

enum wire_type { WIRE_ADD, WIRE_DEL, WIRE_CHECK, WIRE_STATUS, WIRE_GC };

struct wire_request { /* views into the tree */
    enum wire_type type;
    struct attachment a;      /* ADD, DEL, CHECK */
    const struct node *valid; /* GC: a list of "CONTAINER/INTERFACE" */
};

/* valid: GC, the list as JSON. */
void wire_request_format(enum wire_type type, const struct attachment *a, struct str valid,
                         struct strbuf *out);
/* RC_INVALID; RC_UNSUPPORTED: a type that is not known here. */
NODISCARD enum rc wire_request_parse(struct arena *arena, struct str packet,
                                     struct wire_request *ret, struct errmsg *ret_msg);

struct wire_answer {
    uint64_t code;
    bool captured; /* ADD: the pod's traffic goes through the ztunnel now */
    struct str msg, details;
};
void wire_answer_format(const struct wire_answer *a, struct strbuf *out);
NODISCARD enum rc wire_answer_parse(struct arena *arena, struct str packet,
                                    struct wire_answer *ret);

/* fd -1: none. Does not wait. */
NODISCARD enum rc wire_send(int sock, struct str packet, int fd);
/* One packet of at most max bytes and the descriptor that came with it (-1: none; more than one is
 * RC_INVALID). RC_AGAIN, RC_EOF, RC_LIMIT, RC_IO. Does not wait. */
NODISCARD enum rc wire_recv(int sock, size_t max, struct strbuf *ret_packet, int *ret_fd);
/* The plug-in's side: asks and waits until the deadline (clock_mono_ms()). Any failure means that no agent
 * answered; ret_msg says how. */
NODISCARD enum rc wire_ask(const char *path, struct str request, int fd, int64_t until_ms,
                           struct strbuf *ret_answer, struct errmsg *ret_msg);
