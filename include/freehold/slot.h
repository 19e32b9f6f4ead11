/* SPDX-License-Identifier: MIT */
/* Slots: atomic strong references that any thread may use at any time, without a lock. What a slot holds is published.
 *
 * A load takes a reference to what it saw and looks again; the memory of what it saw cannot be reused before this thread's
 * next safepoint, so the look is safe, and a slot never hands out a dead object. Every pair of calls may run at once. */
#ifndef FREEHOLD_SLOT_H
#define FREEHOLD_SLOT_H

#include <freehold/object.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One reference; zeroed is empty. Declared in a type with FH_SLOT, or registered as a root with fh_root_add. */
typedef struct fh_slot {
  void *fh__value;
} fh_slot;

/* Reads a slot.
 *
 * Shape:   not NULL; its object is kept alive by the caller, or it is a root.
 * Owns:    returns an owned reference, or NULL if the slot is empty.
 * Threads: an attached thread; lock-free. The owner of the value pays no atomic instruction.
 * Runs:    as fh_release, if the slot changed meanwhile.
 * Errors:  none.
 * Source:  docs/refcount.md, "Slots". */
FH_API FH_MUST_USE void *fh_slot_load(fh_slot *slot);

/* Stores into a slot: retains and publishes `value`, then releases what was there.
 *
 * Shape:   slot not NULL; value may be NULL.
 * Owns:    the caller keeps its own reference to value.
 * Threads: an attached thread; wait-free but for what the release runs.
 * Runs:    as fh_release and fh_publish.
 * Errors:  Traps: a private value of another thread.
 * Source:  docs/refcount.md, "Slots". */
FH_API void fh_slot_store(fh_slot *slot, void *value);

/* Exchanges the slot's reference with the caller's: FH_AUTO T *old = fh_slot_swap(&slot, value);
 *
 * Shape:   slot not NULL; value may be NULL.
 * Owns:    consumes the caller's reference to `value`; returns the slot's old one, owned, or NULL.
 * Threads: an attached thread; wait-free.
 * Runs:    as fh_publish; releases nothing.
 * Errors:  Traps: a private value of another thread.
 * Source:  docs/refcount.md, "Slots". */
FH_API FH_MUST_USE void *fh_slot_swap(fh_slot *slot, void *value);

/* Stores `desired` if the slot holds `expected`.
 *
 * Shape:   slot not NULL; expected and desired may be NULL. Of a non-NULL expected the caller owns a reference, or saw it
 *          since its last safepoint.
 * Owns:    the caller keeps its references; on success the slot's reference to expected is released.
 * Threads: an attached thread; lock-free.
 * Runs:    as store.
 * Errors:  false: the slot held something else, and nothing changed (desired is published all the same).
 * Source:  docs/refcount.md, "Slots". */
FH_API bool fh_slot_cas(fh_slot *slot, void *expected, void *desired);

/* Registers a slot outside of objects (a global variable): fh_shutdown clears it.
 *
 * Shape:   not NULL; stays where it is until fh_root_remove or the end of fh_shutdown.
 * Owns:    the slot's reference belongs to the slot.
 * Threads: any thread; takes a lock.
 * Runs:    nothing. fh_root_remove leaves the value in the slot.
 * Errors:  FH_EEXIST, FH_ENOMEM, FH_ESHUTDOWN.
 * Source:  docs/refcount.md, "Slots". */
FH_API FH_MUST_USE fh_status fh_root_add(fh_slot *slot);
FH_API void fh_root_remove(fh_slot *slot);

#ifdef __cplusplus
}
#endif
#endif
