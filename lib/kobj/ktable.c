/* What tables say of memory. */
#include "lib/kobj/ktable.h"

#include <string.h>

#include "lib/kobj/core.h"

size_t kfield_size(const struct kfield *f)
{
    switch ((enum kform)f->form) {
    case KF_SKIP:        return 0;
    case KF_STRING:      return sizeof(struct str);
    case KF_FOUND:
    case KF_BOOL:        return sizeof(bool);
    case KF_TRI:
    case KF_ENUM:        return sizeof(uint8_t);
    case KF_PORT:
    case KF_PORT_TEXT:   return sizeof(uint16_t);
    case KF_INT_OR_NAME: return sizeof(struct kport_or_name);
    case KF_BYTES:       return sizeof(struct str);
    case KF_INT:         return sizeof(int32_t);
    case KF_INT64:
    case KF_DECIMAL:
    case KF_DURATION:
    case KF_TIME:        return sizeof(int64_t);
    case KF_ADDR:        return sizeof(struct addr);
    case KF_CIDR:        return sizeof(struct cidr);
    case KF_MAP:         return sizeof(struct kmap);
    case KF_STRUCT:      return f->type->size;
    case KF_OPTION:      return sizeof(void *);
    case KF_LIST:
    case KF_ONE:
    case KF_NUMBERS:
    case KF_DICT:        return sizeof(struct klist);
    }
    return 0;
}

/* Texts are empty ones, fit for "%s", or what the API's default is. */
static void set_absent(const struct ktype *t, char *out)
{
    for (const struct kfield *f = t->fields; f->name; f++) {
        void *at = out + f->offset;
        switch ((enum kform)f->form) {
        case KF_STRING:
        case KF_BYTES:       *(struct str *)at = str_of(f->text); break;
        case KF_INT_OR_NAME: ((struct kport_or_name *)at)->name = STR(""); break;
        case KF_INT:         *(int32_t *)at = f->def; break;
        case KF_DECIMAL:
        case KF_DURATION:    *(int64_t *)at = -1; break;
        case KF_STRUCT:      set_absent(f->type, at); break;
        default:             break;
        }
    }
}

void kclear_struct(const struct ktype *t, void *out)
{
    memset(out, 0, t->size);
    set_absent(t, out);
}

void kclear(const struct kfield *f, void *out)
{
    memset(out, 0, kfield_size(f));
    if (f->form == KF_STRUCT)
        set_absent(f->type, out);
}
