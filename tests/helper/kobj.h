/* Objects from YAML text, for tests. */
#pragma once

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
