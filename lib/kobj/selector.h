/* metav1.LabelSelector. */
#pragma once

#include "lib/kobj/kobj.h"

enum kselector_op {
    KSELECTOR_NONE,
    KSELECTOR_IN,
    KSELECTOR_NOT_IN,
    KSELECTOR_EXISTS,
    KSELECTOR_ABSENT
};

struct klabel_expression {
    struct str key;
    uint8_t op; /* enum kselector_op */
    struct kstrs values;
};

struct klabel_selector { /* all must hold; an empty one selects everything */
    struct kmap labels;
    KLIST(struct klabel_expression) expressions;
};

/* s NULL selects nothing. */
bool klabel_selector_matches(const struct klabel_selector *s, const struct kmap *labels);
