#include "lib/http/h1_request.h"

#define BODY_LEN_MAX ((uint64_t)1 << 40) /* any number a server would refuse anyway */

static bool is_token_char(unsigned char c)
{
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
        return true;
    return c && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

static bool is_token(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_token_char((unsigned char)s.p[i]))
            return false;
    return s.n > 0;
}

/* Visible, spaces and tabs, and bytes over 0x7f (obs-text). */
static bool is_value(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

/* The line up to CRLF; *rest what follows. RC_AGAIN without one, RC_INVALID with a bare CR or LF. */
static enum rc line_take(struct str in, struct str *ret_line, struct str *rest)
{
    ptrdiff_t lf = str_find(in, '\n'), cr = str_find(in, '\r');
    if (lf < 0) /* a CR may only be the last byte so far */
        return cr >= 0 && (size_t)cr + 1 < in.n ? RC_INVALID : RC_AGAIN;
    if (lf == 0 || cr != lf - 1)
        return RC_INVALID;
    *ret_line = (struct str){in.p, (size_t)cr};
    *rest = (struct str){in.p + lf + 1, in.n - (size_t)lf - 1};
    return RC_OK;
}

static enum rc target_parse(struct str target, struct h1_request *ret)
{
    if (target.n == 0 || target.p[0] != '/') /* no proxy: origin form only */
        return RC_INVALID;
    for (size_t i = 0; i < target.n; i++)
        if (target.p[i] <= ' ' || target.p[i] > '~' || target.p[i] == '#')
            return RC_INVALID;
    ret->path = str_split(target, '?', &ret->query);
    return RC_OK;
}

static enum rc version_parse(struct str version, struct h1_request *ret)
{
    if (version.n != 8 || !str_starts(version, STR("HTTP/")) || version.p[6] != '.' ||
        version.p[5] < '0' || version.p[5] > '9' || version.p[7] < '0' || version.p[7] > '9')
        return RC_INVALID;
    if (version.p[5] != '1')
        return RC_UNSUPPORTED;
    ret->keep_alive = version.p[7] != '0';
    return RC_OK;
}

static enum rc request_line_parse(struct str line, struct h1_request *ret)
{
    struct str rest, version;
    ret->method = str_split(line, ' ', &rest);
    struct str target = str_split(rest, ' ', &version);
    if (!is_token(ret->method))
        return RC_INVALID;
    enum rc rc = target_parse(target, ret);
    return rc == RC_OK ? version_parse(version, ret) : rc;
}

static enum rc header_parse(struct str line, struct h1_request *ret)
{
    if (ret->headers_n == H1_HEADERS_MAX)
        return RC_LIMIT;
    struct str value, name = str_split(line, ':', &value);
    if (name.n == line.n || !is_token(name) || !is_value(value))
        return RC_INVALID;
    ret->headers[ret->headers_n++] = (struct h1_header){name, str_trim(value)};
    return RC_OK;
}

/* "close" among the words of Connection. */
static bool has_word(struct str list, struct str word)
{
    while (list.n)
        if (str_ieq(str_trim(str_split(list, ',', &list)), word))
            return true;
    return false;
}

/* What the server acts on. */
static enum rc headers_use(struct h1_request *r)
{
    unsigned hosts = 0, lengths = 0;
    bool http10 = !r->keep_alive;
    for (size_t i = 0; i < r->headers_n; i++) {
        struct h1_header h = r->headers[i];
        if (str_ieq(h.name, STR("host"))) {
            hosts++;
        } else if (str_ieq(h.name, STR("content-length"))) {
            lengths++;
            if (!str_to_u64(h.value, BODY_LEN_MAX, &r->body_len))
                return RC_INVALID;
        } else if (str_ieq(h.name, STR("transfer-encoding"))) {
            return RC_UNSUPPORTED;
        } else if (str_ieq(h.name, STR("connection"))) {
            if (has_word(h.value, STR("close")))
                r->keep_alive = false;
        } else if (str_ieq(h.name, STR("expect"))) {
            r->expects = true;
        }
    }
    return lengths > 1 || hosts > 1 || (hosts == 0 && !http10) ? RC_INVALID : RC_OK;
}

enum rc h1_request_parse(struct str in, struct h1_request *ret, size_t *ret_len)
{
    struct str rest = in, line;
    struct h1_request r;
    memset(&r, 0, offsetof(struct h1_request, headers));
    enum rc rc = line_take(rest, &line, &rest);
    if (rc == RC_OK)
        rc = request_line_parse(line, &r);
    while (rc == RC_OK) {
        rc = line_take(rest, &line, &rest);
        if (rc != RC_OK)
            return rc;
        if (line.n == 0)
            break;
        rc = header_parse(line, &r);
    }
    if (rc == RC_OK)
        rc = headers_use(&r);
    if (rc != RC_OK)
        return rc;
    *ret = r;
    *ret_len = in.n - rest.n;
    return RC_OK;
}

struct str h1_request_header(const struct h1_request *r, const char *name)
{
    for (size_t i = 0; i < r->headers_n; i++)
        if (str_ieq(r->headers[i].name, str_of(name)))
            return r->headers[i].value;
    return STR("");
}
