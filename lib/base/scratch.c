#include "lib/base/scratch.h"

#include <pthread.h>
#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/base/must.h"

static _Thread_local void *slots[SCRATCH_SLOTS];
static pthread_key_t key;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;

static void thread_ends(void *arg)
{
    void **s = arg;
    for (int i = 0; i < SCRATCH_SLOTS; i++) {
        free(s[i]);
        s[i] = NULL;
    }
}

static void key_make(void)
{
    MUST(pthread_key_create(&key, thread_ends) == 0);
}

void *scratch_get(enum scratch_slot slot, size_t size)
{
    if (slots[slot])
        return slots[slot];
    pthread_once(&key_once, key_make);
    MUST(pthread_setspecific(key, slots) == 0);
    return slots[slot] = mem_zalloc(size);
}
