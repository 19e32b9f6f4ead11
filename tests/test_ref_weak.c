/* SPDX-License-Identifier: MIT */
/* Weak references from the inside: the table of blocks, the bit, and races.
 *
 * Claims: [weak.bit] and [weak.count] after every coming and going, also while the table grows and shrinks; a death that is put off
 * is not found meanwhile; what had a weak reference at its death waits for a grace period, garbage included; without memory a
 * weak reference is refused and nothing changed, and death needs none. Under races between readers, last releases, collections,
 * resurrection and the coming and going of weak references, nobody gets an object that is dead or whose finalizer has begun. */
#include "support/exhaust.h"
#include "support/inside.h"

#include "mutator/mutator.h"
#include "ref/destroy.h"
#include "ref/weak.h"

/* ---- the table and the bit ---- */

static void an_object_has_one_block_and_a_bit(void **state) {
  struct node *n = node_new(1);
  assert_false(n->fh.fh__shared & FH__WEAK);
  fh_weak *first = weak_to(n), *second = weak_to(n);
  assert_ptr_equal(first->block, second->block);
  assert_true(first->block->count == 2 && first->block->target == &n->fh && weak_blocks() == 1);
  assert_true(n->fh.fh__shared & FH__WEAK);
  fh_release(first);
  assert_true(second->block->count == 1 && n->fh.fh__shared & FH__WEAK && fh__weak_is_known(&n->fh));
  fh_release(second);
  assert_false(n->fh.fh__shared & FH__WEAK || fh__weak_is_known(&n->fh));
  assert_true(weak_blocks() == 0);
  fh_release(n);
}

static void a_dead_target_leaves_the_table_at_once(void **state) {
  struct node *n = node_new(1);
  fh_weak *weak = weak_to(n), *second = weak_to(n);
  fh_release(n);
  assert_null(weak->block->target);
  assert_true(weak_blocks() == 0 && weak->block->count == 2); /* [weak.count] */
  assert_false(n->fh.fh__shared & FH__WEAK);        /* its memory waits in limbo */
  assert_true(fh__is_dead_count(n->fh.fh__shared)); /* [ref.dead] */
  assert_int_equal(fh_check_heap(), FH_OK);
  fh_release(second);
  assert_true(weak->block->count == 1);
  fh_release(weak);
}

enum { OBJECTS = 20000 };
static void the_table_grows_and_shrinks(void **state) {
  size_t objects = scaled(OBJECTS);
  struct node **n = calloc(objects, sizeof *n);
  fh_weak **weak = calloc(objects, sizeof *weak);
  for (int round = 0; round < 2; round++) {
    for (size_t i = 0; i < objects; i++) {
      n[i] = node_new(i);
      weak[i] = weak_to(n[i]);
    }
    assert_true(weak_blocks() == objects);
    assert_int_equal(fh_check_heap(), FH_OK);
    for (size_t i = 0; i < objects; i++) { /* the targets of one half die, the weak references to the other half do */
      struct node *found = fh_weak_get(weak[i]);
      require(found == n[i]);
      fh_release(found);
      fh_release(i % 2 ? (void *)n[i] : weak[i]);
      require(i % 2 ? is_lost(weak[i]) : !(n[i]->fh.fh__shared & FH__WEAK));
    }
    assert_true(weak_blocks() == 0);
    for (size_t i = 0; i < objects; i++) fh_release(i % 2 ? (void *)weak[i] : n[i]);
  }
  assert_int_equal(fh_check_heap(), FH_OK);
  free(n);
  free(weak);
}

/* ---- death ---- */

static void a_death_that_is_put_off_is_not_found(void **state) {
  struct node *n = node_new(1);
  FH_AUTO fh_weak *weak = weak_to(n);
  n->fh.fh__bias = FH__BIAS_MARK; /* as a merge leaves it that took the count to zero */
  n->fh.fh__shared = FH__MERGED | FH__WEAK;
  fh__ref_die_later(fh__self(), &n->fh);
  assert_ptr_equal(weak->block->target, &n->fh);
  assert_true(is_lost(weak));
  assert_int_equal(fh_check_heap(), FH_OK);
  fh_safepoint();
  assert_true(deaths() == 1 && !weak->block->target && is_lost(weak));
}

