/* SPDX-License-Identifier: MIT */
/* Counting, where it leaves the inline path: strangers, the owner's last release, overflows, and everything in checked builds
 * and under FH_OPTION_COUNT_PATHS. */
#include "base/trap.h"
#include "ref/candidate.h"
#include "ref/count.h"
#include "ref/destroy.h"
#include "ref/merge.h"
#include "ref/publish.h"

/* The object lives for ever from now on. Counts may go on beside it: they leave the word by the top. */
static void note_immortal(fh_object *object) { FH__ADD(&fh__type_of(object)->immortals, 1, RELAXED); }

static FH__COLD void count_overflow(struct fh__mutator *me, fh_object *object) {
  if (FH__OR(&object->fh__shared, FH__IMMORTAL, RELAXED) & FH__IMMORTAL) return;
  note_immortal(object);
  FH__BUMP(&me->counters.overflows, 1);
  fh__log(FH_LOG_WARNING, "freehold: the count of object %p of type %s overflowed; it is immortal from now on", (void *)object,
          fh__type_of(object)->name);
}

/* Adds to the shared count; whoever sees half of its range makes the object immortal. */
static void add_shared(struct fh__mutator *me, fh_object *object, uint32_t n) {
  uint32_t old = FH__ADD(&object->fh__shared, n * FH__ONE, RELAXED); /* a reference exists: nothing to order */
  if (FH__UNLIKELY(fh__count_of(old) >= FH__IMMORTAL_AT)) count_overflow(me, object);
}

/* ---- retain ---- */

static __attribute__((noinline)) void owner_retain(struct fh__mutator *me, fh_object *object, uint32_t bias) {
  FH__BUMP(&me->counters.owner_retains, 1);
  if (fh__local_of(bias) >= FH__SPILL_AT) {
    uint32_t half = fh__local_of(bias) / 2;
    add_shared(me, object, half); /* first there, then not here: the sum is never too small */
    bias -= half;
    FH__BUMP(&me->counters.spills, 1);
  }
  fh__candidate_touch(object, bias);
  FH__STORE_(&object->fh__bias, (bias | FH__BIAS_MARK) + 1, RELAXED);
}

/* The two entries below are leaves for strangers, whose operation should cost little more than its atomic instruction. That
 * comes first, and its result tells the rest: a look at the word before would fetch a contended line twice. Everything
 * else is a tail call. */
FH__INLINE bool is_stranger(const struct fh__mutator *me, uint32_t bias) {
  if (FH__CHECKED || FH__UNLIKELY(fh__owns(me, bias))) return false;
  if (FH__UNLIKELY(me == &fh__nobody)) return false;
  return FH__LIKELY(bias != FH__BIAS_IMMORTAL);
}

_Noreturn static FH__COLD void refuse_private(const char *call, const fh_object *object) {
  fh__misuse(call, object, "a private object of another thread (it was not published)");
}

/* True if the object is immortal; traps unless a stranger may count it. */
static bool check_stranger(const struct fh__mutator *me, const char *call, const fh_object *object) {
  if (me == &fh__nobody) fh__misuse(call, object, "the calling thread is not attached");
  if (fh__is_immortal(object)) return true;
  if (!fh__is_published(object)) refuse_private(call, object);
  return false;
}

static __attribute__((noinline)) void retain_otherwise(struct fh__mutator *me, fh_object *object) {
  uint32_t bias = FH__LOAD(&object->fh__bias, ACQUIRE);
  if (fh__owns(me, bias)) {
    owner_retain(me, object, bias);
  } else if (check_stranger(me, "fh_retain", object)) {
    FH__BUMP(&me->counters.immortal_skips, 1);
  } else {
    FH__BUMP(&me->counters.stranger_retains, 1);
    add_shared(me, object, 1);
  }
}

static FH__COLD void stranger_was_wrong(struct fh__mutator *me, fh_object *object, uint32_t old) {
  if (old & FH__PRIVATE) refuse_private("fh_retain", object);
  count_overflow(me, object);
}

void fh__retain_slow(fh_object *object) {
  struct fh__mutator *me = fh__self();
  if (FH__CHECKED) fh__check_object("fh_retain", object);
  uint32_t bias = FH__LOAD(&object->fh__bias, ACQUIRE); /* partner: the release that zeroes the owner */
  if (FH__UNLIKELY(!is_stranger(me, bias))) {
    retain_otherwise(me, object);
    return;
  }
  FH__BUMP(&me->counters.stranger_retains, 1);
  uint32_t old = FH__ADD(&object->fh__shared, FH__ONE, RELAXED); /* a reference exists: nothing to order */
  if (FH__UNLIKELY((old & FH__PRIVATE) | (fh__count_of(old) >= FH__IMMORTAL_AT))) stranger_was_wrong(me, object, old);
}

