/* Time. Durations and deadlines are monotonic milliseconds; wall-clock time is for certificates
 * and logs only. */
#pragma once

#include <stddef.h>
#include <stdint.h>

int64_t clock_mono_ms(void);
int64_t clock_mono_us(void);
int64_t clock_wall_us(void); /* microseconds since 1970, UTC */
/* "2026-11-23T13:24:04.123456Z" into buf (at least 28 bytes); returns its length. */
size_t clock_format(char *buf, size_t cap, int64_t wall_us);
