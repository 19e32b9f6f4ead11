/* SPDX-License-Identifier: MIT */
/* Statistics, through the public interface: fh_stats_get, fh_stats_reset_peak, fh_histogram_quantile.
 *
 * Claims: each counter moves by what the calls in between did, and by nothing else; memory comes back to where it was
 * [account.sum] [account.parts]; histograms count what they say. Counters of the inline path move under
 * FH_OPTION_COUNT_PATHS, which these tests set, and in checked builds. */
#include <string.h>

#include "support/support.h"

static int setup(void **state) {
  runtime_start(&(fh_options){.flags = FH_OPTION_COUNT_PATHS | FH_OPTION_GC_OFF});
  return 0;
}
#define counted(test) cmocka_unit_test_setup_teardown(test, setup, runtime_teardown)

#define assert_moved(counter, by) assert_int_equal((int)(after.counter - before.counter), (by))

/* ---- the call itself ---- */

static void the_size_tells_the_version(void **state) {
  fh_stats stats = {.size = sizeof stats - 8};
  assert_int_equal(fh_stats_get(&stats), FH_EVERSION);
  stats.size = 0;
  assert_int_equal(fh_stats_get(&stats), FH_EVERSION);
  stats.size = sizeof stats;
  memset((char *)&stats + sizeof stats.size, 0xff, sizeof stats - sizeof stats.size);
  assert_int_equal(fh_stats_get(&stats), FH_OK);
  assert_true(stats.size == sizeof stats);
  assert_int_equal((int)stats.attached, 1);
  assert_int_equal((int)stats.overflows, 0);
}

static void get_from_a_bare_thread(int index, void *argument) { require(stats_now().attached == 1); }

static void any_thread_may_ask(void **state) {
  run_bare_threads(2, get_from_a_bare_thread, NULL);
  fh_blocking_begin();
  get_from_a_bare_thread(0, NULL);
  fh_blocking_end();
}

/* ---- memory ---- */

static void bytes_follow_objects_and_buffers(void **state) {
  struct node *first = node_new(0); /* chunks and other tables exist now */
  fh_stats before = stats_now();
  struct node *nodes[100];
  for (uint64_t i = 0; i < 100; i++) nodes[i] = node_new(i);
  fh_stats after = stats_now();
  assert_true(after.object_bytes - before.object_bytes >= 100 * sizeof(struct node));
  assert_true(after.object_bytes - before.object_bytes <= 200 * sizeof(struct node));
  assert_true(after.live_bytes - before.live_bytes == after.object_bytes - before.object_bytes);
  assert_true(after.buffer_bytes == before.buffer_bytes);
  void *buffer = fh_alloc(100000);
  after = stats_now();
  assert_true(after.buffer_bytes - before.buffer_bytes >= 100000);
  assert_true(after.live_bytes == after.object_bytes + after.buffer_bytes);
  assert_true(after.peak_bytes >= after.live_bytes);
  uint64_t peak = after.peak_bytes;
  fh_free(buffer);
  for (int i = 0; i < 100; i++) fh_release(nodes[i]);
  after = stats_now();
  assert_true(after.live_bytes == before.live_bytes && after.object_bytes == before.object_bytes);
  assert_true(after.peak_bytes == peak); /* the peak stays */
  fh_release(first);
}

static void the_peak_can_be_reset(void **state) {
  enum { MUCH = 10 << 20, CREDIT = 256 << 10 };
  fh_free(fh_alloc(MUCH));
  assert_true(stats_now().peak_bytes >= MUCH);
  fh_stats_reset_peak();
  fh_stats stats = stats_now();
  assert_true(stats.peak_bytes >= stats.live_bytes && stats.peak_bytes <= stats.live_bytes + CREDIT);
  fh_free(fh_alloc(MUCH));
  assert_true(stats_now().peak_bytes >= MUCH);
}

static void limbo_counts_what_waits(void **state) {
  fh_stats before = stats_now();
  struct node *n = node_new(1);
  fh_publish(n);
  fh_release(n);
  fh_stats after = stats_now();
  assert_true(after.limbo_bytes - before.limbo_bytes >= sizeof(struct node));
  assert_true(after.object_bytes == before.object_bytes);
  fh_retire(fh_alloc(1000));
  assert_true(stats_now().limbo_bytes - after.limbo_bytes >= 1000);
  assert_true(stats_now().buffer_bytes == before.buffer_bytes);
  fh_housekeep();
  fh_housekeep();
  assert_int_equal((int)stats_now().limbo_bytes, 0);
}

/* ---- objects ---- */

