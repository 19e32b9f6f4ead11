/* SPDX-License-Identifier: MIT */
/* Threads that come and go, through the public interface: attach, detach, blocking regions, safepoints, housekeep, settle,
 * and the guards.
 *
 * Claims: attaches and blocking regions nest in any alternation; a thread that ends is detached by itself, also inside a
 * blocking region; a mutator outlives its thread and is adopted, so ids recycle; begin, end, detach and fh_safepoint are
 * safepoints, and nothing is one under FH_NO_SAFEPOINT; a stop waits for no blocking thread and starves nobody who attaches. */
#include "support/support.h"

/* An object whose finalizer tells that a safepoint ran it. */
static atomic_int finalized;
static void note_finalizer(void *object) { atomic_fetch_add(&finalized, 1); }
static const fh_type_spec final_spec = {.name = "final", .size = sizeof(fh_object), .finalize = note_finalizer};

static void drop_one(void) {
  void *object = new_of_spec(&final_spec);
  fh_release(object);
}

/* ---- nesting ---- */

static void attaches_nest(void **state) {
  assert_true(fh_is_attached());
  assert_int_equal(fh_attach("again"), FH_OK);
  assert_int_equal(fh_attach(NULL), FH_OK);
  assert_int_equal((int)stats_now().attached, 1);
  fh_detach();
  fh_detach();
  assert_true(fh_is_attached());
  fh_release(node_new(1));
}

static void blocking_regions_nest(void **state) {
  fh_blocking_begin();
  assert_false(fh_is_attached());
  fh_blocking_begin();
  fh_blocking_begin();
  fh_blocking_end();
  fh_blocking_end();
  assert_false(fh_is_attached());
  assert_int_equal((int)stats_now().attached, 1); /* it still has a thread */
  fh_blocking_end();
  assert_true(fh_is_attached());
}

static void alternate(int depth) {
  if (!depth) return;
  fh_blocking_begin();
  assert_false(fh_is_attached());
  assert_int_equal(fh_attach("inside"), FH_OK); /* a callback out of a library that knows nothing of the region */
  assert_true(fh_is_attached());
  fh_release(node_new(1));
  assert_int_equal(fh_attach("inside"), FH_OK);
  alternate(depth - 1);
  fh_detach();
  assert_true(fh_is_attached());
  fh_detach();
  assert_false(fh_is_attached());
  fh_blocking_end();
  assert_true(fh_is_attached());
}

static void attach_leaves_a_blocking_region_until_its_detach(void **state) { alternate(20); }

static void a_detached_thread_may_attach_again(void **state) {
  struct node *n = node_new(5);
  for (int i = 0; i < 100; i++) {
    fh_detach();
    assert_false(fh_is_attached());
    assert_int_equal(fh_attach("main"), FH_OK);
  }
  assert_true(fh_refcount(n) == 1);
  fh_release(n);
}

static void leave_late(int index, void *argument) {
  fh_detach();
  require(!fh_is_attached());
  require(fh_attach(NULL) == FH_OK);
}

static void many_threads_attach_under_collections(void **state) {
  for (size_t i = 0; i < scaled(100) + 2; i++) {
    run_threads(8, leave_late, NULL);
    fh_collect(2);
  }
  assert_int_equal((int)stats_now().attached, 1);
}

static atomic_bool enough;

static void come_and_go(int index, void *argument) {
  if (index == 0) {
    for (size_t i = 0; i < scaled(2000) + 50; i++) fh_collect(2);
    atomic_store(&enough, true);
  }
  while (!atomic_load(&enough)) {
    fh_detach();
    require(fh_attach("again") == FH_OK);
    struct node *n = node_new((uint64_t)index);
    fh_set(n, left, n);
    fh_release(n);
    fh_blocking_begin();
    fh_blocking_end();
  }
}

static void nobody_starves_who_attaches_between_stops(void **state) {
  atomic_store(&enough, false);
  run_threads(4, come_and_go, NULL);
}

/* ---- the end of a thread ---- */

static void end_attached(int index, void *argument) { require(fh_attach("left") == FH_OK); }
static void end_attached_twice(int index, void *argument) {
  end_attached(index, argument);
  end_attached(index, argument);
}
static void end_blocking(int index, void *argument) {
  end_attached(index, argument);
  fh_blocking_begin();
}
static void end_attached_in_blocking(int index, void *argument) {
  end_blocking(index, argument);
  end_attached(index, argument);
}
static void end_by_exit(int index, void *argument) {
  end_attached(index, argument);
  drop_one(); /* its finalizer runs on the way out */
  pthread_exit(NULL);
}

