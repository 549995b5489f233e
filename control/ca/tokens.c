#include "control/ca/tokens.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "lib/base/file.h"
#include "lib/base/hash.h"
#include "lib/base/htab.h"

#define TOKEN_HEX  64
#define TOKEN_FILE 256 /* bytes of a file we read: somebody may have added blank lines */
#define NAME_BYTES 253

struct token {
    struct hnode by_name, by_secret;
    char *path; /* below the folder: "node/NODE", "workload/NS/SA" */
    struct caller caller;
    char secret[TOKEN_HEX];
    uint64_t ino; /* of the file when it was written or read */
    int64_t ctime_ns;
    bool wanted;
    bool on_disk; /* written by us or found there */
    bool revoked; /* found changed: nobody is authenticated by secret[] any more */
};

struct tokens {
    char *folder; /* FOLDER/tokens */
    struct htab by_name, by_secret;
};

/* -- table -- */

static bool name_eq(const struct hnode *n, const void *key)
{
    return strcmp(container_of(n, struct token, by_name)->path, key) == 0;
}

static uint64_t name_hash(const char *path)
{
    return hash_bytes(path, strlen(path));
}

static struct token *find_name(const struct tokens *t, const char *path)
{
    struct hnode *n = htab_find(&t->by_name, name_hash(path), name_eq, path);
    return n ? container_of(n, struct token, by_name) : NULL;
}

/* The hash is keyed per process, so its bucket tells nobody anything; the rest is constant-time. */
static bool secret_eq(const struct hnode *n, const void *key)
{
    return CRYPTO_memcmp(container_of(n, struct token, by_secret)->secret, key, TOKEN_HEX) == 0;
}

static void token_free(struct tokens *t, struct token *k)
{
    htab_del(&t->by_name, &k->by_name);
    htab_del(&t->by_secret, &k->by_secret);
    explicit_bzero(k->secret, sizeof(k->secret));
    mem_free(k->path);
    mem_free(k);
}

static struct caller caller_of(const char *path)
{
    struct str rest = str_of(path);
    struct str kind = str_split(rest, '/', &rest);
    if (str_eqz(kind, "node"))
        return (struct caller){.kind = CALLER_NODE, .node = rest};
    struct caller c = {.kind = CALLER_WORKLOAD};
    c.ns = str_split(rest, '/', &c.sa);
    return c;
}

static struct token *token_new(struct tokens *t, const char *path, const char *secret)
{
    struct token *k = mem_new(struct token);
    k->path = mem_strdup(path);
    k->caller = caller_of(k->path);
    memcpy(k->secret, secret, TOKEN_HEX);
    htab_insert(&t->by_name, &k->by_name, name_hash(path));
    htab_insert(&t->by_secret, &k->by_secret, hash_bytes(k->secret, TOKEN_HEX));
    return k;
}

static bool name_ok(struct str s)
{
    if (s.n == 0 || s.n > NAME_BYTES || s.p[0] == '.')
        return false;
    return !memchr(s.p, '/', s.n) && !memchr(s.p, '\0', s.n);
}

/* -- files -- */

static enum rc read_secret(const struct tokens *t, const char *path, char secret[TOKEN_HEX])
{
    char *full AUTO_FREE = mem_printf("%s/%s", t->folder, path);
    struct strbuf text AUTO_STRBUF;
    strbuf_init(&text, TOKEN_FILE);
    enum rc rc = file_read(full, TOKEN_FILE, &text, NULL);
    struct str s = str_trim(strbuf_str(&text));
    if (rc == RC_OK && s.n != TOKEN_HEX)
        rc = RC_INVALID;
    if (rc == RC_OK)
        memcpy(secret, s.p, TOKEN_HEX);
    if (text.p)
        explicit_bzero(text.p, text.cap);
    return rc;
}

/* Somebody meant it: anything else may be a lack of descriptors, or a disk's bad moment. */
static bool is_content(enum rc rc)
{
    return rc == RC_OK || rc == RC_NOT_FOUND || rc == RC_INVALID || rc == RC_LIMIT;
}

