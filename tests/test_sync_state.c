/* SPDX-License-Identifier: MIT */
/* The moves of a mutator's state, one by one as in the table of sync/state.h, and the illegal ones.
 *
 * Claims: every move goes from the states of the table and from no other; WANTED rides on DETACHED, CLAIMED and STOPPED and
 * keeps claimers out [state.right]; a detach that finds its queue filled is taken back, an attach asks for a merge of what
 * was pushed meanwhile [queue.drained]; an attach reports the present grace epoch [grace.unreachable]; nobody attaches twice
 * [state.bound]. Real: states, stop, queue, grace. Left out: the layers above, so mutators are bare sync parts. */
#include "support/parts.h"

#include <sched.h>

#include "sync/grace.h"
#include "sync/stop.h"

static uint32_t state_word(const struct fh__sync_local *sync) { return FH__LOAD(&sync->state, SEQ_CST); }

/* ---- moves of the thread itself ---- */

static void attach_goes_from_detached_and_reports_the_epoch(void **state) {
  struct fh__sync_local *sync = add_part();
  uint64_t number = fh__grace_request(); /* it sleeps: nothing is asked of it */
  assert_int_equal(sync->attention, 0);
  fh__state_attach(sync);
  assert_int_equal(state_word(sync), FH__ATTACHED);
  assert_true(sync->quiescent >= number);
  assert_int_equal(sync->attention, 0);
}

static void attach_clears_wanted(void **state) {
  struct fh__sync_local *sync = add_part();
  sync->state = FH__DETACHED | FH__WANTED;
  fh__state_attach(sync);
  assert_int_equal(state_word(sync), FH__ATTACHED);
}

static void attach_asks_for_a_merge_of_what_was_pushed(void **state) {
  struct fh__sync_local *sync = add_part();
  struct fh__producer producer = {0};
  int item;
  assert_true(fh__queue_push(&producer, &sync->queue, &item));
  fh__state_attach(sync);
  assert_int_equal(sync->attention, FH__ATTEND_MERGE);
  assert_ptr_equal(fh__queue_pop(&sync->queue, &producer), &item);
  assert_null(fh__queue_pop(&sync->queue, &producer));
  fh__producer_finish(&producer);
}

static void detach_is_taken_back_while_the_queue_is_filled(void **state) {
  struct fh__sync_local *sync = add_part();
  struct fh__producer producer = {0};
  int item;
  fh__state_attach(sync);
  assert_true(fh__queue_push(&producer, &sync->queue, &item));
  assert_false(fh__state_detach(sync));
  assert_int_equal(state_word(sync), FH__ATTACHED);
  assert_ptr_equal(fh__queue_pop(&sync->queue, &producer), &item);
  assert_null(fh__queue_pop(&sync->queue, &producer));
  assert_true(fh__state_detach(sync));
  assert_int_equal(state_word(sync), FH__DETACHED);
  fh__producer_finish(&producer);
}

static void arrivals_count_only_under_a_stop(void **state) {
  struct fh__sync_local *sync = add_part();
  uint32_t arrivals = fh__stop.arrivals;
  fh__stop_arrive(sync);
  assert_int_equal(fh__stop.arrivals, arrivals);
  fh__attend(sync, FH__ATTEND_STOP);
  fh__stop_arrive(sync);
  assert_int_equal(fh__stop.arrivals, arrivals + 1);
}

static void park_without_a_stop_does_nothing(void **state) {
  struct fh__sync_local *sync = add_part();
  fh__state_attach(sync);
  fh__attend(sync, FH__ATTEND_STOP); /* raised in a stop that is over by now */
  fh__state_park(sync);
  assert_int_equal(state_word(sync), FH__ATTACHED);
}

static void attach_twice(void) {
  struct fh__sync_local *sync = add_part();
  fh__state_attach(sync);
  fh__state_attach(sync);
}

static void nobody_attaches_twice(void **state) { expect_trap(attach_twice, "[state.bound]", "attached twice", NULL); }

static void park_asleep(void) {
  struct fh__sync_local *self = add_part(), *sleeper = add_part();
  fh__state_attach(self);
  fh__mutex_lock(&fh__stop.lock);
  fh__stop_begin(self);
  fh__state_park(sleeper);
}

static void only_attached_mutators_park(void **state) {
  only_checked();
  expect_trap(park_asleep, "[state.right]", NULL);
}

/* ---- claims ---- */

