/* What many objects of the state have in common, kept once: words, places, gateways, identities. They
 * are immutable and counted; equal ones are the same object, so pointers compare.
 * Thread: interning belongs to the main thread; references are given back on any thread. The table
 * keeps a reference of its own to each and drops those that nobody else holds in intern_sweep(). */
#pragma once

#include "lib/base/htab.h"
#include "lib/base/ref.h"
#include "lib/cert/identity.h"
#include "lib/net/addr.h"

struct interned;
struct interned_ops {
    bool (*same)(const struct interned *i, const void *like);
    void (*free)(struct interned *i);
    bool (*held)(const struct interned *i); /* by others than the table; NULL: look at ref */
};
struct interned {
    struct hnode node;
    const struct interned_ops *ops;
    struct ref ref;
    uint32_t n; /* for the object's use */
};

/* A word: the key of a service or a policy. */
struct atom {
    struct interned in; /* in.n is the length, in.node.hash is hash_str(text) */
    char text[];
};
static inline struct str atom_str(const struct atom *a)
{
    return (struct str){a->text, a->in.n};
}
static inline uint64_t atom_hash(const struct atom *a)
{
    return a->in.node.hash;
}

/* Where workloads run. */
struct place {
    struct interned in;
    struct str network, cluster, node, region, zone, subzone;
    char bytes[];
};

/* Where traffic for something goes first: a waypoint or a network gateway. */
struct gateway_addr {
    struct interned in;
    uint16_t port;       /* of HBONE */
    struct addr ip;      /* family 0 when it is a service */
    struct str network;  /* of ip */
    struct str key;      /* NAMESPACE/HOSTNAME of a service, or empty */
    struct str ns, host; /* parts of key */
    char bytes[];
};

struct intern;
struct intern *intern_new(void);
void intern_free(struct intern *t); /* what is still held elsewhere lives on */
/* New references. */
struct atom *intern_atom(struct intern *t, struct str text);
struct place *intern_place(struct intern *t, const struct place *like);
/* By key (ns and host; may be without namespace) or by network and ip, whichever like->key.n tells. */
struct gateway_addr *intern_gateway(struct intern *t, const struct gateway_addr *like);
/* NULL when the parts make no identity. */
struct identity *intern_identity(struct intern *t, struct str trust_domain, struct str ns,
                                 struct str sa);
struct identity *intern_identity_uri(struct intern *t, struct str uri);
/* For objects of other kinds. The one that is like this, as a new reference, or NULL. */
struct interned *intern_find(const struct intern *t, const struct interned_ops *ops, uint64_t hash,
                             const void *like);
/* Adds a new object (its in is written here); the caller's reference. */
void intern_add(struct intern *t, struct interned *i, const struct interned_ops *ops,
                uint64_t hash);
void interned_unref(struct interned *i);

size_t intern_len(const struct intern *t);
void intern_sweep(struct intern *t);
/* Sweeps when the table has doubled since the last time: cheap to call often. */
void intern_tidy(struct intern *t);

struct atom *atom_ref(struct atom *a);
void atom_unref(struct atom *a); /* NULL is legal, here and below */
struct place *place_ref(struct place *p);
void place_unref(struct place *p);
struct gateway_addr *gateway_ref(struct gateway_addr *g);
void gateway_unref(struct gateway_addr *g);
