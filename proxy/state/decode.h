/* What the decoders of this folder share; for nobody else. */
#pragma once

#include "proxy/state/workload.h"

struct pack { /* texts being copied to the end of an allocation */
    char *at;
    size_t left;
};
bool pack_str(struct pack *p, const char *s, struct str *ret);
/* Sets "KIND NAME: FIELD: WHY", returns RC_INVALID. */
enum rc decode_fail(struct errmsg *msg, const char *kind, const char *name, const char *field,
                    const char *why);
size_t gateway_bytes(const Istio__Workload__GatewayAddress *g);
bool gateway_decode(const Istio__Workload__GatewayAddress *g, struct pack *p,
                    struct gateway_addr *ret);
bool ports_decode(size_t n, Istio__Workload__Port **from, struct port_map *to);
