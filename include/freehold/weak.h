/* SPDX-License-Identifier: MIT */
/* Weak references: they lead to an object as long as it lives, and do not keep it alive.
 *
 * A weak reference is an object as any other: counted, kept in fields and slots, released when it is no longer wanted. Any
 * thread may read it. It is published from birth, and so is its target from then on: docs/weak.md says why.
 *
 * Its target is lost at the moment when the last reference to it goes, or when the collector finds it to be garbage; in either case
 * before its finalizer runs. What a finalizer resurrects has lost the weak references that it had. */
#ifndef FREEHOLD_WEAK_H
#define FREEHOLD_WEAK_H

#include <freehold/object.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fh_weak fh_weak;

/* Makes a weak reference.
 *
 * Shape:   target not NULL, and no weak reference itself. An object may have any number of them.
 * Owns:    returns an owned reference to the new weak reference; none to the target. NULL: nothing changed.
 * Threads: an attached thread that owns or borrows a reference to the target. Publishes the target, if it is private, with all
 *          that it reaches. Takes a lock for a few instructions.
 * Runs:    as fh_publish; no safepoint. May ask for a collection at the next one.
 * Errors:  NULL: no memory; or the target's type has FH_NO_WEAK, which traps in checked builds. Traps: not attached; a private
 *          object of another thread; a freed object (checked builds).
 * Source:  docs/weak.md. */
FH_API FH_MUST_USE fh_weak *fh_weak_new(void *target);

/* The same, with a callback for the moment after the target is lost.
 *
 * Shape:   callback not NULL; `context` is handed to it as it is.
 * Owns:    as fh_weak_new. The callback borrows the weak reference, which leads to nothing by then.
 * Threads: as fh_weak_new.
 * Runs:    the callback runs once, at the next safepoint of the mutator that gave up the target's last reference, or of the one
 *          that collected it, and before a finalizer that the target has. It may do what a finalizer may; no lock of the runtime
 *          is held. It is not called if the weak reference dies before its target. One that only garbage refers to, together
 *          with its target, is alive when that garbage is found, and is called.
 * Errors:  as fh_weak_new.
 * Source:  docs/weak.md, "Callbacks". */
FH_API FH_MUST_USE fh_weak *fh_weak_new_callback(void *target, void (*callback)(fh_weak *weak, void *context), void *context);

/* Reads a weak reference.
 *
 * Shape:   not NULL; the caller owns or borrows a reference to it.
 * Owns:    returns an owned reference to the target, or NULL if it is lost; once NULL, always NULL.
 * Threads: an attached thread; lock-free. The owner of the target pays no atomic instruction.
 * Runs:    as fh_release, if the target was lost meanwhile.
 * Errors:  Traps: not attached; a freed weak reference (checked builds).
 * Source:  docs/weak.md, "Reading". */
FH_API FH_MUST_USE void *fh_weak_get(fh_weak *weak);

#ifdef __cplusplus
}
#endif
#endif
