/* Large buffers of a thread, used within one call and free again after it: what many objects would
 * otherwise each hold. Allocated at the first use (untouched pages cost nothing), gone with the thread. */
#pragma once

#include <stddef.h>

enum scratch_slot {
    SCRATCH_H2,        /* HTTP/2 plaintext in and out */
    SCRATCH_TLS,       /* ciphertext in and out */
    SCRATCH_RELAY_TCP, /* bytes between two sockets */
    SCRATCH_SLOTS
};

/* Cleared when new; size must be the same at each call for a slot. */
void *scratch_get(enum scratch_slot slot, size_t size);
