/* SPDX-License-Identifier: MIT */
/* mimalloc as packaged, on each thread's default heap: an explicit heap never takes over the pages of dead threads. */
#ifndef FH_MEMORY_BACKEND_MIMALLOC_H
#define FH_MEMORY_BACKEND_MIMALLOC_H

#include <mimalloc.h>
#include <string.h>

typedef mi_heap_t fh__heap;

FH__INLINE void *fh__backend_alloc(size_t n) {
  void *block = mi_malloc(n);
  FH__TSAN_ACQUIRE(block);
  return block;
}

static inline void *fh__backend_alloc_zeroed(size_t n) {
#if defined(FH__TSAN)
  void *block = mi_malloc(n); /* the order comes first: the sanitizer sees who writes here, also to zero it */
  FH__TSAN_ACQUIRE(block);
  return block ? memset(block, 0, n) : NULL;
#else
  return mi_zalloc(n);
#endif
}

FH__INLINE void *fh__backend_alloc_small(size_t n) {
  void *block = mi_malloc_small(n);
  FH__TSAN_ACQUIRE(block);
  return block;
}

static inline void *fh__backend_realloc(void *block, size_t n) {
  void *moved = mi_realloc(block, n);
  FH__TSAN_ACQUIRE(moved);
  return moved;
}

FH__INLINE size_t fh__backend_usable(const void *block) { return mi_usable_size(block); }

static inline size_t fh__backend_good_size(size_t n) { return mi_good_size(n); }

FH__INLINE void fh__backend_free(void *block) {
#if defined(FH__TSAN)
  if (block) FH__TSAN_FREE(block, mi_usable_size(block));
#endif
  mi_free(block);
}

static inline fh__heap *fh__backend_heap(void) { return mi_heap_get_default(); }

static inline void fh__backend_thread_done(void) { mi_thread_done(); }
static inline void fh__backend_tidy(void) { mi_collect(true); }

#endif
