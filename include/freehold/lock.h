/* SPDX-License-Identifier: MIT */
/* Object locks: a mutex of one byte in every object's header. */
#ifndef FREEHOLD_LOCK_H
#define FREEHOLD_LOCK_H

#include <freehold/object.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Locks and unlocks one object, by hand. Prefer FH_CRITICAL.
 *
 * Shape:   not NULL. Not recursive. At most 64 held by hand at a time.
 * Owns:    the caller keeps the object alive while it is locked.
 * Threads: an attached thread. One atomic instruction each when nobody else wants it.
 * Runs:    fh_lock is a safepoint if it has to wait; fh_unlock runs nothing.
 * Errors:  Traps: unlocking what is not locked; locking twice, a 65th lock, detaching while holding one (checked builds).
 * Source:  docs/safepoint.md, "Object locks". */
FH_API void fh_lock(void *object);
FH_API void fh_unlock(void *object);

/* A critical section over one or two objects. It lives on the stack, and is given up while its thread waits, blocks, or
 * runs what waits at a safepoint; so it never deadlocks, and its protection ends at any safepoint inside it. */
typedef struct fh_critical {
  struct fh_critical *fh__outer;
  void *fh__first;
  void *fh__second;
} fh_critical;

/* Begin and end a critical section; FH_CRITICAL and FH_CRITICAL2 do it for a block.
 *
 * Shape:   a not NULL; b may be NULL or equal to a.
 * Owns:    the caller keeps both objects alive.
 * Threads: an attached thread. Sections nest; an inner one gives up the outer ones' locks while it has to wait.
 * Runs:    begin is a safepoint if it has to wait. end takes the outer section's locks again, if they were given up, and
 *          is then a safepoint too.
 * Errors:  Traps: ended out of order (checked builds).
 * Source:  docs/safepoint.md, "Object locks". */
FH_API void fh_critical_begin(fh_critical *section, void *a, void *b);
FH_API void fh_critical_end(fh_critical *section);

#define FH__CRITICAL(a, b, id)                                                                   \
  __attribute__((cleanup(fh_critical_end))) fh_critical FH__JOIN(fh__critical_, id);             \
  fh_critical_begin(&FH__JOIN(fh__critical_, id), (a), (b))
/* The rest of the block holds the lock of a, or of a and b. */
#define FH_CRITICAL(a) FH__CRITICAL(a, NULL, __COUNTER__)
#define FH_CRITICAL2(a, b) FH__CRITICAL(a, b, __COUNTER__)

#ifdef __cplusplus
}
#endif
#endif
