/* Table of kinds that are known and not enforced. */
#include "lib/kobj/known.h"

#include "lib/kobj/ktable.h"

/* Some say selector.matchLabels, some workloadSelector.labels, a Gateway selector itself. */
static const struct kfield match_fields[] = {
    {.name = "matchLabels", .form = KF_MAP, AT(kknown, selector), .map = &klabels_rule}, END};
static const struct ktype match_type = {.fields = match_fields};
static const struct kfield labels_fields[] = {
    {.name = "labels", .form = KF_MAP, AT(kknown, selector), .map = &klabels_rule}, END};
static const struct ktype labels_type = {.fields = labels_fields};

static const struct kfield target_fields[] = {
    {.name = "group", .form = KF_STRING, AT(ktarget_ref, group), .max = 253},
    {.name = "kind", .form = KF_STRING, AT(ktarget_ref, kind), .max = 63},
    {.name = "name", .form = KF_STRING, AT(ktarget_ref, name), .max = 253},
    END};
static const struct ktype target_type = {.size = sizeof(struct ktarget_ref),
                                         .fields = target_fields};
static const struct kfield target_item = {.form = KF_STRUCT, .type = &target_type};

static const struct kfield gateway_spec_fields[] = {
    {.name = "selector", .form = KF_MAP, AT(kknown, selector), .map = &klabels_rule}, END};
static const struct ktype gateway_spec_type = {.fields = gateway_spec_fields};
static const struct kfield gateway_fields[] = {
    KMETA_FIELD, {.name = "spec", .form = KF_STRUCT, .type = &gateway_spec_type}, END};
const struct ktype kistio_gateway_type = {.size = sizeof(struct kknown), .fields = gateway_fields};

static const struct kfield spec_fields[] = {
    {.name = "selector", .form = KF_STRUCT, .type = &match_type},
    {.name = "workloadSelector", .form = KF_STRUCT, .type = &labels_type},
    {.name = "targetRefs", .form = KF_LIST, AT(kknown, targets), .max = 16, .of = &target_item},
    END};
static const struct ktype spec_type = {.fields = spec_fields};
static const struct kfield known_fields[] = {
    KMETA_FIELD, {.name = "spec", .form = KF_STRUCT, .type = &spec_type}, END};
const struct ktype kknown_type = {.size = sizeof(struct kknown), .fields = known_fields};
