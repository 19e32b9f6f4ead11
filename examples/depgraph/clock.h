/* SPDX-License-Identifier: MIT */
/* Small things that every part needs: the time, and random numbers that a seed repeats. */
#ifndef DEPGRAPH_CLOCK_H
#define DEPGRAPH_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline double now_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static inline void sleep_ms(long ms) {
  struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
  nanosleep(&t, NULL);
}

/* Splitmix64: one multiplication chain a number, and good enough to choose packages. */
static inline uint64_t random_next(uint64_t *state) {
  uint64_t x = *state += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/* A number below `bound`, which is not 0. */
static inline uint64_t random_below(uint64_t *state, uint64_t bound) { return random_next(state) % bound; }

#endif
