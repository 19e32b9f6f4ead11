/* SPDX-License-Identifier: MIT */
#include "api/safepoint.h"

#include "api/finalize.h"
#include "base/trap.h"
#include "collect/collect.h"
#include "collect/garbage.h"
#include "mutator/pressure.h"
#include "ref/destroy.h"
#include "ref/merge.h"
#include "ref/pending.h"
#include "ref/relief.h"
#include "ref/weak.h"
#include "sync/grace.h"
#include "sync/stop.h"

/* ---- moves ---- */

FH__COLD void fh__tell_departure(struct fh__mutator *me) {
  fh__stop_arrive(&me->sync);
  uint32_t bits = fh__attention_of(&me->sync);
  if (bits & FH__ATTEND_GRACE) fh__relief_leaving();
  if (bits & FH__ATTEND_INBOX) fh__relief_ask(); /* somebody else, then */
}

/* ---- the safepoint ---- */

/* Lowers all bits but STOP, which belongs to the requester, before any of the work: what is raised later is seen later. */
static uint32_t take_attention(struct fh__mutator *me) {
  return FH__AND(&me->sync.attention, (uint32_t)FH__ATTEND_STOP, SEQ_CST); /* partner: fh__attend */
}

/* gil design: others have waited long enough. */
static FH__COLD void hand_over(struct fh__mutator *me) {
  uint32_t turn = FH__LOAD(&fh__gil.turn, RELAXED);
  me->returning = true;
  fh__go_offline(me);
  fh__gil_let_others(turn);
  fh__mutator_go_online(me);
  me->returning = false;
  if (FH__LOAD(&fh__gil.turn, RELAXED) != turn + 1) FH__ADD(&fh__gil.switches, 1, RELAXED); /* else nobody wanted it */
}

/* In torture builds COLLECT is always up, so that every safepoint comes here; each generation has its turn. */
static void torture(struct fh__mutator *me) {
  if (!FH__TORTURE || !FH__LOAD(&fh__shared.gc_enabled, RELAXED)) return;
  uint32_t turn = fh__torture_turn(&me->torture_turns);
  if (turn) fh__collect(me, turn % FH__GENERATIONS);
}

static void attend_to(struct fh__mutator *me, uint32_t bits) {
  if (bits & FH__ATTEND_MERGE) fh__merge_own(me);
  if (bits & FH__ATTEND_GRACE) fh__relief_quiesce(me);
  if (bits & FH__ATTEND_LIMBO) fh__relief_limbo(me, false);
  if (bits & FH__ATTEND_INBOX) fh__relief_inbox(me);
  if (bits & FH__ATTEND_DESTROY) fh__ref_run_deferred(me);
  if (bits & FH__ATTEND_GARBAGE && !me->collecting) fh__garbage_finish(me);
  if (bits & FH__ATTEND_COLLECT) torture(me);
  if (bits & FH__ATTEND_COLLECT) fh__collect_if_due(me);
  if (bits & FH__ATTEND_FINALIZE) fh__weak_run_callbacks(me);
  if (bits & FH__ATTEND_FINALIZE) fh__ref_run_finalizers(me);
  if (bits & FH__ATTEND_FINALIZE) fh__pending_notify(me);
  if (bits & FH__ATTEND_LIMIT) fh__pressure_tell(me);
  if (FH__UNLIKELY(bits & FH__ATTEND_PURGE)) fh__mutator_tidy(me);
}

static void run_once(struct fh__mutator *me) {
  fh__mutator_let_stop(me);
  uint32_t bits = take_attention(me);
  if (FH__UNLIKELY(bits & FH__ATTEND_GIL)) hand_over(me);
  attend_to(me, bits);
}

