/* SPDX-License-Identifier: MIT */
/* Objects made by one mutator and released by another, whatever the first one does meanwhile.
 *
 * Claims: a stranger's release destroys, whether the owner runs, sleeps or is gone [queue.drained]; nobody waits for a sleeping
 * owner; what the owner still holds survives; owner and strangers that race for the last release leave nothing behind; counts
 * that spilled are merged with the rest. */
#include <sched.h>

#include "support/support.h"

enum { MOST = 20000 };
static struct node *objects[MOST];
static size_t many(void) { return scaled(MOST); }

static struct gate gate = GATE;

/* `holds`: the owner keeps a reference of its own to one in two. */
static void make_objects(bool holds) {
  for (size_t i = 0; i < many(); i++) {
    objects[i] = node_new(i);
    fh_give(objects[i], left, node_new(i));
    fh_publish(objects[i]);
    if (holds && i % 2) fh_retain(objects[i]);
  }
}

static void drop_what_was_held(void) {
  for (size_t i = 1; i < many(); i += 2) {
    require(node_is_whole(objects[i]) && node_is_whole(objects[i]->left));
    fh_release(objects[i]);
  }
}

static void own_and_run(void *argument) {
  make_objects(*(bool *)argument);
  gate_open(&gate, 1);
  gate_await_running(&gate, 2);
  if (*(bool *)argument) drop_what_was_held();
}

static void own_and_sleep(void *argument) {
  make_objects(*(bool *)argument);
  fh_blocking_begin(); /* before it says so */
  gate_open(&gate, 1);
  gate_await(&gate, 2);
  fh_blocking_end();
  if (*(bool *)argument) drop_what_was_held();
}

static void own_and_leave(void *argument) {
  make_objects(*(bool *)argument);
  gate_open(&gate, 1);
}

static void release_all(void) {
  for (size_t i = 0; i < many(); i++) fh_release(objects[i]);
}

static void hand_over(void (*own)(void *), bool holds) {
  atomic_store(&gate.value, 0);
  struct companion owner;
  companion_start(&owner, own, &holds);
  gate_await(&gate, 1);
  if (own == own_and_leave) companion_join(&owner);
  release_all();
  size_t held = holds ? many() / 2 : 0;
  if (own == own_and_run)
    while (fh_type_live(node_type()) > 2 * held) fh_safepoint(); /* the owner merges at its next safepoint */
  else
    fh_housekeep(); /* nobody waits for a sleeper: all is gone now */
  require(fh_type_live(node_type()) == 2 * held);
  require(fh_check_heap() == FH_OK);
  gate_open(&gate, 2);
  if (own != own_and_leave)
    companion_join(&owner);
  else if (holds)
    drop_what_was_held();
  fh_settle();
  require(fh_type_live(node_type()) == 0);
  require(atomic_load(&node_deaths) == 2 * many());
}

static void a_running_owner_merges_what_strangers_released(void **state) { hand_over(own_and_run, false); }
static void nobody_waits_for_a_sleeping_owner(void **state) { hand_over(own_and_sleep, false); }
static void nobody_waits_for_an_owner_that_is_gone(void **state) { hand_over(own_and_leave, false); }
static void what_a_running_owner_holds_survives(void **state) { hand_over(own_and_run, true); }
static void what_a_sleeping_owner_holds_survives(void **state) { hand_over(own_and_sleep, true); }
static void what_an_owner_that_is_gone_held_survives(void **state) { hand_over(own_and_leave, true); }

/* The owner falls asleep while the stranger pushes to its queue: one of the two must see the other. */
static atomic_size_t turn, done;
static size_t rounds(void) { return scaled(20000); }

static void fall_asleep_each_turn(void *argument) {
  for (size_t i = 1; i <= rounds(); i++) {
    fh_publish(objects[0] = node_new(i));
    atomic_store(&turn, i);
    for (size_t n = i % 64; n; n--) atomic_load(&turn); /* meets the release at another point each time */
    FH_BLOCKING();
    while (atomic_load(&done) < i) sched_yield();
  }
}

static void a_release_that_meets_the_owner_falling_asleep_leaves_nothing(void **state) {
  atomic_store(&turn, 0);
  atomic_store(&done, 0);
  struct companion owner;
  companion_start(&owner, fall_asleep_each_turn, NULL);
  for (size_t i = 1; i <= rounds(); i++) {
    while (atomic_load(&turn) < i) {
      give_way(); /* the owner may collect */
    }
    fh_release(objects[0]);
    for (int patience = 0; fh_type_live(node_type()); patience++) { /* no collection, no stop: only the two */
      require(patience < 1000000);
      give_way();
    }
    atomic_store(&done, i);
  }
  companion_join(&owner);
  require(atomic_load(&node_deaths) == rounds());
}

/* The releaser's memory does not grow by what a sleeper's does not give back. */
static void own_much_and_sleep(void *argument) {
  for (size_t i = 0; i < many(); i++) fh_publish(objects[i] = node_new(i));
  FH_BLOCKING();
  gate_open(&gate, 1);
  gate_await(&gate, 2);
}

