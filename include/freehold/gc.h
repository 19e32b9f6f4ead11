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
 * Shape:   generation 0 (young), 1 (young and middle) or 2 (all); others are taken as the nearest of these.
 * Owns:    returns how many objects were found to be garbage. Those that are private to another running mutator are
 *          destroyed by that one, at the safepoint at which it wakes.
 * Threads: an attached thread. If another thread is collecting, waits for it and then collects.
 * Runs:    a safepoint; stops the world once, twice if finalizers or weak callbacks ran; dealloc and all these afterwards, on
 *          the mutators concerned. In a finalizer of the same collection or under FH_NO_SAFEPOINT it returns 0.
 * Errors:  0 if it found no memory for the lists of what it found; fh_stats counts that. Traps: not attached; in dealloc (checked
 *          builds; else 0).
 * Source:  docs/collector.md. */
FH_API size_t fh_collect(int generation);

/* When automatic collections run, as three figures:
 *
 *   0   a young collection is due when so many tracked entries were opened since the last collection (fh_options.gc_threshold)
 *   1   every so many young collections, one takes the middle generation as well (10)
 *   2   an old collection is due when the objects that became old are so many percent of those that lived after the last one
 *       (fh_options.gc_percent), and at least as many as figure 0
 *
 * fh_gc_counts tells how far things are: entries opened, young collections, objects that became old.
 *
 * Shape:   three figures each; to set: 1..2^31, 1..2^31, 1..10,000.
 * Owns:    nothing.
 * Threads: any thread while the runtime runs.
 * Runs:    nothing.
 * Errors:  FH_EINVAL: out of range; nothing changed.
 * Source:  docs/collector.md, "Generations". */
FH_API FH_MUST_USE fh_status fh_gc_thresholds_set(const uint64_t thresholds[3]);
FH_API void fh_gc_thresholds_get(uint64_t thresholds_out[3]);
FH_API void fh_gc_counts(uint64_t counts_out[3]);

/* The generation that an object is in: 0 young, 1 middle, 2 old; -1 if the collector does not know it.
 *
 * Shape:   not NULL.
 * Owns:    nothing.
 * Threads: whoever may reach the object.
 * Runs:    nothing.
 * Errors:  none.
 * Source:  docs/collector.md, "Generations". */
FH_API int fh_gc_generation(const void *object);

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
 * Errors:  FH_EINVAL: something is wrong, each finding is logged. FH_EAGAIN: called under
 *          FH_NO_SAFEPOINT.
 * Source:  docs/collector.md, "The checker". */
FH_API FH_MUST_USE fh_status fh_check_heap(void);

#ifdef __cplusplus
}
#endif
#endif
