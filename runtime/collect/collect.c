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
 * A young collection is due when `threshold` entries were opened since the last collection of any kind: it looks at those and at
 * little else. Every so many of them, the middle generation is looked at as well: at what survived them, each object once. An old
 * one, which looks at everything, is due when as many objects became old as max(threshold, percent of what lived after the last
 * one). So an object is scanned once young, once in the middle, and while it is old at most 100 / percent times for each object
 * that became old: work in proportion to allocation, whatever lives. */

void fh__collect_arm(uint64_t live) {
  uint64_t share = live / 100 * FH__LOAD(&fh__collector.threshold[FH__OLD], RELAXED);
  uint64_t least = FH__LOAD(&fh__collector.threshold[FH__YOUNG], RELAXED);
  FH__STORE_(&fh__collector.old_due, share > least ? share : least, RELAXED);
  FH__STORE_(&fh__collector.became_old, 0, RELAXED);
}

/* After any collection: the next young one is so far away. */
static void arm_young(void) {
  FH__STORE_(&fh__track.due, FH__LOAD(&fh__collector.threshold[FH__YOUNG], RELAXED), RELAXED);
  FH__STORE_(&fh__track.opened, 0, RELAXED);
}

void fh__collect_start(const fh_options *options) {
  fh__collector = (struct fh__collector){.threshold = {options->gc_threshold, FH__MIDDLE_EVERY, options->gc_percent}};
  fh__collect_arm(0);
  arm_young();
}

bool fh__collect_is_due(void) {
  if (!FH__LOAD(&fh__shared.gc_enabled, RELAXED)) return false;
  uint64_t opened = FH__LOAD(&fh__track.opened, RELAXED), due = FH__LOAD(&fh__track.due, RELAXED);
  return opened >= due || opened >= fh__pressure_scale(due) || fh__pressure_is_emergency();
}

static uint32_t generation_due(void) {
  if (fh__pressure_is_emergency() || FH__LOAD(&fh__collector.became_old, RELAXED) >= FH__LOAD(&fh__collector.old_due, RELAXED)) return FH__OLD;
  bool middle = FH__LOAD(&fh__collector.young_since, RELAXED) >= FH__LOAD(&fh__collector.threshold[FH__MIDDLE], RELAXED);
  return middle ? FH__MIDDLE : FH__YOUNG;
}

/* ---- the driver ---- */

/* Stopped, after a scan: what was looked at gets older, and the triggers are set. */
static void age(const struct fh__scan *scan, size_t found) {
  uint64_t became_old = 0;
  struct fh__sync_local *sync;
  for (FH__EACH_MUTATOR(sync)) became_old += fh__track_age_stopped(&fh__mutator_of(sync)->track, scan->generation);
  FH__BUMP(&fh__collector.became_old, became_old);
  if (scan->generation == FH__OLD) fh__collect_arm(scan->objects - found);
  FH__STORE_(&fh__collector.young_since, scan->generation == FH__YOUNG ? fh__collector.young_since + 1 : 0, RELAXED);
}

/* In the stopped world: finds garbage and sorts it into lists. */
static size_t find_garbage(struct fh__mutator *me, uint32_t generation) {
  struct fh__scan scan;
  size_t found = SIZE_MAX;
  if (fh__scan_begin(&scan, generation)) {
    fh__scan_subtract(&scan);
    fh__scan_mark(&scan);
    found = fh__garbage_sort(me, &scan);
    fh__scan_end(&scan);
    age(&scan, found == SIZE_MAX ? 0 : found);
  }
  arm_young();
  FH__BUMP(&fh__collector.scanned[generation], scan.objects);
  if (found == SIZE_MAX) {
    FH__BUMP(&fh__collector.failed, 1);
    return 0;
  }
  FH__BUMP(&fh__collector.collections[generation], 1);
  FH__BUMP(&fh__collector.found[generation], found);
  return found;
}

static size_t collect_stopped(struct fh__mutator *me, uint32_t generation) {
  fh__merge_all_stopped(me);
  fh__relief_stopped();
  fh__lost_count_stopped();
  fh__pressure_collect_stopped();
  return find_garbage(me, generation);
}

/* The caller holds the stop lock, and is marked as collecting. */
static size_t collect_locked(struct fh__mutator *me, uint32_t generation) {
  uint64_t began = fh__clock_ns();
  fh__stop_begin(&me->sync);
  size_t found = collect_stopped(me, generation);
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

size_t fh__collect(struct fh__mutator *me, uint32_t generation) { return prepare(me) ? collect_locked(me, generation) : 0; }

void fh__collect_if_due(struct fh__mutator *me) {
  if (fh__collect_is_due() && prepare(me)) {
    if (fh__collect_is_due()) { /* still: whoever waited for the stop lock may have waited for a collection */
      (void)collect_locked(me, generation_due());
      return;
    }
    fh__mutex_unlock(&fh__stop.lock);
    me->collecting = false;
  }
  /* It has to rest: later, then. */
  if (fh__pressure_wants_collection() && FH__LOAD(&fh__shared.gc_enabled, RELAXED)) fh__attend(&me->sync, FH__ATTEND_COLLECT);
}
