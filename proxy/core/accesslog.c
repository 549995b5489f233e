#include "proxy/core/accesslog.h"

#include <stdio.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/log/log.h"
#include "proxy/core/telemetry_priv.h"

#define SCOPE "access"

static void put_addr(struct log_line *l, const char *key, const struct addr *a)
{
    char text[ADDR_TEXT];
    log_word(l, key, (struct str){text, addr_format(a, text)});
}

/* What the CONNECT named: address or host name, with port. */
static void put_hbone(struct log_line *l, const struct conn_info *ci)
{
    char text[300];
    if (ci->hbone_addr.family) {
        put_addr(l, "dst.hbone_addr", &ci->hbone_addr);
    } else if (ci->hbone_host.n) {
        int n = snprintf(text, sizeof(text), "%.*s:%u", (int)MIN(ci->hbone_host.n, (size_t)255),
                         ci->hbone_host.p, ci->hbone_addr.port);
        log_word(l, "dst.hbone_addr", (struct str){text, (size_t)n});
    }
}

static void put_direction(struct log_line *l, bool inbound)
{
    log_str(l, "direction", inbound ? STR("inbound") : STR("outbound"));
}

static void put_ends(struct log_line *l, const struct conn_info *ci)
{
    struct conn_side src, dst;
    conn_side_of(ci, true, &src);
    conn_side_of(ci, false, &dst);
    put_addr(l, "src.addr", &ci->src_addr);
    log_str(l, "src.workload", src.name.n ? src.name : src.service);
    log_str(l, "src.namespace", src.ns);
    log_str(l, "src.identity", ci->mtls ? src.principal : STR(""));
    log_str(l, "src.cluster", src.cluster);
    put_addr(l, "dst.addr", &ci->dst_addr);
    put_hbone(l, ci);
    log_str(l, "dst.service", ci->svc ? ci->svc->host : STR(""));
    log_str(l, "dst.workload", dst.name.n ? dst.name : dst.service);
    log_str(l, "dst.namespace", dst.ns);
    log_str(l, "dst.identity", ci->mtls ? dst.principal : STR(""));
    log_str(l, "dst.cluster", dst.cluster);
    put_direction(l, ci->inbound);
}

static void put_error(struct log_line *l, enum rc why, const char *detail)
{
    char text[1024];
    int n = snprintf(text, sizeof(text), "%s%s%s", rc_text(why), detail && detail[0] ? ": " : "",
                     detail ? detail : "");
    size_t len = (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
    log_str(l, "error", (struct str){text, len});
}

void accesslog_line(const struct conn_info *ci, enum rc why, const char *detail)
{
    struct log_line l;
    bool fine = why == RC_OK || why == RC_EOF;
    /* ends without a response flag (reset by an application, drained) are nobody's failure */
    bool failed = !str_eqz(STR("-"), rc_flag(why));
    log_begin(&l, failed ? LOG_ERROR : LOG_INFO, SCOPE, "connection complete");
    if (!l.on)
        return;
    put_ends(&l, ci);
    log_u64(&l, "bytes_sent", ci->inbound ? ci->down : ci->up);
    log_u64(&l, "bytes_recv", ci->inbound ? ci->up : ci->down);
    char ms[32];
    int64_t us = clock_mono_us() - ci->start_us;
    int n = snprintf(ms, sizeof(ms), "%lldms", (long long)(us / 1000));
    log_str(&l, "duration", (struct str){ms, (size_t)n});
    if (!fine)
        put_error(&l, why, detail);
    log_end(&l);
}

void accesslog_opened(const struct conn_info *ci)
{
    struct log_line l;
    log_begin(&l, LOG_DEBUG, SCOPE, "connection opened");
    if (!l.on)
        return;
    put_ends(&l, ci);
    log_end(&l);
}

void accesslog_refused(bool inbound, const struct addr *src, const struct addr *dst, enum rc why,
                       const char *detail)
{
    struct log_line l;
    log_begin(&l, LOG_WARN, SCOPE, "connection failed");
    if (!l.on)
        return;
    put_addr(&l, "src.addr", src);
    put_addr(&l, "dst.addr", dst);
    put_direction(&l, inbound);
    put_error(&l, why, detail);
    log_end(&l);
}