static const fh_type_spec leaf_spec = {.name = "leaf", .size = 32};

static void objects_are_counted(void **state) {
  fh_type *leaf = type_of_spec(&leaf_spec);
  fh_stats before = stats_now();
  struct node *n = node_new(1);
  void *l = fh_new(leaf);
  fh_stats after = stats_now();
  assert_moved(objects_live, 2);
  assert_moved(objects_made, 2);
  assert_moved(objects_tracked, 1);
  assert_moved(objects_destroyed, 0);
  fh_release(n);
  fh_release(l);
  after = stats_now();
  assert_moved(objects_live, 0);
  assert_moved(objects_made, 2);
  assert_moved(objects_tracked, 0);
  assert_moved(objects_destroyed, 2);
  assert_moved(private_deaths, born_published() ? 0 : 2);
  assert_moved(published_deaths, born_published() ? 2 : 0);
}

/* ---- paths of counts ---- */

static void the_owners_path(void **state) {
  struct node *n = node_new(1);
  fh_stats before = stats_now();
  for (int i = 0; i < 10; i++) fh_retain(n);
  for (int i = 0; i < 10; i++) fh_release(n);
  fh_stats after = stats_now();
  assert_moved(owner_retains, born_published() ? 0 : 10);
  assert_moved(owner_releases, born_published() ? 0 : 10);
  assert_moved(stranger_retains, born_published() ? 10 : 0); /* an atomic instruction each */
  assert_moved(stranger_releases, born_published() ? 10 : 0);
  assert_moved(merges, 0);
  fh_release(n);
}

static void spills_and_take_backs(void **state) {
  only_private();
  struct node *n = node_new(1);
  fh_stats before = stats_now();
  for (int i = 0; i < 40000; i++) fh_retain(n);
  fh_stats after = stats_now();
  assert_true(after.spills > before.spills);
  assert_true(after.take_backs == before.take_backs || is_torture());
  for (int i = 0; i < 40001; i++) fh_release(n);
  after = stats_now();
  assert_true(after.take_backs > before.take_backs);
  assert_moved(overflows, 0);
}

static void publication_and_merges(void **state) {
  fh_stats before = stats_now();
  struct node *n = node_new(1);
  fh_give(n, left, node_new(2));
  fh_publish(n);
  fh_publish(n);
  fh_stats after = stats_now();
  assert_moved(published, born_published() ? 0 : 2);
  fh_release(n);
  after = stats_now();
  assert_moved(merges, born_published() ? 0 : 2);
  assert_moved(published_deaths, 2);
  assert_moved(private_deaths, 0);
  assert_moved(queued, 0);
}

static struct gate gate = GATE;

static void count_as_a_stranger(int index, void *argument) {
  struct node *n = argument;
  for (int i = 0; i < 10; i++) fh_retain(n);
  for (int i = 0; i < 10; i++) fh_release(n);
}

static void a_strangers_path(void **state) {
  struct node *n = node_new(1);
  fh_publish(n);
  fh_stats before = stats_now();
  run_threads(1, count_as_a_stranger, n);
  fh_stats after = stats_now();
  bool stranger = test_design() != FH_DESIGN_GIL; /* there, whoever runs owns everything */
  assert_moved(stranger_retains, stranger ? 10 : 0);
  if (stranger || !is_torture()) assert_moved(stranger_releases, stranger ? 10 : 0); /* spilled, it is merged on the way */
  assert_moved(owner_retains, stranger ? 0 : 10);
  assert_moved(queued, 0);
  fh_release(n);
}

static void release_as_a_stranger(void *argument) {
  fh_release(argument);
  gate_open(&gate, 1);
}

static void a_running_owner_drains_its_queue(void **state) {
  only_biased();
  atomic_store(&gate.value, 0);
  struct node *n = node_new(1);
  fh_publish(n);
  fh_stats before = stats_now();
  struct companion stranger;
  companion_start(&stranger, release_as_a_stranger, n);
  gate_await_deaf(&gate, 1); /* attached, but not yet at a safepoint */
  fh_stats after = stats_now();
  assert_moved(queued, 1);
  assert_moved(drained, 0);
  assert_moved(objects_destroyed, 0);
  fh_safepoint();
  after = stats_now();
  assert_moved(drained, 1);
  assert_moved(claimed, 0);
  assert_moved(objects_destroyed, 1);
  assert_moved(published_deaths, 1);
  companion_join(&stranger);
}

