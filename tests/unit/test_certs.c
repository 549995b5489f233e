#include "lib/base/list.h"
#include "lib/ca/certs.h"
#include "tests/helper/check.h"
#include "tests/helper/pki.h"

/* An issuer that answers when told, on a clock that moves when told. */
struct flight {
    struct identity *id;
    ca_done_fn *done;
    void *owner;
    bool open;
};

static struct loop *loop;
static struct certs *certs;
static struct pki_ca ca;
static struct flight flights[200];
static size_t n_flights, n_open, n_cancelled, most_open;
static int64_t wall0_s, mono0_ms;
static struct { /* the last on_change */
    unsigned calls;
    char uri[100], error[200];
    bool ctx;
    char serial[48];
} seen;

static int64_t now_s(void)
{
    return wall0_s + (loop_now(loop) - mono0_ms) / 1000;
}

static void *request(void *self, struct identity *id, ca_done_fn *done, void *owner)
{
    ck_assert_ptr_eq(self, flights);
    struct flight *f = &flights[n_flights++];
    *f = (struct flight){id, done, owner, true};
    n_open++;
    most_open = MAX(most_open, n_open);
    return f;
}

static void cancel(void *self, void *req)
{
    struct flight *f = req;
    ck_assert_ptr_eq(self, flights);
    ck_assert(f->open);
    f->open = false;
    n_open--;
    n_cancelled++;
}

static void on_change(void *owner, struct identity *id, struct mtls_ctx *ctx, const char *error)
{
    ck_assert_ptr_eq(owner, &seen);
    seen.calls++;
    snprintf(seen.uri, sizeof(seen.uri), "%s", id->uri.p);
    snprintf(seen.error, sizeof(seen.error), "%s", error ? error : "");
    seen.ctx = ctx != NULL;
    if (ctx)
        strcpy(seen.serial, mtls_ctx_cert(ctx)->serial);
}

static struct identity *id_of(const char *sa)
{
    struct identity *id = NULL;
    ck_assert_rc(identity_make(STR("td"), STR("ns"), str_of(sa), &id), RC_OK);
    return id;
}

static void setup(void)
{
    loop = loop_new();
    loop_clock_fake(loop, 5000);
    mono0_ms = loop_now(loop);
    wall0_s = time(NULL);
    pki_ca_init(&ca, "root");
    n_flights = n_open = n_cancelled = most_open = 0;
    memset(&seen, 0, sizeof(seen));
    struct certs_opts o = {.issuer = {flights, request, cancel},
                           .on_change = on_change,
                           .owner = &seen,
                           .now_s = now_s};
    certs = certs_new(loop, &o);
}

static void teardown(void)
{
    certs_free(certs);
    ck_assert_uint_eq(n_open, 0);
    loop_free(loop);
    pki_ca_fini(&ca);
}

static void answer(struct flight *f, int64_t life_s)
{
    char san[200];
    snprintf(san, sizeof(san), "URI:%s", f->id->uri.p);
    struct cert *c = pki_leaf(&ca, (struct pki_spec){.san = san,
                                                     .eku = PKI_BOTH,
                                                     .from_s = now_s() - time(NULL) - 120,
                                                     .till_s = now_s() - time(NULL) + life_s});
    struct ca_result r = {.rc = RC_OK, .cert = c, .trust = ca.trust, .error = ""};
    f->open = false;
    n_open--;
    f->done(f->owner, &r);
    cert_unref(c);
}

static void refuse(struct flight *f, const char *why)
{
    struct ca_result r = {.rc = RC_IO, .error = why};
    f->open = false;
    n_open--;
    f->done(f->owner, &r);
}

static struct flight *last(void)
{
    ck_assert_uint_gt(n_flights, 0);
    return &flights[n_flights - 1];
}

static void advance(int64_t ms) /* in small steps: timers set timers */
{
    while (ms > 0) {
        int64_t step = MIN(ms, 60000);
        loop_clock_advance(loop, step);
        loop_turn(loop, 0);
        ms -= step;
    }
}