/* ---- release ---- */

/* A private object's local count is used up: takes back what had spilled. */
static bool take_back(struct fh__mutator *me, fh_object *object) {
  uint32_t shared = FH__LOAD(&object->fh__shared, RELAXED);
  if (shared & FH__IMMORTAL) return true;
  int32_t spilled = fh__count_of(shared);
  if (spilled <= 0) return false;
  uint32_t back = spilled < FH__SPILL_AT ? (uint32_t)spilled : FH__SPILL_AT;
  FH__STORE_(&object->fh__shared, shared - back * FH__ONE, RELAXED); /* private: nobody else touches it */
  FH__STORE_(&object->fh__bias, fh__bias_with(me->stamp, back), RELAXED);
  FH__BUMP(&me->counters.take_backs, 1);
  return true;
}

/* The owner's release of anything but a plain private object's last reference. */
static void owner_release(struct fh__mutator *me, fh_object *object, uint32_t bias) {
  FH__BUMP(&me->counters.owner_releases, 1);
  fh__candidate_touch(object, bias); /* while it certainly lives */
  bias |= FH__BIAS_MARK;
  if (fh__local_of(bias) > 1) {
    FH__STORE_(&object->fh__bias, bias - 1, RELAXED);
  } else if (!fh__is_published(object)) {
    if (!take_back(me, object)) fh__ref_die(me, object);
  } else if (fh__merge_last(me, object)) {
    fh__ref_die(me, object);
  }
}

static void stranger_release(struct fh__mutator *me, fh_object *object, uint32_t bias);

/* A stranger's release of a settled object left something: that is a candidate from now on. The caller's reference is gone, and with
 * the others' the object may be; but its memory is there until the caller's next safepoint [candidate.held]. So the reference
 * is taken again, if there is something to refer to, and given up once more. */
static FH__COLD void release_settled(struct fh__mutator *me, fh_object *object) {
  if (!fh__try_retain(me, object)) return;
  fh__candidate_unsettle(object);
  stranger_release(me, object, FH__LOAD(&object->fh__bias, ACQUIRE)); /* partner: the release that zeroes the owner */
}

/* What a stranger's release found in the shared word asks for more: the last reference, or one less than those that are counted
 * there; or a bit. */
static __attribute__((noinline)) void stranger_crossed(struct fh__mutator *me, fh_object *object, uint32_t old, uint32_t owner) {
  int32_t count = fh__count_of(old);
  if (old & FH__PRIVATE) refuse_private("fh_release", object);
  if (old & FH__IMMORTAL) return;
  bool dies = (old & (FH__MERGED | FH__QUEUED)) == FH__MERGED && count <= 1;
  if (old & FH__SETTLED && !dies) {
    release_settled(me, object);
    return;
  }
  if (count > 1) return;
  if (!(old & FH__MERGED)) {
    /* Whoever took it below zero; and whoever finds it there and not queued: releases of a settled object may have passed each other. */
    if (count <= 0 && !(old & FH__QUEUED)) fh__merge_hand_over(me, object, owner);
    return;
  }
  if (count < 1) fh__misuse("fh_release", object, "more releases than references");
  if (!(old & FH__QUEUED)) fh__ref_die(me, object);
}

static inline __attribute__((always_inline)) void stranger_release(struct fh__mutator *me, fh_object *object, uint32_t bias) {
  FH__BUMP(&me->counters.stranger_releases, 1);
  /* acq_rel: releases what this holder did to whoever destroys, acquires what the others did if it is us. */
  uint32_t old = FH__SUB(&object->fh__shared, FH__ONE, ACQ_REL);
  if (FH__UNLIKELY(fh__count_of(old) <= 1) || FH__UNLIKELY(old & (FH__PRIVATE | FH__SETTLED)))
    stranger_crossed(me, object, old, fh__owner_of(bias));
}

static __attribute__((noinline)) void release_otherwise(struct fh__mutator *me, fh_object *object) {
  uint32_t bias = FH__LOAD(&object->fh__bias, ACQUIRE);
  if (fh__owns(me, bias))
    owner_release(me, object, bias);
  else if (check_stranger(me, "fh_release", object))
    FH__BUMP(&me->counters.immortal_skips, 1);
  else
    stranger_release(me, object, bias);
}

