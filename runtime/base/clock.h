/* SPDX-License-Identifier: MIT */
#ifndef FH_BASE_CLOCK_H
#define FH_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t fh__clock_read(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Monotonic nanoseconds. */
static inline uint64_t fh__clock_ns(void) { return fh__clock_read(CLOCK_MONOTONIC); }
/* The same within a few milliseconds, for a few nanoseconds. */
static inline uint64_t fh__clock_coarse_ns(void) { return fh__clock_read(CLOCK_MONOTONIC_COARSE); }

#endif
