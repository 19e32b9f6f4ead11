/* SPDX-License-Identifier: MIT */
/* Buffers: memory that objects own (the storage of a list, a name), from the same private heap and in the same account. */
#ifndef FREEHOLD_MEMORY_H
#define FREEHOLD_MEMORY_H

#include <freehold/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Allocate, resize, free.
 *
 * Shape:   n from 0 to 2^47; aligned to 16. fh_alloc_zeroed zeroes. fh_realloc(NULL, n) allocates. fh_free(NULL) is nothing.
 * Owns:    the caller owns the block.
 * Threads: fh_alloc, fh_alloc_zeroed, fh_realloc: an attached thread. fh_free: any thread, in any state, also in dealloc.
 * Runs:    nothing.
 * Errors:  NULL if there is no memory; fh_realloc then leaves the block as it was. Traps: not attached.
 * Source:  docs/heap.md. */
FH_API FH_MUST_USE void *fh_alloc(size_t n);
FH_API FH_MUST_USE void *fh_alloc_zeroed(size_t n);
FH_API FH_MUST_USE void *fh_realloc(void *block, size_t n);
FH_API void fh_free(void *block);

/* Frees a block after a grace period: lock-free readers that found it before may still look at it until their next
 * safepoint.
 *
 * Shape:   a block of fh_alloc or NULL.
 * Owns:    takes the block.
 * Threads: an attached thread, which has made the block unreachable before.
 * Runs:    nothing. Needs no memory, never fails.
 * Errors:  Traps: not attached.
 * Source:  docs/heap.md, "Limbo". */
FH_API void fh_retire(void *block);

#ifdef __cplusplus
}
#endif
#endif
