/* SPDX-License-Identifier: MIT */
/* Counting out of line: spills, strangers, overflow, uniqueness, immortality.
 *
 * Claims: the true count is the sum of both words through every spill and every way back [ref.sum]; a private object's
 * shared word is its owner's alone [ref.private]; a count at half range becomes immortal, whoever brings it there; a try
 * fails exactly on the dead [ref.dead], not on the queued [ref.queued]; uniqueness is never said wrongly; misuse traps.
 * Real: the whole runtime; words are set by hand where the way there would take hours. */
#include "support/support.h"

#include <string.h>

#include "mutator/mutator.h"
#include "ref/count.h"

enum { MANY = 3 * FH__SPILL_AT + 7 };

static void retain_and_release_many(struct node *n) {
  for (uint64_t i = 1; i <= MANY; i++) {
    fh_retain(n);
    if (i % 1000 == 0 || i < 20) assert_true(fh_refcount(n) == 1 + i); /* [ref.sum] */
  }
  assert_true(fh_refcount(n) == 1 + MANY);
  assert_true(fh__count_of(n->fh.fh__shared) > 0); /* it spilled */
  for (uint64_t i = MANY; i; i--) {
    assert_true(node_is_whole(n));
    fh_release(n);
    if (i % 1000 == 0 || i < 20) assert_true(fh_refcount(n) == i);
  }
}

static void a_private_count_spills_and_comes_back(void **state) {
  only_private();
  struct node *n = node_new(1);
  uint64_t spills = stats_now().spills;
  retain_and_release_many(n);
  assert_true(stats_now().spills > spills);
  assert_false(fh_is_published(n));
  fh_release(n);
  assert_true(atomic_load(&node_deaths) == 1);
}

static void taking_back_happens_where_the_local_count_runs_out(void **state) {
  only_private();
  struct node *n = node_new(1);
  for (int i = 0; i < MANY; i++) fh_retain(n);
  uint64_t take_backs = stats_now().take_backs;
  for (int i = 0; i < MANY; i++) fh_release(n);
  assert_true(stats_now().take_backs > take_backs);
  assert_true(fh_refcount(n) == 1);
  fh_release(n);
}

static void a_published_count_spills_and_is_merged(void **state) {
  struct node *n = node_new(1);
  fh_publish(n);
  retain_and_release_many(n);
  fh_release(n);
  fh_housekeep();
  assert_true(atomic_load(&node_deaths) == 1);
}

/* ---- strangers ---- */

struct shared_node {
  struct node *node;
  struct gate gate;
};

static void count_as_a_stranger(int index, void *argument) {
  struct shared_node *shared = argument;
  for (size_t i = scaled(50000); i; i--) {
    fh_retain(shared->node);
    require(node_is_whole(shared->node));
    fh_release(shared->node);
  }
}

static void strangers_and_the_owner_count_at_once(void **state) {
  struct shared_node shared = {.node = node_new(1), .gate = GATE};
  fh_publish(shared.node);
  run_threads(3, count_as_a_stranger, &shared);
  fh_housekeep();
  assert_true(fh_refcount(shared.node) == 1);
  fh_stats stats = stats_now();
  if (test_design() == FH_DESIGN_GIL)
    assert_true(stats.stranger_retains == 0 && stats.stranger_releases == 0); /* whoever runs owns it */
  else
    assert_true(stats.stranger_retains >= 3 * scaled(50000) && stats.stranger_releases >= 3 * scaled(50000));
  fh_release(shared.node);
}

/* ---- overflow ---- */

/* Brings the shared count of a published object close to half range, and back when the test is over. */
static void lift(struct node *n, int32_t count) { FH__ADD(&n->fh.fh__shared, (uint32_t)count * FH__ONE, RELAXED); }

static void make_mortal(struct node *n) {
  FH__AND(&n->fh.fh__shared, ~(uint32_t)FH__IMMORTAL, RELAXED);
  FH__SUB(&fh_type_of(n)->immortals, 1, RELAXED);
}

