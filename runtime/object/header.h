/* SPDX-License-Identifier: MIT */
/* The 16 bytes in front of every object, as the runtime reads them. The public header declares the words; here are their
 * bits, and who may write what.
 *
 *   bias     31..16 owner | 15 mark | 14..0 local - 1    shared   31..7 count (signed) | 6..0 state bits
 *
 *   [ref.sum]       true count = local + count(shared)
 *   [ref.merged]    MERGED          => owner = 0 and local = 0; the count is all in shared
 *   [ref.owner]     not MERGED      => owner = the mutator that made it, local >= 1 (but inside a merge)
 *   [ref.private]   PRIVATE         => only the owner reads or writes the object, its bias and its shared word
 *   [ref.dead]      dead            <=> MERGED, count 0, not QUEUED (published); or given up by its owner (private)
 *   [ref.queued]    QUEUED          => the object is in the owner's queue, and only the drain may destroy it
 *   [ref.published] not PRIVATE     => it is published, for ever, and so is everything that it refers to
 *
 * PRIVATE stands in the shared word, so that a stranger's atomic operation tells whether it had the right to it.
 *
 * The count stands above the state bits, so that a borrow or a carry leaves by the top; death is tested under a mask. */
#ifndef FH_OBJECT_HEADER_H
#define FH_OBJECT_HEADER_H

#include <freehold/object.h>

#include "base/atomic.h"
#include "base/config.h"

enum {
  FH__MERGED = 1u << 0,    /* set by the merging CAS, never cleared but by rebirth */
  FH__QUEUED = 1u << 1,    /* set by a stranger's CAS, cleared by the drain's CAS */
  FH__WEAK = 1u << 2,      /* weak references exist, and so does a block of the object (ref/weak.h); published */
  FH__IMMORTAL = 1u << 3,  /* the count no longer matters */
  FH__HOT = 1u << 4,       /* counted per mutator; reserved */
  FH__SETTLED = 1u << 5,   /* an old collection saw it alive, and no stranger released it since (ref/candidate.h); published */
  FH__PRIVATE = 1u << 6,   /* from birth until publication, by the owner, with plain order */
  FH__STATE_BITS = FH__MERGED | FH__QUEUED | FH__WEAK | FH__IMMORTAL | FH__HOT | FH__SETTLED | FH__PRIVATE,
  FH__ONE = 1u << 7,
  FH__COUNT_SHIFT = 7
};

_Static_assert(sizeof(fh_object) == 16, "the header is 16 bytes");
_Static_assert(FH__PRIVATE == FH__PRIVATE_BIT, "what the public header compares in line");

enum {
  FH__FLAG_FINALIZED = 1u << 0, /* its finalizer ran, or began to: it does not run again */
  FH__FLAG_GARBAGE = 1u << 1,   /* found by the collector, or its grace period passed: no late reader can see it */
  FH__FLAG_CROSS = 1u << 2,     /* garbage that other lists' garbage refers to: it dies by its count */
  FH__FLAG_DEAD = 1u << 3       /* checked builds: destroyed */
};

enum { FH__NOBODY = 0xffffu, FH__MUTATORS_MAX = 0xfffeu };
enum { FH__GIL_OWNER = 1 }; /* gil design: the id that owns every object, carried by whoever holds the lock */

#define FH__LOCAL_MASK FH__BIAS_LOCAL_MAX
#define FH__IMMORTAL_AT ((int32_t)1 << 23) /* half range */

FH__INLINE int32_t fh__count_of(uint32_t shared) { return (int32_t)shared >> FH__COUNT_SHIFT; }
FH__INLINE uint32_t fh__owner_of(uint32_t bias) { return bias >> FH__BIAS_OWNER_SHIFT; }
/* The owner's references; none if nobody owns the object. */
FH__INLINE uint32_t fh__local_of(uint32_t bias) { return fh__owner_of(bias) ? (bias & FH__LOCAL_MASK) + 1 : 0; }
/* The bias word of an object that its owner refers to `local` times, at least once. */
FH__INLINE uint32_t fh__bias_with(uint32_t stamp, uint32_t local) { return stamp + (local - 1); }
FH__INLINE uint32_t fh__stamp_of(uint32_t id) { return id << FH__BIAS_OWNER_SHIFT | FH__BIAS_MARK; }
FH__INLINE bool fh__is_dead_count(uint32_t shared) {
  return (shared & (FH__MERGED | FH__QUEUED | FH__IMMORTAL)) == FH__MERGED && fh__count_of(shared) == 0;
}
FH__INLINE bool fh__has_flag(const fh_object *object, unsigned flag) {
  /* Relaxed: flags are read by who set them, or with the world stopped. */
  return (FH__LOAD(&object->fh__flags, RELAXED) & flag) != 0;
}
FH__INLINE bool fh__is_published(const fh_object *object) {
  return !(FH__LOAD(&object->fh__shared, RELAXED) & FH__PRIVATE); /* made visible by the publishing store */
}
FH__INLINE bool fh__is_immortal(const fh_object *object) {
  return FH__LOAD(&object->fh__bias, RELAXED) == FH__BIAS_IMMORTAL || (FH__LOAD(&object->fh__shared, RELAXED) & FH__IMMORTAL);
}

/* The two halves of a newborn's header, a word each, so that it is written in two stores. The type prepares what of them is
 * the same for all instances; the stamp says that the maker owns one reference. */
struct fh__birth {
  uint64_t first;  /* type; no lock, no flags; the slot is added */
  uint64_t second; /* shared: PRIVATE or nothing; the bias word is added */
};
FH__INLINE struct fh__birth fh__header_birth(uint32_t type, uint32_t shared) {
  const fh_object header = {.fh__type = (uint16_t)type, .fh__shared = shared};
  struct fh__birth birth;
  __builtin_memcpy(&birth, &header, sizeof birth);
  return birth;
}
FH__INLINE void fh__header_write(fh_object *object, const struct fh__birth *birth, uint32_t slot, uint32_t stamp) {
  const int shift = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 32 : 0;
  uint64_t first = birth->first | (uint64_t)slot << shift, second = birth->second | (uint64_t)stamp << shift;
  __builtin_memcpy(object, &first, sizeof first);
  __builtin_memcpy((char *)object + 8, &second, sizeof second);
}

/* The true count. Exact for a private object read by its owner, and in a stopped world. */
FH__INLINE int64_t fh__true_count(const fh_object *object) {
  /* shared before bias: a merge moves counts from bias to shared, so this order never counts them twice. */
  uint32_t shared = FH__LOAD(&object->fh__shared, ACQUIRE);
  return (int64_t)fh__count_of(shared) + fh__local_of(FH__LOAD(&object->fh__bias, RELAXED));
}

#endif
