/* SPDX-License-Identifier: MIT */
/* Walking cells, and the census.
 *
 * Claims: every cell of the fixed part, of each item and of what traverse shows is visited once, by its address, and may be
 * cleared; instances are counted where they are made and where they die, the sum is right [census.sum], and without memory
 * for a counter none is lost. Real: everything; objects are structs of the test's own. */
#include "support/exhaust.h"
#include "support/inside.h"

#include <string.h>

#include "object/cells.h"
#include "object/census.h"

struct bag {
  fh_object fh;
  void *first;
  size_t count;
  void **buffer; /* three more cells, shown by traverse */
};
struct item {
  uint64_t number;
  void *cell;
};

static void show_buffer(void *object, fh_visitor *visitor) {
  struct bag *bag = object;
  for (int i = 0; bag->buffer && i < 3; i++) fh_visit(visitor, &bag->buffer[i]);
}

static const fh_ref bag_refs[] = {FH_FIELD(struct bag, first), FH_END};
static const fh_ref item_refs[] = {FH_FIELD(struct item, cell), FH_END};
static const fh_type_spec bag_spec = {.name = "bag",
                                      .size = sizeof(struct bag),
                                      .item_size = sizeof(struct item),
                                      .count_at = offsetof(struct bag, count),
                                      .refs = bag_refs,
                                      .item_refs = item_refs,
                                      .traverse = show_buffer};

struct seen {
  fh__cell *cell[16];
  size_t count;
};

static void note_cell(void *context, fh__cell *cell) {
  struct seen *seen = context;
  require(seen->count < 16);
  seen->cell[seen->count++] = cell;
}

static void clear_cell(void *context, fh__cell *cell) {
  ++*(size_t *)context;
  require(fh__cell_clear(cell) != NULL);
}

static void every_cell_is_visited_once(void **state) {
  enum { ITEMS = 4 };
  fh_type *type = bare_type(&bag_spec);
  struct {
    struct bag bag;
    struct item item[ITEMS];
  } object;
  memset(&object, 0, sizeof object);
  void *buffer[3] = {&object, &object, &object};
  object.bag.fh.fh__type = type->index;
  object.bag.count = ITEMS;
  object.bag.buffer = buffer;
  object.bag.first = &object;
  for (int i = 0; i < ITEMS; i++) object.item[i] = (struct item){~(uint64_t)0, &object};
  assert_ptr_equal(fh__type_of(&object.bag.fh), type);
  assert_int_equal(fh__item_count(type, &object.bag.fh), ITEMS);
  struct seen seen = {.count = 0};
  fh__cells_each(type, &object.bag.fh, note_cell, &seen);
  assert_int_equal(seen.count, 1 + ITEMS + 3);
  assert_ptr_equal(seen.cell[0], &object.bag.first);
  for (int i = 0; i < ITEMS; i++) assert_ptr_equal(seen.cell[1 + i], &object.item[i].cell);
  for (int i = 0; i < 3; i++) assert_ptr_equal(seen.cell[1 + ITEMS + i], &buffer[i]);
  size_t cleared = 0;
  fh__cells_each(type, &object.bag.fh, clear_cell, &cleared);
  assert_int_equal(cleared, seen.count);
  for (size_t i = 0; i < seen.count; i++) assert_null(fh__cell_load(seen.cell[i]));
  for (int i = 0; i < ITEMS; i++) assert_true(object.item[i].number == ~(uint64_t)0);
}

static void no_items_and_no_buffer_are_no_cells(void **state) {
  fh_type *type = bare_type(&bag_spec);
  struct bag bag = {.fh.fh__type = type->index};
  struct seen seen = {.count = 0};
  fh__cells_each(type, &bag.fh, note_cell, &seen);
  assert_int_equal(seen.count, 1);
}

/* ---- census ---- */

static void instances_are_counted_where_they_are_made_and_die(void **state) {
  static const fh_type_spec spec = {.name = "counted", .size = 32};
  static struct fh__census_local maker, destroyer;
  fh_type *type = bare_type(&spec);
  assert_int_equal(fh__census_read(&maker, type->index), 0);
  for (int i = 0; i < 5; i++) fh__census_add(&maker, type, 1);
  for (int i = 0; i < 3; i++) fh__census_add(&destroyer, type, -1);
  assert_int_equal(fh__census_read(&maker, type->index), 5);
  assert_int_equal(fh__census_read(&destroyer, type->index), -3);
  assert_int_equal(type->stray, 0);
  fh__census_finish(&maker);
  fh__census_finish(&destroyer);
}

static void types_have_counters_of_their_own(void **state) {
  enum { TYPES = 600 }; /* more than a page of counters */
  static fh_type_spec specs[TYPES];
  static struct fh__census_local census;
  fh_type *type[TYPES];
  for (int i = 0; i < TYPES; i++) {
    specs[i] = (fh_type_spec){.name = "one of many", .size = 32};
    type[i] = bare_type(&specs[i]);
    fh__census_add(&census, type[i], i);
  }
  for (int i = 0; i < TYPES; i++) assert_int_equal(fh__census_read(&census, type[i]->index), i);
  fh__census_finish(&census);
}

static void count_without_memory(void) {
  static const fh_type_spec spec = {.name = "counted", .size = 32};
  static struct fh__census_local census;
  static struct exhausted exhausted;
  fh_type *type = bare_type(&spec);
  exhaust_memory(&exhausted);
  fh__census_add(&census, type, 1);
  fh__census_add(&census, type, 1);
  require(type->stray == 2 && fh__census_read(&census, type->index) == 0);
  refill_memory(&exhausted);
  fh__census_add(&census, type, -1);
  require(type->stray + fh__census_read(&census, type->index) == 1);
}

static void without_memory_for_a_counter_none_is_lost(void **state) {
  if (!can_exhaust_memory()) skip();
  expect_fine(count_without_memory);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(every_cell_is_visited_once, finish_types),
      cmocka_unit_test_teardown(no_items_and_no_buffer_are_no_cells, finish_types),
      cmocka_unit_test_teardown(instances_are_counted_where_they_are_made_and_die, finish_types),
      cmocka_unit_test_teardown(types_have_counters_of_their_own, finish_types),
      cmocka_unit_test_teardown(without_memory_for_a_counter_none_is_lost, finish_types),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
