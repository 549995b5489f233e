#include "tests/helper/ads_peer.h"

#include <stdio.h>
#include <string.h>

#include "lib/base/must.h"
#include "tests/helper/io_mem.h"

/* -- receiving -- */

static enum rc on_resource(void *owner, const struct ads_resource *r, struct errmsg *ret_msg)
{
    struct ads_peer *p = owner;
    (void)ret_msg;
    if (p->in.n_removed == 0 && (p->log.n == 0 || p->log.p[p->log.n - 1] == '\n'))
        strbuf_addc(&p->log, '<');
    strbuf_printf(&p->log, " +%.*s", STR_ARG(r->name));
    p->resources++;
    p->bytes += r->bytes.n;
    if (p->on_change)
        p->on_change(r->type_url, r->name, r->version);
    return RC_OK;
}

static void acknowledge(struct ads_peer *p)
{
    struct strbuf m AUTO_STRBUF;
    strbuf_init(&m, 4096);
    pb_put_str(&m, 2, str_of(p->in.type_url));
    pb_put_str(&m, 6, str_of(p->in.nonce));
    ads_peer_send(p, strbuf_str(&m));
}

static void on_part(void *owner, const void *part, size_t n, size_t at, size_t total)
{
    struct ads_peer *p = owner;
    bool end = at + n == total;
    MUST(ads_response_feed(&p->in, (struct str){part, n}, end) == RC_OK);
    if (!end)
        return;
    p->responses++;
    p->largest = MAX(p->largest, total);
    if (p->log.n == 0 || p->log.p[p->log.n - 1] == '\n')
        strbuf_addc(&p->log, '<');
    for (size_t i = 0; i < p->in.n_removed; i++) {
        strbuf_printf(&p->log, " -%s", p->in.removed[i]);
        if (p->on_change)
            p->on_change(str_of(p->in.type_url), str_of(p->in.removed[i]), STR(""));
    }
    strbuf_printf(&p->log, "> %s\n", p->in.type_url ? strrchr(p->in.type_url, '.') + 1 : "?");
    snprintf(p->nonce, sizeof(p->nonce), "%s", p->in.nonce ? p->in.nonce : "");
    if (p->ack)
        acknowledge(p);
    ads_response_reset(&p->in);
}

static void on_done(void *owner, enum grpc_status status, struct str message)
{
    struct ads_peer *p = owner;
    p->done = true;
    p->call = NULL;
    p->status = status;
    snprintf(p->message, sizeof(p->message), "%.*s", STR_ARG(message));
}

static const struct grpc_ops call_ops = {.on_part = on_part, .on_done = on_done};

/* -- the two ends -- */

static void on_request(void *owner, struct h2_stream *s, const struct h2_headers *hs)
{
    ads_server_accept(((struct ads_peer *)owner)->ads, s, hs, STR("peer"));
}

static void on_server_close(void *owner, enum rc why)
{
    (void)why;
    ((struct ads_peer *)owner)->server = NULL;
}

static void on_client_close(void *owner, enum rc why)
{
    (void)why;
    ((struct ads_peer *)owner)->client = NULL;
}

static const struct h2_session_ops server_ops = {.on_request = on_request,
                                                 .on_close = on_server_close};
static const struct h2_session_ops client_ops = {.on_close = on_client_close};

static void begin(struct ads_peer *p, struct loop *l, struct ads_server *ads)
{
    *p = (struct ads_peer){.loop = l, .ads = ads};
    strbuf_init(&p->log, 1 << 20);
    ads_response_init(&p->in, on_resource, p);
}

void ads_peer_open(struct ads_peer *p, struct loop *l, struct ads_server *ads, size_t pipe)
{
    struct io *io;
    struct h2_opts small = {.stream_window = 65535, .connection_window = 65535};
    begin(p, l, ads);
    io_mem_pair(l, &(struct io_mem_opts){.capacity = pipe}, &p->io, &io);
    p->server = h2_session_new(l, io, &(struct h2_opts){.server = true}, &server_ops, p);
    p->client = h2_session_new(l, p->io, &small, &client_ops, p);
    p->call = grpc_open(p->client, STR("test"), XDS_DELTA_PATH, NULL, 0, ADS_FIRST_MAX + 4096,
                        &call_ops, p);
    MUST(p->call);
}

static void on_ready(void *owner, struct h2_session *s, const char *error)
{
    struct ads_peer *p = owner;
    struct errmsg e = {""};
    if (s)
        p->call =
            channel_call(p->channel, s, XDS_DELTA_PATH, ADS_FIRST_MAX + 4096, &call_ops, p, &e);
    if (p->call)
        return;
    p->done = true;
    p->status = GRPC_UNAVAILABLE;
    snprintf(p->message, sizeof(p->message), "%s", s ? e.text : error);
}

void ads_peer_dial(struct ads_peer *p, struct loop *l, struct channel *ch)
{
    begin(p, l, NULL);
    p->channel = ch;
    channel_get(ch, &p->wait, on_ready, p);
}

void ads_peer_send(struct ads_peer *p, struct str message)
{
    if (p->call)
        grpc_send(p->call, message.p, message.n);
}

void ads_peer_close(struct ads_peer *p)
{
    channel_wait_cancel(&p->wait);
    if (p->call)
        grpc_cancel(p->call);
    if (p->client)
        h2_session_close(p->client, RC_CLOSED);
    for (int i = 0; i < 5; i++)
        loop_turn(p->loop, 0);
    if (p->server)
        h2_session_close(p->server, RC_CLOSED);
    for (int i = 0; i < 5; i++)
        loop_turn(p->loop, 0);
    ads_response_fini(&p->in);
    strbuf_fini(&p->log);
}

/* -- requests -- */

void ads_peer_begin(struct strbuf *m, const char *url, const char *node_id)
{
    struct strbuf node AUTO_STRBUF;
    strbuf_init(&node, 4096);
    strbuf_reset(m);
    pb_put_str(&node, 1, str_of(node_id));
    if (node_id)
        pb_put_bytes(m, 1, strbuf_str(&node));
    pb_put_str(m, 2, str_of(url));
}

void ads_peer_name(struct strbuf *m, uint32_t field, const char *name)
{
    pb_put_str(m, field, str_of(name));
}

void ads_peer_held(struct strbuf *m, const char *name, const char *version)
{
    struct strbuf entry AUTO_STRBUF;
    strbuf_init(&entry, 8192);
    pb_put_str(&entry, 1, str_of(name));
    pb_put_str(&entry, 2, str_of(version));
    pb_put_bytes(m, 5, strbuf_str(&entry));
}
