/* SPDX-License-Identifier: MIT */
/* The cycle collector. Counts free what they can at once; the collector frees what only refers to itself. */
#ifndef FREEHOLD_GC_H
#define FREEHOLD_GC_H

#include <freehold/type.h>

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
 * fh_gc_counts tells how far things are: entries opened, young collections, objects that became old. Figures 0 and 2 give way to the goals
 * fh_options.gc_pause_us and gc_overhead, and figure 0 to young collections that find nothing, within bounds; fh_stats.young_due and
 * old_due say what holds now. Setting the figures begins anew with what was set.
 *
 * Shape:   three figures each; to set: 1..2^31, 1..2^31, 1..10,000.
 * Owns:    nothing.
 * Threads: any thread while the runtime runs.
 * Runs:    nothing.
 * Errors:  FH_EINVAL: out of range; nothing changed.
 * Source:  docs/collector.md, "Generations", "Goals". */
FH_API FH_MUST_USE fh_status fh_gc_thresholds_set(const uint64_t thresholds[3]);
FH_API void fh_gc_thresholds_get(uint64_t thresholds_out[3]);
FH_API void fh_gc_counts(uint64_t counts_out[3]);

/* The generation that an object is in: 0 young, 1 middle, 2 old, 3 frozen; -1 if the collector does not know it.
 *
 * Shape:   not NULL.
 * Owns:    nothing.
 * Threads: whoever may reach the object.
 * Runs:    nothing.
 * Errors:  none.
 * Source:  docs/collector.md, "Generations". */
FH_API int fh_gc_generation(const void *object);

/* Freezes: all tracked objects that there are, of all mutators, are looked at by no collection from now on. For what a program
 * makes when it starts and keeps for ever, and before a fork, so that the child's collections leave those pages alone.
 *
 * fh_gc_unfreeze lets them all be old again; the next old collection looks at them. fh_gc_freeze_count tells how many of them live.
 *
 * Shape:   no arguments. Freezing again adds what is new; there is one unfreeze for all.
 * Owns:    nothing changes: what is frozen lives by its count, and dies by it at once. Cyclic garbage among it stays until it is
 *          unfrozen, and so does what it refers to. A fh_collect(2) before keeps garbage from being frozen.
 * Threads: an attached thread.
 * Runs:    freeze and unfreeze: a safepoint; stop the world once. The count: nothing; it looks at each entry that is frozen.
 * Errors:  FH_EAGAIN: under FH_NO_SAFEPOINT. FH_ESHUTDOWN: in a shutdown nothing is frozen any more. In both nothing changed.
 *          Traps: not attached; in dealloc (checked builds).
 * Source:  docs/collector.md, "Freezing". */
FH_API fh_status fh_gc_freeze(void);
FH_API fh_status fh_gc_unfreeze(void);
FH_API uint64_t fh_gc_freeze_count(void);

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

/* ---- callbacks ---- */

typedef enum fh_gc_phase { FH_GC_START = 1, FH_GC_END } fh_gc_phase;

/* What a collection did. At its start only the first two are known. */
typedef struct fh_gc_event {
  fh_gc_phase phase;
  int generation;         /* the oldest that is collected */
  bool failed;            /* no memory: nothing was collected */
  uint64_t scanned;       /* objects looked at */
  uint64_t found;         /* that were garbage; other mutators may have yet to destroy theirs */
  uint64_t saved;         /* ... and were kept by FH_GC_SAVE */
  uint64_t resurrected;   /* by finalizers that ran on this mutator */
  uint64_t uncollectable; /* garbage that could not be freed for want of memory */
  uint64_t time_to_stop_ns;
  uint64_t pause_ns;
  uint64_t total_ns;
} fh_gc_event;

typedef void (*fh_gc_function)(void *context, const fh_gc_event *event);

/* Who is told before and after each collection, by fh_collect or by itself.
 *
 * Shape:   function not NULL. The same pair may be added several times, and is called as often; each remove takes one away. They
 *          are called in the order in which they were added.
 * Owns:    `context` must live until the remove has returned, or the runtime has ended, which removes all.
 * Threads: any thread while the runtime runs. When fh_gc_callback_remove returns, no call is under way and none will begin; but from
 *          inside of a callback it does not wait: none will begin, and those of other threads may still be under way.
 * Runs:    add: nothing. remove: if another thread is inside of the callback, waits in a blocking region. The callbacks run on the
 *          collecting mutator, at its safepoint, with no lock held and the world running. They may do what a finalizer may; a
 *          collection does not nest in them. One that is added while a collection is under way hears of the next. If one ends its
 *          thread, the others do not hear of that collection's end.
 * Errors:  FH_ENOMEM. FH_EINVAL: no function. FH_ENOTFOUND: no such pair. FH_ESHUTDOWN: the runtime does not run. In all of them
 *          nothing changed.
 * Source:  docs/collector.md, "Callbacks". */
