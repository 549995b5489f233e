/* A resource that is served: name, version and bytes in one immutable, counted object. The version is a
 * hash of the bytes: equal on every replica and after every restart, so a client that kept its state
 * is sent nothing. */
#pragma once

#include "lib/base/ref.h"
#include "lib/base/str.h"

#define XDS_ADDRESS       "type.googleapis.com/istio.workload.Address"
#define XDS_AUTHORIZATION "type.googleapis.com/istio.security.Authorization"
#define XDS_DELTA_PATH \
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
#define XDS_NAME_MAX 2048 /* bytes of a resource's name */

struct resource {
    struct ref ref;
    struct str name, bytes;
    char version[17]; /* 64 bits in hex */
};

/* Copies. bytes must be encoded deterministically. */
struct resource *resource_new(struct str name, struct str bytes);
struct resource *resource_ref(struct resource *r);
void resource_unref(struct resource *r);
