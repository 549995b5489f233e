/* DeltaDiscoveryResponse, read as a stream: each resource is handed on as soon as it is there, and only
 * it is ever held. Removed names, type and nonce are kept until the response is whole. */
#pragma once

#include "lib/codec/pb_stream.h"

#define ADS_RESOURCE_MAX (8u << 20) /* bytes of one resource */
#define ADS_REMOVED_MAX  1000000    /* names in one response */
#define ADS_ERRORS_MAX   4096       /* bytes of the reasons of what was refused; more are cut */

struct ads_resource { /* views, valid in the callback */
    struct str type_url, name, version, bytes;
};
/* Anything but RC_OK refuses the resource with ret_msg; the others go on. */
typedef enum rc ads_resource_fn(void *owner, const struct ads_resource *r, struct errmsg *ret_msg);

struct ads_response {
    ads_resource_fn *fn;
    void *owner;
    struct pb_stream in;
    char *type_url, *nonce; /* NULL when absent */
    char **removed;
    size_t n_removed, cap_removed;
    size_t refused;
    struct strbuf errors; /* "name: reason; name: reason" */
};

void ads_response_init(struct ads_response *r, ads_resource_fn *fn, void *owner);
void ads_response_fini(struct ads_response *r);
/* The next part; end: it is the last one. RC_INVALID, RC_LIMIT: this response can't be read; what came
 * before was handed on. */
NODISCARD enum rc ads_response_feed(struct ads_response *r, struct str part, bool end);
/* Ready for the next one. */
void ads_response_reset(struct ads_response *r);
