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
 * Threads: fh_alloc, fh_alloc_zeroed, fh_realloc: an attached thread. fh_free: any thread, in any state, also in dealloc;
 *          a block that a thread frees which is not attached waits for a safepoint of one that is.
 * Runs:    nothing.
 * Errors:  NULL if there is no memory or the hard limit is reached; fh_realloc then
 *          leaves the block as it was, and never refuses to make one smaller. Traps: not attached.
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

/* ---- limits ----
 *
 * Live bytes are objects and buffers, and what waits for a grace period. Above the soft limit collections become eager; an
 * allocation that would pass the hard limit returns NULL, changes nothing, and asks for an emergency collection at the
 * caller's next safepoint. Each attached mutator may hold up to 128 KiB of credit that it has not used; near the limit less,
 * and collections take that back. */

/* Sets and reads both limits.
 *
 * Shape:   bytes; 0: none; hard may be FH_LIMIT_CGROUP; soft 0 with a hard limit means three quarters of it.
 *          fh_limits_get: either pointer may be NULL.
 * Owns:    nothing.
 * Threads: any thread while the runtime runs.
 * Runs:    nothing; live bytes above a new hard limit stay, and nothing more is granted until they fell below it.
 * Errors:  FH_EINVAL: soft above hard. FH_ENOTFOUND: no cgroup limits memory. FH_ESHUTDOWN. Nothing changed then.
 * Source:  docs/embedding.md, "Limits". */
FH_API FH_MUST_USE fh_status fh_limits_set(size_t soft, size_t hard);
FH_API void fh_limits_get(size_t *soft_out, size_t *hard_out);

/* Makes room: a full collection now, finalizers, and everything whose grace period that ended is freed. For a caller whose
 * allocation returned NULL and who wants to try again.
 *
 * Shape:   no arguments.
 * Owns:    as fh_safepoint.
 * Threads: an attached thread.
 * Runs:    a safepoint, as fh_collect; also while automatic collections are disabled.
 * Errors:  FH_OK: there is room for what this thread was refused last, alone. FH_ELIMIT: there is not. FH_EAGAIN: called where no safepoint may be.
 * Source:  docs/embedding.md, "Limits". */
FH_API fh_status fh_reclaim(void);

/* Gives memory that nobody uses back to the system: the caller's heap, those of sleeping mutators, and the others' at their
 * next safepoints.
 *
 * Shape:   `most`: stops looking into further heaps when about so many bytes were given back; 0: does all.
 * Owns:    returns by how many bytes the process became smaller during the call; others may have changed that, too.
 * Threads: an attached thread.
 * Runs:    a safepoint; no collection. Takes as long as the allocator needs to walk these heaps.
 * Errors:  0 where no safepoint may be.
 * Source:  docs/embedding.md, "Limits". */
FH_API size_t fh_purge(size_t most);

#ifdef __cplusplus
}
#endif
#endif
