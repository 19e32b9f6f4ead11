/* SPDX-License-Identifier: MIT */
#include "collect/collect.h"

#include "base/clock.h"
#include "base/trap.h"
#include "collect/callback.h"
#include "collect/ephemeron.h"
#include "collect/garbage.h"
#include "collect/pace.h"
#include "collect/saved.h"
#include "collect/scan.h"
#include "mutator/lost.h"
#include "mutator/pressure.h"
#include "ref/destroy.h"
#include "ref/merge.h"
#include "ref/relief.h"
#include "sync/stop.h"

struct fh__collector fh__collector;
struct fh__collect_durations fh__collect_durations;

/* ---- the trigger ----
 *
 * A young collection is due when `threshold` entries were opened since the last collection of any kind: it looks at those and at
 * little else. Every so many of them, the middle generation is looked at as well: at what survived them, each object once. An old
 * one, which looks at everything, is due when as many objects became old as max(threshold, percent of what lived after the last
 * one). So an object is scanned once young, once in the middle, and while it is old at most 100 / percent times for each object
 * that became old: work in proportion to allocation, whatever lives. The goals (collect/pace.h) change both figures within bounds. */

void fh__collect_arm(uint64_t live) {
  fh__collector.live = live;
  uint64_t share = live / 100 * FH__LOAD(&fh__collector.threshold[FH__OLD], RELAXED);
  uint64_t least = FH__LOAD(&fh__collector.threshold[FH__YOUNG], RELAXED);
  FH__STORE_(&fh__collector.old_due, share > least ? share : least, RELAXED);
  FH__STORE_(&fh__collector.became_old, 0, RELAXED);
}

/* After any collection: the next young one is so far away. */
static void arm_young(void) {
  FH__STORE_(&fh__track.due, FH__LOAD(&fh__collector.young_due, RELAXED), RELAXED);
  FH__STORE_(&fh__track.opened, 0, RELAXED);
}

void fh__collect_pace_anew(void) {
  uint64_t young = FH__LOAD(&fh__collector.threshold[FH__YOUNG], RELAXED);
  FH__STORE_(&fh__collector.young_due, young, RELAXED);
  FH__STORE_(&fh__track.due, young, RELAXED);
}

/* Nothing is put off while memory is short. */
uint64_t fh__collect_old_due(void) {
  uint64_t due = FH__LOAD(&fh__collector.old_due, RELAXED);
  return fh__pressure_is_on() ? due : fh__pace_stretched(due, FH__LOAD(&fh__collector.stretch, RELAXED));
}

void fh__collect_start(const fh_options *options) {
  fh__collector = (struct fh__collector){.threshold = {options->gc_threshold, FH__MIDDLE_EVERY, options->gc_percent},
                                         .by_marks = !(options->flags & FH_OPTION_NO_CANDIDATES),
                                         .stretch = FH__PACE_STRETCH_LEAST,
                                         .old_ended_ns = fh__clock_ns()};
  fh__mutex_lock(&fh__durations.lock);
  fh__collect_durations = (struct fh__collect_durations){0};
  fh__mutex_unlock(&fh__durations.lock);
  fh__collect_arm(0);
  fh__collect_pace_anew();
  arm_young();
}

bool fh__collect_is_due(void) {
  if (!FH__LOAD(&fh__shared.gc_enabled, RELAXED)) return false;
  uint64_t opened = FH__LOAD(&fh__track.opened, RELAXED), due = FH__LOAD(&fh__track.due, RELAXED);
  return opened >= due || opened >= fh__pressure_scale(due) || fh__pressure_is_emergency();
}

static uint32_t generation_due(void) {
  if (fh__pressure_is_emergency() || FH__LOAD(&fh__collector.became_old, RELAXED) >= fh__collect_old_due()) return FH__OLD;
  bool middle = FH__LOAD(&fh__collector.young_since, RELAXED) >= FH__LOAD(&fh__collector.threshold[FH__MIDDLE], RELAXED);
  return middle ? FH__MIDDLE : FH__YOUNG;
}

/* ---- the driver ---- */

/* As the chunks know it: those that a scan from candidates passed by counted theirs before. */
static uint64_t count_live(void) {
  uint64_t live = 0;
  struct fh__chunk *chunk;
  for (FH__EACH_CHUNK(chunk)) live += chunk && fh__chunk_generation(chunk) < FH__FROZEN ? fh__chunk_survivors(chunk) : 0;
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
    touched += fh__track.generation[number] < FH__OLD ||
               (fh__track.generation[number] == FH__OLD && FH__LOAD(&fh__track.touched[number], RELAXED));
  return touched <= (fh__track.limit - fh__track.frozen) / 4 + 1;
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
  fh__ephemerons_mark(scan);
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
  if (generation == FH__OLD) fh__ephemerons_track_keys(me);
  return find_garbage(me, generation);
}

