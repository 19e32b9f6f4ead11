/* SPDX-License-Identifier: MIT */
/* Memory pressure: levels, events, emergencies, and what makes collections eager.
 *
 * Claims: the threshold shrinks in proportion to what is left above the soft limit, to a sixteenth; the level rises by refusals and
 * draws, falls where room was made, and what is told last is how things are; an emergency is answered by one collection, and the
 * next one rests for as long as the last one took, without being forgotten; nothing is drawn above the hard limit, whoever asks
 * [account.limit]. Real: a runtime. The account is set to what a test wants while nobody allocates, and set back. */
#include "support/support.h"

#include <string.h>

#include "base/clock.h"
#include "collect/collect.h"
#include "mutator/pressure.h"

enum { MIB = 1 << 20 };

static struct {
  fh_memory_event event[64];
  size_t count;
} told;
static void note(void *context, fh_memory_event event) {
  require(told.count < 64);
  told.event[told.count++] = event;
}

static int setup(void **state) {
  const fh_options options = {.gc_threshold = 1u << 31, .memory = note};
  runtime_start(&options);
  told.count = 0;
  return 0;
}

static int setup_silent(void **state) {
  const fh_options options = {.gc_threshold = 1u << 31};
  runtime_start(&options);
  return 0;
}

/* ---- the threshold ---- */

static uint64_t scale_at(int64_t drawn, int64_t soft, int64_t hard, uint64_t entries) {
  int64_t truth = fh__account.drawn;
  fh__account.drawn = drawn;
  fh__account.soft = soft;
  fh__account.hard = hard;
  uint64_t scaled_entries = fh__pressure_scale(entries);
  fh__account.drawn = truth;
  fh__account.soft = fh__account.hard = INT64_MAX;
  return scaled_entries;
}

static void the_threshold_shrinks_in_proportion(void **state) {
  assert_int_equal(scale_at(5 * MIB, INT64_MAX, INT64_MAX, 1000), 1000);
  assert_int_equal(scale_at(5 * MIB, 5 * MIB, INT64_MAX, 1000), 1000);
  assert_int_equal(scale_at(5 * MIB + 1, 5 * MIB, INT64_MAX, 1000), 250);
  assert_int_equal(scale_at(75, 75, 100, 1600), 1600);
  assert_int_equal(scale_at(80, 60, 100, 1600), 800);
  assert_int_equal(scale_at(90, 60, 100, 1600), 400);
  assert_int_equal(scale_at(100, 60, 100, 1600), 100);
  assert_int_equal(scale_at(150, 60, 100, 1600), 100); /* the limit was set below */
  assert_int_equal(scale_at(101, 100, 100, 1600), 100);
  assert_true(scale_at(90, 60, 100, UINT64_MAX) == UINT64_MAX); /* never */
  assert_int_equal(scale_at(90, 60, 100, 0), 0);
}

/* ---- limits ---- */

static void limits_are_worked_out(void **state) {
  int64_t soft = 1, hard = 2;
  assert_int_equal(fh__pressure_limits(0, 0, &soft, &hard), FH_OK);
  assert_true(soft == INT64_MAX && hard == INT64_MAX);
  assert_int_equal(fh__pressure_limits(0, 400, &soft, &hard), FH_OK);
  assert_true(soft == 300 && hard == 400);
  assert_int_equal(fh__pressure_limits(400, 400, &soft, &hard), FH_OK);
  assert_true(soft == 400 && hard == 400);
  assert_int_equal(fh__pressure_limits(7, 0, &soft, &hard), FH_OK);
  assert_true(soft == 7 && hard == INT64_MAX);
  assert_int_equal(fh__pressure_limits(401, 400, &soft, &hard), FH_EINVAL);
  assert_int_equal(fh__pressure_limits((size_t)INT64_MAX + 1, 0, &soft, &hard), FH_EINVAL);
  assert_true(soft == 7 && hard == INT64_MAX);
}

/* ---- levels ---- */

static uint32_t level(void) { return FH__LOAD(&fh__pressure.level, RELAXED); }

static void the_level_rises_and_falls(void **state) {
  assert_int_equal(fh_limits_set(2 * MIB, 16 * MIB), FH_OK);
  void *half = fh_alloc(MIB / 2);
  assert_int_equal(level(), FH_MEMORY_EASED);
  void *more = fh_alloc(2 * MIB);
  assert_int_equal(level(), FH_MEMORY_SOFT);
  assert_null(fh_alloc(16 * MIB));
  assert_int_equal(level(), FH_MEMORY_HARD);
  fh_housekeep(); /* above the soft limit still */
  assert_int_equal(level(), FH_MEMORY_SOFT);
  fh_free(more);
  fh_housekeep();
  assert_int_equal(level(), FH_MEMORY_EASED);
  fh_safepoint();
  const fh_memory_event expected[] = {FH_MEMORY_HARD, FH_MEMORY_SOFT, FH_MEMORY_EASED}; /* the worst first */
  assert_int_equal(told.count, 3);
  assert_memory_equal(told.event, expected, sizeof expected);
  fh_free(half);
}

