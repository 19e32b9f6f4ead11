/* SPDX-License-Identifier: MIT */
#include "collect/collect.h"

#include "base/clock.h"
#include "base/trap.h"
#include "collect/garbage.h"
#include "collect/scan.h"
#include "mutator/lost.h"
#include "mutator/pressure.h"
#include "ref/destroy.h"
#include "ref/merge.h"
#include "ref/relief.h"
#include "sync/stop.h"

struct fh__collector fh__collector;

/* ---- the trigger ----
 *
 * A collection costs in proportion to the tracked objects L that live. It becomes due when max(threshold, percent of L) entries
 * were opened since the last one; so the cost an opened entry bears is at most (L + opened) / opened, a constant. */

void fh__collect_arm(uint64_t live) {
  uint64_t share = live / 100 * fh__shared.options.gc_percent;
  uint64_t threshold = fh__shared.options.gc_threshold;
  FH__STORE_(&fh__track.due, share > threshold ? share : threshold, RELAXED);
  FH__STORE_(&fh__track.opened, 0, RELAXED);
}

bool fh__collect_is_due(void) {
  if (!FH__LOAD(&fh__shared.gc_enabled, RELAXED)) return false;
  uint64_t opened = FH__LOAD(&fh__track.opened, RELAXED), due = FH__LOAD(&fh__track.due, RELAXED);
  return opened >= due || opened >= fh__pressure_scale(due) || fh__pressure_is_emergency();
}

/* ---- the driver ---- */

static void trim_chunks(void) {
  struct fh__sync_local *sync;
  for (FH__EACH_MUTATOR(sync)) fh__track_trim_stopped(&fh__mutator_of(sync)->track);
}

/* In the stopped world: finds garbage and sorts it into lists. */
static size_t find_garbage(struct fh__mutator *me) {
  struct fh__scan scan;
  size_t found = SIZE_MAX;
  if (fh__scan_begin(&scan)) {
    fh__scan_subtract(&scan);
    fh__scan_mark(&scan);
    found = fh__garbage_sort(me, &scan);
    fh__scan_end(&scan);
    trim_chunks(); /* by the numbers of live objects that the scan left in them */
  }
  FH__ADD(found == SIZE_MAX ? &fh__collector.failed : &fh__collector.collections, 1, RELAXED);
  FH__ADD(&fh__collector.scanned, scan.objects, RELAXED);
  if (found == SIZE_MAX) found = 0;
  fh__collect_arm(scan.objects - found);
  return found;
}

static size_t collect_stopped(struct fh__mutator *me) {
  fh__merge_all_stopped(me);
  fh__relief_stopped();
  fh__lost_count_stopped();
  fh__pressure_collect_stopped();
  return find_garbage(me);
}

/* The caller holds the stop lock, and is marked as collecting. */
static size_t collect_locked(struct fh__mutator *me) {
  uint64_t began = fh__clock_ns();
  fh__stop_begin(&me->sync);
  size_t found = collect_stopped(me);
  fh__pressure_note_collection(began, fh__clock_ns()); /* before anybody else can have one */
  fh__stop_end(&me->sync);
  fh__merge_after_resume(me);
  fh__ref_run_deferred(me);
  /* The stop made all limbo ripe. Those who run free theirs at their next look; sleepers cannot. */
  if (fh__pressure_is_on()) fh__relief_sleepers(me, FH__HEAP_DEBT);
  size_t rescued = fh__garbage_finish(me);
  me->collecting = false;
  uint64_t ended = fh__clock_ns();
  fh__durations_add(&fh__durations.gc_total, ended - began);
  fh__pressure_note_collection(began, ended);
  fh__pressure_ease(me);
  return found > rescued ? found - rescued : 0;
}

static bool prepare(struct fh__mutator *me) {
  if (me->collecting || me->no_safepoint) return false;
  me->collecting = true;
  fh__mutator_lock_stop(me, fh__merge_own);
  return true;
}

size_t fh__collect(struct fh__mutator *me) { return prepare(me) ? collect_locked(me) : 0; }

void fh__collect_if_due(struct fh__mutator *me) {
  if (fh__collect_is_due() && prepare(me)) {
    if (fh__collect_is_due()) { /* still: whoever waited for the stop lock may have waited for a collection */
      (void)collect_locked(me);
      return;
    }
    fh__mutex_unlock(&fh__stop.lock);
    me->collecting = false;
  }
  /* It has to rest: later, then. */
  if (fh__pressure_wants_collection() && FH__LOAD(&fh__shared.gc_enabled, RELAXED)) fh__attend(&me->sync, FH__ATTEND_COLLECT);
}
