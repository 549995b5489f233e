#include "cni/attachment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/mem.h"

#define CONTAINER_MAX 200 /* with an interface and a temporary name's dots still a file name */
#define IFNAME_MAX    15  /* IFNAMSIZ without the NUL */
#define NAME_MAX_K8S  253
#define NETNS_MAX     4095

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool attachment_container_ok(struct str s)
{
    if (s.n == 0 || s.n > CONTAINER_MAX || !is_alnum(s.p[0]))
        return false;
    for (size_t i = 1; i < s.n; i++)
        if (!is_alnum(s.p[i]) && s.p[i] != '_' && s.p[i] != '.' && s.p[i] != '-')
            return false;
    return true;
}

bool attachment_ifname_ok(struct str s)
{
    if (s.n == 0 || s.n > IFNAME_MAX || str_eqz(s, ".") || str_eqz(s, "..") || !str_is_utf8(s))
        return false; /* what is not UTF-8 would be another name in JSON */
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || s.p[i] == '/' || s.p[i] == ':' || s.p[i] == 0x7f)
            return false;
    return true;
}

bool attachment_pod_name_ok(struct str s)
{
    if (s.n == 0 || s.n > NAME_MAX_K8S || !is_alnum(s.p[0]))
        return false;
    for (size_t i = 1; i < s.n; i++)
        if (!is_alnum(s.p[i]) && s.p[i] != '.' && s.p[i] != '-')
            return false;
    return true;
}

/* -- as text -- */

static void put(struct strbuf *out, const char *key, struct str value)
{
    strbuf_printf(out, "%s\"%s\":\"", out->p[out->n - 1] == '{' ? "" : ",", key);
    strbuf_add_json(out, value);
    strbuf_addc(out, '"');
}

void attachment_format(const struct attachment *a, struct strbuf *out)
{
    strbuf_addc(out, '{');
    put(out, "container", a->container);
    put(out, "interface", a->ifname);
    put(out, "netns", a->netns);
    strbuf_printf(out, ",\"device\":%llu,\"inode\":%llu", (unsigned long long)a->id.dev,
                  (unsigned long long)a->id.ino);
    put(out, "namespace", a->ns);
    put(out, "name", a->name);
    put(out, "uid", a->uid);
    strbuf_addz(out, ",\"ips\":[");
    for (size_t i = 0; i < a->n_ips; i++) {
        char text[ADDR_TEXT];
        addr_format_ip(&a->ips[i], text);
        strbuf_printf(out, "%s\"%s\"", i ? "," : "", text);
    }
    strbuf_printf(out, "],\"passed\":%s}", a->passed ? "true" : "false");
}

static enum rc refuse(struct errmsg *msg, const char *key, const char *why)
{
    errmsg_set(msg, "%s: %s", key, why);
    return RC_INVALID;
}

static uint64_t number(const struct node *n)
{
    uint64_t v = 0;
    return n && n->kind == NODE_NUMBER && str_to_u64(n->text, UINT64_MAX, &v) ? v : 0;
}

static enum rc parse_ips(const struct node *ips, struct attachment *a, struct errmsg *msg)
{
    NODE_FOREACH (ip, ips) {
        if (a->n_ips == ATTACHMENT_IPS_MAX) {
            errmsg_set(msg, "ips: more than %d", ATTACHMENT_IPS_MAX);
            return RC_LIMIT;
        }
        if (addr_parse_ip(node_str(ip), &a->ips[a->n_ips++]) != RC_OK)
            return refuse(msg, "ips", "not an IP address");
    }
    return RC_OK;
}

enum rc attachment_parse(const struct node *n, struct attachment *ret, struct errmsg *ret_msg)
{
    if (!n || n->kind != NODE_MAP)
        return refuse(ret_msg, "attachment", "not a map");
    struct attachment a = {
        .container = node_str(node_get(n, "container")),
        .ifname = node_str(node_get(n, "interface")),
        .netns = node_str(node_get(n, "netns")),
        .ns = node_str(node_get(n, "namespace")),
        .name = node_str(node_get(n, "name")),
        .uid = node_str(node_get(n, "uid")),
    };
    a.id.dev = (dev_t)number(node_get(n, "device"));
    a.id.ino = (ino_t)number(node_get(n, "inode"));
    const struct node *passed = node_get(n, "passed");
    a.passed = passed && passed->kind == NODE_BOOL && str_eqz(passed->text, "true");
    if (!attachment_container_ok(a.container))
        return refuse(ret_msg, "container", "not a container id");
    if (!attachment_ifname_ok(a.ifname))
        return refuse(ret_msg, "interface", "not an interface's name");
    if (a.netns.n > NETNS_MAX || memchr(a.netns.p, 0, a.netns.n))
        return refuse(ret_msg, "netns", "not a path");
    if (a.ns.n && !attachment_pod_name_ok(a.ns))
        return refuse(ret_msg, "namespace", "not a name");
    if (a.name.n && !attachment_pod_name_ok(a.name))
        return refuse(ret_msg, "name", "not a name");
    if (a.uid.n && !attachment_pod_name_ok(a.uid))
        return refuse(ret_msg, "uid", "not a uid");
    enum rc rc = parse_ips(node_get(n, "ips"), &a, ret_msg);
    if (rc == RC_OK)
        *ret = a;
    return rc;
}

