/* Every packet that crosses the bridge between the nodes, looked at as an eavesdropper would. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cmd/demo/demo.h"
#include "lib/base/mem.h"

static struct {
    int fd;
    pthread_t thread;
    atomic_bool stop;
    struct sniffed seen;
} sniff = {.fd = -1};

static unsigned be16(const unsigned char *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

/* TLS record header at the start of a segment: type 20-23, version 3.x (RFC 8446 5.1). */
static bool is_record(const unsigned char *p, size_t n)
{
    return n >= 5 && p[0] >= 20 && p[0] <= 23 && p[1] == 3;
}

static void look(const unsigned char *p, size_t n)
{
    if (n < 34 || be16(p + 12) != ETH_P_IP || p[23] != 6)
        return;
    size_t ip = 14 + (p[14] & 15) * 4u;
    if (n < ip + 20)
        return;
    unsigned from = be16(p + ip), to = be16(p + ip + 2);
    size_t at = ip + (p[ip + 12] >> 4) * 4u;
    if (memmem(p, n, DEMO_MARK, sizeof(DEMO_MARK) - 1))
        sniff.seen.leaks++;
    if ((from != 15008 && to != 15008) || at > n)
        return;
    sniff.seen.packets++;
    sniff.seen.bytes += n - at;
    sniff.seen.tls_records += is_record(p + at, n - at);
}

static void *run(void *arg)
{
    (void)arg;
    static unsigned char buf[70000];
    while (!atomic_load(&sniff.stop)) {
        struct pollfd f = {.fd = sniff.fd, .events = POLLIN};
        if (poll(&f, 1, 50) != 1)
            continue;
        ssize_t n = recv(sniff.fd, buf, sizeof(buf), 0);
        if (n > 0)
            look(buf, (size_t)n);
    }
    return NULL;
}

enum rc sniff_start(struct errmsg *msg)
{
    sniff.fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));
    struct sockaddr_ll at = {.sll_family = AF_PACKET,
                             .sll_protocol = htons(ETH_P_ALL),
                             .sll_ifindex = (int)if_nametoindex("link-1")};
    int big = 8 << 20;
    if (sniff.fd < 0 || bind(sniff.fd, (struct sockaddr *)&at, sizeof(at)) != 0) {
        errmsg_set(msg, "capturing on the link: %s", strerror(errno));
        return RC_IO;
    }
    setsockopt(sniff.fd, SOL_SOCKET, SO_RCVBUFFORCE, &big, sizeof(big));
    return pthread_create(&sniff.thread, NULL, run, NULL) == 0 ? RC_OK : RC_LIMIT;
}

void sniff_stop(struct sniffed *ret)
{
    if (sniff.fd < 0)
        return;
    poll(NULL, 0, 100); /* what is still in the socket */
    atomic_store(&sniff.stop, true);
    pthread_join(sniff.thread, NULL);
    close(sniff.fd);
    sniff.fd = -1;
    *ret = sniff.seen;
}
