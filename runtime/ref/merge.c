/* SPDX-License-Identifier: MIT */
#include "ref/merge.h"

#include <sched.h>

#include "base/clock.h"
#include "base/trap.h"
#include "ref/destroy.h"
#include "sync/stop.h"
#include "sync/watchdog.h"

/* ---- one object ---- */

/* Adds `local` to the shared count and sets MERGED, in one CAS that also clears `clear`. Returns the new word. */
static uint32_t join_counts(fh_object *object, uint32_t local, uint32_t clear) {
  uint32_t shared = FH__LOAD(&object->fh__shared, RELAXED);
  uint32_t joined;
  do joined = ((shared + local * FH__ONE) | FH__MERGED) & ~clear;
  while (!FH__CAS(&object->fh__shared, &shared, joined, ACQ_REL)); /* partner: every release of a reference */
  if (joined & FH__IMMORTAL) FH__STORE_(&object->fh__bias, FH__BIAS_IMMORTAL, RELAXED);
  else if (FH__UNLIKELY(fh__count_of(joined) < 0)) fh__misuse("fh_release", object, "more releases than references");
  return joined;
}

bool fh__merge_last(struct fh__mutator *me, fh_object *object) {
  FH__BUMP(&me->counters.merges, 1);
  FH__STORE_(&object->fh__bias, FH__BIAS_MARK, RELEASE); /* before the CAS; partner: strangers' acquire of the owner. Touched */
  return fh__is_dead_count(join_counts(object, 0, 0));   /* QUEUED: the drain destroys it */
}

/* Merges an object that came out of a queue; true if it is dead. Only with the right to its owner [state.right]. */
static bool merge_queued(fh_object *object) {
  uint32_t bias = FH__LOAD(&object->fh__bias, RELAXED), local = fh__local_of(bias);
  FH__ASSERT(FH__LOAD(&object->fh__shared, RELAXED) & FH__QUEUED, "ref.queued");
  FH__STORE_(&object->fh__bias, bias & FH__BIAS_MARK, RELEASE); /* as in fh__merge_last; the mark stays what it is */
  uint32_t joined = join_counts(object, local, FH__QUEUED);
  return fh__is_dead_count(joined);
}

/* ---- draining ---- */

void fh__merge_own(struct fh__mutator *me) {
  fh_object *object;
  while ((object = fh__queue_pop(&me->sync.queue, &me->producer))) {
    FH__BUMP(&me->counters.drained, 1);
    if (merge_queued(object)) fh__ref_die(me, object);
  }
}

/* Under a claim only merging happens: no application code, no allocation. */
static bool drain_claimed(struct fh__mutator *me, struct fh__mutator *sleeper, fh_object *mine) {
  bool mine_died = false;
  for (int i = 0; i < FH__CLAIM_ITEMS && !fh__state_is_wanted(&sleeper->sync); i++) {
    fh_object *object = fh__queue_pop(&sleeper->sync.queue, &me->producer);
    if (!object) break;
    FH__BUMP(&me->counters.claimed, 1);
    if (!merge_queued(object)) continue;
    FH__ADD(&sleeper->heap_debt, fh__object_bytes(fh__type_of(object), object), RELAXED);
    if (object == mine)
      mine_died = true; /* destroyed by the caller, once the claim is over */
    else
      fh__ref_die_later(me, object);
  }
  return mine_died;
}

bool fh__merge_claim(struct fh__mutator *me, struct fh__mutator *sleeper, fh_object *mine) {
  bool mine_died = false;
  while (!fh__queue_is_empty(&sleeper->sync.queue) && fh__state_claim(&sleeper->sync)) {
    FH__BUMP(&me->counters.claims, 1);
    mine_died |= drain_claimed(me, sleeper, mine);
    fh__state_unclaim(&sleeper->sync); /* and look again: [queue.drained] */
  }
  return mine_died;
}

void fh__merge_all_stopped(struct fh__mutator *me) {
  struct fh__sync_local *sync;
  for (FH__EACH_MUTATOR(sync)) {
    fh_object *object;
    while ((object = fh__queue_pop(&sync->queue, &me->producer))) {
      FH__BUMP(&me->counters.drained, 1);
      if (merge_queued(object)) fh__ref_die_later(me, object);
    }
  }
}

void fh__merge_after_resume(struct fh__mutator *me) {
  struct fh__sync_local *sync;
  for (FH__EACH_MUTATOR(sync))
    if (sync != &me->sync && !fh__queue_is_empty(&sync->queue)) fh__merge_claim(me, fh__mutator_of(sync), NULL);
}