/* Other than when it was written or read? From now on it is not. */
static bool file_moved(const struct tokens *t, struct token *k)
{
    char *full AUTO_FREE = mem_printf("%s/%s", t->folder, k->path);
    struct stat st = {0};
    if (stat(full, &st) != 0 && errno != ENOENT && errno != ENOTDIR)
        return false;
    int64_t ctime_ns = (int64_t)st.st_ctim.tv_sec * 1000000000 + st.st_ctim.tv_nsec;
    bool moved = st.st_ino != k->ino || ctime_ns != k->ctime_ns;
    k->ino = st.st_ino;
    k->ctime_ns = ctime_ns;
    return moved;
}

static enum rc make_folder(const char *path, struct errmsg *ret_msg)
{
    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return RC_OK;
    errmsg_set(ret_msg, "%s: %s", path, strerror(errno));
    return RC_IO;
}

static enum rc write_token(const struct tokens *t, struct token *k, struct errmsg *ret_msg)
{
    char *full AUTO_FREE = mem_printf("%s/%s", t->folder, k->path);
    if (k->caller.kind == CALLER_WORKLOAD) {
        char *parent AUTO_FREE = mem_printf("%s/workload/%.*s", t->folder, STR_ARG(k->caller.ns));
        enum rc rc = make_folder(parent, ret_msg);
        if (rc != RC_OK)
            return rc;
    }
    enum rc rc = file_replace(full, 0600, (struct str){k->secret, TOKEN_HEX}, ret_msg);
    k->on_disk = rc == RC_OK;
    (void)file_moved(t, k);
    return rc;
}

static void remove_token(const struct tokens *t, const struct token *k)
{
    char *full AUTO_FREE = mem_printf("%s/%s", t->folder, k->path);
    unlink(full);
    if (k->caller.kind == CALLER_WORKLOAD) {
        *strrchr(full, '/') = '\0';
        rmdir(full); /* stays while others are in it */
    }
}

/* -- what an earlier run left -- */

static void load_one(struct tokens *t, const char *path)
{
    char secret[TOKEN_HEX];
    if (t->by_name.len >= TOKENS_MAX)
        return;
    if (read_secret(t, path, secret) == RC_OK)
        token_new(t, path, secret)->on_disk = true;
    explicit_bzero(secret, sizeof(secret));
}

/* Calls fn for each entry of FOLDER/tokens/SUB that can be a name. */
static enum rc scan(struct tokens *t, const char *sub,
                    void (*fn)(struct tokens *, const char *path), struct errmsg *ret_msg)
{
    char *full AUTO_FREE = mem_printf("%s/%s", t->folder, sub);
    DIR *d = opendir(full);
    if (!d) {
        errmsg_set(ret_msg, "%s: %s", full, strerror(errno));
        return RC_IO;
    }
    const struct dirent *e;
    while ((e = readdir(d))) {
        if (!name_ok(str_of(e->d_name)))
            continue;
        char *path AUTO_FREE = mem_printf("%s/%s", sub, e->d_name);
        fn(t, path);
    }
    closedir(d);
    return RC_OK;
}

static void load_namespace(struct tokens *t, const char *path)
{
    (void)scan(t, path, load_one, NULL); /* not a folder of ours: nothing to load */
}

enum rc tokens_open(const char *folder, struct tokens **ret, struct errmsg *ret_msg)
{
    struct tokens *t AUTO(tokens_free) = mem_new(struct tokens);
    htab_init(&t->by_name);
    htab_init(&t->by_secret);
    t->folder = mem_printf("%s/tokens", folder);
    char *node AUTO_FREE = mem_printf("%s/node", t->folder);
    char *workload AUTO_FREE = mem_printf("%s/workload", t->folder);
    enum rc rc = make_folder(t->folder, ret_msg);
    if (rc == RC_OK)
        rc = make_folder(node, ret_msg);
    if (rc == RC_OK)
        rc = make_folder(workload, ret_msg);
    if (rc == RC_OK)
        rc = scan(t, "node", load_one, ret_msg);
    if (rc == RC_OK)
        rc = scan(t, "workload", load_namespace, ret_msg);
    if (rc == RC_OK)
        *ret = TAKE(t);
    return rc;
}

void tokens_free(struct tokens *t)
{
    if (!t)
        return;
    struct htab_iter it;
    HTAB_FOREACH (n, &t->by_name, &it)
        token_free(t, container_of(n, struct token, by_name));
    htab_fini(&t->by_name);
    htab_fini(&t->by_secret);
    mem_free(t->folder);
    mem_free(t);
}

/* -- the wanted set -- */

