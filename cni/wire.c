#include "cni/wire.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/net/sock.h"

#define TREE_MAX   (16u << 20)
#define FDS_MAX    4 /* room to see that there is more than one */
#define BACKLOG_MS 5 /* between attempts while many wait at the agent's door */

static const char *const types[] = {[WIRE_ADD] = "add",
                                    [WIRE_DEL] = "del",
                                    [WIRE_CHECK] = "check",
                                    [WIRE_STATUS] = "status",
                                    [WIRE_GC] = "gc"};

/* -- messages -- */

void wire_request_format(enum wire_type type, const struct attachment *a, struct str valid,
                         struct strbuf *out)
{
    strbuf_printf(out, "{\"version\":1,\"type\":\"%s\"", types[type]);
    if (a) {
        strbuf_addz(out, ",\"attachment\":");
        attachment_format(a, out);
    }
    if (type == WIRE_GC) {
        strbuf_addz(out, ",\"valid\":");
        strbuf_adds(out, valid);
    }
    strbuf_addc(out, '}');
}

static enum rc gc_parse(const struct node *n, struct wire_request *r, struct errmsg *msg)
{
    r->valid = node_get(n, "valid");
    if (!r->valid || r->valid->kind != NODE_LIST) {
        errmsg_set(msg, "valid: not a list");
        return RC_INVALID;
    }
    NODE_FOREACH (v, r->valid) {
        struct str ifname, container = str_split(node_str(v), '/', &ifname);
        if (!attachment_container_ok(container) || !attachment_ifname_ok(ifname)) {
            errmsg_set(msg, "valid: not CONTAINER/INTERFACE");
            return RC_INVALID;
        }
    }
    return RC_OK;
}

enum rc wire_request_parse(struct arena *arena, struct str packet, struct wire_request *ret,
                           struct errmsg *ret_msg)
{
    struct node *n;
    struct wire_request r = {.type = WIRE_ADD};
    enum rc rc = json_parse(arena, packet, &n, ret_msg);
    if (rc != RC_OK)
        return rc;
    struct str type = node_str(node_get(n, "type"));
    size_t i = 0;
    while (i < ARRAY_LEN(types) && !str_eqz(type, types[i]))
        i++;
    if (i == ARRAY_LEN(types)) {
        errmsg_set(ret_msg, "type: not one that this agent knows");
        return RC_UNSUPPORTED;
    }
    r.type = (enum wire_type)i;
    switch (r.type) {
    case WIRE_ADD:
    case WIRE_DEL:
    case WIRE_CHECK:  rc = attachment_parse(node_get(n, "attachment"), &r.a, ret_msg); break;
    case WIRE_GC:     rc = gc_parse(n, &r, ret_msg); break;
    case WIRE_STATUS: break;
    }
    if (rc == RC_OK)
        *ret = r;
    return rc;
}

void wire_answer_format(const struct wire_answer *a, struct strbuf *out)
{
    strbuf_printf(out, "{\"code\":%llu,\"captured\":%s,\"msg\":\"", (unsigned long long)a->code,
                  a->captured ? "true" : "false");
    strbuf_add_json(out, a->msg);
    strbuf_addz(out, "\",\"details\":\"");
    strbuf_add_json(out, a->details);
    strbuf_addz(out, "\"}");
}

enum rc wire_answer_parse(struct arena *arena, struct str packet, struct wire_answer *ret)
{
    struct node *n;
    struct wire_answer a = {0};
    if (json_parse(arena, packet, &n, NULL) != RC_OK)
        return RC_INVALID;
    const struct node *code = node_get(n, "code"), *captured = node_get(n, "captured");
    if (!code || code->kind != NODE_NUMBER || !str_to_u64(code->text, UINT32_MAX, &a.code))
        return RC_INVALID;
    a.captured = captured && captured->kind == NODE_BOOL && str_eqz(captured->text, "true");
    a.msg = node_str(node_get(n, "msg"));
    a.details = node_str(node_get(n, "details"));
    *ret = a;
    return RC_OK;
}

/* -- packets -- */

