/* The field tables, and the two ways through them. Private to lib/kobj. */
#pragma once

#include "lib/kobj/kobj.h"

enum kform {            /* what the document has → what the struct has */
             KF_SKIP,   /* known, not read */
             KF_STRING, /* string → struct str; absent: text, else empty */
             KF_BOOL,   /* bool → bool */
             KF_FOUND,  /* anything → bool: it is there */
             KF_TRI,    /* bool → uint8_t, enum ktri */
             KF_ENUM, /* one of words → uint8_t, its index; 0 is the default, "" can't be written */
             KF_PORT,        /* number 1 to 65535 → uint16_t */
             KF_PORT_TEXT,   /* string "0" to "65535" → uint16_t */
             KF_INT_OR_NAME, /* number or string → struct kport_or_name */
             KF_INT64,       /* whole number, not negative → int64_t; 0 is absent */
             KF_INT,         /* whole number, low to high → int32_t; absent: def */
             KF_DECIMAL,     /* number, low to high → int64_t, millionths; absent: -1 */
             KF_DURATION, /* string, Go's form ("1m30s") → int64_t, ms, rounded up; absent: -1 */
             KF_BYTES,    /* string, base64 → struct str, which may hold any byte */
             KF_TIME,     /* RFC 3339 → int64_t, seconds since 1970 */
             KF_ADDR,     /* IP address → struct addr */
             KF_CIDR,     /* IP address or CIDR → struct cidr */
             KF_MAP,      /* string to string → struct kmap */
             KF_STRUCT,   /* map → struct, at offset */
             KF_OPTION,   /* map → pointer to struct, NULL when absent */
             KF_LIST,     /* list → KLIST of the field's `of`, whose offset does not matter */
             KF_ONE, /* a single value, older spelling of a list → that list, if empty; never written */
             KF_NUMBERS, /* map of whole numbers, low to high → KLIST(struct knumber), sorted */
             KF_DICT,    /* map of maps → KLIST of structs that begin with the key (struct str) */
};

enum {
    KFL_REQUIRED = 1,
    KFL_LAX = 2,    /* KF_ENUM: unknown words are the default; elsewhere they are errors */
    KFL_FILLED = 4, /* KF_LIST: must not be empty when it is there */
    KFL_LOOSE = 8,  /* KF_STRUCT in a strict one: unknown fields are ignored below */
};

/* NULL when fine, else the reason ("must be …"). */
typedef const char *kcheck_fn(struct str s);

struct kmap_rule {
    kcheck_fn *key, *value;
    bool (*keep)(struct str key); /* NULL: all */
    bool base64;                  /* values are, and may hold any byte in memory */
    size_t max_bytes;             /* keys and values together; 0: none but the object's */
};

struct kfield {
    const char *name; /* NULL ends a table */
    uint8_t form, flags;
    uint16_t offset;
    uint32_t max;             /* bytes of a string (0: KSTRING_MAX), items (0: KITEMS_MAX) */
    int32_t low, high, def;   /* KF_INT, KF_DECIMAL (no def); high 0: INT32_MAX */
    const char *text;         /* KF_STRING: what an absent one is; NULL: empty */
    kcheck_fn *check;         /* KF_STRING, KF_DURATION; KF_NUMBERS: of the keys */
    const char *const *words; /* KF_ENUM, NULL-ended */
    const struct kmap_rule *map;
    const struct ktype *type; /* KF_STRUCT, KF_OPTION, KF_DICT */
    const struct kfield *of;  /* KF_LIST, KF_ONE */
    /* KF_LIST, KF_ONE: which items are read at all; NULL: all. */
    bool (*keep)(const struct node *item);
};
/* clang-format off */
#define AT(type, member) .offset = offsetof(struct type, member)
#define END {.name = NULL}
/* clang-format on */

struct klist { /* any KLIST */
    uint32_t n;
    const void *v;
};
#define KSTRING_MAX 1024
#define KITEMS_MAX  4096

struct kwhy {
    char field[64]; /* below the struct; "" for itself */
    char reason[160];
};

struct ktype {
    size_t size;
    const struct kfield *fields;
    bool strict; /* unknown fields are errors, here and below */
    /* What no single field can tell, after all are read; may complete the struct, and sort its lists. */
    bool (*check)(void *obj, struct kwhy *why);
};

