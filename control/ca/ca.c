#include "control/ca/ca.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/must.h"

struct ca {
    char *folder;
    int64_t (*now_s)(void);
    struct cert *signer;
    struct trust *trust;
    struct str *names; /* of the serving certificate, owned texts */
    size_t n_names;
    struct strbuf *chain; /* what follows the leaf in an answer */
    size_t n_chain;
    int64_t root_not_after_s;
    struct mtls_ctx *serving;
};

/* As read from the folder; p is NULL for what is absent. */
struct ca_files {
    struct strbuf key, cert, root;
    bool has_key, has_cert, has_root;
};

static const char *const own_names[] = {"istiod.istio-system.svc",
                                        "istiod-remote.istio-system.svc",
                                        "istio-pilot.istio-system.svc",
                                        "localhost",
                                        "127.0.0.1",
                                        "::1"};

static int64_t wall_s(void)
{
    return clock_wall_us() / 1000000;
}

static void secret_fini(struct strbuf *b)
{
    if (b->p)
        explicit_bzero(b->p, b->cap);
    strbuf_fini(b);
}

static void files_fini(struct ca_files *f)
{
    secret_fini(&f->key);
    strbuf_fini(&f->cert);
    strbuf_fini(&f->root);
}

/* -- the folder -- */

static enum rc read_one(const char *folder, const char *name, struct strbuf *out, bool *ret_has,
                        struct errmsg *ret_msg)
{
    char *path AUTO_FREE = mem_printf("%s/%s", folder, name);
    strbuf_init(out, CERT_PEM_MAX);
    enum rc rc = file_read(path, CERT_PEM_MAX, out, ret_msg);
    *ret_has = rc == RC_OK;
    return rc == RC_NOT_FOUND ? RC_OK : rc;
}

static enum rc create_one(const char *folder, const char *name, unsigned mode, struct str pem,
                          struct errmsg *ret_msg)
{
    char *path AUTO_FREE = mem_printf("%s/%s", folder, name);
    return file_create(path, mode, pem, ret_msg);
}

static enum rc missing(const char *folder, const char *name, struct errmsg *ret_msg)
{
    errmsg_set(ret_msg,
               "%s/%s is missing but other files of the authority are there: restore it, or remove "
               "ca-key.pem, ca-cert.pem and root-cert.pem to start a new authority (every client "
               "then needs the new root)",
               folder, name);
    return RC_CERT;
}

static enum rc make_key(const char *folder, struct ca_files *f, struct errmsg *ret_msg)
{
    if (f->has_cert || f->has_root)
        return missing(folder, "ca-key.pem", ret_msg);
    EVP_PKEY *key AUTO(EVP_PKEY_free) = NULL;
    if (key_new(&key) != RC_OK || key_to_pem(key, &f->key) != RC_OK) {
        errmsg_set(ret_msg, "a key for the authority can't be made");
        return RC_CERT;
    }
    return create_one(folder, "ca-key.pem", 0600, strbuf_str(&f->key), ret_msg);
}

static enum rc make_root(const struct ca_opts *o, struct ca_files *f, int64_t now_s,
                         struct errmsg *ret_msg)
{
    if (f->has_root)
        return missing(o->folder, "ca-cert.pem", ret_msg);
    EVP_PKEY *key AUTO(EVP_PKEY_free) = NULL;
    X509 *x AUTO(X509_free) = NULL;
    enum rc rc = key_parse(strbuf_str(&f->key), &key, ret_msg);
    if (rc != RC_OK) {
        errmsg_prefix(ret_msg, "%s/ca-key.pem", o->folder);
        return rc;
    }
    rc = cert_sign_root(key, o->trust_domain, now_s, CA_ROOT_S, &x, ret_msg);
    if (rc != RC_OK)
        return rc;
    cert_to_pem(x, &f->cert);
    return create_one(o->folder, "ca-cert.pem", 0644, strbuf_str(&f->cert), ret_msg);
}

