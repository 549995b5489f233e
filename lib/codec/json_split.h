/* JSON that arrives in pieces, cut into the values worth holding at once, so that memory does not follow
 * the length of a list: the events of a watch, or the items of a list. Only the outer structure is
 * checked here; each value goes to json_parse(). Any thread, one at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/str.h"

enum json_split_mode {
    JSON_SPLIT_VALUES, /* objects one after the other, white space between (a watch) */
    JSON_SPLIT_ITEMS,  /* one object; the elements of its list "items" singly (a List) */
};

/* text: one whole value, valid in the call. key: the member's name as written, "items" for each
 * element; empty with JSON_SPLIT_VALUES. Anything but RC_OK ends the feed with it. */
typedef enum rc json_split_fn(void *owner, struct str key, struct str text);

struct json_split {
    enum json_split_mode mode;
    json_split_fn *fn;
    void *owner;
    int state, target; /* private */
    unsigned depth;
    bool scalar, quoted, escaped;
    char key[64];
    size_t key_n;
    struct strbuf held; /* the beginning of a value that is not complete */
};

/* max: bytes of one value. */
void json_split_init(struct json_split *s, enum json_split_mode mode, size_t max, json_split_fn *fn,
                     void *owner);
void json_split_fini(struct json_split *s);
/* RC_INVALID: not of that form; RC_LIMIT: a value over max; else what fn returned. After an error only
 * json_split_fini(). ret_msg is set for the first two. */
NODISCARD enum rc json_split_feed(struct json_split *s, struct str part, struct errmsg *ret_msg);
/* At the end of the input: nothing is missing. */
bool json_split_complete(const struct json_split *s);
