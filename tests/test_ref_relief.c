/* SPDX-License-Identifier: MIT */
/* Giving memory back: limbo, sleepers, and what threads that are not attached left.
 *
 * Claims: a batch is sealed when it is large enough, freed after its period, and whoever owns a ripe one is woken; nothing
 * dead is freed while a reader that may see it has not reported [grace.finished]; limbo stays bounded while every mutator
 * reaches safepoints; a sleeper's limbo and heap are relieved in its place, and its queue is looked at afterwards
 * [queue.drained]; a stop ripens everything; what is left behind is released and freed by somebody. Real: the runtime. */
#include "support/exhaust.h"

#include <sched.h>

#include "mutator/mutator.h"
#include "ref/relief.h"
#include "sync/grace.h"

/* ---- limbo of a running mutator ---- */

static void a_batch_is_sealed_and_freed_after_its_period(void **state) {
  struct fh__mutator *me = fh__self();
  fh_release(published_node(1));
  assert_int_equal(me->limbo.sealed.stamp, 0);
  fh__relief_limbo(me, false);
  if (!is_torture()) assert_int_equal(me->limbo.sealed.stamp, 0); /* not worth a period yet */
  fh__relief_limbo(me, true);
  uint64_t stamp = me->limbo.sealed.stamp;
  assert_true(stamp != 0 && me->limbo.bytes != 0);
  assert_false(fh__grace_passed(stamp)); /* this thread has not reported */
  assert_true(me->sync.attention & FH__ATTEND_GRACE);
  fh__relief_limbo(me, true);
  assert_true(me->limbo.sealed.stamp == stamp);
  fh_safepoint(); /* reports, and is woken for its own batch */
  fh_safepoint();
  assert_true(fh__grace_passed(stamp));
  assert_true(fh__limbo_is_empty(&me->limbo) && me->limbo.bytes == 0);
}

static void retired_buffers_wait_too(void **state) {
  struct fh__mutator *me = fh__self();
  uint64_t buffers = stats_now().buffer_bytes;
  char *buffer = fh_alloc(100);
  assert_true(stats_now().buffer_bytes > buffers);
  fh_retire(buffer);
  fh_retire(NULL);
  assert_true(stats_now().buffer_bytes == buffers && stats_now().limbo_bytes >= 100);
  buffer[99] = 1; /* a reader that found it before may still look at it */
  fh_settle();
  assert_true(fh__limbo_is_empty(&me->limbo));
}

static void limbo_stays_bounded_while_safepoints_are_reached(void **state) {
  size_t most = 0, batch = fh__shared.options.limbo_batch;
  for (size_t i = 0; i < scaled(300000); i++) {
    fh_release(published_node(i));
    if (i % 64 == 0) fh_safepoint();
    if (fh__self()->limbo.bytes > most) most = fh__self()->limbo.bytes;
  }
  assert_true(most <= 3 * (batch + 64 * (sizeof(struct node) + 16)));
}

static void turn_over(int index, void *argument) {
  size_t *most = argument;
  for (size_t i = 0; i < scaled(200000); i++) {
    fh_release(published_node(i));
    if (i % 64 == 0) fh_safepoint();
    if (i % 4096 == 0) sched_yield();
    if (fh__self()->limbo.bytes > most[index]) most[index] = fh__self()->limbo.bytes;
  }
}

/* A mutator that is descheduled between two safepoints delays the others' periods for so long: the bound is no constant, but
 * what died in the whole run would be far above it. */
static void limbo_of_several_is_freed_as_they_go(void **state) {
  size_t most[3] = {0};
  run_threads(3, turn_over, most);
  for (int i = 0; i < 3; i++) assert_true(most[i] < scaled(200000) * sizeof(struct node) || scaled(200000) < 20000);
  fh_settle();
  assert_true(stats_now().limbo_bytes == 0);
}

static void a_stop_ripens_everything(void **state) {
  struct fh__mutator *me = fh__self();
  fh_release(published_node(1));
  fh_collect(0);
  assert_true(fh__limbo_is_empty(&me->limbo));
}

/* ---- a reader that holds things up ---- */

struct peek {
  struct gate ready, go, done;
  fh_slot slot;
};

static void peek_without_a_safepoint(void *argument) {
  struct peek *peek = argument;
  const struct node *seen = __atomic_load_n(&peek->slot.fh__value, __ATOMIC_ACQUIRE);
  gate_open(&peek->ready, 1);
  gate_await_deaf(&peek->go, 1); /* meanwhile it dies, and the releaser tries hard to free it */
  require(seen->fh.fh__type == node_type()->index); /* not reused, not poisoned [grace.unreachable] */
  require(!fh_try_retain((void *)(uintptr_t)seen));
  gate_open(&peek->done, 1);
}