static enum rc publish_root(const char *folder, struct ca_files *f, struct errmsg *ret_msg)
{
    STACK_OF(X509) *list = NULL;
    enum rc rc = cert_list_parse(strbuf_str(&f->cert), CERT_CHAIN_MAX, &list, ret_msg);
    if (rc != RC_OK) {
        errmsg_prefix(ret_msg, "%s/ca-cert.pem", folder);
        return rc;
    }
    bool root = sk_X509_num(list) == 1 && X509_self_signed(sk_X509_value(list, 0), 1) == 1;
    OSSL_STACK_OF_X509_free(list);
    if (!root)
        return missing(folder, "root-cert.pem", ret_msg);
    strbuf_adds(&f->root, strbuf_str(&f->cert));
    return create_one(folder, "root-cert.pem", 0644, strbuf_str(&f->root), ret_msg);
}

/* The key's file has to be ours alone; as for SSH, one that others can read is not used. */
static enum rc check_mode(const char *folder, struct errmsg *ret_msg)
{
    char *path AUTO_FREE = mem_printf("%s/ca-key.pem", folder);
    struct stat st;
    if (stat(path, &st) != 0) {
        errmsg_set(ret_msg, "%s: %s", path, strerror(errno));
        return RC_IO;
    }
    if ((st.st_mode & 077) == 0)
        return RC_OK;
    errmsg_set(ret_msg, "%s has mode %04o, others may read the authority's key: chmod 600 it", path,
               st.st_mode & 07777u);
    return RC_INVALID;
}

static enum rc load_files(const struct ca_opts *o, int64_t now_s, struct ca_files *f,
                          struct errmsg *ret_msg)
{
    enum rc rc = read_one(o->folder, "ca-key.pem", &f->key, &f->has_key, ret_msg);
    if (rc == RC_OK)
        rc = read_one(o->folder, "ca-cert.pem", &f->cert, &f->has_cert, ret_msg);
    if (rc == RC_OK)
        rc = read_one(o->folder, "root-cert.pem", &f->root, &f->has_root, ret_msg);
    if (rc == RC_OK && !f->has_key)
        rc = make_key(o->folder, f, ret_msg);
    if (rc == RC_OK)
        rc = check_mode(o->folder, ret_msg);
    if (rc == RC_OK && !f->has_cert)
        rc = make_root(o, f, now_s, ret_msg);
    if (rc == RC_OK && !f->has_root)
        rc = publish_root(o->folder, f, ret_msg);
    return rc;
}

/* Two controllers that start on an empty folder must not both make a root. */
static enum rc lock_folder(const char *folder, int *ret_fd, struct errmsg *ret_msg)
{
    if (mkdir(folder, 0755) != 0 && errno != EEXIST) {
        errmsg_set(ret_msg, "%s: %s", folder, strerror(errno));
        return errno == ENOENT ? RC_NOT_FOUND : RC_IO;
    }
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_EX) != 0) {
        errmsg_set(ret_msg, "%s: %s", folder, strerror(errno));
        if (fd >= 0)
            close(fd);
        return RC_IO;
    }
    *ret_fd = fd;
    return RC_OK;
}

/* -- the serving certificate -- */