static void garbage_with_weak_references_waits_in_limbo_too(void **state) {
  struct fh__mutator *me = fh__self();
  fh_settle();
  struct node *n = node_new(1);
  fh_publish(n);
  n->fh.fh__flags |= FH__FLAG_GARBAGE; /* as another list's garbage that a finalizer then made a weak reference to */
  FH_AUTO fh_weak *weak = weak_to(n);
  fh_release(n);
  assert_ptr_equal(me->limbo.open.objects.first, n);
  assert_true(is_lost(weak));
}

static void merge_in_thread(int index, void *argument) {
  FH_AUTO struct node *found = fh_weak_get(argument);
  require(!found || node_is_whole(found));
}

/* The count crosses zero in a stranger's release: the drain of the owner's queue finds the death. */
static void a_death_in_the_queue_loses_it(void **state) {
  for (uint64_t i = 0; i < scaled(400); i++) {
    struct node *n = node_new(i);
    FH_AUTO fh_weak *weak = weak_to(n);
    run_threads(1, merge_in_thread, weak);
    fh_release(n);
    fh_safepoint();
    require(is_lost(weak));
  }
}

/* ---- no memory ---- */

static void call_nobody(fh_weak *weak, void *context) { *(bool *)context = true; }

static void refer_without_memory(void) {
  static struct exhausted exhausted;
  runtime_start(&(fh_options){.flags = FH_OPTION_GC_OFF});
  struct node *n = node_new(1), *m = node_new(2), *lost = node_new(3);
  bool called = false;
  fh_weak *first = weak_to(m), *weak = fh_weak_new_callback(lost, call_nobody, &called);
  require(weak);
  exhaust_memory(&exhausted);
  require(!fh_weak_new(n) && !fh_weak_new(m));
  require(fh_is_published(n) == born_published() && !(n->fh.fh__shared & FH__WEAK) && !fh__weak_is_known(&n->fh));
  require(first->block->count == 1 && !is_lost(first));
  fh_release(lost); /* death and its call need none */
  fh_safepoint();
  require(is_lost(weak) && called);
  refill_memory(&exhausted);
  fh_weak *late = weak_to(n);
  require(!is_lost(late));
  fh_release(late);
  fh_release(first);
  fh_release(weak);
  fh_release(n);
  fh_release(m);
  runtime_stop();
}

static void without_memory_it_is_refused(void **state) {
  if (!can_exhaust_memory()) skip();
  expect_fine(refer_without_memory);
}

/* ---- races ---- */

static fh_slot shared_weak[4];
static atomic_bool over;

static int setup(void **state) {
  atomic_store(&over, false);
  return runtime_setup(state);
}
static int teardown(void **state) {
  for (int i = 0; i < 4; i++) fh_slot_store(&shared_weak[i], NULL);
  require(weak_blocks() == 0);
  return runtime_teardown(state);
}
#define with_races(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

/* Readers of whatever the slots lead to, until the first thread has done its turns. `look` may look at what was got. */
static void read_on(int index, void (*look)(void *)) {
  for (uint64_t i = 0; !atomic_load(&over); i++) {
    FH_AUTO fh_weak *weak = fh_slot_load(&shared_weak[(i + (uint64_t)index) % 4]);
    FH_AUTO void *target = weak ? fh_weak_get(weak) : NULL;
    if (target) look(target);
    if (i % 8 == 0) give_way();
  }
}

static void look_at_node(void *target) { require(node_is_whole(target)); }

static void replace(uint64_t i, fh_weak *weak) {
  fh_slot_store(&shared_weak[i % 4], weak);
  fh_release(weak);
}

