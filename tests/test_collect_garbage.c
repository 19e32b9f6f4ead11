/* SPDX-License-Identifier: MIT */
/* What becomes of garbage: who finishes it, references between lists, finalizers and the second look.
 *
 * Claims: private garbage is finished by its own mutator at its safepoint, a sleeper's and an exited one's by the collector;
 * references from private to published garbage are counted down, and the object dies by its count [garbage.flag]; what
 * finalizers resurrect lives with all that it reaches, and the rest dies; a collection in the middle of another's finalizers
 * finds held objects alive [garbage.held] and counts references into that list; published garbage that another's finalizers
 * must find intact is kept; a reference between two lists counts, whenever it was made; each finalizer runs once, and
 * between two of them the world may stop. Real: the whole runtime; order is forced by gates. */
#include "support/support.h"

#include <sched.h>

#include "mutator/mutator.h"

/* ---- an object that may be told to do something when it is finalized ---- */

struct cell {
  fh_object fh;
  struct cell *left, *right;
  int id;
  uint64_t check;
};
static atomic_int finalized, died;
static struct fh__mutator *dier[16];             /* who destroyed the cell with that id */
static void (*when_finalized)(struct cell *self); /* of the cell with id 1 */

static bool is_whole(const struct cell *c) { return c->check == ~(uint64_t)(uintptr_t)c; }

static void finalize(void *object) {
  struct cell *c = object;
  require(is_whole(c) && (!c->left || is_whole(c->left)) && (!c->right || is_whole(c->right)));
  atomic_fetch_add(&finalized, 1);
  if (c->id == 1 && when_finalized) when_finalized(c);
}
static void dealloc(void *object) {
  struct cell *c = object;
  require(is_whole(c) && !c->left && !c->right);
  c->check = 0;
  __atomic_store_n(&dier[c->id], fh__self(), __ATOMIC_RELAXED);
  atomic_fetch_add(&died, 1);
}

static const fh_ref cell_refs[] = {FH_FIELD(struct cell, left), FH_FIELD(struct cell, right), FH_END};
static const fh_type_spec plain_spec = {.name = "cell", .size = sizeof(struct cell), .refs = cell_refs, .dealloc = dealloc};
static const fh_type_spec final_spec = {
    .name = "finalized cell", .size = sizeof(struct cell), .refs = cell_refs, .finalize = finalize, .dealloc = dealloc};

static struct cell *cell_new(int id, bool with_finalizer) {
  struct cell *c = new_of_spec(with_finalizer ? &final_spec : &plain_spec);
  c->id = id;
  c->check = ~(uint64_t)(uintptr_t)c;
  return c;
}

/* Two cells that refer to each other; the caller owns the first. */
static struct cell *pair(int id, bool with_finalizer) {
  struct cell *a = cell_new(id, with_finalizer), *b = cell_new(id + 1, with_finalizer);
  fh_set(a, left, b);
  fh_set(b, left, a);
  fh_release(b);
  return a;
}

static void forget_counts(void) {
  atomic_store(&finalized, 0);
  atomic_store(&died, 0);
  when_finalized = NULL;
}

static int setup(void **state) {
  forget_counts();
  return runtime_setup_gc_off(state); /* only the test collects */
}

/* ---- one mutator ---- */

static void private_and_published_garbage_of_one_mutator(void **state) {
  struct cell *private = pair(2, false), *published = pair(4, false), *both = pair(6, false);
  fh_publish(published);
  fh_set(private, right, published); /* from one list's kind to the other's */
  fh_set(both->left, right, published->left);
  fh_release(private);
  fh_release(published);
  fh_release(both);
  assert_int_equal(fh_collect(2), 6);
  fh_housekeep();
  assert_int_equal(atomic_load(&died), 6);
  assert_true(stats_now().collected == 6);
}

static void live_objects_that_garbage_refers_to_live_on(void **state) {
  struct cell *live = cell_new(2, false), *shared = cell_new(3, false), *garbage = pair(4, false);
  fh_publish(shared);
  fh_set(garbage, right, live);
  fh_set(garbage->left, right, shared);
  fh_release(garbage);
  assert_int_equal(fh_collect(2), 2);
  assert_true(is_whole(live) && fh_refcount(live) == 1);
  assert_true(is_whole(shared) && fh_refcount(shared) == 1);
  fh_release(live);
  fh_release(shared);
}

