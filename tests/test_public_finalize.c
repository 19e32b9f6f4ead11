/* SPDX-License-Identifier: MIT */
/* Finalizers from outside, as a user of the library sees them.
 *
 * Claims: one is called once, at a safepoint after its object is lost, whether that died by its count or as garbage, before the type's
 * finalizer, and the newest first; the runtime keeps it alone; who detaches it or calls it in time has the object's death not call it, also
 * between the loss and the safepoint; of all who call, detach and lose at once, one wins [final.once]; with FH_FINALIZER_AT_EXIT
 * it is called when the runtime ends and its object still lives, the newest of all first, and without it that is no leak [final.kept]. */
#include "support/support.h"

#include <sys/wait.h>
#include <unistd.h>

/* ---- calls are noted ---- */

enum { CALLS = 256 };
static int called[CALLS], calls;
static int id_of[CALLS];

static void note(void *context) {
  require(calls < CALLS);
  called[calls++] = *(int *)context;
}

static fh_finalizer *attach(void *object, int id, uint32_t flags) {
  id_of[id] = id;
  fh_finalizer *finalizer = fh_finalizer_new(object, note, &id_of[id], flags);
  require(finalizer);
  return finalizer;
}
static void attach_only(void *object, int id, uint32_t flags) { fh_release(attach(object, id, flags)); }

static int setup(void **state) {
  calls = 0;
  return runtime_setup(state);
}
#define with_calls(test) cmocka_unit_test_setup_teardown(test, setup, runtime_teardown)

/* ---- one thread ---- */

static void it_is_called_once_at_the_safepoint(void **state) {
  struct node *n = node_new(1);
  FH_AUTO fh_finalizer *finalizer = attach(n, 7, 0);
  fh_settle();
  assert_true(calls == 0 && fh_finalizer_is_alive(finalizer) && fh_refcount(n) == 1);
  fh_release(n);
  assert_true(calls == 0 && deaths() == 1 && fh_finalizer_is_alive(finalizer)); /* not in the release */
  fh_safepoint();
  assert_true(calls == 1 && called[0] == 7 && !fh_finalizer_is_alive(finalizer));
  assert_false(fh_finalizer_call(finalizer));
  assert_false(fh_finalizer_detach(finalizer));
  fh_settle();
  assert_int_equal(calls, 1);
  assert_true(stats_now().finalized == 1);
}

static void the_runtime_keeps_it(void **state) {
  struct node *n = node_new(1);
  attach_only(n, 1, 0);
  fh_settle();
  assert_int_equal(fh_check_heap(), FH_OK);
  fh_release(n);
  fh_safepoint();
  assert_int_equal(calls, 1);
}

static void garbage_calls_it(void **state) {
  struct node *a = node_ring(2);
  attach_only(a, 1, 0);
  attach_only(fh_get(a, left), 2, 0);
  fh_release(a);
  fh_safepoint();
  assert_int_equal(calls, 0);
  assert_int_equal((int)fh_collect(2), 2);
  assert_true(calls == 2 && called[0] + called[1] == 3);
  fh_settle();
  assert_true(deaths() == 2);
}

static void an_object_has_many_and_the_newest_is_first(void **state) {
  enum { MANY = 100 };
  struct node *n = node_new(1);
  for (int i = 0; i < MANY; i++) attach_only(n, i, 0);
  fh_release(n);
  fh_safepoint();
  assert_int_equal(calls, MANY);
  for (int i = 0; i < MANY; i++) assert_int_equal(called[i], MANY - 1 - i);
}

static void what_it_is_attached_to_is_published(void **state) {
  struct node *n = node_new(1);
  fh_give(n, left, node_new(2));
  attach_only(n, 1, 0);
  assert_true(fh_is_published(n) && fh_is_published(fh_get(n, left)));
  fh_release(n);
}

