/* SPDX-License-Identifier: MIT */
/* The publish barrier: a private object, and all that it reaches, becomes visible to every thread.
 *
 *   [ref.published] whatever a published object refers to is published
 *
 * The walk needs no memory and no stack: an object that waits to be scanned is linked through its own tracking entry, or, if
 * it is not tracked, through its slot word and the lower half of its bias word. So publishing never fails. Strangers cannot see any of the objects before the caller's publishing store (release), hence the
 * flags may be set while the walk goes on. There is no safepoint inside. */
#ifndef FH_REF_PUBLISH_H
#define FH_REF_PUBLISH_H

#include "mutator/mutator.h"

/* Publishes what is not published yet; traps if `object` is private to another mutator. */
void fh__publish(struct fh__mutator *me, fh_object *object, const char *call);
/* Stopped: publishes on behalf of the owner. */
void fh__publish_stopped(struct fh__mutator *me, fh_object *object);

#endif
