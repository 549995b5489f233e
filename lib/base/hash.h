/* Seeded hashing for tables whose keys strangers choose (SipHash-1-3, a seed per process), and a
 * stable 64-bit hash for versions. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/base/str.h"

uint64_t hash_bytes(const void *p, size_t n);
static inline uint64_t hash_str(struct str s)
{
    return hash_bytes(s.p, s.n);
}
uint64_t hash_mix(uint64_t h, uint64_t v); /* combine */

/* Uniform random numbers for load balancing and jitter, not for secrets. Thread-local state. */
uint64_t rand_u64(void);
uint64_t rand_below(uint64_t n); /* 0 when n is 0 */
/* From the kernel (getrandom); aborts when the kernel has none. */
void rand_secret(void *p, size_t n);