static void retain_in_thread(void *argument) { fh_retain((struct node *)argument); }
static void try_in_thread(void *argument) { require(fh_try_retain(argument)); }

static void overflow_by(void (*body)(void *)) {
  struct node *n = node_new(1);
  fh_publish(n);
  lift(n, FH__IMMORTAL_AT);
  uint64_t overflows = stats_now().overflows;
  struct companion companion;
  companion_start(&companion, body, n);
  companion_join(&companion);
  assert_true(n->fh.fh__shared & FH__IMMORTAL);
  assert_true(fh_refcount(n) == UINT64_MAX);
  assert_true(stats_now().overflows == overflows + 1);
  make_mortal(n);
  lift(n, -FH__IMMORTAL_AT - 1);
  assert_true(fh_refcount(n) == 1);
  fh_release(n);
}

static void a_count_at_half_range_becomes_immortal(void **state) {
  only_strangers();
  overflow_by(retain_in_thread);
  overflow_by(try_in_thread);
}

static void an_owners_spill_can_overflow_too(void **state) {
  only_private();
  struct node *n = node_new(1);
  for (int i = 1; i < FH__SPILL_AT; i++) fh_retain(n); /* the next one spills */
  lift(n, FH__IMMORTAL_AT);
  fh_retain(n);
  assert_true(n->fh.fh__shared & FH__IMMORTAL);
  assert_false(fh_is_published(n));
  for (int i = 0; i < 3 * FH__SPILL_AT; i++) fh_release(n); /* it lives for ever, though private */
  assert_true(node_is_whole(n) && atomic_load(&node_deaths) == 0);
  make_mortal(n);
  n->fh.fh__shared = FH__PRIVATE;
  n->fh.fh__bias = fh__bias_with(fh__self()->stamp, 1);
  fh_release(n);
}

static void overflow_with_a_listener(void) {
  static struct heard heard = HEARD;
  runtime_start(&(fh_options){.log = hear, .log_context = &heard});
  struct node *n = node_new(1);
  fh_publish(n);
  lift(n, FH__IMMORTAL_AT);
  struct companion companion;
  companion_start(&companion, retain_in_thread, n);
  companion_join(&companion);
  require(strstr(heard.text, "node overflowed; it is immortal"));
}

static void an_overflow_is_said(void **state) {
  only_strangers();
  expect_fine(overflow_with_a_listener);
}

/* ---- trying ---- */

static void a_try_fails_exactly_on_the_dead(void **state) {
  struct fh__mutator *me = fh__self();
  struct node *n = node_new(1);
  fh_publish(n);
  assert_true(fh__try_retain(me, &n->fh)); /* the owner's own */
  assert_true(fh_refcount(n) == 2);
  fh_release(n);
  const uint32_t bias = n->fh.fh__bias, shared = n->fh.fh__shared;
  n->fh.fh__bias = FH__BIAS_MARK;
  n->fh.fh__shared = FH__MERGED;
  assert_false(fh__try_retain(me, &n->fh));
  assert_int_equal(n->fh.fh__shared, FH__MERGED); /* untouched */
  n->fh.fh__shared = FH__MERGED | FH__WEAK;
  assert_false(fh__try_retain(me, &n->fh));
  n->fh.fh__shared = FH__MERGED | FH__QUEUED; /* pinned: the drain decides */
  assert_true(fh__try_retain(me, &n->fh));
  assert_int_equal(fh__count_of(n->fh.fh__shared), 1);
  n->fh.fh__shared = FH__MERGED | FH__IMMORTAL;
  assert_true(fh__try_retain(me, &n->fh));
  assert_int_equal(fh__count_of(n->fh.fh__shared), 0);
  n->fh.fh__shared = FH__MERGED + FH__ONE;
  assert_true(fh_try_retain(n));
  assert_int_equal(fh__count_of(n->fh.fh__shared), 2);
  n->fh.fh__bias = bias;
  n->fh.fh__shared = shared;
  fh_release(n);
}