static struct str move(char **at, struct str s)
{
    struct str to = {*at, s.n};
    memcpy(*at, s.p, s.n);
    (*at)[s.n] = '\0';
    *at += s.n + 1;
    return to;
}

struct attachment *attachment_dup(const struct attachment *a)
{
    size_t n =
        a->container.n + a->ifname.n + a->netns.n + a->ns.n + a->name.n + a->uid.n + 6 /* NULs */;
    struct attachment *d = mem_alloc(sizeof(*d) + n);
    char *at = (char *)(d + 1);
    *d = *a;
    d->container = move(&at, a->container);
    d->ifname = move(&at, a->ifname);
    d->netns = move(&at, a->netns);
    d->ns = move(&at, a->ns);
    d->name = move(&at, a->name);
    d->uid = move(&at, a->uid);
    return d;
}

/* -- as files -- */

static char *path_of(const char *state, const char *before, struct str container, struct str ifname)
{
    return mem_printf("%s/pods/%s%.*s@%.*s", state, before, STR_ARG(container), STR_ARG(ifname));
}

enum rc attachment_save(const char *state, const struct attachment *a, struct errmsg *ret_msg)
{
    char *dir AUTO_FREE = mem_printf("%s/pods", state);
    char *path AUTO_FREE = path_of(state, "", a->container, a->ifname);
    char *temp AUTO_FREE = path_of(state, ".", a->container, a->ifname);
    struct strbuf b AUTO_STRBUF;
    strbuf_init(&b, 2 * ATTACHMENT_MAX);
    attachment_format(a, &b);
    strbuf_addc(&b, '\n');
    mkdir(state, 0700);
    mkdir(dir, 0700);
    unlink(temp);
    int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && b.n <= ATTACHMENT_MAX && write(fd, b.p, b.n) == (ssize_t)b.n;
    int err = errno;
    if (fd >= 0 && close(fd) != 0 && ok) {
        err = errno;
        ok = false;
    }
    if (ok && rename(temp, path) != 0) {
        err = errno;
        ok = false;
    }
    if (ok)
        return RC_OK;
    unlink(temp);
    errmsg_set(ret_msg, "%.300s: %s", path, b.n > ATTACHMENT_MAX ? "too long" : strerror(err));
    return RC_IO;
}

void attachment_remove(const char *state, struct str container, struct str ifname)
{
    char *path AUTO_FREE = path_of(state, "", container, ifname);
    unlink(path);
}

static enum rc load(const char *path, struct arena *arena, struct strbuf *text,
                    struct attachment *a)
{
    struct node *n;
    enum rc rc = file_read(path, ATTACHMENT_MAX, text, NULL);
    if (rc == RC_OK)
        rc = json_parse(arena, strbuf_str(text), &n, NULL);
    return rc == RC_OK ? attachment_parse(n, a, NULL) : rc;
}

void attachment_each(const char *state,
                     void (*fn)(void *owner, const struct attachment *a, const char *file),
                     void *owner)
{
    char *dir AUTO_FREE = mem_printf("%s/pods", state);
    DIR *d = opendir(dir);
    if (!d)
        return;
    struct dirent *e;
    while ((e = readdir(d))) {
        if (e->d_name[0] == '.') /* itself, its parent, what was being written */
            continue;
        char *path AUTO_FREE = mem_printf("%s/%s", dir, e->d_name);
        struct arena arena AUTO_ARENA;
        struct strbuf text AUTO_STRBUF;
        struct attachment a;
        arena_init(&arena, 1 << 20);
        strbuf_init(&text, ATTACHMENT_MAX);
        enum rc rc = load(path, &arena, &text, &a);
        char *own AUTO_FREE = rc == RC_OK ? path_of(state, "", a.container, a.ifname) : NULL;
        if (rc == RC_OK && strcmp(own, path) == 0) {
            fn(owner, &a, e->d_name);
            continue;
        }
        if (rc != RC_IO) /* descriptors or the disk may come back; what is nonsense stays so */
            unlink(path);
        fn(owner, NULL, e->d_name);
    }
    closedir(d);
}
