/* Plaintext that reaches the pod (15006): let through where policy allows it. */
#include "lib/base/mem.h"
#include "lib/net/sock.h"
#include "proxy/state/balance.h"
#include "proxy/ztunnel/conn.h"

static void give_up(void *owner, enum rc why)
{
    struct conn *c = owner;
    conn_finish(c, why);
}

static void decide(void *owner)
{
    struct conn *c = owner;
    struct pod *p = c->pod;
    const struct proxy_state *st = zworker_state(p->zw);
    if (!st || !p->wl) {
        pod_wait_start(p, &c->wait, RC_NO_WORKLOAD);
        return;
    }
    enum rc rc = conn_authorize(c, &c->orig_dst);
    if (rc == RC_NO_POLICY) {
        pod_wait_start(p, &c->wait, RC_NO_POLICY);
        return;
    }
    conn_set_src(c, state_workload_by_ip(st, p->zw->cfg->network, &c->info.src_addr));
    conn_set_dst(c, p->wl, balance_guess_service(st, p->wl, (struct str){"", 0}, c->orig_dst.port));
    conn_opened(c);
    if (rc == RC_OK)
        rc = conn_open_plain(c, &c->orig_dst, true);
    if (rc != RC_OK)
        conn_finish(c, rc);
}

void passthrough_accept(struct pod *p, int fd, const struct addr *peer)
{
    struct conn *c = conn_new(p, CONN_PLAIN, fd);
    c->info.inbound = true;
    c->info.src_addr = *peer;
    c->wait.retry = decide;
    c->wait.give_up = give_up;
    sock_original_dst(fd, &c->orig_dst);
    c->info.dst_addr = c->orig_dst;
    if (pod_port_is_ours(c->orig_dst.port)) {
        conn_finish(c, RC_LOOP);
        return;
    }
    decide(c);
}
