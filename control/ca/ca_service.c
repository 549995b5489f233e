#include "control/ca/ca_service.h"

#include "lib/base/clock.h"
#include "lib/base/list.h"
#include "lib/ca/ca_msg.h"
#include "lib/log/log.h"
#include "lib/metric/metric.h"

#define SCOPE "ca"

/* Istio's names; what is refused for which reason is ours. */
static const struct metric_family m_csr = {.name = "citadel_server_csr_count",
                                           .help = "Signing requests received.",
                                           .type = METRIC_COUNTER,
                                           .plain = true};
static const struct metric_family m_issued = {.name = "citadel_server_success_cert_issuance_count",
                                              .help = "Certificates issued.",
                                              .type = METRIC_COUNTER,
                                              .plain = true};
static const struct metric_family m_refused[CSR_REFUSALS] = {
    [CSR_AUTHENTICATION] = {"citadel_server_authentication_failure_count",
                            "Callers that could not be authenticated.", METRIC_COUNTER, true},
    [CSR_IDENTITY] = {"citadel_server_id_extraction_err_count",
                      "Requests without an identity that the caller may have.", METRIC_COUNTER,
                      true},
    [CSR_REQUEST] = {"citadel_server_csr_parsing_err_count",
                     "Signing requests that were malformed or had a bad key or signature.",
                     METRIC_COUNTER, true},
    [CSR_SIGNING] = {"citadel_server_csr_sign_err_count",
                     "Signing requests that the authority failed to sign.", METRIC_COUNTER, true},
};
static const struct metric_family m_reasons = {.name = "mesh_ca_refused",
                                               .help = "Signing requests refused, by reason.",
                                               .type = METRIC_COUNTER};
static const struct metric_family m_root_end = {
    .name = "citadel_server_root_cert_expiry_timestamp",
    .help = "When the first trust root ends, seconds since 1970.",
    .type = METRIC_GAUGE};
static const struct metric_family m_root_left = {.name = "citadel_server_root_cert_expiry_seconds",
                                                 .help = "Seconds until the first trust root ends.",
                                                 .type = METRIC_GAUGE};
static const struct metric_family m_signer_end = {
    .name = "citadel_server_cert_chain_expiry_timestamp",
    .help = "When the signing certificate ends, seconds since 1970.",
    .type = METRIC_GAUGE};
static const struct metric_family m_signer_left = {
    .name = "citadel_server_cert_chain_expiry_seconds",
    .help = "Seconds until the signing certificate ends.",
    .type = METRIC_GAUGE};

struct ca_service {
    struct csr_service csr;
    struct tokens *tokens;
    struct list calls;
};

/* One call; the texts of caller are copies, for the tokens may change before the request is read. */
struct ca_call {
    struct ca_service *service;
    struct list node;
    struct grpc_call *grpc;
    struct caller caller;
    char *node_name, *ns, *sa;
    char peer[ADDR_TEXT];
    struct strbuf request;
    bool complete; /* one whole message is in */
};

static void count(const struct metric_family *f)
{
    metric_add(metric_series(f, STR("")), 1);
}

static void count_refusal(enum csr_refusal why)
{
    struct strbuf label AUTO_STRBUF;
    strbuf_init(&label, 100);
    metric_label(&label, "reason", str_of(csr_refusal_name(why)));
    metric_add(metric_series(&m_reasons, strbuf_str(&label)), 1);
    if (m_refused[why].name)
        count(&m_refused[why]);
}

static void on_scrape(void *owner)
{
    const struct ca_service *s = owner;
    int64_t now_s = clock_wall_us() / 1000000;
    int64_t root_s = ca_root_not_after_s(s->csr.ca), signer_s = ca_signer_not_after_s(s->csr.ca);
    metric_set(metric_series(&m_root_end, STR("")), root_s);
    metric_set(metric_series(&m_root_left, STR("")), root_s - now_s);
    metric_set(metric_series(&m_signer_end, STR("")), signer_s);
    metric_set(metric_series(&m_signer_left, STR("")), signer_s - now_s);
}

/* -- one call -- */

static void call_free(struct ca_call *c)
{
    list_del(&c->node);
    strbuf_fini(&c->request);
    mem_free(c->node_name);
    mem_free(c->ns);
    mem_free(c->sa);
    mem_free(c);
}

static void on_part(void *owner, const void *p, size_t n, size_t at, size_t total)
{
    struct ca_call *c = owner;
    if (at == 0)
        strbuf_reset(&c->request); /* a second message replaces the first; it is bounded too */
    strbuf_add(&c->request, p, n);
    c->complete = at + n == total;
}

static void on_done(void *owner, enum grpc_status status, struct str message)
{
    (void)status, (void)message; /* the client left: nothing was issued */
    call_free(owner);
}

