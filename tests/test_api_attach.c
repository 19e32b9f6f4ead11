/* SPDX-License-Identifier: MIT */
/* Coming and going, where the public tests cannot look: what application code that runs on the way may do, how threads end,
 * what is left in the mutator, and what happens without memory.
 *
 * Claims: a finalizer may attach, detach and block, at every safepoint of the way in and out; attaches and regions nest up
 * to a depth, and one more traps; a thread that ends in a region, with locks held, or inside a finalizer leaves a mutator
 * that the next one can adopt; detach leaves no credit, no work and no open segment [account.sum]; the sections around a
 * blocking region stay given up inside it; without memory or ids an attach is refused and nothing stays behind. */
#include "support/exhaust.h"

#include <freehold/lock.h>

#include "mutator/mutator.h"

/* ---- a finalizer that does what any code does ---- */

static atomic_int finalized;

static void attach_and_block(void *object) {
  require(fh_attach("inside") == FH_OK);
  require(fh_is_attached());
  fh_blocking_begin();
  require(!fh_is_attached());
  require(fh_attach("inside the region") == FH_OK);
  fh_release(node_new(1));
  fh_detach();
  require(!fh_is_attached());
  fh_blocking_end();
  fh_detach();
  require(fh_is_attached());
  atomic_fetch_add(&finalized, 1);
}
static const fh_type_spec busy_spec = {.name = "busy", .size = sizeof(fh_object), .finalize = attach_and_block};

static void drop_busy(void) {
  void *object = new_of_spec(&busy_spec);
  fh_release(object);
}

static int setup(void **state) {
  atomic_store(&finalized, 0);
  return runtime_setup(state);
}

static void finalizers_attach_and_block_at_a_safepoint(void **state) {
  drop_busy();
  fh_safepoint();
  assert_int_equal(atomic_load(&finalized), 1);
}

static void finalizers_attach_and_block_on_the_way_into_a_region(void **state) {
  drop_busy();
  fh_blocking_begin();
  assert_int_equal(atomic_load(&finalized), 1);
  assert_false(fh_is_attached());
  fh_blocking_end();
  assert_true(fh_is_attached());
}

static void finalizers_attach_and_block_on_the_way_out_of_a_nested_attach(void **state) {
  fh_blocking_begin();
  assert_int_equal(fh_attach("callback"), FH_OK);
  drop_busy();
  fh_detach();
  assert_int_equal(atomic_load(&finalized), 1);
  assert_false(fh_is_attached());
  fh_blocking_end();
}

static void drop_and_leave(void *unused) { drop_busy(); }

static void finalizers_attach_and_block_in_the_last_detach(void **state) {
  struct companion companion;
  companion_start(&companion, drop_and_leave, NULL);
  companion_join(&companion);
  assert_int_equal(atomic_load(&finalized), 1);
  assert_int_equal(stats_now().attached, 1);
  assert_int_equal(fh__registry.free_head, 2);
  assert_int_equal(fh__registry_get(2)->next_free, 0); /* unbound once */
}

static void drop_in_a_region_and_end(void *unused) {
  require(fh_attach("ending") == FH_OK);
  drop_busy();
  fh_blocking_begin();
  require(fh_attach("ending") == FH_OK);
  drop_busy();
}

static void finalizers_attach_and_block_when_a_thread_ends(void **state) {
  struct companion companion;
  companion_start_bare(&companion, drop_in_a_region_and_end, NULL);
  companion_join(&companion);
  assert_int_equal(atomic_load(&finalized), 2);
  assert_int_equal(stats_now().attached, 1);
}

/* ---- depth ---- */

static void nest(int levels) {
  runtime_start(NULL);
  for (int level = 1; level <= levels; level++) {
    if (level % 2)
      fh_blocking_begin();
    else
      require(fh_attach("deeper") == FH_OK);
  }
}
static void nest_as_deep_as_can_be(void) {
  nest(FH__MODE_DEPTH - 1);
  for (int level = FH__MODE_DEPTH - 1; level; level--) {
    if (level % 2)
      fh_blocking_end();
    else
      fh_detach();
  }
  runtime_stop();
}
static void nest_one_deeper(void) { nest(FH__MODE_DEPTH); }
static void block_one_deeper(void) {
  nest(FH__MODE_DEPTH - 2);
  fh_blocking_begin();
  require(fh_attach("deepest") == FH_OK);
  fh_blocking_begin();
}

