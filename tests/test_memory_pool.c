/* SPDX-License-Identifier: MIT */
/* Blocks of the dead, kept for newborns.
 *
 * Claims: what is put in comes out, by size, the last first, a row in its order; nothing of size 0 is ever there; a pool that is full
 * takes no more, and trims to what it is told; newborns are zero whatever died in their place; a running mutator keeps FH__POOL_MOST at
 * most, one in a blocking region FH__POOL_ASLEEP, one without a thread nothing, and fh_purge empties it and those of sleepers; published objects' blocks are
 * not pooled; closed garbage of the collector's own is.
 * Real: the whole runtime; collections happen only where a test asks for them. */
#include "support/exhaust.h"
#include "support/inside.h"

#include <freehold/lock.h>
#include <string.h>

static void only_pooled(void) {
  if (!FH__POOLS) skip();
}

/* ---- a pool by itself ---- */

static void put(struct fh__pool *pool, void *block, size_t size) {
  require(fh__pool_has_room(pool));
  fh__pool_put(pool, block, fh__pool_at(size));
}

static void *take(struct fh__pool *pool, size_t size) {
  void *block = fh__pool_first(pool, fh__pool_at(size));
  if (block) fh__pool_take(pool, block, fh__pool_at(size));
  return block;
}

static void the_last_of_a_size_comes_first(void **state) {
  only_pooled();
  struct fh__pool pool = {.count = 0};
  void *block[2][3];
  for (int i = 0; i < 3; i++)
    for (int k = 0; k < 2; k++) put(&pool, block[k][i] = fh__backend_alloc(32 + 16 * (size_t)k), 32 + 16 * (size_t)k);
  assert_int_equal(pool.count, 6);
  assert_null(fh__pool_first(&pool, fh__pool_at(16)));
  assert_null(fh__pool_first(&pool, fh__pool_at(0)));
  assert_true(fh__pool_has_room(&pool));
  for (int i = 2; i >= 0; i--) assert_ptr_equal(take(&pool, 32), block[0][i]);
  assert_null(fh__pool_first(&pool, fh__pool_at(32)));
  for (int i = 2; i >= 0; i--) assert_ptr_equal(take(&pool, 48), block[1][i]);
  assert_int_equal(pool.count, 0);
  for (int i = 0; i < 6; i++) fh__backend_free(block[i % 2][i / 2]);
}

static void a_row_keeps_its_order(void **state) {
  only_pooled();
  struct fh__pool pool = {.count = 0};
  void *block[4];
  for (int i = 0; i < 4; i++) block[i] = fh__backend_alloc(16);
  put(&pool, block[3], 16);
  for (int i = 0; i < 2; i++) *(void **)block[i] = block[i + 1];
  fh__pool_put_row(&pool, block[0], block[2], 3, fh__pool_at(16));
  assert_int_equal(pool.count, 4);
  for (int i = 0; i < 4; i++) assert_ptr_equal(take(&pool, 16), block[i]);
  assert_int_equal(pool.count, 0);
  for (int i = 0; i < 4; i++) fh__backend_free(block[i]);
}

static void *row_of(uint32_t count, void **last_out) {
  void *first = *last_out = fh__backend_alloc(64);
  for (uint32_t i = 1; i < count; i++) {
    void *block = fh__backend_alloc(64);
    *(void **)block = first;
    first = block;
  }
  return first;
}

static void it_is_full_at_its_most_and_is_trimmed(void **state) {
  only_pooled();
  struct fh__pool pool = {.count = 0};
  void *last, *first = row_of(FH__POOL_MOST - 1, &last);
  fh__pool_put_row(&pool, first, last, FH__POOL_MOST - 1, fh__pool_at(64));
  assert_int_equal(pool.count, FH__POOL_MOST - 1);
  first = row_of(2, &last);
  fh__pool_put_row(&pool, first, last, 2, fh__pool_at(64)); /* does not fit: freed */
  assert_int_equal(pool.count, FH__POOL_MOST - 1);
  assert_true(fh__pool_has_room(&pool));
  put(&pool, fh__backend_alloc(32), 32);
  assert_int_equal(pool.count, FH__POOL_MOST);
  assert_false(fh__pool_has_room(&pool));
  fh__pool_trim(&pool, 3);
  assert_int_equal(pool.count, 3);
  fh__pool_trim(&pool, 0);
  assert_int_equal(pool.count, 0);
  for (size_t size = 16; size <= 64; size += 16) assert_null(fh__pool_first(&pool, fh__pool_at(size)));
}

