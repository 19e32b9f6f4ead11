/* SPDX-License-Identifier: MIT */
/* Making objects and buffers without memory, with everything intact afterwards; and what is left of types.
 *
 * Claims: where there is no memory the answer is NULL, accounts, counts and entries are as before, and the same call works
 * when memory is there again, for small, large and item objects, tracked or not, and for buffers of every call; a type is removed only when no instance lives or waits in limbo. */
#include "support/exhaust.h"

#include <string.h>

#include "mutator/mutator.h"

static const fh_type_spec small_spec = {.name = "small", .size = 32};
struct items {
  fh_object fh;
  size_t count;
};
static const fh_type_spec large_spec = {.name = "large", .size = 4096};
static const fh_type_spec items_spec = {
    .name = "items", .size = sizeof(struct items), .item_size = 8, .count_at = offsetof(struct items, count)};
static const fh_ref tracked_refs[] = {{16, FH__REF_FIELD, 1}, FH_END};
static const fh_type_spec tracked_spec = {.name = "tracked", .size = 2048, .refs = tracked_refs};
static const fh_type_spec small_tracked_spec = {.name = "small tracked", .size = 48, .refs = tracked_refs};
static const fh_type_spec tracked_items_spec = {.name = "tracked items",
                                                .size = sizeof(struct items),
                                                .item_size = 8,
                                                .count_at = offsetof(struct items, count),
                                                .item_refs = (const fh_ref[]){{0, FH__REF_FIELD, 1}, FH_END}};

/* ---- no memory at all ---- */

static void make_without_memory(void) {
  static struct exhausted exhausted;
  static const fh_type_spec late_spec = {.name = "late", .size = 32};
  runtime_start(&(fh_options){.flags = FH_OPTION_GC_OFF});
  fh_type *small = type_of_spec(&small_spec), *large = type_of_spec(&large_spec), *items = type_of_spec(&items_spec), *late;
  char *block = fh_alloc(100);
  memset(block, 7, 100);
  uint64_t live = stats_now().live_bytes;
  exhaust_memory(&exhausted);
  for (int i = 0; i < 3; i++) {
    require(!fh_new(small) && !fh_new(large) && !fh_new(items) && !fh_new_items(items, 1000));
    require(!fh_alloc(10) && !fh_alloc(100000) && !fh_alloc_zeroed(50) && !fh_realloc(NULL, 10));
    require(!fh_realloc(block, 1 << 20));
    require(fh_type_register(&late_spec, &late) == FH_ENOMEM);
  }
  for (int i = 0; i < 100; i++) require(block[i] == 7);
  require(stats_now().live_bytes == live);
  require(fh_type_live(small) + fh_type_live(large) + fh_type_live(items) == 0);
  refill_memory(&exhausted);
  require(fh_check_heap() == FH_OK);
  require((block = fh_realloc(block, 1 << 20)));
  for (int i = 0; i < 100; i++) require(block[i] == 7);
  fh_free(block);
  void *object[3] = {fh_new(small), fh_new(large), fh_new_items(items, 1000)};
  for (int i = 0; i < 3; i++) fh_release(object[i]);
  require(fh_type_register(&late_spec, &late) == FH_OK);
  runtime_stop();
}

/* Memory for the object, none for another chunk of entries: one that is larger than what was left over. */
static void make_without_memory_for_an_entry(fh_type *type, size_t count) {
  size_t bytes = (type->size + count * type->item_size + 15) & ~(size_t)15;
  static struct exhausted exhausted;
  static struct node *filler[FH__CHUNK_ENTRIES];
  size_t fillers = 0;
  struct fh__mutator *me = fh__self();
  fh_release(node_new(1));
  while (me->track.current->free || me->track.current->bump < FH__CHUNK_ENTRIES) {
    filler[fillers] = node_new(fillers);
    fillers++;
  }
  void *spare = fh__backend_alloc(bytes);
  uint64_t live = stats_now().live_bytes, instances = fh_type_live(type);
  exhaust_memory(&exhausted);
  fh__backend_free(spare); /* for the object, and for nothing larger */
  void *object = count ? fh_new_items(type, count) : fh_new(type);
  require(!object && fh_type_live(type) == instances && stats_now().live_bytes == live);
  refill_memory(&exhausted);
  require(fh_check_heap() == FH_OK);
  require((object = count ? fh_new_items(type, count) : fh_new(type)));
  fh_release(object);
  while (fillers) fh_release(filler[--fillers]);
}

static void make_a_large_one_without_an_entry(void) {
  runtime_start(&(fh_options){.flags = FH_OPTION_GC_OFF});
  make_without_memory_for_an_entry(type_of_spec(&tracked_spec), 0);
  runtime_stop();
}
static void make_a_small_one_without_an_entry(void) {
  runtime_start(&(fh_options){.flags = FH_OPTION_GC_OFF});
  make_without_memory_for_an_entry(type_of_spec(&small_tracked_spec), 0);
  runtime_stop();
}
static void make_items_without_an_entry(void) {
  runtime_start(&(fh_options){.flags = FH_OPTION_GC_OFF});
  make_without_memory_for_an_entry(type_of_spec(&tracked_items_spec), 100);
  runtime_stop();
}

static void without_memory_the_answer_is_null_and_nothing_changes(void **state) {
  if (!can_exhaust_memory()) skip();
  expect_fine(make_without_memory);
  if (is_torture()) return; /* a chunk is smaller there than what an object leaves behind */
  expect_fine(make_a_large_one_without_an_entry);
  expect_fine(make_a_small_one_without_an_entry);
  expect_fine(make_items_without_an_entry);
}

/* ---- sizes that no memory has ---- */

static void impossible_sizes_are_refused(void **state) {
  fh_type *items = type_of_spec(&items_spec);
  assert_null(fh_new_items(items, SIZE_MAX));
  assert_null(fh_new_items(items, SIZE_MAX / 8));
  assert_null(fh_new_items(items, (size_t)1 << 44));
  assert_null(fh_alloc((size_t)1 << 47));
  assert_null(fh_alloc(SIZE_MAX));
  char *block = fh_alloc(16);
  assert_null(fh_realloc(block, (size_t)1 << 47));
  assert_null(fh_realloc(block, SIZE_MAX));
  fh_free(block);
  assert_true(stats_now().live_bytes == 0);
}

/* ---- types ---- */

static void a_type_stays_while_instances_wait_in_limbo(void **state) {
  fh_type *type = type_of_spec(&small_spec);
  void *object = fh_new(type);
  fh_publish(object);
  assert_int_equal(fh_type_unregister(type), FH_EBUSY);
  fh_release(object);
  assert_true(fh_type_live(type) == 0);
  fh__limbo_seal(&fh__self()->limbo, UINT64_MAX - 1); /* for ever: the call itself cannot ripen it */
  assert_int_equal(fh_type_unregister(type), FH_EBUSY);
  fh__self()->limbo.sealed.stamp = 1;
  fh_settle();
  assert_int_equal(fh_type_unregister(type), FH_OK);
}

static void a_type_is_not_removed_where_no_safepoint_may_be(void **state) {
  fh_type *type = type_of_spec(&small_spec);
  {
    FH_NO_SAFEPOINT();
    assert_int_equal(fh_type_unregister(type), FH_EBUSY);
  }
  assert_int_equal(fh_type_unregister(type), FH_OK);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(without_memory_the_answer_is_null_and_nothing_changes),
      with_runtime(impossible_sizes_are_refused),
      with_runtime(a_type_stays_while_instances_wait_in_limbo),
      with_runtime(a_type_is_not_removed_where_no_safepoint_may_be),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
