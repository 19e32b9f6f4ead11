/* SPDX-License-Identifier: MIT */
/* Merging and releasing where there is no memory for a queue's segment (Q4).
 *
 * Claims: a push without memory loses nothing: it merges in the place of an owner that sleeps, or falls asleep, or waits for
 * memory like the pusher; it drains its own queue, which may give it a segment; two that push to each other both get on; a
 * reference given up later waits for memory. Real: the whole runtime, in children whose memory has run out. */
#include "support/owner.h"
#include "support/exhaust.h"

#include <sched.h>

#include "mutator/mutator.h"
#include "ref/merge.h"

/* ---- pushes ---- */

static void use_up_the_reserve(void) {
  fh__producer_finish(&fh__self()->producer);
}

static void push_to_a_sleeper(void) {
  static struct exhausted exhausted;
  struct owner owner;
  struct companion companion;
  runtime_start(NULL);
  start_owner(&owner, &companion, 2, gate_await);
  await_sleep(&owner);
  fh_retain(owner.node[1]);
  use_up_the_reserve();
  exhaust_memory(&exhausted);
  fh_release(owner.node[0]);
  require(deaths() == 1 && fh__state_of(&owner.mutator->sync) == FH__DETACHED);
  fh_release(owner.node[1]);
  fh_release(owner.node[1]);
  require(deaths() == 2);
  refill_memory(&exhausted);
  finish_owner(&owner, &companion);
  runtime_stop();
}

static void sleep_when_asked_to_merge(struct gate *gate, int value) {
  while (!(FH__LOAD(&fh__self()->sync.attention, RELAXED) & FH__ATTEND_MERGE)) sched_yield();
  /* Without a safepoint into the blocking region, so that the pusher has to go on by itself. */
  while (!fh__state_detach(&fh__self()->sync)) abort();
  while (atomic_load(&gate->value) < value) sched_yield();
  fh__state_attach(&fh__self()->sync);
}

static void push_to_a_runner_that_falls_asleep(void) {
  static struct exhausted exhausted;
  struct owner owner;
  struct companion companion;
  runtime_start(NULL);
  start_owner(&owner, &companion, 1, sleep_when_asked_to_merge);
  use_up_the_reserve();
  exhaust_memory(&exhausted);
  fh_release(owner.node[0]);
  require(deaths() == 1);
  refill_memory(&exhausted);
  finish_owner(&owner, &companion);
  runtime_stop();
}

static void release_one_of_mine(void *argument) { fh_release(argument); }

static void merge_ones_own_to_get_a_segment(void) {
  static struct exhausted exhausted;
  struct owner owner;
  struct companion companion, releaser;
  runtime_start(NULL);
  struct node *mine = published_node(77);
  start_owner(&owner, &companion, 1, gate_await_deaf);
  companion_start(&releaser, release_one_of_mine, mine); /* leaves it in this thread's queue, in a segment that it abandons */
  require(!pthread_join(releaser.thread, NULL));         /* without a safepoint */
  require(!fh__queue_is_empty(&fh__self()->sync.queue));
  use_up_the_reserve();
  exhaust_memory(&exhausted);
  fh_release(owner.node[0]);
  require(deaths() == 0 && !fh__queue_is_empty(&owner.mutator->sync.queue));
  refill_memory(&exhausted);
  fh_safepoint();
  require(deaths() == 1);
  finish_owner(&owner, &companion);
  require(deaths() == 2);
  runtime_stop();
}

/* ---- two that push to each other ---- */

static struct {
  struct gate ready, go;
  struct node *node[2]; /* the first is the test's, the second the companion's; each is released by the other */
} swap = {.ready = GATE, .go = GATE};

/* Each thread has its own heap to exhaust, and its own arena of the system's malloc. */
static void release_the_first(void *unused) {
  static struct exhausted exhausted;
  swap.node[1] = published_node(2);
  use_up_the_reserve();
  gate_open(&swap.ready, 1);
  gate_await_deaf(&swap.go, 1);
  exhaust_memory(&exhausted);
  gate_open(&swap.ready, 2);
  fh_release(swap.node[0]);
  refill_memory(&exhausted);
}

static void push_to_each_other(void) {
  static struct exhausted exhausted;
  struct companion companion;
  runtime_start(NULL);
  swap.node[0] = published_node(1);
  companion_start(&companion, release_the_first, NULL);
  gate_await(&swap.ready, 1);
  use_up_the_reserve();
  exhaust_memory(&exhausted);
  gate_open(&swap.go, 1);
  gate_await_deaf(&swap.ready, 2);
  fh_release(swap.node[1]);
  companion_join(&companion); /* asleep: whichever of the two was first, the other one gets on */
  refill_memory(&exhausted);
  fh_safepoint();
  require(deaths() == 2);
  runtime_stop();
}

/* ---- given up later ---- */

static struct gate later = GATE;
static void give_up_later(void *node) {
  static struct exhausted exhausted;
  gate_await(&later, 1);
  exhaust_memory(&exhausted);
  gate_open(&later, 2);
  fh_release_later(node);
  refill_memory(&exhausted);
}

static void give_up_without_memory(void) {
  static struct exhausted exhausted;
  struct companion companion;
  runtime_start(NULL);
  struct node *n = published_node(1);
  companion_start_bare(&companion, give_up_later, n);
  exhaust_memory(&exhausted);
  gate_open(&later, 1);
  gate_await_deaf(&later, 2);
  for (int i = 0; i < 100; i++) sched_yield();
  fh_safepoint();
  require(deaths() == 0 && node_is_whole(n));
  refill_memory(&exhausted);
  companion_join(&companion);
  fh_safepoint();
  require(deaths() == 1);
  runtime_stop();
}

#define CHILD_TEST(name, needed, body)  \
  static void name(void **state) {      \
    needed;                             \
    if (!can_exhaust_memory()) skip();  \
    expect_fine(body);                  \
  }
CHILD_TEST(a_sleeper_is_merged_for, (void)0, push_to_a_sleeper)
CHILD_TEST(an_owner_that_falls_asleep_is_merged_for, only_biased(), push_to_a_runner_that_falls_asleep)
CHILD_TEST(ones_own_queue_may_give_a_segment, only_biased(), merge_ones_own_to_get_a_segment)
CHILD_TEST(two_that_push_to_each_other_get_on, only_biased(), push_to_each_other)
CHILD_TEST(a_reference_given_up_later_waits_for_memory, (void)0, give_up_without_memory)

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_sleeper_is_merged_for),
      cmocka_unit_test(an_owner_that_falls_asleep_is_merged_for),
      cmocka_unit_test(ones_own_queue_may_give_a_segment),
      cmocka_unit_test(two_that_push_to_each_other_get_on),
      cmocka_unit_test(a_reference_given_up_later_waits_for_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
