/* SPDX-License-Identifier: MIT */
/* Freezing: fh_gc_freeze, fh_gc_unfreeze, fh_gc_freeze_count, and what fh_gc_generation and the statistics say of it.
 *
 * Claims: what is frozen is not looked at by any collection, keeps what it refers to, and dies by its count at once; cyclic garbage
 * among it stays until it is unfrozen, and then dies; newborns are young; objects of all mutators are frozen, and mutators go
 * on, end and are adopted; strangers' releases, the checker, forks and the shutdown get on with it; where it cannot be done
 * nothing changes. */
#include <sys/wait.h>
#include <unistd.h>

#include "support/support.h"

static uint64_t scanned_by_collection_of(int generation) {
  uint64_t before = stats_now().scanned;
  fh_collect(generation);
  return stats_now().scanned - before;
}

/* ---- what it does ---- */

static void what_is_frozen_is_not_looked_at(void **state) {
  struct node *ring = node_ring(3000);
  assert_true(fh_gc_freeze_count() == 0);
  assert_true(scanned_by_collection_of(2) == 3000);
  assert_int_equal(fh_gc_freeze(), FH_OK);
  assert_true(fh_gc_freeze_count() == 3000);
  assert_int_equal(fh_gc_generation(ring), 3);
  struct node *young = node_new(1); /* in a chunk of its own */
  assert_int_equal(fh_gc_generation(young), 0);
  for (int generation = 0; generation < 3; generation++) assert_true(scanned_by_collection_of(generation) == 1);
  assert_int_equal(fh_gc_generation(ring), 3);
  assert_int_equal(fh_gc_unfreeze(), FH_OK);
  assert_true(fh_gc_freeze_count() == 0);
  assert_int_equal(fh_gc_generation(ring), 2);
  assert_true(scanned_by_collection_of(1) <= 1);
  assert_true(scanned_by_collection_of(2) == 3001);
  fh_release(young);
  fh_release(ring);
  assert_int_equal((int)fh_collect(2), 3000);
}

static void frozen_garbage_stays_until_it_is_unfrozen(void **state) {
  struct node *ring = node_ring(100), *tail = node_new(1), *straggler = node_ring(5);
  fh_give(ring, right, tail);
  fh_gc_freeze();
  fh_release(ring);
  struct node *young = node_ring(3); /* garbage that hangs on frozen garbage lives on with it */
  fh_set(straggler, right, young);
  fh_release(young);
  fh_release(straggler);
  for (int generation = 0; generation < 3; generation++) assert_int_equal((int)fh_collect(generation), 0);
  assert_true(fh_gc_freeze_count() == 106 && deaths() == 0);
  assert_int_equal(fh_check_heap(), FH_OK);
  fh_gc_unfreeze();
  assert_int_equal((int)fh_collect(2), 109);
  assert_true(deaths() == 109);
}

static void what_is_frozen_dies_by_its_count(void **state) {
  static struct node *n[3000];
  for (int i = 0; i < 3000; i++) n[i] = node_new((uint64_t)i);
  fh_gc_freeze();
  for (int i = 0; i < 3000; i++) {
    assert_true(fh_gc_freeze_count() == 3000 - (uint64_t)i || i % 100);
    fh_release(n[i]);
    assert_true(deaths() == (uint64_t)i + 1);
  }
  assert_int_equal(fh_check_heap(), FH_OK);
  fh_gc_unfreeze();
  fh_collect(2);
}

static void young_garbage_may_refer_to_what_is_frozen(void **state) {
  struct node *frozen = node_new(1);
  fh_gc_freeze();
  struct node *ring = node_ring(10);
  fh_give(ring, right, frozen); /* the only reference */
  fh_release(ring);
  assert_int_equal((int)fh_collect(0), 10);
  assert_true(deaths() == 11 && fh_gc_freeze_count() == 0);
}

static void freezing_again_adds_what_is_new(void **state) {
  struct node *first = node_ring(10), *second;
  fh_gc_freeze();
  second = node_ring(20);
  fh_collect(2); /* old by now */
  struct node *third = node_ring(30);
  fh_gc_freeze();
  assert_true(fh_gc_freeze_count() == 60);
  assert_true(scanned_by_collection_of(2) == 0);
  fh_release(first);
  fh_release(second);
  fh_release(third);
  fh_gc_unfreeze();
  fh_gc_unfreeze(); /* of nothing */
  assert_int_equal((int)fh_collect(2), 60);
}

