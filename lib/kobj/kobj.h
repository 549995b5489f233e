/* Objects of Kubernetes and Istio as typed, immutable, counted values: decoded from a node tree (YAML
 * of a folder, JSON of the API) by one field table a kind, and written back as JSON by the same table.
 *
 * A struct holds what any part of the mesh reads, in one allocation; the rest of a document is checked
 * for its form where Kubernetes would check it, then dropped. Texts are UTF-8 without NUL, and end in a
 * NUL that is not counted. Lists keep their order, maps are sorted by key. Any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/mem.h"
#include "lib/base/ref.h"
#include "lib/base/str.h"
#include "lib/codec/node.h"
#include "lib/net/addr.h"

#define KOBJ_BYTES_MAX (2u << 20) /* of one object in memory; etcd takes 1.5 MiB of text */

enum kobj_kind {
    KOBJ_NAMESPACE,
    KOBJ_NODE,
    KOBJ_POD,
    KOBJ_SERVICE,
    KOBJ_ENDPOINT_SLICE,
    KOBJ_SERVICE_ACCOUNT,
    KOBJ_AUTHORIZATION_POLICY,
    KOBJ_PEER_AUTHENTICATION,
    KOBJ_GATEWAY_CLASS,
    KOBJ_GATEWAY,
    KOBJ_LISTENER_SET,
    KOBJ_REFERENCE_GRANT,
    KOBJ_BACKEND_TLS_POLICY,
    KOBJ_HTTP_ROUTE, /* routes: kobj_is_route() */
    KOBJ_GRPC_ROUTE,
    KOBJ_TLS_ROUTE,
    KOBJ_TCP_ROUTE,
    KOBJ_SECRET,
    KOBJ_CONFIG_MAP,
    KOBJ_DEPLOYMENT,
    KOBJ_DAEMON_SET,
    KOBJ_AUTOSCALER,
    KOBJ_DISRUPTION_BUDGET,
    KOBJ_NETWORK_POLICY,
    KOBJ_MUTATING_WEBHOOKS,
    KOBJ_VALIDATING_WEBHOOKS,
    KOBJ_SERVICE_ENTRY,
    KOBJ_WORKLOAD_ENTRY,
    KOBJ_WORKLOAD_GROUP,
    KOBJ_REQUEST_AUTHENTICATION,
    KOBJ_VIRTUAL_SERVICE,
    KOBJ_DESTINATION_RULE,
    KOBJ_TELEMETRY,
    KOBJ_ISTIO_GATEWAY, /* known, not enforced: kobj_is_known() */
    KOBJ_SIDECAR,
    KOBJ_ENVOY_FILTER,
    KOBJ_PROXY_CONFIG,
    KOBJ_WASM_PLUGIN,
    KOBJ_TRAFFIC_EXTENSION,
    KOBJ_KINDS
};
#define KOBJ_BIT(kind) (UINT64_C(1) << (kind))
_Static_assert(KOBJ_KINDS <= 64, "sets of kinds are 64 bits");
const char *kobj_kind_name(enum kobj_kind k); /* "AuthorizationPolicy" */
bool kobj_kind_namespaced(enum kobj_kind k);

struct kobj_resource {           /* what paths of the API are made of */
    const char *group;           /* "" is the core one */
    const char *plural;          /* "authorizationpolicies" */
    const char *const *versions; /* that decode, NULL-ended, the preferred one first */
    bool namespaced;
};
struct kobj_resource kobj_resource(enum kobj_kind k);

#define KLIST(type)    \
    struct {           \
        uint32_t n;    \
        const type *v; \
    }

struct kpair {
    struct str key, value;
};
struct kmap { /* sorted by key, keys unique */
    uint32_t n;
    const struct kpair *v;
};
struct kstrs {
    uint32_t n;
    const struct str *v;
};

struct knumber {
    struct str key;
    int32_t value;
};

/* p == NULL when absent. */
struct str kmap_get(const struct kmap *m, const char *key);
bool kmap_has(const struct kmap *m, struct str key, struct str value);
/* Is every pair of sub in m? An empty sub is in everything. */
bool kmap_includes(const struct kmap *m, const struct kmap *sub);
bool kmap_eq(const struct kmap *a, const struct kmap *b);

struct kowner { /* of metadata.ownerReferences */
    struct str api_version, kind, name, uid;
    bool controller;
};

struct kmeta {
    struct str name, ns; /* ns is empty for kinds without namespace */
    struct str uid, generate_name;
    struct kmap labels;
    struct kmap annotations;      /* those of istio.io and mesh.internal; the rest is dropped */
    int64_t created_s, deleted_s; /* since 1970; 0: absent */
    int64_t generation;           /* of the spec, counted by the API server; 0: absent */
    KLIST(struct kowner) owners;
};

struct kobj {
    struct ref ref;
    uint8_t kind;  /* enum kobj_kind */
    uint32_t size; /* bytes of the whole object */
    struct kmeta meta;
};

struct kobj *kobj_ref(struct kobj *o);
void kobj_unref(struct kobj *o); /* NULL is legal */
DEFINE_AUTO(struct kobj *, kobj_unref)
bool kobj_eq(const struct kobj *a, const struct kobj *b);        /* the same content */
bool kobj_same_name(const struct kobj *a, const struct kobj *b); /* kind, namespace and name */

/* What a document says it is. Views into the tree. */
struct kobj_id {
    enum kobj_kind kind;
    struct str ns, name; /* ns "default" where a namespaced object names none */
};
/* RC_UNSUPPORTED: of a kind that no part reads, *ret untouched, ret_msg says which object. RC_INVALID:
 * no telling which object it is (no map, apiVersion, kind or name; a version we don't know). */
NODISCARD enum rc kobj_identify(const struct node *doc, struct kobj_id *ret, unsigned *ret_line,
                                struct errmsg *ret_msg);

/* One object (not a List). RC_INVALID, RC_LIMIT, RC_UNSUPPORTED (as above); ret_msg is
 * "Kind ns/name: field.path: reason", *ret_line (may be NULL) where. Unknown fields are ignored, but
 * inside AuthorizationPolicy and PeerAuthentication they and unknown words are errors: policy that is
 * not understood is never in force in part. */
NODISCARD enum rc kobj_decode(const struct node *doc, struct kobj **ret, unsigned *ret_line,
                              struct errmsg *ret_msg);

/* The same where the kind is known and the document need not say it, as in the items of an API's list. A
 * kind or apiVersion that is there must fit. */
NODISCARD enum rc kobj_identify_as(enum kobj_kind kind, const struct node *doc, struct kobj_id *ret,
                                   unsigned *ret_line, struct errmsg *ret_msg);
NODISCARD enum rc kobj_decode_as(enum kobj_kind kind, const struct node *doc, struct kobj **ret,
                                 unsigned *ret_line, struct errmsg *ret_msg);

/* The items when the document is a List (v1), else NULL. Items are complete objects. */
const struct node *kobj_list_items(const struct node *doc);

/* One JSON object on one line, what kobj_decode() makes an equal object of. */
void kobj_encode(const struct kobj *o, struct strbuf *out);
