/* SPDX-License-Identifier: MIT */
#include "memory/backend.h"

#include <stdlib.h>

#if defined(FH_ALLOCATOR_MALLOC)

void fh__backend_init(void) {}
bool fh__backend_is_hosts(void) { return true; }
const char *fh__backend_name(void) { return "malloc"; }

#else

void fh__backend_init(void) {
  /* Pages that emptied go back to the system at once: memory that others freed for a sleeper must not stay resident. */
  mi_option_enable(mi_option_page_reset);
  mi_option_set(mi_option_decommit_delay, 0);
}

bool fh__backend_is_hosts(void) {
  char *block = malloc(1);
  if (!block) return false;
  *block = 0;
  bool ours = mi_is_in_heap_region(block);
  free(block);
  return ours;
}

const char *fh__backend_name(void) { return "mimalloc"; }

#endif
