/* SPDX-License-Identifier: MIT */
/* Grace periods on bare sync parts.
 *
 * Claims: a period passes when every mutator that is ATTACHED has reported at its number or later, and not before; asleep,
 * stopped or claimed is quiescent; whoever attaches starts at the present epoch [grace.unreachable]; a stop is a period for
 * all that came before; what a reader read happens before the free [grace.finished]. Real: states, registry, grace. */
#include "support/parts.h"

#include <sched.h>

#include "sync/grace.h"

static struct fh__sync_local *attached_part(void) {
  struct fh__sync_local *sync = add_part();
  fh__state_attach(sync);
  return sync;
}

static int forget_all(void **state) {
  forget_parts(state);
  fh__grace_advance(); /* nobody is left to wait for: the next test starts with no period open */
  return 0;
}

static void nobody_attached_means_passed_at_once(void **state) {
  add_part();
  uint64_t number = fh__grace_request();
  assert_false(fh__grace_passed(number));
  assert_true(fh__grace_advance());
  assert_true(fh__grace_passed(number));
  assert_false(fh__grace_advance()); /* nothing more */
}

static void a_period_passes_after_the_last_report(void **state) {
  struct fh__sync_local *a = attached_part(), *b = attached_part();
  uint64_t number = fh__grace_request();
  assert_true(a->attention & FH__ATTEND_GRACE && b->attention & FH__ATTEND_GRACE);
  assert_false(fh__grace_advance());
  fh__grace_quiesce(a);
  assert_false(fh__grace_advance());
  assert_false(fh__grace_passed(number));
  fh__grace_report(b);
  assert_true(fh__grace_advance());
  assert_true(fh__grace_passed(number));
}

static void the_requester_is_a_reader_too(void **state) {
  struct fh__sync_local *self = attached_part();
  uint64_t number = fh__grace_request();
  fh__grace_advance();
  assert_false(fh__grace_passed(number));
  fh__grace_quiesce(self);
  fh__grace_advance();
  assert_true(fh__grace_passed(number));
}

static void a_report_at_an_earlier_number_is_not_enough(void **state) {
  struct fh__sync_local *reader = attached_part();
  uint64_t first = fh__grace_request();
  fh__grace_quiesce(reader);
  uint64_t second = fh__grace_request();
  assert_true(second == first + 1);
  assert_true(fh__grace_advance());
  assert_true(fh__grace_passed(first));
  assert_false(fh__grace_passed(second));
}

static void asleep_stopped_and_claimed_are_quiescent(void **state) {
  struct fh__sync_local *reader = attached_part();
  uint64_t number = fh__grace_request();
  assert_false(fh__grace_advance());
  assert_true(fh__state_detach(reader));
  assert_true(fh__grace_advance());
  assert_true(fh__grace_passed(number));
  reader->state = FH__CLAIMED;
  number = fh__grace_request();
  assert_true(fh__grace_advance() && fh__grace_passed(number));
  reader->state = FH__STOPPED;
  number = fh__grace_request();
  assert_true(fh__grace_advance() && fh__grace_passed(number));
}

static void whoever_attaches_delays_only_later_periods(void **state) {
  struct fh__sync_local *late = add_part();
  uint64_t before = fh__grace_request();
  fh__state_attach(late);
  assert_true(fh__grace_advance());
  assert_true(fh__grace_passed(before));
  uint64_t after = fh__grace_request();
  fh__grace_advance();
  assert_false(fh__grace_passed(after));
}

static void a_stop_is_a_period_for_all_before_it(void **state) {
  struct fh__sync_local *reader = attached_part();
  uint64_t before = fh__grace_request();
  uint64_t stopped = fh__grace_stopped();
  assert_true(stopped == before + 1);
  assert_true(fh__grace_passed(before) && fh__grace_passed(stopped));
  uint64_t after = fh__grace_request();
  fh__grace_advance();
  assert_false(fh__grace_passed(after));
  fh__grace_quiesce(reader);
  assert_true(fh__grace_advance());
}

/* ---- readers and a writer that reuses memory ---- */

enum { READERS = 3 };
struct scene {
  struct fh__sync_local *reader[READERS];
  uint64_t *shared; /* atomic: what it points to is written plainly before it is published, and after its grace period */
  atomic_bool over;
};

static void look(struct scene *scene) {
  uint64_t *seen = FH__LOAD(&scene->shared, ACQUIRE);
  require(seen[0] == ~seen[1]); /* torn if somebody writes while we read */
}

static void report_if_asked(struct fh__sync_local *self) {
  if (!FH__LOAD(&self->attention, RELAXED)) return;
  FH__AND(&self->attention, 0, SEQ_CST);
  fh__grace_report(self);
}

/* The first reader never leaves: nothing but its reports orders its reads before the writer's stores. */
static void read_on(struct scene *scene, int index) {
  struct fh__sync_local *self = scene->reader[index];
  fh__state_attach(self);
  while (!atomic_load_explicit(&scene->over, memory_order_relaxed)) {
    for (int i = 0; i < 20; i++) {
      look(scene);
      if (i % 5 == 0) report_if_asked(self);
    }
    sched_yield();
    if (index == 0) continue;
    require(fh__state_detach(self));
    fh__state_attach(self);
  }
  require(fh__state_detach(self));
}

static void write_and_wait(struct scene *scene) {
  static uint64_t block[2][2] = {{1, ~(uint64_t)1}, {2, ~(uint64_t)2}};
  for (size_t turn = 0; turn < scaled(4000); turn++) {
    uint64_t *fresh = block[turn & 1];
    fresh[0] = turn; /* its grace period is over: plain stores race with nobody */
    fresh[1] = ~(uint64_t)turn;
    FH__STORE_(&scene->shared, fresh, SEQ_CST); /* the other one is unreachable now */
    uint64_t number = fh__grace_request();
    while (!fh__grace_passed(number)) {
      fh__grace_advance();
      sched_yield();
    }
  }
  atomic_store(&scene->over, true);
}

static void read_or_write(int index, void *argument) {
  if (index < READERS)
    read_on(argument, index);
  else
    write_and_wait(argument);
}

static void memory_is_reused_only_after_its_period(void **state) {
  static uint64_t first[2] = {0, ~(uint64_t)0};
  struct scene scene = {.shared = first};
  for (int i = 0; i < READERS; i++) scene.reader[i] = add_part();
  run_bare_threads(READERS + 1, read_or_write, &scene);
}

#define with_parts(test) cmocka_unit_test_teardown(test, forget_all)

int main(void) {
  const struct CMUnitTest tests[] = {
      with_parts(nobody_attached_means_passed_at_once),
      with_parts(a_period_passes_after_the_last_report),
      with_parts(the_requester_is_a_reader_too),
      with_parts(a_report_at_an_earlier_number_is_not_enough),
      with_parts(asleep_stopped_and_claimed_are_quiescent),
      with_parts(whoever_attaches_delays_only_later_periods),
      with_parts(a_stop_is_a_period_for_all_before_it),
      with_parts(memory_is_reused_only_after_its_period),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