static void release_while_others_read(int index, void *argument) {
  if (index) {
    read_on(index, look_at_node);
    return;
  }
  for (uint64_t i = 0; i < scaled(40000); i++) {
    struct node *n = node_new(i);
    fh_weak *weak = weak_to(n);
    replace(i, weak);
    if (i % 3 == 0) give_way();
    fh_release(n);
    if (i % 16 == 0) fh_safepoint();
  }
  atomic_store(&over, true);
}

static void upgrades_race_with_last_releases(void **state) {
  run_threads(4, release_while_others_read, NULL);
  for (int i = 0; i < 4; i++) fh_slot_store(&shared_weak[i], NULL);
  fh_settle();
  assert_true(deaths() == scaled(40000));
}

/* The maker leaves: its objects are merged in its place, and their deaths put off. */
static void make_and_leave(void *argument) {
  uint64_t i = *(uint64_t *)argument;
  struct node *n = node_new(i);
  replace(i, weak_to(n));
  fh_release(n);
}

static void release_after_leaving(int index, void *argument) {
  if (index) {
    read_on(index, look_at_node);
    return;
  }
  for (uint64_t i = 0; i < scaled(800); i++) {
    struct companion companion;
    companion_start(&companion, make_and_leave, &i);
    companion_join(&companion);
  }
  atomic_store(&over, true);
}

static void upgrades_race_with_owners_that_leave(void **state) { run_threads(3, release_after_leaving, NULL); }

static void look_at_ring(void *target) {
  struct node *n = target;
  require(node_is_whole(n));
  FH_CRITICAL(n);
  require(node_is_whole(fh_get(n, left)));
}

static void collect_while_others_read(int index, void *argument) {
  if (index == 1) {
    while (!atomic_load(&over)) {
      fh_collect(2);
      give_way();
    }
    return;
  }
  if (index) {
    read_on(index, look_at_ring);
    return;
  }
  for (uint64_t i = 0; i < scaled(10000); i++) {
    struct node *a = node_new(2 * i), *b = node_new(2 * i + 1);
    fh_set(a, left, b);
    fh_set(b, left, a);
    replace(i, weak_to(a));
    if (i % 3 == 0) give_way();
    fh_release(a);
    fh_release(b);
    fh_safepoint();
  }
  atomic_store(&over, true);
}

static void upgrades_race_with_the_collector(void **state) {
  run_threads(4, collect_while_others_read, NULL);
  for (int i = 0; i < 4; i++) fh_slot_store(&shared_weak[i], NULL);
  fh_settle();
  assert_true(deaths() == 2 * scaled(10000));
}

/* Its weak references are from before its first death; so whoever gets it holds it before its finalizer began. */
struct riser {
  fh_object fh;
  struct riser *self;
  atomic_int finalized;
};
static fh_slot risen;
static void riser_finalize(void *object) {
  struct riser *r = object;
  require(atomic_fetch_add(&r->finalized, 1) == 0);
  if ((uintptr_t)r >> 6 & 1) fh_slot_store(&risen, r);
}
static const fh_ref riser_refs[] = {FH_FIELD(struct riser, self), FH_END};
static const fh_type_spec riser_spec = {
    .name = "riser", .size = sizeof(struct riser), .refs = riser_refs, .finalize = riser_finalize};

static void look_at_riser(void *target) {
  struct riser *r = target;
  require(atomic_load(&r->finalized) == 0);
  for (int i = 0; i < 4; i++) fh_release(fh_retain(r)); /* time for others */
  require(atomic_load(&r->finalized) == 0); /* it is held: its finalizer cannot begin */
}

static void rise_while_others_read(int index, void *argument) {
  if (index) {
    read_on(index, look_at_riser);
    return;
  }
  for (uint64_t i = 0; i < scaled(20000); i++) {
    struct riser *r = fh_new(argument);
    require(r);
    if (i % 4 == 0) fh_set(r, self, r); /* for a collection to find */
    replace(i, weak_to(r));
    if (i % 3 == 0) give_way();
    fh_release(r);
    fh_safepoint(); /* finalizers */
    if (i % 64 == 0) fh_collect(2);
    if (i % 16 == 0) fh_slot_store(&risen, NULL);
  }
  atomic_store(&over, true);
}