/* In the stop: what the generation's counters have come to. Those that others write they cannot write now. */
struct tally {
  uint64_t scanned, found, saved, uncollectable, failed;
};

static struct tally tally(uint32_t generation) {
  return (struct tally){fh__collector.scanned[generation], fh__collector.found[generation], fh__collector.saved[generation],
                        fh__collector.uncollectable[generation], fh__collector.failed};
}

static void note_outcome(fh_gc_event *event, const struct tally *before) {
  struct tally after = tally((uint32_t)event->generation);
  event->scanned = after.scanned - before->scanned;
  event->found = after.found - before->found;
  event->saved = after.saved - before->saved;
  event->uncollectable = after.uncollectable - before->uncollectable;
  event->failed = after.failed != before->failed;
  if (event->failed) FH__BUMP(&fh__collector.failures[event->generation], 1);
}

static uint64_t next_young_due(const fh_gc_event *event, bool was_due) {
  uint64_t due = fh__collector.young_due, set = FH__LOAD(&fh__collector.threshold[FH__YOUNG], RELAXED);
  uint64_t goal_ns = (uint64_t)fh__shared.options.gc_pause_us * 1000u;
  if (goal_ns) return fh__pace_young(due, set, event->pause_ns, goal_ns);
  if (fh__pressure_is_on()) return set;
  return was_due || event->found ? fh__pace_patience(set, event->found != 0) : due;
}

static void arm_next_young(const fh_gc_event *event, bool was_due) {
  uint64_t next = next_young_due(event, was_due);
  FH__STORE_(&fh__collector.young_due, next, RELAXED);
  FH__STORE_(&fh__track.due, next, RELAXED);
}

/* In the stop, at its end. Old collections that nobody asked for are what the goal for the overhead is about. */
void fh__collect_keep_pace(const fh_gc_event *event, bool was_due, uint64_t now) {
  const fh_options *options = &fh__shared.options;
  if (event->generation == FH__YOUNG) arm_next_young(event, was_due);
  if (event->generation < FH__OLD || event->failed) return;
  if (was_due && !fh__pressure_is_on()) {
    uint64_t stopped = event->time_to_stop_ns + event->pause_ns, elapsed = now - fh__collector.old_ended_ns;
    FH__STORE_(&fh__collector.stretch, fh__pace_stretch(fh__collector.stretch, stopped, elapsed, options->gc_overhead), RELAXED);
  }
  fh__collector.old_ended_ns = now;
}

static void note_durations(const fh_gc_event *event) {
  struct fh__collect_durations *all = &fh__collect_durations;
  fh__durations_add(&fh__durations.gc_total, event->total_ns);
  fh__durations_add(&all->time_to_stop[event->generation], event->time_to_stop_ns);
  fh__durations_add(&all->pause[event->generation], event->pause_ns);
  fh__durations_add(&all->total[event->generation], event->total_ns);
}

static void log_collection(const fh_gc_event *event) {
  fh__log(FH_LOG_INFO,
          "freehold: %s collection%s: looked at %llu, found %llu, saved %llu, resurrected %llu, uncollectable %llu; "
          "time to stop %llu us, pause %llu us, total %llu us",
          fh__generation_name[event->generation], event->failed ? " (failed)" : "", (unsigned long long)event->scanned, (unsigned long long)event->found,
          (unsigned long long)event->saved, (unsigned long long)event->resurrected, (unsigned long long)event->uncollectable,
          (unsigned long long)(event->time_to_stop_ns / 1000), (unsigned long long)(event->pause_ns / 1000),
          (unsigned long long)(event->total_ns / 1000));
}

/* Who was told of the start is told of the end, but for those who have gone meanwhile. */
static void finish(struct fh__mutator *me, fh_gc_event *event, uint64_t listeners) {
  note_durations(event);
  if (FH__UNLIKELY(FH__LOAD(&fh__collector.debug, RELAXED) & FH_GC_LOG)) log_collection(event);
  event->phase = FH_GC_END;
  if (FH__UNLIKELY(listeners != 0)) fh__callbacks_call(me, event, listeners);
  me->collecting = false;
}

