/* SPDX-License-Identifier: MIT */
/* Stopping the world: requesters, those who are waited for, those who sleep, those who are born and those who starve.
 *
 * Claims: between begin and end every mutator but the requester is STOPPED, and nothing moves [stop.still]; nobody is born
 * into a stop [stop.born]; two requesters take turns, each parked in the other's stop; a stop waits for nobody who sleeps and
 * for a claim until it ends; whoever starves comes in before the next stop begins; durations are counted. Real: the whole
 * runtime, whose safepoints park. */
#include "support/inside.h"

#include <limits.h>
#include <sched.h>
#include <string.h>

#include "base/futex.h"
#include "mutator/mutator.h"
#include "ref/merge.h"
#include "sync/stop.h"

/* [stop.still], as it is written. */
static void require_still(void) {
  struct fh__sync_local *sync;
  for (FH__EACH_MUTATOR(sync)) require(fh__state_of(sync) == (sync == &fh__self()->sync ? FH__ATTACHED : FH__STOPPED));
}

/* ---- alone ---- */

static void a_stop_makes_the_epoch_odd_and_even_again(void **state) {
  uint32_t epoch = fh__stop.epoch;
  uint64_t stops = stats_now().stops;
  stop_world();
  assert_int_equal(fh__stop.epoch, epoch + 1);
  assert_int_equal(fh__self()->sync.attention & FH__ATTEND_STOP, 0); /* not for the requester */
  assert_false(fh__mutex_try_lock(&fh__stop.lock));
  resume_world();
  assert_int_equal(fh__stop.epoch, epoch + 2);
  fh_stats stats = stats_now();
  assert_true(stats.stops == stops + 1);
  assert_true(stats.time_to_stop.count == stops + 1 && stats.time_stopped.count == stops + 1);
}

static void durations_fall_into_their_buckets(void **state) {
  fh_histogram histogram = {0};
  fh__durations_add(&histogram, 0);
  fh__durations_add(&histogram, 1);
  fh__durations_add(&histogram, 1023);
  fh__durations_add(&histogram, 1024);
  fh__durations_add(&histogram, UINT64_MAX / 4);
  assert_int_equal(histogram.bucket[0], 2);
  assert_int_equal(histogram.bucket[9], 1);
  assert_int_equal(histogram.bucket[10], 1);
  assert_int_equal(histogram.bucket[39], 1); /* the last takes all that is longer */
  assert_true(histogram.count == 5 && histogram.max_ns == UINT64_MAX / 4);
}

/* ---- computing and sleeping mutators ---- */

enum { COMPUTING = 3, DOZING = 2, SLEEPING = 4, CROWD = COMPUTING + DOZING + SLEEPING };

struct crowd {
  struct gate over;
  uint64_t turns[COMPUTING]; /* written between safepoints only, plainly: a move in a stop is a race, too */
  uint64_t stops;            /* written in stops only, plainly, and read by all the others between their safepoints */
  atomic_bool end;
};

static void compute(struct crowd *crowd, int index) {
  uint64_t known = 0;
  while (!atomic_load_explicit(&crowd->end, memory_order_relaxed)) {
    for (int i = 0; i < 100; i++) crowd->turns[index]++;
    require(crowd->stops >= known);
    known = crowd->stops;
    fh_safepoint();
  }
}

static void doze(struct crowd *crowd) {
  for (uint64_t known = 0; !atomic_load_explicit(&crowd->end, memory_order_relaxed);) {
    fh_blocking_begin();
    sched_yield();
    fh_blocking_end();
    require(crowd->stops >= known);
    known = crowd->stops;
  }
}

static void compute_doze_or_sleep(struct crowd *crowd, int index) {
  if (index < COMPUTING)
    compute(crowd, index);
  else if (index < COMPUTING + DOZING)
    doze(crowd);
  else
    gate_await(&crowd->over, 1);
}

struct crowd_thread {
  struct companion companion;
  struct crowd *crowd;
  int index;
};

static void crowd_body(void *argument) {
  struct crowd_thread *thread = argument;
  compute_doze_or_sleep(thread->crowd, thread->index);
}

static void nothing_moves_in_a_stopped_world(void **state) {
  static struct crowd crowd = {.over = GATE};
  struct crowd_thread thread[CROWD];
  for (int i = 0; i < CROWD; i++) {
    thread[i].crowd = &crowd;
    thread[i].index = i;
    companion_start(&thread[i].companion, crowd_body, &thread[i]);
  }
  for (size_t stop = scaled(400); stop; stop--) {
    stop_world();
    require_still();
    crowd.stops++;
    uint64_t before[COMPUTING], after[COMPUTING];
    memcpy(before, crowd.turns, sizeof before);
    for (int i = 0; i < 20; i++) sched_yield();
    memcpy(after, crowd.turns, sizeof after);
    require_still();
    resume_world();
    assert_memory_equal(before, after, sizeof before);
    for (int i = 0; i < COMPUTING; i++) assert_true(after[i] % 100 == 0); /* parked at a safepoint, nowhere else */
  }
  atomic_store(&crowd.end, true);
  gate_open(&crowd.over, 1);
  for (int i = 0; i < CROWD; i++) companion_join(&thread[i].companion);
}

/* ---- a claim in the way ---- */

struct claim {
  struct fh__mutator *sleeper;
  atomic_bool ended;
};

static void hold_a_claim(void *argument) {
  struct claim *claim = argument;
  while (!(FH__LOAD(&claim->sleeper->sync.attention, SEQ_CST) & FH__ATTEND_STOP)) sched_yield();
  for (int i = 0; i < 1000; i++) sched_yield();
  atomic_store(&claim->ended, true);
  fh__state_unclaim(&claim->sleeper->sync);
}

