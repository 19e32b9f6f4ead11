/* SPDX-License-Identifier: MIT */
#include "base/torture.h"

#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "base/futex.h"

enum { COLLECT_EVERY = 64 };

/* Read by threads that were there before a second init: relaxed, by the bare builtins, because the macros lead here. */
static uint64_t seed;
static uint32_t threads;
static uint32_t collect_every;
static __thread uint64_t state;

/* The finaliser of splitmix64. */
static uint64_t mix(uint64_t x) {
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

static uint64_t draw(void) {
  if (!state) {
    uint64_t number = __atomic_add_fetch(&threads, 1, __ATOMIC_RELAXED);
    state = mix(__atomic_load_n(&seed, __ATOMIC_RELAXED) + number * 0x9e3779b97f4a7c15u) | 1;
  }
  state += 0x9e3779b97f4a7c15u;
  return mix(state);
}

void fh__torture_window(void) {
  uint64_t chance = draw() & 0xfff;
  if (chance >= 64) return;
  if (chance) {
    sched_yield();
  } else {
    uint32_t never = 0;
    fh__futex_wait(&never, 0, 50000); /* and not nanosleep, which is a cancellation point */
  }
}

static uint64_t number_from(const char *name, uint64_t otherwise) {
  const char *text = getenv(name);
  return text && text[0] ? strtoull(text, NULL, 0) : otherwise;
}

void fh__torture_start(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  uint64_t by_clock = mix((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
  __atomic_store_n(&seed, number_from("FREEHOLD_TORTURE_SEED", by_clock), __ATOMIC_RELAXED);
  __atomic_store_n(&threads, 0, __ATOMIC_RELAXED);
  __atomic_store_n(&collect_every, (uint32_t)number_from("FREEHOLD_TORTURE_COLLECT", COLLECT_EVERY), __ATOMIC_RELAXED);
  state = 0;
}

uint64_t fh__torture_seed(void) { return __atomic_load_n(&seed, __ATOMIC_RELAXED); }

uint32_t fh__torture_turn(uint32_t *counter) {
  uint32_t every = __atomic_load_n(&collect_every, __ATOMIC_RELAXED);
  return every && ++*counter % every == 0 ? *counter / every : 0;
}