void tokens_begin(struct tokens *t)
{
    struct htab_iter it;
    HTAB_FOREACH (n, &t->by_name, &it)
        container_of(n, struct token, by_name)->wanted = false;
}

static void random_secret(char secret[TOKEN_HEX])
{
    unsigned char raw[TOKEN_HEX / 2];
    rand_secret(raw, sizeof(raw));
    for (size_t i = 0; i < sizeof(raw); i++) {
        secret[2 * i] = "0123456789abcdef"[raw[i] >> 4];
        secret[2 * i + 1] = "0123456789abcdef"[raw[i] & 15];
    }
    explicit_bzero(raw, sizeof(raw));
}

static void want(struct tokens *t, const char *path)
{
    struct token *k = find_name(t, path);
    if (!k && t->by_name.len < TOKENS_MAX) {
        char secret[TOKEN_HEX];
        random_secret(secret);
        k = token_new(t, path, secret);
        explicit_bzero(secret, sizeof(secret));
    }
    if (k)
        k->wanted = true;
}

void tokens_want_node(struct tokens *t, struct str node)
{
    if (!name_ok(node))
        return;
    char *path AUTO_FREE = mem_printf("node/%.*s", STR_ARG(node));
    want(t, path);
}

void tokens_want_workload(struct tokens *t, struct str ns, struct str sa)
{
    if (!name_ok(ns) || !name_ok(sa))
        return;
    char *path AUTO_FREE = mem_printf("workload/%.*s/%.*s", STR_ARG(ns), STR_ARG(sa));
    want(t, path);
}

/* A removed file gets another secret; a changed one is the operator's wish. */
static void replace_secret(struct tokens *t, struct token *k)
{
    char secret[TOKEN_HEX];
    (void)file_moved(t, k); /* before it is read: a change after that is seen next time */
    enum rc rc = read_secret(t, k->path, secret);
    k->revoked = !is_content(rc);
    if (k->revoked)
        return;
    k->on_disk = rc == RC_OK;
    if (!k->on_disk)
        random_secret(secret);
    htab_del(&t->by_secret, &k->by_secret);
    memcpy(k->secret, secret, TOKEN_HEX);
    explicit_bzero(secret, sizeof(secret));
    htab_insert(&t->by_secret, &k->by_secret, hash_bytes(k->secret, TOKEN_HEX));
}

enum rc tokens_commit(struct tokens *t, struct errmsg *ret_msg)
{
    enum rc first = RC_OK;
    struct htab_iter it;
    HTAB_FOREACH (n, &t->by_name, &it) {
        struct token *k = container_of(n, struct token, by_name);
        if (!k->wanted) {
            remove_token(t, k);
            token_free(t, k);
            continue;
        }
        if (k->on_disk && (k->revoked || file_moved(t, k)))
            replace_secret(t, k);
        if (!k->on_disk) {
            enum rc rc = write_token(t, k, first == RC_OK ? ret_msg : NULL);
            if (first == RC_OK)
                first = rc;
        }
    }
    return first;
}

enum rc tokens_authenticate(struct tokens *t, struct str authorization, struct caller *ret,
                            struct errmsg *ret_msg)
{
    if (!str_starts(authorization, STR("Bearer "))) {
        errmsg_set(ret_msg, "no bearer token");
        return RC_UNAUTHENTICATED;
    }
    struct str secret = str_trim((struct str){authorization.p + 7, authorization.n - 7});
    struct hnode *n =
        secret.n == TOKEN_HEX
            ? htab_find(&t->by_secret, hash_bytes(secret.p, TOKEN_HEX), secret_eq, secret.p)
            : NULL;
    if (!n) {
        errmsg_set(ret_msg, "unknown bearer token");
        return RC_UNAUTHENTICATED;
    }
    struct token *k = container_of(n, struct token, by_secret);
    char now[TOKEN_HEX];
    enum rc rc = read_secret(t, k->path, now);
    bool same = rc == RC_OK && CRYPTO_memcmp(now, secret.p, TOKEN_HEX) == 0;
    explicit_bzero(now, sizeof(now));
    if (!same) {
        k->revoked = k->revoked || is_content(rc);
        errmsg_set(ret_msg, "the token file of %s was removed, changed or can't be read", k->path);
        return RC_UNAUTHENTICATED;
    }
    *ret = k->caller;
    return RC_OK;
}
