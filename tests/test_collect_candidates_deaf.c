/* SPDX-License-Identifier: MIT */
/* Old collections that start from candidates.
 *
 * Claims: a heap in which nothing changed is not looked at; every way in which garbage can arise makes a candidate from which it is found
 * [candidate.reach], whoever owns the object, and what else lives is not looked at; candidates that reach too much, chunks of which
 * too many were touched, lost marks and every so many collections lead to a linear scan; the option switches them off.
 * Real: the whole runtime, through its public calls; the collector's counters are read and set. Only the tests collect. */
#include "support/support.h"

#include "collect/collect.h"
#include "ref/candidate.h"

enum { LIVE = 40 * FH__CHUNK_ENTRIES };

static struct node *live[LIVE]; /* a ring, so that each is reached from each */

static void make_live(void) {
  for (int i = 0; i < LIVE; i++) live[i] = node_new((uint64_t)i);
  for (int i = 0; i < LIVE; i++) fh_set(live[i], left, live[(i + 1) % LIVE]);
}
static int start(const fh_options *options) {
  runtime_start(options);
  make_live();
  return 0;
}
static int setup(void **state) { return start(&(fh_options){.flags = FH_OPTION_GC_OFF}); }
static int setup_without(void **state) { return start(&(fh_options){.flags = FH_OPTION_GC_OFF | FH_OPTION_NO_CANDIDATES}); }

static void drop_live(void) {
  for (int i = 0; i < LIVE; i++) fh_release(live[i]);
}
static int teardown(void **state) {
  drop_live();
  fh_settle();
  return runtime_teardown(state);
}

/* The next old collections go by marks, as far as that depends on their number. */
static size_t collect_by_marks(void) {
  fh__collector.linear_in = 100;
  return fh_collect(2);
}

static void settle_all(void) {
  fh__collector.linear_in = 0;
  fh_collect(2); /* looks at everything */
  collect_by_marks();
}

/* One collection: finds so many, looks at few, and does so from candidates. */
static void expect_found(const char *what, size_t count) {
  uint64_t before = fh__collector.from_candidates, scanned = stats_now().scanned;
  size_t found = collect_by_marks();
  if (found != count) fail_msg("%s: %zu found instead of %zu", what, found, count);
  assert_true(stats_now().from_candidates == fh__collector.from_candidates);
  if (fh__collector.from_candidates != before + 1) fail_msg("%s: not from candidates", what);
  if (stats_now().scanned - scanned > 20) fail_msg("%s: %lu looked at", what, (unsigned long)(stats_now().scanned - scanned));
  assert_int_equal(fh_check_heap(), FH_OK);
}

/* ---- rest ---- */

static void what_rests_is_not_looked_at(void **state) {
  fh_publish(live[0]); /* all of them */
  fh_make_immortal(node_new(1));
  settle_all();
  for (int i = 0; i < 5; i++) {
    uint64_t scanned = stats_now().scanned;
    assert_int_equal(collect_by_marks(), 0);
    assert_true(stats_now().scanned == scanned);
  }
}

static void whoever_was_touched_is_settled_again(void **state) {
  settle_all();
  assert_false(fh__is_candidate(&live[3]->fh));
  fh_release(fh_retain(live[3]));
  assert_true(fh__is_candidate(&live[3]->fh));
  fh__collector.linear_in = 0;
  fh_collect(2);
  assert_false(fh__is_candidate(&live[3]->fh));
}

/* ---- the ways in which garbage arises ---- */

/* Two that refer to each other; the caller owns a reference to the first. */
static struct node *make_ring(void) {
  struct node *a = node_new(1), *b = node_new(2);
  fh_set(a, left, b);
  fh_set(b, left, a);
  fh_release(b);
  return a;
}

static void by_the_owners_release(void) { fh_release(make_ring()); }

static struct node *ring;
static void release_ring(int index, void *unused) { fh_release(ring); }

static void each_release_makes_candidates(void **state) {
  ring = make_ring();
  settle_all();
  fh_release(ring);
  expect_found("the owner's release", 2);

  ring = make_ring();
  fh_publish(ring);
  settle_all();
  run_threads(1, release_ring, NULL);
  expect_found("a stranger's release", 2);

  ring = make_ring();
  settle_all(); /* settled while it is private */
  fh_publish(ring);
  run_threads(1, release_ring, NULL);
  expect_found("a stranger's release of what was published later", 2);

  ring = make_ring();
  fh_publish(ring);
  settle_all();
  fh_release_later(ring);
  fh_housekeep();
  expect_found("a release that happens later", 2);

  by_the_owners_release();
  expect_found("newborns", 2);
}

static void make_and_leave(void *unused) {
  ring = make_ring();
  fh_publish(ring);
  fh_retain(ring);
}
static void releases_for_a_sleeper_make_candidates(void **state) {
  struct companion companion;
  companion_start(&companion, make_and_leave, NULL);
  companion_join(&companion); /* its two references are ours now, and its count is in the owner's word */
  settle_all();
  fh_release(ring);
  fh_release(ring);
  fh_housekeep();
  expect_found("what a sleeper owned", 2);
}

