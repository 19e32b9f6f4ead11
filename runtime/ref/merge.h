/* SPDX-License-Identifier: MIT */
/* Merging: the owner's count joins the shared one, and from then on everybody counts there.
 *
 * The owner merges with its last release. A stranger whose release takes the shared count below zero cannot tell whether the
 * object is dead: it sets QUEUED, which pins the object, and leaves it in the owner's queue. Whoever drains the queue (the
 * owner at a safepoint; a releaser that claimed a sleeping owner; the collector) merges it, and it dies there if the sum is
 * zero. Nobody waits for a sleeping owner.
 *
 * Memory order: the owner field is zeroed (release) before the merging CAS, because after that CAS the object may be gone;
 * strangers load the bias word with acquire. The CAS is acq_rel: whoever destroys has seen all that the holders did. */
#ifndef FH_REF_MERGE_H
#define FH_REF_MERGE_H

#include "mutator/mutator.h"

/* The owner's last release of a published object. True: the object is dead, and the caller's. */
bool fh__merge_last(struct fh__mutator *me, fh_object *object);
/* A stranger's release crossed zero: queue the object to `owner`, and merge in its place if it sleeps. */
void fh__merge_hand_over(struct fh__mutator *me, fh_object *object, uint32_t owner);
/* Drains the own queue, at a safepoint. */
void fh__merge_own(struct fh__mutator *me);
/* Claims a sleeping mutator and drains its queue; its dead become `me`'s, for later, but for `mine`: true if that died. */
bool fh__merge_claim(struct fh__mutator *me, struct fh__mutator *sleeper, fh_object *mine);
/* The world is stopped by `me`: drains every queue. */
void fh__merge_all_stopped(struct fh__mutator *me);
/* After a resume: looks again at the queues of those who sleep. */
void fh__merge_after_resume(struct fh__mutator *me);

/* Stops the world, at a safepoint; and lets it run again. */
void fh__world_stop(struct fh__mutator *me);
void fh__world_resume(struct fh__mutator *me);

#endif
