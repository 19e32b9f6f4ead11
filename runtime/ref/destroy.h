/* SPDX-License-Identifier: MIT */
/* What happens to an object whose count became zero:
 *
 *   count 0 --> untracked --+-- has a finalizer that did not run --> `finalizable`, until the mutator's next safepoint
 *                           |      (there: count 1, tracked again, finalizer, ordinary release)
 *                           +-- else --> fields cleared, dealloc --+-- private   --> freed
 *                                                                  +-- published --> limbo --> grace period --> freed
 *
 * With FH_FINALIZERS_QUEUE what has a finalizer goes to the application's queue (ref/pending.h), published, instead of to `finalizable`.
 *
 * Destruction is iterative: what dies while an object is being destroyed joins the list `dying`, linked through the dead
 * themselves, so a tree of any depth needs neither stack nor memory. */
#ifndef FH_REF_DESTROY_H
#define FH_REF_DESTROY_H

#include "mutator/mutator.h"
#include "object/cells.h"

/* The count of `object` is zero, and the caller brought it there. */
void fh__ref_die(struct fh__mutator *me, fh_object *object);
/* The same, but only puts it away for this mutator's next safepoint: for deaths under a claim or in a stop. */
void fh__ref_die_later(struct fh__mutator *me, fh_object *object);
/* At a safepoint: destroys what was put away. */
void fh__ref_run_deferred(struct fh__mutator *me);
/* By a thread that ended inside a dealloc: what its destruction had still to do waits for a safepoint. */
void fh__ref_defer_dying(struct fh__mutator *me);
/* [weak.before]. What died so far is finalized next, whatever callbacks lose from now on; but not before the rest of an earlier lot. */
void fh__ref_take_finalizable(struct fh__mutator *me);
/* At a safepoint, after the callbacks: runs the finalizers that wait. */
void fh__ref_run_finalizers(struct fh__mutator *me);
/* With the queue: runs the finalizer of one object that waits there. False: none does, or there is no memory to revive it. */
bool fh__ref_run_pending(struct fh__mutator *me);
/* Gives up the runtime's reference to the object whose finalizer ran, or ended its thread. */
void fh__ref_end_finalizer(struct fh__mutator *me);
static inline bool fh__ref_has_finalizers(const struct fh__mutator *me) {
  return me->finalizable.first || me->finalizing_now.first;
}
/* It has one that did not run. */
FH__INLINE bool fh__ref_wants_finalizer(const fh_object *object) {
  return fh__type_of(object)->finalize && !fh__has_flag(object, FH__FLAG_FINALIZED);
}
/* Runs one finalizer; the caller holds a reference. False if it ran before. */
bool fh__ref_finalize(struct fh__mutator *me, fh_object *object, const fh_type *type);

/* An object of a type with FH_GRACE, whose grace period has passed: clears, deallocs and frees it. */
void fh__ref_destroy_ripe(struct fh__mutator *me, fh_object *object);
/* The owner's last reference, of those in the bias word. */
FH__INLINE bool fh__ref_is_last_own(const struct fh__mutator *me, uint32_t bias) {
  return (bias | FH__BIAS_MARK) == fh__bias_with(me->stamp, 1);
}
/* A private object, none of whose references spilled, and nothing else is set. */
FH__INLINE bool fh__ref_is_simple(const fh_object *object) { return FH__LOAD(&object->fh__shared, RELAXED) == FH__PRIVATE; }
/* What so many deaths of a plain type change in the figures. */
FH__INLINE void fh__ref_count_plain_deaths(struct fh__mutator *me, fh_type *type, size_t count) {
  FH__BUMP(&me->counters.plain_deaths, count);
  fh__census_add(&me->census, type, -(int64_t)count);
  fh__account_return(&me->account, count * type->usable);
}
/* A private object of a plain type dies, and with it what only it referred to. */
void fh__ref_die_with_children(struct fh__mutator *me, fh_object *object);
/* The same, if it refers to nothing. */
void fh__ref_die_childless(struct fh__mutator *me, fh_object *object);
/* An object that is not small; false: it is not of a plain type, either. */
bool fh__ref_die_plain_large(struct fh__mutator *me, fh_object *object);
/* The common death in one piece: private, no application code: freed on the spot, and what only it referred to as well. False: it
 * is not such an object, and nothing happened. Checked builds take the long way, through the quarantine. Calls are at the ends only, so
 * that no registers are kept for them. */
FH__INLINE bool fh__ref_die_plainly(struct fh__mutator *me, fh_object *object) {
  fh_type *type = fh__type_of(object);
  if (FH__CHECKED) return false;
  if (FH__UNLIKELY(!type->brief)) return fh__ref_die_plain_large(me, object);
  if (FH__LIKELY(type->paired) && FH__UNLIKELY(!fh__cells_near_empty(type, object))) {
    fh__ref_die_with_children(me, object);
    return true;
  }
  const bool tracked = type->tracked;
  struct fh__chunk *chunk = me->track.current;
  uint32_t at = object->fh__slot - chunk->base;
  bool simple = (!tracked || at < FH__CHUNK_ENTRIES) && fh__pool_has_room(&me->pool);
  if (FH__UNLIKELY(!simple) || FH__UNLIKELY(!fh__census_try_add(&me->census, type, -1))) {
    fh__ref_die_childless(me, object);
    return true;
  }
  if (FH__LIKELY(tracked)) fh__track_recycle(chunk, at);
  fh__pool_put(&me->pool, object, type->pool_at);
  FH__BUMP(&me->counters.plain_deaths, 1);
  fh__account_return(&me->account, type->usable);
  return true;
}

/* The last step alone, for an object whose fields are NULL: dealloc, then its memory, at once or through limbo. */
void fh__ref_dealloc_and_free(struct fh__mutator *me, fh_object *object, bool at_once);

#endif
