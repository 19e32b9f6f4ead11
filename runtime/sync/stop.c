/* SPDX-License-Identifier: MIT */
#include "sync/stop.h"

#include "base/clock.h"
#include "base/futex.h"
#include "base/trap.h"
#include "sync/crew.h"
#include "sync/watchdog.h"

struct fh__watchdog fh__watchdog;
struct fh__stop fh__stop = {.lock = FH__MUTEX(FH__RANK_STOP)};
struct fh__durations fh__durations = {.lock = FH__MUTEX(FH__RANK_STATISTICS)};

void fh__durations_reset(void) {
  fh__mutex_lock(&fh__durations.lock);
  fh__durations.time_to_stop = fh__durations.time_stopped = fh__durations.gc_total = (fh_histogram){0};
  fh__mutex_unlock(&fh__durations.lock);
}

void fh__durations_add(fh_histogram *histogram, uint64_t ns) {
  fh__mutex_lock(&fh__durations.lock);
  unsigned bucket = ns ? 63u - (unsigned)__builtin_clzll(ns) : 0;
  histogram->bucket[bucket < 40 ? bucket : 39]++;
  histogram->count++;
  histogram->total_ns += ns;
  if (ns > histogram->max_ns) histogram->max_ns = ns;
  fh__mutex_unlock(&fh__durations.lock);
}

/* ---- those who are waited for ---- */

void fh__stop_arrive(const struct fh__sync_local *sync) {
  if (!(fh__attention_of(sync) & FH__ATTEND_STOP)) return;
  uint32_t arrivals = FH__ADD(&fh__stop.arrivals, 1, SEQ_CST) + 1;
  if ((int32_t)(arrivals - FH__LOAD(&fh__stop.target, SEQ_CST)) >= 0) fh__futex_wake(&fh__stop.arrivals, 1);
}

/* ---- the requester ---- */

/* Takes those who are detached; returns how many still run or are claimed. */
static uint32_t take_detached(struct fh__sync_local *self) {
  uint32_t missing = 0;
  struct fh__sync_local *sync;
  for (FH__EACH_MUTATOR(sync)) {
    if (sync == self) continue;
    uint32_t state = FH__LOAD(&sync->state, SEQ_CST);
    while ((state & FH__STATE_MASK) == FH__DETACHED) {
      if (FH__CAS(&sync->state, &state, FH__STOPPED | (state & FH__WANTED), SEQ_CST)) { /* take */
        sync->taken = true;
        state = FH__STOPPED;
      } else {
        state = FH__LOAD(&sync->state, SEQ_CST); /* a failed CAS orders nothing, and STOPPED is believed below */
      }
    }
    missing += (state & FH__STATE_MASK) != FH__STOPPED;
  }
  return missing;
}

/* Each mutator that take_detached counted as missing arrives after `seen`: it moves its state first and counts itself in
 * afterwards. So waiting for that many arrivals never waits for one too many; one too few only means another look. */
static void report_missing(const struct fh__sync_local *self, uint64_t waited_ns) {
  struct fh__sync_local *sync;
  for (FH__EACH_MUTATOR(sync))
    if (sync != self && fh__state_of(sync) != FH__STOPPED) fh__watchdog.report(FH_WAIT_STOP, sync, waited_ns);
}

struct patience {
  const struct fh__sync_local *self;
  uint64_t asked_ns;
  uint64_t reported_ns;
};

static void look_at_clock(struct patience *patience) {
  uint64_t now = fh__clock_ns();
  if (!fh__watchdog_is_late(now, patience->asked_ns, patience->reported_ns)) return;
  patience->reported_ns = now - patience->asked_ns;
  report_missing(patience->self, patience->reported_ns);
}

static void wait_for_arrivals(struct patience *patience, uint32_t seen, uint32_t missing) {
  uint32_t target = seen + missing;
  FH__STORE_(&fh__stop.target, target, SEQ_CST); /* store-load against arrivals, partner: fh__stop_arrive */
  for (;;) {
    uint32_t arrivals = FH__LOAD(&fh__stop.arrivals, SEQ_CST);
    if ((int32_t)(arrivals - target) >= 0) return;
    fh__futex_wait(&fh__stop.arrivals, arrivals, fh__watchdog.limit_ns);
    look_at_clock(patience);
  }
}

/* Attach fairness: whoever waited through one stop and met the next comes in before a third begins. */
static void let_the_starving_in(void) {
  uint32_t starving;
  while ((starving = FH__LOAD(&fh__stop.starving, ACQUIRE)) != 0) fh__futex_wait(&fh__stop.starving, starving, 0);
}

void fh__stop_begin(struct fh__sync_local *self) {
  let_the_starving_in();
  struct patience patience = {.self = self, .asked_ns = fh__clock_ns()};
  FH__STORE_(&fh__stop.close, patience.asked_ns - fh__stop.ended_ns < FH__CLOSE_NS, RELAXED);
  struct fh__sync_local *sync;
  for (FH__EACH_MUTATOR(sync)) sync->taken = false;
  FH__ADD(&fh__stop.epoch, 1, SEQ_CST);
  for (FH__EACH_MUTATOR(sync))
    if (sync != self) fh__attend(sync, FH__ATTEND_STOP);
  for (;;) {
    uint32_t seen = FH__LOAD(&fh__stop.arrivals, SEQ_CST);
    uint32_t missing = take_detached(self);
    if (!missing) break;
    wait_for_arrivals(&patience, seen, missing);
  }
  fh__stop.began_ns = fh__clock_ns();
  FH__BUMP(&fh__stop.count, 1);
  fh__durations_add(&fh__durations.time_to_stop, fh__stop.began_ns - patience.asked_ns);
}

void fh__stop_end(struct fh__sync_local *self) {
  fh__stop.ended_ns = fh__clock_ns();
  fh__durations_add(&fh__durations.time_stopped, fh__stop.ended_ns - fh__stop.began_ns);
  struct fh__sync_local *sync;
  for (FH__EACH_MUTATOR(sync)) FH__AND(&sync->attention, ~(uint32_t)FH__ATTEND_STOP, SEQ_CST);
  FH__ADD(&fh__stop.epoch, 1, SEQ_CST); /* epoch first, then the states */
  for (FH__EACH_MUTATOR(sync)) {
    if (sync == self) continue;
    uint32_t state = FH__LOAD(&sync->state, RELAXED);
    FH__ASSERT((state & FH__STATE_MASK) == FH__STOPPED, "stop.still");
    while (!FH__CAS(&sync->state, &state, FH__DETACHED | (state & FH__WANTED), SEQ_CST)) { /* resume */
    }
  }
  fh__mutex_unlock(&fh__stop.lock);
  fh__crew_ring();
}
