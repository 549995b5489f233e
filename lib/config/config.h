/* Declarative settings: one table a role, which gives flags (--name value, --name=value), environment
 * variables, --help, the admin dump and the reference page. Nothing global: values go into a struct of
 * the caller's, whose fields the table names by offset. A flag wins over the environment, that over
 * the default; an empty environment variable counts as unset. Any thread, no state. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/rc.h"
#include "lib/base/str.h"

enum config_type {                /* the field it fills */
                   CONFIG_STRING, /* const char *, owned by the struct; NULL without a value */
                   CONFIG_BOOL,   /* bool; true and false only; the bare flag means true */
                   CONFIG_U32,    /* uint32_t */
                   CONFIG_U64,    /* uint64_t */
                   CONFIG_PORT,   /* uint16_t */
                   CONFIG_DURATION_MS, /* int64_t, milliseconds; "100ms" "5s" "5m" "24h"; a bare number: seconds */
                   CONFIG_BYTES, /* uint64_t; "65536", "64KiB", "4MiB", "1GiB" */
                   CONFIG_ADDRESS, /* const char *, as written: "ip:port" or "[ip]:port", checked; port 0: any */
                   CONFIG_ENUM, /* int, index into words */
                   CONFIG_LIST, /* struct config_list; comma separated; each flag again adds */
};

struct config_list {
    size_t n;
    const char **v; /* owned, as their texts are */
};

struct config_setting {
    const char *name; /* of the flag, without "--"; NULL ends the table */
    enum config_type type;
    size_t offset;
    const char *text; /* the default, in the form of the flag; NULL: none (0, false, empty) */
    const char *env;  /* NULL: none; two names may be given, "A|B": A wins */
    const char *unit; /* what stands for the value in --help: FILE, DIR, …; NULL: by type */
    const char *doc;  /* one or more sentences, each ending in a full stop */
    int64_t min, max; /* of numbers, in the field's unit; both 0: only the type's own limits */
    const char *const *words; /* CONFIG_ENUM: NULL-ended */
    bool required;            /* no value at all is an error */
    bool secret;              /* its value is never shown */
    bool reloadable;
};

#define CONFIG_END {.name = NULL}

/* Defaults, then environment, then flags, then `required`. obj is overwritten (not freed before).
 * argv: without program and role words. On failure obj holds nothing to free.
 * Errors: RC_INVALID with the flag or variable, the reason and the remedy in ret_msg. */
NODISCARD enum rc config_parse(const struct config_setting *table, void *obj, int argc,
                               const char *const argv[], struct errmsg *ret_msg);
/* One value from text, with its checks: for reload and tests. The old one stays on failure. */
NODISCARD enum rc config_set(const struct config_setting *table, void *obj, const char *name,
                             struct str value, struct errmsg *ret_msg);
void config_fini(const struct config_setting *table, void *obj);

/* Is "--help" or "-h" among the arguments (before a "--")? */
bool config_wants_help(int argc, const char *const argv[]);
/* usage: "mesh ztunnel"; about: what the role is, one line or more. */
void config_help(const struct config_setting *table, const char *usage, const char *about,
                 struct strbuf *out);
/* A JSON object: name → value, durations and sizes as text; secrets as "(set)" or "". */
void config_dump(const struct config_setting *table, const void *obj, struct strbuf *out);
/* Rows of a Markdown table, with its head. */
void config_markdown(const struct config_setting *table, struct strbuf *out);
