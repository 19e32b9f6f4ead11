/* SPDX-License-Identifier: MIT */
#include "ref/relief.h"

#include <sched.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/trap.h"
#include "memory/system.h"
#include "ref/destroy.h"
#include "ref/merge.h"
#include "sync/grace.h"
#include "sync/watchdog.h"

/* ---- limbo ---- */

/* Returns what they had in the account. */
static size_t free_buffers(void *buffer) {
  size_t bytes = 0;
  while (buffer) {
    void *next = *fh__buffer_link(buffer);
    bytes += fh__backend_usable(buffer);
    fh__backend_free(buffer);
    buffer = next;
  }
  return bytes;
}

static void free_object(struct fh__mutator *me, fh_object *object) {
  const fh_type *type = fh__type_of(object);
  if (FH__UNLIKELY(type->flags & FH_GRACE))
    fh__ref_destroy_ripe(me, object);
  else
    fh__mutator_free_block(me, object, fh__object_bytes(type, object));
}

/* Frees a batch whose grace period has passed, wherever it comes from. */
static void free_batch(struct fh__mutator *me, struct fh__limbo_batch batch) {
  fh_object *object;
  while ((object = fh__dead_pop(&batch.objects))) free_object(me, object);
  (void)free_buffers(batch.buffers); /* a part of `dead` */
  fh__account_return(&me->account, batch.dead);
}

static void seal(struct fh__limbo_local *limbo) {
  limbo->asked_ns = fh__clock_coarse_ns();
  limbo->reported_ns = 0;
  fh__limbo_seal(limbo, fh__grace_request());
}

/* Names those who hold a grace period up: attached, and not quiescent since it was asked for. */
static void watch(struct fh__limbo_local *limbo) {
  uint64_t now = fh__clock_coarse_ns();
  if (!fh__watchdog_is_late(now, limbo->asked_ns, limbo->reported_ns)) return;
  limbo->reported_ns = now - limbo->asked_ns;
  struct fh__sync_local *sync;
  for (FH__EACH_MUTATOR(sync))
    if (fh__state_of(sync) == FH__ATTACHED && FH__LOAD(&sync->quiescent, RELAXED) < limbo->sealed.stamp)
      fh__watchdog.report(FH_WAIT_GRACE, sync, limbo->reported_ns);
}

static bool is_ripe(const struct fh__limbo_local *limbo) {
  uint64_t stamp = FH__LOAD(&limbo->sealed.stamp, RELAXED); /* a hint if the limbo is somebody else's */
  return stamp && fh__grace_passed(stamp);
}

void fh__relief_limbo(struct fh__mutator *me, bool all) {
  struct fh__limbo_local *limbo = &me->limbo;
  if (limbo->sealed.stamp && !is_ripe(limbo) && fh__grace_advance()) fh__relief_wake_ripe();
  if (limbo->sealed.stamp && !is_ripe(limbo)) watch(limbo);
  if (is_ripe(limbo)) {
    free_batch(me, fh__limbo_take_sealed(limbo));
    fh__relief_sleepers(me, FH__HEAP_DEBT); /* what was freed may lie in the heaps of sleepers */
  }
  bool worth = all || limbo->open.bytes >= fh__shared.options.limbo_batch;
  if (worth && !limbo->sealed.stamp && !fh__limbo_batch_is_empty(&limbo->open)) seal(limbo);
}

/* ---- sleepers ---- */

/* Under a claim: takes out what is ripe, starts the clock for the rest. Nothing of the application runs. */
static struct fh__limbo_batch take_limbo_of(struct fh__mutator *sleeper) {
  struct fh__limbo_batch batch = {{NULL}, NULL, 0, 0, 0};
  if (is_ripe(&sleeper->limbo)) batch = fh__limbo_take_sealed(&sleeper->limbo);
  if (!sleeper->limbo.sealed.stamp && !fh__limbo_batch_is_empty(&sleeper->limbo.open)) seal(&sleeper->limbo);
  return batch;
}

static void tidy_heap_of(struct fh__mutator *sleeper, uint64_t debt) {
  uint64_t owed = FH__LOAD(&sleeper->heap_debt, RELAXED);
  if (!sleeper->heap || owed < debt) return;
  FH__SUB(&sleeper->heap_debt, owed, RELAXED);
  fh__backend_heap_tidy(sleeper->heap);
}

static bool needs_relief(const struct fh__mutator *sleeper, uint64_t debt) {
  uint64_t owed = FH__LOAD(&sleeper->heap_debt, RELAXED);
  bool limbo = FH__LOAD(&sleeper->limbo.bytes, RELAXED) && (is_ripe(&sleeper->limbo) || !FH__LOAD(&sleeper->limbo.sealed.stamp, RELAXED));
  return limbo || (owed && owed >= debt);
}

void fh__relief_sleepers(struct fh__mutator *me, uint64_t debt) {
  struct fh__sync_local *sync;
  for (FH__EACH_MUTATOR(sync)) {
    struct fh__mutator *sleeper = fh__mutator_of(sync);
    if (!needs_relief(sleeper, debt) || !fh__state_claim(sync)) continue;
    FH__BUMP(&me->counters.claims, 1);
    struct fh__limbo_batch batch = take_limbo_of(sleeper);
    tidy_heap_of(sleeper, debt);
    fh__state_unclaim(sync);
    fh__merge_claim(me, sleeper, NULL); /* a push that saw the claim relies on this look: [queue.drained] */
    free_batch(me, batch);
  }
}