static void a_tail_of_garbage_dies_by_its_count(void **state) {
  struct cell *garbage = pair(2, false);
  fh_give(garbage, right, cell_new(4, false)); /* not in a cycle itself, and garbage all the same */
  fh_give(garbage->right, left, cell_new(5, true));
  fh_release(garbage);
  fh_collect(2);
  fh_settle();
  assert_int_equal(atomic_load(&died), 4);
  assert_int_equal(atomic_load(&finalized), 1);
}

/* ---- several mutators ---- */

struct other {
  struct gate ready, leave;
  struct fh__mutator *mutator;
  struct cell *published; /* of the test's, which the other's garbage refers to */
  bool with_finalizer;
  void (*wait)(struct gate *, int);
};

static void make_garbage(void *argument) {
  struct other *other = argument;
  other->mutator = fh__self();
  struct cell *garbage = pair(8, other->with_finalizer);
  if (other->published) fh_set(garbage, right, other->published);
  fh_release(garbage);
  gate_open(&other->ready, 1);
  other->wait(&other->leave, 1);
}

static void start_other(struct other *other, struct companion *companion) {
  other->ready = other->leave = (struct gate)GATE;
  companion_start(companion, make_garbage, other);
  gate_await(&other->ready, 1);
}

static void finish_other(struct other *other, struct companion *companion) {
  gate_open(&other->leave, 1);
  companion_join(companion);
}

static void a_running_mutator_finishes_its_own(void **state) {
  for (int with_finalizer = 0; with_finalizer < 2; with_finalizer++) {
    struct other other = {.wait = gate_await_running, .with_finalizer = with_finalizer};
    struct companion companion;
    forget_counts();
    start_other(&other, &companion);
    assert_int_equal(fh_collect(2), 2);
    finish_other(&other, &companion);
    assert_int_equal(atomic_load(&died), 2);
    assert_int_equal(atomic_load(&finalized), 2 * with_finalizer);
    /* In the other designs it is not private to anybody, and the collector finishes it itself. */
    struct fh__mutator *finisher = test_design() == FH_DESIGN_BIASED ? other.mutator : fh__self();
    assert_ptr_equal(dier[8], finisher);
    assert_ptr_equal(dier[9], finisher);
  }
}

static void a_sleepers_garbage_is_finished_by_the_collector(void **state) {
  struct other other = {.wait = gate_await, .with_finalizer = true};
  struct companion companion;
  start_other(&other, &companion);
  gate_await_waiter(&other.leave);
  assert_int_equal(fh_collect(2), 2);
  assert_int_equal(atomic_load(&died), 2);
  assert_int_equal(atomic_load(&finalized), 2);
  assert_ptr_equal(dier[8], fh__self());
  finish_other(&other, &companion);
}

static void the_garbage_of_a_thread_that_has_gone_too(void **state) {
  struct other other = {.wait = gate_await, .with_finalizer = true};
  struct companion companion;
  start_other(&other, &companion);
  finish_other(&other, &companion);
  assert_int_equal(fh_collect(2), 2);
  assert_ptr_equal(dier[8], fh__self());
  assert_int_equal(atomic_load(&died), 2);
}

static void references_between_lists_are_counted_down(void **state) {
  struct other other = {.wait = gate_await_running, .published = pair(4, false)};
  struct companion companion;
  fh_publish(other.published);
  start_other(&other, &companion); /* its private garbage refers to published garbage, which the collector finishes */
  fh_release(other.published);
  assert_int_equal(fh_collect(2), 4);
  finish_other(&other, &companion);
  fh_settle();
  assert_int_equal(atomic_load(&died), 4);
}

static void what_anothers_finalizers_must_find_is_kept(void **state) {
  only_biased();
  struct other other = {.wait = gate_await_running, .published = pair(4, false), .with_finalizer = true};
  struct companion companion;
  fh_publish(other.published);
  start_other(&other, &companion);
  fh_release(other.published);
  assert_int_equal(fh_collect(2), 2); /* the published pair waits for the next one */
  finish_other(&other, &companion);
  assert_int_equal(atomic_load(&died), 2);
  assert_int_equal(atomic_load(&finalized), 2);
  assert_int_equal(fh_collect(2), 2);
  assert_int_equal(atomic_load(&died), 4);
}

/* ---- finalizers ---- */

static struct cell *saved;
static void save(struct cell *self) { saved = fh_retain(self); }
static void save_the_neighbour(struct cell *self) { saved = fh_retain(self->left); }

static void a_cycle_with_finalizers_dies_in_one_collection(void **state) {
  fh_release(pair(2, true));
  assert_int_equal(fh_collect(2), 2);
  assert_int_equal(atomic_load(&finalized), 2);
  assert_int_equal(atomic_load(&died), 2);
}

