/* SPDX-License-Identifier: MIT */
/* Garbage of which nothing is left to do but to free its memory.
 *
 * Claims, of collections of everything and of young ones, which see it by a tally [scan.tally]: it is taken exactly if all of it is of plain types, refers to nothing but itself, has no weak references, and is published or the
 * collecting mutator's own [garbage.closed]; if it is not, nothing happened; what lives beside it in its chunks stays, and its entries
 * are used again; counts, accounts and the census agree afterwards, whatever is mixed.
 * Real: the whole runtime; collections happen only where a test asks for them. */
#include "support/inside.h"

#include "collect/closed.h"
#include "collect/ephemeron.h"
#include "ref/merge.h"
#include "sync/stop.h"

#include <freehold/weak.h>
#include <freehold/weakmap.h>

struct plain {
  fh_object fh;
  struct plain *left, *right;
};
static const fh_ref plain_refs[] = {FH_FIELD(struct plain, left), FH_FIELD(struct plain, right), FH_END};
static const fh_type_spec plain_spec = {.name = "plain", .size = sizeof(struct plain), .refs = plain_refs};

struct single {
  fh_object fh;
  void *only;
};
static const fh_ref single_refs[] = {FH_FIELD(struct single, only), FH_END};
static const fh_type_spec single_spec = {.name = "single", .size = sizeof(struct single), .refs = single_refs};

static const fh_type_spec leaf_spec = {.name = "leaf", .size = sizeof(fh_object)};

static struct plain *plain_new(void) { return new_of_spec(&plain_spec); }

/* Two that refer to each other; the caller owns a reference to the first. */
static struct plain *pair(void) {
  struct plain *a = plain_new(), *b = plain_new();
  fh_set(a, left, b);
  fh_set(b, left, a);
  fh_release(b);
  return a;
}

static struct single *loop(void) {
  struct single *single = new_of_spec(&single_spec);
  fh_set(single, only, single);
  return single;
}

static uint32_t looked_at; /* this generation and the younger ones; all of it is young */
static int look_at_all(void **state) {
  looked_at = FH__OLD;
  return runtime_setup_gc_off(state);
}
static int look_at_young(void **state) {
  looked_at = FH__YOUNG;
  return runtime_setup_gc_off(state);
}
#define in_both_ways(test)                                                   \
  cmocka_unit_test_setup_teardown(test, look_at_all, runtime_teardown),      \
      cmocka_unit_test_setup_teardown(test, look_at_young, runtime_teardown)

/* As the chunks know it, whose age depends on that. */
static size_t garbage_of_chunks(const struct fh__scan *scan) {
  struct fh__chunk *chunk;
  size_t garbage = 0;
  for (FH__EACH_COVERED(scan, chunk)) garbage += chunk->garbage;
  return garbage;
}

/* Whether what is garbage now would be taken: it is found, and if it was taken it is given to the mutator, who finishes it. */
static bool is_taken(size_t *count_out) {
  struct fh__mutator *me = fh__self();
  struct fh__scan scan;
  stop_and_merge();
  fh__scan_begin(&scan, looked_at);
  fh__scan_subtract(&scan);
  fh__scan_mark(&scan);
  fh__ephemerons_mark(&scan);
  bool taken = fh__garbage_take_closed(me, &scan);
  *count_out = taken ? me->garbage->count : (size_t)(scan.objects - scan.marked);
  require(garbage_of_chunks(&scan) == (taken ? me->garbage->count : 0));
  fh__scan_end(&scan);
  resume_world();
  fh__garbage_finish(me);
  return taken;
}

static void expect_taken(bool taken, size_t count) {
  size_t found;
  assert_int_equal(is_taken(&found), taken);
  assert_int_equal(found, count);
  assert_int_equal(fh_check_heap(), FH_OK);
  if (!taken) assert_int_equal(fh_collect(2), count); /* nothing had happened */
  assert_int_equal(fh_check_heap(), FH_OK);
}

static void own_and_published_cycles_are_taken(void **state) {
  fh_release(pair());
  expect_taken(true, 2);
  struct plain *published = pair();
  fh_publish(published);
  fh_release(published);
  fh_release(pair());
  expect_taken(true, 4);
  fh_release(loop());
  expect_taken(true, 1);
  assert_int_equal(fh_type_live(type_of_spec(&plain_spec)), 0);
  assert_int_equal(fh_type_live(type_of_spec(&single_spec)), 0);
}