static void moves_make_candidates(void **state) {
  struct node *a = node_new(1);
  settle_all();
  fh_give(a, left, a); /* the caller's reference: no count changes */
  expect_found("a field that took the caller's reference", 1);

  struct node *old = node_new(1);
  settle_all();
  a = node_new(2);
  fh_set(old, left, a);
  fh_release(a);
  fh_give(a, left, old); /* the newborn is a candidate */
  expect_found("a newborn's field that took something old", 2);

  a = make_ring();
  fh_publish(a);
  settle_all();
  {
    FH_CRITICAL(a);
    fh_give(a, right, a);
  }
  expect_found("the same, published", 2);

  struct holder {
    fh_object fh;
    fh_slot slot;
  };
  static const fh_ref refs[] = {FH_SLOT(struct holder, slot), FH_END};
  static const fh_type_spec spec = {.name = "holder", .size = sizeof(struct holder), .refs = refs};
  struct holder *holder = new_of_spec(&spec);
  fh_publish(holder);
  settle_all();
  assert_null(fh_slot_swap(&holder->slot, holder));
  expect_found("a slot that took the caller's reference", 1);
}

static void losing_an_old_holder_makes_candidates(void **state) {
  struct node *a = make_ring();
  fh_give(live[5], right, a);
  settle_all();
  fh_clear(live[5], right);
  expect_found("a field of something old that was cleared", 2);

  struct node *holder = node_new(1);
  fh_give(holder, left, make_ring());
  settle_all();
  fh_release(holder); /* dies by its count, and releases */
  expect_found("the death of the holder", 2);
}

static void promotion_keeps_candidates(void **state) {
  struct node *old = node_new(1), *filler[FH__CHUNK_ENTRIES];
  for (int i = 0; i < FH__CHUNK_ENTRIES; i++) filler[i] = node_new(3); /* newborns go to another chunk now */
  settle_all();
  assert_int_equal(fh_gc_generation(old), 2);
  struct node *young = node_new(2);
  fh_set(old, left, young);
  fh_set(young, left, old);
  fh_release(old);
  fh_release(young); /* held by something old, for a young collection */
  assert_int_equal(fh_collect(0), 0);
  assert_int_equal(fh_collect(1), 0);
  assert_int_equal(fh_collect(0), 0);
  expect_found("a cycle over generations", 2);
  for (int i = 0; i < FH__CHUNK_ENTRIES; i++) fh_release(filler[i]);
}

/* ---- finalizers ---- */

struct phoenix {
  fh_object fh;
  struct phoenix *self;
};
static struct phoenix *risen;
static void rise(void *object) { risen = fh_retain((struct phoenix *)object); }
static const fh_ref phoenix_refs[] = {FH_FIELD(struct phoenix, self), FH_END};
static const fh_type_spec phoenix_spec = {
    .name = "phoenix", .size = sizeof(struct phoenix), .refs = phoenix_refs, .finalize = rise};

static void what_rose_again_is_found(void **state) {
  fh_type *type = type_of_spec(&phoenix_spec);
  struct phoenix *phoenix = fh_new(type);
  fh_set(phoenix, self, phoenix);
  settle_all();
  fh_release(phoenix);
  expect_found("garbage with a finalizer", 0); /* it rose */
  assert_non_null(risen);
  settle_all();
  fh_release(risen);
  expect_found("what rose and was given up", 1);

  phoenix = fh_new(type);
  fh_release(phoenix); /* dies by its count, and rises at a safepoint */
  fh_safepoint();
  fh_set(risen, self, risen);
  settle_all();
  fh_release(risen);
  expect_found("what rose from its count", 1);
}

/* ---- bounds ---- */

static void too_much_leads_to_a_linear_scan(void **state) {
  fh__collector.linear_in = 100;
  settle_all();
  fh_release(fh_retain(live[0])); /* reaches them all */
  uint64_t before = fh__collector.from_candidates;
  assert_int_equal(collect_by_marks(), 0);
  assert_true(fh__collector.from_candidates == before);
  ring = make_ring();
  settle_all();
  for (int i = 0; i < LIVE; i++) fh_release(fh_retain(live[i])); /* touches every chunk */
  fh_release(ring);
  before = fh__collector.from_candidates;
  assert_int_equal(collect_by_marks(), 2);
  assert_true(fh__collector.from_candidates == before);
}

static void every_so_many_collections_are_linear(void **state) {
  settle_all();
  fh__collector.linear_in = 0;
  for (int round = 0; round < 3; round++) {
    uint64_t before = fh__collector.from_candidates;
    fh_collect(2);
    assert_true(fh__collector.from_candidates == before);
    for (int i = 1; i < FH__LINEAR_EVERY; i++) fh_collect(2);
    assert_true(fh__collector.from_candidates == before + FH__LINEAR_EVERY - 1);
  }
}

