#include "cni/away.h"

#include <sys/stat.h>

#include "lib/base/file.h"
#include "lib/base/mem.h"

#define LIST_MAX  (8u << 20) /* of bytes: 100,000 namespaces */
#define LIST_HEAD "mesh-namespaces 1"

static const char *const words[] = {
    [AWAY_EXCLUDED] = "excluded", [AWAY_OPEN] = "open", [AWAY_ENROLLED] = "enrolled"};

void away_begin(struct strbuf *out)
{
    strbuf_addz(out, LIST_HEAD "\n");
}

void away_add(struct strbuf *out, enum away_kind k, struct str ns)
{
    strbuf_printf(out, "%s %.*s\n", words[k], STR_ARG(ns));
}

enum rc away_write(const char *state, struct str list, struct errmsg *ret_msg)
{
    char *path AUTO_FREE = mem_printf("%s/namespaces", state);
    mkdir(state, 0700);
    if (list.n > LIST_MAX) {
        errmsg_set(ret_msg, "%s: would be over %u bytes", path, LIST_MAX);
        return RC_LIMIT;
    }
    return file_replace(path, 0600, list, ret_msg);
}

static enum rc look_up(struct str list, struct str ns, enum away_kind *ret)
{
    if (!str_eqz(str_split(list, '\n', &list), LIST_HEAD))
        return RC_INVALID;
    while (list.n) {
        struct str name, word = str_split(str_split(list, '\n', &list), ' ', &name);
        if (!str_eq(name, ns))
            continue;
        for (size_t i = 0; i < ARRAY_LEN(words); i++) {
            if (str_eqz(word, words[i])) {
                *ret = (enum away_kind)i;
                return RC_OK;
            }
        }
        return RC_INVALID;
    }
    return RC_NOT_FOUND;
}

enum rc away_ask(const char *state, struct str ns, const char *system_ns, enum away_kind *ret_kind,
                 struct errmsg *ret_msg)
{
    char *path AUTO_FREE = mem_printf("%s/namespaces", state);
    struct strbuf list AUTO_STRBUF;
    enum away_kind kind = AWAY_ENROLLED;
    strbuf_init(&list, LIST_MAX);
    if (str_eqz(ns, system_ns)) {
        *ret_kind = AWAY_EXCLUDED;
        return RC_OK;
    }
    enum rc rc = file_read(path, LIST_MAX, &list, ret_msg);
    if (rc != RC_OK)
        return rc;
    rc = look_up(strbuf_str(&list), ns, &kind);
    if (rc == RC_INVALID) {
        errmsg_set(ret_msg, "%s: not a list of namespaces", path);
        return rc;
    }
    if (rc != RC_OK || kind == AWAY_ENROLLED) {
        errmsg_set(ret_msg, "namespace %.*s %s", (int)MIN(ns.n, (size_t)253), ns.p,
                   rc == RC_OK ? "is enrolled" : "was not known when an agent last ran");
        return RC_DENIED;
    }
    *ret_kind = kind;
    return RC_OK;
}
