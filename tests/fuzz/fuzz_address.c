/* Workloads and services as xDS brings them: what is accepted can be found, changes nothing when it comes
 * again, and leaves nothing behind. */
#include "lib/base/must.h"
#include "proxy/state/apply.h"
#include "proxy/state/balance.h"
#include "tests/helper/fuzz.h"

static void look(const struct proxy_state *st, struct workload *w)
{
    for (size_t t = 0; t <= WL_SUBZONE; t++)
        MUST(workload_text(w, (enum wl_text)t).n <= 8192);
    for (size_t i = 0; i < w->n_addrs && !w->t->host_network; i++)
        MUST(state_workload_by_ip(st, workload_text(w, WL_NETWORK), &workload_addrs(w)[i]) == w);
    for (size_t i = 0; i < w->t->n_services; i++) {
        const struct wl_service *m = &workload_services(w)[i];
        MUST(workload_service(w, atom_str(m->key)) == m);
        for (size_t k = 0; k < m->n_ports; k++)
            MUST(workload_port(m, wl_service_ports(m)[k].service) == wl_service_ports(m)[k].target);
    }
    struct strbuf b;
    strbuf_init(&b, 1 << 16);
    workload_baggage(w, &b);
    strbuf_fini(&b);
    struct balance_choice c;
    if (balance_workload(w, NULL, 80, &c) == RC_OK)
        MUST(c.wl == w && c.addr.port == 80);
}

static void look_service(const struct proxy_state *st, struct service *s)
{
    static const struct place nowhere = {.network = {"", 0}};
    struct wl_template t = {.capacity = 1};
    struct workload client = {.place = (struct place *)(uintptr_t)&nowhere, .t = &t};
    struct balance_request r = {.client = &client, .service = s};
    struct balance_choice c;
    for (size_t i = 0; i < s->n_vips; i++)
        MUST(state_service_by_vip(st, s->vips[i].network, &s->vips[i].cidr.base, s->ns) == s);
    MUST(state_service_by_host(st, s->host, s->ns) == s);
    MUST(state_service(st, s->ns, s->host) == s);
    (void)balance_waypoint(s);
    MUST(balance_pick(st, &r, &c) == RC_NO_UPSTREAM);
}

static bool first(void *value, void *arg)
{
    *(void **)arg = value;
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str bytes = {(const char *)data, n};
    struct errmsg e = {""};
    struct apply *a = apply_new(STR(""));
    enum rc rc = apply_address(a, STR("name"), bytes, &e);
    MUST(rc == RC_OK || e.text[0]);
    MUST(apply_changed(a) == (rc == RC_OK));
    struct proxy_state *st = apply_commit(a);
    struct workload *w = NULL;
    struct service *s = NULL;
    cowmap_each(&st->workloads, first, &w);
    cowmap_each(&st->services, first, &s);
    MUST((w != NULL) + (s != NULL) == (rc == RC_OK));
    if (w)
        look(st, w);
    if (s)
        look_service(st, s);
    if (rc == RC_OK) {
        struct str name = w ? workload_text(w, WL_UID) : s->key;
        MUST(apply_address(a, name, bytes, NULL) == RC_OK && !apply_changed(a));
        apply_remove_address(a, name);
        struct proxy_state *none = apply_commit(a);
        MUST(none->workloads.len + none->services.len + none->by_ip.len + none->by_vip.len +
                 none->by_host.len + none->endpoints.len + none->local.len ==
             0);
        snapshot_unref(&none->base);
    }
    snapshot_unref(&st->base);
    apply_free(a);
    return 0;
}