static void finalize(void *object) { ++*(uint64_t *)(void *)&((struct node *)object)->id; }
static const fh_ref mortal_refs[] = {FH_FIELD(struct node, left), FH_END};
static const fh_type_spec mortal_spec = {.name = "mortal", .size = sizeof(struct node), .refs = mortal_refs, .finalize = finalize};

/* Given a count again for its finalizer, it is tracked anew: as a newborn. */
static void what_is_frozen_may_have_a_finalizer(void **state) {
  fh_type *type = type_of_spec(&mortal_spec);
  struct node *n = fh_new(type);
  assert_non_null(n);
  fh_gc_freeze();
  fh_release(n);
  fh_safepoint();
  assert_true(fh_type_live(type) == 0);
  assert_int_equal(fh_check_heap(), FH_OK);
}

static void where_no_safepoint_may_be_nothing_is_frozen(void **state) {
  struct node *n = node_new(1);
  {
    FH_NO_SAFEPOINT();
    assert_int_equal(fh_gc_freeze(), FH_EAGAIN);
    assert_true(fh_gc_freeze_count() == 0);
  }
  fh_gc_freeze();
  {
    FH_NO_SAFEPOINT();
    assert_int_equal(fh_gc_unfreeze(), FH_EAGAIN);
    assert_true(fh_gc_freeze_count() == 1);
  }
  fh_release(n);
}

/* The figures begin anew: an old collection is not put off by what lived before. */
static void the_triggers_begin_anew(void **state) {
  const uint64_t thresholds[3] = {10, 10, 100};
  assert_int_equal(fh_gc_thresholds_set(thresholds), FH_OK);
  struct node *ring = node_ring(1000);
  fh_collect(2);
  assert_true(stats_now().old_due == 1000);
  fh_gc_freeze();
  uint64_t counts[3];
  fh_gc_counts(counts);
  assert_true(counts[0] == 0 && counts[1] == 0 && counts[2] == 0);
  assert_true(stats_now().old_due == 10);
  fh_gc_unfreeze();
  assert_true(stats_now().old_due == 1010); /* 100 percent of what it looks at more */
  fh_release(ring);
  assert_int_equal((int)fh_collect(2), 1000);
}

/* ---- others ---- */

static struct gate gate = GATE;
static struct node *theirs;

static void make_and_go_on(void *unused) {
  theirs = node_ring(50);
  struct node *common = node_new(7);
  fh_publish(common);
  fh_set(theirs, right, common);
  fh_release(common);
  gate_open(&gate, 1);
  gate_await_running(&gate, 2);
  require(fh_gc_generation(theirs) == 3);
  struct node *more = node_ring(2000); /* its current chunk was frozen, too */
  require(fh_gc_generation(more) == 0);
  fh_release(more);
  require(fh_collect(2) == 2000);
  fh_release(theirs);
}

static void objects_of_all_mutators_are_frozen(void **state) {
  atomic_store(&gate.value, 0);
  struct companion companion;
  companion_start(&companion, make_and_go_on, NULL);
  gate_await(&gate, 1);
  assert_int_equal(fh_gc_freeze(), FH_OK);
  assert_true(fh_gc_freeze_count() == 51);
  gate_open(&gate, 2);
  companion_join(&companion); /* its mutator has no thread now */
  assert_int_equal((int)fh_collect(2), 0);
  assert_int_equal(fh_check_heap(), FH_OK);
  fh_gc_unfreeze();
  assert_int_equal((int)fh_collect(2), 51);
}

static struct node *handed[2000];
static void make_and_leave(void *unused) {
  for (int i = 0; i < 2000; i++) {
    handed[i] = node_new((uint64_t)i);
    fh_publish(handed[i]);
  }
}
static void adopt(void *unused) { fh_release(node_ring(100)); }

