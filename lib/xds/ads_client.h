/* Delta ADS, asking side. Keeps one stream to the controller, reconnects with back-off and jitter, and
 * reports what it has, so that only differences come.
 *
 * What is held lives with the owner: the client asks it for names and versions when it reconnects.
 * Responses are taken in as a stream, one resource at a time. After a failure it waits 10 ms, then
 * twice as long each time up to 15 s, and up to half as long again; a stream that lasted starts it
 * over. Thread: main. Of the callbacks only on_state, saying down, may free the client. */
#pragma once

#include "lib/http/channel.h"
#include "lib/xds/resource.h"

#define ADS_CLIENT_TYPES 4
#define ADS_RESPONSE_MAX (200u << 20) /* bytes of one response */

struct ads_client_type {
    const char *url;
    bool on_demand; /* nothing but what ads_client_demand() names; else everything */
};

struct ads_client_ops {
    /* A resource came. Anything but RC_OK refuses it (with ret_msg in the NACK). */
    enum rc (*on_resource)(void *owner, size_t type, struct str name, struct str version,
                           struct str bytes, struct errmsg *ret_msg);
    void (*on_removed)(void *owner, size_t type, struct str name);
    /* A response was applied completely; synced: it was the first of its type on this client that was
     * accepted whole. */
    void (*on_response)(void *owner, size_t type, bool first);
    /* Call add for every resource that is held. */
    void (*each_held)(void *owner, size_t type,
                      void (*add)(void *arg, struct str name, struct str version), void *arg);
    /* Up: the stream is open. Down: error says which step failed and why. May be NULL. */
    void (*on_state)(void *owner, bool up, const char *error);
};

struct ads_meta { /* node metadata */
    const char *key, *value;
};

struct ads_client_opts { /* all copied */
    struct channel_opts channel;
    const char *node_id;
    const struct ads_meta *meta;
    size_t n_meta;
    const struct ads_client_type *types;
    size_t n_types;
};

struct ads_client;
NODISCARD enum rc ads_client_new(struct loop *l, const struct ads_client_opts *o,
                                 const struct ads_client_ops *ops, void *owner,
                                 struct ads_client **ret, struct errmsg *ret_msg);
void ads_client_start(struct ads_client *c);
void ads_client_free(struct ads_client *c); /* NULL is legal */
bool ads_client_synced(const struct ads_client *c, size_t type);
/* On-demand types: name (or key) is wanted from now on, until _release, which forgets nothing of what
 * is held. Both are harmless when it already is, or is not. */
void ads_client_demand(struct ads_client *c, size_t type, struct str name);
void ads_client_release(struct ads_client *c, size_t type, struct str name);
