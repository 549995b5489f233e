/* Objects from YAML text, for tests. */
#pragma once

#include <stdio.h>

#include <check.h>

#include "lib/kobj/core.h"
#include "lib/kobj/policy.h"

/* The first document, decoded; the caller's. */
static inline struct kobj *kobj_of(const char *yaml)
{
    struct arena a AUTO_ARENA;
    struct node *doc = NULL;
    struct errmsg e = {""};
    struct kobj *o = NULL;
    arena_init(&a, 64u << 20);
    ck_assert_msg(yaml_parse(&a, str_of(yaml), &doc, NULL, &e) == RC_OK && doc, "%s", e.text);
    ck_assert_msg(kobj_decode(doc, &o, NULL, &e) == RC_OK, "%s", e.text);
    return o;
}

/* What it is encoded as, in a static buffer, after checking that this decodes to an equal object. */
static inline const char *round_trip(const struct kobj *o)
{
    static char text[20000];
    struct arena a AUTO_ARENA;
    struct strbuf b AUTO_STRBUF;
    struct node *doc;
    struct kobj *again AUTO(kobj_unref) = NULL;
    struct errmsg e = {""};
    arena_init(&a, 64u << 20);
    strbuf_init(&b, sizeof(text) - 1);
    kobj_encode(o, &b);
    ck_assert(!b.truncated);
    ck_assert_msg(json_parse(&a, strbuf_str(&b), &doc, &e) == RC_OK, "%s in %s", e.text, b.p);
    ck_assert_msg(kobj_decode(doc, &again, NULL, &e) == RC_OK, "%s in %s", e.text, b.p);
    ck_assert(kobj_eq(o, again));
    snprintf(text, sizeof(text), "%s", b.p);
    return text;
}

/* The message that the first document is refused with; "" when it is not. In a static buffer. */
static inline const char *refusal_of(const char *yaml)
{
    static struct errmsg e;
    struct arena a AUTO_ARENA;
    struct node *doc = NULL;
    struct kobj *o AUTO(kobj_unref) = NULL;
    e.text[0] = '\0';
    arena_init(&a, 64u << 20);
    ck_assert_msg(yaml_parse(&a, str_of(yaml), &doc, NULL, &e) == RC_OK, "%s: %s", yaml, e.text);
    if (kobj_decode(doc, &o, NULL, &e) == RC_OK)
        e.text[0] = '\0';
    return e.text;
}

struct refusal {
    const char *spec, *why; /* why: after "spec." */
};
/* Each spec, below head, is refused with the message's end. */
static inline void refused(const char *head, const struct refusal *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char *yaml AUTO_FREE = mem_printf("%sspec: %s\n", head, v[i].spec);
        const char *said = refusal_of(yaml), *at = strstr(said, ": spec.");
        ck_assert_msg(at != NULL, "%s: \"%s\"", v[i].spec, said);
        ck_assert_str_eq(at + 7, v[i].why);
    }
}