static void a_thread_that_ends_is_detached(void **state) {
  atomic_store(&finalized, 0);
  run_bare_threads(4, end_attached, NULL);
  run_bare_threads(4, end_attached_twice, NULL);
  run_bare_threads(4, end_blocking, NULL);
  run_bare_threads(4, end_attached_in_blocking, NULL);
  run_bare_threads(4, end_by_exit, NULL);
  assert_int_equal((int)stats_now().attached, 1);
  assert_int_equal(atomic_load(&finalized), 4);
}

static void mutators_are_adopted(void **state) {
  enum { THREADS = 100 };
  uint64_t before = stats_now().adoptions;
  for (int i = 0; i < THREADS; i++) run_bare_threads(1, end_attached, NULL);
  assert_int_equal((int)stats_now().mutators, 2);
  assert_int_equal((int)(stats_now().adoptions - before), THREADS - 1);
}

static struct node *left_behind[1000];

static void leave_objects(int index, void *argument) {
  for (uint64_t i = 0; i < 1000; i++) {
    left_behind[i] = node_new(i);
    fh_publish(left_behind[i]);
  }
}

static void release_one_in_two(int index, void *argument) {
  for (size_t i = (size_t)index; i < 1000; i += 2) {
    require(node_is_whole(left_behind[i]) && fh_refcount(left_behind[i]) == 1);
    fh_release(left_behind[i]);
  }
}

static void objects_outlive_the_thread_that_made_them(void **state) {
  run_threads(1, leave_objects, NULL);
  fh_collect(2);
  assert_int_equal((int)fh_type_live(node_type()), 1000);
  run_threads(2, release_one_in_two, NULL); /* one of the two adopts the owner, the other is a stranger */
  fh_settle();
  assert_int_equal((int)fh_type_live(node_type()), 0);
}

static void leave_private_ring(int index, void *argument) {
  struct node *a = node_new(1), *b = node_new(2);
  fh_give(a, left, b);
  fh_give(b, left, a);
}

static void private_garbage_of_an_exited_thread_is_collected(void **state) {
  run_threads(4, leave_private_ring, NULL);
  fh_collect(2);
  fh_settle();
  assert_int_equal((int)fh_type_live(node_type()), 0);
  assert_int_equal((int)atomic_load(&node_deaths), 8);
}

/* ---- safepoints ---- */

static void only_a_safepoint_runs_finalizers(void **state) {
  atomic_store(&finalized, 0);
  drop_one();
  assert_int_equal(atomic_load(&finalized), 0);
  fh_safepoint();
  assert_int_equal(atomic_load(&finalized), 1);
  drop_one();
  fh_blocking_begin();
  assert_int_equal(atomic_load(&finalized), 2);
  fh_blocking_end();
  drop_one();
  fh_housekeep();
  assert_int_equal(atomic_load(&finalized), 3);
  drop_one();
  fh_collect(0);
  assert_int_equal(atomic_load(&finalized), 4);
  drop_one();
  fh_settle();
  assert_int_equal(atomic_load(&finalized), 5);
  drop_one();
  fh_detach();
  assert_int_equal(atomic_load(&finalized), 6);
  assert_int_equal(fh_attach("main"), FH_OK);
  drop_one();
  assert_int_equal(fh_attach("nested"), FH_OK); /* nested: no safepoint */
  fh_detach();
  assert_int_equal(atomic_load(&finalized), 6);
}

static void nothing_is_a_safepoint_under_its_guard(void **state) {
  atomic_store(&finalized, 0);
  struct node *ring = node_new(1);
  fh_give(ring, left, ring);
  drop_one();
  {
    FH_NO_SAFEPOINT();
    {
      FH_NO_SAFEPOINT();
      fh_safepoint();
    }
    fh_safepoint();
    fh_housekeep();
    fh_settle();
    assert_int_equal((int)fh_collect(2), 0);
    assert_int_equal(atomic_load(&finalized), 0);
    assert_true(node_is_whole(ring));
  }
  fh_safepoint();
  assert_int_equal(atomic_load(&finalized), 1);
  assert_int_equal((int)fh_collect(2), 1);
}

static struct gate gate = GATE;

