#include "proxy/state/versions.h"

#include <stdlib.h>

#include "lib/base/hash.h"

struct entry {
    struct hnode node; /* its hash is the key: 64 bits, seeded per process */
    char version[VERSION_MAX + 1];
};

static bool any(const struct hnode *n, const void *key)
{
    (void)n, (void)key;
    return true;
}

static struct entry *find(const struct versions *v, struct str name)
{
    struct hnode *n = htab_find(&v->tab, hash_str(name), any, NULL);
    return n ? container_of(n, struct entry, node) : NULL;
}

void versions_init(struct versions *v)
{
    htab_init(&v->tab);
}

void versions_fini(struct versions *v)
{
    struct htab_iter it;
    HTAB_FOREACH (n, &v->tab, &it) {
        htab_del(&v->tab, n);
        free(container_of(n, struct entry, node));
    }
    htab_fini(&v->tab);
}

void versions_set(struct versions *v, struct str name, struct str version)
{
    if (version.n == 0 || version.n > VERSION_MAX) {
        versions_del(v, name);
        return;
    }
    struct entry *e = find(v, name);
    if (!e) {
        e = mem_new(struct entry);
        htab_insert(&v->tab, &e->node, hash_str(name));
    }
    memcpy(e->version, version.p, version.n);
    e->version[version.n] = '\0';
}

void versions_del(struct versions *v, struct str name)
{
    struct entry *e = find(v, name);
    if (!e)
        return;
    htab_del(&v->tab, &e->node);
    free(e);
}

struct str versions_get(const struct versions *v, struct str name)
{
    const struct entry *e = find(v, name);
    return e ? str_of(e->version) : (struct str){"", 0};
}
