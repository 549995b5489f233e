/* The way to the controller: roots that change, servers that go and come. */
#include <stdio.h>
#include <sys/stat.h>

#include "lib/base/file.h"
#include "lib/http/channel.h"
#include "tests/helper/check.h"
#include "tests/helper/pki.h"
#include "tests/helper/tls_server.h"

static char dir[64], roots[100];
static struct loop *loop;
static struct pki_ca ca, other;
static struct mtls_ctx *serving_ctx;
static struct tls_server server;
static struct channel *ch;
static struct want {
    struct channel_wait wait;
    bool done;
    struct h2_session *session;
    char error[600];
    unsigned calls;
} want;

static struct mtls_ctx *serving(void *owner)
{
    (void)owner;
    return serving_ctx;
}

static void on_request(void *owner, struct h2_stream *s, const struct h2_headers *hs)
{
    (void)owner, (void)hs;
    grpc_refuse(s, GRPC_UNIMPLEMENTED, "nothing here");
}

static void serve_with(const struct pki_ca *by)
{
    struct cert *c = pki_workload(by, "IP:127.0.0.1,DNS:localhost");
    mtls_ctx_unref(TAKE(serving_ctx));
    ck_assert_rc(mtls_ctx_new(MTLS_SERVER_PUBLIC, c, by->trust, &serving_ctx, NULL), RC_OK);
    cert_unref(c);
}

static void write_roots(const struct pki_ca *by)
{
    ck_assert_rc(file_replace(roots, 0644, strbuf_str(&by->pem), NULL), RC_OK);
}

static void open_channel(const char *host, const char *with_roots)
{
    char url[100];
    struct errmsg e = {""};
    snprintf(url, sizeof(url), "https://%s:%u", host, server.port);
    struct channel_opts o = {.url = url, .roots = with_roots};
    ck_assert_msg(channel_new(loop, &o, &ch, &e) == RC_OK, "%s", e.text);
}

