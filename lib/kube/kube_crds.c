#include "lib/kube/kube_crds.h"

#include <stdlib.h>

#include "lib/base/must.h"
#include "lib/kube/kube_watch.h"

struct kube_crds {
    struct kube_watch *watch;
    struct list waiters;
    void (*on_state)(void *owner, const char *problem);
    void *owner;
};

/* A CRD's name is "PLURAL.GROUP". */
static void on_object(void *owner, const struct node *object)
{
    struct kube_crds *c = owner;
    struct str group, name = node_str(node_path(object, "metadata.name"));
    struct str plural = str_split(name, '.', &group);
    struct kube_crd_waiter *w, *next;
    LIST_FOREACH_SAFE (w, next, &c->waiters, node)
        if (str_eqz(plural, w->plural) && str_eqz(group, w->group))
            w->fn(w->owner);
}

static void on_nothing(void *owner)
{
    (void)owner;
}

/* The objects of a kind that is gone end with their own watch. */
static void on_deleted(void *owner, const struct node *object)
{
    (void)owner;
    (void)object;
}

static void on_state(void *owner, const char *problem)
{
    struct kube_crds *c = owner;
    c->on_state(c->owner, problem);
}

static const struct kube_watch_ops watch_ops = {.on_begin = on_nothing,
                                                .on_object = on_object,
                                                .on_deleted = on_deleted,
                                                .on_listed = on_nothing,
                                                .on_state = on_state};

struct kube_crds *kube_crds_new(struct kube *k, void (*state)(void *owner, const char *problem),
                                void *owner)
{
    static const char *const paths[] = {"/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
                                        NULL};
    struct kube_watch_opts o = {.paths = paths, .metadata = true};
    struct kube_crds *c = mem_new(struct kube_crds);
    list_init(&c->waiters);
    c->on_state = state;
    c->owner = owner;
    c->watch = kube_watch_new(k, &o, &watch_ops, c);
    return c;
}

void kube_crds_free(struct kube_crds *c)
{
    if (!c)
        return;
    MUST(list_empty(&c->waiters));
    kube_watch_free(c->watch);
    free(c);
}

void kube_crds_wait(struct kube_crds *c, struct kube_crd_waiter *w)
{
    list_push_back(&c->waiters, &w->node);
}

void kube_crds_unwait(struct kube_crd_waiter *w)
{
    list_del(&w->node);
}