static void a_row_without_a_size_is_freed(void **state) {
  struct fh__pool pool = {.count = 0};
  void *last, *first = row_of(3, &last);
  fh__pool_put_row(&pool, first, last, 3, fh__pool_at(0));
  assert_int_equal(pool.count, 0);
}

/* ---- a mutator's ---- */

struct bytes {
  fh_object fh;
  char byte[48];
};
#define BYTES_SPEC(n) \
  { .name = "bytes" #n, .size = sizeof(fh_object) + (n), .flags = FH_ACYCLIC }
static const fh_type_spec bytes_specs[] = {BYTES_SPEC(0), BYTES_SPEC(8), BYTES_SPEC(16), BYTES_SPEC(24), BYTES_SPEC(32),
                                           BYTES_SPEC(40), BYTES_SPEC(48), BYTES_SPEC(56), BYTES_SPEC(200)};
enum { SPECS = sizeof bytes_specs / sizeof *bytes_specs };

static void newborns_are_zero(void **state) {
  for (int round = 0; round < 3; round++)
    for (int i = 0; i < SPECS; i++) {
      struct bytes *object[4];
      size_t size = bytes_specs[i].size - sizeof(fh_object);
      for (int k = 0; k < 4; k++) {
        object[k] = new_of_spec(&bytes_specs[i]);
        for (size_t n = 0; n < size; n++) assert_int_equal(object[k]->byte[n], 0);
        assert_int_equal(fh_refcount(object[k]), 1);
      }
      for (int k = 0; k < 4; k++) {
        memset(object[k]->byte, 0xff, size);
        fh_release(object[k]);
      }
    }
}

struct pair {
  fh_object fh;
  struct pair *left, *right;
};
static const fh_ref pair_refs[] = {FH_FIELD(struct pair, left), FH_FIELD(struct pair, right), FH_END};
static const fh_type_spec pair_spec = {.name = "pair", .size = sizeof(struct pair), .refs = pair_refs};

static uint32_t pooled(void) { return fh__self()->pool.count; }

static void a_newborn_gets_the_place_of_the_dead(void **state) {
  only_pooled();
  only_biased();
  struct pair *a = new_of_spec(&pair_spec), *b = new_of_spec(&pair_spec);
  void *place = a;
  fh_set(a, left, b);
  fh_release(b);
  fh_release(a);
  assert_int_equal(pooled(), 2);
  struct bytes *other = new_of_spec(&bytes_specs[4]); /* of another size */
  assert_int_equal(pooled(), 2);
  assert_ptr_equal(new_of_spec(&pair_spec), b); /* died after its parent */
  assert_ptr_equal(new_of_spec(&pair_spec), place);
  assert_int_equal(pooled(), 0);
  fh_release(other);
  fh_release(place);
  fh_release(b);
}

static void what_was_published_is_not_pooled(void **state) {
  struct pair *a = new_of_spec(&pair_spec);
  fh_publish(a);
  fh_release(a);
  fh_housekeep();
  assert_int_equal(pooled(), 0);
}

/* A list, so that its death is one. */
static struct pair *list_of(uint32_t length) {
  struct pair *head = NULL;
  for (uint32_t i = 0; i < length; i++) {
    struct pair *link = new_of_spec(&pair_spec);
    if (head) fh_give(link, left, head);
    head = link;
  }
  return head;
}

static void a_mutator_keeps_a_bounded_number(void **state) {
  only_pooled();
  only_biased();
  fh_release(list_of(FH__POOL_MOST + 1000));
  assert_in_range(pooled(), FH__POOL_MOST - 1000, FH__POOL_MOST);
  assert_int_equal(fh_type_live(type_of_spec(&pair_spec)), 0);
  fh_blocking_begin();
  assert_int_equal(fh__thread.mutator->pool.count, FH__POOL_ASLEEP);
  (void)fh_blocking_end();
  fh_purge(0);
  assert_int_equal(pooled(), 0);
  fh_release(list_of(100));
  assert_int_equal(pooled(), 100);
  struct fh__mutator *me = fh__self();
  fh_detach();
  assert_int_equal(me->pool.count, 0);
  assert_int_equal(fh_attach("again"), FH_OK);
}

/* A block from the pool, and no memory for the chunk of its entry. */
static void make_from_the_pool_without_memory(void) {
  static struct pair *kept[FH__CHUNK_ENTRIES];
  static struct exhausted exhausted;
  static struct bytes *bytes[100];
  runtime_start(&(fh_options){.flags = FH_OPTION_GC_OFF});
  for (int i = 0; i < 100; i++) bytes[i] = new_of_spec(&bytes_specs[2]);
  int count = 0;
  struct fh__mutator *me = fh__self();
  do kept[count++] = new_of_spec(&pair_spec);
  while (me->track.current->bump < FH__CHUNK_ENTRIES || me->track.current->free);
  for (int i = 0; i < 100; i++) fh_release(bytes[i]);
  require(me->pool.count == 100);
  exhaust_memory(&exhausted);
  uint64_t live = fh_type_live(type_of_spec(&pair_spec));
  uint32_t before = me->pool.count;
  for (int i = 0; i < 3; i++) require(!fh_new(type_of_spec(&pair_spec)));
  require(me->pool.count == before - 3); /* they went back to the allocator, so the next try has more */
  refill_memory(&exhausted);
  require(fh_type_live(type_of_spec(&pair_spec)) == live);
  require(fh_check_heap() == FH_OK);
  while (count) fh_release(kept[--count]);
  runtime_stop();
}

static void a_newborn_that_cannot_be_tracked_leaves_nothing(void **state) {
  only_pooled();
  only_biased();
  if (!can_exhaust_memory()) skip();
  expect_fine(make_from_the_pool_without_memory);
}

static struct gate asleep, awake;
static struct fh__mutator *sleeper;
static void fill_and_sleep(void *unused) {
  fh_release(list_of(100));
  sleeper = fh__self();
  fh_blocking_begin();
  gate_open(&asleep, 1);
  gate_await(&awake, 1);
  (void)fh_blocking_end();
  fh_release(list_of(50)); /* in what there is now */
}

static void a_purge_empties_the_pools_of_sleepers(void **state) {
  only_pooled();
  only_biased();
  struct companion companion;
  asleep = awake = (struct gate)GATE;
  companion_start(&companion, fill_and_sleep, NULL);
  gate_await(&asleep, 1);
  assert_int_equal(sleeper->pool.count, 100);
  fh_purge(0);
  assert_int_equal(sleeper->pool.count, 0);
  gate_open(&awake, 1);
  companion_join(&companion);
}

static uint32_t pooled_after;
static void fill_and_run(void *unused) {
  fh_release(list_of(100));
  gate_open(&asleep, 1);
  gate_await_running(&awake, 1);
  fh_safepoint();
  pooled_after = pooled();
}

static void a_purge_asks_those_who_run(void **state) {
  only_pooled();
  only_biased();
  struct companion companion;
  asleep = awake = (struct gate)GATE;
  pooled_after = 1;
  companion_start(&companion, fill_and_run, NULL);
  gate_await(&asleep, 1);
  fh_purge(0);
  gate_open(&awake, 1);
  companion_join(&companion);
  assert_int_equal(pooled_after, 0);
}

static void closed_garbage_is_pooled(void **state) {
  only_pooled();
  only_biased();
  for (int i = 0; i < 1000; i++) {
    struct pair *a = new_of_spec(&pair_spec), *b = new_of_spec(&pair_spec);
    fh_set(a, left, b);
    fh_give(b, left, a);
    if (i % 2) fh_publish(b); /* and what it refers to */
    fh_release(b);
  }
  assert_int_equal(fh_collect(0), 2000);
  assert_int_equal(pooled(), 1000);
  fh_release(list_of(2000));
  assert_int_equal(fh_check_heap(), FH_OK);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_last_of_a_size_comes_first),
      cmocka_unit_test(a_row_keeps_its_order),
      cmocka_unit_test(it_is_full_at_its_most_and_is_trimmed),
      cmocka_unit_test(a_row_without_a_size_is_freed),
      with_runtime_gc_off(newborns_are_zero),
      with_runtime_gc_off(a_newborn_gets_the_place_of_the_dead),
      with_runtime_gc_off(what_was_published_is_not_pooled),
      with_runtime_gc_off(a_mutator_keeps_a_bounded_number),
      cmocka_unit_test(a_newborn_that_cannot_be_tracked_leaves_nothing),
      with_runtime_gc_off(a_purge_empties_the_pools_of_sleepers),
      with_runtime_gc_off(a_purge_asks_those_who_run),
      with_runtime_gc_off(closed_garbage_is_pooled),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
