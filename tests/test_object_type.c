/* SPDX-License-Identifier: MIT */
/* The type table, below the public call: what a spec becomes, and every spec that is refused.
 *
 * Claims: references are flattened to offsets; a type is tracked iff it refers to anything and may be part of a cycle; the
 * same spec gives the same type, also where many threads register it at once, and with thousands of others in the table;
 * removed types leave their address, not their index, to be used again; a spec that cannot be is refused, with a trap that
 * numbers the reference in checked builds. Real: everything. */
#include "support/inside.h"

struct thing {
  fh_object fh;
  void *one;
  void *pair[2];
  size_t count;
};
struct entry {
  uint64_t hash;
  void *key, *value;
};

/* ---- what a spec becomes ---- */

static const fh_ref thing_refs[] = {FH_FIELD(struct thing, one), FH_FIELD(struct thing, pair), FH_END};
static const fh_ref entry_refs[] = {FH_FIELD(struct entry, key), FH_FIELD(struct entry, value), FH_END};

static void references_are_flattened(void **state) {
  static const fh_type_spec spec = {.name = "thing",
                                    .size = sizeof(struct thing),
                                    .item_size = sizeof(struct entry),
                                    .count_at = offsetof(struct thing, count),
                                    .refs = thing_refs,
                                    .item_refs = entry_refs};
  fh_type *type = bare_type(&spec);
  assert_string_equal(type->name, "thing");
  assert_ptr_equal(fh__types[type->index], type);
  assert_int_equal(type->cell_count, 3);
  assert_int_equal(type->cells[0], offsetof(struct thing, one));
  assert_int_equal(type->cells[1], offsetof(struct thing, pair));
  assert_int_equal(type->cells[2], offsetof(struct thing, pair) + sizeof(void *));
  assert_int_equal(type->item_cell_count, 2);
  assert_int_equal(type->item_cells[0], offsetof(struct entry, key));
  assert_int_equal(type->item_cells[1], offsetof(struct entry, value));
  assert_true(type->tracked && type->has_cells);
  assert_int_equal(type->alloc_size % 16, 0);
  assert_true(type->usable >= type->alloc_size && type->alloc_size >= type->size);
}

static const fh_ref no_refs[] = {FH_END};
static void show_nothing(void *object, fh_visitor *visitor) {}

static void tracked_is_what_refers_and_is_not_acyclic(void **state) {
  static const struct {
    fh_type_spec spec;
    bool tracked, has_cells;
  } cases[] = {
      {{.name = "bare", .size = sizeof(fh_object)}, false, false},
      {{.name = "referring", .size = sizeof(struct thing), .refs = thing_refs}, true, true},
      {{.name = "acyclic", .size = sizeof(struct thing), .refs = thing_refs, .flags = FH_ACYCLIC}, false, true},
      {{.name = "traversing", .size = sizeof(fh_object), .traverse = show_nothing}, true, true},
      {{.name = "empty list", .size = sizeof(fh_object), .refs = no_refs}, false, false},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    fh_type *type = bare_type(&cases[i].spec);
    assert_int_equal(type->tracked, cases[i].tracked);
    assert_int_equal(type->has_cells, cases[i].has_cells);
  }
}

/* ---- identity ---- */

static void the_same_spec_is_the_same_type(void **state) {
  static const fh_type_spec a = {.name = "twin", .size = 32}, b = {.name = "twin", .size = 32};
  fh_type *first = bare_type(&a);
  assert_ptr_equal(bare_type(&a), first);
  assert_ptr_not_equal(bare_type(&b), first); /* identity is the address, not the contents */
  fh_type *untouched = first;
  assert_int_equal(fh__type_register(&a, NULL), FH_EINVAL);
  assert_int_equal(fh__type_register(NULL, &untouched), FH_EINVAL);
  assert_ptr_equal(untouched, first);
}

static fh_type_spec changing = {.name = "changing", .size = 32};
static void register_changed(void) {
  fh_type *type;
  changing.size = 48;
  bare_type(&(const fh_type_spec){.name = "other", .size = 32});
  require(fh__type_register(&changing, &type) == FH_OK);
  changing.size = 64;
  require(fh__type_register(&changing, &type) == FH_EEXIST);
}

static void a_changed_spec_is_noticed(void **state) {
  if (is_checked())
    expect_trap(register_changed, "changing", "other contents", NULL);
  else
    expect_fine(register_changed);
}

static void a_removed_type_leaves_its_address(void **state) {
  static const fh_type_spec spec = {.name = "passing", .size = 32};
  fh_type *first = bare_type(&spec);
  uint16_t index = first->index;
  fh__type_remove(first);
  assert_null(fh__types[index]);
  fh_type *second = bare_type(&spec);
  assert_int_not_equal(second->index, index); /* late readers of the dead look at the old one for a while */
  assert_ptr_equal(bare_type(&spec), second);
}

enum { MANY = 3000, THREADS = 4 };
static fh_type_spec many[MANY];
static fh_type *found[THREADS][MANY];

static void register_many(int index, void *argument) {
  for (int i = 0; i < MANY; i++) {
    int at = (i * 7 + index * 1013) % MANY;
    found[index][at] = bare_type(&many[at]);
  }
}

