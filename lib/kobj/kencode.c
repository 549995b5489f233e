/* An object through its table, as JSON. What is empty, zero or the default is left out. */
#include "lib/kobj/core.h"
#include "lib/kobj/ktable.h"
#include "lib/kobj/ktime.h"

static void quoted(struct strbuf *out, struct str s)
{
    strbuf_addc(out, '"');
    strbuf_add_json(out, s);
    strbuf_addc(out, '"');
}

static void member(struct strbuf *out, struct str name, bool *some)
{
    if (*some)
        strbuf_addc(out, ',');
    *some = true;
    quoted(out, name);
    strbuf_addc(out, ':');
}

static void encode_object(const struct ktype *t, const void *obj, struct strbuf *out)
{
    bool some = false;
    strbuf_addc(out, '{');
    kencode(t, obj, out, &some);
    strbuf_addc(out, '}');
}

static void quoted_base64(struct strbuf *out, struct str s)
{
    strbuf_addc(out, '"');
    kbase64_encode(s, out);
    strbuf_addc(out, '"');
}

static void encode_map(const struct kmap *m, const struct kmap_rule *rule, struct strbuf *out)
{
    bool some = false;
    strbuf_addc(out, '{');
    for (uint32_t i = 0; i < m->n; i++) {
        member(out, m->v[i].key, &some);
        if (rule->base64)
            quoted_base64(out, m->v[i].value);
        else
            quoted(out, m->v[i].value);
    }
    strbuf_addc(out, '}');
}

static void encode_value(const struct kfield *f, const void *p, struct strbuf *out);

static void encode_list(const struct kfield *of, const struct klist *l, struct strbuf *out)
{
    size_t size = kfield_size(of);
    strbuf_addc(out, '[');
    for (uint32_t i = 0; i < l->n; i++) {
        if (i)
            strbuf_addc(out, ',');
        encode_value(of, (const char *)l->v + i * size, out);
    }
    strbuf_addc(out, ']');
}

static void encode_dict(const struct ktype *t, const struct klist *l, struct strbuf *out)
{
    bool some = false;
    strbuf_addc(out, '{');
    for (uint32_t i = 0; i < l->n; i++) {
        const void *item = (const char *)l->v + i * t->size;
        member(out, *(const struct str *)item, &some);
        encode_object(t, item, out);
    }
    strbuf_addc(out, '}');
}

static void encode_numbers(const struct klist *l, struct strbuf *out)
{
    const struct knumber *v = l->v;
    bool some = false;
    strbuf_addc(out, '{');
    for (uint32_t i = 0; i < l->n; i++) {
        member(out, v[i].key, &some);
        strbuf_printf(out, "%d", v[i].value);
    }
    strbuf_addc(out, '}');
}

static void encode_net(const struct kfield *f, const void *p, struct strbuf *out)
{
    char buf[ADDR_TEXT];
    const struct cidr *c = p;
    const struct addr *a = f->form == KF_CIDR ? &c->base : p;
    strbuf_addc(out, '"');
    strbuf_add(out, buf, addr_format_ip(a, buf));
    if (f->form == KF_CIDR && c->bits != addr_len(a) * 8)
        strbuf_printf(out, "/%u", c->bits);
    strbuf_addc(out, '"');
}

