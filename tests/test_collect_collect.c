/* SPDX-License-Identifier: MIT */
/* The collector's driver: when it runs, what it counts, what it does without memory.
 *
 * Claims: a collection is due when enough entries were opened, the more the more objects live; it is asked for by making
 * objects and runs at a safepoint, never in fh_new; switched off it is not asked for; empty chunks go and full ones stay,
 * also after a collection that had no memory to look; without memory nothing changes, it is counted, and the next one
 * succeeds; queues, limbo and deferred deaths are part of it. Real: the whole runtime. */
#include "support/exhaust.h"

#include "collect/collect.h"
#include "collect/garbage.h"
#include "mutator/mutator.h"
#include "track/track.h"

/* ---- the trigger ---- */

static void it_becomes_due_by_what_is_opened(void **state) {
  fh__collect_arm(0);
  assert_int_equal(fh__track.opened, 0);
  assert_int_equal(fh__track.due, fh__shared.options.gc_threshold);
  assert_false(fh__collect_is_due());
  fh__track.opened = fh__track.due - 1;
  assert_false(fh__collect_is_due());
  fh__track.opened++;
  assert_true(fh__collect_is_due());
  fh_gc_disable();
  assert_false(fh_gc_is_enabled() || fh__collect_is_due());
  fh_gc_enable();
  assert_true(fh_gc_is_enabled() && fh__collect_is_due());
  uint64_t live = 100 * (uint64_t)fh__shared.options.gc_threshold;
  fh__collect_arm(live); /* 100 percent of what lives on have to become old */
  assert_true(fh__collector.old_due == live && fh__collector.became_old == 0);
  fh__collect_arm(0);
  assert_true(fh__collector.old_due == fh__shared.options.gc_threshold);
}

static void making_objects_asks_and_a_safepoint_collects(void **state) {
  uint64_t collections = stats_now().collections;
  for (size_t i = 0; i < fh__shared.options.gc_threshold; i++) fh_release(node_ring(2));
  assert_true(stats_now().collections == collections && deaths() == 0); /* an allocation is never a safepoint */
  assert_true(fh__self()->sync.attention & FH__ATTEND_COLLECT);
  fh_safepoint();
  assert_true(stats_now().collections == collections + 1);
  assert_true(deaths() == 2 * (uint64_t)fh__shared.options.gc_threshold);
}

static void collect_nothing_when_off(void) {
  runtime_start(&(fh_options){.flags = FH_OPTION_GC_OFF, .gc_threshold = 10});
  for (size_t i = 0; i < 5000; i++) {
    fh_release(node_ring(2));
    fh_safepoint();
  }
  require(deaths() == 0 && stats_now().collections == 0);
  require(fh_collect(0) == 10000); /* by hand all the same */
  runtime_stop();
}

static void switched_off_it_is_not_asked_for(void **state) { expect_fine(collect_nothing_when_off); }

/* ---- what it counts ---- */

static void statistics_say_what_was_done(void **state) {
  struct node *live[10];
  for (int i = 0; i < 10; i++) live[i] = node_new(1);
  for (int i = 0; i < 5; i++) fh_release(node_ring(2));
  fh_stats before = stats_now();
  assert_int_equal(fh_collect(1), 10);
  fh_stats after = stats_now();
  assert_true(after.collections == before.collections + 1);
  assert_true(after.scanned == before.scanned + 20);
  assert_true(after.collected == before.collected + 10);
  assert_true(after.gc_total.count == before.gc_total.count + 1);
  assert_true(after.collections_failed == 0);
  for (int i = 0; i < 10; i++) fh_release(live[i]);
}

static void nothing_is_collected_where_no_safepoint_may_be(void **state) {
  fh_release(node_ring(2));
  {
    FH_NO_SAFEPOINT();
    assert_int_equal(fh_collect(2), 0);
    assert_int_equal(fh__collect(fh__self(), FH__OLD), 0);
  }
  assert_int_equal(fh_collect(2), 2);
}

/* ---- chunks ---- */

static size_t count_chunks(void) {
  size_t count = 0;
  for (uint32_t n = 0; n < fh__track.limit; n++) count += fh__track_chunk(n) != NULL;
  return count;
}

static void empty_chunks_go_and_full_ones_stay(void **state) {
  enum { MANY = 6 * FH__CHUNK_ENTRIES };
  static struct node *n[MANY];
  for (int i = 0; i < MANY; i++) n[i] = node_new((uint64_t)i);
  size_t full = count_chunks();
  assert_true(full >= 6);
  fh_collect(2);
  assert_int_equal(count_chunks(), full);
  for (int i = FH__CHUNK_ENTRIES; i < MANY; i++) fh_release(n[i]);
  fh_collect(2);
  assert_true(count_chunks() <= 3);
  for (int i = 0; i < FH__CHUNK_ENTRIES; i++) {
    assert_true(node_is_whole(n[i]));
    fh_release(n[i]);
  }
}

/* ---- no memory ---- */