void fh__safepoint_run(struct fh__mutator *me) {
  fh__critical_suspend(me);
  run_once(me);
  /* What the first turn brought up is done in a second one; more waits for the next safepoint, so that this one ends. */
  if (FH__LOAD(&me->sync.attention, RELAXED)) run_once(me);
  fh__producer_refill(&me->producer);
  if (FH__TORTURE) FH__OR(&me->sync.attention, (uint32_t)FH__ATTEND_COLLECT, RELAXED);
  fh__critical_resume(me);
}

FH__COLD void fh__safepoint_slow(void) {
  struct fh__mutator *me = fh__self();
  if (me == &fh__nobody) {
    if (FH__CHECKED) fh__misuse("fh_safepoint", NULL, "the calling thread is not attached");
    return;
  }
  if (FH__UNLIKELY(me->no_safepoint)) {
    if (FH__CHECKED && me->in_dealloc) fh__misuse("fh_safepoint", NULL, "a safepoint inside dealloc");
    return;
  }
  fh__safepoint_run(me);
}

void fh__no_safepoint_begin(void) { fh__self_or_trap("FH_NO_SAFEPOINT", NULL)->no_safepoint++; }
void fh__no_safepoint_end(void) { fh__self_or_trap("FH_NO_SAFEPOINT", NULL)->no_safepoint--; }

/* ---- more than was asked for ---- */

enum {
  HOUSEKEEPING = FH__ATTEND_MERGE | FH__ATTEND_GRACE | FH__ATTEND_INBOX | FH__ATTEND_DESTROY | FH__ATTEND_FINALIZE
};

void fh__safepoint_housekeep(struct fh__mutator *me) {
  fh__critical_suspend(me);
  run_once(me);
  attend_to(me, HOUSEKEEPING);
  fh__relief_limbo(me, true);
  fh__relief_quiesce(me);
  fh__relief_limbo(me, true);
  fh__relief_sleepers(me, 1);
  fh__pressure_ease(me);
  fh__critical_resume(me);
}

static uint64_t progress_of(const struct fh__mutator *me) {
  return me->counters.destroyed + me->counters.plain_deaths + me->counters.finalized + me->counters.resurrected +
         me->counters.weak_callbacks;
}

void fh__safepoint_settle(struct fh__mutator *me) {
  enum { ROUNDS = 1000 }; /* an application whose finalizers never stop making work does not settle */
  for (int round = 0; round < ROUNDS; round++) {
    uint64_t before = progress_of(me);
    uint64_t failed = FH__LOAD(&fh__collector.failed, RELAXED);
    fh__safepoint_housekeep(me);
    size_t found = fh__collect(me, FH__OLD);
    fh__safepoint_housekeep(me);
    (void)fh__finalizers_run(me, SIZE_MAX);
    bool looked = FH__LOAD(&fh__collector.failed, RELAXED) == failed; /* else there was no memory, and may be in the next round */
    bool quiet = looked && !found && progress_of(me) == before && fh__limbo_is_empty(&me->limbo) && fh__relief_inbox_is_empty();
    if (quiet) return;
  }
}

size_t fh__safepoint_collect(struct fh__mutator *me, uint32_t generation) {
  fh__critical_suspend(me);
  FH__AND(&me->sync.attention, ~(uint32_t)FH__ATTEND_COLLECT, SEQ_CST); /* this is the collection that was due */
  run_once(me);
  size_t found = fh__collect(me, generation);
  run_once(me);
  fh__critical_resume(me);
  return found;
}

struct fh__mutator *fh__self_at_safepoint(const char *call) {
  struct fh__mutator *me = fh__self_or_trap(call, NULL);
  if (FH__CHECKED && me->in_dealloc) fh__misuse(call, NULL, "a safepoint inside dealloc");
  return me->no_safepoint ? NULL : me;
}

void fh_housekeep(void) {
  struct fh__mutator *me = fh__self_at_safepoint("fh_housekeep");
  if (me) fh__safepoint_housekeep(me);
}

void fh_settle(void) {
  struct fh__mutator *me = fh__self_at_safepoint("fh_settle");
  if (me) fh__safepoint_settle(me);
}