static struct fh__mutator *left_behind;
static void remember_self(void *unused) { left_behind = fh__self(); }

static void a_stop_waits_for_the_end_of_a_claim(void **state) {
  struct companion companion;
  companion_start(&companion, remember_self, NULL);
  companion_join(&companion);
  struct claim claim = {.sleeper = left_behind};
  require(fh__state_claim(&left_behind->sync));
  companion_start_bare(&companion, hold_a_claim, &claim);
  stop_world();
  require_still();
  assert_true(atomic_load(&claim.ended));
  assert_true(left_behind->sync.taken);
  resume_world();
  companion_join(&companion);
}

/* ---- several requesters ---- */

static void stop_again_and_again(int index, void *argument) {
  uint64_t *plain = argument;
  for (size_t i = scaled(400); i; i--) {
    stop_world();
    require_still();
    ++*plain;
    resume_world();
    fh_safepoint();
  }
}

static void requesters_take_turns(void **state) {
  uint64_t plain = 0;
  run_threads(3, stop_again_and_again, &plain);
  assert_true(plain == 3 * scaled(400));
}

/* ---- births ---- */

static atomic_bool born;
static void be_born(void *unused) {
  require(fh_attach("newborn") == FH_OK);
  atomic_store(&born, true);
  fh_detach();
}

static void a_newborn_waits_for_the_end_of_the_stop(void **state) {
  atomic_store(&born, false);
  stop_world();
  uint32_t mutators = fh__registry_count();
  struct companion companion;
  companion_start_bare(&companion, be_born, NULL);
  for (int i = 0; i < 2000; i++) {
    sched_yield();
    require(fh__registry_count() == mutators && !atomic_load(&born)); /* [stop.born] */
  }
  resume_world();
  companion_join(&companion);
  assert_true(atomic_load(&born));
  assert_int_equal(fh__registry_count(), mutators + 1);
}

static void an_adopter_waits_for_the_end_of_the_stop(void **state) {
  struct companion companion;
  companion_start(&companion, remember_self, NULL);
  companion_join(&companion);
  atomic_store(&born, false);
  stop_world();
  companion_start_bare(&companion, be_born, NULL);
  while (!FH__LOAD(&left_behind->sync.bound, RELAXED)) sched_yield(); /* adopted */
  for (int i = 0; i < 1000; i++) {
    sched_yield();
    require(fh__state_of(&left_behind->sync) == FH__STOPPED && !atomic_load(&born));
  }
  resume_world();
  companion_join(&companion);
  assert_true(atomic_load(&born));
}

static void threads_come_and_go_while_the_world_stops(int index, void *argument) {
  for (size_t i = scaled(1000); i; i--) {
    if (index == 0) {
      stop_world();
      require_still();
      resume_world();
    } else {
      require(fh_attach("coming and going") == FH_OK);
      fh_release(node_new(i));
      fh_blocking_begin();
      fh_blocking_end();
      fh_detach();
    }
  }
}

static void stop_or_churn(int index, void *argument) {
  if (index == 0) require(fh_attach("requester") == FH_OK);
  threads_come_and_go_while_the_world_stops(index, argument);
  if (index == 0) fh_detach();
}

static void stops_race_with_every_other_move(void **state) { run_bare_threads(4, stop_or_churn, NULL); }

/* ---- starvation ---- */

static atomic_bool came_in;
static void starve(void *unused) {
  for (int i = 0; i < 2000; i++) sched_yield();
  atomic_store(&came_in, true);
  if (FH__SUB(&fh__stop.starving, 1, RELEASE) == 1) fh__futex_wake(&fh__stop.starving, INT_MAX);
}

static void a_stop_lets_the_starving_in_first(void **state) {
  atomic_store(&came_in, false);
  FH__ADD(&fh__stop.starving, 1, RELAXED);
  struct companion companion;
  companion_start_bare(&companion, starve, NULL);
  stop_world();
  assert_true(atomic_load(&came_in));
  resume_world();
  companion_join(&companion);
}

struct starving {
  atomic_int attaches;
  atomic_bool end;
};

static void attach_or_stop(int index, void *argument) {
  struct starving *starving = argument;
  enum { ENOUGH = 30 };
  if (index) {
    for (int i = 0; i < ENOUGH; i++) {
      fh_blocking_begin();
      fh_blocking_end();
      atomic_fetch_add(&starving->attaches, 1);
    }
    return;
  }
  while (atomic_load(&starving->attaches) < 2 * ENOUGH) { /* no pause between two stops */
    stop_world();
    resume_world();
    if (test_design() == FH_DESIGN_GIL) fh_safepoint(); /* the others wait for the lock, too */
  }
}

static void back_to_back_stops_starve_nobody(void **state) {
  struct starving starving = {0};
  run_threads(3, attach_or_stop, &starving);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      with_runtime(a_stop_makes_the_epoch_odd_and_even_again),
      cmocka_unit_test(durations_fall_into_their_buckets),
      with_runtime(nothing_moves_in_a_stopped_world),
      with_runtime(a_stop_waits_for_the_end_of_a_claim),
      with_runtime(requesters_take_turns),
      with_runtime(a_newborn_waits_for_the_end_of_the_stop),
      with_runtime(an_adopter_waits_for_the_end_of_the_stop),
      with_runtime(stops_race_with_every_other_move),
      with_runtime(a_stop_lets_the_starving_in_first),
      with_runtime(back_to_back_stops_starve_nobody),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