static void resurrect_by(void (*how)(struct cell *)) {
  when_finalized = how;
  struct cell *a = pair(1, true), *rest = pair(5, true);
  fh_set(rest, right, a); /* dies all the same: nothing that lives refers to it */
  fh_give(a, right, cell_new(3, true));
  fh_release(a);
  fh_release(rest);
  assert_int_equal(fh_collect(2), 2);
  assert_int_equal(atomic_load(&finalized), 5);
  assert_int_equal(atomic_load(&died), 2);
  assert_true(stats_now().resurrected == 3);
  assert_int_equal(fh_check_heap(), FH_OK);
  assert_true(is_whole(saved) && is_whole(saved->left));
  fh_release(saved);
  assert_int_equal(fh_collect(2), 3); /* no finalizer a second time */
  assert_int_equal(atomic_load(&finalized), 5);
  assert_int_equal(atomic_load(&died), 5);
}

static void the_resurrected_live_with_all_that_they_reach(void **state) { resurrect_by(save); }
static void a_finalizer_may_save_its_neighbour(void **state) { resurrect_by(save_the_neighbour); }

static size_t nested;
static void collect_inside(struct cell *self) { nested = fh_collect(2); }

static void collections_do_not_nest(void **state) {
  when_finalized = collect_inside;
  nested = 99;
  fh_release(pair(1, true));
  fh_release(pair(4, false));
  assert_int_equal(fh_collect(2), 4);
  assert_int_equal(nested, 0);
  assert_int_equal(atomic_load(&died), 4);
}

static struct gate in_finalizer = GATE, collected = GATE;

/* ---- finalizers that come one after the other ---- */

static uint64_t stops_before;
static bool stopped_between;

/* The first one reaches no safepoint until somebody wants to stop the world. */
static void let_the_world_stop(struct cell *self) {
  if (stops_before == UINT64_MAX) {
    stops_before = stats_now().stops;
    gate_open(&in_finalizer, 1);
    while (!(FH__LOAD(&fh__self()->sync.attention, RELAXED) & FH__ATTEND_STOP)) sched_yield();
  } else {
    stopped_between = stats_now().stops > stops_before;
  }
}

static void stop_the_world(void *unused) {
  gate_await(&in_finalizer, 1);
  fh_collect(2);
}

static void between_finalizers_the_world_may_stop(void **state) {
  only_parallel();
  for (int as_garbage = 0; as_garbage < 2; as_garbage++) {
    in_finalizer = (struct gate)GATE;
    when_finalized = let_the_world_stop;
    stops_before = UINT64_MAX;
    stopped_between = false;
    struct cell *a = cell_new(1, true), *b = cell_new(1, true);
    if (as_garbage) {
      fh_set(a, left, b);
      fh_set(b, left, a);
    }
    fh_release(a);
    fh_release(b);
    struct companion companion;
    companion_start(&companion, stop_the_world, NULL);
    if (as_garbage) fh_collect(2);
    fh_safepoint();
    assert_true(stopped_between);
    companion_join(&companion);
  }
}

/* ---- a collection in the middle of another one's finalizers ---- */

static bool keep_the_new_one;

/* New garbage that refers into the list whose finalizers run now. */
static void make_garbage_that_refers_here(struct cell *self) {
  struct cell *fresh = pair(10, false);
  fh_set(fresh, right, self->left);
  if (keep_the_new_one) saved = fh_retain(fresh);
  fh_release(fresh);
  gate_open(&in_finalizer, 1);
  gate_await(&collected, 1);
  require(is_whole(self) && is_whole(self->left)); /* [garbage.held] */
}

static void collect_from_beside(void *found) {
  gate_await(&in_finalizer, 1);
  *(size_t *)found = fh_collect(2);
  gate_open(&collected, 1);
}

static size_t collect_in_the_middle(bool keep) {
  in_finalizer = collected = (struct gate)GATE;
  keep_the_new_one = keep;
  when_finalized = make_garbage_that_refers_here;
  size_t found = 99;
  struct companion companion;
  companion_start(&companion, collect_from_beside, &found);
  fh_release(pair(1, true));
  fh_collect(2);
  companion_join(&companion);
  return found;
}

static void later_garbage_may_refer_to_an_earlier_list(void **state) {
  assert_int_equal(collect_in_the_middle(false), 2); /* the new pair alone */
  fh_settle();
  assert_int_equal(atomic_load(&finalized), 2);
  assert_int_equal(atomic_load(&died), 4);
}

