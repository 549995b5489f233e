/* ZDS: how the CNI node agent hands pods to the ztunnel of its node (Istio: pkg/zdsapi/zds.proto).
 * AF_UNIX SOCK_SEQPACKET; the agent listens, the ztunnel dials and says hello; then one request at a
 * time, each answered by an ack. One packet is one protobuf message of at most 1024 bytes; an Add
 * carries exactly one descriptor, the pod's network namespace (SCM_RIGHTS). */
#pragma once

#include "lib/base/str.h"

#define ZDS_PACKET_MAX 1024
#define ZDS_SOCKET     "/var/run/ztunnel/ztunnel.sock"
#define ZDS_VERSION    1

enum zds_kind { ZDS_ADD, ZDS_DEL, ZDS_KEEP, ZDS_SNAPSHOT_SENT };

struct zds_request { /* views into the packet */
    enum zds_kind kind;
    struct str uid;          /* of the pod; empty for ZDS_SNAPSHOT_SENT */
    struct str name, ns, sa; /* ZDS_ADD */
    bool has_info;           /* an Add without workload_info is an error */
};

/* RC_INVALID: not a request, or one that is not understood. Texts are UTF-8. */
NODISCARD enum rc zds_request_parse(struct str packet, struct zds_request *ret);
/* Fails (RC_LIMIT) when it would not fit into a packet. */
NODISCARD enum rc zds_request_format(const struct zds_request *r, struct strbuf *out);
NODISCARD enum rc zds_hello_parse(struct str packet, uint32_t *ret_version);
void zds_hello_format(struct strbuf *out);
/* error empty: accepted. */
NODISCARD enum rc zds_ack_parse(struct str packet, struct str *ret_error);
void zds_ack_format(struct str error, struct strbuf *out);
