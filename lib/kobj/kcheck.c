/* Forms of names, as the Kubernetes API server checks them. */
#include "lib/kobj/ktable.h"

static bool is_lower(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
    return is_lower(c) || (c >= 'A' && c <= 'Z');
}

static bool dns_label(struct str s)
{
    if (s.n == 0 || !is_lower(s.p[0]) || !is_lower(s.p[s.n - 1]))
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!is_lower(s.p[i]) && s.p[i] != '-')
            return false;
    return true;
}

const char *kcheck_label(struct str s)
{
    if (s.n > 63)
        return "must be no more than 63 bytes";
    return dns_label(s) ? NULL
                        : "must be lower case letters, digits and '-', and start and end with a "
                          "letter or digit";
}

const char *kcheck_subdomain(struct str s)
{
    struct str rest = s;
    if (s.n > 253)
        return "must be no more than 253 bytes";
    do {
        bool last = str_find(rest, '.') < 0;
        struct str part = str_split(rest, '.', &rest);
        if (!dns_label(part))
            return "must be lower case letters, digits, '-' and '.', and each part must start and "
                   "end with a letter or digit";
        if (last)
            return NULL;
    } while (true);
}

/* Letters, digits, '-', '_', '.'; the ends are letters or digits. */
static bool qualified(struct str s)
{
    if (s.n == 0 || s.n > 63 || !is_alnum(s.p[0]) || !is_alnum(s.p[s.n - 1]))
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!is_alnum(s.p[i]) && s.p[i] != '-' && s.p[i] != '_' && s.p[i] != '.')
            return false;
    return true;
}

const char *kcheck_label_key(struct str s)
{
    if (str_find(s, '/') >= 0) {
        struct str prefix = str_split(s, '/', &s);
        if (kcheck_subdomain(prefix))
            return "has a prefix that is not a DNS name in lower case";
    }
    return qualified(s) ? NULL
                        : "must be [PREFIX/]NAME, NAME 1 to 63 letters, digits, '-', '_' and '.', "
                          "starting and ending with a letter or digit";
}

const char *kcheck_label_value(struct str s)
{
    if (s.n == 0 || qualified(s))
        return NULL;
    return s.n > 63 ? "must be no more than 63 bytes"
                    : "must be letters, digits, '-', '_' and '.', and start and end with a letter "
                      "or digit";
}

const char *kcheck_not_empty(struct str s)
{
    return s.n ? NULL : "must not be empty";
}
