/* SPDX-License-Identifier: MIT */
#include "memory/pool.h"

FH__COLD void fh__pool_refuse_row(void *first, uint32_t count) {
  for (void *next; count; count--, first = next) {
    next = ((struct fh__pooled *)first)->next;
    fh__backend_free(first);
  }
}

FH__COLD void fh__pool_trim(struct fh__pool *pool, uint32_t most) {
  for (int i = 0; i <= FH__SMALL_BYTES / FH__SMALL_STEP; i++) {
    while (pool->first[i] && pool->count > most) {
      struct fh__pooled *block = pool->first[i];
      pool->first[i] = block->next;
      pool->count--;
      fh__backend_free(block);
    }
  }
}