static void regions_and_attaches_nest_to_a_depth(void **state) {
  expect_fine(nest_as_deep_as_can_be);
  expect_trap(nest_one_deeper, "nested too deeply", NULL);
  expect_trap(block_one_deeper, "nested too deeply", NULL);
}

static void counting_within_a_level_has_no_depth(void **state) {
  for (int i = 0; i < 1000; i++) assert_int_equal(fh_attach("again"), FH_OK);
  for (int i = 0; i < 1000; i++) fh_blocking_begin();
  for (int i = 0; i < 1000; i++) fh_blocking_end();
  for (int i = 0; i < 1000; i++) fh_detach();
  assert_true(fh_is_attached());
}

/* ---- how threads end ---- */

static struct fh__mutator *first;
static struct node *locked;

static void end_with_a_lock_held(void *unused) {
  require(fh_attach("untidy") == FH_OK);
  first = fh__self();
  fh_lock(locked);
}
static void *ended; /* its finalizer does not return */
static void end_in_a_finalizer(void *object) {
  if (ended) return;
  ended = object;
  pthread_exit(NULL);
}
static const fh_type_spec ending_spec = {.name = "ending", .size = sizeof(fh_object), .finalize = end_in_a_finalizer};

static void end_in_the_middle(void *unused) {
  fh_type *type;
  require(fh_attach("untidy") == FH_OK);
  require(fh_type_register(&ending_spec, &type) == FH_OK);
  first = fh__self();
  for (int i = 0; i < 2; i++) {
    void *object = fh_new(type);
    require(object);
    fh_publish(object);
    fh_release(object);
  }
  fh_safepoint();
}

static void adopt_and_work(void *unused) {
  require(fh__self() == first);
  require(!first->held_count && !first->critical && !first->no_safepoint && !first->finalizing && !first->collecting);
  fh_release(node_new(1));
  drop_busy();
  fh_safepoint();
  fh_collect(2);
}

static void whoever_comes_next_finds_a_tidy_mutator(void (*body)(void *)) {
  struct companion companion;
  companion_start_bare(&companion, body, NULL);
  companion_join(&companion);
  assert_int_equal(stats_now().attached, 1);
  companion_start(&companion, adopt_and_work, NULL);
  companion_join(&companion);
  assert_int_equal(atomic_load(&finalized), 1);
}

static void a_thread_may_end_with_a_lock_held(void **state) {
  locked = node_new(1);
  fh_publish(locked);
  whoever_comes_next_finds_a_tidy_mutator(end_with_a_lock_held);
  fh_lock(locked); /* it was given up */
  fh_unlock(locked);
  fh_release(locked);
}

static void a_thread_may_end_in_a_finalizer(void **state) {
  ended = NULL;
  whoever_comes_next_finds_a_tidy_mutator(end_in_the_middle);
  fh_type *type = type_of_spec(&ending_spec);
  fh_housekeep();
  assert_int_equal(fh_type_live(type), 0); /* the other one, too, was finished on the way out */
}

static void leave_something(void *unused) {
  struct node *n = node_new(1);
  fh_publish(n);
  fh_release(n);
  void *block = fh_alloc(100);
  first = fh__self();
  fh_free(block);
}

static void a_mutator_that_was_left_holds_nothing(void **state) {
  struct companion companion;
  companion_start(&companion, leave_something, NULL);
  companion_join(&companion);
  assert_int_equal(first->account.credit, 0);
  assert_null(first->producer.open);
  assert_null(first->finalizable.first);
  assert_null(first->deferred.first);
  assert_null(first->garbage);
  assert_true(fh__limbo_batch_is_empty(&first->limbo.open)); /* sealed: others can free it */
  assert_null(first->heap);
  assert_int_equal(first->sync.bound, 0);
  assert_int_equal(fh__state_of(&first->sync), FH__DETACHED);
}

/* ---- sections around a region ---- */

static void sections_stay_given_up_inside_a_region(void **state) {
  struct node *outer = node_new(1), *inner = node_new(2);
  {
    FH_CRITICAL(outer);
    assert_int_not_equal(outer->fh.fh__lock, 0);
    fh_blocking_begin();
    assert_int_equal(outer->fh.fh__lock, 0);
    assert_int_equal(fh_attach("callback"), FH_OK);
    {
      FH_CRITICAL(inner);
      assert_int_not_equal(inner->fh.fh__lock, 0);
    }
    drop_busy();
    fh_safepoint();
    assert_int_equal(outer->fh.fh__lock, 0); /* not taken again by what happens in there */
    fh_detach();
    assert_int_equal(outer->fh.fh__lock, 0);
    fh_blocking_end();
    assert_int_not_equal(outer->fh.fh__lock, 0);
  }
  assert_int_equal(outer->fh.fh__lock, 0);
  fh_release(outer);
  fh_release(inner);
}