static void what_a_new_live_object_refers_to_is_resurrected(void **state) {
  assert_int_equal(collect_in_the_middle(true), 0);
  assert_int_equal(atomic_load(&died), 0);
  assert_true(stats_now().resurrected == 2);
  fh_release(saved);
  assert_int_equal(fh_collect(2), 4);
  assert_int_equal(atomic_load(&died), 4);
  assert_int_equal(atomic_load(&finalized), 2);
}

/* ---- everybody at once ---- */

enum { THREADS = 3 };
static atomic_int made;

static void make_cycles_and_collect(int index, void *argument) {
  for (size_t i = scaled(6000); i; i--) {
    struct cell *c = pair(2, i % 3 == 0);
    if (i % 2) fh_publish(c);
    if (i % 5 == 0) {
      struct cell *next = pair(6, false);
      fh_set(c, right, next);
      if (i % 10 == 0) fh_publish(next);
      fh_release(next);
      atomic_fetch_add(&made, 2);
    }
    atomic_fetch_add(&made, 2);
    fh_release(c);
    if (i % 64 == 0) fh_collect(2);
    if (i % 32 == 0) {
      fh_blocking_begin();
      sched_yield();
      fh_blocking_end();
    }
    fh_safepoint();
  }
}

static void collectors_race_with_everybody(void **state) {
  atomic_store(&made, 0);
  run_threads(THREADS, make_cycles_and_collect, NULL);
  fh_settle();
  assert_int_equal(atomic_load(&died), atomic_load(&made));
}

#define by_hand(test) cmocka_unit_test_setup_teardown(test, setup, runtime_teardown)

/* ---- an edge between two lists, made while the finalizers of both run ---- */

static struct {
  fh_slot risen[2];
  struct gate up, go[2];
} phoenix = {.up = GATE, .go = {GATE, GATE}};

static void rise_and_wait(struct cell *self) {
  int which = atomic_load(&phoenix.up.value);
  fh_slot_store(&phoenix.risen[which], self);
  gate_open(&phoenix.up, which + 1);
  gate_await(&phoenix.go[which], 1);
}

static void drop_a_self_cycle(void *argument) {
  struct cell *c = cell_new(1, true);
  fh_set(c, left, c);
  fh_publish(c);
  fh_release(c);
  fh_collect(2); /* and is inside of the finalizer for long */
}

static void an_edge_to_another_list_that_comes_late_is_counted(void **state) {
  when_finalized = rise_and_wait;
  struct companion first, second;
  companion_start(&first, drop_a_self_cycle, NULL);
  gate_await(&phoenix.up, 1);
  companion_start(&second, drop_a_self_cycle, NULL);
  gate_await(&phoenix.up, 2);
  struct cell *p = fh_slot_load(&phoenix.risen[0]), *y = fh_slot_load(&phoenix.risen[1]);
  {
    FH_CRITICAL(y);
    fh_set(y, right, p);
  }
  fh_release(p);
  fh_release(y);
  fh_slot_store(&phoenix.risen[1], NULL); /* garbage again, and the first one's list still waits */
  gate_open(&phoenix.go[1], 1);
  companion_join(&second);
  assert_int_equal(atomic_load(&died), 1);
  gate_open(&phoenix.go[0], 1);
  companion_join(&first);
  assert_int_equal(atomic_load(&died), 1); /* the first one rose */
  assert_int_equal(fh_check_heap(), FH_OK);
  fh_slot_store(&phoenix.risen[0], NULL);
  fh_settle();
  assert_int_equal(atomic_load(&finalized), 2);
  assert_int_equal(atomic_load(&died), 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      by_hand(private_and_published_garbage_of_one_mutator),
      by_hand(live_objects_that_garbage_refers_to_live_on),
      by_hand(a_tail_of_garbage_dies_by_its_count),
      by_hand(a_running_mutator_finishes_its_own),
      by_hand(a_sleepers_garbage_is_finished_by_the_collector),
      by_hand(the_garbage_of_a_thread_that_has_gone_too),
      by_hand(references_between_lists_are_counted_down),
      by_hand(what_anothers_finalizers_must_find_is_kept),
      by_hand(a_cycle_with_finalizers_dies_in_one_collection),
      by_hand(the_resurrected_live_with_all_that_they_reach),
      by_hand(a_finalizer_may_save_its_neighbour),
      by_hand(collections_do_not_nest),
      by_hand(between_finalizers_the_world_may_stop),
      by_hand(later_garbage_may_refer_to_an_earlier_list),
      by_hand(what_a_new_live_object_refers_to_is_resurrected),
      by_hand(an_edge_to_another_list_that_comes_late_is_counted),
      by_hand(collectors_race_with_everybody),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
