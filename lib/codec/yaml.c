#include <stdio.h>

#include <yaml.h>

#include "lib/base/mem.h"
#include "lib/base/must.h"
#include "lib/codec/node.h"
#include "lib/codec/node_build.h"

#define TAG "tag:yaml.org,2002:"

struct yaml_state {
    yaml_parser_t parser;
    struct node_build b;
    struct str text;
    struct node *first, *last; /* documents */
};

static enum rc event_fail(struct yaml_state *y, const yaml_event_t *ev, const char *why)
{
    return node_build_fail(&y->b, RC_INVALID, (unsigned)ev->start_mark.line + 1, "%s", why);
}

/* libyaml gave up: its words, and the line it means. */
static enum rc syntax_fail(struct yaml_state *y)
{
    const yaml_parser_t *p = &y->parser;
    unsigned line = (unsigned)p->problem_mark.line + 1;
    const char *context = p->context ? p->context : "";
    if (p->error == YAML_READER_ERROR) { /* it has read ahead: no mark yet */
        line = 1;
        for (size_t i = 0; i < MIN(p->problem_offset, y->text.n); i++)
            line += y->text.p[i] == '\n';
    }
    MUST(p->error != YAML_MEMORY_ERROR);
    return node_build_fail(&y->b, RC_INVALID, line, "not YAML: %s%s%s",
                           p->problem ? p->problem : "malformed", *context ? " " : "", context);
}

/* What a plain scalar with this tag may be: any (no tag), a string, or what the tag says. */
static enum rc apply_tag(struct yaml_state *y, const yaml_event_t *ev, const char *tag,
                         struct yaml_plain *p, struct str text)
{
    static const struct {
        const char *tag;
        enum node_kind kind;
    } kinds[] = {{TAG "null", NODE_NULL},
                 {TAG "bool", NODE_BOOL},
                 {TAG "int", NODE_NUMBER},
                 {TAG "float", NODE_NUMBER}};
    if (strcmp(tag, "!") == 0 || strcmp(tag, TAG "str") == 0) {
        p->kind = NODE_STRING;
        p->text = text;
        p->not_json = false;
        return RC_OK;
    }
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (strcmp(tag, kinds[i].tag) == 0)
            return p->kind == kinds[i].kind
                       ? RC_OK
                       : event_fail(y, ev, "the value is not what its tag says");
    return event_fail(y, ev,
                      "tags other than !!str, !!int, !!float, !!bool and !!null are refused");
}

static enum rc on_scalar(struct yaml_state *y, const yaml_event_t *ev)
{
    struct str text = {(const char *)ev->data.scalar.value, ev->data.scalar.length};
    const char *tag = (const char *)ev->data.scalar.tag;
    unsigned line = (unsigned)ev->start_mark.line + 1;
    bool quoted = ev->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    struct yaml_plain p;
    enum rc rc = RC_OK;
    if (quoted && !tag)
        p = (struct yaml_plain){.kind = NODE_STRING, .text = text};
    else
        yaml_plain_resolve(text, &p);
    if (tag)
        rc = apply_tag(y, ev, tag, &p, text);
    if (rc != RC_OK)
        return rc;
    if (p.not_json)
        return event_fail(y, ev, "infinity and NaN have no form in JSON");
    if (!node_build_wants_key(&y->b))
        return node_build_scalar(&y->b, p.kind, p.text, quoted && p.kind == NODE_STRING, line);
    y->b.line = line;
    if (p.kind == NODE_NULL)
        return event_fail(y, ev, "a key is empty or null");
    if (!quoted && str_eqz(text, "<<"))
        return event_fail(y, ev, "merge keys (<<) are refused");
    return node_build_key(&y->b, p.text); /* bare numbers and booleans too, as Kubernetes has it */
}

static enum rc on_open(struct yaml_state *y, const yaml_event_t *ev, enum node_kind kind,
                       const yaml_char_t *tag)
{
    const char *own = kind == NODE_LIST ? TAG "seq" : TAG "map";
    if (tag && strcmp((const char *)tag, own) != 0)
        return event_fail(y, ev, "the tag is none of a list or map");
    if (node_build_wants_key(&y->b))
        return event_fail(y, ev, "a key is a list or a map, must be a string");
    return node_build_open(&y->b, kind, (unsigned)ev->start_mark.line + 1);
}

static void document_end(struct yaml_state *y)
{
    struct node *doc = node_build_take(&y->b);
    if (doc->kind == NODE_NULL)
        return;
    if (y->last)
        y->last->next = doc;
    else
        y->first = doc;
    y->last = doc;
}

static enum rc on_event(struct yaml_state *y, const yaml_event_t *ev)
{
    bool anchor = (ev->type == YAML_SCALAR_EVENT && ev->data.scalar.anchor) ||
                  (ev->type == YAML_SEQUENCE_START_EVENT && ev->data.sequence_start.anchor) ||
                  (ev->type == YAML_MAPPING_START_EVENT && ev->data.mapping_start.anchor);
    if (anchor || ev->type == YAML_ALIAS_EVENT)
        return event_fail(y, ev,
                          "anchors (&) and aliases (*) are refused; quote a text that "
                          "begins with one");
    switch (ev->type) {
    case YAML_STREAM_END_EVENT:     return RC_EOF;
    case YAML_SCALAR_EVENT:         return on_scalar(y, ev);
    case YAML_SEQUENCE_START_EVENT: return on_open(y, ev, NODE_LIST, ev->data.sequence_start.tag);
    case YAML_MAPPING_START_EVENT:  return on_open(y, ev, NODE_MAP, ev->data.mapping_start.tag);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:    return node_build_close(&y->b);
    case YAML_DOCUMENT_END_EVENT:   document_end(y); return RC_OK;
    default:                        return RC_OK; /* starts of stream and documents */
    }
}

static enum rc utf8_check(struct yaml_state *y)
{
    unsigned line = 1;
    struct str rest = y->text;
    if (str_is_utf8(rest))
        return RC_OK;
    while (rest.n) {
        struct str one = str_split(rest, '\n', &rest);
        if (!str_is_utf8(one))
            break;
        line++;
    }
    return node_build_fail(&y->b, RC_INVALID, line, "not UTF-8");
}

enum rc yaml_parse(struct arena *a, struct str text, struct node **ret, unsigned *ret_line,
                   struct errmsg *ret_msg)
{
    struct yaml_state y = {.b = {.arena = a, .msg = ret_msg}, .text = text};
    enum rc rc = utf8_check(&y);
    if (rc == RC_OK) {
        MUST(yaml_parser_initialize(&y.parser));
        yaml_parser_set_encoding(&y.parser, YAML_UTF8_ENCODING);
        yaml_parser_set_input_string(&y.parser, (const unsigned char *)text.p, text.n);
        while (rc == RC_OK) {
            yaml_event_t ev;
            if (!yaml_parser_parse(&y.parser, &ev)) {
                rc = syntax_fail(&y);
                break;
            }
            rc = on_event(&y, &ev);
            yaml_event_delete(&ev);
        }
        yaml_parser_delete(&y.parser);
    }
    *ret = y.first;
    if (rc == RC_EOF)
        return RC_OK;
    if (ret_line)
        *ret_line = y.b.line;
    return rc;
}
