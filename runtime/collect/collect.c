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
  if (fh__account_is_tight()) fh__pressure_credits_stopped();
  return find_garbage(me);
}

size_t fh__collect(struct fh__mutator *me) {
  if (me->collecting || me->no_safepoint) return 0;
  uint64_t began = fh__clock_ns();
  me->collecting = true;
  fh__mutator_lock_stop(me, fh__merge_own);
  fh__stop_begin(&me->sync);
  size_t found = collect_stopped(me);
  fh__stop_end(&me->sync);
  fh__merge_after_resume(me);
  fh__ref_run_deferred(me);
  size_t rescued = fh__garbage_finish(me);
  me->collecting = false;
  uint64_t ended = fh__clock_ns();
  fh__durations_add(&fh__durations.gc_total, ended - began);
  fh__pressure_note_collection(began, ended);
  fh__pressure_ease(me);
  return found > rescued ? found - rescued : 0;
}