static void threads_agree_on_thousands_of_types(void **state) {
  for (int i = 0; i < MANY; i++) many[i] = (fh_type_spec){.name = "one of many", .size = 16 + (size_t)i * 8};
  run_bare_threads(THREADS, register_many, NULL);
  for (int i = 0; i < MANY; i++) {
    assert_int_equal(found[0][i]->size, many[i].size);
    for (int t = 1; t < THREADS; t++) assert_ptr_equal(found[t][i], found[0][i]);
  }
  for (int i = 0; i < MANY; i += 2) fh__type_remove(found[0][i]);
  for (int i = 1; i < MANY; i += 2) assert_ptr_equal(bare_type(&many[i]), found[0][i]); /* across the tombstones */
  for (int i = 0; i < MANY; i += 2) assert_string_equal(bare_type(&many[i])->name, "one of many");
}

/* ---- specs that cannot be ---- */

#define REFS(...) ((const fh_ref[]){__VA_ARGS__, FH_END})
#define AT(offset_, count_) {(offset_), FH__REF_FIELD, (count_)}

static const struct {
  const char *message;
  fh_type_spec spec;
} wrong[] = {
    {"no name", {.name = NULL, .size = 32}},
    {"no name", {.name = "", .size = 32}},
    {"size is out of range", {.name = "w", .size = 15}},
    {"size is out of range", {.name = "w", .size = ((size_t)1 << 30) + 1}},
    {"item size is out of range", {.name = "w", .size = 32, .item_size = ((size_t)1 << 30) + 1}},
    {"count_at", {.name = "w", .size = 32, .item_size = 8, .count_at = 8}},
    {"count_at", {.name = "w", .size = 32, .item_size = 8, .count_at = 20}},
    {"count_at", {.name = "w", .size = 32, .item_size = 8, .count_at = 32}},
    {"item references need", {.name = "w", .size = 32, .item_refs = REFS(AT(0, 1))}},
    {"item references need", {.name = "w", .size = 32, .item_size = 8, .item_refs = REFS(AT(0, 1))}},
    {"item references need", {.name = "w", .size = 36, .item_size = 8, .count_at = 16, .item_refs = REFS(AT(0, 1))}},
    {"item references need", {.name = "w", .size = 32, .item_size = 12, .count_at = 16, .item_refs = REFS(AT(0, 1))}},
    {"unknown flags", {.name = "w", .size = 32, .flags = 1u << 6}},
    {"(reference 0)", {.name = "w", .size = 32, .refs = REFS(AT(8, 1))}},
    {"(reference 0)", {.name = "w", .size = 32, .refs = REFS(AT(20, 1))}},
    {"(reference 0)", {.name = "w", .size = 32, .refs = REFS(AT(16, 0))}},
    {"(reference 0)", {.name = "w", .size = 32, .refs = REFS({16, 7, 1})}},
    {"(reference 1)", {.name = "w", .size = 32, .refs = REFS(AT(16, 1), AT(32, 1))}},
    {"(reference 1)", {.name = "w", .size = 48, .refs = REFS(AT(16, 3), AT(32, 1))}},
    {"(reference 1)", {.name = "w", .size = 48, .refs = REFS(AT(32, 1), AT(24, 2))}},
    {"(reference 1)", {.name = "w", .size = 32, .item_size = 8, .count_at = 16, .item_refs = REFS(AT(0, 1), AT(8, 1))}},
};
enum { WRONG = sizeof wrong / sizeof *wrong };

static void register_wrong(size_t i) {
  fh_type *type = (fh_type *)&type;
  require(fh__type_register(&wrong[i].spec, &type) == FH_EINVAL);
  require(type == (fh_type *)&type);
}

/* A child has no arguments: one function a case. */
#define CHILD(i) static void wrong_##i(void) { register_wrong(i); }
CHILD(0) CHILD(1) CHILD(2) CHILD(3) CHILD(4) CHILD(5) CHILD(6) CHILD(7) CHILD(8) CHILD(9) CHILD(10)
CHILD(11) CHILD(12) CHILD(13) CHILD(14) CHILD(15) CHILD(16) CHILD(17) CHILD(18) CHILD(19) CHILD(20)
static void (*const children[])(void) = {wrong_0,  wrong_1,  wrong_2,  wrong_3,  wrong_4,  wrong_5,  wrong_6,
                                         wrong_7,  wrong_8,  wrong_9,  wrong_10, wrong_11, wrong_12, wrong_13,
                                         wrong_14, wrong_15, wrong_16, wrong_17, wrong_18, wrong_19, wrong_20};
_Static_assert(sizeof children / sizeof *children == WRONG, "a child for each case");

static void a_wrong_spec_is_refused(void **state) {
  for (size_t i = 0; i < WRONG; i++) {
    if (is_checked())
      expect_trap(children[i], "fh_type_register", wrong[i].message, NULL);
    else
      register_wrong(i);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(references_are_flattened, finish_types),
      cmocka_unit_test_teardown(tracked_is_what_refers_and_is_not_acyclic, finish_types),
      cmocka_unit_test_teardown(the_same_spec_is_the_same_type, finish_types),
      cmocka_unit_test_teardown(a_changed_spec_is_noticed, finish_types),
      cmocka_unit_test_teardown(a_removed_type_leaves_its_address, finish_types),
      cmocka_unit_test_teardown(threads_agree_on_thousands_of_types, finish_types),
      cmocka_unit_test_teardown(a_wrong_spec_is_refused, finish_types),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