static void it_does_not_disturb_weak_references(void **state) {
  struct node *n = node_new(1);
  FH_AUTO fh_weak *weak = fh_weak_new(n);
  FH_AUTO fh_finalizer *finalizer = attach(n, 1, 0);
  FH_AUTO fh_weak *later = fh_weak_new(n);
  assert_true(fh_finalizer_detach(finalizer));
  struct node *found = fh_weak_get(weak);
  assert_ptr_equal(found, n);
  fh_release(found);
  fh_release(n);
  assert_null(fh_weak_get(later));
  fh_safepoint();
  assert_int_equal(calls, 0);
}

/* ---- detaching and calling ---- */

static void what_was_detached_is_not_called(void **state) {
  struct node *n = node_new(1);
  FH_AUTO fh_finalizer *first = attach(n, 1, 0), *second = attach(n, 2, 0);
  assert_true(fh_finalizer_detach(second) && !fh_finalizer_is_alive(second));
  assert_false(fh_finalizer_detach(second));
  assert_false(fh_finalizer_call(second));
  assert_int_equal(fh_check_heap(), FH_OK);
  fh_release(n);
  fh_safepoint();
  assert_true(calls == 1 && called[0] == 1);
}

static void detached_or_called_it_is_the_callers_alone(void **state) {
  struct node *n = node_new(1);
  fh_finalizer *finalizer = attach(n, 1, 0);
  assert_true(fh_refcount(finalizer) == 2);
  assert_true(fh_finalizer_detach(finalizer));
  assert_true(fh_refcount(finalizer) == 1);
  fh_release(finalizer);
  assert_true(fh_is_unique(n)); /* with the last of them the object is what it was */
  fh_release(n);
}

static void one_may_be_called_early(void **state) {
  struct node *n = node_new(1);
  FH_AUTO fh_finalizer *finalizer = attach(n, 3, 0);
  assert_true(fh_finalizer_call(finalizer));
  assert_true(calls == 1 && called[0] == 3 && deaths() == 0);
  assert_false(fh_finalizer_call(finalizer));
  fh_release(n);
  fh_settle();
  assert_int_equal(calls, 1);
}

/* Its object is lost, and the safepoint has not come yet. */
static void before_the_safepoint_it_can_still_be_had(void **state) {
  struct node *n = node_new(1);
  FH_AUTO fh_finalizer *first = attach(n, 1, 0), *second = attach(n, 2, 0), *third = attach(n, 3, 0);
  fh_release(n);
  assert_true(fh_finalizer_detach(first) && fh_finalizer_call(second));
  assert_int_equal(calls, 1);
  fh_safepoint();
  assert_true(calls == 2 && called[0] == 2 && called[1] == 3);
  assert_false(fh_finalizer_is_alive(third));
}

/* ---- the type's own finalizer ---- */

static struct phoenix {
  fh_object fh;
} *risen;
static int finalized, calls_at_finalizer;
static void rise(void *object) {
  calls_at_finalizer = calls;
  finalized++;
  risen = fh_retain((struct phoenix *)object);
}
static const fh_type_spec phoenix_spec = {.name = "phoenix", .size = sizeof(struct phoenix), .finalize = rise};

static void it_comes_before_the_types_and_is_lost_to_the_risen(void **state) {
  finalized = 0;
  calls_at_finalizer = -1;
  struct phoenix *p = new_of_spec(&phoenix_spec);
  attach_only(p, 1, 0);
  fh_release(p);
  fh_safepoint();
  assert_true(finalized == 1 && calls_at_finalizer == 1 && risen == p);
  attach_only(risen, 2, 0); /* a new one, of its second life */
  fh_drop(&risen);
  fh_safepoint();
  assert_true(calls == 2 && called[1] == 2 && finalized == 1);
}

/* ---- who refuses ---- */

static void attach_to_the_proud(void) {
  runtime_start(NULL);
  attach_only(proud_new(), 1, 0);
}

