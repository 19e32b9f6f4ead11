/* SPDX-License-Identifier: MIT */
/* The collector's goals: the arithmetic, with durations made up by hand, and what the driver does with it.
 *
 * Claims: a pause above the goal brings the young threshold down, one of half the goal or less lets it up again, in between it stays;
 * it never leaves its bounds, nor moves by more than a factor of two; a share of old collections above the goal stretches their
 * due, one below it relaxes, both within bounds; without a goal young collections that find nothing make the threshold twice what
 * was set, and one that finds something brings it back; work stays in proportion; the driver measures what it
 * says: young pauses only, old collections that were due only, none while memory is short. Real: the arithmetic; for the driver
 * the whole runtime, with durations made up. */
#include "support/support.h"

#include "collect/collect.h"
#include "collect/pace.h"
#include "mutator/pressure.h"

enum { MS = 1000000 };

/* ---- the young threshold ---- */

static void who_finds_nothing_waits_longer(void **state) {
  assert_true(fh__pace_patience(65536, true) == 65536);
  assert_true(fh__pace_patience(65536, false) == 2 * 65536);
}

static void a_long_pause_brings_the_threshold_down(void **state) {
  assert_true(fh__pace_young(64000, 64000, 8 * MS, 5 * MS) == 40000); /* in proportion */
  assert_true(fh__pace_young(64000, 64000, 10 * MS, 5 * MS) == 32000);
  assert_true(fh__pace_young(64000, 64000, 1000 * MS, 5 * MS) == 32000); /* one measurement does not decide */
}

static void a_short_pause_lets_it_up_again(void **state) {
  assert_true(fh__pace_young(8000, 64000, 2 * MS, 5 * MS) == 16000);
  assert_true(fh__pace_young(8000, 64000, 0, 5 * MS) == 16000);
  assert_true(fh__pace_young(40000, 64000, 1 * MS, 5 * MS) == 64000); /* not above what was set */
}

static void between_half_the_goal_and_the_goal_it_stays(void **state) {
  assert_true(fh__pace_young(8000, 64000, 5 * MS, 5 * MS) == 8000);
  assert_true(fh__pace_young(8000, 64000, 3 * MS, 5 * MS) == 8000);
}

static void the_threshold_keeps_its_bounds(void **state) {
  uint64_t threshold = 64000;
  for (int i = 0; i < 50; i++) threshold = fh__pace_young(threshold, 64000, 100 * MS, 1 * MS);
  assert_true(threshold == 64000 / FH__PACE_YOUNG_PARTS);
  for (int i = 0; i < 50; i++) threshold = fh__pace_young(threshold, 64000, 0, 1 * MS);
  assert_true(threshold == 64000);
  assert_true(fh__pace_young(1, 1, 100 * MS, 1 * MS) == 1); /* never 0, which would be due at once */
  assert_true(fh__pace_young(60000, 1000, 3 * MS, 5 * MS) == 1000); /* it was set lower meanwhile */
}

/* A pause that grows with the threshold comes to rest below the goal. */
static void a_pause_in_proportion_settles_below_the_goal(void **state) {
  for (uint64_t ns = 10; ns < 2000; ns += 77) { /* an entry */
    uint64_t threshold = 65536;
    for (int i = 0; i < 20; i++) threshold = fh__pace_young(threshold, 65536, threshold * ns, 5 * MS);
    uint64_t rest = threshold;
    for (int i = 0; i < 5; i++) threshold = fh__pace_young(threshold, 65536, threshold * ns, 5 * MS);
    assert_true(threshold == rest);
    assert_true(threshold * ns <= 5 * MS || threshold == 65536 / FH__PACE_YOUNG_PARTS);
  }
}

/* ---- the stretch of old collections ---- */

static void a_share_above_the_goal_stretches(void **state) {
  assert_int_equal(fh__pace_stretch(100, 30 * MS, 100 * MS, 20), 150);
  assert_int_equal(fh__pace_stretch(150, 30 * MS, 100 * MS, 20), 225);
  assert_int_equal(fh__pace_stretch(100, 90 * MS, 100 * MS, 20), 200); /* at most doubled */
}

static void a_share_below_the_goal_relaxes(void **state) {
  assert_int_equal(fh__pace_stretch(300, 15 * MS, 100 * MS, 20), 225);
  assert_int_equal(fh__pace_stretch(300, 0, 100 * MS, 20), 150); /* at most halved */
  assert_int_equal(fh__pace_stretch(100, 0, 100 * MS, 20), 100);
  assert_int_equal(fh__pace_stretch(300, 20 * MS, 100 * MS, 20), 300); /* just right */
}

static void the_stretch_keeps_its_bounds(void **state) {
  uint32_t stretch = 100;
  for (int i = 0; i < 50; i++) stretch = fh__pace_stretch(stretch, 100 * MS, 100 * MS, 1);
  assert_int_equal(stretch, FH__PACE_STRETCH_MOST);
  assert_int_equal(fh__pace_stretch(stretch, 1, 0, 25), FH__PACE_STRETCH_MOST); /* no time has passed */
  for (int i = 0; i < 50; i++) stretch = fh__pace_stretch(stretch, 1, 100 * MS, 25);
  assert_int_equal(stretch, FH__PACE_STRETCH_LEAST);
}

static void no_goal_means_no_stretch(void **state) {
  assert_int_equal(fh__pace_stretch(400, 100 * MS, 100 * MS, FH__PACE_NO_OVERHEAD), 100);
}

static void a_due_is_stretched_exactly(void **state) {
  assert_true(fh__pace_stretched(65536, 100) == 65536);
  assert_true(fh__pace_stretched(99, 150) == 148);
  assert_true(fh__pace_stretched(1000, 400) == 4000);
  assert_true(fh__pace_stretched((uint64_t)1 << 55, 400) == (uint64_t)1 << 57);
}