static void what_refers_to_others_is_not(void **state) {
  struct plain *live = plain_new(), *a = pair();
  fh_set(a, right, live);
  fh_release(a);
  expect_taken(false, 2);
  assert_true(fh_refcount(live) == 1);

  a = pair();
  fh_field_give(a, &a->right, new_of_spec(&leaf_spec)); /* not tracked */
  fh_release(a);
  expect_taken(false, 2);
  fh_release(live);
}

static void what_has_more_to_do_is_not(void **state) {
  struct plain *a = pair();
  fh_weak *weak = fh_weak_new(a);
  fh_release(a);
  expect_taken(false, 2);
  assert_null(fh_weak_get(weak));
  fh_release(weak);

  struct node *n = node_new(1); /* has a dealloc */
  fh_set(n, left, n);
  fh_release(n);
  fh_release(pair());
  expect_taken(false, 3);
}

static void what_lives_beside_it_may_be_anything(void **state) {
  struct node *old = node_new(1); /* has a dealloc */
  fh_collect(2);
  struct plain *kept = pair(), *loose = pair();
  struct node *live = node_new(2);
  fh_weak *weak = fh_weak_new(kept);
  fh_set(kept, right, kept);
  fh_set(live, left, old);
  fh_release(loose);
  expect_taken(true, 2);
  for (int i = 0; i < 8; i++) fh_release(pair()); /* more than lives */
  expect_taken(true, 16);
  fh_release(pair());
  fh_release(kept); /* has a weak reference */
  expect_taken(false, 4);
  fh_release(weak);
  fh_release(live);
  fh_release(old);
}

/* It is unmarked after mark, and in the tally then; it has one count too many for garbage, and the pair one reference too many. */
static void what_a_map_keeps_is_no_garbage(void **state) {
  fh_weak_keys *map = fh_weak_keys_new();
  struct plain *key = plain_new(), *value = plain_new(), *kept = plain_new(), *loose = pair();
  assert_int_equal(fh_weak_keys_set(map, key, value), FH_OK);
  fh_release(value);
  fh_set(loose, right, kept);
  fh_release(loose);
  expect_taken(false, 2);
  assert_int_equal(fh_refcount(kept), 1);
  assert_int_equal(fh_weak_keys_count(map), 1);
  fh_release(kept);
  fh_release(key);
  fh_release(map);
}

/* A private object's count is in both words then. */
static void what_spilled_is_counted(void **state) {
  only_private();
  struct plain *kept = plain_new(), *loose = plain_new();
  kept->fh.fh__shared += FH__ONE;
  fh_give(loose, left, kept);
  fh_set(loose, right, loose);
  fh_release(loose);
  expect_taken(false, 1);
  assert_int_equal(fh_refcount(kept), 1);
  fh_release(kept);
}

static struct gate made, leave;
static void make_and_wait(void *unused) {
  fh_release(pair());
  gate_open(&made, 1);
  gate_await_running(&leave, 1);
}

static void anothers_private_garbage_is_not(void **state) {
  if (fh_design_get() != FH_DESIGN_BIASED) skip(); /* the others have none */
  struct companion companion;
  size_t found;
  made = leave = (struct gate)GATE;
  companion_start(&companion, make_and_wait, NULL);
  gate_await(&made, 1);
  assert_false(is_taken(&found));
  assert_int_equal(found, 2);
  assert_int_equal(fh_collect(2), 2);
  gate_open(&leave, 1);
  companion_join(&companion);
  assert_int_equal(fh_type_live(type_of_spec(&plain_spec)), 0);
}

/* Wherever it lies, and how much garbage there is before and behind it. */
static void one_that_lives_is_seen_in_every_place(void **state) {
  enum { MANY = 3 * FH__SCAN_ROW };
  for (int place = 0; place < MANY; place++) {
    struct single *single[MANY];
    for (int i = 0; i < MANY; i++) single[i] = loop();
    for (int i = 0; i < MANY; i++)
      if (i != place) fh_release(single[i]);
    expect_taken(true, MANY - 1);
    require(single[place]->only == single[place] && fh_refcount(single[place]) == 2);
    fh_release(single[place]);
    expect_taken(true, 1);
  }
}

