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

const char *kcheck_header_name(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_alnum(s.p[i]) && !(s.p[i] && strchr("!#$%&'*+-.^_`|~", s.p[i])))
            return "is not the name of a header: letters, digits and !#$%&'*+-.^_`|~";
    return s.n ? NULL : "must not be empty";
}

/* A line end would let who writes a value write headers of its own. */
const char *kcheck_header_value(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (((unsigned char)s.p[i] < ' ' && s.p[i] != '\t') || s.p[i] == 127)
            return "has a control character";
    return NULL;
}

const char *kcheck_group(struct str s)
{
    return s.n ? kcheck_subdomain(s) : NULL;
}

const char *kcheck_kind(struct str s)
{
    bool good =
        s.n && !(s.p[0] >= '0' && s.p[0] <= '9') && is_alnum(s.p[0]) && is_alnum(s.p[s.n - 1]);
    for (size_t i = 0; i < s.n; i++)
        good = good && (is_alnum(s.p[i]) || s.p[i] == '-');
    return good ? NULL : "must be letters, digits and '-', and start with a letter";
}

const char *kcheck_controller(struct str s)
{
    struct str path, domain = str_split(s, '/', &path);
    return path.n && !kcheck_subdomain(domain) ? NULL : "must be DOMAIN/PATH";
}
