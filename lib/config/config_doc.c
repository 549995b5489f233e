#include "lib/base/mem.h"
#include "lib/config/config_priv.h"

#define WIDTH  80
#define INDENT 8

/* Words of text, broken at WIDTH, each line indented. */
static void wrap(struct str text, struct strbuf *out)
{
    size_t column = 0;
    while (text.n) {
        struct str word = str_split(text, ' ', &text);
        if (column && column + 1 + word.n > WIDTH) {
            strbuf_addc(out, '\n');
            column = 0;
        }
        strbuf_printf(out, "%*s%.*s", column ? 1 : INDENT, "", STR_ARG(word));
        column = column ? column + 1 + word.n : INDENT + word.n;
    }
    strbuf_addc(out, '\n');
}

static void limits(const struct config_setting *s, struct strbuf *out)
{
    if (s->min == 0 && s->max == 0)
        return;
    const char *unit = s->type == CONFIG_DURATION_MS ? " ms"
                       : s->type == CONFIG_BYTES     ? " bytes"
                                                     : "";
    if (s->max)
        strbuf_printf(out, " From %lld to %lld%s.", (long long)s->min, (long long)s->max, unit);
    else
        strbuf_printf(out, " At least %lld%s.", (long long)s->min, unit);
}

static void env_names(const struct config_setting *s, const char *quote, struct strbuf *out)
{
    struct str rest = str_of(s->env);
    for (bool first = true; rest.n; first = false) {
        struct str name = str_split(rest, '|', &rest);
        strbuf_printf(out, "%s%s%.*s%s", first ? "" : ", ", quote, STR_ARG(name), quote);
    }
}

void config_help(const struct config_setting *table, const char *usage, const char *about,
                 struct strbuf *out)
{
    strbuf_printf(out, "Usage: %s [--flag VALUE | --flag=VALUE]...\n\n%s\n\nFlags:\n", usage,
                  about);
    for (const struct config_setting *s = table; s->name; s++) {
        strbuf_printf(out, "  --%s ", s->name);
        config_value_kind(s, out);
        strbuf_addc(out, '\n');
        struct strbuf doc AUTO_STRBUF;
        strbuf_init(&doc, 4096);
        strbuf_addz(&doc, s->doc);
        limits(s, &doc);
        if (s->text && *s->text)
            strbuf_printf(&doc, " Default: %s.", s->text);
        else if (s->required)
            strbuf_addz(&doc, " Required.");
        if (s->env) {
            strbuf_addz(&doc, " Environment: ");
            env_names(s, "", &doc);
            strbuf_addc(&doc, '.');
        }
        wrap(strbuf_str(&doc), out);
    }
    strbuf_addz(out, "  --help\n        Prints this text.\n");
}

static bool is_bare(enum config_type t)
{
    return t == CONFIG_BOOL || t == CONFIG_U32 || t == CONFIG_U64 || t == CONFIG_PORT;
}

static void dump_list(const struct config_list *l, struct strbuf *out)
{
    strbuf_addc(out, '[');
    for (size_t i = 0; i < l->n; i++) {
        strbuf_addz(out, i ? ",\"" : "\"");
        strbuf_add_json(out, str_of(l->v[i]));
        strbuf_addc(out, '"');
    }
    strbuf_addc(out, ']');
}

void config_dump(const struct config_setting *table, const void *obj, struct strbuf *out)
{
    strbuf_addc(out, '{');
    for (const struct config_setting *s = table; s->name; s++) {
        struct strbuf text AUTO_STRBUF;
        strbuf_init(&text, 8192);
        config_value_text(s, obj, &text);
        strbuf_printf(out, "%s\n  \"%s\": ", s == table ? "" : ",", s->name);
        if (s->secret) {
            strbuf_addz(out, text.n ? "\"(set)\"" : "\"\"");
        } else if (s->type == CONFIG_LIST) {
            dump_list(config_field_const(s, obj), out);
        } else if (is_bare(s->type)) {
            strbuf_adds(out, strbuf_str(&text));
        } else {
            strbuf_addc(out, '"');
            strbuf_add_json(out, strbuf_str(&text));
            strbuf_addc(out, '"');
        }
    }
    strbuf_addz(out, "\n}");
}

/* A cell: "|" would end it. */
static void cell(struct str s, struct strbuf *out)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '|')
            strbuf_addc(out, '\\');
        strbuf_addc(out, s.p[i]);
    }
}

void config_markdown(const struct config_setting *table, struct strbuf *out)
{
    strbuf_addz(out, "| Flag | Value | Default | Environment | What it does |\n"
                     "|---|---|---|---|---|\n");
    for (const struct config_setting *s = table; s->name; s++) {
        struct strbuf kind AUTO_STRBUF;
        strbuf_init(&kind, 400);
        config_value_kind(s, &kind);
        strbuf_printf(out, "| `--%s` | ", s->name);
        cell(strbuf_str(&kind), out);
        strbuf_addz(out, " | ");
        if (s->text && *s->text) {
            strbuf_addc(out, '`');
            cell(str_of(s->text), out);
            strbuf_addc(out, '`');
        } else if (s->required) {
            strbuf_addz(out, "required");
        }
        strbuf_addz(out, " | ");
        env_names(s, "`", out);
        strbuf_addz(out, " | ");
        cell(str_of(s->doc), out);
        limits(s, out);
        if (s->reloadable)
            strbuf_addz(out, " Reloadable.");
        strbuf_addz(out, " |\n");
    }
}