FH_API FH_MUST_USE fh_status fh_gc_callback_add(fh_gc_function function, void *context);
FH_API fh_status fh_gc_callback_remove(fh_gc_function function, void *context);

/* ---- looking into the heap ---- */

enum {
  FH_GC_SAVE = 1u << 0, /* garbage that collections find is kept, for fh_gc_saved; also while memory is short */
  FH_GC_LOG = 1u << 1   /* a line for each collection, at FH_LOG_INFO */
};

/* What collections do for whoever looks for a mistake in a program.
 *
 * Shape:   FH_GC_* together; 0, as it is at the start: nothing.
 * Owns:    nothing. What has been saved stays saved.
 * Threads: any thread while the runtime runs; the next collection goes by it.
 * Runs:    nothing.
 * Errors:  FH_EINVAL: a flag that there is not; nothing changed.
 * Source:  docs/collector.md, "Looking into the heap". */
FH_API fh_status fh_gc_debug_set(uint32_t flags);
FH_API uint32_t fh_gc_debug_get(void);

/* Is shown an object, which the runtime keeps alive during the call. False: it has seen enough. It must come back: what it does not
 * release, nobody does. */
typedef bool (*fh_gc_visit)(void *context, void *object);

/* Shows the garbage that FH_GC_SAVE kept; fh_gc_saved_clear lets it go, and the next collection that is not to save frees it.
 *
 * Shape:   `type`: only its instances; NULL: all.
 * Owns:    saved objects are held by the runtime. They are published, their weak references lead to them, their finalizers have not
 *          run. `visit` borrows; it may retain. Clearing returns how many were let go.
 * Threads: an attached thread.
 * Runs:    fh_gc_saved: `visit`, on the caller, with no lock held. Clearing: as fh_release.
 * Errors:  FH_ENOMEM: nothing was shown. FH_EAGAIN: under FH_NO_SAFEPOINT. Traps: not attached.
 * Source:  docs/collector.md, "Looking into the heap". */
FH_API FH_MUST_USE fh_status fh_gc_saved(const fh_type *type, fh_gc_visit visit, void *context);
FH_API size_t fh_gc_saved_clear(void);

/* Shows objects: those of a generation; those that refer to some objects; those that an object refers to.
 *
 * Shape:   generation 0..3, as fh_gc_generation; -1: all. `objects`: any number, not NULL; an object that refers to several is
 *          shown once. Referents: one is shown as often as it is referred to. `type`: only its instances; NULL: all.
 * Owns:    `visit` borrows each object; it may retain.
 * Threads: an attached thread. What is private to other mutators is published, with what it reaches, before anything is shown:
 *          these calls change what they look at, and are for tools. Objects whose maker is still filling them in are shown as well.
 * Runs:    a safepoint; stops the world once; `traverse`; then `visit`, on the caller, with no lock held. Objects that are not
 *          tracked are found as referents only; roots, slots outside of objects, and stacks are no objects. Garbage that a
 *          collection has found and not yet destroyed is not shown.
 * Errors:  FH_ENOMEM: nothing was shown. FH_EINVAL: no such generation. FH_EAGAIN: under FH_NO_SAFEPOINT. Traps: not attached.
 * Source:  docs/collector.md, "Looking into the heap". */
FH_API FH_MUST_USE fh_status fh_gc_objects(int generation, const fh_type *type, fh_gc_visit visit, void *context);
FH_API FH_MUST_USE fh_status fh_gc_referrers(void *const objects[], size_t count, const fh_type *type, fh_gc_visit visit, void *context);
FH_API FH_MUST_USE fh_status fh_gc_referents(void *object, const fh_type *type, fh_gc_visit visit, void *context);

/* True if the object's finalizer ran, or began to: it does not run again.
 *
 * Shape:   not NULL.
 * Owns:    nothing.
 * Threads: whoever may reach the object.
 * Runs:    nothing.
 * Errors:  none.
 * Source:  docs/collector.md, "Second look". */
FH_API bool fh_gc_is_finalized(const void *object);

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