static void attach_to_a_finalizer(void) {
  runtime_start(NULL);
  attach_only(attach(node_new(1), 1, 0), 2, 0);
}

static void call_detached(void) {
  runtime_start(NULL);
  fh_finalizer *finalizer = attach(node_new(1), 1, 0);
  fh_detach();
  (void)fh_finalizer_call(finalizer);
}

static void detach_freed(void) {
  runtime_start(NULL);
  fh_finalizer *finalizer = attach(node_new(1), 1, 0);
  fh_finalizer_detach(finalizer);
  fh_release(finalizer);
  (void)fh_finalizer_detach(finalizer);
}

static void misuse_traps_or_is_refused(void **state) {
  FH_AUTO struct node *n = node_new(1);
  assert_null(fh_finalizer_new(n, note, NULL, 1u << 7));
  assert_false(fh_is_published(n) && !born_published());
  expect_trap(call_detached, "fh_finalizer_call", "not attached", NULL);
  if (!is_checked()) return;
  expect_trap(attach_to_the_proud, "fh_finalizer_new", "FH_NO_WEAK", "proud", NULL);
  expect_trap(attach_to_a_finalizer, "fh_finalizer_new", "FH_NO_WEAK", "fh_finalizer", NULL);
  expect_trap(detach_freed, "fh_finalizer_detach", "freed", NULL);
}

/* ---- what it may do ---- */

static void work_hard(void *context) {
  struct node **left = context;
  FH_AUTO struct node *n = node_new(5);
  attach_only(n, 9, 0); /* called later: nothing nests */
  fh_drop(left);
  fh_drop(&n);
  fh_safepoint();
  require(calls == 0);
  FH_BLOCKING();
}

static void it_may_do_what_finalizers_may(void **state) {
  struct node *left = node_ring(2), *n = node_new(3);
  fh_finalizer *finalizer = fh_finalizer_new(n, work_hard, &left, 0);
  assert_non_null(finalizer);
  fh_release(finalizer);
  fh_release(n);
  fh_safepoint();
  fh_settle();
  assert_true(calls == 1 && called[0] == 9 && deaths() == 4);
}

static void leave_for_good(void *context) {
  note(context);
  pthread_exit(NULL);
}

static void die_of_it(void *unused) {
  struct node *n = node_new(1);
  fh_finalizer *finalizer = fh_finalizer_new(n, leave_for_good, &id_of[4], 0);
  require(finalizer);
  fh_release(finalizer);
  attach_only(n, 5, 0);
  fh_release(n);
  for (;;) fh_safepoint();
}

static void a_thread_may_end_in_it(void **state) {
  id_of[4] = 4;
  struct companion companion;
  companion_start(&companion, die_of_it, NULL);
  companion_join(&companion);
  fh_settle();
  assert_true(calls == 2 && called[0] == 5 && called[1] == 4);
}

/* ---- when the runtime ends ---- */

static fh_slot root;
static void make_another(void *context) {
  note(context);
  FH_AUTO struct node *n = fh_slot_load(&root);
  require(n); /* the roots are not cleared yet */
  attach_only(n, 20, FH_FINALIZER_AT_EXIT);
}

static void live_on(void) {
  runtime_start(NULL);
  struct node *n = node_new(1), *immortal = node_new(2);
  require(fh_root_add(&root) == FH_OK);
  fh_slot_store(&root, n);
  fh_make_immortal(immortal);
  for (int i = 0; i < 10; i++) attach_only(i % 3 ? immortal : n, i, i % 2 ? FH_FINALIZER_AT_EXIT : 0);
  fh_finalizer *early = attach(n, 11, FH_FINALIZER_AT_EXIT), *other = attach(n, 12, FH_FINALIZER_AT_EXIT);
  require(fh_finalizer_call(early) && fh_finalizer_detach(other));
  fh_release(early);
  fh_release(other);
  id_of[13] = 13;
  fh_finalizer *maker = fh_finalizer_new(n, make_another, &id_of[13], FH_FINALIZER_AT_EXIT);
  require(maker);
  fh_release(maker);
  fh_release(n);
  fh_detach();
  uint64_t leaked;
  require(fh_shutdown(1000, &leaked) == FH_OK && leaked == 0);
  /* The one called early; the newest of all; then of those whose objects lived, the newest first; the one that was made then; and
   * of the root's node, when that died, those without the flag. */
  static const int expected[] = {11, 13, 9, 7, 5, 3, 1, 20, 6, 0};
  require(calls == sizeof expected / sizeof *expected);
  for (int i = 0; i < calls; i++) require(called[i] == expected[i]);
}