static enum rc make_serving(struct ca *ca, struct mtls_ctx **ret, struct errmsg *ret_msg)
{
    EVP_PKEY *key AUTO(EVP_PKEY_free) = NULL;
    X509 *x AUTO(X509_free) = NULL;
    struct cert *cert AUTO(cert_unref) = NULL;
    if (key_new(&key) != RC_OK) {
        errmsg_set(ret_msg, "a key for the serving certificate can't be made");
        return RC_CERT;
    }
    struct cert_spec spec = {.key = key,
                             .names = ca->names,
                             .n_names = ca->n_names,
                             .now_s = ca->now_s(),
                             .valid_s = CA_SERVING_S};
    enum rc rc = cert_sign(&spec, ca->signer->leaf, ca->signer->key, &x, ret_msg);
    if (rc != RC_OK)
        return rc;
    STACK_OF(X509) *chain = X509_chain_up_ref(ca->signer->chain);
    X509_up_ref(ca->signer->leaf);
    X509_up_ref(x);
    MUST(chain && sk_X509_unshift(chain, ca->signer->leaf) && sk_X509_unshift(chain, x));
    rc = cert_make(chain, key, &cert, ret_msg);
    OSSL_STACK_OF_X509_free(chain);
    if (rc != RC_OK)
        return rc;
    return mtls_ctx_new(MTLS_SERVER_PUBLIC, cert, ca->trust, ret, ret_msg);
}

/* -- the authority -- */

static enum rc check_signer(struct ca *ca, struct errmsg *ret_msg)
{
    enum rc rc = key_check(ca->signer->key, ret_msg);
    if (rc != RC_OK) {
        errmsg_prefix(ret_msg, "%s/ca-key.pem", ca->folder);
        return rc;
    }
    if (X509_check_ca(ca->signer->leaf) < 1) {
        errmsg_set(ret_msg, "%s/ca-cert.pem may not sign certificates (no CA certificate)",
                   ca->folder);
        return RC_CERT;
    }
    rc = cert_verify(ca->signer->leaf, ca->signer->chain, ca->trust, X509_PURPOSE_ANY, ret_msg);
    if (rc != RC_OK)
        errmsg_prefix(ret_msg, "%s/ca-cert.pem is not valid under root-cert.pem", ca->folder);
    return rc;
}

static void fill_chain(struct ca *ca, struct str root_pem)
{
    int above = sk_X509_num(ca->signer->chain);
    bool self_signed = X509_self_signed(ca->signer->leaf, 0) == 1;
    ca->chain = mem_calloc((size_t)above + 2, sizeof(*ca->chain));
    if (!self_signed) {
        strbuf_init(&ca->chain[ca->n_chain], CERT_PEM_MAX);
        cert_to_pem(ca->signer->leaf, &ca->chain[ca->n_chain++]);
    }
    for (int i = 0; i < above; i++) {
        strbuf_init(&ca->chain[ca->n_chain], CERT_PEM_MAX);
        cert_to_pem(sk_X509_value(ca->signer->chain, i), &ca->chain[ca->n_chain++]);
    }
    strbuf_init(&ca->chain[ca->n_chain], CERT_PEM_MAX);
    strbuf_adds(&ca->chain[ca->n_chain++], root_pem);
}

static enum rc find_root_end(struct ca *ca, struct errmsg *ret_msg)
{
    ca->root_not_after_s = INT64_MAX;
    for (int i = 0; i < sk_X509_num(ca->trust->roots); i++) {
        int64_t end_s;
        if (cert_time(X509_get0_notAfter(sk_X509_value(ca->trust->roots, i)), &end_s) != RC_OK) {
            errmsg_set(ret_msg, "%s/root-cert.pem: malformed validity", ca->folder);
            return RC_CERT;
        }
        ca->root_not_after_s = MIN(ca->root_not_after_s, end_s);
    }
    return RC_OK;
}

static enum rc ca_fill(struct ca *ca, const struct ca_files *f, struct errmsg *ret_msg)
{
    enum rc rc = cert_parse(strbuf_str(&f->cert), strbuf_str(&f->key), &ca->signer, ret_msg);
    if (rc != RC_OK) {
        errmsg_prefix(ret_msg, "%s/ca-cert.pem with ca-key.pem", ca->folder);
        return rc;
    }
    rc = trust_parse(strbuf_str(&f->root), &ca->trust, ret_msg);
    if (rc != RC_OK) {
        errmsg_prefix(ret_msg, "%s/root-cert.pem", ca->folder);
        return rc;
    }
    rc = check_signer(ca, ret_msg);
    if (rc == RC_OK)
        rc = find_root_end(ca, ret_msg);
    if (rc != RC_OK)
        return rc;
    fill_chain(ca, strbuf_str(&f->root));
    return make_serving(ca, &ca->serving, ret_msg); /* tells a bad name now, not later */
}