/* The caller holds the stop lock, and is marked as collecting. */
static size_t collect_locked(struct fh__mutator *me, fh_gc_event *event, bool was_due, uint64_t listeners) {
  uint64_t began = fh__clock_ns();
  fh__stop_begin(&me->sync);
  struct tally before = tally((uint32_t)event->generation);
  size_t found = collect_stopped(me, (uint32_t)event->generation);
  uint64_t resumed = fh__clock_ns();
  event->time_to_stop_ns = fh__stop.began_ns - began;
  event->pause_ns = resumed - fh__stop.began_ns;
  note_outcome(event, &before);
  fh__collect_keep_pace(event, was_due, resumed);
  fh__pressure_note_collection(began, resumed); /* before anybody else can have one */
  fh__world_resume(me);
  fh__ref_run_deferred(me);
  /* The stop made all limbo ripe. Those who run free theirs at their next look; sleepers cannot. */
  if (fh__pressure_is_on()) fh__relief_sleepers(me, FH__HEAP_DEBT);
  size_t rescued = fh__garbage_finish(me);
  uint64_t ended = fh__clock_ns();
  event->resurrected = rescued;
  event->total_ns = ended - began;
  fh__pressure_note_collection(began, ended);
  fh__pressure_ease(me);
  finish(me, event, listeners);
  return found > rescued ? found - rescued : 0;
}

static bool begin(struct fh__mutator *me) {
  if (me->collecting || me->no_safepoint) return false;
  me->collecting = true;
  return true;
}

static fh_gc_event event_of(uint32_t generation) { return (fh_gc_event){.phase = FH_GC_START, .generation = (int)generation}; }

size_t fh__collect(struct fh__mutator *me, uint32_t generation) {
  if (!begin(me)) return 0;
  fh_gc_event event = event_of(generation);
  uint64_t listeners = fh__callbacks_newest();
  if (FH__UNLIKELY(listeners != 0)) fh__callbacks_call(me, &event, listeners);
  fh__mutator_lock_stop(me, fh__merge_own);
  return collect_locked(me, &event, false, listeners);
}

/* With the stop lock, which is given up while callbacks run. Others that wait for it then find nothing due. */
static void collect_due(struct fh__mutator *me) {
  fh_gc_event event = event_of(generation_due());
  uint64_t listeners = fh__callbacks_newest();
  if (FH__UNLIKELY(listeners != 0)) {
    arm_young();
    fh__mutex_unlock(&fh__stop.lock);
    fh__callbacks_call(me, &event, listeners);
    fh__mutator_lock_stop(me, fh__merge_own);
  }
  (void)collect_locked(me, &event, true, listeners);
}

void fh__collect_if_due(struct fh__mutator *me) {
  if (fh__collect_is_due() && begin(me)) {
    fh__mutator_lock_stop(me, fh__merge_own);
    if (fh__collect_is_due()) { /* still: whoever waited for the stop lock may have waited for a collection */
      collect_due(me);
      return;
    }
    fh__mutex_unlock(&fh__stop.lock);
    me->collecting = false;
  }
  /* It has to rest: later, then. */
  if (fh__pressure_wants_collection() && FH__LOAD(&fh__shared.gc_enabled, RELAXED)) fh__attend(&me->sync, FH__ATTEND_COLLECT);
}

/* ---- freezing ---- */

void fh__collect_freeze(struct fh__mutator *me) {
  struct fh__sync_local *sync;
  fh__world_stop(me);
  for (FH__EACH_MUTATOR(sync)) fh__track_freeze_stopped(&fh__mutator_of(sync)->track);
  fh__collect_arm(0); /* all generations are empty */
  FH__STORE_(&fh__collector.young_since, 0, RELAXED);
  arm_young();
  fh__world_resume(me);
}

void fh__collect_unfreeze(struct fh__mutator *me) {
  uint64_t unfrozen = 0;
  struct fh__sync_local *sync;
  fh__world_stop(me);
  for (FH__EACH_MUTATOR(sync)) unfrozen += fh__track_unfreeze_stopped(&fh__mutator_of(sync)->track);
  fh__collector.live += unfrozen; /* the next old collection looks at so much more */
  FH__BUMP(&fh__collector.old_due, unfrozen / 100 * FH__LOAD(&fh__collector.threshold[FH__OLD], RELAXED));
  fh__collector.ignore_marks = true; /* it became garbage meanwhile, and that left no marks */
  fh__world_resume(me);
}

void fh__collect_keep_nothing(struct fh__mutator *me) {
  FH__STORE_(&fh__collector.debug, 0, RELAXED);
  fh__collect_unfreeze(me);
  (void)fh__saved_clear();
}
