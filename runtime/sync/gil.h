/* SPDX-License-Identifier: MIT */
/* The one lock of the gil design. A mutator holds it from before it becomes ATTACHED until after it has become DETACHED, so at
 * most one is ATTACHED, and that one carries the id that owns every object. In the other designs nobody takes it.
 *
 *   free --take--> held --release--> free        word: 0 free, 1 held, 2 held and somebody may wait
 *
 * Whoever has waited for the switch interval raises GIL in the holder's attention word; the holder lets go at its next safepoint,
 * and does not take it again before somebody else had it (`turn` counts who had it).
 *
 *   [gil.owner]  an ATTACHED mutator holds it; what one holder wrote is seen by the next: release -> acquire of the word
 *   [gil.still]  the requester of a stop, if it is a mutator, holds it: nobody else is ATTACHED then */
#ifndef FH_SYNC_GIL_H
#define FH_SYNC_GIL_H

#include "sync/state.h"

struct fh__gil {
  bool on;                       /* this is the gil design; written before anybody attaches */
  uint32_t word;                 /* atomic; a futex */
  uint32_t waiting;              /* atomic: how many want it */
  uint32_t turn;                 /* atomic: a futex for those who let go and want somebody else to have it first */
  uint32_t yielding;             /* atomic: how many of those wait */
  struct fh__sync_local *holder; /* atomic: a hint, whom to ask */
  uint64_t interval_ns;
  uint64_t switches;             /* atomic */
};
extern struct fh__gil fh__gil;

void fh__gil_take_now(struct fh__sync_local *sync);
void fh__gil_release_now(void);
/* By a mutator that released it because it was asked to: waits until somebody else had it, if anybody wants it. */
void fh__gil_let_others(uint32_t turn);
/* In the child of a fork: nobody waits; it is held by the calling mutator, or free. */
void fh__gil_reset(struct fh__sync_local *holder);

FH__INLINE void fh__gil_take(struct fh__sync_local *sync) {
  if (FH__UNLIKELY(fh__gil.on)) fh__gil_take_now(sync);
}
FH__INLINE void fh__gil_release(void) {
  if (FH__UNLIKELY(fh__gil.on)) fh__gil_release_now();
}

#endif