static void released_memory_of_a_sleeper_is_accounted(void **state) {
  atomic_store(&gate.value, 0);
  uint64_t before = stats_now().live_bytes;
  struct companion owner;
  companion_start(&owner, own_much_and_sleep, NULL);
  gate_await(&gate, 1);
  require(stats_now().live_bytes - before >= many() * sizeof(struct node));
  release_all();
  fh_housekeep();
  fh_housekeep();
  require(stats_now().live_bytes == before && stats_now().limbo_bytes == 0);
  gate_open(&gate, 2);
  companion_join(&owner);
}

/* ---- races for the last release ---- */

/* Each object has as many references as there are threads; the owner is one of them, and sleeps now and then. */
static pthread_barrier_t barrier;
static struct node *batch[500];

static void take_turns(int index, void *argument) {
  for (size_t round = 0; round < scaled(400) + 5; round++) {
    if ((size_t)index == round % 3)
      for (uint64_t i = 0; i < 500; i++) {
        batch[i] = node_new(i);
        fh_publish(batch[i]);
        size_t extra = i % 50 == 0 ? 40000 : 0; /* spilled */
        for (size_t j = 0; j < 2 + extra; j++) fh_retain(batch[i]);
        for (size_t j = 0; j < extra; j++) fh_release(batch[i]);
      }
    meet(&barrier);
    for (size_t i = 0; i < 500; i++) {
      struct node *n = batch[(i + (size_t)index * 17) % 500];
      require(node_is_whole(n));
      fh_release(n);
      if (i % 128 == 0 && (round + (size_t)index) % 2) {
        fh_blocking_begin();
        fh_blocking_end();
      }
    }
    meet(&barrier);
    require(atomic_load(&node_deaths) + fh_type_live(node_type()) >= (round + 1) * 500);
  }
}

static void owner_and_strangers_race_for_the_last_release(void **state) {
  pthread_barrier_init(&barrier, NULL, 3);
  run_threads(3, take_turns, NULL);
  pthread_barrier_destroy(&barrier);
  fh_settle();
  assert_int_equal((int)fh_type_live(node_type()), 0);
  assert_true(atomic_load(&node_deaths) == 500 * (scaled(400) + 5));
}

/* A pipeline: one makes, the next ones retain for a while and pass on, the last one releases; all through slots. */
enum { STAGES = 4 };
static fh_slot stage[STAGES];

static void pass_on(int index, void *argument) {
  uint64_t count = scaled(40000), sum = 0;
  for (uint64_t i = 0; i < count;) {
    struct node *n;
    if (index == 0) {
      n = node_new(i + 1);
    } else {
      n = fh_slot_swap(&stage[index - 1], NULL);
      if (!n) {
        give_way();
        continue;
      }
    }
    require(node_is_whole(n));
    i++;
    sum += n->id;
    if (index == STAGES - 1) {
      fh_release(n);
      continue;
    }
    while (!fh_slot_cas(&stage[index], NULL, n)) give_way();
    fh_release(n);
  }
  require(sum == count * (count + 1) / 2);
}

static void a_pipeline_passes_each_object_once(void **state) {
  run_threads(STAGES, pass_on, NULL);
  fh_settle();
  assert_int_equal((int)fh_type_live(node_type()), 0);
  assert_true(atomic_load(&node_deaths) == scaled(40000));
}

/* Threads that come, make, take from their predecessors, and leave objects alive. */
static fh_slot heritage;

static void inherit(int index, void *argument) {
  struct node *old = fh_slot_swap(&heritage, NULL);
  struct node *list = NULL;
  for (uint64_t i = 0; i < 100; i++) {
    struct node *n = node_new(i);
    fh_give(n, left, list);
    list = n;
  }
  if (old) {
    for (struct node *n = old; n; n = n->left) require(node_is_whole(n));
    fh_release(old);
  }
  old = fh_slot_swap(&heritage, list);
  if (old) fh_release(old);
}

static void threads_exit_and_leave_objects_alive(void **state) {
  for (size_t i = 0; i < scaled(500) + 5; i++) run_threads(4, inherit, NULL);
  assert_true(fh_type_live(node_type()) <= 400);
  assert_int_equal((int)stats_now().attached, 1);
  assert_true(stats_now().mutators <= 5);
  fh_slot_store(&heritage, NULL);
  fh_settle();
  assert_int_equal((int)fh_type_live(node_type()), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      with_runtime(a_running_owner_merges_what_strangers_released),
      with_runtime(nobody_waits_for_a_sleeping_owner),
      with_runtime(nobody_waits_for_an_owner_that_is_gone),
      with_runtime(what_a_running_owner_holds_survives),
      with_runtime(what_a_sleeping_owner_holds_survives),
      with_runtime(what_an_owner_that_is_gone_held_survives),
      with_runtime(a_release_that_meets_the_owner_falling_asleep_leaves_nothing),
      with_runtime(released_memory_of_a_sleeper_is_accounted),
      with_runtime(owner_and_strangers_race_for_the_last_release),
      with_runtime(a_pipeline_passes_each_object_once),
      with_runtime(threads_exit_and_leave_objects_alive),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