static void strangers_release_what_is_frozen(void **state) {
  struct companion companion;
  companion_start(&companion, make_and_leave, NULL);
  companion_join(&companion);
  fh_gc_freeze();
  for (int i = 0; i < 1000; i++) fh_release(handed[i]);
  fh_housekeep();
  assert_true(deaths() == 1000 && fh_gc_freeze_count() == 1000);
  companion_start(&companion, adopt, NULL); /* the next thread has the mutator, and takes nothing out of frozen chunks */
  companion_join(&companion);
  assert_int_equal(fh_check_heap(), FH_OK);
  fh_gc_unfreeze();
  for (int i = 1000; i < 2000; i++) fh_release(handed[i]);
  fh_settle();
  assert_true(deaths() == 2100);
}

/* A thread freezes and unfreezes, others make, drop, hand over and collect. */
static struct node *common;

static void work_or_freeze(int index, void *unused) {
  for (size_t i = 0; i < scaled(1000) + 20; i++) {
    struct node *ring = node_ring(4);
    if (index % 2) {
      FH_CRITICAL(common);
      fh_set(common, left, ring);
    }
    fh_release(ring);
    if (index == 0) (void)fh_gc_freeze();
    if (index == 0 && i % 2) (void)fh_gc_unfreeze();
    if (index == 1) fh_collect((int)(i % 3));
    if (index == 2 && i % 8 == 0) require(fh_check_heap() == FH_OK);
    fh_safepoint();
  }
}

static void freezing_races_with_everything(void **state) {
  common = node_new(1);
  fh_publish(common);
  run_threads(4, work_or_freeze, NULL);
  fh_release(common);
  fh_gc_unfreeze();
  fh_settle();
  assert_int_equal((int)fh_type_live(node_type()), 0);
}

/* ---- fork ---- */

static void a_child_has_the_frozen_heap(void **state) {
  struct node *ring = node_ring(100);
  fh_gc_freeze();
  pid_t child = fork();
  assert_true(child >= 0);
  if (!child) {
    fh_release(ring);
    struct node *young = node_ring(10);
    fh_release(young);
    bool right = fh_collect(2) == 10 && fh_gc_freeze_count() == 100 && fh_check_heap() == FH_OK;
    fh_gc_unfreeze();
    right = right && fh_collect(2) == 100;
    _exit(right ? 0 : 1);
  }
  int status;
  assert_true(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  fh_release(ring);
  fh_gc_unfreeze();
  assert_int_equal((int)fh_collect(2), 100);
}

/* ---- the end ---- */

static fh_status froze_in_shutdown;
static void freeze_in_finalizer(void *object) { froze_in_shutdown = fh_gc_freeze(); }
static const fh_type_spec freezing_spec = {
    .name = "freezing", .size = sizeof(struct node), .refs = mortal_refs, .finalize = freeze_in_finalizer};

static void a_shutdown_unfreezes(void **state) {
  uint64_t leaked = 1;
  assert_int_equal(fh_init(NULL), FH_OK);
  assert_int_equal(fh_attach("main"), FH_OK);
  struct node *n = new_of_spec(&freezing_spec);
  fh_set(n, left, n);
  fh_gc_freeze();
  fh_release(n);
  fh_settle();
  assert_true(fh_gc_freeze_count() == 1); /* still */
  fh_detach();
  assert_int_equal(fh_shutdown(1000, &leaked), FH_OK);
  assert_true(leaked == 0);
  assert_int_equal(froze_in_shutdown, FH_ESHUTDOWN);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      with_runtime_gc_off(what_is_frozen_is_not_looked_at),
      with_runtime_gc_off(frozen_garbage_stays_until_it_is_unfrozen),
      with_runtime_gc_off(what_is_frozen_dies_by_its_count),
      with_runtime_gc_off(young_garbage_may_refer_to_what_is_frozen),
      with_runtime_gc_off(freezing_again_adds_what_is_new),
      with_runtime_gc_off(what_is_frozen_may_have_a_finalizer),
      with_runtime_gc_off(where_no_safepoint_may_be_nothing_is_frozen),
      with_runtime_gc_off(the_triggers_begin_anew),
      with_runtime_gc_off(objects_of_all_mutators_are_frozen),
      with_runtime_gc_off(strangers_release_what_is_frozen),
      with_runtime_gc_off(freezing_races_with_everything),
      with_runtime_gc_off(a_child_has_the_frozen_heap),
      cmocka_unit_test(a_shutdown_unfreezes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