static void setup(void)
{
    strcpy(dir, "/tmp/test_channel_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(roots, sizeof(roots), "%s/roots.pem", dir);
    loop = loop_new();
    pki_ca_init(&ca, "ca");
    pki_ca_init(&other, "other");
    serve_with(&ca);
    write_roots(&ca);
    server = (struct tls_server){.ctx = serving, .on_request = on_request};
    tls_server_start(&server, loop, 0);
    memset(&want, 0, sizeof(want));
}

static void teardown(void)
{
    channel_free(TAKE(ch));
    tls_server_stop(&server);
    loop_turn(loop, 0);
    loop_free(loop);
    mtls_ctx_unref(TAKE(serving_ctx));
    pki_ca_fini(&ca);
    pki_ca_fini(&other);
    unlink(roots);
    ck_assert_int_eq(rmdir(dir), 0);
}

static void on_ready(void *owner, struct h2_session *s, const char *error)
{
    struct want *w = owner;
    ck_assert((s == NULL) == (error != NULL));
    w->calls++;
    w->done = true;
    w->session = s;
    snprintf(w->error, sizeof(w->error), "%s", error ? error : "");
}

static struct h2_session *get(void)
{
    want.done = false;
    channel_get(ch, &want.wait, on_ready, &want);
    ck_assert(!want.done);
    ck_assert(loop_until(loop, &want.done));
    return want.session;
}

START_TEST(one_session_for_all)
{
    open_channel("127.0.0.1", roots);
    struct h2_session *first = get();
    ck_assert_msg(first != NULL, "%s", want.error);
    ck_assert_ptr_eq(get(), first);
    struct want many[5] = {0};
    for (int i = 0; i < 5; i++)
        channel_get(ch, &many[i].wait, on_ready, &many[i]);
    channel_wait_cancel(&many[2].wait);
    ck_assert(loop_until(loop, &many[4].done));
    for (int i = 0; i < 5; i++)
        ck_assert_uint_eq(many[i].calls, i != 2);
    ck_assert_uint_eq(server.accepted, 1);
}
END_TEST

START_TEST(all_that_wait_for_the_first)
{
    struct want many[3] = {0};
    open_channel("127.0.0.1", roots);
    for (int i = 0; i < 3; i++)
        channel_get(ch, &many[i].wait, on_ready, &many[i]);
    ck_assert(loop_until(loop, &many[2].done));
    for (int i = 0; i < 3; i++)
        ck_assert_ptr_nonnull(many[i].session);
    ck_assert_uint_eq(server.accepted, 1);
}
END_TEST

START_TEST(names)
{
    open_channel("localhost", roots); /* perhaps ::1 first, where nobody listens */
    ck_assert_msg(get() != NULL, "%s", want.error);
    channel_free(ch);
    open_channel("no-such-name.invalid", roots);
    ck_assert_ptr_null(get());
    ck_assert_ptr_nonnull(strstr(want.error, "no-such-name.invalid can't be resolved"));
    channel_free(ch);
    open_channel("127.0.0.2", roots); /* the listener is on 127.0.0.1 */
    ck_assert_ptr_null(get());
    ck_assert_ptr_nonnull(strstr(want.error, rc_text(RC_REFUSED)));
}
END_TEST

START_TEST(the_server_proves_its_name)
{
    struct cert *c = pki_workload(&ca, "DNS:istiod.istio-system.svc,IP:127.0.0.9");
    mtls_ctx_unref(serving_ctx);
    ck_assert_rc(mtls_ctx_new(MTLS_SERVER_PUBLIC, c, ca.trust, &serving_ctx, NULL), RC_OK);
    cert_unref(c);
    open_channel("127.0.0.1", roots);
    ck_assert_ptr_null(get());
    ck_assert_ptr_nonnull(strstr(want.error, "is not for \"127.0.0.1\""));
}
END_TEST

START_TEST(roots_are_read_again_at_each_connect)
{
    write_roots(&other);
    open_channel("127.0.0.1", roots);
    ck_assert_ptr_null(get());
    ck_assert_ptr_nonnull(strstr(want.error, "certificate"));
    unlink(roots);
    ck_assert_ptr_null(get()); /* the last good ones stay in force: still the wrong ones */
    ck_assert_ptr_nonnull(strstr(want.error, "certificate"));
    write_roots(&ca);
    ck_assert_msg(get() != NULL, "%s", want.error);
    channel_free(ch);
    unlink(roots);
    open_channel("127.0.0.1", roots);
    ck_assert_ptr_null(get());
    ck_assert_ptr_nonnull(strstr(want.error, "trust roots"));
    ck_assert_ptr_nonnull(strstr(want.error, "No such file"));
    channel_free(ch);
    open_channel("127.0.0.1", ca.pem.p); /* the text itself */
    ck_assert_ptr_nonnull(get());
}
END_TEST

static void let_the_watch_see(void)
{
    for (int i = 0; i < 10; i++) /* the event, then the debounce */
        loop_turn(loop, 20);
    loop_clock_advance(loop, 2000);
    for (int i = 0; i < 5; i++)
        loop_turn(loop, 0);
}

START_TEST(changed_roots_end_the_session)
{
    open_channel("127.0.0.1", roots);
    loop_clock_fake(loop, 1000);
    struct h2_session *first = get();
    ck_assert_ptr_nonnull(first);
    write_roots(&ca); /* the same again: nothing happens */
    let_the_watch_see();
    ck_assert_ptr_eq(get(), first);
    ck_assert_rc(file_replace(roots, 0644, STR("garbage"), NULL), RC_OK); /* nor here */
    let_the_watch_see();
    ck_assert_ptr_eq(get(), first);
    write_roots(&other);
    let_the_watch_see();
    ck_assert_ptr_null(get());
    ck_assert_ptr_nonnull(strstr(want.error, "certificate"));
    serve_with(&other);
    ck_assert_msg(get() != NULL, "%s", want.error);
    ck_assert_uint_eq(server.accepted, 3);
}
END_TEST

START_TEST(servers_go_and_come)
{
    open_channel("127.0.0.1", roots);
    ck_assert_ptr_nonnull(get());
    uint16_t port = server.port;
    tls_server_stop(&server);
    for (int i = 0; i < 5; i++)
        loop_turn(loop, 20);
    ck_assert_ptr_null(get());
    ck_assert_ptr_nonnull(strstr(want.error, rc_text(RC_REFUSED)));
    server.accepted = 0;
    tls_server_start(&server, loop, port);
    ck_assert_msg(get() != NULL, "%s", want.error);

    struct tls_server_session *x = LIST_FIRST(&server.sessions, struct tls_server_session, node);
    h2_session_drain(x->h2, 1000); /* GOAWAY */
    for (int i = 0; i < 10; i++)
        loop_turn(loop, 20);
    ck_assert_msg(get() != NULL, "%s", want.error);
    ck_assert_uint_eq(server.accepted, 2);
}
END_TEST

static void free_it(void *owner, struct h2_session *s, const char *error)
{
    on_ready(owner, s, error);
    channel_free(TAKE(ch));
}

START_TEST(freed_at_any_time)
{
    for (int turns = 0; turns < 10; turns++) {
        open_channel("127.0.0.1", roots);
        want.calls = 0;
        channel_get(ch, &want.wait, on_ready, &want);
        for (int i = 0; i < turns; i++)
            loop_turn(loop, 5);
        channel_free(TAKE(ch));
        loop_turn(loop, 0);
    }
    for (int good = 0; good < 2; good++) { /* from inside the callback */
        open_channel("127.0.0.1", good ? roots : "/nowhere/roots.pem");
        want.done = false;
        channel_get(ch, &want.wait, free_it, &want);
        ck_assert(loop_until(loop, &want.done));
        ck_assert((want.session != NULL) == good);
        loop_turn(loop, 0);
    }
}
END_TEST

START_TEST(urls)
{
    static const struct {
        const char *url, *normal;
    } cases[] = {
        {"https://istiod.istio-system.svc:15012", "https://istiod.istio-system.svc:15012"},
        {"istiod.istio-system.svc", "https://istiod.istio-system.svc:15012"},
        {"https://10.0.0.1:443/", "https://10.0.0.1:443"},
        {"[fd00::1]:5", "https://[fd00::1]:5"},
        {"[fd00::1]", "https://[fd00::1]:15012"},
        {"", NULL},
        {"http://x:1", NULL},
        {"https://", NULL},
        {"https://x:0", NULL},
        {"https://x:65536", NULL},
        {"https://x:1x", NULL},
        {"https://x/y", NULL},
        {"https://:15012", NULL},
        {"[fd00::1]x", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct channel_opts o = {.url = cases[i].url, .roots = roots};
        struct errmsg e = {""};
        enum rc rc = channel_new(loop, &o, &ch, &e);
        ck_assert_msg(rc == (cases[i].normal ? RC_OK : RC_INVALID), "%s", cases[i].url);
        if (ch)
            ck_assert_str_eq(channel_url(ch), cases[i].normal);
        else
            ck_assert_ptr_nonnull(strstr(e.text, "HOST:PORT"));
        channel_free(TAKE(ch));
    }
}
END_TEST

TEST_MAIN_FIXTURE("channel", setup, teardown, one_session_for_all, all_that_wait_for_the_first,
                  names, the_server_proves_its_name, roots_are_read_again_at_each_connect,
                  changed_roots_end_the_session, servers_go_and_come, freed_at_any_time, urls)
