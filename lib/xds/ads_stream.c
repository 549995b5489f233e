/* One client of the ADS server: its life and its requests. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/xds/ads_priv.h"

/* -- life -- */

static void stream_free(struct ads_stream *st)
{
    list_del(&st->node);
    loop_task_cancel(&st->send);
    loop_timer_clear(&st->stall);
    for (size_t t = 0; t < st->server->n_sets; t++)
        ads_sub_fini(&st->sub[t]);
    ads_out_fini(&st->out);
    ads_request_reset(&st->req);
    pb_stream_fini(&st->in);
    free(st->peer);
    free(st->node_id);
    free(st->node_name);
    free(st->ns);
    free(st);
}

static struct ads_client_info info(const struct ads_stream *st)
{
    return (struct ads_client_info){str_of(st->peer), str_of(st->node_id), str_of(st->node_name),
                                    str_of(st->ns)};
}

static void gone(struct ads_stream *st)
{
    struct ads_client_info i = info(st);
    if (st->known && st->server->ops->on_gone)
        st->server->ops->on_gone(st->server->owner, &i);
    stream_free(st);
}

void ads_stream_end(struct ads_stream *st, enum grpc_status status, const char *why)
{
    if (st->out.on) /* a status can't follow half a message */
        grpc_cancel(st->call);
    else
        grpc_finish(st->call, status, why);
    gone(st);
}

static void on_stall(void *owner)
{
    struct ads_stream *st = owner;
    grpc_cancel(st->call);
    gone(st);
}

static void on_send(void *owner)
{
    ads_stream_send(owner);
}

/* -- requests -- */

static void acknowledge(struct ads_stream *st, size_t t)
{
    struct ads_request *r = &st->req;
    struct ads_sub *sub = &st->sub[t];
    struct str number, type = str_split(str_of(r->nonce), '-', &number);
    uint64_t type_n, nonce;
    if (!str_to_u64(type, ADS_TYPES_MAX, &type_n) || type_n != t ||
        !str_to_u64(number, sub->nonce, &nonce) || nonce <= sub->acked_nonce)
        return; /* stale, or of another stream */
    sub->acked_nonce = nonce;
    if (!r->has_error) {
        sub->acked++;
        return;
    }
    struct ads_client_info i = info(st);
    sub->nacked++;
    snprintf(sub->error, sizeof(sub->error), "%s", r->error ? r->error : "");
    if (st->server->ops->on_nack)
        st->server->ops->on_nack(st->server->owner, &i, st->server->sets[t].type.url,
                                 str_of(r->error));
}

static enum grpc_status first_request(struct ads_stream *st, const char **text)
{
    struct ads_request *r = &st->req;
    *text = "node.id is missing";
    if (!r->node_id || !r->node_id[0])
        return GRPC_INVALID_ARGUMENT;
    st->node_id = TAKE(r->node_id);
    st->node_name = TAKE(r->node_name);
    st->ns = TAKE(r->ns);
    struct ads_client_info i = info(st);
    *text = "refused";
    return st->server->ops->on_client(st->server->owner, &i, text);
}

static void request_done(struct ads_stream *st)
{
    struct ads_request *r = &st->req;
    struct ads_server *s = st->server;
    if (!st->known) {
        const char *text;
        enum grpc_status status = first_request(st, &text);
        if (status != GRPC_OK) {
            ads_stream_end(st, status, text);
            return;
        }
        st->known = true;
    }
    size_t t = 0;
    while (t < s->n_sets && !str_eqz(str_of(r->type_url), s->sets[t].type.url))
        t++;
    if (t < s->n_sets) {
        bool ack = r->nonce && r->nonce[0];
        if (ack && st->sub[t].on)
            acknowledge(st, t);
        if ((!ack || r->n_subscribe || r->n_unsubscribe || !st->sub[t].on) &&
            ads_sub_apply(st, t) != RC_OK) {
            ads_stream_end(st, GRPC_RESOURCE_EXHAUSTED, "too many names are subscribed");
            return;
        }
    } /* a type that is not served stays unanswered, as with Istio's controller */
    ads_request_reset(r);
    loop_defer(s->loop, &st->send, LOOP_WORK);
}

static void on_part(void *owner, const void *p, size_t n, size_t at, size_t total)
{
    struct ads_stream *st = owner;
    enum rc rc = pb_stream_feed(&st->in, (struct str){p, n});
    if (rc == RC_OK && at + n == total)
        rc = pb_stream_end(&st->in);
    if (rc != RC_OK) {
        ads_stream_end(st, rc == RC_LIMIT ? GRPC_RESOURCE_EXHAUSTED : GRPC_INVALID_ARGUMENT,
                       rc == RC_LIMIT ? "the request is over a limit" : "malformed request");
        return;
    }
    if (at + n == total)
        request_done(st);
}

static void on_writable(void *owner)
{
    struct ads_stream *st = owner;
    loop_timer_clear(&st->stall);
    ads_stream_send(st);
}

static void on_half_close(void *owner)
{
    ads_stream_end(owner, GRPC_OK, "");
}

static void on_done(void *owner, enum grpc_status status, struct str message)
{
    (void)status, (void)message;
    gone(owner);
}

static const struct grpc_ops call_ops = {
    .on_part = on_part,
    .on_half_close = on_half_close,
    .on_writable = on_writable,
    .on_done = on_done,
};

void ads_server_accept(struct ads_server *s, struct h2_stream *h2, const struct h2_headers *hs,
                       struct str peer)
{
    struct ads_stream *st = mem_new(struct ads_stream);
    st->server = s;
    st->peer = str_dup(peer);
    ads_request_init(st);
    loop_task_init(&st->send, on_send, st);
    loop_timer_init(&st->stall, s->loop, on_stall, st);
    st->call = grpc_accept(h2, hs, ADS_REQUEST_MAX, &call_ops, st);
    list_push_back(&s->streams, &st->node);
    if (!st->call)
        stream_free(st);
}