static void a_sleeping_owners_queue_is_claimed(void **state) {
  only_biased();
  struct node *n = node_new(1);
  fh_publish(n);
  fh_stats before = stats_now();
  atomic_store(&gate.value, 0);
  struct companion stranger;
  fh_blocking_begin();
  companion_start(&stranger, release_as_a_stranger, n);
  gate_await(&gate, 1);
  fh_stats after = stats_now();
  assert_moved(queued, 1);
  assert_moved(claimed, 1);
  assert_moved(drained, 0);
  assert_true(after.claims > before.claims);
  assert_moved(objects_destroyed, 1); /* nobody waited for the sleeper */
  companion_join(&stranger);
  fh_blocking_end();
}

/* ---- finalizers ---- */

static void *saved;
static void save(void *object) { saved = fh_retain(object); }
static void let_go(void *object) {}
static const fh_type_spec saving_spec = {.name = "saving", .size = 32, .finalize = save};
static const fh_type_spec final_spec = {.name = "final", .size = 32, .finalize = let_go};

static void finalizers_and_resurrections(void **state) {
  fh_type *saving, *final;
  assert_int_equal(fh_type_register(&saving_spec, &saving), FH_OK);
  assert_int_equal(fh_type_register(&final_spec, &final), FH_OK);
  fh_stats before = stats_now();
  fh_release(fh_new(saving));
  fh_release(fh_new(final));
  fh_safepoint();
  fh_stats after = stats_now();
  assert_moved(finalized, 2);
  assert_moved(resurrected, 1);
  assert_moved(objects_destroyed, 1);
  fh_release(saved);
  after = stats_now();
  assert_moved(finalized, 2);
  assert_moved(objects_destroyed, 2);
}

/* ---- mutators, stops, grace ---- */

static void count_myself(int index, void *argument) {
  pthread_barrier_t *barrier = argument;
  meet(barrier);
  if (index == 0) require(stats_now().attached == 5);
  meet(barrier);
}

static void mutators_are_counted(void **state) {
  pthread_barrier_t barrier;
  pthread_barrier_init(&barrier, NULL, 4);
  fh_stats before = stats_now();
  assert_int_equal((int)before.attached, 1);
  run_threads(4, count_myself, &barrier);
  fh_stats after = stats_now();
  assert_moved(attached, 0);
  assert_moved(mutators, 4);
  assert_moved(adoptions, 0);
  before = after;
  run_threads(4, count_myself, &barrier);
  after = stats_now();
  assert_moved(mutators, 0);
  assert_moved(adoptions, 4);
  pthread_barrier_destroy(&barrier);
}

static void stops_are_measured(void **state) {
  fh_stats before = stats_now();
  for (int i = 0; i < 5; i++) fh_collect(2);
  assert_int_equal(fh_check_heap(), FH_OK);
  fh_stats after = stats_now();
  assert_moved(stops, 6);
  assert_moved(time_to_stop.count, 6);
  assert_moved(time_stopped.count, 6);
  assert_moved(gc_total.count, 5);
  assert_true(after.time_stopped.total_ns > before.time_stopped.total_ns);
  assert_true(after.time_stopped.max_ns > 0 && after.time_stopped.max_ns <= after.time_stopped.total_ns);
  uint64_t sum = 0;
  for (int i = 0; i < 40; i++) sum += after.time_stopped.bucket[i];
  assert_true(sum == after.time_stopped.count);
  assert_true(fh_histogram_quantile(&after.time_stopped, 1.0) <= 2 * after.time_stopped.max_ns);
}

static void grace_periods_are_counted(void **state) {
  fh_stats before = stats_now();
  fh_retire(fh_alloc(100));
  fh_housekeep();
  fh_housekeep();
  fh_stats after = stats_now();
  assert_true(after.grace_periods > before.grace_periods);
}

/* ---- collections ---- */

static void collections_are_counted(void **state) {
  struct node *alive = node_new(1);
  struct node *ring = node_new(2);
  fh_give(ring, left, node_new(3));
  fh_set(fh_get(ring, left), left, ring);
  fh_stats before = stats_now();
  fh_collect(2);
  fh_stats after = stats_now();
  assert_moved(collections, 1);
  assert_moved(collected, 0);
  assert_moved(scanned, 3);
  fh_release(ring);
  fh_collect(2);
  after = stats_now();
  assert_moved(collections, 2);
  assert_moved(collected, 2);
  assert_moved(scanned, 5); /* the one that lives had been seen, and nothing happened to it */
  assert_moved(collections_failed, 0);
  assert_moved(objects_destroyed, 2);
  fh_release(alive);
}