static void send_chain(struct ca_call *c, X509 *leaf)
{
    const struct ca *ca = c->service->csr.ca;
    struct strbuf pem AUTO_STRBUF, bytes AUTO_STRBUF;
    struct ca_chain m = {.n = 1};
    strbuf_init(&pem, CERT_PEM_MAX);
    strbuf_init(&bytes, CA_RESPONSE_MAX);
    cert_to_pem(leaf, &pem);
    m.pem[0] = strbuf_str(&pem);
    for (size_t i = 0; i < ca_chain_len(ca); i++)
        m.pem[m.n++] = ca_chain_pem(ca, i);
    ca_chain_encode(&m, &bytes);
    grpc_send(c->grpc, bytes.p, bytes.n);
}

static void log_answer(const struct ca_call *c, const struct csr_answer *a)
{
    struct str id = a->id ? a->id->uri : STR("unknown");
    const struct caller *who = &c->caller;
    struct str name = who->kind == CALLER_NODE ? who->node : who->sa;
    const char *kind = who->kind == CALLER_NODE ? "node" : "workload";
    if (a->refusal == CSR_GRANTED)
        log_info(SCOPE, "certificate for %.*s issued to %s %.*s%s%.*s at %s", STR_ARG(id), kind,
                 STR_ARG(who->ns), who->ns.n ? "/" : "", STR_ARG(name), c->peer);
    else
        log_warn(SCOPE, "certificate for %.*s refused to %s %.*s%s%.*s at %s: %s: %s", STR_ARG(id),
                 kind, STR_ARG(who->ns), who->ns.n ? "/" : "", STR_ARG(name), c->peer,
                 csr_refusal_name(a->refusal), a->reason.text);
}

static void on_half_close(void *owner)
{
    struct ca_call *c = owner;
    struct csr_answer a = {.refusal = CSR_REQUEST,
                           .status = GRPC_INVALID_ARGUMENT,
                           .client_text = "malformed request"};
    struct ca_csr m;
    errmsg_set(&a.reason, "not an IstioCertificateRequest");
    if (c->complete && ca_csr_decode(strbuf_str(&c->request), &m) == RC_OK) {
        struct csr_request r = {.caller = &c->caller,
                                .csr = m.csr,
                                .impersonated = m.impersonated,
                                .valid_s = m.valid_s};
        csr_decide(&c->service->csr, &r, &a);
    }
    count(&m_csr);
    log_answer(c, &a);
    if (a.refusal == CSR_GRANTED) {
        count(&m_issued);
        send_chain(c, a.leaf);
    } else {
        count_refusal(a.refusal);
    }
    grpc_finish(c->grpc, a.status, a.client_text);
    csr_answer_fini(&a);
    call_free(c);
}

static const struct grpc_ops call_ops = {
    .on_part = on_part, .on_half_close = on_half_close, .on_done = on_done};

bool ca_service_request(struct ca_service *s, struct h2_stream *stream, const struct h2_headers *hs,
                        const struct addr *peer)
{
    struct caller who;
    struct errmsg why = {""};
    char from[ADDR_TEXT];
    addr_format(peer, from);
    struct str bearer = h2_header_get(hs, "authorization");
    if (tokens_authenticate(s->tokens, bearer, &who, &why) != RC_OK) {
        log_warn(SCOPE, "request from %s refused: %s", from, why.text);
        count(&m_csr);
        count_refusal(CSR_AUTHENTICATION);
        grpc_refuse(stream, GRPC_UNAUTHENTICATED, CSR_NOT_AUTHORIZED);
        return false;
    }
    struct ca_call *c = mem_new(struct ca_call);
    c->grpc = grpc_accept(stream, hs, CA_REQUEST_MAX, &call_ops, c);
    if (!c->grpc) {
        mem_free(c);
        return true;
    }
    c->service = s;
    c->node_name = str_dup(who.node);
    c->ns = str_dup(who.ns);
    c->sa = str_dup(who.sa);
    c->caller = (struct caller){
        .kind = who.kind, .node = str_of(c->node_name), .ns = str_of(c->ns), .sa = str_of(c->sa)};
    memcpy(c->peer, from, sizeof(c->peer));
    strbuf_init(&c->request, CA_REQUEST_MAX);
    list_push_back(&s->calls, &c->node);
    return true;
}

/* -- the service -- */

struct ca_service *ca_service_new(const struct ca_service_opts *o)
{
    struct ca_service *s = mem_new(struct ca_service);
    s->csr = o->csr;
    s->tokens = o->tokens;
    list_init(&s->calls);
    metric_on_scrape(on_scrape, s);
    return s;
}

void ca_service_free(struct ca_service *s)
{
    if (!s)
        return;
    struct ca_call *c, *next;
    LIST_FOREACH_SAFE (c, next, &s->calls, node) {
        grpc_cancel(c->grpc);
        call_free(c);
    }
    metric_off_scrape(on_scrape, s);
    mem_free(s);
}