/* ---- the driver ---- */

static fh_gc_event event_of(int generation, uint64_t pause_ns) {
  return (fh_gc_event){.phase = FH_GC_END, .generation = generation, .pause_ns = pause_ns};
}

static void young_pauses_move_the_young_threshold(void **state) {
  fh_gc_disable(); /* collections in between would bring durations of their own */
  uint64_t set = fh__collector.threshold[FH__YOUNG];
  assert_true(fh__collector.young_due == set && stats_now().young_due == set);
  fh__shared.options.gc_pause_us = 5000;
  fh_gc_event young = event_of(0, 10 * MS), middle = event_of(1, 1000 * MS), old = event_of(2, 1000 * MS);
  fh__collect_keep_pace(&young, true, 0);
  assert_true(fh__collector.young_due == set / 2 && fh__track.due == set / 2 && stats_now().young_due == set / 2);
  fh__collect_keep_pace(&middle, true, 0);
  fh__collect_keep_pace(&old, false, 0);
  assert_true(fh__collector.young_due == set / 2);
  uint64_t thresholds[3];
  fh_gc_thresholds_get(thresholds);
  assert_true(thresholds[0] == set); /* what was set is what was set */
  fh_collect(2);
  assert_true(fh__track.due == set / 2); /* the next one is so far away */
  assert_int_equal(fh_gc_thresholds_set(thresholds), FH_OK);
  assert_true(fh__collector.young_due == set && fh__track.due == set); /* begins anew */
  fh__shared.options.gc_pause_us = 0;
  fh_gc_enable();
}

static void young_collections_that_find_nothing_come_less_often(void **state) {
  fh_gc_disable();
  uint64_t set = fh__collector.threshold[FH__YOUNG];
  fh_gc_event nothing = event_of(0, MS), something = nothing, middle = event_of(1, MS);
  something.found = 1;
  fh__collect_keep_pace(&nothing, false, 0); /* asked for by somebody: says nothing */
  assert_true(fh__collector.young_due == set);
  fh__collect_keep_pace(&nothing, true, 0);
  fh__collect_keep_pace(&middle, true, 0);
  assert_true(fh__collector.young_due == 2 * set && fh__track.due == 2 * set && stats_now().young_due == 2 * set);
  fh__collect_keep_pace(&nothing, true, 0);
  assert_true(fh__collector.young_due == 2 * set); /* once */
  fh__pressure.level = FH_MEMORY_SOFT; /* nothing is put off now */
  fh__collect_keep_pace(&nothing, true, 0);
  fh__pressure.level = FH_MEMORY_EASED;
  assert_true(fh__collector.young_due == set);
  fh__collect_keep_pace(&nothing, true, 0);
  fh__collect_keep_pace(&something, false, 0); /* whoever asked for it: there is garbage */
  assert_true(fh__collector.young_due == set && fh__track.due == set);
  fh_gc_enable();
}

static void old_collections_that_were_due_move_the_stretch(void **state) {
  fh_gc_disable();
  fh__collect_arm(1000000);
  uint64_t due = fh__collector.old_due;
  assert_true(fh__shared.options.gc_overhead == 25 && fh__collector.stretch == 100 && fh__collect_old_due() == due);
  fh_gc_event old = event_of(2, 50 * MS), failed = old, young = event_of(0, 1000 * MS);
  failed.failed = true;
  fh__collector.old_ended_ns = 0;
  fh__collect_keep_pace(&failed, true, 100 * MS);
  fh__collect_keep_pace(&young, true, 100 * MS);
  assert_true(fh__collector.stretch == 100 && fh__collector.old_ended_ns == 0);
  fh__collect_keep_pace(&old, true, 100 * MS); /* half of the time */
  assert_true(fh__collector.stretch == 200 && fh__collect_old_due() == 2 * due && stats_now().old_due == 2 * due);
  assert_true(fh__collector.old_ended_ns == 100 * MS);
  fh__collect_keep_pace(&old, false, 200 * MS); /* asked for by somebody: says nothing */
  assert_true(fh__collector.stretch == 200 && fh__collector.old_ended_ns == 200 * MS);
  fh__pressure.level = FH_MEMORY_SOFT; /* nothing is put off now */
  assert_true(fh__collect_old_due() == due);
  fh__collect_keep_pace(&old, true, 300 * MS);
  fh__pressure.level = FH_MEMORY_EASED;
  assert_true(fh__collector.stretch == 200);
  for (uint64_t now = 10000; now < 10000000; now += 1000000) fh__collect_keep_pace(&old, true, now * MS);
  assert_true(fh__collector.stretch == 100 && fh__collect_old_due() == due);
  fh__collector.old_ended_ns = 0;
  fh_gc_enable();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(who_finds_nothing_waits_longer),
      cmocka_unit_test(a_long_pause_brings_the_threshold_down),
      cmocka_unit_test(a_short_pause_lets_it_up_again),
      cmocka_unit_test(between_half_the_goal_and_the_goal_it_stays),
      cmocka_unit_test(the_threshold_keeps_its_bounds),
      cmocka_unit_test(a_pause_in_proportion_settles_below_the_goal),
      cmocka_unit_test(a_share_above_the_goal_stretches),
      cmocka_unit_test(a_share_below_the_goal_relaxes),
      cmocka_unit_test(the_stretch_keeps_its_bounds),
      cmocka_unit_test(no_goal_means_no_stretch),
      cmocka_unit_test(a_due_is_stretched_exactly),
      with_runtime(young_pauses_move_the_young_threshold),
      with_runtime(young_collections_that_find_nothing_come_less_often),
      with_runtime(old_collections_that_were_due_move_the_stretch),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