static struct node *rescued;
static void resurrect(void *object) { rescued = fh_retain((struct node *)object); }
static const fh_ref phoenix_refs[] = {FH_FIELD(struct node, left), FH_END};
static const fh_type_spec phoenix_spec = {.name = "phoenix", .size = sizeof(struct node), .refs = phoenix_refs, .finalize = resurrect};

static void generations_are_counted_apart(void **state) {
  fh_gc_disable(); /* torture builds collect of their own accord */
  for (int i = 0; i < 3; i++) {
    struct node *phoenix = new_of_spec(&phoenix_spec);
    fh_set(phoenix, left, phoenix);
    fh_release(phoenix);
    fh_release(node_ring(2));
    fh_stats before = stats_now();
    assert_int_equal((int)fh_collect(i), 2);
    fh_stats after = stats_now();
    for (int k = 0; k < 3; k++) {
      bool mine = k == i;
      assert_moved(generation[k].collections, mine);
      assert_moved(generation[k].scanned, mine ? 3 : 0);
      assert_moved(generation[k].found, mine ? 3 : 0);
      assert_moved(generation[k].collected, mine ? 2 : 0);
      assert_moved(generation[k].resurrected, mine);
      assert_moved(generation[k].uncollectable, 0);
      assert_moved(generation[k].saved, 0);
      assert_moved(generation[k].failed, 0);
      assert_moved(generation[k].time_to_stop.count, mine);
      assert_moved(generation[k].pause.count, mine);
      assert_moved(generation[k].total.count, mine);
    }
    assert_true(after.generation[i].total.total_ns >= after.generation[i].pause.total_ns);
    assert_true(after.generation[i].pause.total_ns > before.generation[i].pause.total_ns);
    fh_drop(&rescued);
    fh_collect(2); /* the finalizer has run: now it dies */
  }
  assert_true(stats_now().objects_live == 0);
  fh_gc_enable();
}

static void immortals(void) {
  require(fh_init(&(fh_options){.flags = FH_OPTION_COUNT_PATHS | FH_OPTION_QUIET}) == FH_OK);
  require(fh_attach("main") == FH_OK);
  struct node *n = node_new(1);
  fh_make_immortal(n);
  fh_make_immortal(n);
  fh_stats before = stats_now();
  require(before.objects_immortal == 1);
  fh_retain(n);
  fh_release(n);
  fh_stats after = stats_now();
  require(after.owner_retains == before.owner_retains && after.stranger_retains == before.stranger_retains);
  fh_detach();
  require(fh_shutdown(0, NULL) == FH_OK);
}

static void immortal_objects_are_counted(void **state) { expect_fine(immortals); }

/* ---- histograms ---- */

static void quantiles_are_exact_within_a_factor_of_two(void **state) {
  fh_histogram h = {0};
  assert_true(fh_histogram_quantile(&h, 0.5) == 0);
  h.count = 100;
  h.bucket[3] = 50;  /* 8..15 ns */
  h.bucket[10] = 49; /* 1,024..2,047 ns */
  h.bucket[20] = 1;
  h.max_ns = 1500000;
  assert_true(fh_histogram_quantile(&h, 0.0) >= 8 && fh_histogram_quantile(&h, 0.0) <= 16);
  assert_true(fh_histogram_quantile(&h, 0.5) >= 8 && fh_histogram_quantile(&h, 0.5) <= 16);
  assert_true(fh_histogram_quantile(&h, 0.51) >= 1024 && fh_histogram_quantile(&h, 0.51) <= 2048);
  assert_true(fh_histogram_quantile(&h, 0.99) >= 1024 && fh_histogram_quantile(&h, 0.99) <= 2048);
  assert_true(fh_histogram_quantile(&h, 1.0) == 1500000); /* never more than the largest one */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      counted(the_size_tells_the_version),
      counted(any_thread_may_ask),
      counted(bytes_follow_objects_and_buffers),
      counted(the_peak_can_be_reset),
      counted(limbo_counts_what_waits),
      counted(objects_are_counted),
      counted(the_owners_path),
      counted(spills_and_take_backs),
      counted(publication_and_merges),
      counted(a_strangers_path),
      counted(a_running_owner_drains_its_queue),
      counted(a_sleeping_owners_queue_is_claimed),
      counted(finalizers_and_resurrections),
      counted(mutators_are_counted),
      counted(stops_are_measured),
      counted(grace_periods_are_counted),
      counted(collections_are_counted),
      counted(generations_are_counted_apart),
      cmocka_unit_test(immortal_objects_are_counted),
      cmocka_unit_test(quantiles_are_exact_within_a_factor_of_two),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
