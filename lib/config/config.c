#include "lib/config/config.h"

#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/base/must.h"
#include "lib/config/config_priv.h"

static const struct config_setting *setting_find(const struct config_setting *t, struct str name)
{
    for (; t->name; t++)
        if (str_eqz(name, t->name))
            return t;
    return NULL;
}

static size_t table_len(const struct config_setting *t)
{
    size_t n = 0;
    while (t[n].name)
        n++;
    return n;
}

static void unknown_flag(const struct config_setting *t, struct str name, struct errmsg *ret_msg)
{
    size_t n = table_len(t);
    const char **names AUTO_FREE = mem_calloc(n + 1, sizeof(*names));
    for (size_t i = 0; i < n; i++)
        names[i] = t[i].name;
    names[n] = "help";
    const char *near = str_nearest(name, names, n + 1);
    errmsg_set(ret_msg, "--%.*s: there is no such flag%s%s%s", (int)MIN(name.n, (size_t)100),
               name.p, near ? ", did you mean --" : "", near ? near : "",
               near ? "?" : "; see --help");
}

static bool is_bool_word(const char *s)
{
    return s && (strcmp(s, "true") == 0 || strcmp(s, "false") == 0);
}

struct flags {
    const struct config_setting *table;
    void *obj;
    bool *given; /* by flag, for lists: the first replaces, the next add */
};

/* One flag at argv[*at]; *at moves past its value. */
static enum rc flag_take(struct flags *f, int argc, const char *const argv[], int *at,
                         struct errmsg *ret_msg)
{
    const char *arg = argv[(*at)++];
    if (strncmp(arg, "--", 2) != 0 || arg[2] == '\0') {
        errmsg_set(ret_msg, "\"%.100s\": no argument is expected here; flags start with --", arg);
        return RC_INVALID;
    }
    struct str value, name = str_split(str_of(arg + 2), '=', &value);
    bool inline_value = str_find(str_of(arg), '=') >= 0;
    const struct config_setting *s = setting_find(f->table, name);
    if (!s) {
        unknown_flag(f->table, name, ret_msg);
        return RC_INVALID;
    }
    if (!inline_value && s->type == CONFIG_BOOL && !(*at < argc && is_bool_word(argv[*at]))) {
        value = STR("true");
    } else if (!inline_value && *at >= argc) {
        struct strbuf kind AUTO_STRBUF;
        strbuf_init(&kind, 200);
        config_value_kind(s, &kind);
        errmsg_set(ret_msg, "--%s: needs a value: --%s %s", s->name, s->name, kind.p);
        return RC_INVALID;
    } else if (!inline_value) {
        value = str_of(argv[(*at)++]);
    }
    bool *given = &f->given[s - f->table];
    enum rc rc = config_value_set(s, f->obj, value, *given, ret_msg);
    if (rc != RC_OK)
        errmsg_prefix(ret_msg, "--%s", s->name);
    *given = true;
    return rc;
}

static enum rc environment_take(const struct config_setting *t, void *obj, struct errmsg *ret_msg)
{
    for (; t->name; t++) {
        struct str rest = str_of(t->env);
        while (rest.n) {
            struct str name = str_split(rest, '|', &rest);
            char *z AUTO_FREE = str_dup(name);
            const char *value = getenv(z);
            if (!value || !*value)
                continue;
            enum rc rc = config_value_set(t, obj, str_of(value), false, ret_msg);
            if (rc != RC_OK) {
                errmsg_prefix(ret_msg, "environment variable %s", z);
                return rc;
            }
            break;
        }
    }
    return RC_OK;
}

static void defaults_take(const struct config_setting *t, void *obj)
{
    for (; t->name; t++) {
        config_value_clear(t, obj);
        struct errmsg e;
        if (t->text && config_value_set(t, obj, str_of(t->text), false, &e) != RC_OK)
            must_die("default of --%s: %s", t->name, e.text);
    }
}

static bool has_value(const struct config_setting *s, const void *obj)
{
    struct strbuf b AUTO_STRBUF;
    strbuf_init(&b, 8);
    config_value_text(s, obj, &b);
    return b.n > 0;
}

static enum rc required_check(const struct config_setting *t, const void *obj,
                              struct errmsg *ret_msg)
{
    for (; t->name; t++) {
        if (!t->required || has_value(t, obj))
            continue;
        struct strbuf kind AUTO_STRBUF;
        strbuf_init(&kind, 200);
        config_value_kind(t, &kind);
        errmsg_set(ret_msg, "--%s %s is missing: %s", t->name, kind.p, t->doc);
        return RC_INVALID;
    }
    return RC_OK;
}

static enum rc parse(const struct config_setting *t, void *obj, int argc, const char *const argv[],
                     struct errmsg *ret_msg)
{
    enum rc rc = environment_take(t, obj, ret_msg);
    struct flags f = {t, obj, mem_calloc(table_len(t) + 1, sizeof(bool))};
    for (int at = 0; rc == RC_OK && at < argc;)
        rc = flag_take(&f, argc, argv, &at, ret_msg);
    free(f.given);
    return rc == RC_OK ? required_check(t, obj, ret_msg) : rc;
}

enum rc config_parse(const struct config_setting *table, void *obj, int argc,
                     const char *const argv[], struct errmsg *ret_msg)
{
    defaults_take(table, obj);
    enum rc rc = parse(table, obj, argc, argv, ret_msg);
    if (rc != RC_OK)
        config_fini(table, obj);
    return rc;
}

enum rc config_set(const struct config_setting *table, void *obj, const char *name,
                   struct str value, struct errmsg *ret_msg)
{
    const struct config_setting *s = setting_find(table, str_of(name));
    if (!s) {
        unknown_flag(table, str_of(name), ret_msg);
        return RC_INVALID;
    }
    enum rc rc = config_value_set(s, obj, value, false, ret_msg);
    if (rc != RC_OK)
        errmsg_prefix(ret_msg, "--%s", name);
    return rc;
}

void config_fini(const struct config_setting *table, void *obj)
{
    for (; table->name; table++)
        config_value_free(table, obj);
}

bool config_wants_help(int argc, const char *const argv[])
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}
