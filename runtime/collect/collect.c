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
  fh__collector.live = live;
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
  fh__collector = (struct fh__collector){.threshold = {options->gc_threshold, FH__MIDDLE_EVERY, options->gc_percent},
                                          .by_marks = !(options->flags & FH_OPTION_NO_CANDIDATES)};
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

/* As the chunks know it: those that a scan from candidates passed by counted theirs before. */
static uint64_t count_live(void) {
  uint64_t live = 0;
  struct fh__chunk *chunk;
  for (FH__EACH_CHUNK(chunk)) live += chunk ? fh__chunk_survivors(chunk) : 0;
  return live;
}

/* What survives a collection is one generation older than the oldest that was collected. Where nearly all survives, a second look at it
 * soon would not find more: it becomes old at once. */
static uint32_t older_than(const struct fh__scan *scan, size_t found) {
  bool few_died = found < scan->objects / FH__FEW_DIED;
  return scan->generation == FH__YOUNG && !few_died ? FH__MIDDLE : FH__OLD;
}

/* Stopped, after a scan: what was looked at gets older, and the triggers are set. */
static void age(const struct fh__scan *scan, size_t found) {
  uint64_t became_old = 0;
  uint32_t to = older_than(scan, found), keep = (uint32_t)(FH__LOAD(&fh__track.due, RELAXED) / FH__CHUNK_ENTRIES) + 1;
  struct fh__sync_local *sync;
  for (FH__EACH_MUTATOR(sync)) became_old += fh__track_age_stopped(&fh__mutator_of(sync)->track, scan->generation, to, keep);
  FH__BUMP(&fh__collector.became_old, became_old);
  if (scan->generation == FH__OLD) fh__collect_arm(count_live());
  FH__STORE_(&fh__collector.young_since, scan->generation == FH__YOUNG ? fh__collector.young_since + 1 : 0, RELAXED);
}

/* Where much was touched, there is no point in asking each object. */
static bool little_is_touched(void) {
  uint32_t touched = 0;
  for (uint32_t number = 0; number < fh__track.limit; number++)
    touched += fh__track.generation[number] < FH__OLD || FH__LOAD(&fh__track.touched[number], RELAXED);
  return touched <= fh__track.limit / 4 + 1;
}

static bool may_start_from_candidates(uint32_t generation) {
  return generation == FH__OLD && fh__collector.by_marks && !fh__collector.ignore_marks && fh__collector.linear_in && little_is_touched();
}

static bool look_at_reached(struct fh__scan *scan) {
  fh__scan_begin(scan, FH__OLD);
  if (fh__scan_candidates(scan, fh__collector.live / FH__REACH_SHARE + FH__CHUNK_ENTRIES)) {
    fh__collector.linear_in--;
    FH__BUMP(&fh__collector.from_candidates, 1);
    return true;
  }
  fh__scan_end(scan);
  return false;
}

static void look_at_all(struct fh__scan *scan, uint32_t generation) {
  fh__scan_begin(scan, generation);
  scan->settles = generation == FH__OLD && fh__collector.by_marks;
  fh__scan_subtract(scan);
  fh__scan_mark(scan);
  if (generation == FH__OLD) {
    fh__collector.linear_in = FH__LINEAR_EVERY - 1;
    fh__collector.ignore_marks = false;
  }
}

/* In the stopped world: finds garbage and sorts it into lists. */
static size_t find_garbage(struct fh__mutator *me, uint32_t generation) {
  struct fh__scan scan;
  if (!may_start_from_candidates(generation) || !look_at_reached(&scan)) look_at_all(&scan, generation);
  size_t found = fh__garbage_sort(me, &scan);
  if (generation == FH__OLD && (found == SIZE_MAX || scan.kept)) fh__collector.ignore_marks = true; /* garbage is settled */
  fh__scan_end(&scan);
  age(&scan, found == SIZE_MAX ? 0 : found);
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