static void collect_without_memory(void) {
  enum { MANY = 4 * FH__CHUNK_ENTRIES };
  static struct node *n[MANY];
  static struct exhausted exhausted;
  runtime_start(&(fh_options){.flags = FH_OPTION_GC_OFF});
  for (int i = 0; i < MANY; i++) n[i] = node_new((uint64_t)i); /* in chunks that no collection has counted yet */
  fh_release(node_ring(2));
  size_t chunks = count_chunks();
  exhaust_memory(&exhausted);
  require(fh_collect(2) == 0);
  require(stats_now().collections == 0 && stats_now().collections_failed == 1);
  require(stats_now().generation[2].failed == 1 && stats_now().generation[2].uncollectable == 2);
  require(count_chunks() == chunks); /* nobody knows whether they are empty */
  for (int i = 0; i < MANY; i++) require(node_is_whole(n[i]));
  require(deaths() == 0);
  refill_memory(&exhausted);
  require(fh_check_heap() == FH_OK);
  require(fh_collect(2) == 2 && stats_now().collections == 1);
  for (int i = 0; i < MANY; i++) fh_release(n[i]);
  runtime_stop();
}

/* What was settled while there was no memory for its list is found again, also if nothing was touched meanwhile. */
static void collect_settled_without_memory(void) {
  enum { MANY = 500 };
  static struct exhausted exhausted;
  runtime_start(&(fh_options){.flags = FH_OPTION_GC_OFF});
  for (int i = 0; i < MANY; i++) fh_release(node_ring(2));
  exhaust_memory(&exhausted);
  for (int i = 1; i < 4; i++) {
    require(fh_collect(2) == 0);
    require(stats_now().collections == 0 && stats_now().collections_failed == (uint64_t)i);
    require(deaths() == 0 && !fh__self()->garbage);
    require(stats_now().generation[2].failed == (uint64_t)i && stats_now().generation[2].uncollectable == (uint64_t)i * 2 * MANY);
  }
  refill_memory(&exhausted);
  require(fh_check_heap() == FH_OK);
  require(fh_collect(2) == 2 * MANY);
  require(deaths() == 2 * MANY);
  runtime_stop();
}

/* Room for one list, not for the other one: it is given back. */
static struct gate garbage_made = GATE, leave = GATE;
static void make_much_garbage(void *unused) {
  for (int i = 0; i < 500; i++) fh_release(node_ring(2));
  gate_open(&garbage_made, 1);
  gate_await_running(&leave, 1);
}

static void collect_without_memory_for_the_second_list(void) {
  static struct exhausted exhausted;
  struct companion companion;
  runtime_start(&(fh_options){.flags = FH_OPTION_GC_OFF});
  fh_release(node_ring(2));
  companion_start(&companion, make_much_garbage, NULL);
  gate_await(&garbage_made, 1);
  size_t bytes = sizeof(struct fh__garbage) + 2 * sizeof(fh_object *);
  void *room = fh__backend_alloc(bytes);
  exhaust_memory(&exhausted);
  fh__backend_free(room); /* for a list of two */
  require(fh_collect(2) == 0 && stats_now().collections_failed == 1);
  require(!fh__self()->garbage && !fh__mutator_by_id(2)->garbage && deaths() == 0);
  require((room = fh__backend_alloc(bytes))); /* it came back */
  refill_memory(&exhausted);
  fh__backend_free(room);
  require(fh_collect(2) == 1002);
  gate_open(&leave, 1);
  companion_join(&companion);
  require(deaths() == 1002);
  runtime_stop();
}

/* The second look needs no memory. */
static struct exhausted in_finalizer;
static int finalized;
static void exhaust_in_finalizer(void *object) {
  if (!finalized++) exhaust_memory(&in_finalizer);
}
static const fh_ref last_refs[] = {{sizeof(fh_object), FH__REF_FIELD, 1}, FH_END};
struct last {
  fh_object fh;
  struct last *self;
};
static const fh_type_spec last_spec = {
    .name = "last", .size = sizeof(struct last), .refs = last_refs, .finalize = exhaust_in_finalizer};

static void look_again_without_memory(void) {
  fh_type *type;
  runtime_start(&(fh_options){.flags = FH_OPTION_GC_OFF});
  require(fh_type_register(&last_spec, &type) == FH_OK);
  for (int i = 0; i < 3; i++) {
    struct last *last = fh_new(type);
    fh_set(last, self, last);
    fh_release(last);
  }
  require(fh_collect(2) == 3);
  require(finalized == 3 && fh_type_live(type) == 0);
  refill_memory(&in_finalizer);
  runtime_stop();
}

static void without_memory_nothing_changes(void **state) {
  if (!can_exhaust_memory()) skip();
  expect_fine(collect_without_memory);
  expect_fine(collect_settled_without_memory);
  /* The system's malloc has an arena for each thread, more than one thread can empty. */
  if (!fh__backend_is_hosts()) expect_fine(collect_without_memory_for_the_second_list);
  expect_fine(look_again_without_memory);
}

/* ---- several at once ---- */

static void collect_again_and_again(int index, void *argument) {
  for (size_t i = scaled(400); i; i--) {
    for (int k = 0; k < 20; k++) fh_release(node_ring(2));
    fh_collect(2);
  }
}

static void collectors_take_turns(void **state) {
  run_threads(3, collect_again_and_again, NULL);
  fh_settle();
  assert_true(deaths() == 3 * scaled(400) * 40);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      with_runtime(it_becomes_due_by_what_is_opened),
      with_runtime(making_objects_asks_and_a_safepoint_collects),
      cmocka_unit_test(switched_off_it_is_not_asked_for),
      with_runtime(statistics_say_what_was_done),
      with_runtime(nothing_is_collected_where_no_safepoint_may_be),
      with_runtime(empty_chunks_go_and_full_ones_stay),
      cmocka_unit_test(without_memory_nothing_changes),
      with_runtime(collectors_take_turns),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