/* ---- unique ---- */

static bool unique_with(struct node *n, uint32_t bias, uint32_t shared) {
  n->fh.fh__bias = bias;
  n->fh.fh__shared = shared;
  return fh_is_unique(n);
}

static void unique_is_never_said_wrongly(void **state) {
  struct node *n = node_new(1);
  const uint32_t mine = fh__self()->stamp, others = fh__stamp_of(fh__self()->sync.id + 1);
  assert_true(fh_is_unique(n));
  assert_false(unique_with(n, fh__bias_with(mine, 2), FH__PRIVATE));
  assert_false(unique_with(n, fh__bias_with(mine, 1), FH__PRIVATE + FH__ONE)); /* spilled */
  assert_true(unique_with(n, fh__bias_with(mine, 1), 0));                      /* published, and only the owner's */
  assert_false(unique_with(n, fh__bias_with(mine, 1), FH__ONE));
  assert_false(unique_with(n, fh__bias_with(others, 1), 0)); /* cannot tell without a merge */
  assert_false(unique_with(n, fh__bias_with(others, 1), FH__ONE));
  assert_true(unique_with(n, FH__BIAS_MARK, FH__MERGED + FH__ONE));
  assert_false(unique_with(n, FH__BIAS_MARK, FH__MERGED + 2 * FH__ONE));
  static const uint32_t doubts[] = {FH__QUEUED, FH__WEAK, FH__IMMORTAL, FH__HOT};
  for (size_t i = 0; i < 4; i++) {
    assert_false(unique_with(n, FH__BIAS_MARK, (FH__MERGED + FH__ONE) | doubts[i]));
    assert_false(unique_with(n, fh__bias_with(mine, 1), FH__PRIVATE | doubts[i]));
  }
  n->fh.fh__bias = fh__bias_with(mine, 1);
  n->fh.fh__shared = FH__PRIVATE;
  fh_release(n);
}

static void what_can_be_peeked_is_never_unique(void **state) {
  static const fh_type_spec flat = {.name = "flat", .size = 32, .flags = FH_IMMUTABLE};
  static const fh_type_spec grace = {.name = "grace", .size = 32, .flags = FH_GRACE};
  static const fh_type_spec *const specs[] = {&flat, &grace};
  for (int i = 0; i < 2; i++) {
    fh_object *object = new_of_spec(specs[i]);
    assert_int_equal(fh_is_unique(object), !born_published());
    fh_publish(object);
    assert_false(fh_is_unique(object));
    fh_release(object);
  }
}

/* ---- immortal ---- */

static void make_immortal_in_thread(void *argument) { fh_make_immortal(argument); }

static void require_immortal(struct node *n, uint64_t immortal) {
  for (int i = 0; i < 10; i++) fh_release(n);
  for (int i = 0; i < 20; i++) fh_retain(n);
  assert_true(fh_refcount(n) == UINT64_MAX && node_is_whole(n));
  fh_make_immortal(n); /* again */
  assert_true(stats_now().objects_immortal == immortal);
  assert_int_equal(n->fh.fh__bias, FH__BIAS_IMMORTAL);
}

static void bury(struct node *n) {
  make_mortal(n);
  n->fh.fh__bias = FH__BIAS_MARK;
  n->fh.fh__shared = FH__MERGED + FH__ONE;
  fh_release(n);
}

static void release_it(int index, void *n) { fh_release(n); }

/* As two strangers leave it whose releases of a settled object passed each other: below zero, and in nobody's queue. */
static void whoever_finds_it_below_zero_hands_it_over(void **state) {
  only_biased();
  struct node *n = node_new(1);
  fh_publish(n);
  fh_retain(n);
  n->fh.fh__shared = 0u - FH__ONE; /* one reference is left */
  run_threads(1, release_it, n);
  fh_housekeep();
  assert_int_equal(atomic_load(&node_deaths), 1);
}