static void encode_value(const struct kfield *f, const void *p, struct strbuf *out)
{
    const struct kport_or_name *target = p;
    switch ((enum kform)f->form) {
    case KF_SKIP:
    case KF_ONE:       break;
    case KF_STRING:    quoted(out, *(const struct str *)p); break;
    case KF_FOUND:     strbuf_addz(out, "{}"); break;
    case KF_BOOL:      strbuf_addz(out, *(const bool *)p ? "true" : "false"); break;
    case KF_TRI:       strbuf_addz(out, *(const uint8_t *)p == KTRI_TRUE ? "true" : "false"); break;
    case KF_ENUM:      quoted(out, str_of(f->words[*(const uint8_t *)p])); break;
    case KF_PORT:      strbuf_addu(out, *(const uint16_t *)p); break;
    case KF_PORT_TEXT: strbuf_printf(out, "\"%u\"", *(const uint16_t *)p); break;
    case KF_INT_OR_NAME:
        if (target->port)
            strbuf_addu(out, target->port);
        else
            quoted(out, target->name);
        break;
    case KF_BYTES: quoted_base64(out, *(const struct str *)p); break;
    case KF_INT:   strbuf_printf(out, "%d", *(const int32_t *)p); break;
    case KF_DECIMAL:
        strbuf_printf(out, "%lld.%06lld", (long long)(*(const int64_t *)p / 1000000),
                      (long long)(*(const int64_t *)p % 1000000));
        break;
    case KF_DURATION: strbuf_printf(out, "\"%lldms\"", (long long)*(const int64_t *)p); break;
    case KF_INT64:    strbuf_addu(out, (uint64_t) * (const int64_t *)p); break;
    case KF_TIME:
        strbuf_addc(out, '"');
        ktime_print(*(const int64_t *)p, out);
        strbuf_addc(out, '"');
        break;
    case KF_ADDR:
    case KF_CIDR:    encode_net(f, p, out); break;
    case KF_MAP:     encode_map(p, f->map, out); break;
    case KF_STRUCT:  encode_object(f->type, p, out); break;
    case KF_OPTION:  encode_object(f->type, *(const void *const *)p, out); break;
    case KF_LIST:    encode_list(f->of, p, out); break;
    case KF_NUMBERS: encode_numbers(p, out); break;
    case KF_DICT:    encode_dict(f->type, p, out); break;
    }
}

static bool absent(const struct kfield *f, const void *p)
{
    const struct kport_or_name *target = p;
    switch ((enum kform)f->form) {
    case KF_SKIP:
    case KF_ONE:         return true;
    case KF_STRING:
    case KF_BYTES:       return str_eqz(*(const struct str *)p, f->text ? f->text : "");
    case KF_INT:         return *(const int32_t *)p == f->def;
    case KF_DECIMAL:
    case KF_DURATION:    return *(const int64_t *)p < 0;
    case KF_FOUND:
    case KF_BOOL:        return !*(const bool *)p;
    case KF_TRI:
    case KF_ENUM:        return *(const uint8_t *)p == 0;
    case KF_PORT:        return *(const uint16_t *)p == 0;
    case KF_INT_OR_NAME: return target->port == 0 && target->name.n == 0;
    case KF_INT64:
    case KF_TIME:        return *(const int64_t *)p == 0;
    case KF_MAP:
    case KF_LIST:
    case KF_NUMBERS:
    case KF_DICT:        return ((const struct klist *)p)->n == 0;
    case KF_OPTION:      return *(const void *const *)p == NULL;
    case KF_ADDR:        return ((const struct addr *)p)->family == 0;
    case KF_PORT_TEXT:
    case KF_CIDR:
    case KF_STRUCT:      return false;
    }
    return false;
}

/* A struct whose fields lie in its parent leaves nothing behind when they are all absent. */
static bool encode_inline(const struct ktype *t, const void *obj, struct strbuf *out, size_t from)
{
    bool some = false;
    strbuf_addc(out, '{');
    kencode(t, obj, out, &some);
    strbuf_addc(out, '}');
    if (!some && !out->truncated) {
        out->n = from;
        out->p[from] = '\0';
    }
    return some;
}

void kencode(const struct ktype *t, const void *obj, struct strbuf *out, bool *some)
{
    for (const struct kfield *f = t->fields; f->name; f++) {
        const void *p = (const char *)obj + f->offset;
        /* an empty text may be what is required; one lying in the parent may be of a part that is absent */
        bool must = t->size && f->form == KF_STRING && (f->flags & KFL_REQUIRED);
        if (!must && absent(f, p))
            continue;
        bool before = *some;
        size_t from = out->n;
        member(out, str_of(f->name), some);
        if (f->form != KF_STRUCT || f->type->size)
            encode_value(f, p, out);
        else if (!encode_inline(f->type, p, out, from))
            *some = before;
    }
}
