/* SPDX-License-Identifier: MIT */
/* Candidates: the objects from which an old collection starts, so that it costs nothing where nothing changed.
 *
 * An object becomes garbage without its count going to zero only if references from outside of its cycle go: one of them is
 * released, or moves into a field, where it may be part of the cycle. So each release that leaves something, and each store
 * that consumes its caller's reference, makes the object a candidate; so are all objects from birth. An old collection that sees a
 * candidate alive settles it: it is none from then on.
 *
 *   owned or merged   candidate <=> the mark of its bias word is set; the inline paths of an object without mark come out of line
 *   published         ... or SETTLED is not set in its shared word; a stranger's release sees that in what its atomic instruction
 *                     returns
 *
 *   [candidate.reach]  whatever is unreachable, is reached from a candidate
 *   [candidate.chunk]  a candidate lies in a chunk that is touched, or not old
 *   [candidate.held]   GARBAGE => it is a candidate: whoever releases it touches nothing of it afterwards
 *
 * All of it is written between two safepoints of whoever writes, and read in stops: relaxed. docs/collector.md has the argument. */
#ifndef FH_REF_CANDIDATE_H
#define FH_REF_CANDIDATE_H

#include "mutator/mutator.h"

/* Immortal objects are none: nothing of them can become garbage. */
FH__INLINE bool fh__is_candidate(const fh_object *object) {
  uint32_t bias = FH__LOAD(&object->fh__bias, RELAXED), shared = FH__LOAD(&object->fh__shared, RELAXED);
  if (FH__UNLIKELY(bias == FH__BIAS_IMMORTAL)) return false;
  return (bias & FH__BIAS_MARK) || !(shared & (FH__SETTLED | FH__PRIVATE));
}

/* Whoever is about to write a mark into the bias word of an object that it refers to, and that had the word `bias`. */
FH__INLINE void fh__candidate_touch(const fh_object *object, uint32_t bias) {
  if (FH__UNLIKELY(!(bias & FH__BIAS_MARK))) fh__track_touch(FH__LOAD(&object->fh__slot, RELAXED));
}

/* A stranger that owns a reference. */
FH__INLINE void fh__candidate_unsettle(fh_object *object) {
  FH__AND(&object->fh__shared, ~(uint32_t)FH__SETTLED, RELAXED);
  fh__track_touch(FH__LOAD(&object->fh__slot, RELAXED));
}

/* The caller's reference goes into a field. */
static inline void fh__candidate_moves(const struct fh__mutator *me, fh_object *object) {
  uint32_t bias = FH__LOAD(&object->fh__bias, RELAXED);
  if (FH__LIKELY(bias & FH__BIAS_MARK)) return;
  if (fh__owns(me, bias)) {
    fh__candidate_touch(object, bias);
    FH__STORE_(&object->fh__bias, bias | FH__BIAS_MARK, RELAXED);
  } else if (FH__LOAD(&object->fh__shared, RELAXED) & FH__SETTLED) {
    fh__candidate_unsettle(object);
  }
}

/* Stopped: sees it alive. False: it stays a candidate. */
FH__INLINE bool fh__candidate_settle(fh_object *object) {
  uint32_t bias = FH__LOAD(&object->fh__bias, RELAXED), shared = FH__LOAD(&object->fh__shared, RELAXED);
  if (FH__UNLIKELY(bias == FH__BIAS_IMMORTAL)) return true;
  if (FH__UNLIKELY(fh__has_flag(object, FH__FLAG_GARBAGE))) return false; /* [candidate.held] */
  if (bias & FH__BIAS_MARK) FH__STORE_(&object->fh__bias, bias & ~FH__BIAS_MARK, RELAXED);
  if (!(shared & (FH__SETTLED | FH__PRIVATE))) FH__STORE_(&object->fh__shared, shared | FH__SETTLED, RELAXED);
  return true;
}

/* Stopped: a candidate again. */
static inline void fh__candidate_again(fh_object *object) {
  uint32_t shared = FH__LOAD(&object->fh__shared, RELAXED);
  if (fh__is_immortal(object)) return;
  FH__STORE_(&object->fh__bias, FH__LOAD(&object->fh__bias, RELAXED) | FH__BIAS_MARK, RELAXED);
  FH__STORE_(&object->fh__shared, shared & ~(uint32_t)FH__SETTLED, RELAXED);
  fh__track_touch(object->fh__slot);
}

#endif