enum rc wire_send(int sock, struct str packet, int fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.bytes = {0}};
    struct iovec iov = {(char *)(uintptr_t)packet.p, packet.n};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fd >= 0) {
        m.msg_control = control.bytes;
        m.msg_controllen = sizeof(control.bytes);
        struct cmsghdr *h = CMSG_FIRSTHDR(&m);
        h->cmsg_level = SOL_SOCKET;
        h->cmsg_type = SCM_RIGHTS;
        h->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(h), &fd, sizeof(int));
    }
    ssize_t n;
    do
        n = sendmsg(sock, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return rc_from_errno(errno);
    return (size_t)n == packet.n ? RC_OK : RC_IO;
}

static size_t take_fds(struct msghdr *m, int *fds)
{
    size_t n = 0;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        size_t k = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < k && n < FDS_MAX; i++)
            memcpy(&fds[n++], CMSG_DATA(h) + i * sizeof(int), sizeof(int));
    }
    return n;
}

enum rc wire_recv(int sock, size_t max, struct strbuf *ret_packet, int *ret_fd)
{
    /* the length first: a packet is read whole or not at all */
    ssize_t len;
    do
        len = recv(sock, NULL, 0, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
    while (len < 0 && errno == EINTR);
    if (len < 0)
        return rc_from_errno(errno);
    if ((size_t)len > max)
        return RC_LIMIT;
    char *buf AUTO_FREE = mem_alloc((size_t)len + 1);
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
    } control;
    struct iovec iov = {buf, (size_t)len + 1};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control.bytes,
                       .msg_controllen = sizeof(control.bytes)};
    ssize_t n;
    do
        n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return rc_from_errno(errno);
    int fds[FDS_MAX];
    size_t n_fds = take_fds(&m, fds);
    enum rc rc = n_fds > 1 || (m.msg_flags & MSG_CTRUNC) ? RC_INVALID : n == 0 ? RC_EOF : RC_OK;
    if (rc == RC_OK) {
        strbuf_add(ret_packet, buf, (size_t)n);
        *ret_fd = n_fds ? fds[0] : -1;
        return RC_OK;
    }
    for (size_t i = 0; i < n_fds; i++)
        close(fds[i]);
    return rc;
}

/* -- the plug-in's side -- */

static enum rc dial(const char *path, int64_t until_ms, int *ret)
{
    for (;;) {
        enum rc rc = sock_connect_unix(path, SOCK_SEQPACKET, ret);
        if (rc != RC_AGAIN || clock_mono_ms() >= until_ms) /* its queue is full: nothing to poll */
            return rc;
        struct timespec wait = {.tv_nsec = BACKLOG_MS * 1000000L};
        nanosleep(&wait, NULL);
    }
}

static enum rc await(int sock, int64_t until_ms, struct strbuf *ret_answer)
{
    int fd = -1;
    for (;;) {
        enum rc rc = wire_recv(sock, WIRE_ANSWER_MAX, ret_answer, &fd);
        if (rc == RC_OK && fd >= 0)
            close(fd);
        if (rc != RC_AGAIN)
            return rc;
        int64_t left = until_ms - clock_mono_ms();
        if (left <= 0)
            return RC_TIMEOUT;
        struct pollfd p = {.fd = sock, .events = POLLIN};
        poll(&p, 1, (int)MIN(left, (int64_t)60000));
    }
}

enum rc wire_ask(const char *path, struct str request, int fd, int64_t until_ms,
                 struct strbuf *ret_answer, struct errmsg *ret_msg)
{
    int sock = -1;
    enum rc rc = dial(path, until_ms, &sock);
    if (rc != RC_OK) {
        errmsg_set(ret_msg, "no agent at %.200s: %s", path, strerror(errno));
        return rc;
    }
    rc = wire_send(sock, request, fd);
    if (rc != RC_OK)
        errmsg_set(ret_msg, "the agent at %.200s can't be asked: %s", path, rc_text(rc));
    else if ((rc = await(sock, until_ms, ret_answer)) != RC_OK)
        errmsg_set(ret_msg, "the agent at %.200s did not answer: %s", path, rc_text(rc));
    close(sock);
    return rc;
}