static __attribute__((noinline)) void release_last_own(struct fh__mutator *me, fh_object *object) {
  if (FH__LIKELY(fh__ref_is_simple(object)) && FH__LIKELY(fh__ref_die_plainly(me, object))) return;
  release_otherwise(me, object);
}

void fh__release_slow(fh_object *object) {
  struct fh__mutator *me = fh__self();
  if (FH__CHECKED) fh__check_object("fh_release", object);
  uint32_t bias = FH__LOAD(&object->fh__bias, ACQUIRE); /* partner: the release that zeroes the owner */
  if (fh__ref_is_last_own(me, bias))
    release_last_own(me, object);
  else if (FH__LIKELY(is_stranger(me, bias)))
    stranger_release(me, object, bias);
  else
    release_otherwise(me, object);
}

/* ---- looking and trying ---- */

bool fh__try_retain(struct fh__mutator *me, fh_object *object) {
  uint32_t bias = FH__LOAD(&object->fh__bias, ACQUIRE);
  if (fh__owns(me, bias)) { /* not merged, so it lives */
    owner_retain(me, object, bias);
    return true;
  }
  uint32_t shared = FH__LOAD(&object->fh__shared, RELAXED);
  do {
    if (fh__is_dead_count(shared)) return false;
    if (shared & FH__IMMORTAL) return true;
  } while (!FH__CAS(&object->fh__shared, &shared, shared + FH__ONE, ACQUIRE)); /* partner: the holders' releases */
  FH__BUMP(&me->counters.stranger_retains, 1);
  if (FH__UNLIKELY(fh__count_of(shared) >= FH__IMMORTAL_AT)) count_overflow(me, object);
  return true;
}

bool fh_try_retain(void *object) {
  struct fh__mutator *me = fh__self_or_trap("fh_try_retain", object);
  fh_object *header = object;
  if (!fh__owns(me, FH__LOAD(&header->fh__bias, ACQUIRE))) (void)check_stranger(me, "fh_try_retain", header);
  return fh__try_retain(me, object);
}

/* A published object can be peeked if nothing in it ever changes: then a reader may hold a pointer that no count shows. */
static bool can_be_peeked(const fh_object *object) {
  const fh_type *type = fh__type_of(object);
  return (type->flags & FH_GRACE) || ((type->flags & FH_IMMUTABLE) && !type->has_cells);
}

bool fh_is_unique(const void *address) {
  const fh_object *object = address;
  struct fh__mutator *me = fh__self_or_trap("fh_is_unique", object);
  if (FH__CHECKED) fh__check_object("fh_is_unique", object);
  bool published = fh__is_published(object);
  if (published && can_be_peeked(object)) return false;
  /* shared (acquire) before local: in the other order a merge between the two loads says "unique" wrongly. */
  uint32_t shared = FH__LOAD(&object->fh__shared, ACQUIRE);
  if (shared & (FH__QUEUED | FH__WEAK | FH__IMMORTAL | FH__HOT)) return false;
  uint32_t bias = FH__LOAD(&object->fh__bias, RELAXED);
  if (fh__owns(me, bias)) return fh__local_of(bias) == 1 && fh__count_of(shared) == 0;
  return (shared & FH__MERGED) && fh__count_of(shared) == 1; /* a stranger decides by one load */
}

bool fh_is_published(const void *object) { return fh__is_published(object); }

uint64_t fh_refcount(const void *object) {
  if (fh__is_immortal(object)) return UINT64_MAX;
  int64_t count = fh__true_count(object);
  return count > 0 ? (uint64_t)count : 0;
}

/* ---- immortal ---- */

void fh_make_immortal(void *address) {
  fh_object *object = address;
  struct fh__mutator *me = fh__self_or_trap("fh_make_immortal", object);
  fh__publish(me, object, "fh_make_immortal");
  uint32_t old = FH__OR(&object->fh__shared, FH__IMMORTAL, RELAXED);
  if (!(old & FH__IMMORTAL)) {
    note_immortal(object);
    FH__BUMP(&me->counters.immortal, 1);
  }
  /* The owner may write its word, and anybody that of a merged object, which nobody else writes any more. Otherwise the
   * owner's last release does it, and until then everybody comes out of line and returns there. */
  bool merged = (old & (FH__MERGED | FH__QUEUED)) == FH__MERGED;
  if (merged || fh__owns(me, FH__LOAD(&object->fh__bias, RELAXED))) FH__STORE_(&object->fh__bias, FH__BIAS_IMMORTAL, RELEASE);
}