/* Chunks that are garbage as a whole are known as such, whether there are holes in them or not. */
static void whole_chunks_are_taken(void **state) {
  enum { MANY = 4 * FH__CHUNK_ENTRIES };
  static struct single *single[MANY];
  for (int holes = 0; holes < 2; holes++) {
    for (int i = 0; i < MANY; i++) single[i] = loop();
    int left = 0;
    for (int i = 0; i < MANY; i++) {
      if (holes && i % 7 == 0)
        fh_clear(single[i], only);
      else
        left++;
      fh_release(single[i]);
    }
    expect_taken(true, (size_t)left);
  }
  assert_int_equal(fh_type_live(type_of_spec(&single_spec)), 0);
}

/* A collection of the middle generation takes away what refers to objects of that from within it, as it does for the young. */
static void what_is_middle_is_found_with_the_young(void **state) {
  struct plain *middle = pair(), *both = plain_new(), *young;
  for (int i = 0; i < 2 * FH__CHUNK_ENTRIES; i++) fh_release(pair());
  fh_collect(0);
  assert_int_equal(fh_gc_generation(middle), 1);
  assert_int_equal(fh_gc_generation(both), 1);
  young = plain_new();
  fh_set(both, left, young);
  fh_give(young, right, both); /* across the two generations */
  fh_release(young);
  fh_release(middle);
  assert_int_equal(fh_collect(0), 0);
  assert_int_equal(fh_collect(1), 4);
  assert_int_equal(fh_type_live(type_of_spec(&plain_spec)), 0);
  assert_int_equal(fh_check_heap(), FH_OK);
}

static void entries_are_used_again(void **state) {
  enum { MANY = 3 * FH__CHUNK_ENTRIES };
  struct plain *live[8];
  for (int round = 0; round < 20; round++) {
    for (int i = 0; i < 8; i++) {
      live[i] = pair();
      for (int k = 0; k < MANY / 16; k++) fh_release(pair());
    }
    uint32_t limit = fh__track.limit;
    fh_collect(round % 3);
    for (int i = 0; i < 8; i++) require(fh_refcount(live[i]) == 2 && fh_refcount(live[i]->left) == 1);
    for (int i = 0; i < 8; i++) fh_release(live[i]);
    if (round > 3) require(fh__track.limit <= limit + 1);
    require(fh_check_heap() == FH_OK);
  }
  fh_collect(2);
  fh_collect(2);
  assert_int_equal(fh_type_live(type_of_spec(&plain_spec)), 0);
}

static void whatever_is_mixed_adds_up(void **state) {
  uint64_t x = 1;
  struct plain *kept[16] = {NULL};
  for (size_t round = scaled(300); round; round--) {
    for (int i = 0; i < 40; i++) {
      x = x * 6364136223846793005u + 1442695040888963407u;
      struct plain *a = pair();
      uint64_t what = (x >> 33) % 8;
      if (what == 0) fh_publish(a);
      if (what == 1 && kept[(x >> 50) % 16]) fh_set(a, right, kept[(x >> 50) % 16]);
      if (what == 2) {
        fh_drop(&kept[(x >> 50) % 16]);
        kept[(x >> 50) % 16] = fh_retain(a);
      }
      if (what == 3) fh_set(a->left, right, a);
      fh_release(a);
    }
    (void)fh_collect((int)(x >> 60) % 3);
  }
  for (int i = 0; i < 16; i++) fh_drop(&kept[i]);
  fh_collect(2);
  fh_collect(2);
  assert_int_equal(fh_check_heap(), FH_OK);
  assert_int_equal(fh_type_live(type_of_spec(&plain_spec)), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      in_both_ways(own_and_published_cycles_are_taken),
      in_both_ways(what_refers_to_others_is_not),
      in_both_ways(what_has_more_to_do_is_not),
      in_both_ways(what_lives_beside_it_may_be_anything),
      in_both_ways(what_a_map_keeps_is_no_garbage),
      in_both_ways(what_spilled_is_counted),
      in_both_ways(anothers_private_garbage_is_not),
      in_both_ways(one_that_lives_is_seen_in_every_place),
      in_both_ways(whole_chunks_are_taken),
      with_runtime_gc_off(what_is_middle_is_found_with_the_young),
      with_runtime_gc_off(entries_are_used_again),
      with_runtime_gc_off(whatever_is_mixed_adds_up),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