/* How many ms until the next request, in steps of step. */
static int64_t until_request(int64_t step, int64_t most)
{
    size_t before = n_flights;
    for (int64_t ms = step; ms <= most; ms += step) {
        loop_clock_advance(loop, step);
        loop_turn(loop, 0);
        if (n_flights > before)
            return ms;
    }
    ck_abort_msg("no request within %lld ms", (long long)most);
}

static enum rc want(const char *sa, enum certs_prio prio)
{
    struct identity *id = id_of(sa);
    struct mtls_ctx *ctx = NULL;
    enum rc rc = certs_want(certs, id, prio, &ctx, NULL);
    ck_assert((rc == RC_OK) == (ctx != NULL));
    if (ctx)
        ck_assert(identity_eq(mtls_ctx_cert(ctx)->id, id));
    identity_unref(id);
    return rc;
}

static void forget(const char *sa)
{
    struct identity *id = id_of(sa);
    certs_forget(certs, id);
    identity_unref(id);
}

START_TEST(first_certificate)
{
    ck_assert_rc(want("a", CERTS_WARM_UP), RC_AGAIN);
    ck_assert_rc(want("a", CERTS_WAITING), RC_AGAIN);
    ck_assert_uint_eq(n_flights, 1); /* one flight for an identity */
    answer(last(), 86400);
    ck_assert_uint_eq(seen.calls, 1);
    ck_assert_str_eq(seen.uri, "spiffe://td/ns/ns/sa/a");
    ck_assert(seen.ctx);
    ck_assert_str_eq(seen.error, "");
    ck_assert_rc(want("a", CERTS_WAITING), RC_OK);
    ck_assert_uint_eq(n_flights, 1);
    ck_assert_uint_eq(certs_count(certs), 1);
}
END_TEST

START_TEST(renewal_at_half_life)
{
    int64_t least = INT64_MAX, most = 0;
    want("a", CERTS_WARM_UP);
    for (int i = 0; i < 40; i++) {
        answer(last(), 86400);
        char serial[48];
        strcpy(serial, seen.serial);
        int64_t s = until_request(60000, 86400000) / 1000;
        least = MIN(least, s);
        most = MAX(most, s);
        ck_assert_rc(want("a", CERTS_WAITING), RC_OK); /* the old one while the new one comes */
        ck_assert_str_eq(serial, seen.serial);
    }
    ck_assert_int_ge(least, 43200 * 9 / 10);
    ck_assert_int_le(most, 43200 * 11 / 10 + 120);
    ck_assert_int_gt(most - least, 3600); /* spread */
    answer(last(), 86400);
    ck_assert_uint_eq(seen.calls, 41);
}
END_TEST

START_TEST(short_lived_ones_do_not_spin)
{
    want("a", CERTS_WARM_UP);
    answer(last(), 60); /* dated back by 120 s: its half was over before it was made */
    int64_t ms = until_request(1000, 60000);
    ck_assert_int_ge(ms, 27000);
    ck_assert_int_le(ms, 35000);
    answer(last(), 1);
    ck_assert_int_ge(until_request(100, 10000), 900);
}
END_TEST

START_TEST(failures_back_off)
{
    want("a", CERTS_WAITING);
    static const int64_t base[] = {1, 2, 4, 8, 16, 32, 64, 128, 150, 150, 150};
    for (size_t i = 0; i < ARRAY_LEN(base); i++) {
        refuse(last(), "authority away");
        ck_assert_uint_eq(seen.calls, i + 1);
        ck_assert(!seen.ctx);
        ck_assert_str_eq(seen.error, "authority away");
        struct identity *id = id_of("a");
        struct mtls_ctx *ctx = NULL;
        struct errmsg e;
        ck_assert_rc(certs_want(certs, id, CERTS_WAITING, &ctx, &e), RC_NO_CERT);
        ck_assert_str_eq(e.text, "authority away"); /* at once, and without a request */
        identity_unref(id);
        int64_t ms = until_request(100, 200000);
        ck_assert_int_ge(ms, base[i] * 800);
        ck_assert_int_le(ms, MIN(base[i] * 1200, 150000) + 100);
    }
    answer(last(), 86400);
    ck_assert(seen.ctx);
    until_request(60000, 86400000); /* a success starts the back-off anew */
    refuse(last(), "away");
    ck_assert_int_le(until_request(100, 10000), 1300);
}
END_TEST

