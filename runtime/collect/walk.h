/* SPDX-License-Identifier: MIT */
/* A worker's walk over objects and their children. Children are looked at through a queue of FH__PREFETCH places in two steps, so
 * that a child's header, and then its place in refs, are in the cache when they are needed. The queue is filled with a dummy of
 * slot 0 first, whose place in refs nobody reads: no branches for its beginning and end. */
#ifndef FH_COLLECT_WALK_H
#define FH_COLLECT_WALK_H

#include "collect/scan.h"
#include "object/cells.h"

struct fh__walk {
  int32_t *refs;
  struct fh__scan *scan;
  fh_object **stack;  /* to be scanned */
  size_t depth;       /* of the stack */
  uint64_t objects;   /* seen by the pass; marked by it */
  uint32_t stamp;     /* as in the scan, */
  uint32_t generation; /* and this */
  bool settles;
  bool partial;       /* not all generations are looked at */
  struct fh__tally tally; /* its part of the scan's [scan.tally] */
  uint32_t worker;    /* 0: the collecting mutator */
  uint32_t at;        /* turns of the queue */
  fh_object *object[FH__PREFETCH]; /* step 1: the header is on its way */
  fh_object *known[FH__PREFETCH];  /* step 2: its slot was read, the place in refs is on its way */
  uint32_t slot[FH__PREFETCH];
};

extern fh_object fh__walk_dummy; /* slot 0 */

void fh__walk_init(struct fh__walk *walk, struct fh__scan *scan, uint32_t worker, fh_object **stack);

/* Moves the places at the queue's turn one step on. `partial`: not all generations are looked at; a child of another one
 * leaves the queue as if it were not tracked. */
FH__INLINE void fh__walk_turn(struct fh__walk *walk, fh_object *child, bool partial) {
  uint32_t i = walk->at++ % FH__PREFETCH;
  fh_object *seen = walk->object[i];
  walk->object[i] = child;
  __builtin_prefetch(child);
  uint32_t slot = seen->fh__slot;
  if (partial && !fh__scan_covers(walk->scan, slot)) slot = 0;
  walk->known[i] = seen;
  walk->slot[i] = slot;
  __builtin_prefetch(&walk->refs[slot], 1);
}

/* What leaves the queue at its next turn. */
FH__INLINE uint32_t fh__walk_leaving_slot(const struct fh__walk *walk) { return walk->slot[walk->at % FH__PREFETCH]; }
FH__INLINE fh_object *fh__walk_leaving(const struct fh__walk *walk) { return walk->known[walk->at % FH__PREFETCH]; }

FH__INLINE int32_t fh__walk_count(const fh_object *object) {
  uint32_t bias = FH__LOAD(&object->fh__bias, RELAXED), shared = FH__LOAD(&object->fh__shared, RELAXED);
  if (FH__UNLIKELY(bias == FH__BIAS_IMMORTAL) || FH__UNLIKELY(shared & FH__IMMORTAL)) return FH__SCAN_IMMORTAL; /* it stays */
  return fh__count_of(shared) + (int32_t)fh__local_of(bias);
}

/* The next objects of a chunk are known: on their way while others are looked at. What is no object is no harm. */
FH__INLINE void fh__walk_prefetch(const struct fh__chunk *chunk, uint32_t at) {
  __builtin_prefetch((const void *)(uintptr_t)chunk->entries[at + FH__PREFETCH]);
}

#endif
