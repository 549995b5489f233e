/* Table of RequestAuthentication. */
#include "lib/kobj/request_auth.h"

#include "lib/kobj/ktable.h"

#define JWKS_MAX (256u << 10)

static const struct kfield string_item = {.form = KF_STRING, .check = kcheck_not_empty};
static const struct kfield header_fields[] = {
    {.name = "name",
     .form = KF_STRING,
     .flags = KFL_REQUIRED,
     AT(kjwt_header, name),
     .check = kcheck_header_name},
    {.name = "prefix", .form = KF_STRING, AT(kjwt_header, prefix)},
    END};
static const struct ktype header_type = {.size = sizeof(struct kjwt_header),
                                         .fields = header_fields};
static const struct kfield header_item = {.form = KF_STRUCT, .type = &header_type};

static const struct kfield claim_fields[] = {{.name = "header",
                                              .form = KF_STRING,
                                              .flags = KFL_REQUIRED,
                                              AT(kclaim_header, header),
                                              .check = kcheck_header_name},
                                             {.name = "claim",
                                              .form = KF_STRING,
                                              .flags = KFL_REQUIRED,
                                              AT(kclaim_header, claim),
                                              .check = kcheck_not_empty},
                                             END};
static const struct ktype claim_type = {.size = sizeof(struct kclaim_header),
                                        .fields = claim_fields};
static const struct kfield claim_item = {.form = KF_STRUCT, .type = &claim_type};

static const char *check_uri(struct str s)
{
    return str_starts(s, STR("https://")) || str_starts(s, STR("http://"))
               ? NULL
               : "must begin with https:// or http://";
}

#define STRINGS(json, member) \
    {.name = (json), .form = KF_LIST, AT(kjwt_rule, member), .max = 256, .of = &string_item}
#define JWKS_URI(json) \
    {.name = (json), .form = KF_STRING, AT(kjwt_rule, jwks_uri), .max = 2048, .check = check_uri}

static const struct kfield rule_fields[] = {
    {.name = "issuer", .form = KF_STRING, AT(kjwt_rule, issuer), .check = kcheck_not_empty},
    STRINGS("audiences", audiences),
    JWKS_URI("jwksUri"),
    JWKS_URI("jwks_uri"),
    {.name = "jwks", .form = KF_STRING, AT(kjwt_rule, jwks), .max = JWKS_MAX},
    {.name = "fromHeaders",
     .form = KF_LIST,
     AT(kjwt_rule, from_headers),
     .max = 256,
     .of = &header_item},
    STRINGS("fromParams", from_params),
    STRINGS("fromCookies", from_cookies),
    {.name = "outputPayloadToHeader", .form = KF_STRING, AT(kjwt_rule, payload_header)},
    {.name = "outputClaimToHeaders",
     .form = KF_LIST,
     AT(kjwt_rule, claim_headers),
     .max = 256,
     .of = &claim_item},
    STRINGS("spaceDelimitedClaims", space_delimited),
    {.name = "forwardOriginalToken", .form = KF_BOOL, AT(kjwt_rule, forward)},
    {.name = "timeout", .form = KF_DURATION, AT(kjwt_rule, timeout_ms)},
    END};

static bool check_rule(void *obj, struct kwhy *why)
{
    const struct kjwt_rule *r = obj;
    if (r->issuer.n == 0 && r->jwks_uri.n == 0 && r->jwks.n == 0)
        return kwhy_set(why, "issuer", "is required without jwksUri and jwks");
    if (r->payload_header.n && kcheck_header_name(r->payload_header))
        return kwhy_set(why, "outputPayloadToHeader", "is not the name of a header");
    return r->timeout_ms == -1 || r->timeout_ms > 0 ||
           kwhy_set(why, "timeout", "must be more than 0");
}

static const struct ktype rule_type = {
    .size = sizeof(struct kjwt_rule), .fields = rule_fields, .check = check_rule};
static const struct kfield rule_item = {.form = KF_STRUCT, .type = &rule_type};

static const struct kfield spec_fields[] = {
    {.name = "selector", .form = KF_OPTION, AT(krequest_auth, selector), .type = &kselector_type},
    {.name = "targetRef", .form = KF_ONE, AT(krequest_auth, target), .of = &ktarget_item},
    {.name = "targetRefs",
     .form = KF_LIST,
     AT(krequest_auth, targets),
     .max = 16,
     .of = &ktarget_item},
    {.name = "jwtRules", .form = KF_LIST, AT(krequest_auth, rules), .of = &rule_item},
    END};
static const struct ktype spec_type = {.fields = spec_fields};

static bool check_auth(void *obj, struct kwhy *why)
{
    struct krequest_auth *a = obj;
    if (a->target.n && a->targets.n)
        return kwhy_set(why, "spec.targetRef", "must not be set beside targetRefs");
    if (a->target.n) {
        a->targets.n = a->target.n;
        a->targets.v = a->target.v;
    }
    return !a->selector || a->targets.n == 0 ||
           kwhy_set(why, "spec.selector", "must not be set beside targetRefs");
}

static const struct kfield auth_fields[] = {KMETA_FIELD,
                                            {.name = "apiVersion", .form = KF_SKIP},
                                            {.name = "kind", .form = KF_SKIP},
                                            {.name = "status", .form = KF_SKIP},
                                            {.name = "spec", .form = KF_STRUCT, .type = &spec_type},
                                            END};
const struct ktype krequest_auth_type = {.size = sizeof(struct krequest_auth),
                                         .fields = auth_fields,
                                         .strict = true,
                                         .check = check_auth};