static void owners_merged_and_strangers_objects_become_immortal(void **state) {
  only_strangers();
  struct companion companion;
  struct node *mine = node_new(1), *merged = node_new(2), *others = node_new(3);
  fh_make_immortal(mine);
  require_immortal(mine, 1);
  fh_publish(merged);
  companion_start(&companion, retain_in_thread, merged);
  companion_join(&companion);
  fh_release(merged);
  assert_true(merged->fh.fh__shared & FH__MERGED);
  companion_start(&companion, make_immortal_in_thread, merged);
  companion_join(&companion);
  require_immortal(merged, 2);
  fh_publish(others);
  companion_start(&companion, make_immortal_in_thread, others);
  companion_join(&companion);
  if (!born_published()) assert_int_not_equal(others->fh.fh__bias, FH__BIAS_IMMORTAL); /* its owner's word is not a stranger's to write */
  assert_true(fh_refcount(others) == UINT64_MAX);
  companion_start(&companion, retain_in_thread, others);
  companion_join(&companion);
  fh_release(others); /* the owner's last release writes the word */
  require_immortal(others, 3);
  bury(mine);
  bury(merged);
  bury(others);
}

/* ---- misuse ---- */

static struct node *of_another;
static void make_private(void *unused) { of_another = node_new(1); }
static void prepare_private(void) {
  struct companion companion;
  runtime_start(NULL);
  companion_start(&companion, make_private, NULL);
  companion_join(&companion);
}
static void retain_anothers(void) {
  prepare_private();
  fh_retain(of_another);
}
static void release_anothers(void) {
  prepare_private();
  fh_release(of_another);
}
static void try_anothers(void) {
  prepare_private();
  (void)!fh_try_retain(of_another);
}
static void retain_unattached(void) {
  runtime_start(NULL);
  struct node *n = node_new(1);
  fh_publish(n);
  fh_blocking_begin();
  fh_retain(n);
}
static void release_unattached(void) {
  runtime_start(NULL);
  struct node *n = node_new(1);
  fh_publish(n);
  fh_detach();
  fh_release(n);
}
static void release_too_often(void) {
  runtime_start(NULL);
  struct node *n = node_new(1);
  n->fh.fh__bias = FH__BIAS_MARK;
  n->fh.fh__shared = FH__MERGED;
  fh_release(n);
}

static void misuse_traps_in_every_build(void **state) {
  if (test_design() == FH_DESIGN_BIASED) {
    expect_trap(retain_anothers, "fh_retain: a private object of another thread", "owner: mutator 2 \"companion\"",
                "thread: mutator 1 \"main\"", NULL);
    expect_trap(release_anothers, "fh_release: a private object of another thread", NULL);
    expect_trap(try_anothers, "fh_try_retain: a private object of another thread", NULL);
  }
  expect_trap(retain_unattached, "fh_retain: the calling thread is not attached", NULL);
  expect_trap(release_unattached, "fh_release: the calling thread is not attached", NULL);
  expect_trap(release_too_often, "fh_release: more releases than references", NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      with_runtime(a_private_count_spills_and_comes_back),
      with_runtime(taking_back_happens_where_the_local_count_runs_out),
      with_runtime(a_published_count_spills_and_is_merged),
      with_runtime(strangers_and_the_owner_count_at_once),
      with_runtime(a_count_at_half_range_becomes_immortal),
      with_runtime(an_owners_spill_can_overflow_too),
      cmocka_unit_test(an_overflow_is_said),
      with_runtime(a_try_fails_exactly_on_the_dead),
      with_runtime(unique_is_never_said_wrongly),
      with_runtime(what_can_be_peeked_is_never_unique),
      with_runtime(whoever_finds_it_below_zero_hands_it_over),
      with_runtime(owners_merged_and_strangers_objects_become_immortal),
      cmocka_unit_test(misuse_traps_in_every_build),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
