/* SPDX-License-Identifier: MIT */
/* Object locks, through the public interface: fh_lock, fh_unlock, fh_critical_begin, fh_critical_end and their guards.
 *
 * Claims: one holder at a time; sections nest, over the same object too, and never deadlock with each other, in whatever order,
 * nor with a stop; a section is given up while its thread blocks, and held again afterwards; locks by hand stay held. */
#include <sched.h>

#include "support/support.h"

static struct node *left, *right;
static uint64_t plain_left, plain_right; /* guarded by the locks of the two nodes, and by nothing else */

static int setup(void **state) {
  runtime_setup(state);
  left = node_new(1);
  right = node_new(2);
  fh_publish(left);
  fh_publish(right);
  plain_left = plain_right = 0;
  return 0;
}

static int teardown(void **state) {
  fh_drop(&left);
  fh_drop(&right);
  return runtime_teardown(state);
}
#define with_nodes(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

static size_t turns(void) { return scaled(200000); }

/* Adds one, and now and then lets another thread run between the read and the write: without exclusion its work is lost. */
static void add_one(uint64_t *count, size_t i) {
  uint64_t seen = *count;
  if (i % 64 == 0) sched_yield();
  *count = seen + 1;
}

/* ---- mutual exclusion ---- */

static void count_by_hand(int index, void *argument) {
  for (size_t i = 0; i < turns(); i++) {
    fh_lock(left);
    add_one(&plain_left, i);
    fh_unlock(left);
  }
}

static void locks_by_hand_exclude_each_other(void **state) {
  run_threads(4, count_by_hand, NULL);
  assert_true(plain_left == 4 * turns());
}

static void count_in_sections(int index, void *argument) {
  for (size_t i = 0; i < turns(); i++) {
    FH_CRITICAL(left);
    add_one(&plain_left, i);
  }
}

static void sections_exclude_each_other(void **state) {
  run_threads(4, count_in_sections, NULL);
  assert_true(plain_left == 4 * turns());
}

static void count_both_ways(int index, void *argument) {
  if (index % 2)
    count_in_sections(index, argument);
  else
    count_by_hand(index, argument);
}

static void sections_and_locks_by_hand_exclude_each_other(void **state) {
  run_threads(4, count_both_ways, NULL);
  assert_true(plain_left == 4 * turns());
}

static void count_pairs(int index, void *argument) {
  for (size_t i = 0; i < turns() / 2; i++) {
    if (index % 2) {
      FH_CRITICAL2(left, right);
      add_one(&plain_left, i);
      add_one(&plain_right, i);
    } else {
      FH_CRITICAL2(right, left);
      add_one(&plain_left, i);
      add_one(&plain_right, i);
    }
  }
}

static void sections_over_two_in_opposite_orders_do_not_deadlock(void **state) {
  run_threads(4, count_pairs, NULL);
  assert_true(plain_left == 4 * (turns() / 2) && plain_right == plain_left);
}

static void count_one_or_both(int index, void *argument) {
  for (size_t i = 0; i < turns() / 2; i++) {
    FH_CRITICAL2(index == 3 ? right : left, index == 2 ? left : right);
    if (index != 3) add_one(&plain_left, i);
    if (index != 2) add_one(&plain_right, i);
  }
}

static void sections_over_two_exclude_those_over_one_of_them(void **state) {
  run_threads(4, count_one_or_both, NULL);
  assert_true(plain_left == 3 * (turns() / 2) && plain_right == plain_left);
}

/* The inner section may give the outer one up; its own protection, and the outer one's after its end, must hold. */
static void count_nested(int index, void *argument) {
  struct node *outer = index % 2 ? left : right, *inner = index % 2 ? right : left;
  uint64_t *outer_count = index % 2 ? &plain_left : &plain_right, *inner_count = index % 2 ? &plain_right : &plain_left;
  for (size_t i = 0; i < turns() / 2; i++) {
    FH_CRITICAL(outer);
    add_one(outer_count, i);
    {
      FH_CRITICAL(inner);
      add_one(inner_count, i);
    }
    add_one(outer_count, i);
  }
}

static void nested_sections_in_opposite_orders_do_not_deadlock(void **state) {
  run_threads(4, count_nested, NULL);
  assert_true(plain_left + plain_right == 4 * 3 * (turns() / 2));
  assert_true(plain_left == plain_right);
}

static void count_self_nested(int index, void *argument) {
  for (size_t i = 0; i < turns() / 4; i++) {
    FH_CRITICAL(left);
    add_one(&plain_left, i);
    {
      FH_CRITICAL2(left, right);
      add_one(&plain_left, i);
      add_one(&plain_right, i);
      {
        FH_CRITICAL2(left, left);
        add_one(&plain_left, i);
      }
    }
    add_one(&plain_left, i);
  }
}

static void sections_nest_over_the_same_object(void **state) {
  count_self_nested(0, NULL);
  run_threads(3, count_self_nested, NULL);
  assert_true(plain_left == 4 * 4 * (turns() / 4));
  assert_true(plain_right == 4 * (turns() / 4));
}

/* ---- with stops ---- */

