/* Between the files that build resources. */
#pragma once

#include "control/push/build.h"
#include "lib/base/arena.h"
#include "lib/base/must.h"
#include "lib/proto/authorization.pb-c.h"
#include "lib/proto/workload.pb-c.h"

/* The messages of one resource: bounded by the objects' own limits, so this never runs out. */
#define BUILD_ARENA_MAX (512u << 20)

static inline void *build_alloc(struct arena *a, size_t n)
{
    void *p = arena_alloc(a, n);
    MUST(p);
    return p;
}
/* A cleared message of the type, initialised. */
#define BUILD_NEW(a, type, init_fn)                  \
    ({                                               \
        type *new_ = build_alloc((a), sizeof(type)); \
        init_fn(new_);                               \
        new_;                                        \
    })
#define BUILD_ARRAY(a, type, n) ((type *)build_alloc((a), ((n) + 1) * sizeof(type)))

/* Texts of objects end in NUL and outlive the message. */
static inline char *build_text(struct str s)
{
    return s.n ? (char *)(uintptr_t)s.p : (char *)(uintptr_t)protobuf_c_empty_string;
}
char *build_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);
ProtobufCBinaryData build_addr(const struct addr *a); /* borrowed */

/* An Address that carries one or the other, encoded. */
struct resource *build_address(struct str name, Istio__Workload__Workload *w,
                               Istio__Workload__Service *s);
struct resource *build_authorization(Istio__Security__Authorization *z);

/* "NAME.NAMESPACE.svc.DOMAIN" and "NAMESPACE/HOSTNAME". */
char *build_hostname(struct arena *a, const struct build_settings *s, const struct kmeta *service);
char *build_host_key(struct arena *a, const struct build_settings *s, const struct kmeta *service);

/* -- authorization.proto -- */
Istio__Security__StringMatch *build_presence(struct arena *a);
/* {not_principals: [presence]}: a peer without a certificate. */
Istio__Security__Match *build_anonymous(struct arena *a);
Istio__Security__Clause *build_clause(struct arena *a, Istio__Security__Match *only);

/* -- build_peer_auth.c -- */
/* What a workload is told: the static policy, the derived one of mtls->workload, one or none. */
struct peer_keys {
    bool strict, derived;
};
struct peer_keys build_peer_keys(const struct model_mtls *mtls);