static struct node *board[16]; /* atomic: references of the test's own making, for the companion to release */
static atomic_bool over;

static void release_what_is_there(void *unused) {
  for (size_t at = 0; !atomic_load(&over); at = (at + 1) % 16) {
    struct node *n = __atomic_exchange_n(&board[at], NULL, __ATOMIC_ACQ_REL);
    if (n) fh_release(n); /* queued to its owner, which may be on its way out */
    if (!at) fh_safepoint();
  }
}

/* What is queued on the way out is merged before the region begins, and that takes the sections again. */
static void sections_are_given_up_whatever_comes_in_on_the_way(void **state) {
  struct node *guarded = node_new(1);
  struct companion companion;
  size_t held = 0;
  atomic_store(&over, false);
  companion_start(&companion, release_what_is_there, NULL);
  for (size_t i = 0; i < scaled(200000); i++) {
    struct node *n = node_new(i);
    fh_publish(n);
    n = __atomic_exchange_n(&board[i % 16], n, __ATOMIC_ACQ_REL);
    if (n) fh_release(n);
    FH_CRITICAL(guarded);
    fh_blocking_begin();
    held += guarded->fh.fh__lock != 0;
    fh_blocking_end();
  }
  atomic_store(&over, true);
  companion_join(&companion);
  for (int i = 0; i < 16; i++)
    if (board[i]) fh_release(board[i]);
  for (int i = 0; i < 16; i++) board[i] = NULL;
  assert_int_equal(held, 0);
  fh_release(guarded);
}

/* ---- limits ---- */

static void attach_without_memory(void) {
  static struct exhausted exhausted;
  require(fh_init(NULL) == FH_OK);
  exhaust_memory(&exhausted);
  require(fh_attach("nobody") == FH_ENOMEM);
  require(!fh_is_attached() && stats_now().attached == 0);
  refill_memory(&exhausted);
  require(fh_attach("somebody") == FH_OK);
  fh_detach();
  fh__producer_finish(&fh__mutator_by_id(1)->producer); /* an adopter finds a mutator, and no reserve for its queues */
  exhaust_memory(&exhausted);
  require(fh_attach("nobody") == FH_ENOMEM);
  require(!fh_is_attached() && stats_now().attached == 0);
  refill_memory(&exhausted);
  require(fh_attach("somebody") == FH_OK && stats_now().adoptions == 2);
  runtime_stop();
}

static void attach_one_too_many(void) {
  require(fh_init(NULL) == FH_OK);
  fh__registry.count = FH__MUTATORS_MAX;
  fh_status status = fh_attach("one too many");
  fh__registry.count = 0;
  require(status == FH_ELIMIT && !fh_is_attached());
  require(fh_attach("first") == FH_OK);
  runtime_stop();
}

static void without_memory_or_ids_an_attach_is_refused(void **state) {
  if (can_exhaust_memory()) expect_fine(attach_without_memory);
  expect_fine(attach_one_too_many);
}

#define with_counts(test) cmocka_unit_test_setup_teardown(test, setup, runtime_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      with_counts(finalizers_attach_and_block_at_a_safepoint),
      with_counts(finalizers_attach_and_block_on_the_way_into_a_region),
      with_counts(finalizers_attach_and_block_on_the_way_out_of_a_nested_attach),
      with_counts(finalizers_attach_and_block_in_the_last_detach),
      with_counts(finalizers_attach_and_block_when_a_thread_ends),
      cmocka_unit_test(regions_and_attaches_nest_to_a_depth),
      with_counts(counting_within_a_level_has_no_depth),
      with_counts(a_thread_may_end_with_a_lock_held),
      with_counts(a_thread_may_end_in_a_finalizer),
      with_counts(a_mutator_that_was_left_holds_nothing),
      with_counts(sections_stay_given_up_inside_a_region),
      with_counts(sections_are_given_up_whatever_comes_in_on_the_way),
      cmocka_unit_test(without_memory_or_ids_an_attach_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
