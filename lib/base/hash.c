#include "lib/base/hash.h"

#include <pthread.h>
#include <sys/random.h>

#include "lib/base/must.h"

static uint64_t seed[2];
static pthread_once_t seed_once = PTHREAD_ONCE_INIT;

void rand_secret(void *p, size_t n)
{
    unsigned char *at = p;
    while (n) {
        ssize_t got = getrandom(at, n, 0);
        if (got < 0)
            must_die("getrandom() failed: the kernel gives no random numbers");
        at += got;
        n -= (size_t)got;
    }
}

static void seed_make(void)
{
    rand_secret(seed, sizeof(seed));
}

static inline uint64_t rotl(uint64_t x, int b)
{
    return (x << b) | (x >> (64 - b));
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1], v[1] = rotl(v[1], 13) ^ v[0], v[0] = rotl(v[0], 32);
    v[2] += v[3], v[3] = rotl(v[3], 16) ^ v[2];
    v[0] += v[3], v[3] = rotl(v[3], 21) ^ v[0];
    v[2] += v[1], v[1] = rotl(v[1], 17) ^ v[2], v[2] = rotl(v[2], 32);
}

/* SipHash-1-3 (Aumasson, Bernstein): one compression round, three at the end. */
uint64_t hash_bytes(const void *p, size_t n)
{
    pthread_once(&seed_once, seed_make);
    uint64_t v[4] = {seed[0] ^ 0x736f6d6570736575u, seed[1] ^ 0x646f72616e646f6du,
                     seed[0] ^ 0x6c7967656e657261u, seed[1] ^ 0x7465646279746573u};
    const unsigned char *at = p;
    uint64_t last = (uint64_t)n << 56;
    for (; n >= 8; n -= 8, at += 8) {
        uint64_t m;
        memcpy(&m, at, 8);
        v[3] ^= m;
        sip_round(v);
        v[0] ^= m;
    }
    for (size_t i = 0; i < n; i++)
        last |= (uint64_t)at[i] << (8 * i);
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t hash_mix(uint64_t h, uint64_t v)
{
    h ^= v + 0x9e3779b97f4a7c15u + (h << 6) + (h >> 2);
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdu;
    return h ^ (h >> 33);
}

/* splitmix64 per thread, seeded from the kernel. */
uint64_t rand_u64(void)
{
    static _Thread_local uint64_t state;
    if (state == 0)
        rand_secret(&state, sizeof(state));
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t rand_below(uint64_t n)
{
    return (uint64_t)(((unsigned __int128)rand_u64() * n) >> 64);
}