static void sleep_until_told(int index, void *argument) {
  FH_BLOCKING();
  gate_open(&gate, index + 1);
  gate_await(&gate, 100);
}

static void poll_until_told(int index, void *argument) {
  if (index < 6)
    sleep_until_told(index, argument);
  else if (index == 6)
    gate_await_running(&gate, 100);
  else {
    gate_await(&gate, 6);
    for (int i = 0; i < 20; i++) {
      fh_collect(2);
      require(fh_check_heap() == FH_OK);
    }
    gate_open(&gate, 100);
  }
}

static void a_stop_waits_for_no_sleeper(void **state) {
  atomic_store(&gate.value, 0);
  uint64_t before = stats_now().stops;
  run_threads(8, poll_until_told, NULL);
  assert_true(stats_now().stops >= before + 40);
}

static void housekeeping_frees_what_is_ripe(void **state) {
  for (uint64_t i = 0; i < 100; i++) {
    struct node *n = node_new(i);
    fh_publish(n);
    fh_release(n);
    fh_retire(fh_alloc(64));
  }
  assert_true(stats_now().limbo_bytes >= 100 * (sizeof(struct node) + 64) || is_torture());
  fh_housekeep(); /* seals, waits for nobody: this is the only mutator */
  fh_housekeep();
  assert_int_equal((int)stats_now().limbo_bytes, 0);
}

static void settling_leaves_nothing_to_do(void **state) {
  atomic_store(&finalized, 0);
  struct node *n = node_new(1);
  fh_publish(n);
  fh_release_later(n);
  struct node *ring = node_new(2);
  fh_give(ring, left, ring);
  drop_one();
  fh_settle();
  assert_int_equal((int)fh_type_live(node_type()), 0);
  assert_int_equal(atomic_load(&finalized), 1);
  assert_int_equal((int)stats_now().limbo_bytes, 0);
}

/* ---- guards ---- */

static void use_guard_detached(int index, void *argument) {
  require(!fh_is_attached());
  {
    FH_ATTACHED(status, "guarded");
    require(status == FH_OK);
    require(fh_is_attached());
    {
      FH_BLOCKING();
      require(!fh_is_attached());
      FH_ATTACHED(inner, "inner");
      require(inner == FH_OK && fh_is_attached());
    }
    require(fh_is_attached());
  }
  require(!fh_is_attached());
}

static void guards_end_with_their_block(void **state) {
  run_bare_threads(2, use_guard_detached, NULL);
  {
    FH_ATTACHED(status, "nested");
    assert_int_equal(status, FH_OK);
  }
  assert_true(fh_is_attached());
}

static void a_guard_that_could_not_attach_does_not_detach(void **state) {
  FH_ATTACHED(status, "nobody runs");
  assert_int_equal(status, FH_ESHUTDOWN);
  assert_false(fh_is_attached());
}

static char said[8];
static size_t saying;
static void say(void *letter) { said[saying++] = *(char *)letter; }

static void deferred_calls_run_in_reverse(void **state) {
  char letter[] = "abcd";
  saying = 0;
  {
    FH_DEFER(say, &letter[0]);
    FH_DEFER(say, &letter[1]);
    {
      FH_DEFER(say, &letter[2]);
      say(&letter[3]);
    }
  }
  said[saying] = 0;
  assert_string_equal(said, "dcba");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      with_runtime(attaches_nest),
      with_runtime(blocking_regions_nest),
      with_runtime(attach_leaves_a_blocking_region_until_its_detach),
      with_runtime(a_detached_thread_may_attach_again),
      with_runtime(many_threads_attach_under_collections),
      with_runtime(nobody_starves_who_attaches_between_stops),
      with_runtime(a_thread_that_ends_is_detached),
      with_runtime(mutators_are_adopted),
      with_runtime(objects_outlive_the_thread_that_made_them),
      with_runtime(private_garbage_of_an_exited_thread_is_collected),
      with_runtime(only_a_safepoint_runs_finalizers),
      with_runtime(nothing_is_a_safepoint_under_its_guard),
      with_runtime(a_stop_waits_for_no_sleeper),
      with_runtime(housekeeping_frees_what_is_ripe),
      with_runtime(settling_leaves_nothing_to_do),
      with_runtime(guards_end_with_their_block),
      cmocka_unit_test(a_guard_that_could_not_attach_does_not_detach),
      cmocka_unit_test(deferred_calls_run_in_reverse),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
