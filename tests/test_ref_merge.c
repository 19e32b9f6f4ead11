/* SPDX-License-Identifier: MIT */
/* Merging: the owner's last release, a stranger's that crosses zero, the queue, and those who merge in a sleeper's place.
 *
 * Claims: after the merge all of the count is in the shared word [ref.merged]; a queued object is pinned until the drain
 * [ref.queued]; an owner that runs drains at its safepoint, one that sleeps or has gone is merged for at once, in batches, and
 * its queue is empty when nobody looks any more [queue.drained]; pushes that saw a claim or a stop are found afterwards;
 * every object dies once, whoever races whom. Real: the whole runtime. */
#include "support/inside.h"
#include "support/owner.h"

#include <sched.h>

#include "mutator/mutator.h"
#include "ref/merge.h"
#include "sync/stop.h"

/* ---- one object ---- */

static void retain_in_thread(void *argument) { fh_retain((struct node *)argument); }

static void the_owners_last_release_merges(void **state) {
  only_biased();
  struct node *n = published_node(1);
  struct companion companion;
  companion_start(&companion, retain_in_thread, n);
  companion_join(&companion);
  assert_int_equal(fh__local_of(n->fh.fh__bias), 1);
  fh_release(n);
  assert_int_equal(n->fh.fh__shared, FH__MERGED + FH__ONE); /* [ref.merged] */
  assert_int_equal(fh__owner_of(n->fh.fh__bias), 0);
  assert_int_equal(fh__local_of(n->fh.fh__bias), 0);
  fh_retain(n);
  fh_release(n);
  assert_true(deaths() == 0);
  fh_release(n);
  assert_true(deaths() == 1);
}

static void a_running_owner_is_asked_and_drains_at_its_safepoint(void **state) {
  only_biased();
  struct owner owner;
  struct companion companion;
  start_owner(&owner, &companion, 1, gate_await_deaf);
  struct node *n = owner.node[0];
  fh_release(n); /* the owner's reference, which it handed over */
  assert_int_equal(n->fh.fh__shared & (FH__QUEUED | FH__MERGED), FH__QUEUED);
  assert_int_equal(fh__count_of(n->fh.fh__shared), -1);
  assert_true(owner.mutator->sync.attention & FH__ATTEND_MERGE);
  assert_false(fh__queue_is_empty(&owner.mutator->sync.queue));
  assert_true(deaths() == 0 && node_is_whole(n)); /* pinned [ref.queued] */
  finish_owner(&owner, &companion);
  assert_true(deaths() == 1);
  fh_stats stats = stats_now();
  assert_true(stats.queued == 1 && stats.drained == 1 && stats.claimed == 0);
}

static void a_queued_object_may_be_retained_again(void **state) {
  only_biased();
  struct owner owner;
  struct companion companion;
  start_owner(&owner, &companion, 1, gate_await_deaf);
  struct node *n = owner.node[0];
  fh_retain(n);
  fh_release(n);
  fh_release(n); /* crosses zero */
  assert_true(n->fh.fh__shared & FH__QUEUED);
  fh_retain(n); /* by whoever saw it in a slot, say: the true count was 0, and the drain has not come */
  finish_owner(&owner, &companion);
  assert_true(deaths() == 0);
  assert_int_equal(n->fh.fh__shared, FH__MERGED + FH__ONE);
  fh_release(n);
  assert_true(deaths() == 1);
}

/* ---- sleepers ---- */

static void nobody_waits_for_a_sleeping_owner(void **state) {
  enum { MANY = 1000 };
  struct owner owner;
  struct companion companion;
  start_owner(&owner, &companion, MANY, gate_await);
  await_sleep(&owner);
  for (int i = 0; i < MANY; i++) {
    fh_release(owner.node[i]);
    assert_true(deaths() == (uint64_t)i + 1); /* at once */
    assert_true(fh__queue_is_empty(&owner.mutator->sync.queue));
  }
  assert_true(stats_now().claimed == (test_design() == FH_DESIGN_BIASED ? MANY : 0) && stats_now().drained == 0);
  finish_owner(&owner, &companion);
}

static void an_owner_that_has_gone_is_merged_for(void **state) {
  struct owner owner;
  struct companion companion;
  start_owner(&owner, &companion, 10, gate_await);
  struct node *n[10];
  for (int i = 0; i < 10; i++) n[i] = owner.node[i];
  finish_owner(&owner, &companion);
  assert_false(owner.mutator->sync.bound);
  for (int i = 0; i < 10; i++) fh_release(n[i]);
  assert_true(deaths() == 10);
}

static void an_adopter_owns_what_the_first_thread_made(void **state) {
  only_biased();
  struct owner owner, adopter;
  struct companion companion;
  start_owner(&owner, &companion, 1, gate_await);
  struct node *n = owner.node[0];
  struct fh__mutator *mutator = owner.mutator;
  finish_owner(&owner, &companion);
  start_owner(&adopter, &companion, 0, gate_await_deaf);
  assert_ptr_equal(adopter.mutator, mutator);
  fh_release(n); /* queued to the adopter, which runs */
  assert_true(deaths() == 0);
  finish_owner(&adopter, &companion);
  assert_true(deaths() == 1);
}

/* ---- claims ---- */