START_TEST(kept_until_it_expires)
{
    want("a", CERTS_WARM_UP);
    answer(last(), 3600);
    char serial[48];
    strcpy(serial, seen.serial);
    until_request(1000, 3600000);
    int64_t expiry_s = wall0_s + 3600;
    unsigned kept = 0;
    while (now_s() < expiry_s - 200) {
        refuse(last(), "authority away");
        ck_assert(seen.ctx); /* renewal failed, the old one is kept */
        ck_assert_str_eq(seen.error, "authority away");
        ck_assert_str_eq(seen.serial, serial);
        ck_assert_rc(want("a", CERTS_WAITING), RC_OK);
        kept++;
        until_request(1000, 151000);
    }
    ck_assert_uint_gt(kept, 5);
    refuse(last(), "authority away");
    while (now_s() < expiry_s) { /* however long the back-off: the end is an occasion */
        if (n_open)
            refuse(last(), "authority away");
        loop_clock_advance(loop, 1000);
        loop_turn(loop, 0);
    }
    ck_assert_uint_eq(n_open, 1);
    ck_assert(!seen.ctx);
    ck_assert_str_eq(seen.error, "the certificate expired: authority away");
    ck_assert_rc(want("a", CERTS_WAITING), RC_NO_CERT);
    answer(last(), 3600);
    ck_assert(seen.ctx);
    ck_assert_rc(want("a", CERTS_WAITING), RC_OK);
}
END_TEST

START_TEST(expiry_while_a_request_hangs)
{
    want("a", CERTS_WARM_UP);
    answer(last(), 100);
    until_request(1000, 100000);
    advance(60000);
    advance(5000);
    ck_assert(!seen.ctx);
    ck_assert_str_eq(seen.error, "the certificate expired");
    ck_assert_uint_eq(n_open, 1); /* still the same one */
    answer(last(), 100);
    ck_assert(seen.ctx);
}
END_TEST

START_TEST(eight_at_a_time_who_waits_first)
{
    char name[20];
    for (int i = 0; i < 30; i++) {
        snprintf(name, sizeof(name), "p%d", i);
        want(name, CERTS_WARM_UP);
    }
    ck_assert_uint_eq(n_open, CERTS_FLIGHTS);
    want("urgent", CERTS_WAITING);
    want("p20", CERTS_WAITING); /* raised while queued */
    ck_assert_uint_eq(n_open, CERTS_FLIGHTS);
    answer(&flights[3], 1000);
    ck_assert(str_eqz(last()->id->sa, "urgent"));
    refuse(&flights[4], "no");
    ck_assert(str_eqz(last()->id->sa, "p20"));
    answer(&flights[5], 1000);
    ck_assert(str_eqz(last()->id->sa, "p8"));
    for (size_t i = 0; i < n_flights; i++)
        if (flights[i].open)
            answer(&flights[i], 1000);
    ck_assert_uint_eq(n_flights, 31);
    ck_assert_uint_eq(most_open, CERTS_FLIGHTS);
    ck_assert_uint_eq(certs_flights(certs), 0);
    ck_assert_uint_eq(certs_count(certs), 31);
}
END_TEST

START_TEST(forgotten)
{
    char name[20];
    for (int i = 0; i < 10; i++) {
        snprintf(name, sizeof(name), "p%d", i);
        want(name, CERTS_WARM_UP);
    }
    forget("p0"); /* in flight: cancelled, the next one flies */
    ck_assert_uint_eq(n_cancelled, 1);
    ck_assert_uint_eq(n_open, CERTS_FLIGHTS);
    ck_assert(str_eqz(last()->id->sa, "p8"));
    forget("p9"); /* queued */
    answer(&flights[1], 1000);
    ck_assert_uint_eq(n_flights, 9);
    forget("p1"); /* at rest with a certificate */
    refuse(&flights[2], "no");
    forget("p2"); /* in back-off */
    forget("nobody");
    advance(3600000);
    ck_assert_uint_eq(n_flights, 9);
    ck_assert_uint_eq(certs_count(certs), 6);
    ck_assert_uint_eq(seen.calls, 2);
    ck_assert_rc(want("p1", CERTS_WAITING), RC_AGAIN); /* from the beginning */
}
END_TEST

