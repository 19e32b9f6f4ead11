/* SPDX-License-Identifier: MIT */
/* The cycle collector. Counts free what they can at once; the collector frees what only refers to itself. */
#ifndef FREEHOLD_GC_H
#define FREEHOLD_GC_H

#include <freehold/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Collects now.
 *
 * Shape:   generation 0 (young), 1 (middle) or 2 (all). This version has one generation: each collects all.
 * Owns:    returns how many objects were found to be garbage. Those that are private to another running mutator are
 *          destroyed by that one, at the safepoint at which it wakes.
 * Threads: an attached thread. If another thread is collecting, waits for it and then collects.
 * Runs:    a safepoint; stops the world once, twice if finalizers or weak callbacks ran; dealloc and all these afterwards, on
 *          the mutators concerned. In a finalizer of the same collection or under FH_NO_SAFEPOINT it returns 0.
 * Errors:  0 if it found no memory for its side arrays; fh_stats counts that. Traps: not attached; in dealloc (checked
 *          builds; else 0).
 * Source:  docs/collector.md. */
FH_API size_t fh_collect(int generation);

/* Automatic collections on or off; fh_collect works all the same.
 *
 * Shape:   no arguments.
 * Owns:    nothing.
 * Threads: any thread.
 * Runs:    nothing.
 * Errors:  none.
 * Source:  docs/collector.md. */
FH_API void fh_gc_enable(void);
FH_API void fh_gc_disable(void);
FH_API bool fh_gc_is_enabled(void);

/* True if the collector knows the object: its type can take part in cycles.
 *
 * Shape:   not NULL.
 * Owns:    nothing.
 * Threads: whoever may reach the object.
 * Runs:    nothing.
 * Errors:  none.
 * Source:  docs/collector.md. */
FH_API bool fh_gc_is_tracked(const void *object);

/* Stops the world and proves every invariant of the heap that can be seen: headers, counts against references, chunks,
 * queues, limbo, accounts.
 *
 * Shape:   no arguments.
 * Owns:    nothing.
 * Threads: an attached thread.
 * Runs:    a safepoint; `traverse`.
 * Errors:  FH_EINVAL: something is wrong, each finding is logged. FH_ENOMEM: it could not look. FH_EAGAIN: called under
 *          FH_NO_SAFEPOINT.
 * Source:  docs/collector.md, "The checker". */
FH_API FH_MUST_USE fh_status fh_check_heap(void);

#ifdef __cplusplus
}
#endif
#endif