static void lost_marks_are_made_up_for(void **state) {
  settle_all();
  fh__collector.ignore_marks = true;
  uint64_t before = fh__collector.from_candidates, scanned = stats_now().scanned;
  assert_int_equal(collect_by_marks(), 0);
  assert_true(fh__collector.from_candidates == before && stats_now().scanned - scanned >= LIVE);
  assert_false(fh__collector.ignore_marks);
}

static void the_option_switches_them_off(void **state) {
  for (int i = 0; i < 3; i++) {
    uint64_t scanned = stats_now().scanned;
    collect_by_marks();
    assert_true(fh__collector.from_candidates == 0 && stats_now().scanned - scanned >= LIVE);
    assert_true(fh__is_candidate(&live[i]->fh));
  }
}

/* ---- races ---- */

/* All pass references to the same published objects on, take and give, while one collects and settles. */
enum { THREADS = 3, SHARED = 8 };
static fh_slot shared[SHARED];

static void come_and_go(int index, void *argument) {
  uint64_t x = (uint64_t)index + 1;
  for (size_t i = scaled(20000); i; i--) {
    x = x * 6364136223846793005u + 1442695040888963407u;
    fh_slot *slot = &shared[(x >> 33) % SHARED];
    struct node *n = fh_slot_load(slot);
    if (n) fh_release(n);
    if ((x >> 50) % 16 == 0) { /* a fresh ring for the old one */
      struct node *fresh = make_ring();
      fh_slot_store(slot, fresh);
      fh_release(fresh);
    }
    if ((x >> 40) % 64 == 0) fh_collect(2);
    fh_safepoint();
  }
}

static void settling_races_with_releases(void **state) {
  run_threads(THREADS, come_and_go, NULL);
  for (int i = 0; i < SHARED; i++) fh_slot_store(&shared[i], NULL);
  assert_int_equal(fh_check_heap(), FH_OK);
  drop_live();
  for (int i = 0; i < 2; i++) {
    collect_by_marks();
    fh_housekeep();
  }
  assert_int_equal(fh_type_live(node_type()), 0);
  make_live();
}

/* Two strangers give up the last references of a settled object at once: it dies by its count. */
static struct node *passed;
static pthread_barrier_t turn;

static void give_up_at_once(int index, void *unused) {
  for (size_t i = scaled(2000); i; i--) {
    if (index == 0) {
      passed = node_new(i);
      fh_publish(passed);
      fh_retain(passed); /* one for each of the others, both in the owner's word */
      fh__collector.linear_in = 0;
      fh_collect(2);
    }
    meet(&turn);
    if (index > 0) fh_release(passed);
    meet(&turn);
    if (index > 0) continue;
    fh_housekeep();
    require(fh_type_live(node_type()) == LIVE);
  }
}

static void settled_objects_die_by_their_count(void **state) {
  pthread_barrier_init(&turn, NULL, 3);
  run_threads(3, give_up_at_once, NULL);
  pthread_barrier_destroy(&turn);
}

/* A map that no collection looks at keeps its pairs, whatever happens to their keys. */
static void a_frozen_map_lives(void **state) {
  fh_weak_keys *map = fh_weak_keys_new();
  assert_non_null(map);
  assert_int_equal(fh_gc_freeze(), FH_OK); /* and all that lives */
  struct node *key = node_new(1), *value = node_new(2);
  assert_int_equal(fh_weak_keys_set(map, key, value), FH_OK);
  fh_release(value);
  settle_all();
  for (int i = 0; i < 3; i++) {
    fh_release(fh_retain(key));
    assert_int_equal(collect_by_marks(), 0);
    assert_int_equal(fh_check_heap(), FH_OK);
    struct node *found = fh_weak_keys_get(map, key);
    assert_true(found == value && node_is_whole(found));
    fh_release(found);
  }
  fh_release(key);
  fh_release(map);
  assert_int_equal(fh_gc_unfreeze(), FH_OK);
}

#define with_live(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      with_live(what_rests_is_not_looked_at),
      with_live(whoever_was_touched_is_settled_again),
      with_live(each_release_makes_candidates),
      with_live(releases_for_a_sleeper_make_candidates),
      with_live(moves_make_candidates),
      with_live(losing_an_old_holder_makes_candidates),
      with_live(promotion_keeps_candidates),
      with_live(what_rose_again_is_found),
      with_live(too_much_leads_to_a_linear_scan),
      with_live(every_so_many_collections_are_linear),
      with_live(lost_marks_are_made_up_for),
      cmocka_unit_test_setup_teardown(the_option_switches_them_off, setup_without, teardown),
      with_live(settling_races_with_releases),
      with_live(settled_objects_die_by_their_count),
      with_live(a_frozen_map_lives),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
