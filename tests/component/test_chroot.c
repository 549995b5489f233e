/* Certificates and TLS need no file at all: neither OpenSSL's configuration, which could weaken what
 * is chosen here, nor a time zone, nor a random device. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/mtls/mtls_priv.h"
#include "tests/helper/check.h"
#include "tests/helper/pki.h"

static bool handshake(struct mtls_ctx *c)
{
    BIO *a = NULL, *b = NULL;
    if (BIO_new_bio_pair(&a, 65536, &b, 65536) != 1)
        return false;
    SSL *client = SSL_new(mtls_ctx_ssl(c, false)), *server = SSL_new(mtls_ctx_ssl(c, true));
    SSL_set_bio(client, a, a);
    SSL_set_bio(server, b, b);
    SSL_set_connect_state(client);
    SSL_set_accept_state(server);
    int done = 0;
    for (int i = 0; i < 10 && done != 3; i++)
        done |= (SSL_do_handshake(client) == 1 ? 1 : 0) | (SSL_do_handshake(server) == 1 ? 2 : 0);
    struct identity *peer = NULL;
    struct mtls_peer_check check = {.trust_domain = STR("td")};
    bool ok = done == 3 && mtls_verify_peer(server, &check, true, &peer, NULL) == RC_OK;
    identity_unref(peer);
    SSL_free(client);
    SSL_free(server);
    return ok;
}

/* In a process of its own; 0 when all went well. */
static int in_the_chroot(const char *dir)
{
    if (chroot(dir) != 0 || chdir("/") != 0)
        return 2;
    if (open("/etc/ssl/openssl.cnf", O_RDONLY) >= 0 || open("/dev/urandom", O_RDONLY) >= 0)
        return 3; /* not empty: the test would show nothing */
    EVP_PKEY *root_key = NULL, *key = NULL;
    X509 *root = NULL, *leaf = NULL;
    struct identity *id = NULL;
    int64_t now_s = time(NULL);
    if (key_new(&root_key) || key_new(&key) ||
        cert_sign_root(root_key, STR("td"), now_s, 1000, &root, NULL) ||
        identity_parse(STR("spiffe://td/ns/a/sa/b"), &id))
        return 4;
    struct cert_spec spec = {.key = key, .id = id, .now_s = now_s, .valid_s = 100};
    if (cert_sign(&spec, root, root_key, &leaf, NULL))
        return 5;
    struct strbuf chain, key_pem, roots;
    strbuf_init(&chain, CERT_PEM_MAX);
    strbuf_init(&key_pem, CERT_PEM_MAX);
    strbuf_init(&roots, CERT_PEM_MAX);
    cert_to_pem(leaf, &chain);
    cert_to_pem(root, &roots);
    struct cert *c = NULL;
    struct trust *t = NULL;
    struct mtls_ctx *ctx = NULL;
    if (key_to_pem(key, &key_pem) ||
        cert_parse(strbuf_str(&chain), strbuf_str(&key_pem), &c, NULL) ||
        trust_parse(strbuf_str(&roots), &t, NULL) || mtls_ctx_new(MTLS_MESH, c, t, &ctx, NULL))
        return 6;
    return handshake(ctx) ? 0 : 7;
}

START_TEST(an_empty_folder_is_enough)
{
    char dir[] = "/tmp/test_chroot_XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(dir));
    pid_t pid = fork();
    if (pid == 0)
        _exit(in_the_chroot(dir));
    int status = -1;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(rmdir(dir), 0);
    ck_assert_msg(WIFEXITED(status), "signal %d", WTERMSIG(status));
    ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

/* If it were read, every handshake would fail. */
static const char hostile[] = "openssl_conf = a\n[a]\nssl_conf = b\nproviders = p\n[b]\n"
                              "system_default = c\n[c]\nMaxProtocol = TLSv1.2\n[p]\ndefault = d\n"
                              "[d]\nactivate = 0\n";

START_TEST(a_hostile_configuration_is_not_read)
{
    char dir[] = "/tmp/test_chroot_XXXXXX", path[64];
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/openssl.cnf", dir);
    int fd = open(path, O_WRONLY | O_CREAT, 0644);
    ck_assert_int_eq(write(fd, hostile, sizeof(hostile) - 1), (ssize_t)sizeof(hostile) - 1);
    close(fd);
    setenv("OPENSSL_CONF", "/openssl.cnf", 1);
    pid_t pid = fork();
    if (pid == 0)
        _exit(in_the_chroot(dir));
    int status = -1;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    unlink(path);
    ck_assert_int_eq(rmdir(dir), 0);
    ck_assert_int_eq(status, 0);
}
END_TEST

TEST_MAIN("chroot", an_empty_folder_is_enough, a_hostile_configuration_is_not_read)
