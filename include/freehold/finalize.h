/* SPDX-License-Identifier: MIT */
/* Finalizers from outside, and finalizers that a thread of the application runs.
 *
 * A type's `finalize` (type.h) belongs to its instances. An fh_finalizer is attached to one object by anybody: a function and
 * a context that are called once, after the object is lost. It is an object itself: counted, kept in fields and slots. The runtime
 * keeps it as long as it is alive, that is until it was called or detached; whoever made it need not. */
#ifndef FREEHOLD_FINALIZE_H
#define FREEHOLD_FINALIZE_H

#include <freehold/object.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fh_finalizer fh_finalizer;

enum {
  FH_FINALIZER_AT_EXIT = 1u << 0 /* if the object still lives when the runtime ends, it is called by fh_shutdown */
};

/* Attaches a finalizer to an object.
 *
 * Shape:   object not NULL, and no weak reference or finalizer itself; call not NULL; `context` is handed to it as it is; flags 0
 *          or FH_FINALIZER_AT_EXIT. An object may have any number of them.
 * Owns:    returns an owned reference to the finalizer, which may be released at once; none to the object. A context must not
 *          own the object, directly or not: that would never be lost. NULL: nothing changed.
 * Threads: an attached thread that owns or borrows a reference to the object. Publishes the object, if it is private, with all
 *          that it reaches. Takes a lock for a few instructions.
 * Runs:    as fh_weak_new. `call` runs once, with the object's weak callbacks and like them: after the last reference went, or the
 *          collector found the object to be garbage, at a safepoint of the mutator concerned or in fh_finalizers_run; with no
 *          lock held; the newest first; before the finalizer that the object's type has. What that one resurrects has lost it. It may
 *          do what a finalizer may. At shutdown: before the roots are cleared, the newest of all first.
 * Errors:  NULL: no memory; flags that are unknown; or the object's type has FH_NO_WEAK, which traps in checked builds. Traps: not
 *          attached; a private object of another thread; a freed object (checked builds).
 * Source:  docs/finalizers.md. */
FH_API FH_MUST_USE fh_finalizer *fh_finalizer_new(void *object, void (*call)(void *context), void *context, uint32_t flags);

/* Gives it up: it will not be called.
 *
 * Shape:   not NULL; the caller owns or borrows a reference to it.
 * Owns:    true: the context is the caller's. False: it was called, is being called just now, or was detached before.
 * Threads: an attached thread. Of all that would call or detach it at the same time, one alone succeeds.
 * Runs:    nothing.
 * Errors:  false. Traps: not attached; a freed finalizer (checked builds).
 * Source:  docs/finalizers.md. */
FH_API bool fh_finalizer_detach(fh_finalizer *finalizer);

/* Calls it now, in this thread; it will not be called again.
 *
 * Shape:   not NULL; the caller owns or borrows a reference to it.
 * Owns:    true: it was called, and has returned. False: as fh_finalizer_detach.
 * Threads: as fh_finalizer_detach.
 * Runs:    the function, and what that runs; no safepoint of its own.
 * Errors:  as fh_finalizer_detach.
 * Source:  docs/finalizers.md. */
FH_API bool fh_finalizer_call(fh_finalizer *finalizer);

/* True until it is called or detached.
 *
 * Shape:   not NULL; the caller owns or borrows a reference to it.
 * Owns:    nothing.
 * Threads: any thread. What others do may make the answer old at once.
 * Runs:    nothing.
 * Errors:  none.
 * Source:  docs/finalizers.md. */
FH_API bool fh_finalizer_is_alive(const fh_finalizer *finalizer);

/* ---- with FH_FINALIZERS_QUEUE: by a thread of the application ---- */

/* Runs finalizers and weak callbacks that wait, the oldest first: callbacks (and finalizers from outside), then finalizers of
 * objects that died by their count, then those of garbage, which is destroyed when the last of its list has run.
 *
 * Shape:   at most `max`; SIZE_MAX: all, also those that come meanwhile.
 * Owns:    returns how many ran. Fewer than `max`: none waits any more, or what is left wants memory that is not there.
 * Threads: an attached thread, any number of them at once.
 * Runs:    a safepoint, before and between finalizers; the finalizers; dealloc; a short stop for each list of garbage.
 * Errors:  0 inside a finalizer or a callback, and with FH_FINALIZERS_SAFEPOINT. Traps: not attached; in dealloc (checked builds).
 * Source:  docs/finalizers.md, "The queue". */
FH_API size_t fh_finalizers_run(size_t max);

/* How many finalizers and callbacks wait for fh_finalizers_run; those of a list of garbage that is being run are not among them.
 *
 * Shape:   no arguments.
 * Owns:    nothing.
 * Threads: any thread while the runtime runs.
 * Runs:    nothing.
 * Errors:  none.
 * Source:  docs/finalizers.md, "The queue". */
FH_API size_t fh_finalizers_pending(void);

#ifdef __cplusplus
}
#endif
#endif