void fh__world_stop(struct fh__mutator *me) {
  fh__mutator_lock_stop(me, fh__merge_own);
  fh__stop_begin(&me->sync);
}

void fh__world_resume(struct fh__mutator *me) {
  fh__stop_end(&me->sync);
  fh__merge_after_resume(me);
}

/* ---- handing over ---- */

/* Sets QUEUED, unless the object was merged or queued meanwhile: then others are responsible for it. The object may be dead
 * by now; its memory is not reused before the caller's next safepoint. */
static bool set_queued(fh_object *object) {
  uint32_t shared = FH__LOAD(&object->fh__shared, RELAXED);
  do {
    if (shared & (FH__MERGED | FH__QUEUED | FH__IMMORTAL)) return false;
  } while (!FH__CAS(&object->fh__shared, &shared, shared | FH__QUEUED, ACQ_REL)); /* partner: the merging CAS */
  return true;
}

/* Lets others merge this thread's objects, and merges what is in its queue: it touches no counts otherwise meanwhile. */
static void yield(struct fh__mutator *me) {
  fh_object *own;
  while ((own = fh__queue_pop(&me->sync.queue, &me->producer)))
    if (merge_queued(own)) fh__ref_die_later(me, own);
  FH__STORE_(&me->yielding, 1, RELEASE); /* partner: merge_for_yielding */
  sched_yield();
  uint32_t expected = 1;
  while (!FH__CAS(&me->yielding, &expected, 0, ACQUIRE)) { /* partner: the release below */
    expected = 1;
    fh__cpu_pause();
  }
}

/* The owner waits for memory, as the caller does: merges the object in its place. */
static bool merge_for_yielding(struct fh__mutator *owner, fh_object *object, bool *died_out) {
  uint32_t expected = 1;
  if (!FH__CAS(&owner->yielding, &expected, 2, ACQUIRE)) return false;
  *died_out = merge_queued(object);
  FH__STORE_(&owner->yielding, 1, RELEASE);
  return true;
}

/* No memory for a segment. The caller cannot reach a safepoint here, so it helps everybody forward and tries again:
 * it merges its own queue, and if the owner sleeps, even in a stop that waits for the caller, it merges this one object in
 * the owner's place, which needs no queue. True: that killed it. */
static bool push_without_memory(struct fh__mutator *me, struct fh__mutator *owner, fh_object *object) {
  bool died = false;
  while (!fh__queue_push(&me->producer, &owner->sync.queue, object)) {
    uint32_t rest;
    if (fh__state_claim_resting(&owner->sync, &rest)) {
      died = merge_queued(object);
      fh__state_unclaim_resting(&owner->sync, rest);
      fh__merge_claim(me, owner, NULL); /* [queue.drained]; after a stop the resume looks */
      return died;
    }
    if (merge_for_yielding(owner, object, &died)) break;
    fh__attend(&owner->sync, FH__ATTEND_MERGE);
    yield(me);
  }
  return died;
}

/* The owner was asked before, and has not come. */
static void watch(struct fh__mutator *owner) {
  struct fh__queue *queue = &owner->sync.queue;
  uint64_t now = fh__clock_coarse_ns(), since = FH__LOAD(&queue->since_ns, RELAXED);
  if (!fh__watchdog_is_late(now, since, FH__LOAD(&queue->reported_ns, RELAXED))) return;
  FH__STORE_(&queue->reported_ns, now - since, RELAXED); /* two may report at once: no harm */
  fh__watchdog.report(FH_WAIT_MERGE, &owner->sync, now - since);
}

void fh__merge_hand_over(struct fh__mutator *me, fh_object *object, uint32_t owner_id) {
  if (!set_queued(object)) return;
  FH__ASSERT(owner_id != 0 && owner_id != me->sync.id, "ref.owner");
  struct fh__mutator *owner = fh__mutator_by_id(owner_id);
  FH__BUMP(&me->counters.queued, 1);
  if (FH__UNLIKELY(!fh__queue_push(&me->producer, &owner->sync.queue, object)) && push_without_memory(me, owner, object)) {
    fh__ref_die(me, object);
    return;
  }
  switch (fh__state_of(&owner->sync)) { /* after the push: [queue.drained] */
    case FH__ATTACHED:
      if (FH__UNLIKELY(FH__LOAD(&owner->sync.attention, RELAXED) & FH__ATTEND_MERGE)) watch(owner);
      fh__attend(&owner->sync, FH__ATTEND_MERGE);
      break;
    case FH__DETACHED:
      if (fh__merge_claim(me, owner, object)) fh__ref_die(me, object);
      break;
    default: break; /* unclaim, resume and attach look again */
  }
}
