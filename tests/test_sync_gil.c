/* SPDX-License-Identifier: MIT */
/* The one lock of the gil design, by itself.
 *
 * Claims: in the other designs nobody takes it; one at a time has it, and sees what the one before wrote [gil.owner]; who waits
 * for the switch interval asks the holder, and the one that holds it by then; who let go because it was asked comes back after
 * somebody else had it, and at once if nobody wants it; after a fork nobody waits. Real: the lock; mutators are bare sync parts. */
#include "support/support.h"

#include <sched.h>

#include "sync/gil.h"

enum { PARTS = 4 };
static struct fh__sync_local part[PARTS];

static int setup(void **state) {
  fh__gil = (struct fh__gil){.on = true, .interval_ns = 100000};
  for (int i = 0; i < PARTS; i++) part[i] = (struct fh__sync_local){0};
  return 0;
}

static int teardown(void **state) {
  int left = fh__gil.word != 0 || fh__gil.waiting != 0 || fh__gil.yielding != 0 || fh__gil.holder != NULL;
  fh__gil = (struct fh__gil){0};
  return left;
}

static bool is_asked(const struct fh__sync_local *sync) { return fh__attention_of(sync) & FH__ATTEND_GIL; }

/* As a safepoint does it. */
static void hand_over(struct fh__sync_local *sync) {
  FH__AND(&sync->attention, ~(uint32_t)FH__ATTEND_GIL, SEQ_CST);
  uint32_t turn = FH__LOAD(&fh__gil.turn, RELAXED);
  fh__gil_release();
  fh__gil_let_others(turn);
  fh__gil_take(sync);
}

/* ---- alone ---- */

static void in_the_other_designs_nobody_takes_it(void **state) {
  fh__gil.on = false;
  fh__gil_take(&part[0]);
  assert_int_equal(fh__gil.word, 0);
  assert_int_equal(fh__gil.turn, 0);
  assert_null(fh__gil.holder);
  fh__gil_take(&part[1]); /* so this does not wait */
  fh__gil_release();
}

static void a_free_one_is_taken_and_given_back(void **state) {
  for (uint32_t i = 0; i < 3; i++) {
    fh__gil_take(&part[i]);
    assert_int_equal(fh__gil.word, 1);
    assert_ptr_equal(fh__gil.holder, &part[i]);
    assert_int_equal(fh__gil.turn, i + 1);
    fh__gil_release();
    assert_int_equal(fh__gil.word, 0);
    assert_null(fh__gil.holder);
    assert_false(is_asked(&part[i]));
  }
}

static void who_lets_go_while_nobody_waits_goes_on_at_once(void **state) {
  fh__gil_take(&part[0]);
  hand_over(&part[0]);
  assert_ptr_equal(fh__gil.holder, &part[0]);
  assert_int_equal(fh__gil.turn, 2);
  fh__gil_let_others(1); /* it was somebody else's turn since */
  fh__gil_release();
}

static void a_reset_leaves_the_caller_alone_with_it(void **state) {
  fh__gil.word = 2; /* as a fork finds it amid others */
  fh__gil.waiting = 3;
  fh__gil.yielding = 1;
  fh__gil.holder = &part[1];
  fh__gil_reset(&part[0]);
  assert_int_equal(fh__gil.word, 1);
  assert_int_equal(fh__gil.waiting, 0);
  assert_int_equal(fh__gil.yielding, 0);
  assert_ptr_equal(fh__gil.holder, &part[0]);
  fh__gil_release();
  fh__gil.word = 1;
  fh__gil.waiting = 1;
  fh__gil_reset(NULL); /* by a thread that did not hold it */
  assert_int_equal(fh__gil.word, 0);
  assert_int_equal(fh__gil.waiting, 0);
  assert_null(fh__gil.holder);
  fh__gil_take(&part[2]);
  fh__gil_release();
}

/* ---- two ---- */

static struct gate held = GATE, leave = GATE;

static void take_and_hold(void *argument) {
  fh__gil_take(argument);
  gate_open(&held, 1);
  gate_await(&leave, 1);
  fh__gil_release();
}

static void start_waiter(struct companion *companion) {
  atomic_store(&held.value, 0);
  atomic_store(&leave.value, 0);
  companion_start_bare(companion, take_and_hold, &part[1]);
}