static void count_and_collect(int index, void *argument) {
  for (size_t i = 0; i < scaled(20000); i++) {
    FH_CRITICAL2(index % 2 ? left : right, index % 2 ? right : left);
    add_one(&plain_left, i);
    if (index == 0 && i % 100 == 0) fh_collect(2); /* gives the section up, and takes it again */
    if (index == 1) fh_safepoint();
    add_one(&plain_left, i);
  }
}

static void sections_do_not_deadlock_with_stops(void **state) {
  run_threads(4, count_and_collect, NULL);
  assert_true(plain_left == 4 * 2 * scaled(20000));
}

static void collect_holding_a_lock(int index, void *argument) {
  for (size_t i = 0; i < scaled(4000); i++) {
    fh_lock(left);
    add_one(&plain_left, i);
    if (i % 10 == 0) fh_collect(2); /* the others wait for the lock, and the stop must not wait for them */
    add_one(&plain_left, i);
    fh_unlock(left);
  }
}

static void a_stop_does_not_wait_for_who_waits_for_a_lock(void **state) {
  run_threads(4, collect_holding_a_lock, NULL);
  assert_true(plain_left == 4 * 2 * scaled(4000));
}

/* ---- given up while blocking ---- */

static struct gate gate = GATE;

static void lock_meanwhile(void *argument) {
  gate_await(&gate, 1);
  {
    FH_CRITICAL2(left, right);
    plain_left = 1;
  }
  gate_open(&gate, 2);
}

static void a_section_is_given_up_while_its_thread_blocks(void **state) {
  atomic_store(&gate.value, 0);
  struct companion other;
  companion_start(&other, lock_meanwhile, NULL);
  {
    FH_CRITICAL(left);
    FH_CRITICAL(right);
    gate_open(&gate, 1);
    gate_await(&gate, 2); /* would never end if the two were still held */
    assert_true(plain_left == 1);
  }
  companion_join(&other);
}

static atomic_int inside;

static void be_alone(int index, void *argument) {
  for (size_t i = 0; i < scaled(20000); i++) {
    FH_CRITICAL(left);
    require(atomic_fetch_add(&inside, 1) == 0);
    atomic_fetch_sub(&inside, 1);
    fh_blocking_begin();
    fh_blocking_end();
    require(atomic_fetch_add(&inside, 1) == 0); /* held again */
    atomic_fetch_sub(&inside, 1);
  }
}

static void a_section_is_held_again_after_blocking(void **state) { run_threads(4, be_alone, NULL); }

static atomic_bool released;

static void take_by_hand(void *argument) {
  gate_await(&gate, 1);
  gate_open(&gate, 2);
  fh_lock(left);
  require(atomic_load(&released));
  fh_unlock(left);
}

static void a_lock_by_hand_stays_held_while_its_thread_blocks(void **state) {
  atomic_store(&gate.value, 0);
  atomic_store(&released, false);
  struct companion other;
  companion_start(&other, take_by_hand, NULL);
  fh_lock(left);
  gate_open(&gate, 1);
  gate_await(&gate, 2);
  for (int i = 0; i < 100; i++) {
    fh_safepoint();
    fh_collect(2);
    sched_yield();
  }
  atomic_store(&released, true);
  fh_unlock(left);
  companion_join(&other);
}

static void sixty_four_objects_may_be_locked_by_hand(void **state) {
  enum { MOST = 64 };
  struct node *nodes[MOST];
  for (uint64_t i = 0; i < MOST; i++) fh_lock(nodes[i] = node_new(i)); /* private ones, too */
  for (int i = 0; i < MOST; i += 2) fh_unlock(nodes[i]);
  for (int i = 0; i < MOST; i += 2) fh_lock(nodes[i]);
  for (int i = MOST - 1; i >= 0; i--) {
    fh_unlock(nodes[i]);
    fh_release(nodes[i]);
  }
}

static const fh_ref guarded_refs[] = {FH_FIELD(struct node, left), FH_END};
static const fh_type_spec guarded_spec = {
    .name = "guarded", .size = sizeof(struct node), .refs = guarded_refs, .flags = FH_LOCKED};

static void fields_of_locked_types_are_written_under_the_lock(void **state) {
  struct node *n = new_of_spec(&guarded_spec);
  fh_give(n, left, node_new(1)); /* private: no lock needed */
  fh_publish(n);
  {
    FH_CRITICAL(n);
    fh_give(n, left, node_new(2));
  }
  fh_lock(n);
  fh_clear(n, left);
  fh_unlock(n);
  fh_release(n);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      with_nodes(locks_by_hand_exclude_each_other),
      with_nodes(sections_exclude_each_other),
      with_nodes(sections_and_locks_by_hand_exclude_each_other),
      with_nodes(sections_over_two_in_opposite_orders_do_not_deadlock),
      with_nodes(sections_over_two_exclude_those_over_one_of_them),
      with_nodes(nested_sections_in_opposite_orders_do_not_deadlock),
      with_nodes(sections_nest_over_the_same_object),
      with_nodes(sections_do_not_deadlock_with_stops),
      with_nodes(a_stop_does_not_wait_for_who_waits_for_a_lock),
      with_nodes(a_section_is_given_up_while_its_thread_blocks),
      with_nodes(a_section_is_held_again_after_blocking),
      with_nodes(a_lock_by_hand_stays_held_while_its_thread_blocks),
      with_nodes(sixty_four_objects_may_be_locked_by_hand),
      with_nodes(fields_of_locked_types_are_written_under_the_lock),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
