/* SPDX-License-Identifier: MIT */
/* The moves of a mutator's state; the table of them is in state.h, the argument in docs/safepoint.md. */
#include "sync/state.h"

#include <limits.h>
#include <sched.h>
#include <string.h>

#include "base/futex.h"
#include "base/trap.h"
#include "sync/crew.h"
#include "sync/grace.h"
#include "sync/stop.h"

const char *fh__state_name(uint32_t state) {
  static const char *const names[] = {"detached", "attached", "stopped", "claimed"};
  return names[state & FH__STATE_MASK];
}

enum { NAME_WORDS = FH__NAME_BYTES / sizeof(uint64_t) };

struct fh__name fh__state_name_of(const struct fh__sync_local *sync) {
  uint64_t word[NAME_WORDS];
  struct fh__name name;
  for (int i = 0; i < NAME_WORDS; i++) word[i] = FH__LOAD(&sync->name[i], RELAXED);
  memcpy(name.text, word, sizeof name.text);
  name.text[sizeof name.text - 1] = 0;
  return name;
}

void fh__state_set_name(struct fh__sync_local *sync, const char *name) {
  char text[FH__NAME_BYTES] = {0};
  uint64_t word[NAME_WORDS];
  if (name) memcpy(text, name, strnlen(name, sizeof text - 1));
  memcpy(word, text, sizeof word);
  for (int i = 0; i < NAME_WORDS; i++) FH__STORE_(&sync->name[i], word[i], RELAXED);
}

/* How long an attaching thread has waited: through one stop is nobody's fault, meeting a second one that follows at once is
 * starvation. If the world ran in between, only the kernel has kept the thread from coming in, because others wanted the
 * processor: there the requester would wait for all of them to have their turns. */
struct wait {
  uint32_t epoch; /* the odd epoch that it waited for last; 0: none */
  bool starving;
};

/* While the epoch lasts. The bell is read before what it tells of. */
static void wait_out(uint32_t epoch) {
  uint32_t bell = FH__LOAD(&fh__crew.bell, SEQ_CST); /* partner: fh__crew_ring */
  if (FH__LOAD(&fh__stop.epoch, SEQ_CST) == epoch && !fh__crew_help()) fh__crew_wait(bell);
}

static void wait_for_resume(struct wait *wait) {
  uint32_t epoch = FH__LOAD(&fh__stop.epoch, ACQUIRE);
  if (!(epoch & 1)) {
    sched_yield(); /* the requester is resetting the states */
    return;
  }
  bool close = FH__LOAD(&fh__stop.close, RELAXED); /* a hint, too */
  if (wait->epoch && wait->epoch != epoch && close && !wait->starving) {
    wait->starving = true;
    FH__ADD(&fh__stop.starving, 1, RELAXED); /* a hint: partner let_the_starving_in */
  }
  wait->epoch = epoch;
  wait_out(epoch);
}

static void wait_for_unclaim(struct fh__sync_local *sync, uint32_t state) {
  if (!(state & FH__WANTED) && !FH__CAS(&sync->state, &state, state | FH__WANTED, SEQ_CST)) return;
  fh__futex_wait(&sync->state, FH__CLAIMED | FH__WANTED, 0);
}

static void wait_and_attach(struct fh__sync_local *sync, struct wait *wait) {
  for (;;) {
    uint32_t state = FH__LOAD(&sync->state, RELAXED);
    switch (state & FH__STATE_MASK) {
      case FH__DETACHED:
        if (FH__CAS(&sync->state, &state, FH__ATTACHED, SEQ_CST)) return; /* attach: WANTED goes, too */
        break;
      case FH__CLAIMED: wait_for_unclaim(sync, state); break;
      case FH__STOPPED: wait_for_resume(wait); break;
      default: fh__trap("freehold: invariant [state.bound] broken: mutator %u is attached twice", sync->id);
    }
  }
}

static void come_in(struct fh__sync_local *sync, struct wait *wait) {
  wait_and_attach(sync, wait);
  if (wait->starving && FH__SUB(&fh__stop.starving, 1, RELEASE) == 1) fh__futex_wake(&fh__stop.starving, INT_MAX);
  wait->starving = false;
  fh__grace_quiesce(sync); /* after the move: [grace.unreachable] */
  if (!fh__queue_is_empty(&sync->queue)) fh__attend(sync, FH__ATTEND_MERGE); /* pushes that saw us away */
}

FH__COLD void fh__state_attach_slow(struct fh__sync_local *sync) {
  struct wait wait = {0, false};
  come_in(sync, &wait);
}

/* Detached with a queue that is not empty: back in, to merge it; true if somebody else has the right to it by now, who looks at
 * the queue when letting go. */
FH__COLD bool fh__state_detach_slow(struct fh__sync_local *sync) {
  uint32_t state = FH__DETACHED;
  if (!FH__CAS(&sync->state, &state, FH__ATTACHED, SEQ_CST)) return true;
  fh__grace_quiesce(sync);
  return false;
}

void fh__state_park(struct fh__sync_local *sync) {
  struct wait wait = {0, false};
  for (;;) {
    uint32_t epoch = FH__LOAD(&fh__stop.epoch, SEQ_CST);
    if (!(epoch & 1)) return;
    FH__ASSERT(fh__state_of(sync) == FH__ATTACHED, "state.right");
    FH__STORE_(&sync->state, FH__STOPPED, SEQ_CST); /* park */
    fh__stop_arrive(sync);
    wait.epoch = epoch;
    while (FH__LOAD(&fh__stop.epoch, ACQUIRE) == epoch) wait_out(epoch);
    come_in(sync, &wait);
    if (!(FH__LOAD(&sync->attention, RELAXED) & FH__ATTEND_STOP)) return;
  }
}

bool fh__state_claim(struct fh__sync_local *sync) {
  uint32_t state = FH__DETACHED; /* exactly: WANTED keeps claimers out */
  return FH__CAS(&sync->state, &state, FH__CLAIMED, SEQ_CST); /* claim */
}

bool fh__state_claim_resting(struct fh__sync_local *sync, uint32_t *rest_out) {
  uint32_t state = FH__LOAD(&sync->state, RELAXED);
  uint32_t rest = state & FH__STATE_MASK;
  bool stop_is_on = FH__LOAD(&fh__stop.epoch, SEQ_CST) & 1;
  if (rest != FH__DETACHED && !(rest == FH__STOPPED && stop_is_on)) return false;
  *rest_out = rest;
  return FH__CAS(&sync->state, &state, FH__CLAIMED | (state & FH__WANTED), SEQ_CST);
}

void fh__state_unclaim_resting(struct fh__sync_local *sync, uint32_t rest) {
  uint32_t state = FH__LOAD(&sync->state, RELAXED);
  while (!FH__CAS(&sync->state, &state, rest | (state & FH__WANTED), SEQ_CST)) { /* unclaim */
  }
  if (state & FH__WANTED) fh__futex_wake(&sync->state, 1);
  fh__stop_arrive(sync);
}

void fh__state_unclaim(struct fh__sync_local *sync) { fh__state_unclaim_resting(sync, FH__DETACHED); }

bool fh__state_is_wanted(const struct fh__sync_local *sync) {
  return FH__LOAD(&sync->state, RELAXED) & FH__WANTED;
}