static void a_waiter_asks_the_holder_and_gets_it(void **state) {
  struct companion companion;
  fh__gil_take(&part[0]);
  start_waiter(&companion);
  while (!is_asked(&part[0])) sched_yield(); /* the interval passes */
  assert_int_equal(atomic_load(&held.value), 0);
  assert_ptr_equal(fh__gil.holder, &part[0]);
  fh__gil_release();
  gate_await(&held, 1);
  assert_ptr_equal(FH__LOAD(&fh__gil.holder, ACQUIRE), &part[1]);
  assert_false(is_asked(&part[1]));
  gate_open(&leave, 1);
  companion_join(&companion);
  assert_int_equal(fh__gil.turn, 2);
}

static void who_was_asked_lets_the_waiter_have_it_first(void **state) {
  for (int i = 0; i < 50; i++) {
    struct companion companion;
    fh__gil_take(&part[0]);
    start_waiter(&companion);
    while (!is_asked(&part[0])) sched_yield();
    uint32_t turn = fh__gil.turn;
    fh__gil_release();
    fh__gil_let_others(turn); /* not a try: this thread would be back before the other one wakes up */
    assert_int_not_equal(FH__LOAD(&fh__gil.word, SEQ_CST), 0);
    gate_open(&leave, 1);
    companion_join(&companion);
    FH__AND(&part[0].attention, 0u, RELAXED);
    assert_int_equal(atomic_load(&held.value), 1);
  }
}

/* It asks whoever holds it by then, not whom it found first. */
static void a_waiter_asks_the_next_holder_too(void **state) {
  struct companion companion;
  fh__gil_take(&part[0]);
  start_waiter(&companion);
  while (!is_asked(&part[0])) sched_yield();
  /* Two holders in a row without a free word in between, which the waiter could take: as if another one had been faster. */
  FH__STORE_(&fh__gil.holder, &part[2], RELEASE);
  FH__ADD(&fh__gil.turn, 1, SEQ_CST);
  while (!is_asked(&part[2])) sched_yield();
  fh__gil_release();
  gate_await(&held, 1);
  gate_open(&leave, 1);
  companion_join(&companion);
}

/* ---- many ---- */

struct race {
  uint64_t sum; /* not atomic: [gil.owner] */
  atomic_uint handed;
  uint64_t each[PARTS];
};

/* Never lets go unless it is asked: that all of them get on, and how often, is the lock's doing. */
static void hold_until_asked(int index, void *argument) {
  enum { ENOUGH = 60 };
  struct race *race = argument;
  fh__gil_take(&part[index]);
  while (atomic_load(&race->handed) < ENOUGH) {
    race->sum++;
    race->each[index]++;
    require(FH__LOAD(&fh__gil.holder, RELAXED) == &part[index]);
    if (!is_asked(&part[index])) continue;
    hand_over(&part[index]);
    atomic_fetch_add(&race->handed, 1);
  }
  fh__gil_release();
}

static void threads_that_only_compute_take_turns(void **state) {
  struct race race = {0};
  run_bare_threads(PARTS, hold_until_asked, &race);
  uint64_t sum = 0;
  for (int i = 0; i < PARTS; i++) sum += race.each[i];
  assert_true(race.sum == sum);
}

static void take_and_release_often(int index, void *argument) {
  struct race *race = argument;
  for (size_t i = 0; i < scaled(200000); i++) {
    fh__gil_take(&part[index]);
    race->sum++;
    if (is_asked(&part[index])) hand_over(&part[index]);
    race->sum++;
    fh__gil_release();
    if (i % 64 == (size_t)index) sched_yield();
  }
}

static void one_at_a_time_has_it(void **state) {
  struct race race = {0};
  run_bare_threads(PARTS, take_and_release_often, &race);
  assert_true(race.sum == 2 * PARTS * scaled(200000));
}

#define with_gil(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      with_gil(in_the_other_designs_nobody_takes_it),
      with_gil(a_free_one_is_taken_and_given_back),
      with_gil(who_lets_go_while_nobody_waits_goes_on_at_once),
      with_gil(a_reset_leaves_the_caller_alone_with_it),
      with_gil(a_waiter_asks_the_holder_and_gets_it),
      with_gil(who_was_asked_lets_the_waiter_have_it_first),
      with_gil(a_waiter_asks_the_next_holder_too),
      with_gil(threads_that_only_compute_take_turns),
      with_gil(one_at_a_time_has_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