static void who_lives_at_the_end_is_called_if_it_says_so(void **state) { expect_fine(live_on); }

static void leak(void) {
  runtime_start(&(fh_options){.flags = FH_OPTION_QUIET});
  struct node *n = node_new(1);
  attach_only(n, 1, 0);
  attach_only(n, 2, FH_FINALIZER_AT_EXIT);
  fh_detach();
  uint64_t leaked;
  require(fh_shutdown(1000, &leaked) == FH_OK && leaked == 1); /* the node, and no finalizer */
  require(calls == 1 && called[0] == 2);
}

static void a_leaks_finalizers_are_no_leaks(void **state) { expect_fine(leak); }

/* ---- fork ---- */

static void parent_and_child_each_call_theirs(void **state) {
  struct node *dead = node_new(1), *alive = node_new(2);
  attach_only(dead, 1, 0);
  attach_only(alive, 2, FH_FINALIZER_AT_EXIT);
  assert_int_equal(fh_root_add(&root), FH_OK);
  fh_slot_store(&root, alive);
  fh_release(alive);
  fh_release(dead);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    fh_safepoint();
    bool right = calls == 1 && called[0] == 1;
    fh_detach();
    right = right && fh_shutdown(1000, NULL) == FH_OK && calls == 2 && called[1] == 2;
    _exit(right ? 0 : 1);
  }
  int status;
  assert_true(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  fh_safepoint();
  assert_int_equal(calls, 1);
  fh_slot_store(&root, NULL);
  fh_root_remove(&root);
  fh_safepoint();
  assert_int_equal(calls, 2);
}

/* ---- races ---- */

enum { THREADS = 4 };
static fh_slot shared[8];
static atomic_int won_by_call, won_by_detach, ran, attached;

struct once {
  atomic_int left; /* 1 until somebody has won */
};

static void run_once(void *context) {
  struct once *once = context;
  require(atomic_fetch_sub(&once->left, 1) == 1);
  atomic_fetch_add(&ran, 1);
  fh_free(once);
}

/* Everybody makes objects with finalizers, shows the finalizers, and calls and detaches those of others, while the objects die. */
static void race(int index, void *argument) {
  for (uint64_t i = 0; i < scaled(20000); i++) {
    uint64_t at = (i * 5 + (uint64_t)index) % 8;
    struct node *n = i % 3 ? node_new(i) : node_ring(2);
    struct once *once = fh_alloc(sizeof *once);
    require(once);
    atomic_init(&once->left, 1);
    FH_AUTO fh_finalizer *mine = fh_finalizer_new(n, run_once, once, i % 2);
    require(mine);
    atomic_fetch_add(&attached, 1);
    fh_slot_store(&shared[at], mine);
    if (i % 4 == 0) fh_safepoint();
    FH_AUTO fh_finalizer *other = fh_slot_load(&shared[(at + (uint64_t)index) % 8]);
    if (i % 5 == 0) fh_release(n); /* before, or after */
    if (other && i % 7 == 0 && fh_finalizer_call(other)) atomic_fetch_add(&won_by_call, 1);
    /* The context is the winner's alone; which one it was only its finalizer knows, so it is asked by its own function. */
    if (i % 11 == 0 && fh_finalizer_detach(mine)) {
      require(atomic_fetch_sub(&once->left, 1) == 1);
      atomic_fetch_add(&won_by_detach, 1);
      fh_free(once);
    }
    if (i % 5) fh_release(n);
    if (i % 64 == 0) fh_collect(2);
  }
}