static void a_long_queue_is_claimed_in_batches(void **state) {
  only_biased();
  enum { MANY = 3 * FH__CLAIM_ITEMS + 5 };
  struct owner owner;
  struct companion companion;
  start_owner(&owner, &companion, MANY + 1, gate_await);
  await_sleep(&owner);
  assert_true(fh__state_claim(&owner.mutator->sync)); /* somebody else's claim: pushes leave the work to it */
  for (int i = 0; i < MANY; i++) fh_release(owner.node[i]);
  assert_true(deaths() == 0);
  fh__state_unclaim(&owner.mutator->sync);
  uint64_t claims = stats_now().claims;
  fh_release(owner.node[MANY]); /* drains everything, and its own dies at once */
  assert_true(deaths() == 1);
  assert_true(fh__queue_is_empty(&owner.mutator->sync.queue));
  assert_true(stats_now().claims - claims >= 4);
  assert_true(fh__self()->sync.attention & FH__ATTEND_DESTROY);
  fh_safepoint(); /* the others were put away for it */
  assert_true(deaths() == MANY + 1);
  finish_owner(&owner, &companion);
}

static void a_claimed_drain_ends_when_the_owner_comes_back(void **state) {
  only_biased();
  struct owner owner;
  struct companion companion;
  start_owner(&owner, &companion, 4, gate_await);
  await_sleep(&owner);
  assert_true(fh__state_claim(&owner.mutator->sync));
  for (int i = 0; i < 4; i++) fh_release(owner.node[i]);
  gate_open(&owner.leave, 1);
  while (!fh__state_is_wanted(&owner.mutator->sync)) sched_yield();
  fh__state_unclaim(&owner.mutator->sync);
  assert_false(fh__merge_claim(fh__self(), owner.mutator, &owner.node[0]->fh)); /* WANTED keeps it out, or it is back */
  finish_owner(&owner, &companion);
  assert_true(deaths() == 4);
}

/* ---- stops ---- */

static void a_collectors_stop_drains_every_queue(void **state) {
  only_biased();
  struct owner owner;
  struct companion companion;
  start_owner(&owner, &companion, 50, gate_await);
  await_sleep(&owner);
  assert_true(fh__state_claim(&owner.mutator->sync));
  for (int i = 0; i < 50; i++) fh_release(owner.node[i]);
  fh__state_unclaim(&owner.mutator->sync);
  fh_collect(2);
  assert_true(deaths() == 50);
  assert_true(stats_now().drained == 50);
  finish_owner(&owner, &companion);
}

static void what_is_pushed_during_a_stop_is_found_after_it(void **state) {
  only_biased();
  struct owner owner;
  struct companion companion;
  start_owner(&owner, &companion, 3, gate_await);
  await_sleep(&owner);
  stop_world();
  for (int i = 0; i < 3; i++) fh_release(owner.node[i]);
  assert_false(fh__queue_is_empty(&owner.mutator->sync.queue)); /* STOPPED: nobody may claim */
  resume_world();
  assert_true(fh__queue_is_empty(&owner.mutator->sync.queue)); /* [queue.drained] */
  fh_safepoint();
  assert_true(deaths() == 3);
  finish_owner(&owner, &companion);
}

/* ---- everybody at once ---- */

enum { OWNERS = 2, STRANGERS = 2, SLOTS = 64 };
static struct node *board[SLOTS]; /* atomic: references to be taken by anybody */
static atomic_int owners_left;

static void make_and_hand_over(int index) {
  for (size_t i = scaled(60000); i; i--) {
    struct node *n = published_node(i);
    for (unsigned extra = i % 3; extra; extra--) fh_retain(n);
    for (unsigned copies = 1 + i % 3; copies; copies--) {
      struct node *old = __atomic_exchange_n(&board[(i * 7 + copies * 13) % SLOTS], n, __ATOMIC_ACQ_REL);
      if (old) fh_release(old);
    }
    if (i % 16 == 0) fh_safepoint();
    if (i % 256 == 0) { /* asleep while others release */
      fh_blocking_begin();
      sched_yield();
      fh_blocking_end();
    }
  }
  atomic_fetch_sub(&owners_left, 1);
}

static void take_and_release(int index) {
  for (size_t at = (size_t)index; atomic_load(&owners_left); at += 5) {
    if (at % 64 < 5) fh_safepoint();
    struct node *n = __atomic_exchange_n(&board[at % SLOTS], NULL, __ATOMIC_ACQ_REL);
    if (!n) continue;
    require(node_is_whole(n));
    fh_retain(n);
    fh_release(n);
    fh_release(n);
  }
}

static void make_or_take(int index, void *argument) {
  if (index < OWNERS)
    make_and_hand_over(index);
  else
    take_and_release(index);
}

static void every_object_dies_once(void **state) {
  atomic_store(&owners_left, OWNERS);
  run_threads(OWNERS + STRANGERS, make_or_take, NULL);
  for (int i = 0; i < SLOTS; i++)
    if (board[i]) fh_release(board[i]);
  for (int i = 0; i < SLOTS; i++) board[i] = NULL;
  fh_settle();
  assert_true(deaths() == OWNERS * scaled(60000));
  struct fh__sync_local *sync;
  for (FH__EACH_MUTATOR(sync)) assert_true(fh__queue_is_empty(&sync->queue)); /* [queue.drained] */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      with_runtime(the_owners_last_release_merges),
      with_runtime(a_running_owner_is_asked_and_drains_at_its_safepoint),
      with_runtime(a_queued_object_may_be_retained_again),
      with_runtime(nobody_waits_for_a_sleeping_owner),
      with_runtime(an_owner_that_has_gone_is_merged_for),
      with_runtime(an_adopter_owns_what_the_first_thread_made),
      with_runtime(a_long_queue_is_claimed_in_batches),
      with_runtime(a_claimed_drain_ends_when_the_owner_comes_back),
      with_runtime(a_collectors_stop_drains_every_queue),
      with_runtime(what_is_pushed_during_a_stop_is_found_after_it),
      with_runtime(every_object_dies_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
