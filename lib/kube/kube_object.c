#include "lib/kube/kube_object.h"

#define PATH_BYTES 4096
#define TRIES      5

static void segment(struct strbuf *out, struct str s)
{
    strbuf_addc(out, '/');
    kube_escape(out, s);
}

static void add_path(struct strbuf *out, const struct kube_target *t)
{
    strbuf_addz(out, t->group[0] ? "/apis" : "/api");
    if (t->group[0])
        segment(out, str_of(t->group));
    segment(out, str_of(t->version));
    if (t->ns.n) {
        strbuf_addz(out, "/namespaces");
        segment(out, t->ns);
    }
    segment(out, str_of(t->plural));
    if (t->name.n)
        segment(out, t->name);
    if (t->subresource)
        segment(out, str_of(t->subresource));
}

char *kube_path(const struct kube_target *t)
{
    struct strbuf out AUTO_STRBUF;
    strbuf_init(&out, PATH_BYTES);
    add_path(&out, t);
    return strbuf_take(&out);
}

static struct kube_call *call(struct kube *k, const struct kube_target *t, struct kube_request *r,
                              const char *manager, bool force, kube_reply_fn *fn, void *owner)
{
    struct strbuf path AUTO_STRBUF;
    strbuf_init(&path, PATH_BYTES);
    add_path(&path, t);
    if (manager) {
        strbuf_addz(&path, "?fieldManager=");
        kube_escape(&path, str_of(manager));
    }
    if (force)
        strbuf_addz(&path, "&force=true");
    r->path = path.p;
    return kube_call(k, r, fn, owner);
}

struct kube_call *kube_get(struct kube *k, const struct kube_target *t, kube_reply_fn *fn,
                           void *owner)
{
    struct kube_request r = {.method = "GET", .retries = TRIES};
    return call(k, t, &r, NULL, false, fn, owner);
}

struct kube_call *kube_create(struct kube *k, const struct kube_target *t, struct str object,
                              const char *manager, kube_reply_fn *fn, void *owner)
{
    struct kube_request r = {.method = "POST", .body = object, .retries = TRIES, .once = true};
    return call(k, t, &r, manager, false, fn, owner);
}

struct kube_call *kube_replace(struct kube *k, const struct kube_target *t, struct str object,
                               const char *manager, kube_reply_fn *fn, void *owner)
{
    struct kube_request r = {.method = "PUT", .body = object, .retries = TRIES, .once = true};
    return call(k, t, &r, manager, false, fn, owner);
}

struct kube_call *kube_delete(struct kube *k, const struct kube_target *t, struct str uid,
                              kube_reply_fn *fn, void *owner)
{
    struct strbuf body AUTO_STRBUF;
    strbuf_init(&body, PATH_BYTES);
    strbuf_addz(&body,
                "{\"apiVersion\":\"v1\",\"kind\":\"DeleteOptions\",\"preconditions\":{\"uid\":\"");
    strbuf_add_json(&body, uid);
    strbuf_addz(&body, "\"}}");
    struct kube_request r = {.method = "DELETE", .retries = TRIES};
    if (uid.n)
        r.body = strbuf_str(&body);
    return call(k, t, &r, NULL, false, fn, owner);
}

struct kube_call *kube_patch(struct kube *k, const struct kube_target *t, enum kube_patch_type type,
                             struct str patch, const char *manager, kube_reply_fn *fn, void *owner)
{
    static const char *const types[] = {
        [KUBE_APPLY] = "application/apply-patch+yaml",
        [KUBE_APPLY_FORCE] = "application/apply-patch+yaml",
        [KUBE_MERGE] = "application/merge-patch+json",
        [KUBE_JSON] = "application/json-patch+json",
    };
    struct kube_request r = {.method = "PATCH",
                             .content_type = types[type],
                             .body = patch,
                             .retries = TRIES,
                             .once = type == KUBE_JSON};
    return call(k, t, &r, manager, type == KUBE_APPLY_FORCE, fn, owner);
}