static void forget_in_callback(void *owner, struct identity *id, struct mtls_ctx *ctx,
                               const char *error)
{
    on_change(owner, id, ctx, error);
    certs_forget(certs, id);
    want("other", CERTS_WAITING);
}

START_TEST(callbacks_may_do_anything)
{
    certs_free(certs);
    struct certs_opts o = {.issuer = {flights, request, cancel},
                           .on_change = forget_in_callback,
                           .owner = &seen,
                           .now_s = now_s};
    certs = certs_new(loop, &o);
    want("a", CERTS_WAITING);
    answer(last(), 1000);
    ck_assert_uint_eq(certs_count(certs), 1);
    ck_assert(str_eqz(last()->id->sa, "other"));
    refuse(last(), "x");
    ck_assert_uint_eq(certs_count(certs), 1);
}
END_TEST

START_TEST(number_is_limited)
{
    char name[20];
    for (int i = 0; i < CERTS_MAX; i++) {
        snprintf(name, sizeof(name), "p%d", i);
        ck_assert_rc(want(name, CERTS_WARM_UP), RC_AGAIN);
    }
    ck_assert_rc(want("more", CERTS_WAITING), RC_LIMIT);
    forget("p77");
    ck_assert_rc(want("more", CERTS_WAITING), RC_AGAIN);
}
END_TEST

START_TEST(dump)
{
    struct strbuf out AUTO_STRBUF;
    strbuf_init(&out, 1 << 20);
    certs_dump(certs, &out);
    ck_assert_str_eq(out.p, "[]");
    strbuf_reset(&out);
    want("c", CERTS_WARM_UP);
    want("b", CERTS_WARM_UP);
    want("a", CERTS_WARM_UP);
    refuse(&flights[1], "a \"quoted\" reason");
    answer(&flights[0], 1000);
    certs_dump(certs, &out);
    ck_assert(str_starts(
        strbuf_str(&out),
        STR("[{\"identity\":\"spiffe://td/ns/ns/sa/a\",\"state\":\"Initializing\",\"certChain\":[],"
            "\"rootCerts\":[]},{\"identity\":\"spiffe://td/ns/ns/sa/b\",\"state\":\"Unavailable: a "
            "\\\"quoted\\\" reason\",\"certChain\":[],\"rootCerts\":[]},"
            "{\"identity\":\"spiffe://td/ns/ns/sa/c\",\"state\":\"Available\",\"certChain\":"
            "[{\"pem\":\"LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t")));
    char want_serial[80], want_from[80];
    time_t from = (time_t)(wall0_s - 120);
    struct tm tm;
    strftime(want_from, sizeof(want_from), "\",\"validFrom\":\"%Y-%m-%dT%H:%M:%SZ\"",
             gmtime_r(&from, &tm));
    snprintf(want_serial, sizeof(want_serial), "\"serialNumber\":\"%ld",
             strtol(seen.serial, NULL, 16));
    ck_assert_ptr_nonnull(strstr(out.p, want_serial));
    ck_assert_ptr_nonnull(strstr(out.p, want_from));
    ck_assert_ptr_nonnull(strstr(out.p, "\"expirationTime\":\""));
    ck_assert(str_ends(strbuf_str(&out), STR("\"}]}]")));
}
END_TEST

TEST_MAIN_FIXTURE("certs", setup, teardown, first_certificate, renewal_at_half_life,
                  short_lived_ones_do_not_spin, failures_back_off, kept_until_it_expires,
                  expiry_while_a_request_hangs, eight_at_a_time_who_waits_first, forgotten,
                  callbacks_may_do_anything, number_is_limited, dump)
