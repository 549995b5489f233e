#include "lib/kobj/selector.h"

#include "lib/kobj/ktable.h"

static const struct kfield value_item = {.form = KF_STRING, .check = kcheck_label_value};
static const char *const ops[] = {"", "In", "NotIn", "Exists", "DoesNotExist", NULL};
static const struct kfield expression_fields[] = {
    {.name = "key",
     .form = KF_STRING,
     .flags = KFL_REQUIRED,
     AT(klabel_expression, key),
     .max = 317,
     .check = kcheck_label_key},
    {.name = "operator",
     .form = KF_ENUM,
     .flags = KFL_REQUIRED,
     AT(klabel_expression, op),
     .words = ops},
    {.name = "values", .form = KF_LIST, AT(klabel_expression, values), .of = &value_item},
    END};

static bool check_expression(void *obj, struct kwhy *why)
{
    const struct klabel_expression *e = obj;
    bool listed = e->op == KSELECTOR_IN || e->op == KSELECTOR_NOT_IN;
    if (listed && e->values.n == 0)
        return kwhy_set(why, "values", "must not be empty with In and NotIn");
    if (!listed && e->values.n)
        return kwhy_set(why, "values", "must be empty with Exists and DoesNotExist");
    return true;
}

static const struct ktype expression_type = {.size = sizeof(struct klabel_expression),
                                             .fields = expression_fields,
                                             .check = check_expression};
static const struct kfield expression_item = {.form = KF_STRUCT, .type = &expression_type};
static const struct kfield selector_fields[] = {
    {.name = "matchLabels", .form = KF_MAP, AT(klabel_selector, labels), .map = &klabels_rule},
    {.name = "matchExpressions",
     .form = KF_LIST,
     AT(klabel_selector, expressions),
     .of = &expression_item},
    END};
/* What a selector has that we don't know would select otherwise than was meant. */
const struct ktype klabel_selector_type = {
    .size = sizeof(struct klabel_selector), .fields = selector_fields, .strict = true};

static bool holds(const struct klabel_expression *e, const struct kmap *labels)
{
    struct str value = {0};
    for (uint32_t i = 0; i < labels->n && !value.p; i++)
        if (str_eq(labels->v[i].key, e->key))
            value = labels->v[i].value;
    bool among = false;
    for (uint32_t i = 0; i < e->values.n && value.p; i++)
        among = among || str_eq(e->values.v[i], value);
    switch ((enum kselector_op)e->op) {
    case KSELECTOR_IN:     return among;
    case KSELECTOR_NOT_IN: return !among;
    case KSELECTOR_EXISTS: return value.p != NULL;
    case KSELECTOR_ABSENT: return value.p == NULL;
    case KSELECTOR_NONE:   break;
    }
    return false;
}

bool klabel_selector_matches(const struct klabel_selector *s, const struct kmap *labels)
{
    if (!s || !kmap_includes(labels, &s->labels))
        return false;
    for (uint32_t i = 0; i < s->expressions.n; i++)
        if (!holds(&s->expressions.v[i], labels))
            return false;
    return true;
}
