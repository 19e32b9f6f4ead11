/* SPDX-License-Identifier: MIT */
#include "sync/grace.h"

struct fh__grace fh__grace;

uint64_t fh__grace_request(void) {
  uint64_t number = FH__ADD(&fh__grace.epoch, 1, SEQ_CST) + 1; /* [grace.unreachable] */
  struct fh__sync_local *sync;
  for (FH__EACH_MUTATOR(sync))
    if (fh__state_of(sync) == FH__ATTACHED) fh__attend(sync, FH__ATTEND_GRACE);
  return number;
}

static bool note_completed(uint64_t number) {
  uint64_t completed = FH__LOAD(&fh__grace.completed, RELAXED);
  while (completed < number)
    if (FH__CAS(&fh__grace.completed, &completed, number, RELEASE)) return true; /* partner: fh__grace_passed */
  return false;
}

bool fh__grace_advance(void) {
  /* The epoch is read before the states: a mutator seen DETACHED after that attaches with this epoch or a later one. */
  uint64_t passed = FH__LOAD(&fh__grace.epoch, SEQ_CST);
  struct fh__sync_local *sync;
  for (FH__EACH_MUTATOR(sync)) {
    if (fh__state_of(sync) != FH__ATTACHED) continue;
    uint64_t quiescent = FH__LOAD(&sync->quiescent, SEQ_CST); /* [grace.finished]; partner: fh__grace_report */
    if (quiescent < passed) passed = quiescent;
  }
  return note_completed(passed);
}

uint64_t fh__grace_stopped(void) {
  uint64_t number = FH__ADD(&fh__grace.epoch, 1, SEQ_CST) + 1;
  note_completed(number);
  return number;
}
