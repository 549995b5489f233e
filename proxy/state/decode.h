/* What the decoders of this folder share; for nobody else. */
#pragma once

#include "lib/proto/workload.pb-c.h"
#include "proxy/state/workload.h"

/* Sets "KIND NAME: FIELD: WHY", returns rc. */
enum rc decode_fail(struct errmsg *msg, enum rc rc, const char *kind, const char *name,
                    const char *field, const char *why);
/* NULL when it has no usable destination. */
struct gateway_addr *gateway_decode(const Istio__Workload__GatewayAddress *g, struct intern *in);
/* The same port again: the last one counts. False: a port over 65535. */
bool ports_decode(size_t n, Istio__Workload__Port *const *from, struct port_map *to,
                  uint16_t *ret_n);