struct kkind {
    enum kobj_kind kind;
    const char *name, *group; /* group "" is the core one */
    const char *plural;       /* of paths of the API */
    const char *versions[4];  /* NULL-ended, the preferred one first */
    bool namespaced;
    kcheck_fn *check_name;
    const struct ktype *type;
};
extern const struct kkind kkinds[KOBJ_KINDS];

extern const struct ktype knamespace_type, knode_type, kservice_account_type, kpod_type,
    kservice_type, kendpoint_slice_type, kauthz_type, kpeer_auth_type, kgateway_class_type,
    kgateway_type, klistener_set_type, kreference_grant_type, kbackend_tls_type, khttp_route_type,
    kgrpc_route_type, kl4_route_type, kservice_entry_type, kworkload_entry_type,
    kworkload_group_type, krequest_auth_type, kknown_type, kistio_gateway_type, kdeployment_type,
    kdaemon_set_type, kautoscaler_type, kdisruption_budget_type, knetwork_policy_type,
    kwebhooks_type, kvirtual_service_type, kdestination_rule_type, ktelemetry_type, ksecret_type,
    kconfig_map_type;
/* Parts of kinds. */
extern const struct ktype kselector_type; /* Istio's */
extern const struct ktype kvs_retries_type;
extern const struct kfield ktarget_item;
extern const struct ktype klabel_selector_type, kparent_ref_type, kbackend_only_type;
extern const struct kfield kstatus_condition_item, kgateway_hostname_item, khttp_filter_item,
    kgrpc_filter_item;
/* What no single filter can tell: which may not stand twice, or beside another. */
struct kroute_filter;
bool kfilters_check(const struct kroute_filter *v, uint32_t n, struct kwhy *why);
/* "metadata" of every kind, at the same place. */
extern const struct ktype kmeta_type;
#define KMETA_FIELD                         \
    {.name = "metadata",                    \
     .form = KF_STRUCT,                     \
     .flags = KFL_REQUIRED | KFL_LOOSE,     \
     .offset = offsetof(struct kobj, meta), \
     .type = &kmeta_type}

extern const struct kmap_rule klabels_rule, kannotations_rule;

/* Bytes of one element in memory. */
size_t kfield_size(const struct kfield *f);
/* Memory as it is for a document that says nothing: zeros, empty texts, defaults. */
void kclear_struct(const struct ktype *t, void *out);
void kclear(const struct kfield *f, void *out);

/* doc → the type's struct, in one block of mem_alloc(); *ret_size its bytes. ret_msg: "path: reason". */
NODISCARD enum rc kdecode(const struct ktype *t, const struct node *doc, void **ret,
                          size_t *ret_size, unsigned *ret_line, struct errmsg *ret_msg);
/* The members, without braces; a comma before the first when *some. */
void kencode(const struct ktype *t, const void *obj, struct strbuf *out, bool *some);

/* Sets why and returns false. */
bool kwhy_set(struct kwhy *why, const char *field, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* -- texts of values -- */
/* Go's time.ParseDuration without signs; ms, rounded up; at most KDURATION_MAX_MS. */
#define KDURATION_MAX_MS ((int64_t)366 * 86400 * 1000)
NODISCARD bool kduration_parse(struct str s, int64_t *ret_ms);
/* Standard base64 with padding, without line ends. out has room for s.n / 4 * 3 bytes. */
NODISCARD bool kbase64_decode(struct str s, char *out, size_t *ret_n);
void kbase64_encode(struct str s, struct strbuf *out);

/* -- checks -- */
const char *kcheck_subdomain(struct str s); /* DNS-1123, at most 253 */
const char *kcheck_label(struct str s);     /* DNS-1123, at most 63 */
const char *kcheck_label_key(struct str s); /* [PREFIX/]NAME */
const char *kcheck_label_value(struct str s);
const char *kcheck_not_empty(struct str s);
const char *kcheck_header_name(struct str s); /* RFC 9110 5.6.2, a token */
const char *kcheck_header_value(struct str s);
const char *kcheck_group(struct str s); /* of an API; may be empty */
const char *kcheck_kind(struct str s);
const char *kcheck_controller(struct str s);   /* DOMAIN/PATH */
const char *kcheck_gep_duration(struct str s); /* Gateway API, GEP-2257: "1h30m", no fractions */
