/* SPDX-License-Identifier: MIT */
#include "memory/backend.h"

#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(FH_ALLOCATOR_MALLOC)

void fh__backend_heap_tidy(fh__heap *heap) { (void)heap; }
bool fh__backend_is_hosts(void) { return true; }
const char *fh__backend_name(void) { return "malloc"; }

#else

/* Pages that empty go back to the system at once, but only now: as a setting it would slow every free in the process. The
 * option is a plain word that other threads may read meanwhile; mimalloc expects that. */
void fh__backend_heap_tidy(fh__heap *heap) {
  /* From the main thread, a forced collection of mimalloc 2.0.9 takes over dead threads' memory into the given heap, but in its
   * own thread's name: then two threads would use one page. An unforced one does not. */
  bool force = getpid() != (pid_t)syscall(SYS_gettid);
  long delay = mi_option_get(mi_option_decommit_delay);
  mi_option_set(mi_option_decommit_delay, 0);
  mi_heap_collect(heap, force);
  mi_option_set(mi_option_decommit_delay, delay);
}

bool fh__backend_is_hosts(void) {
  char *block = malloc(1);
  if (!block) return true; /* cannot tell: the answer with which nobody tidies */
  *block = 0;
  bool ours = mi_is_in_heap_region(block);
  free(block);
  return ours;
}

const char *fh__backend_name(void) { return "mimalloc"; }

#endif