static void memory_waits_for_the_slowest_reader(void **state) {
  only_parallel();
  struct peek peek = {.ready = GATE, .go = GATE, .done = GATE};
  struct node *n = published_node(1);
  fh_slot_store(&peek.slot, n);
  fh_release(n);
  struct companion companion;
  companion_start(&companion, peek_without_a_safepoint, &peek);
  gate_await(&peek.ready, 1);
  fh_slot_store(&peek.slot, NULL);
  assert_true(deaths() == 1);
  for (int i = 0; i < 20; i++) fh_housekeep();
  assert_false(fh__limbo_is_empty(&fh__self()->limbo));
  gate_open(&peek.go, 1);
  gate_await(&peek.done, 1);
  companion_join(&companion); /* leaving is the last report: it wakes whoever waits */
  fh_safepoint();
  fh_safepoint();
  assert_true(fh__limbo_is_empty(&fh__self()->limbo));
}

/* ---- sleepers ---- */

struct sleeper {
  struct gate asleep, leave;
  struct fh__mutator *mutator;
  struct node *node[64];
  size_t nodes;
};

static void fall_asleep(void *argument) {
  struct sleeper *sleeper = argument;
  sleeper->mutator = fh__self();
  for (size_t i = 0; i < 8; i++) fh_release(published_node(i)); /* into this thread's limbo */
  for (size_t i = 0; i < sleeper->nodes; i++) sleeper->node[i] = published_node(i);
  gate_open(&sleeper->asleep, 1);
  gate_await(&sleeper->leave, 1);
}

static void start_sleeper(struct sleeper *sleeper, struct companion *companion, size_t nodes) {
  *sleeper = (struct sleeper){.asleep = GATE, .leave = GATE, .nodes = nodes};
  companion_start(companion, fall_asleep, sleeper);
  gate_await(&sleeper->asleep, 1);
  gate_await_waiter(&sleeper->leave);
}

static void a_sleepers_limbo_is_relieved_in_its_place(void **state) {
  struct sleeper sleeper;
  struct companion companion;
  start_sleeper(&sleeper, &companion, 0);
  if (!is_torture()) assert_false(fh__limbo_is_empty(&sleeper.mutator->limbo));
  for (int i = 0; i < 4; i++) fh_housekeep();
  assert_true(fh__limbo_is_empty(&sleeper.mutator->limbo));
  assert_true(stats_now().claims > 0 || is_torture());
  gate_open(&sleeper.leave, 1);
  companion_join(&companion);
}

static void a_sleepers_heap_is_tidied_past_its_debt(void **state) {
  struct sleeper sleeper;
  struct companion companion;
  start_sleeper(&sleeper, &companion, 0);
  FH__ADD(&sleeper.mutator->heap_debt, FH__HEAP_DEBT - 1, RELAXED);
  fh__relief_sleepers(fh__self(), FH__HEAP_DEBT);
  assert_true(sleeper.mutator->heap_debt == FH__HEAP_DEBT - 1); /* not yet */
  FH__ADD(&sleeper.mutator->heap_debt, 1, RELAXED);
  fh__relief_sleepers(fh__self(), FH__HEAP_DEBT);
  if (sleeper.mutator->heap)
    assert_true(sleeper.mutator->heap_debt == 0);
  else
    assert_true(sleeper.mutator->heap_debt == FH__HEAP_DEBT); /* a heap that is not ours stays as it is */
  gate_open(&sleeper.leave, 1);
  companion_join(&companion);
}

/* A relief that takes its time: the sleeper's heap is large, and all of it is looked at under the claim. */
enum { BLOCKS = 3000, BLOCK_BYTES = 3000 };
struct slow_relief {
  struct sleeper sleeper;
  struct gate go, done;
  void *block[BLOCKS];
  struct node *node[2000];
  size_t rounds;
};

static void fall_asleep_on_a_large_heap(void *argument) {
  struct slow_relief *slow = argument;
  for (int i = 0; i < BLOCKS; i++) slow->block[i] = fh_alloc(BLOCK_BYTES);
  for (size_t i = 0; i < slow->rounds; i++) slow->node[i] = published_node(i);
  fall_asleep(&slow->sleeper);
  for (int i = 0; i < BLOCKS; i++) fh_free(slow->block[i]);
}