void fh__relief_purge_sleepers(struct fh__mutator *me, size_t enough) {
  struct fh__sync_local *sync;
  for (FH__EACH_MUTATOR(sync)) {
    struct fh__mutator *sleeper = fh__mutator_of(sync);
    if (sync == &me->sync || fh__state_of(sync) != FH__DETACHED || !fh__state_claim(sync)) continue;
    FH__BUMP(&me->counters.claims, 1);
    fh__pool_trim(&sleeper->pool, 0);
    tidy_heap_of(sleeper, 0);
    fh__state_unclaim(sync);
    fh__merge_claim(me, sleeper, NULL); /* as above */
    if (enough && fh__system_resident() <= enough) return;
  }
}

/* ---- grace ---- */

bool fh__relief_wake_ripe(void) {
  bool sleepers = false;
  struct fh__sync_local *sync;
  for (FH__EACH_MUTATOR(sync)) {
    if (!is_ripe(&fh__mutator_of(sync)->limbo)) continue;
    if (fh__state_of(sync) == FH__ATTACHED)
      fh__attend(sync, FH__ATTEND_LIMBO);
    else
      sleepers = true;
  }
  return sleepers;
}

FH__COLD void fh__relief_leaving(void) {
  if (fh__grace_advance()) fh__relief_wake_ripe();
}

void fh__relief_quiesce(struct fh__mutator *me) {
  fh__grace_report(&me->sync);
  if (fh__grace_advance() && fh__relief_wake_ripe()) fh__relief_sleepers(me, FH__HEAP_DEBT);
}

void fh__relief_stopped(void) {
  uint64_t number = fh__grace_stopped();
  struct fh__sync_local *sync;
  for (FH__EACH_MUTATOR(sync)) {
    struct fh__limbo_local *limbo = &fh__mutator_of(sync)->limbo;
    if (!limbo->sealed.stamp && !fh__limbo_batch_is_empty(&limbo->open)) fh__limbo_seal(limbo, number);
    if (limbo->sealed.stamp) fh__attend(sync, FH__ATTEND_LIMBO);
  }
}

/* ---- left behind by threads that are not attached ---- */

struct later {
  struct fh__inbox_node node;
  fh_object *object;
};

void fh__relief_ask(void) {
  /* seq_cst: "say that something waits; look for somebody who runs" against "run; look whether something waits". */
  FH__STORE_(&fh__shared.inbox_waits, 1, SEQ_CST);
  struct fh__sync_local *sync;
  for (FH__EACH_MUTATOR(sync))
    if (fh__state_of(sync) == FH__ATTACHED) {
      fh__attend(sync, FH__ATTEND_INBOX);
      return;
    }
}

bool fh__relief_ask_from_outside(void) {
  fh__mutex_lock(&fh__registry.lock); /* while it is held, mutators are not freed */
  bool alive = fh__registry.alive;
  if (alive) fh__relief_ask();
  fh__mutex_unlock(&fh__registry.lock);
  return alive;
}

void fh__relief_release_later(fh_object *object) {
  struct later *later;
  /* From the system's malloc: in a blocking region somebody else may be tidying this thread's heap. */
  while (!(later = malloc(sizeof *later))) sched_yield(); /* the reference must not be lost */
  later->object = object;
  fh__inbox_put(&fh__shared.later, &later->node);
  if (fh__thread.mutator)
    fh__relief_ask();
  else
    (void)fh__relief_ask_from_outside();
}

static void release_one(void *context, struct fh__inbox_node *node) {
  (void)context;
  struct later *later = (struct later *)(void *)node;
  fh_object *object = later->object;
  free(later);
  fh__release(object);
}

static void leave_buffer(void *block) {
  void *head = FH__LOAD(&fh__shared.freed, RELAXED);
  do *fh__buffer_link(block) = head;
  while (!FH__CAS(&fh__shared.freed, &head, block, RELEASE)); /* partner: the swaps in fh__relief_inbox and fh__relief_finish */
  fh__relief_ask();
}

bool fh__relief_free_later(void *block) {
  if (fh__thread.mutator) {
    leave_buffer(block);
    return true;
  }
  fh__mutex_lock(&fh__registry.lock); /* the runtime ends before that, or looks at the list after it */
  bool alive = fh__registry.alive;
  if (alive) leave_buffer(block);
  fh__mutex_unlock(&fh__registry.lock);
  return alive;
}

static void forget_one(void *context, struct fh__inbox_node *node) {
  (void)context;
  free(node); /* its object is gone with the runtime, or has leaked */
}

void fh__relief_finish(void) {
  (void)free_buffers(FH__SWAP(&fh__shared.freed, NULL, ACQUIRE)); /* partner: leave_buffer */
  fh__inbox_take_all(&fh__shared.later, forget_one, NULL);
  FH__STORE_(&fh__shared.inbox_waits, 0, RELAXED);
}

bool fh__relief_inbox_is_empty(void) {
  return fh__inbox_is_empty(&fh__shared.later) && !FH__LOAD(&fh__shared.freed, RELAXED);
}

void fh__relief_inbox(struct fh__mutator *me) {
  FH__SWAP(&fh__shared.inbox_waits, 0, SEQ_CST); /* before the boxes are emptied: what comes later says so again */
  size_t left = free_buffers(FH__SWAP(&fh__shared.freed, NULL, ACQUIRE)); /* partner: leave_buffer */
  fh__account_return_part(&me->account, &me->account.buffers, left);
  fh__inbox_take_all(&fh__shared.later, release_one, me);
  fh__merge_after_resume(me); /* a fork by a thread that is not attached leaves that to us */
}