static void of_all_who_race_one_wins(void **state) {
  run_threads(THREADS, race, NULL);
  for (int i = 0; i < 8; i++) fh_slot_store(&shared[i], NULL);
  fh_settle();
  assert_int_equal(atomic_load(&ran) + atomic_load(&won_by_detach), atomic_load(&attached));
  assert_true(atomic_load(&won_by_call) <= atomic_load(&ran));
}

/* One finalizer at a time, and two that want it in the same moment: to call it, to detach it, or by the death of its object. */
static fh_finalizer *contested;
static struct node *mortal;
static atomic_int winners, runs, begun, ended;
static void count_run(void *context) { atomic_fetch_add(&runs, 1); }

/* At full speed for a while, so that both come out of it together. */
static void await_turn(atomic_int *turn, int value) {
  for (int i = 1; atomic_load(turn) < value; i++) {
    if (i % 1000 == 0 || test_design() == FH_DESIGN_GIL)
      give_way();
    else
      fh_safepoint();
  }
}

static void want_it(int how) {
  switch (how) {
    case 0:
      fh_drop(&mortal);
      fh_safepoint();
      return;
    case 1:
      (void)fh_finalizer_call(contested);
      return;
    default:
      if (fh_finalizer_detach(contested)) atomic_fetch_add(&winners, 1);
      return;
  }
}

static void contend(int index, void *unused) {
  for (int i = 0; i < (int)scaled(10000); i++) {
    if (index == 0) {
      mortal = node_new((uint64_t)i);
      contested = fh_finalizer_new(mortal, count_run, NULL, 0);
      require(contested);
      atomic_fetch_add(&begun, 1);
    }
    await_turn(&begun, i + 1);
    if (!index) /* who began the round is ahead by as long as the other takes to see it */
      for (volatile int wait = i % 100; wait > 0; wait = wait - 1) continue;
    want_it(index ? 1 + i % 2 : i / 2 % 3);
    atomic_fetch_add(&ended, 1);
    await_turn(&ended, 2 * (i + 1));
    if (index) continue;
    require(!fh_finalizer_is_alive(contested));
    require(atomic_load(&winners) + atomic_load(&runs) == i + 1);
    fh_drop(&contested);
    if (mortal) fh_drop(&mortal);
    fh_safepoint();
  }
}

static void one_that_all_want_goes_to_one(void **state) {
  run_threads(2, contend, NULL);
  assert_true(atomic_load(&winners) + atomic_load(&runs) == (int)scaled(10000));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      with_calls(it_is_called_once_at_the_safepoint),
      with_calls(the_runtime_keeps_it),
      with_calls(garbage_calls_it),
      with_calls(an_object_has_many_and_the_newest_is_first),
      with_calls(what_it_is_attached_to_is_published),
      with_calls(it_does_not_disturb_weak_references),
      with_calls(what_was_detached_is_not_called),
      with_calls(detached_or_called_it_is_the_callers_alone),
      with_calls(one_may_be_called_early),
      with_calls(before_the_safepoint_it_can_still_be_had),
      with_calls(it_comes_before_the_types_and_is_lost_to_the_risen),
      with_calls(misuse_traps_or_is_refused),
      with_calls(it_may_do_what_finalizers_may),
      with_calls(a_thread_may_end_in_it),
      cmocka_unit_test(who_lives_at_the_end_is_called_if_it_says_so),
      cmocka_unit_test(a_leaks_finalizers_are_no_leaks),
      with_calls(parent_and_child_each_call_theirs),
      with_calls(of_all_who_race_one_wins),
      with_calls(one_that_all_want_goes_to_one),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