static void relieve_once_a_round(void *argument) {
  struct slow_relief *slow = argument;
  for (size_t round = 1; round <= slow->rounds; round++) {
    gate_await_running(&slow->go, (int)round);
    FH__ADD(&slow->sleeper.mutator->heap_debt, 1, RELAXED); /* a reason to claim it */
    fh__relief_sleepers(fh__self(), 1);
    gate_open(&slow->done, (int)round);
  }
}

/* A push that sees the claim of a relief leaves its object to it: the relief must look. */
static void a_relief_leaves_no_queue_behind(void **state) {
  only_biased();
  static struct slow_relief slow;
  slow.go = slow.done = (struct gate)GATE;
  slow.rounds = scaled(2000);
  slow.sleeper = (struct sleeper){.asleep = GATE, .leave = GATE};
  struct companion companion, relief;
  companion_start(&companion, fall_asleep_on_a_large_heap, &slow);
  gate_await(&slow.sleeper.asleep, 1);
  gate_await_waiter(&slow.sleeper.leave);
  companion_start(&relief, relieve_once_a_round, &slow);
  for (size_t round = 1; round <= slow.rounds; round++) {
    gate_open(&slow.go, (int)round);
    if (round % 4)
      while (fh__state_of(&slow.sleeper.mutator->sync) != FH__CLAIMED && atomic_load(&slow.done.value) < (int)round) {
      }
    fh_release(slow.node[round - 1]);
    gate_await(&slow.done, (int)round);
    assert_true(fh__queue_is_empty(&slow.sleeper.mutator->sync.queue));
  }
  companion_join(&relief);
  gate_open(&slow.sleeper.leave, 1);
  companion_join(&companion);
  fh_settle();
  assert_true(deaths() == slow.rounds + 8);
}

/* ---- left behind ---- */

static void leave_references(int index, void *argument) {
  struct node **nodes = argument;
  fh_release_later(nodes[index]);
}

static void references_left_behind_are_released(void **state) {
  struct node *n[4];
  for (int i = 0; i < 4; i++) n[i] = published_node((uint64_t)i);
  assert_true(fh__relief_inbox_is_empty());
  run_bare_threads(4, leave_references, n);
  fh_safepoint();
  assert_true(deaths() == 4);
  assert_true(fh__relief_inbox_is_empty());
}

static void the_next_one_to_come_finds_what_nobody_was_asked_for(void **state) {
  struct node *n = published_node(1);
  fh_detach();
  fh_release_later(n); /* nobody runs */
  assert_false(fh__relief_inbox_is_empty());
  assert_int_equal(fh_attach("main"), FH_OK);
  assert_true(deaths() == 1);
}

static void buffers_freed_in_a_blocking_region_come_back(void **state) {
  uint64_t before = stats_now().buffer_bytes;
  void *block[3];
  for (int i = 0; i < 3; i++) block[i] = fh_alloc(50);
  fh_blocking_begin();
  for (int i = 0; i < 3; i++) fh_free(block[i]);
  assert_true(stats_now().buffer_bytes > before); /* they are still there */
  assert_false(fh__relief_inbox_is_empty());
  fh_blocking_end();
  fh_housekeep();
  assert_true(fh__relief_inbox_is_empty());
  assert_true(stats_now().buffer_bytes == before);
}

static void free_bare(void *argument) { fh_free(argument); }

static void a_thread_that_never_attached_may_free(void **state) {
  uint64_t before = stats_now().buffer_bytes;
  struct companion companion;
  companion_start_bare(&companion, free_bare, fh_alloc(50));
  companion_join(&companion);
  assert_int_equal(fh_check_heap(), FH_OK); /* [account.parts]: what is left for others is still counted */
  fh_housekeep();
  assert_true(stats_now().buffer_bytes == before);
  assert_int_equal(fh_check_heap(), FH_OK);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      with_runtime(a_batch_is_sealed_and_freed_after_its_period),
      with_runtime(retired_buffers_wait_too),
      with_runtime(limbo_stays_bounded_while_safepoints_are_reached),
      with_runtime(limbo_of_several_is_freed_as_they_go),
      with_runtime(a_stop_ripens_everything),
      with_runtime(memory_waits_for_the_slowest_reader),
      with_runtime(a_sleepers_limbo_is_relieved_in_its_place),
      with_runtime(a_sleepers_heap_is_tidied_past_its_debt),
      with_runtime(a_relief_leaves_no_queue_behind),
      with_runtime(references_left_behind_are_released),
      with_runtime(the_next_one_to_come_finds_what_nobody_was_asked_for),
      with_runtime(buffers_freed_in_a_blocking_region_come_back),
      with_runtime(a_thread_that_never_attached_may_free),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
