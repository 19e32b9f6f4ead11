/* SPDX-License-Identifier: MIT */
/* The system's malloc. It has no heap of a thread, so there is nothing to tidy in a sleeper's place. */
#ifndef FH_MEMORY_BACKEND_MALLOC_H
#define FH_MEMORY_BACKEND_MALLOC_H

#include <malloc.h>
#include <stdlib.h>

typedef struct fh__heap fh__heap;

static inline void *fh__backend_alloc(size_t n) { return malloc(n); }
static inline void *fh__backend_alloc_zeroed(size_t n) { return calloc(1, n); }
static inline void *fh__backend_alloc_small(size_t n) { return malloc(n); }
static inline void *fh__backend_realloc(void *block, size_t n) { return realloc(block, n); }
static inline size_t fh__backend_usable(const void *block) { return malloc_usable_size((void *)(uintptr_t)block); }
/* Under AddressSanitizer a block has just what was asked for; elsewhere a little more, which the account does not see. */
static inline size_t fh__backend_good_size(size_t n) { return n; }
static inline void fh__backend_free(void *block) { free(block); }
static inline fh__heap *fh__backend_heap(void) { return NULL; }
static inline void fh__backend_thread_done(void) {}
static inline void fh__backend_tidy(void) { malloc_trim(0); }

#endif
