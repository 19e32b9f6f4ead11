/* SPDX-License-Identifier: MIT */
/* Memory that runs out, for real: in a child, under a limit of the system. For tests that see the library's inside. */
#ifndef TESTS_EXHAUST_H
#define TESTS_EXHAUST_H

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "memory/backend.h"
#include "support/support.h"

/* What was taken away: a list of blocks, linked through themselves. */
struct exhausted {
  void *blocks;
};

/* True where memory can be made to run out: the sanitizers' own memory would run out first. */
static inline bool can_exhaust_memory(void) { return memory_is_measurable(); }

/* No new pages from the system from now on. What the allocator has already stays to be had. */
static inline void exhaust_system(void) {
  const struct rlimit none = {0, RLIM_INFINITY};
  require(!setrlimit(RLIMIT_AS, &none));
  require(!setrlimit(RLIMIT_DATA, &none));
}

/* Nor anything from the allocator: every class of sizes, the large ones first, until nothing is left. */
static inline void exhaust_memory(struct exhausted *exhausted) {
  exhaust_system();
  for (size_t n = (size_t)1 << 24; n >= 16; n -= n > 256 ? n / 16 : 16)
    for (void *block; (block = fh__backend_alloc(n));) {
      *(void **)block = exhausted->blocks;
      exhausted->blocks = block;
    }
}

/* After either: the system gives so many bytes again. */
static inline void allow_mappings(size_t bytes) {
  char text[64] = {0}; /* read without a FILE, which would want memory */
  int file = open("/proc/self/statm", O_RDONLY);
  require(file >= 0 && read(file, text, sizeof text - 1) > 0);
  close(file);
  size_t pages = strtoul(text, NULL, 10);
  const struct rlimit room = {pages * (size_t)sysconf(_SC_PAGESIZE) + bytes, RLIM_INFINITY};
  require(!setrlimit(RLIMIT_AS, &room));
}

static inline void refill_memory(struct exhausted *exhausted) {
  const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
  require(!setrlimit(RLIMIT_AS, &all));
  require(!setrlimit(RLIMIT_DATA, &all));
  while (exhausted->blocks) {
    void *next = *(void **)exhausted->blocks;
    fh__backend_free(exhausted->blocks);
    exhausted->blocks = next;
  }
}

#endif
