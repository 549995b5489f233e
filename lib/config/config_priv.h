/* Between the files of this folder. */
#pragma once

#include "lib/config/config.h"

/* Parses and stores one value; frees the old one (lists: append adds to it). */
NODISCARD enum rc config_value_set(const struct config_setting *s, void *obj, struct str text,
                                   bool append, struct errmsg *ret_msg);
/* Zero, without looking at what is there. */
void config_value_clear(const struct config_setting *s, void *obj);
void config_value_free(const struct config_setting *s, void *obj);
/* The value as text in the form of the flag. */
void config_value_text(const struct config_setting *s, const void *obj, struct strbuf *out);
/* What stands for the value in help and errors: "DURATION", "FILE", "a|b|c". */
void config_value_kind(const struct config_setting *s, struct strbuf *out);
static inline void *config_field(const struct config_setting *s, void *obj)
{
    return (char *)obj + s->offset;
}
static inline const void *config_field_const(const struct config_setting *s, const void *obj)
{
    return (const char *)obj + s->offset;
}