static void a_claim_goes_only_from_plain_detached(void **state) {
  static const uint32_t others[] = {FH__ATTACHED,
                                    FH__STOPPED,
                                    FH__CLAIMED,
                                    FH__DETACHED | FH__WANTED,
                                    FH__STOPPED | FH__WANTED,
                                    FH__CLAIMED | FH__WANTED};
  struct fh__sync_local *sync = add_part();
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    sync->state = others[i];
    assert_false(fh__state_claim(sync));
    assert_int_equal(state_word(sync), others[i]);
  }
  sync->state = FH__DETACHED;
  assert_true(fh__state_claim(sync));
  assert_int_equal(state_word(sync), FH__CLAIMED);
  fh__state_unclaim(sync);
  assert_int_equal(state_word(sync), FH__DETACHED);
}

static void unclaim_keeps_wanted(void **state) {
  struct fh__sync_local *sync = add_part();
  sync->state = FH__CLAIMED | FH__WANTED;
  assert_true(fh__state_is_wanted(sync));
  fh__state_unclaim(sync);
  assert_int_equal(state_word(sync), FH__DETACHED | FH__WANTED);
}

static void unclaim_under_a_stop_counts_itself_in(void **state) {
  struct fh__sync_local *sync = add_part();
  assert_true(fh__state_claim(sync));
  assert_false(fh__state_is_wanted(sync));
  fh__attend(sync, FH__ATTEND_STOP);
  assert_false(fh__state_is_wanted(sync)); /* the stop waits for the few objects of a claim */
  uint32_t arrivals = fh__stop.arrivals;
  fh__state_unclaim(sync);
  assert_int_equal(fh__stop.arrivals, arrivals + 1);
}

static void a_claim_at_rest_goes_from_detached_wanted_or_not(void **state) {
  struct fh__sync_local *sync = add_part();
  for (uint32_t wanted = 0; wanted <= FH__WANTED; wanted += FH__WANTED) {
    uint32_t rest = ~0u;
    sync->state = FH__DETACHED | wanted;
    assert_true(fh__state_claim_resting(sync, &rest));
    assert_int_equal(rest, FH__DETACHED);
    assert_int_equal(state_word(sync), FH__CLAIMED | wanted);
    fh__state_unclaim_resting(sync, rest);
    assert_int_equal(state_word(sync), FH__DETACHED | wanted);
  }
}

static void a_claim_at_rest_never_goes_from_attached_or_claimed(void **state) {
  static const uint32_t busy[] = {FH__ATTACHED, FH__CLAIMED, FH__CLAIMED | FH__WANTED};
  struct fh__sync_local *sync = add_part();
  for (size_t i = 0; i < sizeof busy / sizeof *busy; i++) {
    uint32_t rest;
    sync->state = busy[i];
    assert_false(fh__state_claim_resting(sync, &rest));
    assert_int_equal(state_word(sync), busy[i]);
  }
}

/* A stop that cannot come about before `waited_for` arrives: its requester runs on another thread. */
static void request(void *argument) {
  struct fh__sync_local *self = argument;
  fh__state_attach(self);
  fh__mutex_lock(&fh__stop.lock);
  fh__stop_begin(self);
  fh__stop_end(self);
  require(fh__state_detach(self));
}

static void a_claim_at_rest_from_stopped_holds_the_stop_up(void **state) {
  struct fh__sync_local *self = add_part(), *sleeper = add_part(), *requester = add_part();
  fh__state_attach(self);
  struct companion companion;
  companion_start_bare(&companion, request, requester);
  while (state_word(sleeper) != FH__STOPPED) sched_yield(); /* taken, and the stop waits for `self` alone */
  uint32_t rest = ~0u;
  assert_true(fh__state_claim_resting(sleeper, &rest));
  assert_int_equal(rest, FH__STOPPED);
  assert_int_equal(state_word(sleeper), FH__CLAIMED);
  fh__state_unclaim_resting(sleeper, rest);
  assert_int_equal(state_word(sleeper), FH__STOPPED);
  fh__state_park(self);
  companion_join(&companion);
  assert_int_equal(state_word(sleeper), FH__DETACHED);
  assert_int_equal(state_word(self), FH__ATTACHED);
}

/* Between a stop's end and the reset of the states a mutator may run while another is still STOPPED; nobody holds the world
 * then, so the claim must be refused, or the reset meets a claimed mutator. */
static void a_claim_at_rest_is_refused_while_a_stop_ends(void **state) {
  struct fh__sync_local *self = add_part(), *late = add_part();
  fh__state_attach(self);
  late->state = FH__STOPPED; /* not reset yet, and the epoch is even */
  assert_int_equal(fh__stop.epoch & 1, 0);
  uint32_t rest;
  assert_false(fh__state_claim_resting(late, &rest));
  assert_int_equal(state_word(late), FH__STOPPED);
}

/* ---- attaching through a claim or a stop ---- */

static void attach_part(void *argument) { fh__state_attach(argument); }

