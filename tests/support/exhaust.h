/* SPDX-License-Identifier: MIT */
/* Memory that runs out, for real: in a child, under a limit of the system. For tests that see the library's inside. */
#ifndef TESTS_EXHAUST_H
#define TESTS_EXHAUST_H

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "memory/backend.h"
#include "support/support.h"

/* What was taken away: lists of blocks, linked through themselves. The library takes from two allocators where its backend is
 * not the system's malloc. */
struct exhausted {
  void *blocks;
  void *system_blocks;
};

/* True where memory can be made to run out: the sanitizers' own memory would run out first. */
static inline bool can_exhaust_memory(void) { return memory_is_measurable(); }

/* No new pages from the system from now on. What the allocator has already stays to be had. */
static inline void exhaust_system(void) {
  const struct rlimit none = {0, RLIM_INFINITY};
  require(!setrlimit(RLIMIT_AS, &none));
  require(!setrlimit(RLIMIT_DATA, &none));
}

static inline size_t next_smaller(size_t n) {
  if (n > 256) return n - n / 16;
  return n > 16 ? (n - 1) & ~(size_t)15 : n > 8 ? 8 : 0;
}
static inline bool exhaust_once(void **list, void *(*take)(size_t)) {
  bool found = false;
  for (size_t n = (size_t)1 << 24; n; n = next_smaller(n))
    for (void *block; (block = take(n)); found = true) {
      *(void **)block = *list;
      *list = block;
    }
  return found;
}
static inline void *take_from_backend(size_t n) { return fh__backend_alloc(n); }
/* Nor anything from the allocators: every class of sizes, the large ones first, until nothing is left. */
static inline void exhaust_memory(struct exhausted *exhausted) {
  exhaust_system();
  for (bool found = true; found;) { /* a failure may make an allocator tidy up, and find something */
    found = exhaust_once(&exhausted->blocks, take_from_backend);
    if (exhaust_once(&exhausted->system_blocks, malloc)) found = true;
  }
}

static inline void refill_memory(struct exhausted *exhausted) {
  const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
  require(!setrlimit(RLIMIT_AS, &all));
  require(!setrlimit(RLIMIT_DATA, &all));
  for (void *next; exhausted->blocks; exhausted->blocks = next) {
    next = *(void **)exhausted->blocks;
    fh__backend_free(exhausted->blocks);
  }
  for (void *next; exhausted->system_blocks; exhausted->system_blocks = next) {
    next = *(void **)exhausted->system_blocks;
    free(exhausted->system_blocks);
  }
}

#endif