static void copy_names(struct ca *ca, const struct ca_opts *o)
{
    ca->n_names = ARRAY_LEN(own_names) + o->n_names;
    ca->names = mem_calloc(ca->n_names, sizeof(*ca->names));
    for (size_t i = 0; i < ca->n_names; i++) {
        struct str name =
            i < ARRAY_LEN(own_names) ? str_of(own_names[i]) : o->names[i - ARRAY_LEN(own_names)];
        ca->names[i] = (struct str){str_dup(name), name.n};
    }
}

enum rc ca_open(const struct ca_opts *o, struct ca **ret, struct errmsg *ret_msg)
{
    cert_init();
    struct ca *ca AUTO(ca_free) = mem_new(struct ca);
    struct ca_files f __attribute__((cleanup(files_fini))) = {0};
    ca->folder = mem_strdup(o->folder);
    ca->now_s = o->now_s ? o->now_s : wall_s;
    copy_names(ca, o);
    int lock = -1;
    enum rc rc = lock_folder(o->folder, &lock, ret_msg);
    if (rc != RC_OK)
        return rc;
    rc = load_files(o, ca->now_s(), &f, ret_msg);
    close(lock);
    if (rc == RC_OK)
        rc = ca_fill(ca, &f, ret_msg);
    if (rc == RC_OK)
        *ret = TAKE(ca);
    return rc;
}

void ca_free(struct ca *ca)
{
    if (!ca)
        return;
    for (size_t i = 0; i < ca->n_names; i++)
        mem_free((char *)(uintptr_t)ca->names[i].p);
    for (size_t i = 0; i < ca->n_chain; i++)
        strbuf_fini(&ca->chain[i]);
    mem_free(ca->names);
    mem_free(ca->chain);
    cert_unref(ca->signer);
    trust_unref(ca->trust);
    mtls_ctx_unref(ca->serving);
    mem_free(ca->folder);
    mem_free(ca);
}

enum rc ca_issue(struct ca *ca, EVP_PKEY *key, const struct identity *id, int64_t valid_s,
                 X509 **ret, struct errmsg *ret_msg)
{
    struct cert_spec spec = {.key = key, .id = id, .now_s = ca->now_s(), .valid_s = valid_s};
    return cert_sign(&spec, ca->signer->leaf, ca->signer->key, ret, ret_msg);
}

size_t ca_chain_len(const struct ca *ca)
{
    return ca->n_chain;
}

struct str ca_chain_pem(const struct ca *ca, size_t i)
{
    MUST(i < ca->n_chain);
    return strbuf_str(&ca->chain[i]);
}

struct str ca_root_pem(const struct ca *ca)
{
    return ca_chain_pem(ca, ca->n_chain - 1);
}

struct trust *ca_trust(const struct ca *ca)
{
    return ca->trust;
}

int64_t ca_root_not_after_s(const struct ca *ca)
{
    return ca->root_not_after_s;
}

int64_t ca_signer_not_after_s(const struct ca *ca)
{
    return ca->signer->not_after_s;
}

struct mtls_ctx *ca_serving(struct ca *ca, struct errmsg *ret_msg)
{
    if (ca->serving) {
        const struct cert *c = mtls_ctx_cert(ca->serving);
        if (ca->now_s() < c->not_before_s + (c->not_after_s - c->not_before_s) / 2)
            return ca->serving;
    }
    struct mtls_ctx *fresh = NULL;
    if (make_serving(ca, &fresh, ret_msg) == RC_OK) {
        mtls_ctx_unref(ca->serving);
        ca->serving = fresh;
    }
    return ca->serving;
}