static void upgrades_race_with_resurrection(void **state) {
  fh_type *type = type_of_spec(&riser_spec);
  run_threads(4, rise_while_others_read, type);
  fh_settle(); /* the last of them rise */
  fh_slot_store(&risen, NULL);
}

/* Everybody makes and drops weak references to the same few objects, which die and are replaced meanwhile. */
static fh_slot strong[4];
static atomic_uint_fast64_t heard_calls;
static void hear_call(fh_weak *weak, void *context) { atomic_fetch_add(&heard_calls, 1); }

static void come_and_go(int index, void *argument) {
  for (uint64_t i = 0; i < scaled(10000); i++) {
    uint64_t at = (i + (uint64_t)index) % 4;
    if (i % 16 == 0) {
      struct node *n = node_new(i);
      fh_slot_store(&strong[at], n);
      fh_release(n);
    }
    FH_AUTO struct node *n = fh_slot_load(&strong[at]);
    if (!n) continue;
    FH_AUTO fh_weak *weak = i % 2 ? weak_to(n) : fh_weak_new_callback(n, hear_call, NULL);
    require(weak);
    FH_AUTO struct node *found = fh_weak_get(weak);
    require(found == n);
    if (i % 8 == 0) fh_slot_store(&shared_weak[at], weak);
    if (i % 32 == 0) fh_safepoint();
  }
}

static void weak_references_come_and_go_at_once(void **state) {
  run_threads(4, come_and_go, NULL);
  assert_int_equal(fh_check_heap(), FH_OK);
  size_t held = 0;
  for (int i = 0; i < 4; i++) held += shared_weak[i].fh__value != NULL;
  assert_true(held == 4 && weak_blocks() <= 4);
  for (int i = 0; i < 4; i++) fh_slot_store(&strong[i], NULL);
  assert_true(weak_blocks() == 0);
}

/* A callback's weak reference is released by its holder while the target dies: it is called, or it died first; never both, and
 * nothing is lost. */
static void race_to_die(int index, void *argument) {
  if (index) {
    while (!atomic_load(&over)) {
      for (uint64_t i = 0; i < 4; i++) fh_slot_store(&shared_weak[i], NULL);
      give_way();
    }
    return;
  }
  for (uint64_t i = 0; i < scaled(20000); i++) {
    struct node *n = node_new(i);
    fh_weak *weak = fh_weak_new_callback(n, hear_call, NULL);
    require(weak);
    replace(i, weak);
    if (i % 3 == 0) give_way();
    fh_release(n);
    if (i % 4 == 0) fh_safepoint();
  }
  atomic_store(&over, true);
}

static void calls_race_with_the_death_of_the_weak_reference(void **state) {
  atomic_store(&heard_calls, 0);
  run_threads(3, race_to_die, NULL);
  assert_true(atomic_load(&heard_calls) <= scaled(20000));
  assert_true(deaths() == scaled(20000));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      with_runtime(an_object_has_one_block_and_a_bit),
      with_runtime(a_dead_target_leaves_the_table_at_once),
      with_runtime(the_table_grows_and_shrinks),
      with_runtime(a_death_that_is_put_off_is_not_found),
      with_runtime(garbage_with_weak_references_waits_in_limbo_too),
      with_runtime(a_death_in_the_queue_loses_it),
      cmocka_unit_test(without_memory_it_is_refused),
      with_races(upgrades_race_with_last_releases),
      with_races(upgrades_race_with_owners_that_leave),
      with_races(upgrades_race_with_the_collector),
      with_races(upgrades_race_with_resurrection),
      with_races(weak_references_come_and_go_at_once),
      with_races(calls_race_with_the_death_of_the_weak_reference),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