static void what_is_told_last_is_how_things_are(void **state) {
  struct fh__mutator *me = fh__self();
  assert_int_equal(fh_limits_set(MIB, 8 * MIB), FH_OK);
  void *block = fh_alloc(2 * MIB);
  fh_safepoint();
  assert_int_equal(told.count, 1); /* SOFT */
  fh_free(block);
  fh__account_settle(&me->account);
  fh__pressure_ease(me); /* EASED waits to be told */
  assert_null(fh_alloc(8 * MIB));
  block = fh_alloc(2 * MIB);
  fh_gc_disable(); /* nothing makes room */
  fh_safepoint();
  fh_gc_enable();
  assert_true(told.count > 1);
  assert_int_not_equal(told.event[told.count - 1], FH_MEMORY_EASED);
  assert_int_not_equal(level(), FH_MEMORY_EASED);
  fh_free(block);
}

/* ---- emergencies ---- */

static void an_emergency_rests_and_is_not_forgotten(void **state) {
  assert_int_equal(fh_limits_set(0, MIB), FH_OK);
  assert_null(fh_alloc(2 * MIB));
  assert_true(fh__pressure_is_emergency());
  uint64_t now = fh__clock_ns();
  FH__STORE_(&fh__pressure.rest_until, now + 3600000000000u, RELAXED);
  assert_false(fh__pressure_is_emergency());
  uint64_t before = stats_now().emergencies;
  for (int i = 0; i < 10; i++) fh_safepoint();
  if (!is_torture()) assert_int_equal(stats_now().emergencies, before);
  FH__STORE_(&fh__pressure.rest_until, now, RELAXED);
  fh_safepoint(); /* without another refusal */
  assert_true(stats_now().emergencies > before);
  assert_false(fh__pressure_is_emergency());
}

static void a_rest_is_as_long_as_the_collection_was(void **state) {
  fh__pressure_note_collection(1000, 1700);
  assert_int_equal(fh__pressure.rest_until, 2400);
}

static void a_collection_answers_what_was_refused_before(void **state) {
  assert_int_equal(fh_limits_set(0, MIB), FH_OK);
  assert_null(fh_alloc(2 * MIB));
  assert_null(fh_alloc(2 * MIB));
  uint64_t before = stats_now().emergencies;
  fh_collect(2);
  assert_int_equal(stats_now().emergencies, before + 1);
  assert_false(fh__pressure_is_emergency());
  assert_int_equal(stats_now().refused, 2);
}

/* ---- never above ---- */

enum { THREADS = 8, HARD = 4 * MIB };

static void ask_at_the_limit(int index, void *argument) {
  enum { HOLD = 32 };
  void *block[HOLD] = {NULL};
  unsigned random = (unsigned)index + 1;
  for (size_t turn = scaled(60000); turn; turn--) {
    random = random * 1664525 + 1013904223;
    size_t at = random >> 27, bytes = (random >> 8) % (400 << 10) + 1;
    if (random & 128) {
      void *resized = fh_realloc(block[at], bytes);
      if (resized) block[at] = resized;
    } else {
      fh_free(block[at]);
      block[at] = fh_alloc(bytes);
    }
    require(FH__LOAD(&fh__account.drawn, RELAXED) <= HARD);
    if (turn % 64 == 0) fh_safepoint();
  }
  for (int i = 0; i < HOLD; i++) fh_free(block[i]);
}

static void nothing_is_drawn_above_the_limit(void **state) {
  assert_int_equal(fh_limits_set(0, HARD), FH_OK);
  run_threads(THREADS, ask_at_the_limit, NULL);
  assert_true(stats_now().refused > 0);
  assert_true(fh__account.peak <= HARD);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(the_threshold_shrinks_in_proportion, setup, runtime_teardown),
      cmocka_unit_test_setup_teardown(limits_are_worked_out, setup, runtime_teardown),
      cmocka_unit_test_setup_teardown(the_level_rises_and_falls, setup, runtime_teardown),
      cmocka_unit_test_setup_teardown(what_is_told_last_is_how_things_are, setup, runtime_teardown),
      cmocka_unit_test_setup_teardown(an_emergency_rests_and_is_not_forgotten, setup, runtime_teardown),
      cmocka_unit_test_setup_teardown(a_rest_is_as_long_as_the_collection_was, setup, runtime_teardown),
      cmocka_unit_test_setup_teardown(a_collection_answers_what_was_refused_before, setup, runtime_teardown),
      cmocka_unit_test_setup_teardown(nothing_is_drawn_above_the_limit, setup_silent, runtime_teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
