/* SPDX-License-Identifier: MIT */
/* Grace periods on the mutators' own states.
 *
 * Whoever wants memory back makes it unreachable, asks for a grace period and gets its number. The period has passed when
 * every mutator is not ATTACHED, or has reported a quiescent state (a safepoint) at that number or a later one.
 * Quiescence is asked for through the attention words, not reported at each poll.
 *
 *   [grace.unreachable] the retirer's stores happen before the reader's report: unlink -> fetch_add(epoch) -> load(epoch)
 *   [grace.finished]    the reader's reads happen before the free: read -> report (release) -> scan (acquire)
 *
 * A mutator that attaches takes the present epoch, after its seq_cst move to ATTACHED: either the scan sees it ATTACHED,
 * or it sees everything that was unlinked before the scan's epoch. A stop is a grace period for all that came before. */
#ifndef FH_SYNC_GRACE_H
#define FH_SYNC_GRACE_H

#include "sync/registry.h"

/* Asks for a grace period; returns its number. */
uint64_t fh__grace_request(void);
/* True if period `number` has passed. */
static inline bool fh__grace_passed(uint64_t number) {
  return FH__LOAD(&fh__grace.completed, ACQUIRE) >= number; /* partner: the release in fh__grace_advance */
}
/* A mutator's report, after which it looks whether it was the last one that was waited for. */
static inline void fh__grace_report(struct fh__sync_local *sync) {
  /* seq_cst: "report; look at the others' reports and states" against the same, or "move the state; look" elsewhere: of two
   * that come last at once, one sees the other. */
  FH__SWAP(&sync->quiescent, FH__LOAD(&fh__grace.epoch, SEQ_CST), SEQ_CST);
}
/* Looks at all mutators; true if more periods have passed than were known. */
bool fh__grace_advance(void);
/* In a stopped world: everything retired so far is ripe. Returns the number to seal it with. */
uint64_t fh__grace_stopped(void);

#endif
