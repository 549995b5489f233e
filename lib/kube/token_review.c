#include "lib/kube/token_review.h"

#include <stdlib.h>

#include "lib/base/must.h"

#define TIMEOUT_MS 5000
#define TRIES      2
#define EXTRA      "authentication.kubernetes.io/"

struct token_review {
    struct kube_call *call;
    struct loop_timer refuse; /* what is not even asked */
    char **audiences;
    size_t n_audiences;
    token_review_fn *fn;
    void *owner;
};

static void review_free(struct token_review *t)
{
    for (size_t i = 0; i < t->n_audiences; i++)
        free(t->audiences[i]);
    free(t->audiences);
    loop_timer_clear(&t->refuse);
    free(t);
}

static void finish(struct token_review *t, const struct token_identity *id)
{
    t->fn(t->owner, id);
    review_free(t);
}

static bool has_text(const struct node *list, const char *text)
{
    NODE_FOREACH (n, list)
        if (str_eqz(node_str(n), text))
            return true;
    return false;
}

/* A server that knows no audiences leaves them out: then the token is one for the API server itself. */
static bool for_us(const struct token_review *t, const struct node *status)
{
    for (size_t i = 0; i < t->n_audiences; i++)
        if (has_text(node_get(status, "audiences"), t->audiences[i]))
            return true;
    return false;
}

static struct str extra(const struct node *user, const char *key)
{
    const struct node *values = node_get(node_get(user, "extra"), key);
    return node_str(values && values->kind == NODE_LIST ? values->child : NULL);
}

static void set_account(struct token_identity *id, const struct node *user)
{
    static const struct str prefix = {"system:serviceaccount:", 22};
    if (!str_starts(id->username, prefix) ||
        !has_text(node_get(user, "groups"), "system:serviceaccounts"))
        return;
    struct str account, ns = {id->username.p + prefix.n, id->username.n - prefix.n};
    ns = str_split(ns, ':', &account);
    if (ns.n == 0 || account.n == 0 || str_find(account, ':') >= 0)
        return;
    id->ns = ns;
    id->account = account;
}

static void on_reply(void *owner, const struct kube_reply *r)
{
    struct token_review *t = owner;
    const struct node *status = node_get(r->body, "status"), *user = node_get(status, "user");
    const struct node *good = node_get(status, "authenticated");
    struct token_identity id = {.rc = r->rc, .error = r->error};
    t->call = NULL;
    if (r->rc == RC_UNAUTHENTICATED)
        id.rc = RC_IO; /* it is we who are not known to the server */
    if (r->rc != RC_OK) {
        finish(t, &id);
        return;
    }
    id.rc = RC_UNAUTHENTICATED;
    id.username = node_str(node_get(user, "username"));
    if (!good || good->kind != NODE_BOOL || !str_eqz(good->text, "true") || id.username.n == 0) {
        id.error = "the API server does not accept the token";
    } else if (!for_us(t, status)) {
        id.error = "the token is for another audience";
    } else {
        id.rc = RC_OK;
        id.error = "";
        id.uid = node_str(node_get(user, "uid"));
        id.pod_name = extra(user, EXTRA "pod-name");
        id.pod_uid = extra(user, EXTRA "pod-uid");
        id.node_name = extra(user, EXTRA "node-name");
        set_account(&id, user);
    }
    if (id.rc != RC_OK)
        id.username = STR("");
    finish(t, &id);
}

static void on_refuse(void *owner)
{
    struct token_review *t = owner;
    finish(t, &(struct token_identity){.rc = RC_UNAUTHENTICATED,
                                       .error = "the token is empty, too long or not text"});
}

static void add_body(const struct token_review *t, struct str token, struct strbuf *out)
{
    strbuf_addz(out, "{\"apiVersion\":\"authentication.k8s.io/v1\",\"kind\":\"TokenReview\","
                     "\"spec\":{\"token\":\"");
    strbuf_add_json(out, token);
    strbuf_addz(out, "\",\"audiences\":[");
    for (size_t i = 0; i < t->n_audiences; i++) {
        strbuf_addz(out, i ? ",\"" : "\"");
        strbuf_add_json(out, str_of(t->audiences[i]));
        strbuf_addc(out, '"');
    }
    strbuf_addz(out, "]}}");
}

struct token_review *token_review_new(struct kube *k, struct str token,
                                      const char *const *audiences, size_t n_audiences,
                                      token_review_fn *fn, void *owner)
{
    struct token_review *t = mem_new(struct token_review);
    MUST(n_audiences > 0);
    t->fn = fn;
    t->owner = owner;
    t->audiences = mem_calloc(n_audiences, sizeof(*t->audiences));
    for (; t->n_audiences < n_audiences; t->n_audiences++)
        t->audiences[t->n_audiences] = mem_strdup(audiences[t->n_audiences]);
    loop_timer_init(&t->refuse, kube_loop(k), on_refuse, t);
    if (token.n == 0 || token.n > TOKEN_MAX || !str_is_utf8(token)) {
        loop_timer_set(&t->refuse, 0);
        return t;
    }
    struct strbuf body AUTO_STRBUF;
    strbuf_init(&body, 8 * TOKEN_MAX);
    add_body(t, token, &body);
    struct kube_request r = {.method = "POST",
                             .path = "/apis/authentication.k8s.io/v1/tokenreviews",
                             .body = strbuf_str(&body),
                             .retries = TRIES,
                             .timeout_ms = TIMEOUT_MS};
    t->call = kube_call(k, &r, on_reply, t);
    explicit_bzero(body.p, body.n);
    return t;
}

void token_review_cancel(struct token_review *t)
{
    if (t->call)
        kube_call_cancel(t->call);
    review_free(t);
}