static void an_attach_waits_for_the_end_of_a_claim(void **state) {
  struct fh__sync_local *sync = add_part();
  assert_true(fh__state_claim(sync));
  struct companion companion;
  companion_start_bare(&companion, attach_part, sync);
  while (state_word(sync) != (FH__CLAIMED | FH__WANTED)) sched_yield();
  assert_true(fh__state_is_wanted(sync));
  fh__state_unclaim(sync);
  companion_join(&companion);
  assert_int_equal(state_word(sync), FH__ATTACHED);
}

static void wanted_keeps_the_next_claimer_out(void **state) {
  struct fh__sync_local *sync = add_part();
  sync->state = FH__CLAIMED | FH__WANTED;
  fh__state_unclaim(sync);
  assert_false(fh__state_claim(sync));
  fh__state_attach(sync);
  assert_int_equal(state_word(sync), FH__ATTACHED);
}

static void an_attach_waits_for_the_end_of_a_stop(void **state) {
  struct fh__sync_local *self = add_part(), *sync = add_part();
  fh__state_attach(self);
  fh__mutex_lock(&fh__stop.lock);
  fh__stop_begin(self);
  struct companion companion;
  companion_start_bare(&companion, attach_part, sync);
  for (int i = 0; i < 1000; i++) {
    sched_yield();
    assert_int_equal(state_word(sync) & FH__STATE_MASK, FH__STOPPED);
  }
  fh__stop_end(self);
  companion_join(&companion);
  assert_int_equal(state_word(sync), FH__ATTACHED);
}

static void a_stop_takes_and_resets_with_wanted_on_top(void **state) {
  struct fh__sync_local *self = add_part(), *sync = add_part();
  fh__state_attach(self);
  sync->state = FH__DETACHED | FH__WANTED;
  fh__mutex_lock(&fh__stop.lock);
  fh__stop_begin(self);
  assert_int_equal(state_word(sync), FH__STOPPED | FH__WANTED);
  assert_true(sync->taken);
  fh__stop_end(self);
  assert_int_equal(state_word(sync), FH__DETACHED | FH__WANTED);
}

/* ---- the whole machine at once ---- */

struct race {
  struct fh__sync_local *sync;
  uint64_t plain;  /* touched only with the right to the mutator: a race here is a race in the machine */
  atomic_bool over;
  atomic_uint claims;
};

static void claim_again_and_again(int index, void *argument) {
  struct race *race = argument;
  if (index == 0) { /* the bound thread */
    for (size_t i = scaled(20000); i; i--) {
      fh__state_attach(race->sync);
      race->plain++;
      require(fh__state_detach(race->sync));
    }
    while (!atomic_load(&race->claims)) sched_yield();
    atomic_store(&race->over, true);
    return;
  }
  while (!atomic_load(&race->over)) {
    if (!fh__state_claim(race->sync)) continue;
    race->plain++;
    fh__state_unclaim(race->sync);
    atomic_fetch_add(&race->claims, 1);
  }
}

static void one_at_a_time_has_the_right(void **state) {
  struct race race = {.sync = add_part()};
  run_bare_threads(3, claim_again_and_again, &race);
  assert_true(race.plain == scaled(20000) + atomic_load(&race.claims));
  assert_int_equal(state_word(race.sync), FH__DETACHED);
}

#define with_parts(test) cmocka_unit_test_teardown(test, forget_parts)

int main(void) {
  const struct CMUnitTest tests[] = {
      with_parts(attach_goes_from_detached_and_reports_the_epoch),
      with_parts(attach_clears_wanted),
      with_parts(attach_asks_for_a_merge_of_what_was_pushed),
      with_parts(detach_is_taken_back_while_the_queue_is_filled),
      with_parts(arrivals_count_only_under_a_stop),
      with_parts(park_without_a_stop_does_nothing),
      with_parts(nobody_attaches_twice),
      with_parts(only_attached_mutators_park),
      with_parts(a_claim_goes_only_from_plain_detached),
      with_parts(unclaim_keeps_wanted),
      with_parts(unclaim_under_a_stop_counts_itself_in),
      with_parts(a_claim_at_rest_goes_from_detached_wanted_or_not),
      with_parts(a_claim_at_rest_never_goes_from_attached_or_claimed),
      with_parts(a_claim_at_rest_from_stopped_holds_the_stop_up),
      with_parts(a_claim_at_rest_is_refused_while_a_stop_ends),
      with_parts(an_attach_waits_for_the_end_of_a_claim),
      with_parts(wanted_keeps_the_next_claimer_out),
      with_parts(an_attach_waits_for_the_end_of_a_stop),
      with_parts(a_stop_takes_and_resets_with_wanted_on_top),
      with_parts(one_at_a_time_has_the_right),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
